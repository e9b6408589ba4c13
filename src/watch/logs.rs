//! Turns logs into ledger entries and Safe executions. Pure.

use std::collections::HashMap;

use alloy::{
    primitives::{Address, B256},
    rpc::types::Log,
};

use crate::{
    clock::Time,
    dstack::PolicyEvent,
    request::{
        facts::BlockRef,
        ids::{AppId, BlockHash, TxHash},
    },
    safe::SafeEvent,
    store::ledger::{LedgerEntry, SafeExecution},
};

/// Times of blocks, by hash.
pub type BlockTimes = HashMap<BlockHash, Time>;

/// First topics of everything that is followed.
pub fn topics() -> Vec<B256> {
    [PolicyEvent::topics(), SafeEvent::topics()].concat()
}

/// What logs amount to.
#[derive(Debug, Default)]
pub struct Sorted {
    pub ledger: Vec<LedgerEntry>,
    pub executions: Vec<SafeExecution>,
}

/// Sorts logs by whose they are. A log that does not decode is told in the log and left out: the
/// ledger shows what can be read, and decisions rest on state.
pub fn sort(logs: &[Log], apps: &[AppId], safes: &[Address], times: &BlockTimes) -> Sorted {
    let mut sorted = Sorted::default();
    for log in logs {
        let Some(place) = Place::of(log) else { continue };
        let (topics, data) = (log.topics(), log.data().data.as_ref());
        if apps.contains(&AppId(log.address())) {
            match PolicyEvent::decode(topics, data) {
                Ok(Some(event)) => sorted.ledger.push(place.ledger_entry(log, &event, times)),
                Ok(None) => {}
                Err(error) => skipped(log, &place, &error),
            }
        }
        if safes.contains(&log.address()) {
            match SafeEvent::decode(topics, data) {
                Ok(Some(event)) => sorted.executions.push(place.execution(log.address(), event)),
                Ok(None) => {}
                Err(error) => skipped(log, &place, &error),
            }
        }
    }
    sorted
}

fn skipped(log: &Log, place: &Place, error: &dyn std::error::Error) {
    tracing::warn!(address = %log.address(), tx.hash = %place.tx, %error, "an event does not decode");
}

struct Place {
    block: BlockRef,
    log_index: u64,
    tx: TxHash,
}

impl Place {
    fn of(log: &Log) -> Option<Self> {
        Some(Self {
            block: BlockRef { number: log.block_number?, hash: BlockHash(log.block_hash?) },
            log_index: log.log_index?,
            tx: TxHash(log.transaction_hash?),
        })
    }

    fn ledger_entry(&self, log: &Log, event: &PolicyEvent, times: &BlockTimes) -> LedgerEntry {
        LedgerEntry {
            block: self.block,
            block_time: times.get(&self.block.hash).copied().unwrap_or_default(),
            log_index: self.log_index,
            tx: self.tx,
            app: AppId(log.address()),
            kind: event.kind().to_owned(),
            value: event.value(),
        }
    }

    fn execution(&self, safe: Address, event: SafeEvent) -> SafeExecution {
        SafeExecution {
            block: self.block,
            log_index: self.log_index,
            tx: self.tx,
            safe,
            safe_tx_hash: event.safe_tx_hash(),
            success: matches!(event, SafeEvent::ExecutionSuccess(_)),
        }
    }
}
