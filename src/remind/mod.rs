//! Tells in time that a commit token is about to die. Each reminder is said once.

use chrono::TimeDelta;
use serde_json::json;

use crate::{
    clock::Time,
    request::deadline::time_left,
    store::{Store, StoreError},
};

/// How long before the end a reminder is due, nearest first, and what it is called.
const REMINDERS: [(TimeDelta, &str); 3] = [
    (TimeDelta::hours(4), "token_expires_in_4_hours"),
    (TimeDelta::days(1), "token_expires_in_1_day"),
    (TimeDelta::days(3), "token_expires_in_3_days"),
];

/// Writes the reminders that are due; tells how many.
pub async fn tick(store: &Store, now: Time) -> Result<u32, StoreError> {
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
