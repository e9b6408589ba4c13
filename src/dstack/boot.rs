//! What an app itself says to an instance that boots, and why it refuses a call.

use alloy::{
    primitives::{Address, B256, Bytes},
    sol_types::{SolCall, SolInterface},
};

use super::{UnreadableAnswer, abi::DstackApp};
use crate::request::ids::{AppId, ComposeHash, DeviceId};

alloy::sol! {
    interface BootAuthority {
        struct AppBootInfo {
            address appId;
            bytes32 composeHash;
            address instanceId;
            bytes32 deviceId;
            bytes32 mrAggregated;
            bytes32 mrSystem;
            bytes32 osImageHash;
            string tcbStatus;
            string[] advisoryIds;
        }

        function isAppAllowed(AppBootInfo bootInfo) external view returns (bool isAllowed, string reason);
    }
}

/// Longest reason that is repeated, in characters.
const REASON_MAX: usize = 120;

/// Asks whether an instance may boot whose machine is up to date. Measurements and instance id are
/// zero: no known generation looks at them.
#[must_use]
pub fn boot_calldata(app: AppId, compose: ComposeHash, device: DeviceId) -> Bytes {
    let info = BootAuthority::AppBootInfo {
        appId: app.0,
        composeHash: compose.0,
        instanceId: Address::ZERO,
        deviceId: device.0,
        mrAggregated: B256::ZERO,
        mrSystem: B256::ZERO,
        osImageHash: B256::ZERO,
        tcbStatus: "UpToDate".into(),
        advisoryIds: vec![],
    };
    BootAuthority::isAppAllowedCall { bootInfo: info }.abi_encode().into()
}

/// The answer: yes or no, and the app's reason.
///
/// # Errors
/// [`UnreadableAnswer`]; an answer that does not read is never "no".
pub fn decode_boot_answer(answer: &[u8]) -> Result<(bool, String), UnreadableAnswer> {
    if answer.is_empty() {
        return Err(UnreadableAnswer::Empty);
    }
    let read = BootAuthority::isAppAllowedCall::abi_decode_returns_validate(answer)
        .map_err(|_| UnreadableAnswer::Length(answer.len()))?;
    Ok((read.isAllowed, read.reason.chars().take(REASON_MAX).collect()))
}

/// A custom error of a DstackApp, or of what it is built on, in words.
#[must_use]
pub fn refusal_in_words(output: &[u8]) -> Option<String> {
    use DstackApp::DstackAppErrors as E;
    Some(match DstackApp::DstackAppErrors::abi_decode_validate(output).ok()? {
        E::OwnableUnauthorizedAccount(error) => format!("{} does not own the app", error.account),
        E::OwnableInvalidOwner(error) => format!("{} cannot be an owner", error.owner),
        E::InvalidInitialization(_) => "it is initialised already".into(),
        E::NotInitializing(_) => "it is not being initialised".into(),
        E::UUPSUnauthorizedCallContext(_) => "it can be upgraded through its proxy only".into(),
        E::UUPSUnsupportedProxiableUUID(_) | E::ERC1967InvalidImplementation(_) => {
            "the new code is not fit for a proxy".into()
        }
        E::ERC1967NonPayable(_) => "an upgrade takes no ether".into(),
        E::AddressEmptyCode(error) => format!("there is no code at {}", error.target),
        E::FailedCall(_) => "the call that it makes failed".into(),
    })
}

#[cfg(test)]
mod tests {
    use alloy::sol_types::{SolError, SolValue};

    use super::*;

    #[test]
    fn an_answer_is_yes_or_no_with_a_reason_or_unreadable() {
        let encoded =
            |allowed: bool, reason: &str| (allowed, reason.to_owned()).abi_encode_params();
        assert_eq!(decode_boot_answer(&encoded(true, "")), Ok((true, String::new())));
        let no = encoded(false, "Device not allowed");
        assert_eq!(decode_boot_answer(&no), Ok((false, "Device not allowed".into())));
        let mut odd = encoded(true, "");
        odd[31] = 2;
        for unreadable in [&[][..], &no[..64], &[1; 32], &odd] {
            assert!(decode_boot_answer(unreadable).is_err(), "{unreadable:?}");
        }
    }

    #[test]
    fn refusals_are_told_and_others_are_not_guessed() {
        let account = Address::repeat_byte(7);
        let error = DstackApp::OwnableUnauthorizedAccount { account }.abi_encode();
        let words = refusal_in_words(&error).unwrap();
        assert_eq!(words, format!("{account} does not own the app"));
        for other in [&[][..], &error[..4], &[0xde, 0xad, 0xbe, 0xef]] {
            assert_eq!(refusal_in_words(other), None);
        }
    }

    #[test]
    fn the_question_is_the_recorded_one() {
        let data =
            boot_calldata(AppId(Address::ZERO), ComposeHash(B256::ZERO), DeviceId(B256::ZERO));
        assert_eq!(data[..4], [0x1e, 0x07, 0x91, 0x98]);
    }
}
