//! One look at what an app allows, for one request.

use crate::{
    chain::{Chain, ChainError},
    clock::Time,
    request::{
        Request,
        event::Event,
        facts::BlockRef,
        need::Allowed,
        step::{Pace, Step},
    },
    store::{Store, advance::Seen, journal::Actor, lease::Lease},
};

use super::WatchError;

/// Why a request waits whose entries are there: how deep is told when it is read.
pub const WAITS_FOR_DEPTH: &str = "waits for depth";

/// What a look found.
#[derive(Debug)]
pub enum Look {
    /// The look settled what comes next.
    Settled(Step),
    /// Something is missing on chain at the follower's head.
    Missing { at: BlockRef, allowed: Allowed },
}

/// Reads the state at the follower's head, and at depth when the head allows both entries.
///
/// The follower has read every log up to its head, so the transaction that registered is known by
/// then, and a head that is no longer part of the chain makes the read fail instead of lie.
pub async fn look(
    store: &Store,
    chain: &Chain,
    request: &Request,
    lease: &Lease,
    now: Time,
) -> Result<Look, WatchError> {
    let Some(head) = store.head(chain.id()).await? else {
        // The first head wakes nobody: it has nothing to tell about any app.
        let reason = format!("{} has not been read yet", chain.id().label());
        return Ok(Look::Settled(Step::wait(reason, Pace::Backoff)));
    };
    let at = head.block;
    let allowed = chain.allowed(request.app, request.compose, request.device, at).await?;
    let actor = Actor::service("watch");
    let record = async |event: Event| {
        store.record_seen(request, lease, &actor, &Seen { event, at }, now).await?;
        Ok(Look::Settled(Step::Changed))
    };
    if !allowed.is_complete() {
        if request.facts.execution.is_none() && request.facts.registration.is_none() {
            return Ok(Look::Missing { at, allowed });
        }
        let reason = format!("the app no longer allows it at block {}", at.number);
        return record(Event::Retracted { reason }).await;
    }
    if let Some(block) = registered_at_depth(chain, request, at).await? {
        return record(Event::Registered { block, depth: chain.depth().to_string() }).await;
    }
    if request.facts.execution.is_none() {
        let seen = store.adding_tx(request).await?;
        let (block, tx) = seen.map_or((at, None), |(block, tx)| (block, Some(tx)));
        return record(Event::Executed { block, tx }).await;
    }
    Ok(Look::Settled(Step::wait(WAITS_FOR_DEPTH, Pace::Woken)))
}

/// The block at the depth of the policy, if both entries read true there.
///
/// A contract that is younger than the depth does not answer there: that is "not yet", since the
/// head has just answered for the same contract.
pub async fn registered_at_depth(
    chain: &Chain,
    request: &Request,
    head: BlockRef,
) -> Result<Option<BlockRef>, WatchError> {
    let Some(deep) = chain.deep_block(head).await? else { return Ok(None) };
    match chain.allowed(request.app, request.compose, request.device, deep.block).await {
        Ok(allowed) => Ok(allowed.is_complete().then_some(deep.block)),
        Err(ChainError::Unreadable { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
