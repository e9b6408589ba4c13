//! A Safe acts by one transaction: a plain call when there is one call to make, MultiSendCallOnly
//! when there are several.

use alloy::primitives::{Address, U256};

use super::Call;
use crate::safe::{Operation, SafeTx, SafeVersion, multisend, packed::Part, signature::LENGTH};

/// Why calls cannot become a transaction of a Safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error("there is nothing to propose")]
    NoCalls,
    #[error("call {0} goes to the zero address, which Safe 1.5.0 takes for the Safe itself")]
    ZeroTarget(usize),
    #[error("{0} calls are more than one batch can be reviewed with (at most {max})", max = multisend::MAX_CALLS)]
    TooManyCalls(usize),
    #[error("the calls are larger together than one batch may be ({max} bytes)", max = multisend::MAX_BYTES)]
    TooLarge,
}

/// The transaction that makes these calls in this order, all or none.
///
/// Every gas and refund field is zero: a refund could move funds, and with `safeTxGas` zero a
/// failing call reverts the whole transaction and leaves the nonce unspent, since 1.3.0.
///
/// # Errors
/// [`ProposeError`] when the calls cannot be one reviewable transaction.
pub fn propose(
    calls: &[Call],
    multi_send_call_only: Address,
    nonce: U256,
) -> Result<SafeTx, ProposeError> {
    if let Some(index) = calls.iter().position(|call| call.to.is_zero()) {
        return Err(ProposeError::ZeroTarget(index));
    }
    match calls {
        [] => Err(ProposeError::NoCalls),
        [call] => Ok(SafeTx::new(call.clone(), Operation::Call, nonce)),
        _ if calls.len() > multisend::MAX_CALLS => Err(ProposeError::TooManyCalls(calls.len())),
        _ => {
            let data = multisend::encode(calls);
            if data.len() > multisend::MAX_BYTES {
                return Err(ProposeError::TooLarge);
            }
            let batch = Call { to: multi_send_call_only, value: U256::ZERO, data };
            Ok(SafeTx::new(batch, Operation::DelegateCall, nonce))
        }
    }
}

/// The gas limit to execute with, where an estimate would be too low: before 1.3.0 the Safe's own
/// transaction succeeds also when its calls run out of gas, and the least gas that does is what
/// nodes find. Enough for additions to any known app, and for the contracts among the owners, which
/// are asked whether they signed: those that are Safes check a signature for each 65 bytes of theirs,
/// and others may do as they like. What is not used costs nothing.
#[must_use]
pub fn gas_limit(version: SafeVersion, calls: usize, signatures: &[Part]) -> Option<u64> {
    let of_signature = |part: &Part| match part {
        Part::Key(_) | Part::ApprovedHash(_) => 20_000,
        Part::Contract { data, .. } => 300_000 + 20_000 * data.len().div_ceil(LENGTH) as u64,
    };
    let signatures: u64 = signatures.iter().map(of_signature).sum();
    version.failure_spends_nonce().then_some(200_000 + 200_000 * calls as u64 + signatures)
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, address};

    use super::*;
    use crate::{
        dstack::Write,
        request::ids::{AppId, ComposeHash, DeviceId},
    };

    const MULTI_SEND: Address = address!("9641d764fc13c8B624c04430C7356C1C7C8102e2");

    fn calls() -> [Call; 2] {
        let app = AppId(Address::repeat_byte(0x11));
        [
            Write::AddComposeHash(ComposeHash(B256::repeat_byte(0xaa))),
            Write::AddDevice(DeviceId(B256::repeat_byte(0xbb))),
        ]
        .map(|write| Call::of_write(app, &write))
    }

    #[test]
    fn one_call_is_made_directly() {
        let [call, _] = calls();
        let tx = propose(std::slice::from_ref(&call), MULTI_SEND, U256::from(7)).unwrap();
        assert_eq!((tx.to, &tx.data, tx.operation), (call.to, &call.data, Operation::Call));
        assert_eq!(tx.nonce, U256::from(7));
        assert!(tx.gas_fields_are_zero());
    }

    #[test]
    fn several_calls_go_through_multi_send_call_only() {
        let tx = propose(&calls(), MULTI_SEND, U256::ZERO).unwrap();
        assert_eq!((tx.to, tx.operation), (MULTI_SEND, Operation::DelegateCall));
        assert_eq!(multisend::decode(&tx.data).unwrap(), calls());
        assert!(tx.gas_fields_are_zero());
    }

    #[test]
    fn where_an_estimate_would_spend_the_nonce_a_limit_is_told() {
        let owner = Address::repeat_byte(3);
        let approved = Part::ApprovedHash(owner);
        let of_contract = |bytes| Part::Contract { owner, data: vec![0; bytes].into() };
        let limit = |version, parts: &[Part]| gas_limit(version, 2, parts);
        let three = [approved.clone(), approved.clone(), approved];
        assert_eq!(limit(SafeVersion::V1_2_0, &three), Some(660_000));
        assert_eq!(limit(SafeVersion::V1_3_0, &three), None);
        // What the contract spends when it is asked comes on top.
        assert_eq!(limit(SafeVersion::V1_2_0, &[of_contract(0)]), Some(900_000));
        assert_eq!(limit(SafeVersion::V1_2_0, &[of_contract(130)]), Some(940_000));
        assert_eq!(limit(SafeVersion::V1_2_0, &[of_contract(131)]), Some(960_000));
    }

    #[test]
    fn what_cannot_be_reviewed_is_not_proposed() {
        let nonce = U256::ZERO;
        let [mut call, _] = calls();
        assert_eq!(propose(&[], MULTI_SEND, nonce), Err(ProposeError::NoCalls));
        let many = vec![call.clone(); multisend::MAX_CALLS + 1];
        assert_eq!(propose(&many, MULTI_SEND, nonce), Err(ProposeError::TooManyCalls(many.len())));
        call.to = Address::ZERO;
        assert_eq!(propose(&[call], MULTI_SEND, nonce), Err(ProposeError::ZeroTarget(0)));
    }
}
