//! What pages tell of a ledger.

use crate::store::ledger::LedgerEntry;

/// Whether the app lets every device in as of block `at`, as far as its events tell.
pub fn any_device(ledger: &[LedgerEntry], at: Option<u64>) -> bool {
    let shown = ledger.iter().filter(|entry| at.is_none_or(|at| entry.block.number <= at));
    let mut switches = shown.rev().filter(|entry| entry.kind == "allow_any_device_set");
    switches.next().is_some_and(|entry| entry.value == [1])
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};

    use super::*;
    use crate::dstack::PolicyEvent;
    use crate::request::{
        facts::BlockRef,
        ids::{AppId, BlockHash, TxHash},
    };

    fn entry(number: u64, event: PolicyEvent) -> LedgerEntry {
        LedgerEntry {
            block: BlockRef { number, hash: BlockHash(B256::ZERO) },
            block_time: crate::clock::Time::default(),
            log_index: 0,
            tx: TxHash(B256::ZERO),
            app: AppId(Address::ZERO),
            kind: event.kind().into(),
            value: event.value(),
        }
    }

    #[test]
    fn the_last_switch_decides() {
        let ledger = [
            entry(1, PolicyEvent::AllowAnyDeviceSet(true)),
            entry(5, PolicyEvent::AllowAnyDeviceSet(false)),
        ];
        assert!(!any_device(&[], None));
        assert!(any_device(&ledger, Some(4)));
        assert!(!any_device(&ledger, None));
    }
}
