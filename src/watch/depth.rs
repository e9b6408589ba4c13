//! What lies deep enough, and which requests that makes registered.

use std::time::Duration;

use futures::try_join;
use serde::Serialize;

use super::WatchError;
use crate::{
    chain::{Chain, ChainError, Header, Tag},
    clock::Time,
    config::DepthPolicy,
    request::{facts::BlockRef, ids::RequestId},
    store::{
        Store,
        chain::{Head, Place},
    },
};

/// Most requests registered by one block; the others follow with the next tick.
const REGISTRATIONS_MAX: u32 = 600;
/// How often the chain is asked what it calls finalized, in blocks.
const FINALIZED_EVERY: u64 = 32;

/// The newest block that is as deep as the policy asks once `headers`, which follow `ancestor`,
/// are read.
pub async fn deep_block(
    store: &Store,
    chain: &Chain,
    place: &Place,
    ancestor: u64,
    headers: &[Header],
) -> Result<Option<BlockRef>, WatchError> {
    let Some(head) = headers.last().map(|header| header.block) else { return Ok(None) };
    let tag = match chain.depth() {
        DepthPolicy::Blocks(blocks) => {
            let Some(number) = head.number.checked_sub(blocks) else { return Ok(None) };
            return remembered(store, chain, place, ancestor, headers, number).await.map(Some);
        }
        DepthPolicy::Safe => Tag::Safe,
        DepthPolicy::Finalized => Tag::Finalized,
    };
    let tagged = chain.tagged(tag).await?.block;
    if tagged.number >= head.number {
        return Ok(Some(head));
    }
    if let Some(known) = place.head.deep
        && (tagged.number..=ancestor).contains(&known.number)
    {
        // The endpoint that answered is behind: what was deep stays so.
        return Ok(Some(known));
    }
    let ours = headers.iter().map(|header| header.block).find(|one| one.number == tagged.number);
    let ours = match ours {
        Some(ours) => Some(ours),
        None if tagged.number <= ancestor => store.block_at(chain.id(), tagged.number).await?,
        None => None,
    };
    if ours.is_some_and(|ours| ours != tagged) {
        return Err(ChainError::Moved("what it calls deep is not on it").into());
    }
    Ok(Some(tagged))
}

/// The block at `number`, without a call if it is among what was read or remembered.
async fn remembered(
    store: &Store,
    chain: &Chain,
    place: &Place,
    ancestor: u64,
    headers: &[Header],
    number: u64,
) -> Result<BlockRef, WatchError> {
    let read = headers.iter().map(|header| header.block).find(|block| block.number == number);
    if let Some(block) = read.or(place.next_deep.filter(|block| block.number == number))
        && (block.number <= ancestor || read.is_some())
    {
        return Ok(block);
    }
    if number <= ancestor
        && let Some(block) = store.block_at(chain.id(), number).await?
    {
        return Ok(block);
    }
    Ok(chain.header(number).await?.block)
}

/// The newest finalized block, asked for now and then; a chain that has no such thing is followed
/// without.
pub async fn finalized(
    chain: &Chain,
    place: &Place,
    deep: Option<BlockRef>,
    head: BlockRef,
) -> Option<u64> {
    if chain.depth() == DepthPolicy::Finalized {
        return deep.map(|deep| deep.number);
    }
    if head.number / FINALIZED_EVERY == place.head.block.number / FINALIZED_EVERY {
        return None;
    }
    let header = chain.tagged(Tag::Finalized).await.ok()?;
    Some(header.block.number.min(head.number))
}

/// The requests among those that wait whose entries both read true, at `deep` and still at `head`.
/// Unreadable is not "no", and not "yes" either: such a request is woken, to say so.
pub async fn registrations(
    store: &Store,
    chain: &Chain,
    deep: Option<BlockRef>,
    head: BlockRef,
    now: Time,
) -> Result<Vec<RequestId>, WatchError> {
    let Some(deep) = deep else { return Ok(vec![]) };
    let waiting = store.awaiting_depth(chain.id(), deep.number, REGISTRATIONS_MAX).await?;
    if waiting.is_empty() {
        return Ok(vec![]);
    }
    let entries: Vec<_> = waiting.iter().map(|one| (one.app, one.compose, one.device)).collect();
    let (deep, head) =
        try_join!(chain.allowed_each(&entries, deep), chain.allowed_each(&entries, head))?;
    let (mut complete, mut unreadable) = (vec![], vec![]);
    for (one, at_both) in waiting.iter().zip(deep.iter().zip(&head)) {
        match at_both {
            (Ok(deep), Ok(head)) if deep.is_complete() && head.is_complete() => {
                complete.push(one.request);
            }
            (Ok(_), Ok(_)) => {}
            _ => unreadable.push((one.request, true)),
        }
    }
    if !unreadable.is_empty() {
        store.looked_at(&unreadable, now).await?;
    }
    Ok(complete)
}

/// How deep an execution lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Depth {
    /// Blocks on top of the execution.
    pub blocks: u64,
    /// Blocks it needs; for `safe` and `finalized`, what the chain took lately.
    pub needed: u64,
    /// Whether `needed` is exact.
    pub is_exact: bool,
    /// Estimated time until it counts, in seconds.
    pub seconds_left: Option<u64>,
}

impl Depth {
    /// Such as `3 of 12 blocks deep, about 18 s left`.
    pub fn words(&self, policy: DepthPolicy) -> String {
        let Self { blocks, needed, is_exact, seconds_left } = *self;
        let left = match seconds_left {
            Some(0) | None => String::new(),
            Some(seconds @ 1..120) => format!(", about {seconds} s left"),
            Some(seconds) => format!(", about {} min left", seconds.div_ceil(60)),
        };
        if is_exact {
            format!("{blocks} of {needed} blocks deep{left}")
        } else {
            let waits = format!("waiting until the chain calls it {policy}");
            format!("{blocks} of about {needed} blocks deep, {waits}{left}")
        }
    }

    /// How deep block `executed` lies, seen from the follower's head.
    pub fn of(executed: u64, policy: DepthPolicy, head: &Head) -> Option<Self> {
        let blocks = head.block.number.saturating_sub(executed);
        let (needed, is_exact) = match (policy, head.deep) {
            (DepthPolicy::Blocks(needed), _) => (needed, true),
            (_, Some(deep)) => (head.block.number.saturating_sub(deep.number).max(1), false),
            (_, None) => return None,
        };
        let left = needed.saturating_sub(blocks);
        let seconds_left = head
            .block_millis
            .map(|millis| Duration::from_millis(millis.saturating_mul(left)).as_secs());
        Some(Self { blocks: blocks.min(needed), needed, is_exact, seconds_left })
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;
    use crate::request::ids::BlockHash;

    fn block(number: u64) -> BlockRef {
        BlockRef { number, hash: BlockHash(B256::with_last_byte(1)) }
    }

    #[test]
    fn depth_is_told_as_n_of_m_with_an_estimate() {
        let safe =
            "10 of about 30 blocks deep, waiting until the chain calls it safe, about 40 s left";
        for (policy, executed, head, deep, expected) in [
            (DepthPolicy::Blocks(12), 100, 103, None, "3 of 12 blocks deep, about 18 s left"),
            (DepthPolicy::Blocks(900), 100, 103, None, "3 of 900 blocks deep, about 30 min left"),
            (DepthPolicy::Blocks(12), 100, 200, None, "12 of 12 blocks deep"),
            (DepthPolicy::Blocks(0), 100, 100, None, "0 of 0 blocks deep"),
            (DepthPolicy::Safe, 100, 110, Some(80), safe),
            (DepthPolicy::Finalized, 100, 110, None, ""),
            // The execution is above a head that went back.
            (DepthPolicy::Blocks(2), 100, 99, None, "0 of 2 blocks deep, about 4 s left"),
        ] {
            let head = Head {
                block: block(head),
                block_time: Time::default(),
                seen_at: Time::default(),
                deep: deep.map(block),
                finalized: None,
                block_millis: Some(2_000),
            };
            let told = Depth::of(executed, policy, &head).map(|depth| depth.words(policy));
            assert_eq!(told.unwrap_or_default(), expected, "{policy} {executed}");
        }
    }
}
