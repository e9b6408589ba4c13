//! Ledgers for the tests of this room.

use alloy::primitives::{Address, B256};

use crate::{
    clock::Time,
    dstack::PolicyEvent,
    request::{
        facts::BlockRef,
        ids::{AppId, BlockHash, TxHash},
    },
    store::{ledger::LedgerEntry, paths::Recorded},
};

/// So many seconds after a beginning of its own.
pub fn time(seconds: i64) -> Time {
    Time::from_timestamp(1_800_000_000 + seconds, 0).expect("it is a moment")
}

pub fn entry(number: u64, event: PolicyEvent) -> LedgerEntry {
    let tx = B256::left_padding_from(&number.to_be_bytes());
    LedgerEntry {
        block: BlockRef { number, hash: BlockHash(B256::with_last_byte(1)) },
        block_time: time(i64::try_from(number).expect("blocks of tests are few") * 10),
        log_index: 0,
        tx: TxHash(tx),
        app: AppId(Address::ZERO),
        kind: event.kind().into(),
        value: event.value(),
    }
}

/// One event a block, from block 1 on; a block every ten seconds.
pub fn ledger(events: &[PolicyEvent]) -> Vec<Recorded> {
    let entries = (1..).zip(events).map(|(number, event)| entry(number, *event));
    entries.map(|entry| Recorded { entry, sender: None, acted_by: None }).collect()
}
