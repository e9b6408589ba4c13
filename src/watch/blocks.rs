//! Blocks and their logs, read so that what comes out hangs together: each block links to the one
//! below it, and each log stands in one of them.

use std::collections::BTreeSet;

use alloy::rpc::types::Log;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    WatchError,
    logs::{self, BlockTimes, Sorted, Watched},
};
use crate::{
    chain::{Chain, ChainError, Header, Wanted},
    request::{facts::BlockRef, ids::BlockHash},
    store::{Store, chain::WINDOW_BLOCKS},
};

/// Headers asked for at the same time.
const HEADERS_AT_ONCE: usize = 8;

/// Blocks that were read.
#[derive(Debug)]
pub struct Blocks {
    /// Those to remember and those with logs, oldest first, ending with the last block read.
    pub headers: Vec<Header>,
    pub logs: usize,
    pub sorted: Sorted,
}

/// The highest block that we and the chain have in common, at or below both heads.
pub async fn common_ancestor(
    store: &Store,
    chain: &Chain,
    ours: BlockRef,
    head: Header,
) -> Result<BlockRef, WatchError> {
    if head.block.number == ours.number + 1 && head.parent == ours.hash {
        return Ok(ours);
    }
    if head.block.number > ours.number && chain.header(ours.number).await?.block == ours {
        return Ok(ours);
    }
    for known in store.window(chain.id(), ours.number.min(head.block.number)).await? {
        let theirs = if known.number == head.block.number {
            head.block.hash
        } else {
            chain.header(known.number).await?.block.hash
        };
        if theirs == known.hash {
            return Ok(known);
        }
    }
    Err(WatchError::TooDeep { chain: chain.id(), window: WINDOW_BLOCKS })
}

/// Reads the blocks above `ancestor` up to `to`; those that the window of `chain_head` keeps are
/// remembered.
pub async fn read(
    chain: &Chain,
    watched: &Watched,
    ancestor: BlockRef,
    to: Header,
    chain_head: u64,
) -> Result<Blocks, ChainError> {
    let wanted = &watched.wanted;
    let from = ancestor.number + 1;
    let logs = if wanted.addresses.is_empty() {
        vec![]
    } else if from == to.block.number {
        chain.block_logs(wanted, to.block).await?
    } else if to.block.number - from < NEAR_BLOCKS {
        recent_logs(chain, wanted, &headers(chain, from, to, &[]).await?).await?
    } else {
        chain.logs(wanted, from, to.block).await?
    };
    let first_kept = from.max((chain_head + 1).saturating_sub(WINDOW_BLOCKS));
    let headers = headers(chain, first_kept, to, &logs).await?;
    check_chained(&headers, &logs)?;
    if headers.iter().any(|one| one.block.number == from && one.parent != ancestor.hash) {
        return Err(ChainError::Moved("its new blocks do not link to ours"));
    }
    let times: BlockTimes = headers.iter().map(|header| (header.block.hash, header.time)).collect();
    let sorted = logs::sort(&logs, watched, &times);
    Ok(Blocks { headers, logs: logs.len(), sorted })
}

/// This many blocks up to the head may well be replaced, and are asked for one by one.
pub const NEAR_BLOCKS: u64 = 32;

/// Logs of blocks that may still be replaced: each is asked for by its hash, so that a machine that
/// has another chain refuses, instead of answering for that one.
pub async fn recent_logs(
    chain: &Chain,
    wanted: &Wanted,
    headers: &[Header],
) -> Result<Vec<Log>, ChainError> {
    check_chained(headers, &[])?;
    let blocks: Vec<BlockRef> = headers.iter().map(|header| header.block).collect();
    let logs: Vec<Vec<Log>> = stream::iter(blocks)
        .map(|block| chain.block_logs(wanted, block))
        .buffered(HEADERS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(logs.concat())
}

/// Headers of the blocks to remember and of those that carry logs, oldest first.
pub async fn headers(
    chain: &Chain,
    first_kept: u64,
    to: Header,
    logs: &[Log],
) -> Result<Vec<Header>, ChainError> {
    let with_logs = logs.iter().filter_map(|log| log.block_number);
    let numbers: BTreeSet<u64> = (first_kept..to.block.number)
        .chain(with_logs)
        .filter(|number| *number < to.block.number)
        .collect();
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
pub fn check_chained(headers: &[Header], logs: &[Log]) -> Result<(), ChainError> {
    let linked = headers.windows(2).all(|pair| {
        pair[1].block.number != pair[0].block.number + 1 || pair[1].parent == pair[0].block.hash
    });
    let hash_at = |number: u64| {
        let place = headers.binary_search_by_key(&number, |header| header.block.number);
        place.ok().map(|place| headers[place].block.hash)
    };
    let placed =
        logs.iter().all(|log| log.block_number.and_then(hash_at) == log.block_hash.map(BlockHash));
    match (linked, placed) {
        (true, true) => Ok(()),
        (false, _) => Err(ChainError::Moved("its headers do not link")),
        (_, false) => Err(ChainError::Moved("a log stands in a block of another chain")),
    }
}
