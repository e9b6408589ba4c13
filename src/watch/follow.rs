//! One tick of the follower of a chain: what is new since the last one, in one transaction.

use std::collections::BTreeSet;

use alloy::{primitives::Address, rpc::types::Log};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    WatchError,
    logs::{self, BlockTimes},
};
use crate::{
    chain::{Chain, ChainError, Header},
    clock::Time,
    request::{
        facts::BlockRef,
        ids::{AppId, BlockHash},
    },
    store::{
        Store,
        chain::{Advance, Leadership, WINDOW_BLOCKS},
        journal::Actor,
    },
};

/// Blocks per request for logs.
const RANGE_BLOCKS: u64 = 1_000;
/// Headers asked for at the same time.
const HEADERS_AT_ONCE: usize = 8;

/// What a tick did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// The chain stands where it stood, or a node is behind.
    Unchanged,
    /// Everything up to the chain's head is read.
    CaughtUp { head: BlockRef },
    /// There is more to read: tick again at once.
    More { head: BlockRef },
}

/// Reads what is new on a chain. Safe to repeat: whatever fails leaves the place as it was.
pub async fn tick(
    store: &Store,
    chain: &Chain,
    proof: &Leadership,
    now: Time,
) -> Result<Tick, WatchError> {
    let head = chain.head().await?;
    let Some(ours) = store.head(chain.id()).await? else {
        begin(store, chain, proof, head, now).await?;
        backfill(store, chain, proof, head.block).await?;
        return Ok(Tick::CaughtUp { head: head.block });
    };
    let ours = ours.block;
    if head.block == ours {
        store.head_seen(chain.id(), now).await?;
        backfill(store, chain, proof, ours).await?;
        return Ok(Tick::Unchanged);
    }
    let ancestor = common_ancestor(store, chain, ours, head.block).await?;
    if ancestor == head.block.number {
        // The node is behind us on the same chain.
        return Ok(Tick::Unchanged);
    }
    let to = head.block.number.min(ancestor + RANGE_BLOCKS);
    let to = if to == head.block.number { head } else { chain.header(to).await? };
    let step = read_range(store, chain, ours, ancestor, to, head.block.number).await?;
    store.advance(proof, &step, &Actor::service("watch"), now).await?;
    backfill(store, chain, proof, to.block).await?;
    Ok(if to.block == head.block {
        Tick::CaughtUp { head: to.block }
    } else {
        Tick::More { head: to.block }
    })
}

/// The first look at a chain starts at its head; history comes by backfill.
async fn begin(
    store: &Store,
    chain: &Chain,
    proof: &Leadership,
    head: Header,
    now: Time,
) -> Result<(), WatchError> {
    let step = Advance {
        chain: chain.id(),
        from: None,
        ancestor: None,
        blocks: vec![head.block],
        head: head.block,
        head_time: head.time,
        ledger: vec![],
        executions: vec![],
    };
    store.advance(proof, &step, &Actor::service("watch"), now).await?;
    Ok(())
}

/// The highest block that we and the chain have in common, at or below both heads.
async fn common_ancestor(
    store: &Store,
    chain: &Chain,
    ours: BlockRef,
    head: BlockRef,
) -> Result<u64, WatchError> {
    let window = store.window(chain.id(), ours.number.min(head.number)).await?;
    for known in &window {
        let theirs = if known.number == head.number {
            head.hash
        } else {
            chain.header(known.number).await?.block.hash
        };
        if theirs == known.hash {
            return Ok(known.number);
        }
    }
    Err(WatchError::TooDeep { chain: chain.id(), window: WINDOW_BLOCKS })
}

/// Reads the blocks above `ancestor` up to `to`.
async fn read_range(
    store: &Store,
    chain: &Chain,
    ours: BlockRef,
    ancestor: u64,
    to: Header,
    chain_head: u64,
) -> Result<Advance, WatchError> {
    let apps: Vec<AppId> = store.apps(chain.id()).await?.into_iter().map(|(app, _)| app).collect();
    let safes = store.safes(chain.id()).await?;
    let addresses: Vec<Address> =
        apps.iter().map(|app| app.0).chain(safes.iter().copied()).collect();
    let from = ancestor + 1;
    let logs = if addresses.is_empty() {
        vec![]
    } else {
        chain.logs(&addresses, &logs::topics(), from, to.block.number).await?
    };
    let first_kept = from.max((chain_head + 1).saturating_sub(WINDOW_BLOCKS));
    let headers = headers(chain, first_kept, to, &logs).await?;
    check_chained(&headers, &logs)?;
    let times: BlockTimes = headers.iter().map(|header| (header.block.hash, header.time)).collect();
    let sorted = logs::sort(&logs, &apps, &safes, &times);
    Ok(Advance {
        chain: chain.id(),
        from: Some(ours),
        ancestor: (ancestor < ours.number).then_some(ancestor),
        blocks: headers.iter().map(|header| header.block).collect(),
        head: to.block,
        head_time: to.time,
        ledger: sorted.ledger,
        executions: sorted.executions,
    })
}

/// Headers of the blocks to remember and of those that carry logs, oldest first.
async fn headers(
    chain: &Chain,
    first_kept: u64,
    to: Header,
    logs: &[Log],
) -> Result<Vec<Header>, WatchError> {
    let kept = first_kept..to.block.number;
    let with_logs = logs.iter().filter_map(|log| log.block_number);
    let numbers: BTreeSet<u64> =
        kept.chain(with_logs).filter(|number| *number < to.block.number).collect();
    let mut headers: Vec<Header> = stream::iter(numbers)
        .map(|number| chain.header(number))
        .buffered(HEADERS_AT_ONCE)
        .try_collect()
        .await?;
    headers.push(to);
    Ok(headers)
}

/// Neighbouring headers must link, and each log must stand in a block we read: otherwise the chain
/// moved while we looked, and the tick is repeated.
fn check_chained(headers: &[Header], logs: &[Log]) -> Result<(), ChainError> {
    let linked = headers.windows(2).all(|pair| {
        pair[1].block.number != pair[0].block.number + 1 || pair[1].parent == pair[0].block.hash
    });
    let hash_at = |number: u64| {
        headers.iter().find(|header| header.block.number == number).map(|header| header.block.hash)
    };
    let placed =
        logs.iter().all(|log| log.block_number.and_then(hash_at) == log.block_hash.map(BlockHash));
    match (linked, placed) {
        (true, true) => Ok(()),
        (false, _) => Err(ChainError::Logs("the chain moved while its headers were read".into())),
        (_, false) => Err(ChainError::Logs("a log stands in a block of another chain".into())),
    }
}

/// Reads the history of apps that are new here, up to `head`, which the follower has reached.
async fn backfill(
    store: &Store,
    chain: &Chain,
    proof: &Leadership,
    head: BlockRef,
) -> Result<(), WatchError> {
    for (app, ledger_from) in store.apps(chain.id()).await? {
        if ledger_from.is_some() {
            continue;
        }
        let start = head.number.saturating_sub(chain.backfill_blocks());
        let (mut from, mut logs) = (start, vec![]);
        while from <= head.number {
            let to = head.number.min(from + RANGE_BLOCKS - 1);
            logs.extend(chain.logs(&[app.0], &logs::topics(), from, to).await?);
            from = to + 1;
        }
        let at_head = chain.header(head.number).await?;
        let headers = headers(chain, head.number, at_head, &logs).await?;
        check_chained(&headers, &logs)?;
        let times: BlockTimes =
            headers.iter().map(|header| (header.block.hash, header.time)).collect();
        let entries = logs::sort(&logs, &[app], &[], &times).ledger;
        store.backfilled(proof, chain.id(), app, start, &entries).await?;
        tracing::info!(
            chain.id = %chain.id(), app.id = %app, entries = entries.len(), from = start,
            "read the history of an app"
        );
    }
    Ok(())
}
