//! Where every case must end: what is kept, against the chain.

use std::{collections::BTreeSet, sync::Arc};

use alloy::primitives::B256;
use chrono::DateTime;
use countersign::{
    audit::{self, EntryKind, Policy},
    chain::Chain,
    owner::Account,
    request::{
        facts::BlockRef,
        ids::{AppId, BlockHash, ChainId, TxHash},
    },
    store::{Store, ledger::LedgerEntry},
};
use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};

use crate::world::paper_chain::{Block, Emitted, app::App};

/// The head and the window are the chain's.
pub async fn place_holds(
    store: &Store,
    chain: ChainId,
    blocks: &[Arc<Block>],
) -> Result<(), TestCaseError> {
    let head = store.head(chain).await.expect("it reads").map(|head| head.block);
    let window = store.window(chain, u64::MAX).await.expect("it reads");
    prop_assert_eq!(head, window.first().copied());
    let expected: Vec<BlockRef> =
        blocks.iter().rev().take(window.len()).map(|block| place_of(block)).collect();
    prop_assert_eq!(window, expected, "the window");
    Ok(())
}

/// The ledger of an app is what the chain's blocks say, and nothing else; folded, it gives the
/// state of the app at each block, and what the contract says now.
pub async fn ledger_holds(
    store: &Store,
    chain: &Chain,
    app: AppId,
    blocks: &[Arc<Block>],
) -> Result<(), TestCaseError> {
    let id = chain.id();
    let recorded = store.recorded(id, app).await.expect("it reads");
    let ledger: Vec<&LedgerEntry> = recorded.iter().map(|one| &one.entry).collect();
    let Some(history) = store.app_history(id, app).await.expect("it reads") else {
        prop_assert!(ledger.is_empty(), "nobody watches {}", app);
        return Ok(());
    };
    prop_assert!(history.is_read(), "{:?}", history);
    let expected: Vec<LedgerEntry> = blocks.iter().flat_map(|block| entries(block, app)).collect();
    let same = ledger.iter().zip(&expected).take_while(|(one, other)| **one == *other).count();
    prop_assert_eq!(ledger.get(same).copied(), expected.get(same), "entry {} of {}", same, app);
    for block in blocks {
        let told = audit::policy(&recorded, history.is_whole(), Some(block.number));
        policy_holds(&told, block.apps.get(&app.0))?;
    }
    if blocks.last().is_some_and(|head| head.apps.contains_key(&app.0)) {
        let compared = audit::drift(store, chain, &history).await;
        prop_assert_eq!(compared.expect("a quorum is honest").drift, vec![]);
    }
    Ok(())
}

fn place_of(block: &Block) -> BlockRef {
    BlockRef { number: block.number, hash: BlockHash(block.hash) }
}

/// What the ledger must hold of an app and a block.
fn entries(block: &Block, app: AppId) -> Vec<LedgerEntry> {
    let seconds = i64::try_from(block.time).expect("it is a time");
    let block_time = DateTime::from_timestamp(seconds, 0).expect("it is a time");
    let of_app = block.logs.iter().filter(|log| log.app == app.0);
    let entry = |log: &Emitted| LedgerEntry {
        block: place_of(block),
        block_time,
        log_index: log.log_index as u64,
        tx: TxHash(log.tx),
        app,
        kind: log.event.kind().to_owned(),
        value: log.event.value(),
    };
    of_app.map(entry).collect()
}

/// What the events tell of an app is so.
fn policy_holds(told: &Policy, app: Option<&App>) -> Result<(), TestCaseError> {
    let folded: BTreeSet<(EntryKind, B256)> =
        told.entries.iter().map(|entry| (entry.kind, entry.value)).collect();
    let Some(app) = app else {
        prop_assert!(folded.is_empty());
        return Ok(());
    };
    let composes = app.composes.iter().map(|hash| (EntryKind::ComposeHash, *hash));
    let devices = app.devices.iter().map(|device| (EntryKind::Device, *device));
    prop_assert_eq!(folded, composes.chain(devices).collect());
    prop_assert!(told.allow_any_device.is_none_or(|told| told == app.any_device));
    prop_assert!(told.require_tcb_up_to_date.is_none_or(|told| told == app.require_tcb));
    prop_assert!(told.upgrades_disabled.is_none_or(|told| told == app.upgrades_disabled));
    prop_assert_eq!(told.owner, Some(Account(app.owner)));
    prop_assert!(told.pending_owner.is_none_or(|told| told == Account(app.pending_owner)));
    prop_assert_eq!(told.implementation, Some(Account(app.implementation)));
    Ok(())
}
