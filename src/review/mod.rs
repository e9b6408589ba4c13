//! What people say about a request: refuse it, or take it back.

use crate::{
    clock::Time,
    request::{Request, event::Event, ids::RequestId},
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

fn checked(reason: &str) -> Result<String, ReviewError> {
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX || reason.contains('\0') {
        return Err(ReviewError::Reason);
    }
    Ok(reason.to_owned())
}
