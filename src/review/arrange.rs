//! How requests are to be put to their Safe: several in one transaction, or at a nonce that a person
//! chose.

use std::collections::BTreeSet;

use alloy::primitives::Address;

use super::{ReviewError, checked};
use crate::{
    chain::{Chain, ChainError, Chains, OwnerKind, SafeState},
    clock::Time,
    request::{Request, facts::BlockRef, ids::RequestId},
    store::{
        Store, StoreError,
        batches::{Place, Rearranged},
        journal::Actor,
    },
};

/// Most requests that one transaction may be for: what a person can look through.
pub const TOGETHER_MAX: usize = 20;

/// Why requests were not arranged; nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ArrangeError {
    #[error(transparent)]
    Review(#[from] ReviewError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("name 1 to {TOGETHER_MAX} requests, each once")]
    Requests,
    #[error("request {0} is on another chain than the first")]
    OtherChain(RequestId),
    #[error("the app of request {request} is owned by {owner}, that of the first by {first}")]
    OtherOwner { request: RequestId, owner: Address, first: Address },
    #[error("the owner {0} is no Safe: it has no nonce, and makes one call at a time")]
    NoSafe(Address),
    #[error("nonce {nonce} of the Safe is used up: the next is {next}")]
    Used { nonce: u64, next: u64 },
    #[error(
        "nonce {0} is taken by another proposal here: put those requests together, or withdraw one"
    )]
    Taken(u64),
}

impl From<StoreError> for ArrangeError {
    fn from(error: StoreError) -> Self {
        Self::Review(error.into())
    }
}

/// Has requests proposed again, in one transaction of their Safe, at a nonce or the next free one. What
/// was proposed for them is replaced, and its signatures with it. One request without a nonce goes
/// back to be proposed alone.
///
/// # Errors
/// [`ArrangeError`] when they cannot be one transaction of one Safe, or the nonce cannot be had.
pub async fn arrange(
    store: &Store,
    chains: &Chains,
    ids: &[RequestId],
    nonce: Option<u64>,
    reason: &str,
    actor: &Actor,
    now: Time,
) -> Result<Rearranged, ArrangeError> {
    let reason = checked(reason)?;
    let distinct: BTreeSet<&RequestId> = ids.iter().collect();
    if distinct.len() != ids.len() || !(1..=TOGETHER_MAX).contains(&ids.len()) {
        return Err(ArrangeError::Requests);
    }
    let mut requests = vec![];
    for id in ids {
        requests.push(store.request(*id).await?);
    }
    let first = &requests[0];
    if let Some(other) = requests.iter().find(|other| other.chain != first.chain) {
        return Err(ArrangeError::OtherChain(other.id));
    }
    let mut place = None;
    if ids.len() > 1 || nonce.is_some() {
        let chain = chains.get(first.chain)?;
        let safe = one_safe(chain, &requests, chain.head().await?.block).await?;
        if let Some(nonce) = nonce {
            is_free(store, first, &safe, &requests, nonce).await?;
        }
        place = Some(Place { chain: first.chain, safe: safe.address, nonce });
    }
    Ok(store.arrange(ids, place, &reason, actor, now).await?)
}

/// The Safe that owns all the apps.
async fn one_safe(
    chain: &Chain,
    requests: &[Request],
    at: BlockRef,
) -> Result<SafeState, ArrangeError> {
    let first = chain.owner(requests[0].app, at).await?;
    for request in &requests[1..] {
        let owner = chain.owner(request.app, at).await?;
        if owner != first {
            return Err(ArrangeError::OtherOwner { request: request.id, owner, first });
        }
    }
    match chain.owner_kind(first, at).await? {
        OwnerKind::Safe(state) => Ok(*state),
        _ => Err(ArrangeError::NoSafe(first)),
    }
}

/// Another transaction that waits elsewhere with the same nonce is no obstacle: to take its place may be
/// what is wanted, and signers are told.
async fn is_free(
    store: &Store,
    first: &Request,
    safe: &SafeState,
    requests: &[Request],
    nonce: u64,
) -> Result<(), ArrangeError> {
    if nonce < safe.nonce {
        return Err(ArrangeError::Used { nonce, next: safe.nonce });
    }
    let mut own = vec![];
    for request in requests {
        let proposal = store.proposal(request.id).await?;
        own.extend(proposal.and_then(|proposal| proposal.safe).map(|safe| safe.nonce));
    }
    let mut taken = store.queued_nonces(first.chain, safe.address, safe.nonce).await?;
    let own_batch = store.batch(first.id).await?.id;
    taken.extend(store.pinned_nonces(first.chain, safe.address, own_batch).await?);
    if taken.contains(&nonce) && !own.contains(&nonce) {
        return Err(ArrangeError::Taken(nonce));
    }
    Ok(())
}
