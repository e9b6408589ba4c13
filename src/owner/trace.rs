//! The logs by which Safes, timelocks and governors tell that they acted.
//!
//! A Safe tells at the end of what it did; the variant for rollups tells at the start as well.
//! Timelocks tell after each call, governors once. Anybody may emit such a log, so it counts only
//! from the contract that is known to have acted.

use alloy::{
    primitives::{Address, B256, U256},
    sol_types::SolEvent,
};

use crate::{
    request::ids::SafeTxHash,
    safe::{SafeEvent, event::MalformedSafeEvent},
};

mod abi {
    alloy::sol! {
        // SafeL2, in 1.3.0 to 1.5.0.
        event SafeMultiSigTransaction(address to, uint256 value, bytes data, uint8 operation, uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, address refundReceiver, bytes signatures, bytes additionalInfo);
        event SafeModuleTransaction(address module, address to, uint256 value, bytes data, uint8 operation);
        // Every Safe since 1.1.1.
        event ExecutionFromModuleSuccess(address indexed module);
        event ExecutionFromModuleFailure(address indexed module);
        // Timelock of OpenZeppelin.
        event CallExecuted(bytes32 indexed id, uint256 indexed index, address target, uint256 value, bytes data);
        // Governor of OpenZeppelin and of Compound.
        event ProposalExecuted(uint256 proposalId);
    }
}

/// What a log tells of how its contract acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    SafeBegins,
    ModuleBegins,
    SafeEnds(SafeTxHash),
    /// It spent a nonce or returned, and did nothing.
    SafeFails,
    ModuleEnds(Address),
    ModuleFails,
    /// A timelock called `target` for an operation.
    Called {
        operation: B256,
        target: Address,
    },
    Proposal(U256),
}

impl Trace {
    /// Reads one log; none when it is anything else, or does not have the shape of its name.
    pub fn read(topics: &[B256], data: &[u8]) -> Option<Self> {
        match *topics.first()? {
            abi::SafeMultiSigTransaction::SIGNATURE_HASH => Some(Self::SafeBegins),
            abi::SafeModuleTransaction::SIGNATURE_HASH => Some(Self::ModuleBegins),
            abi::ExecutionFromModuleSuccess::SIGNATURE_HASH => {
                Some(Self::ModuleEnds(address(topics.get(1)?.as_slice())?))
            }
            abi::ExecutionFromModuleFailure::SIGNATURE_HASH => Some(Self::ModuleFails),
            abi::CallExecuted::SIGNATURE_HASH => {
                Some(Self::Called { operation: *topics.get(1)?, target: address(data.get(..32)?)? })
            }
            abi::ProposalExecuted::SIGNATURE_HASH if topics.len() == 1 => {
                Some(Self::Proposal(U256::from_be_slice(data.get(..32)?)))
            }
            _ => Self::of_safe(SafeEvent::decode(topics, data)),
        }
    }

    fn of_safe(event: Result<Option<SafeEvent>, MalformedSafeEvent>) -> Option<Self> {
        match event.ok()?? {
            SafeEvent::ExecutionSuccess(hash) => Some(Self::SafeEnds(hash)),
            SafeEvent::ExecutionFailure(_) => Some(Self::SafeFails),
        }
    }
}

fn address(word: &[u8]) -> Option<Address> {
    crate::dstack::read::decode_address(word).ok()
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Bytes, b256};

    use super::*;

    #[test]
    fn topics_are_the_recorded_ones() {
        for (found, recorded) in [
            (
                abi::CallExecuted::SIGNATURE_HASH,
                b256!("c2617efa69bab66782fa219543714338489c4e9e178271560a91b82c3f612b58"),
            ),
            (
                abi::ProposalExecuted::SIGNATURE_HASH,
                b256!("712ae1383f79ac853f8d882153778e0260ef8f03b504e2866e0593e04d2b291f"),
            ),
            (
                abi::ExecutionFromModuleSuccess::SIGNATURE_HASH,
                b256!("6895c13664aa4f67288b25d7a21d7aaa34916e355fb9b6fae0a139a9085becb8"),
            ),
            (
                abi::SafeMultiSigTransaction::SIGNATURE_HASH,
                b256!("66753cd2356569ee081232e3be8909b950e0a76c1f8460c3a5e3c2be32b11bed"),
            ),
            (
                abi::SafeModuleTransaction::SIGNATURE_HASH,
                b256!("b648d3644f584ed1c2232d53c46d87e693586486ad0d1175f8656013110b714e"),
            ),
        ] {
            assert_eq!(found, recorded);
        }
    }

    #[test]
    fn a_timelock_names_operation_and_target() {
        let (id, target) = (B256::repeat_byte(3), Address::repeat_byte(4));
        let log = abi::CallExecuted {
            id,
            index: U256::ONE,
            target,
            value: U256::ZERO,
            data: Bytes::new(),
        }
        .encode_log_data();
        let expected = Trace::Called { operation: id, target };
        assert_eq!(Trace::read(log.topics(), &log.data), Some(expected));
        assert_eq!(Trace::read(log.topics(), &log.data[..31]), None);
        assert_eq!(Trace::read(&log.topics()[..1], &log.data), None);
    }

    #[test]
    fn other_logs_tell_nothing() {
        assert_eq!(Trace::read(&[], &[]), None);
        assert_eq!(Trace::read(&[B256::repeat_byte(1)], &[0; 64]), None);
        let unindexed = [abi::ExecutionFromModuleSuccess::SIGNATURE_HASH];
        assert_eq!(Trace::read(&unindexed, &[0; 32]), None);
    }
}
