//! Having a request tried now. Each time is an entry of the journal for good, so it is bounded.

use chrono::TimeDelta;

use super::{
    During, Store, StoreError,
    journal::Actor,
    requests::{get_locked, record_of},
};
use crate::{
    clock::Time,
    request::{Request, event::Event, ids::RequestId},
};

/// What became of a person's wish.
#[derive(Debug)]
pub enum Retry {
    Recorded(Box<Request>),
    /// Nobody has tried since it was wished for last.
    OnItsWay,
    /// It was wished for a moment ago, and tried.
    JustTried,
}

impl Store {
    /// Makes a request due, unless that was done last within `pause`, or nothing came of it yet.
    pub async fn retry(
        &self,
        id: RequestId,
        reason: String,
        pause: TimeDelta,
        actor: &Actor,
        now: Time,
    ) -> Result<Retry, StoreError> {
        let mut tx = self.begin().await?;
        let before = get_locked(&mut tx, id).await?;
        // Whoever claims it, and whatever wakes it after that, sets a later time than that of the wish.
        let last = sqlx::query!(
            r#"select r.next_try_at <= j.at as "is_on_its_way!", j.at > $2 and j.at <= $3 as "is_new!"
             from requests r cross join lateral (
                select at from journal where request_id = r.id and kind = 'retried'
                order by seq desc limit 1
             ) j
             where r.id = $1"#,
            id.0,
            now - pause,
            now,
        )
        .fetch_optional(&mut *tx)
        .await
        .during("look when a request was to be tried last")?;
        // What has ended says so.
        if let Some(last) = last.filter(|_| !before.status().is_end()) {
            if last.is_on_its_way {
                return Ok(Retry::OnItsWay);
            }
            if last.is_new {
                return Ok(Retry::JustTried);
            }
        }
        let event = Event::Retried { reason };
        let request = record_of(&mut tx, before, None, actor, &event, now).await?;
        super::commit(tx).await?;
        Ok(Retry::Recorded(Box::new(request)))
    }
}
