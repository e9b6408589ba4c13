//! What people say about a request: comment on it, refuse it, take it back, have it tried now, have it
//! proposed in another way, or tell how an unclear commit ended. And what they look at before they sign: what would
//! come of it.

mod arrange;
mod devices;
mod foresee;
mod prove;

pub use arrange::{ArrangeError, TOGETHER_MAX, arrange};
pub use devices::{DevicesError, list_instances, list_nodes};
pub use foresee::{ForeseeError, foresee};
pub use prove::{AttachError, attach, prove};

use chrono::TimeDelta;
use uuid::Uuid;

use crate::{
    clock::Time,
    phala::{Instance, Listing, PhalaCloud, PhalaError},
    request::{
        Request,
        event::Event,
        ids::{ReplicaId, RequestId},
        status::Status,
    },
    store::{
        Store, StoreError, attempts::Baseline, commit_tokens::CommitTokens, journal::Actor,
        retries::Retry,
    },
};

/// Longest reason that is kept, in characters.
pub const REASON_CHARS_MAX: usize = 1_000;
/// Longest comment, in characters.
pub const COMMENT_CHARS_MAX: usize = 2_000;
/// Comments that a request takes: a timeline must have room for what happened.
pub const COMMENTS_MAX: u32 = 200;

/// Between two times that somebody has a request tried.
pub const RETRY_PAUSE: TimeDelta = TimeDelta::seconds(10);

/// Why a person's word was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("give a reason of 1 to {REASON_CHARS_MAX} characters")]
    Reason,
    #[error("write a comment of 1 to {COMMENT_CHARS_MAX} characters")]
    Comment,
    #[error("the request has {COMMENTS_MAX} comments, and takes no more")]
    TooManyComments,
    #[error("it is to be tried already, and nobody has yet: nothing is gained by asking again")]
    RetryOnItsWay,
    #[error("it was tried a moment ago: wait {} seconds between two times", RETRY_PAUSE.num_seconds())]
    JustTried,
    #[error("cannot look at the app's instances, and nothing is settled unseen")]
    Cloud(#[from] PhalaError),
    #[error("the request is {0}: there is no commit to settle")]
    NothingToSettle(Status),
    #[error(
        "Countersign is still finding out how the commit ended; it asks when only a person can tell"
    )]
    NotAsked,
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

/// Says something about a request. Nothing else changes, and nothing comes of it.
pub async fn comment(
    store: &Store,
    id: RequestId,
    text: &str,
    actor: &Actor,
    now: Time,
) -> Result<Request, ReviewError> {
    let text = bounded(text, COMMENT_CHARS_MAX).ok_or(ReviewError::Comment)?;
    let commented = store.comment(id, text, COMMENTS_MAX, actor, now).await?;
    commented.ok_or(ReviewError::TooManyComments)
}

/// Has a request tried now, whatever it waits for. Clears what a person was asked. Not again before
/// something came of it: each time stands in the timeline for good.
pub async fn retry(
    store: &Store,
    id: RequestId,
    reason: &str,
    actor: &Actor,
    now: Time,
) -> Result<Request, ReviewError> {
    let retry = store.retry(id, checked(reason)?, RETRY_PAUSE, actor, now);
    match retry.await? {
        Retry::Recorded(request) => Ok(*request),
        Retry::OnItsWay => Err(ReviewError::RetryOnItsWay),
        Retry::JustTried => Err(ReviewError::JustTried),
    }
}

/// Takes a person's word for how a commit ended: with this replica, or with none. A replica must be
/// an instance of the app that nothing speaks against.
///
/// Only while a person is asked: before that the commit may still be on its way, and whoever says
/// that it made nothing would have it made twice.
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
    if request.facts.attention.is_none() {
        return Err(ReviewError::NotAsked);
    }
    let replica = match replica {
        Some(named) => Some(find(store, cloud, &request, &named, now).await?),
        None => None,
    };
    let event = Event::Settled { attempt, replica, reason };
    Ok(store.record(id, None, actor, &event, now).await?)
}

/// The instances that a person may name for a request whose commit ended nobody knows how.
pub async fn candidates(
    store: &Store,
    cloud: &PhalaCloud,
    request: &Request,
    now: Time,
) -> Result<Vec<Instance>, ReviewError> {
    let Listing { mut instances, at } = cloud.list_instances(request.app).await?;
    if let Some(updated) = request.target().updated() {
        instances.retain(|instance| same(&instance.id, &updated));
        return Ok(instances);
    }
    let known = Known::about(store, request, &instances, at.map(|at| at - now)).await?;
    instances.retain(|instance| known.objection(request, instance).is_none());
    Ok(instances)
}

/// The instance that is named, by whatever spelling, if nothing speaks against it.
async fn find(
    store: &Store,
    cloud: &PhalaCloud,
    request: &Request,
    named: &ReplicaId,
    now: Time,
) -> Result<ReplicaId, ReviewError> {
    if let Some(updated) = request.target().updated() {
        // An update is of its CVM, or of nothing.
        let is_it = same(&updated, named);
        return if is_it { Ok(updated) } else { Err(ReviewError::NoSuchInstance(named.clone())) };
    }
    let Listing { mut instances, at } = cloud.list_instances(request.app).await?;
    instances.retain(|instance| same(&instance.id, named));
    let Some(instance) = instances.first() else {
        return Err(ReviewError::NoSuchInstance(named.clone()));
    };
    let known = Known::about(store, request, &instances, at.map(|at| at - now)).await?;
    known.objection(request, instance).map_or_else(|| Ok(instance.id.clone()), Err)
}

/// A UUID may be written with dashes or without, in upper or lower case.
fn same(one: &ReplicaId, other: &ReplicaId) -> bool {
    match (Uuid::try_parse(one.as_str()), Uuid::try_parse(other.as_str())) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// What is known about instances that may be a request's replica.
struct Known {
    claimed: Vec<ReplicaId>,
    baseline: Option<Baseline>,
    tokens: CommitTokens,
    /// How much further Phala Cloud's clock is than ours.
    ahead: Option<TimeDelta>,
}

impl Known {
    async fn about(
        store: &Store,
        request: &Request,
        instances: &[Instance],
        ahead: Option<TimeDelta>,
    ) -> Result<Self, StoreError> {
        let ids: Vec<ReplicaId> = instances.iter().map(|instance| instance.id.clone()).collect();
        let claimed = store.claimed_replicas(&ids).await?;
        let baseline = store.baseline(request.id).await?;
        let tokens = store.commit_tokens(request.id, None).await?;
        Ok(Self { claimed, baseline, tokens, ahead })
    }

    /// What speaks against an instance. What the cloud does not show speaks against nothing, and
    /// neither does a date: clocks are wrong more often than people who have looked.
    fn objection(&self, request: &Request, instance: &Instance) -> Option<ReviewError> {
        let id = || instance.id.clone();
        if self.claimed.contains(&instance.id) {
            return Some(ReviewError::Claimed(id()));
        }
        let was_there =
            self.baseline.as_ref().is_some_and(|before| before.instances.contains(&instance.id));
        let Instance { id: made, created_at, .. } = instance;
        let is_source = *made == request.source.as_instance();
        // Somebody may have committed with the token before this service did.
        let is_late = self.tokens.may_have_made(made, *created_at, self.ahead);
        if is_source || was_there && !is_late {
            return Some(ReviewError::OlderThanCommit(id()));
        }
        (!instance.runs_what_was_approved(request)).then(|| ReviewError::NotApproved(id()))
    }
}

fn checked(reason: &str) -> Result<String, ReviewError> {
    bounded(reason, REASON_CHARS_MAX).ok_or(ReviewError::Reason)
}

/// What somebody wrote, if it is something and not too long.
fn bounded(text: &str, chars_max: usize) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.chars().count() <= chars_max && !text.contains('\0');
    fits.then(|| text.to_owned())
}
