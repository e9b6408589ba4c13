//! Reads the history of watched contracts, downwards from where watching began, a bounded step at a
//! time. Every step is kept with how far it reaches, so that it goes on where it stopped.

use std::collections::BTreeSet;

use alloy::{primitives::Address, rpc::types::Log};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    WatchError,
    blocks::{NEAR_BLOCKS, headers, recent_logs},
    logs::{self, BlockTimes, Watched},
    range::Range,
};
use crate::{
    chain::{Chain, ChainError, Header},
    clock::Time,
    request::{facts::BlockRef, ids::BlockHash},
    store::{
        Store,
        chain::Leadership,
        history::{Stretch, Unread},
    },
};

/// Contracts whose history is read together: one filter.
const CONTRACTS_AT_ONCE: u32 = 1_000;
/// Contracts whose deployment is looked for in one step.
const STARTS_AT_ONCE: usize = 16;
/// Searches, ranges and headers under way at the same time.
const CALLS_AT_ONCE: usize = 4;

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Every history is read.
    Whole,
    /// There is more to read.
    More,
}

/// What is kept between steps. Losing it costs some calls and nothing else.
#[derive(Debug, Default)]
pub struct History {
    range: Range,
}

impl History {
    /// Takes one step.
    pub async fn step(
        &mut self,
        store: &Store,
        chain: &Chain,
        proof: &Leadership,
        now: Time,
    ) -> Result<Progress, WatchError> {
        let Some(head) = store.head(chain.id()).await? else { return Ok(Progress::Whole) };
        let unread = store.unread(chain.id(), CONTRACTS_AT_ONCE).await?;
        let startless: Vec<Address> = unread
            .iter()
            .filter(|one| one.start.is_none())
            .map(|one| one.address)
            .take(STARTS_AT_ONCE)
            .collect();
        if !startless.is_empty() {
            let starts = stream::iter(startless)
                .map(|address| find_start(chain, address, head.block))
                .buffered(CALLS_AT_ONCE)
                .try_collect::<Vec<_>>();
            store.history_starts(proof, chain.id(), &starts.await?).await?;
            return Ok(Progress::More);
        }
        let Some(group) = Group::of(&unread) else { return Ok(Progress::Whole) };
        self.read(store, chain, proof, &group, head.block, now).await?;
        Ok(Progress::More)
    }

    /// Reads a few ranges at the same time, and keeps them one after the other.
    async fn read(
        &mut self,
        store: &Store,
        chain: &Chain,
        proof: &Leadership,
        group: &Group,
        head: BlockRef,
        now: Time,
    ) -> Result<(), WatchError> {
        let ranges = group.ranges(head.number, self.range.blocks(), CALLS_AT_ONCE);
        let mut asked = ranges.clone().into_iter().map(|(from, to)| to + 1 - from);
        let mut read = stream::iter(ranges)
            .map(|(from, to)| stretch(chain, group, from, to, from > settled(head.number)))
            .buffered(CALLS_AT_ONCE);
        while let (Some(stretch), Some(blocks)) = (read.next().await, asked.next()) {
            match stretch {
                Ok((stretch, logs)) => {
                    store.add_history(proof, &stretch, &group.contracts, now).await?;
                    self.range.answered(logs);
                }
                Err(ChainError::Logs(_)) if self.range.refused(blocks) => return Ok(()),
                Err(error) => {
                    // Whatever fails may be too much at once.
                    self.range.refused(blocks);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

/// Contracts that are known down to the same block, and how far down they go together.
#[derive(Debug)]
struct Group {
    contracts: Vec<Address>,
    watched: Watched,
    /// Everything from here on is known of them.
    known_from: u64,
    /// Where the first of their histories starts, or where others join them.
    down_to: u64,
}

impl Group {
    /// Those that are known least far down, which others join on the way.
    fn of(unread: &[Unread]) -> Option<Self> {
        let known_from = unread.first()?.known_from;
        let (group, others): (Vec<&Unread>, Vec<&Unread>) =
            unread.iter().partition(|one| one.known_from == known_from);
        let joined_at = others.iter().map(|one| one.known_from).max().unwrap_or_default();
        let start = group.iter().filter_map(|one| one.start).min()?;
        let of_kind = |is_kms: bool| {
            let members = group.iter().filter(move |one| one.is_kms == is_kms);
            members.map(|one| one.address)
        };
        Some(Self {
            contracts: group.iter().map(|one| one.address).collect(),
            watched: Watched::new(of_kind(false), of_kind(true), []),
            known_from,
            down_to: start.max(joined_at),
        })
    }

    /// The next ranges, the highest first, each with its first and last block. None holds both
    /// blocks that are settled and blocks that are not.
    fn ranges(&self, head: u64, blocks: u64, count: usize) -> Vec<(u64, u64)> {
        let mut ranges = vec![];
        let mut known_from = self.known_from;
        while known_from > self.down_to && ranges.len() < count {
            let mut from = known_from.saturating_sub(blocks).max(self.down_to);
            if known_from > settled(head) + 1 {
                from = from.max(settled(head) + 1);
            }
            ranges.push((from, known_from - 1));
            known_from = from;
        }
        ranges
    }
}

/// The last block that is so deep that logs of ranges are asked for.
fn settled(head: u64) -> u64 {
    head.saturating_sub(NEAR_BLOCKS)
}

/// Where a history starts: at the deployment, or as far back as the settings say when no endpoint
/// can tell.
async fn find_start(
    chain: &Chain,
    address: Address,
    head: BlockRef,
) -> Result<(Address, u64, bool), ChainError> {
    if let Some(block) = chain.deployed_at(address, head).await? {
        return Ok((address, block, true));
    }
    let blocks = chain.settings().backfill_blocks;
    tracing::info!(
        chain.id = %chain.id(), %address, blocks,
        "no endpoint tells when this contract was deployed; reading back as far as is set"
    );
    Ok((address, head.number.saturating_sub(blocks), false))
}

async fn stretch(
    chain: &Chain,
    group: &Group,
    from: u64,
    to: u64,
    is_recent: bool,
) -> Result<(Stretch, usize), ChainError> {
    let to = chain.header(to).await?;
    let wanted = &group.watched.wanted;
    let logs = if is_recent {
        recent_logs(chain, wanted, &headers(chain, from, to, &[]).await?).await?
    } else {
        chain.logs(wanted, from, to.block).await?
    };
    let times = times(chain, &logs, to).await?;
    let sorted = logs::sort(&logs, &group.watched, &times);
    let stretch = Stretch {
        chain: chain.id(),
        from,
        to: to.block,
        entries: sorted.ledger,
        discovered: sorted.discovered,
    };
    Ok((stretch, logs.len()))
}

/// Times of the blocks that carry logs: many nodes tell them with the log, the others are asked.
async fn times(chain: &Chain, logs: &[Log], to: Header) -> Result<BlockTimes, ChainError> {
    let mut times = BlockTimes::from([(to.block.hash, to.time)]);
    let mut untold = BTreeSet::new();
    for log in logs {
        let (Some(number), Some(hash)) = (log.block_number, log.block_hash.map(BlockHash)) else {
            continue;
        };
        match log.block_timestamp.and_then(at) {
            Some(time) => drop(times.insert(hash, time)),
            None if !times.contains_key(&hash) => drop(untold.insert(number)),
            None => {}
        }
    }
    let headers: Vec<Header> = stream::iter(untold)
        .map(|number| chain.header(number))
        .buffered(CALLS_AT_ONCE)
        .try_collect()
        .await?;
    times.extend(headers.iter().map(|header| (header.block.hash, header.time)));
    let placed =
        |log: &Log| log.block_hash.is_some_and(|hash| times.contains_key(&BlockHash(hash)));
    if logs.iter().all(placed) {
        Ok(times)
    } else {
        Err(ChainError::Moved("a log stands in a block of another chain"))
    }
}

fn at(seconds: u64) -> Option<Time> {
    chrono::DateTime::from_timestamp(seconds.try_into().ok()?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(byte: u8, known_from: u64, start: u64) -> Unread {
        Unread {
            address: Address::repeat_byte(byte),
            is_kms: false,
            known_from,
            start: Some(start),
        }
    }

    #[test]
    fn histories_that_reach_less_far_down_are_read_until_they_meet_the_others() {
        let group = Group::of(&[unread(1, 100, 5), unread(2, 100, 60), unread(3, 40, 0)]).unwrap();
        assert_eq!(group.contracts.len(), 2);
        assert_eq!(group.ranges(999, 25, 9), [(75, 99), (50, 74), (40, 49)]);
        assert_eq!(group.ranges(999, 25, 2), [(75, 99), (50, 74)]);
        // What may still be replaced is not read together with what may not.
        assert_eq!(group.ranges(99, 50, 9), [(68, 99), (40, 67)]);
        let group = Group::of(&[unread(1, 40, 5), unread(2, 40, 10)]).unwrap();
        assert_eq!(group.ranges(999, 1_000, 9), [(5, 39)]);
        assert!(Group::of(&[]).is_none());
    }
}
