//! Turns logs into ledger entries and Safe executions. Pure.

use std::collections::{HashMap, HashSet};

use alloy::{primitives::Address, rpc::types::Log};

use crate::{
    chain::Wanted,
    clock::Time,
    dstack::{PolicyEvent, kms},
    request::{
        facts::BlockRef,
        ids::{AppId, BlockHash, TxHash},
    },
    safe::{RECONFIGURATIONS, SafeEvent},
    store::{
        ledger::{LedgerEntry, SafeExecution},
        watched::WatchSet,
    },
};

/// Times of blocks, by hash.
pub type BlockTimes = HashMap<BlockHash, Time>;

/// Whose logs are followed, by what they are.
#[derive(Debug, Default)]
pub struct Watched {
    apps: HashSet<Address>,
    kms: HashSet<Address>,
    safes: HashSet<Address>,
    /// The logs to ask for: made once, because every block asks.
    pub wanted: Wanted,
}

impl Watched {
    pub fn new(
        apps: impl IntoIterator<Item = Address>,
        kms: impl IntoIterator<Item = Address>,
        safes: impl IntoIterator<Item = Address>,
    ) -> Self {
        let [apps, kms, safes]: [HashSet<Address>; 3] =
            [apps.into_iter().collect(), kms.into_iter().collect(), safes.into_iter().collect()];
        let mut topics = vec![];
        if !apps.is_empty() {
            topics.extend(PolicyEvent::topics());
        }
        if !kms.is_empty() {
            topics.push(kms::APP_DEPLOYED);
        }
        if !safes.is_empty() {
            topics.extend(SafeEvent::topics());
            topics.extend(RECONFIGURATIONS);
        }
        let addresses = [&apps, &kms, &safes].into_iter().flatten().copied().collect();
        Self { apps, kms, safes, wanted: Wanted { addresses, topics } }
    }
}

impl From<WatchSet> for Watched {
    fn from(set: WatchSet) -> Self {
        Self::new(set.apps.into_iter().map(|app| app.0), set.kms, set.safes)
    }
}

/// What logs amount to.
#[derive(Debug, Default)]
pub struct Sorted {
    pub ledger: Vec<LedgerEntry>,
    pub executions: Vec<SafeExecution>,
    /// Safes that were reconfigured.
    pub reconfigured: Vec<Address>,
    /// Apps that a KMS deployed, with the block.
    pub discovered: Vec<(AppId, u64)>,
}

/// Sorts logs by whose they are. A log that does not decode is told in the log and left out: the
/// ledger shows what can be read, and decisions rest on state.
pub fn sort(logs: &[Log], watched: &Watched, times: &BlockTimes) -> Sorted {
    let mut sorted = Sorted::default();
    for log in logs {
        let Some(place) = Place::of(log) else { continue };
        let (topics, data) = (log.topics(), log.data().data.as_ref());
        if watched.apps.contains(&log.address()) {
            match PolicyEvent::decode(topics, data) {
                Ok(Some(event)) => sorted.ledger.push(place.ledger_entry(log, &event, times)),
                Ok(None) => {}
                Err(error) => skipped(log, &place, &error),
            }
        }
        if watched.kms.contains(&log.address())
            && let Some(app) = kms::deployed_app(topics, data)
        {
            sorted.discovered.push((app, place.block.number));
        }
        if watched.safes.contains(&log.address()) {
            match SafeEvent::decode(topics, data) {
                Ok(Some(event)) => sorted.executions.push(place.execution(log.address(), event)),
                Ok(None) if topics.first().is_some_and(|one| RECONFIGURATIONS.contains(one)) => {
                    sorted.reconfigured.push(log.address());
                }
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
