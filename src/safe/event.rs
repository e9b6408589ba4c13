//! The logs that tell what became of a Safe transaction.
//!
//! A receipt with status 1 is not success: with `safeTxGas` above zero the inner call may fail
//! while the outer transaction succeeds and the nonce is spent. Only these logs tell.

use alloy::{
    primitives::{B256, b256},
    sol_types::SolEvent,
};

use crate::request::ids::SafeTxHash;

mod abi {
    alloy::sol! {
        event ExecutionSuccess(bytes32 indexed txHash, uint256 payment);
        event ExecutionFailure(bytes32 indexed txHash, uint256 payment);
    }
}

/// `ExecutionFailed(bytes32)`, which only Safe 1.0.0 emits.
const EXECUTION_FAILED_1_0_0: B256 =
    b256!("abfd711ecdd15ae3a6b3ad16ff2e9d81aec026a39d16725ee164be4fbf857a7c");

const TOPICS: &[B256] = &[
    abi::ExecutionSuccess::SIGNATURE_HASH,
    abi::ExecutionFailure::SIGNATURE_HASH,
    EXECUTION_FAILED_1_0_0,
];

mod changes {
    alloy::sol! {
        event AddedOwner(address owner);
        event RemovedOwner(address owner);
        event ChangedThreshold(uint256 threshold);
        event EnabledModule(address module);
        event DisabledModule(address module);
        event ChangedGuard(address guard);
        event ChangedFallbackHandler(address handler);
        event ChangedMasterCopy(address masterCopy);
        event ApproveHash(bytes32 indexed approvedHash, address indexed owner);
    }
}

/// First topics of the events that tell that a Safe's owners, threshold, modules, guard, handler or
/// code changed, or that an owner approved a hash. Some arguments are indexed from 1.4.1 on, which
/// changes no first topic. 1.0.0 does not tell of approvals.
pub const RECONFIGURATIONS: &[B256] = &[
    changes::AddedOwner::SIGNATURE_HASH,
    changes::RemovedOwner::SIGNATURE_HASH,
    changes::ChangedThreshold::SIGNATURE_HASH,
    changes::EnabledModule::SIGNATURE_HASH,
    changes::DisabledModule::SIGNATURE_HASH,
    changes::ChangedGuard::SIGNATURE_HASH,
    changes::ChangedFallbackHandler::SIGNATURE_HASH,
    changes::ChangedMasterCopy::SIGNATURE_HASH,
    APPROVE_HASH,
];

/// First topic of the event that an owner approved a hash; hash and owner are the next two.
pub const APPROVE_HASH: B256 = changes::ApproveHash::SIGNATURE_HASH;

/// The end of a Safe transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SafeEvent {
    ExecutionSuccess(SafeTxHash),
    /// The nonce is spent, the calls were not made.
    ExecutionFailure(SafeTxHash),
}

/// A log with the name of one of these events and the shape of neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("execution log with {topics} topics and {data} bytes of data, which no Safe writes")]
pub struct MalformedSafeEvent {
    pub topics: usize,
    pub data: usize,
}

impl SafeEvent {
    /// Every first topic to filter logs by.
    #[must_use]
    pub fn topics() -> &'static [B256] {
        TOPICS
    }

    /// Reads one log. `Ok(None)` means the log is something else.
    ///
    /// The hash is the first word of the data before 1.4.0 and an indexed topic since, under the
    /// same first topic, so the number of topics decides (recorded from 1.1.1, 1.3.0, 1.4.1, 1.5.0).
    ///
    /// # Errors
    /// [`MalformedSafeEvent`] when the log has our name and neither shape.
    pub fn decode(topics: &[B256], data: &[u8]) -> Result<Option<Self>, MalformedSafeEvent> {
        let hash = match (topics, data.len()) {
            ([EXECUTION_FAILED_1_0_0], 32) | ([_], 64) => B256::from_slice(&data[..32]),
            ([_, hash], 32) => *hash,
            _ => B256::ZERO,
        };
        let event = match topics.first() {
            Some(&abi::ExecutionSuccess::SIGNATURE_HASH) => {
                Self::ExecutionSuccess(SafeTxHash(hash))
            }
            Some(&(abi::ExecutionFailure::SIGNATURE_HASH | EXECUTION_FAILED_1_0_0)) => {
                Self::ExecutionFailure(SafeTxHash(hash))
            }
            _ => return Ok(None),
        };
        if hash.is_zero() {
            return Err(MalformedSafeEvent { topics: topics.len(), data: data.len() });
        }
        Ok(Some(event))
    }

    /// Which transaction ended.
    #[must_use]
    pub fn safe_tx_hash(&self) -> SafeTxHash {
        match self {
            Self::ExecutionSuccess(hash) | Self::ExecutionFailure(hash) => *hash,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: B256 = B256::repeat_byte(0xcc);

    #[test]
    fn both_shapes_are_read() {
        let [success, failure, failed] = TOPICS else { panic!("three events") };
        let mut unindexed = HASH.to_vec();
        unindexed.extend([0; 32]);
        let hash = SafeTxHash(HASH);
        for (topics, data, expected) in [
            (vec![*success], unindexed.as_slice(), SafeEvent::ExecutionSuccess(hash)),
            (vec![*success, HASH], &[0; 32], SafeEvent::ExecutionSuccess(hash)),
            (vec![*failure], &unindexed, SafeEvent::ExecutionFailure(hash)),
            (vec![*failure, HASH], &[0; 32], SafeEvent::ExecutionFailure(hash)),
            (vec![*failed], HASH.as_slice(), SafeEvent::ExecutionFailure(hash)),
        ] {
            assert_eq!(SafeEvent::decode(&topics, data), Ok(Some(expected)));
            assert_eq!(expected.safe_tx_hash(), hash);
        }
    }

    #[test]
    fn neither_shape_is_an_error() {
        let success = TOPICS[0];
        for (topics, data) in
            [(vec![success], 32), (vec![success, HASH], 64), (vec![success, HASH, HASH], 32)]
        {
            assert!(SafeEvent::decode(&topics, &vec![1; data]).is_err());
        }
        assert_eq!(SafeEvent::decode(&[], &[]), Ok(None));
        assert_eq!(SafeEvent::decode(&[HASH], &[]), Ok(None));
    }

    #[test]
    fn topics_are_the_recorded_ones() {
        let recorded = [
            b256!("442e715f626346e8c54381002da614f62bee8d27386535b2521ec8540898556e"),
            b256!("23428b18acfb3ea64b08dc0c1d296ea9c09702c09083ca5272e64d115b687d23"),
            b256!("abfd711ecdd15ae3a6b3ad16ff2e9d81aec026a39d16725ee164be4fbf857a7c"),
        ];
        assert_eq!(TOPICS, recorded);
    }
}
