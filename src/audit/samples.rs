//! Ledgers for the tests of this room.

use alloy::primitives::{Address, B256};

use crate::{
    dstack::PolicyEvent,
    request::{
        facts::BlockRef,
        ids::{AppId, BlockHash, TxHash},
    },
    store::{ledger::LedgerEntry, paths::Recorded},
};

pub fn entry(number: u64, event: PolicyEvent) -> LedgerEntry {
    let tx = B256::left_padding_from(&number.to_be_bytes());
    LedgerEntry {
        block: BlockRef { number, hash: BlockHash(B256::with_last_byte(1)) },
        block_time: crate::clock::Time::default(),
        log_index: 0,
        tx: TxHash(tx),
        app: AppId(Address::ZERO),
        kind: event.kind().into(),
        value: event.value(),
    }
}

/// One event a block, from block 1 on.
pub fn ledger(events: &[PolicyEvent]) -> Vec<Recorded> {
    let entries = (1..).zip(events).map(|(number, event)| entry(number, *event));
    entries.map(|entry| Recorded { entry, sender: None, acted_by: None }).collect()
}
