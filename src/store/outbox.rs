//! Messages to the world: written with what they tell about, delivered afterwards, once.

use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{During, Store, StoreError, one_row, request_rows::load};
use crate::{
    clock::Time,
    request::{Request, event::Event, ids::RequestId},
};

/// Requests that do not get on, in one look.
const AGING_MAX: i64 = 1_000;

/// A message waiting for delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub id: i64,
    pub request: Option<Uuid>,
    pub kind: String,
    pub body: Value,
    pub created_at: Time,
    pub attempts: i32,
}

impl Message {
    /// The message as the world gets it.
    pub fn to_json(&self) -> Value {
        json!({
            "id": format!("countersign-{}", self.id),
            "kind": self.kind,
            "request": self.request,
            "created_at": self.created_at,
            "data": self.body,
        })
    }
}

/// Tells the world about the events that people wait for, in the transaction that records them.
pub async fn tell(
    tx: &mut PgConnection,
    request: RequestId,
    event: &Event,
    now: Time,
) -> Result<(), StoreError> {
    let kind = match event {
        // Each proposal needs signatures of its own, so each is told.
        Event::Proposed { proposal, .. } => format!("proposed:{proposal}"),
        Event::AttentionNeeded { .. } => format!("attention_needed:{}", now.timestamp_micros()),
        // It is tried again now and then; the same answer is told once.
        Event::CommitRefused { asks: true, code, .. } => format!("attention_needed:{code}"),
        Event::Running { .. } | Event::Expired { .. } | Event::Failed { .. } => {
            event.kind().to_owned()
        }
        _ => return Ok(()),
    };
    let body = serde_json::to_value(event).expect("an event is plain data");
    sqlx::query!(
        "insert into outbox (request_id, kind, body, created_at, next_try_at)
         values ($1, $2, $3, $4, $4) on conflict do nothing",
        request.0,
        kind,
        body,
        now,
    )
    .execute(tx)
    .await
    .during("add a message")
    .map(|_| ())
}

impl Store {
    /// Adds a message unless this request already has one of this kind.
    pub async fn add_message(
        &self,
        request: RequestId,
        kind: &str,
        body: &Value,
        now: Time,
    ) -> Result<bool, StoreError> {
        let result = sqlx::query!(
            "insert into outbox (request_id, kind, body, created_at, next_try_at)
             values ($1, $2, $3, $4, $4) on conflict do nothing",
            request.0,
            kind,
            body,
            now,
        )
        .execute(&self.pool)
        .await
        .during("add a message")?;
        Ok(result.rows_affected() == 1)
    }

    /// Takes the message that has been due longest and puts it off to `again_at`, so that a crash
    /// during its delivery means it is delivered again.
    pub async fn take_message(
        &self,
        now: Time,
        again_at: Time,
    ) -> Result<Option<Message>, StoreError> {
        sqlx::query_as!(
            Message,
            "update outbox set attempts = attempts + 1, next_try_at = $2
             where id = (
                select id from outbox where delivered_at is null and next_try_at <= $1
                order by next_try_at limit 1 for update skip locked
             )
             returning id, request_id as request, kind, body, created_at, attempts",
            now,
            again_at,
        )
        .fetch_optional(&self.pool)
        .await
        .during("take a message")
    }

    pub async fn message_delivered(&self, id: i64, now: Time) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "update outbox set delivered_at = $2, last_error = null
             where id = $1 and delivered_at is null",
            id,
            now
        )
        .execute(&self.pool)
        .await
        .during("settle a message")?;
        one_row("settling a message", &result)
    }

    pub async fn message_failed(
        &self,
        id: i64,
        error: &str,
        again_at: Time,
    ) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "update outbox set next_try_at = $2, last_error = $3
             where id = $1 and delivered_at is null",
            id,
            again_at,
            error
        )
        .execute(&self.pool)
        .await
        .during("put a message off")?;
        one_row("putting a message off", &result)
    }

    /// Requests that have been where they are since before `before`, as far as the service itself
    /// has to get them on.
    pub async fn aging(&self, before: Time) -> Result<Vec<Request>, StoreError> {
        let mut connection = self.pool.acquire().await.during("connect")?;
        let ids: Vec<Uuid> = sqlx::query_scalar!(
            "select id from requests
             where (status = 'prepared' and created_at <= $1)
                or (status = 'executed' and executed_at <= $1)
                or (status in ('registered', 'committing') and registered_at <= $1)
                or (status = 'committed' and committed_at <= $1)
             order by id limit $2",
            before,
            AGING_MAX,
        )
        .fetch_all(&mut *connection)
        .await
        .during("look for requests that do not get on")?;
        load(&mut connection, &ids).await
    }

    /// Open requests whose token dies before `until`, soonest first.
    pub async fn expiring(
        &self,
        now: Time,
        until: Time,
    ) -> Result<Vec<(RequestId, Time)>, StoreError> {
        let rows = sqlx::query!(
            "select r.id, p.expires_at from requests r
             join preparations p on p.request_id = r.id and p.ended_at is null
             where r.ended_as is null and r.committed_at is null
               and p.expires_at > $1 and p.expires_at <= $2
             order by p.expires_at limit 1000",
            now,
            until
        )
        .fetch_all(&self.pool)
        .await
        .during("look for expiring tokens")?;
        Ok(rows.into_iter().map(|row| (RequestId(row.id), row.expires_at)).collect())
    }
}
