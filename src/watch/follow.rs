//! One tick of the follower of a chain: what is new since the last one, in one transaction.
//!
//! A tick costs the same number of calls whatever is watched: the head, the logs of the block, and
//! one read for all requests that the block makes deep enough.

use std::{collections::HashSet, mem, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream, try_join};
use tokio::sync::Notify;

use super::{
    WatchError,
    blocks::{self, Blocks},
    depth,
    logs::Watched,
    range::Range,
};
use crate::{
    chain::{Chain, ChainError, Header},
    clock::Time,
    config::DepthPolicy,
    request::{event::Event, facts::BlockRef, ids::RequestId},
    store::{
        Store,
        advance::{Advance, Seen},
        chain::{Head, Leadership, Place},
        journal::Actor,
    },
};

/// Blocks up to the first head that are remembered, so that an early reorganisation is understood.
const FIRST_BLOCKS: u64 = 64;
const HEADERS_AT_ONCE: usize = 8;
/// How often it is noted that a chain stands where it stood.
const SEEN_EVERY: Duration = Duration::from_secs(2);
/// How often the state is read for requests that no event has woken.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// Requests in one such read, which is one call.
const SWEEP_REQUESTS: u32 = 60;
/// Registrations found by one tick that are left to be written with the intent to commit: as many
/// as there surely are idle workers for. More are written at once, and take their turns.
const AT_ONCE_MAX: usize = 4;

/// What a tick did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// The chain stands where it stood, or a node is behind.
    Unchanged,
    /// Everything up to the chain's head is read.
    CaughtUp { head: BlockRef },
    /// There is more to read: tick again at once.
    More,
}

/// What a follower keeps between ticks. Losing it costs some calls and nothing else.
#[derive(Debug, Default)]
pub struct Follower {
    watched: Watched,
    /// Tells whether `watched` is still what is to be watched.
    version: Option<i64>,
    range: Range,
    swept_at: Option<Time>,
    learned: Arc<Notify>,
    /// What the last tick left to be registered with the intent to commit.
    at_once: Vec<(RequestId, Seen)>,
    /// What was left so before and has not become registered yet, which is not done twice.
    left: HashSet<RequestId>,
}

fn actor() -> Actor {
    Actor::service("watch")
}

impl Follower {
    /// Tells when something new is watched, whose history is to be read.
    pub fn learned(&self) -> Arc<Notify> {
        self.learned.clone()
    }

    /// The requests that the last tick found registered and did not write so, for a worker to write
    /// it in one transaction with its intent to commit. The next tick writes what is still open.
    pub fn take_at_once(&mut self) -> Vec<(RequestId, Seen)> {
        mem::take(&mut self.at_once)
    }

    /// Chooses who is left to be committed at once; returns who is to be written as registered.
    fn leave(
        &mut self,
        registered: Vec<RequestId>,
        deep: Option<BlockRef>,
        at: BlockRef,
        policy: &str,
    ) -> Vec<RequestId> {
        let Some(block) = deep else { return registered };
        let is_quiet = registered.len() <= AT_ONCE_MAX;
        let (now, later): (Vec<_>, Vec<_>) =
            registered.into_iter().partition(|request| !is_quiet || self.left.contains(request));
        self.left = later.iter().copied().collect();
        self.at_once = later
            .into_iter()
            .map(|request| {
                let event = Event::Registered { block, depth: policy.to_owned() };
                (request, Seen { event, at })
            })
            .collect();
        now
    }

    /// Reads what is new on a chain. Safe to repeat: whatever fails leaves the place as it was.
    pub async fn tick(
        &mut self,
        store: &Store,
        chain: &Chain,
        proof: &Leadership,
        now: Time,
    ) -> Result<Tick, WatchError> {
        self.at_once.clear();
        let head = chain.head().await?;
        let counted = match chain.depth() {
            DepthPolicy::Blocks(blocks) => Some(blocks),
            DepthPolicy::Safe | DepthPolicy::Finalized => None,
        };
        let Some(place) = store.place(chain.id(), counted).await? else {
            begin(store, chain, proof, head, now).await?;
            return Ok(Tick::More);
        };
        if let Some(problem) = place.halted {
            return Err(WatchError::Halted { problem });
        }
        self.learn(store, chain, &place).await?;
        let tick = Box::pin(self.follow(store, chain, proof, &place, head, now)).await?;
        if tick == Tick::Unchanged {
            self.unchanged(store, chain, proof, &place, now).await?;
        }
        self.sweep(store, chain, place.head.block, now).await?;
        Ok(tick)
    }

    /// Learns what is watched, if that has changed.
    async fn learn(
        &mut self,
        store: &Store,
        chain: &Chain,
        place: &Place,
    ) -> Result<(), WatchError> {
        if self.version != Some(place.watch_version) {
            self.watched = store.watch_set(chain.id(), place.head.block).await?.into();
            self.version = Some(place.watch_version);
            self.learned.notify_one();
        }
        Ok(())
    }

    async fn follow(
        &mut self,
        store: &Store,
        chain: &Chain,
        proof: &Leadership,
        place: &Place,
        head: Header,
        now: Time,
    ) -> Result<Tick, WatchError> {
        let ours = place.head.block;
        if head.block == ours {
            return Ok(Tick::Unchanged);
        }
        let common = blocks::common_ancestor(store, chain, ours, head).await?;
        let ancestor = common.number;
        if ancestor == head.block.number {
            // The node is behind us on the same chain.
            return Ok(Tick::Unchanged);
        }
        if let Some(finalized) = place.head.finalized.filter(|finalized| ancestor < *finalized) {
            return Err(WatchError::BelowFinalized { chain: chain.id(), ancestor, finalized });
        }
        // Far behind, ranges go as far as blocks are settled; the rest is read block by block.
        let settled = head.block.number.saturating_sub(blocks::NEAR_BLOCKS);
        let end = if ancestor < settled { settled } else { head.block.number };
        let to = end.min(ancestor + self.range.blocks());
        let to = if to == head.block.number { head } else { chain.header(to).await? };
        let read = Box::pin(self.read(store, chain, place, common, [to, head], now)).await;
        let (read, deep, registered) = match read {
            Err(WatchError::Chain(ChainError::Logs(_)))
                if self.range.refused(to.block.number - ancestor) =>
            {
                return Ok(Tick::More);
            }
            read => read?,
        };
        self.range.answered(read.logs);
        let policy = chain.depth().to_string();
        let registered = self.leave(registered, deep, to.block, &policy);
        let step = Advance {
            chain: chain.id(),
            from: Some(ours),
            ancestor: (ancestor < ours.number).then_some(ancestor),
            blocks: read.headers.iter().map(|header| header.block).collect(),
            head: to.block,
            head_time: to.time,
            block_millis: usual_pause(place, ancestor, to),
            deep,
            finalized: depth::finalized(chain, place, deep, to.block).await,
            ledger: read.sorted.ledger,
            executions: read.sorted.executions,
            reconfigured: read.sorted.reconfigured,
            discovered: read.sorted.discovered,
            registered,
            policy,
        };
        store.advance(proof, &step, &actor(), now).await?;
        if to.block == head.block { Ok(Tick::CaughtUp { head: to.block }) } else { Ok(Tick::More) }
    }

    /// The new blocks, what they make deep enough, and whom that registers.
    async fn read(
        &self,
        store: &Store,
        chain: &Chain,
        place: &Place,
        common: BlockRef,
        [to, head]: [Header; 2],
        now: Time,
    ) -> Result<(Blocks, Option<BlockRef>, Vec<RequestId>), WatchError> {
        let ancestor = common.number;
        let blocks = async {
            let read = blocks::read(chain, &self.watched, common, to, head.block.number);
            read.await.map_err(WatchError::from)
        };
        if to.block.number == ancestor + 1 {
            // The usual case, in which somebody may be waiting: both at the same time.
            let only = [to];
            let (read, (deep, registered)) =
                try_join!(blocks, deepen(store, chain, place, ancestor, &only, now))?;
            return Ok((read, deep, registered));
        }
        let read = blocks.await?;
        let (deep, registered) = deepen(store, chain, place, ancestor, &read.headers, now).await?;
        Ok((read, deep, registered))
    }

    /// Nothing new; what was executed meanwhile may lie deep enough already.
    async fn unchanged(
        &mut self,
        store: &Store,
        chain: &Chain,
        proof: &Leadership,
        place: &Place,
        now: Time,
    ) -> Result<(), WatchError> {
        let Head { block, block_time: time, .. } = place.head;
        if place.is_awaited {
            let standing = [Header { block, parent: block.hash, time }];
            let deep = depth::deep_block(store, chain, place, block.number, &standing).await?;
            let registered = depth::registrations(store, chain, deep, block, now).await?;
            let (policy, actor) = (chain.depth().to_string(), actor());
            let registered = self.leave(registered, deep, block, &policy);
            if let Some(deep) = deep
                && !registered.is_empty()
            {
                store
                    .register(proof, chain.id(), block, deep, &registered, &policy, &actor, now)
                    .await?;
            }
        }
        if (now - place.head.seen_at).to_std().is_ok_and(|since| since >= SEEN_EVERY) {
            store.head_seen(chain.id(), now).await?;
        }
        Ok(())
    }

    /// Reads the state for the requests that were looked at longest ago, in one call, and wakes
    /// those for which everything is there. Events are only hints; this is what a lost one costs.
    async fn sweep(
        &mut self,
        store: &Store,
        chain: &Chain,
        at: BlockRef,
        now: Time,
    ) -> Result<(), WatchError> {
        let is_due = self
            .swept_at
            .is_none_or(|at| (now - at).to_std().map_or(true, |since| since >= SWEEP_EVERY));
        if !is_due {
            return Ok(());
        }
        self.swept_at = Some(now);
        let waiting = store.longest_unread(chain.id(), SWEEP_REQUESTS).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        let entries: Vec<_> =
            waiting.iter().map(|one| (one.app, one.compose, one.device)).collect();
        let allowed = chain.allowed_each(&entries, at).await?;
        let looked = waiting.iter().zip(&allowed).map(|(one, allowed)| {
            (one.request, allowed.as_ref().is_ok_and(|allowed| allowed.is_complete()))
        });
        store.looked_at(&looked.collect::<Vec<_>>(), now).await?;
        Ok(())
    }
}

/// What new blocks make deep enough, and whom that registers.
async fn deepen(
    store: &Store,
    chain: &Chain,
    place: &Place,
    ancestor: u64,
    headers: &[Header],
    now: Time,
) -> Result<(Option<BlockRef>, Vec<RequestId>), WatchError> {
    let deep = depth::deep_block(store, chain, place, ancestor, headers).await?;
    let awaited = deep.filter(|_| place.is_awaited);
    let head = headers.last().map_or(place.head.block, |header| header.block);
    Ok((deep, depth::registrations(store, chain, awaited, head, now).await?))
}

/// The first look at a chain starts at its head; what is older is history.
async fn begin(
    store: &Store,
    chain: &Chain,
    proof: &Leadership,
    head: Header,
    now: Time,
) -> Result<(), WatchError> {
    let first = (head.block.number + 1).saturating_sub(FIRST_BLOCKS);
    let mut headers: Vec<Header> = stream::iter(first..head.block.number)
        .map(|number| chain.header(number))
        .buffered(HEADERS_AT_ONCE)
        .try_collect()
        .await?;
    headers.push(head);
    blocks::check_chained(&headers, &[])?;
    let step = Advance {
        chain: chain.id(),
        from: None,
        ancestor: None,
        blocks: headers.iter().map(|header| header.block).collect(),
        head: head.block,
        head_time: head.time,
        block_millis: None,
        deep: None,
        finalized: None,
        ledger: vec![],
        executions: vec![],
        reconfigured: vec![],
        discovered: vec![],
        registered: vec![],
        policy: chain.depth().to_string(),
    };
    store.advance(proof, &step, &actor(), now).await?;
    Ok(())
}

/// The time a block usually takes, in milliseconds: the latest pauses count most.
fn usual_pause(place: &Place, ancestor: u64, to: Header) -> Option<u64> {
    if ancestor < place.head.block.number {
        return place.head.block_millis;
    }
    let blocks = to.block.number - ancestor;
    let passed = u64::try_from((to.time - place.head.block_time).num_milliseconds()).ok()?;
    let pause = passed / blocks;
    Some(match place.head.block_millis {
        Some(usual) if blocks < 8 => (usual * 7 + pause) / 8,
        _ => pause,
    })
}

#[cfg(test)]
mod tests;
