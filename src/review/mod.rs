//! What people say about a request: refuse it, take it back, have it tried now, or tell how an
//! unclear commit ended.

use crate::{
    clock::Time,
    phala::{PhalaCloud, PhalaError},
    request::{
        Request,
        event::Event,
        ids::{ReplicaId, RequestId},
        status::Status,
    },
    store::{Store, StoreError, journal::Actor},
};

/// Longest reason that is kept, in characters.
pub const REASON_CHARS_MAX: usize = 1_000;

/// Why a person's word was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("give a reason of 1 to {REASON_CHARS_MAX} characters")]
    Reason,
    #[error("cannot look at the app's instances, and nothing is settled unseen")]
    Cloud(#[from] PhalaError),
    #[error("the request is {0}: there is no commit to settle")]
    NothingToSettle(Status),
    #[error("the app has no instance {0}")]
    NoSuchInstance(ReplicaId),
    #[error("instance {0} is the replica of another request")]
    Claimed(ReplicaId),
    #[error("instance {0} was there before the first commit of this request")]
    OlderThanCommit(ReplicaId),
    #[error("instance {0} runs something else than was approved for this request")]
    NotApproved(ReplicaId),
}

/// Takes a request back. Possible until its commit has begun; its token is erased.
pub async fn withdraw(
    store: &Store,
    id: RequestId,
    reason: &str,
    actor: &Actor,
    now: Time,
) -> Result<Request, ReviewError> {
    let event = Event::Withdrawn { reason: checked(reason)? };
    Ok(store.record(id, None, actor, &event, now).await?)
}

/// Refuses a request in review. Possible until its commit has begun; its token is erased.
pub async fn reject(
    store: &Store,
    id: RequestId,
    reason: &str,
    actor: &Actor,
    now: Time,
) -> Result<Request, ReviewError> {
    let event = Event::Rejected { reason: checked(reason)? };
    Ok(store.record(id, None, actor, &event, now).await?)
}

/// Has a request tried now, whatever it waits for. Clears what a person was asked.
pub async fn retry(
    store: &Store,
    id: RequestId,
    reason: &str,
    actor: &Actor,
    now: Time,
) -> Result<Request, ReviewError> {
    let event = Event::Retried { reason: checked(reason)? };
    Ok(store.record(id, None, actor, &event, now).await?)
}

/// Takes a person's word for how a commit ended: with this replica, or with none. A replica must be
/// an instance of the app that nothing speaks against.
pub async fn settle(
    store: &Store,
    cloud: &PhalaCloud,
    id: RequestId,
    replica: Option<ReplicaId>,
    reason: &str,
    actor: &Actor,
    now: Time,
) -> Result<Request, ReviewError> {
    let reason = checked(reason)?;
    let request = store.request(id).await?;
    let Some(attempt) = request.facts.attempt else {
        return Err(ReviewError::NothingToSettle(request.status()));
    };
    if let Some(replica) = &replica {
        check_replica(store, cloud, &request, replica).await?;
    }
    let event = Event::Settled { attempt, replica, reason };
    Ok(store.record(id, None, actor, &event, now).await?)
}

async fn check_replica(
    store: &Store,
    cloud: &PhalaCloud,
    request: &Request,
    replica: &ReplicaId,
) -> Result<(), ReviewError> {
    let instances = cloud.instances(request.app).await?;
    let Some(instance) = instances.iter().find(|instance| instance.id == *replica) else {
        return Err(ReviewError::NoSuchInstance(replica.clone()));
    };
    if !store.claimed_replicas(std::slice::from_ref(replica)).await?.is_empty() {
        return Err(ReviewError::Claimed(replica.clone()));
    }
    let baseline = store.baseline(request.id).await?;
    if baseline.is_some_and(|baseline| baseline.instances.contains(replica)) {
        return Err(ReviewError::OlderThanCommit(replica.clone()));
    }
    let differs = instance.compose_hash.is_some_and(|compose| compose != request.compose)
        || instance.device_id.is_some_and(|device| device != request.device);
    if differs { Err(ReviewError::NotApproved(replica.clone())) } else { Ok(()) }
}

fn checked(reason: &str) -> Result<String, ReviewError> {
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX || reason.contains('\0') {
        return Err(ReviewError::Reason);
    }
    Ok(reason.to_owned())
}
