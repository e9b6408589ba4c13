//! Tells in time that a commit token is about to die, and that a request does not get on. Each is said
//! once; nothing is done about it here.

use chrono::TimeDelta;
use serde_json::json;

use crate::{
    clock::Time,
    request::{
        age::{overdue, usual},
        deadline::time_left,
        status::Status,
    },
    store::{Store, StoreError},
};

/// How long before the end a reminder is due, nearest first, and what it is called.
const REMINDERS: [(TimeDelta, &str); 3] = [
    (TimeDelta::hours(4), "token_expires_in_4_hours"),
    (TimeDelta::days(1), "token_expires_in_1_day"),
    (TimeDelta::days(3), "token_expires_in_3_days"),
];

/// Writes the reminders and alerts that are due; tells how many.
pub async fn tick(store: &Store, now: Time) -> Result<u32, StoreError> {
    Ok(tokens(store, now).await? + ages(store, now).await?)
}

/// Says of each request that is where it is for too long why it is there.
async fn ages(store: &Store, now: Time) -> Result<u32, StoreError> {
    let shortest = Status::ALL.into_iter().filter_map(usual).min().unwrap_or_default();
    let (mut written, mut late) = (0, 0_u32);
    for request in store.aging(now - shortest).await? {
        let Some(overdue) = overdue(&request, now) else { continue };
        late += 1;
        let status = request.status();
        let body = json!({
            "request": request.id,
            "status": status,
            "since": overdue.since,
            "reason": request.facts.attention.as_ref().or(request.reason.as_ref()),
            "next_try_at": request.next_try_at,
        });
        let kind = format!("does_not_get_on:{status}:{}", overdue.level);
        if store.add_message(request.id, &kind, &body, now).await? {
            written += 1;
            tracing::warn!(request.id = %request.id, %status, "a request does not get on");
        }
    }
    metrics::gauge!("countersign_requests_overdue").set(f64::from(late));
    Ok(written)
}

async fn tokens(store: &Store, now: Time) -> Result<u32, StoreError> {
    let mut written = 0;
    for (request, expires_at) in store.expiring(now, now + TimeDelta::days(3)).await? {
        let Some((_, kind)) = REMINDERS.iter().find(|(left, _)| expires_at - now <= *left) else {
            continue;
        };
        let body = json!({
            "request": request,
            "expires_at": expires_at,
            "time_left": time_left(expires_at, now),
        });
        written += u32::from(store.add_message(request, kind, &body, now).await?);
    }
    Ok(written)
}
