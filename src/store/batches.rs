//! Requests that are put to their Safe together, in one transaction, or at a nonce that a person chose.
//!
//! A batch says how requests are to be proposed; it is no fact about them. What was proposed for which
//! requests stands in `proposal_requests`, and stays there.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    During, Store, StoreError,
    journal::Actor,
    request_rows::load,
    requests::{get_locked, record},
    signed, unsigned,
};
use crate::{
    clock::Time,
    request::{Request, event::Event, ids::RequestId, status::Status},
};

/// How requests are to be put to their Safe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Absent for a request that is proposed alone, at the next free nonce.
    pub id: Option<Uuid>,
    /// The nonce that a person chose.
    pub nonce: Option<u64>,
    /// Those that wait to be proposed together with the one that was asked about.
    pub others: Vec<Request>,
}

impl Store {
    /// How a request is to be proposed, and with which others.
    pub async fn batch(&self, request: RequestId) -> Result<Batch, StoreError> {
        let mut connection = self.pool.acquire().await.during("connect")?;
        let found = sqlx::query!(
            "select b.id, b.nonce from requests r join batches b on b.id = r.batch_id
             where r.id = $1",
            request.0
        )
        .fetch_optional(&mut *connection)
        .await
        .during("read a batch")?;
        let Some(found) = found else { return Ok(Batch::default()) };
        let ids = sqlx::query_scalar!(
            "select id from requests where batch_id = $1 and id <> $2 and status = 'prepared'",
            found.id,
            request.0
        )
        .fetch_all(&mut *connection)
        .await
        .during("read the requests of a batch")?;
        let nonce = found.nonce.map(|nonce| unsigned("batches", "nonce", found.id, nonce));
        let mut others = load(&mut connection, &ids).await?;
        others.sort_by_key(|request| request.id);
        Ok(Batch { id: Some(found.id), nonce: nonce.transpose()?, others })
    }

    /// Has requests that are not executed proposed again: in one transaction, or alone when there is one, at
    /// a nonce or at the next free one. What was proposed for them is replaced. All of them or none.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when one of them is past its approval.
    pub async fn arrange(
        &self,
        requests: &[RequestId],
        nonce: Option<u64>,
        reason: &str,
        actor: &Actor,
        now: Time,
    ) -> Result<Vec<Request>, StoreError> {
        let mut tx = self.begin().await?;
        let ids: Vec<Uuid> = requests.iter().map(|id| id.0).collect();
        lock_with_siblings(&mut tx, &ids).await?;
        for id in requests {
            // One of them may have lost its proposal with that of another.
            let request = get_locked(&mut tx, *id).await?;
            let is_proposed = matches!(request.status(), Status::Proposed | Status::Approved);
            if let Some(proposal) = request.facts.proposal.filter(|_| is_proposed) {
                let reason = format!("it is proposed in another way: {reason}");
                let event = Event::ProposalReplaced { proposal, reason };
                record(&mut tx, *id, None, actor, &event, now).await?;
            }
        }
        let batch = (requests.len() > 1 || nonce.is_some()).then(Uuid::now_v7);
        if let Some(batch) = batch {
            insert(&mut tx, batch, nonce, now).await?;
        }
        sqlx::query!("update requests set batch_id = $2 where id = any($1)", &ids, batch)
            .execute(&mut *tx)
            .await
            .during("put requests into a batch")?;
        let mut arranged = vec![];
        for id in requests {
            let with = requests.iter().filter(|other| *other != id).copied().collect();
            let event = Event::Arranged { with, nonce, reason: reason.to_owned() };
            arranged.push(record(&mut tx, *id, None, actor, &event, now).await?);
        }
        super::commit(tx).await?;
        Ok(arranged)
    }

    /// The requests that a proposal was made for, oldest first.
    pub async fn requests_of(&self, proposal: Uuid) -> Result<Vec<Request>, StoreError> {
        let mut connection = self.pool.acquire().await.during("connect")?;
        let ids = sqlx::query_scalar!(
            "select request_id from proposal_requests where proposal_id = $1",
            proposal
        )
        .fetch_all(&mut *connection)
        .await
        .during("read what a proposal is for")?;
        let mut requests = load(&mut connection, &ids).await?;
        requests.sort_by_key(|request| request.id);
        Ok(requests)
    }
}

async fn insert(
    tx: &mut PgConnection,
    batch: Uuid,
    nonce: Option<u64>,
    now: Time,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into batches (id, nonce, arranged_at) values ($1, $2, $3)",
        batch,
        nonce.map(signed),
        now,
    )
    .execute(tx)
    .await
    .during("store a batch")
    .map(|_| ())
}

/// Locks requests, and those that are proposed together with them, in the one order.
pub(super) async fn lock_with_siblings(
    tx: &mut PgConnection,
    requests: &[Uuid],
) -> Result<(), StoreError> {
    sqlx::query!(
        "select id from requests where id = any($1) or id in (
            select m.request_id from requests r
            join proposal_requests m on m.proposal_id = r.proposal_id where r.id = any($1)
         ) order by id for update",
        requests
    )
    .fetch_all(tx)
    .await
    .during("lock requests that are proposed together")
    .map(|_| ())
}

/// Locks the requests that wait for a live proposal to be signed or executed.
pub(super) async fn lock_waiting(
    tx: &mut PgConnection,
    proposal: Uuid,
) -> Result<Vec<Uuid>, StoreError> {
    sqlx::query_scalar!(
        "select r.id from proposal_requests m join requests r on r.id = m.request_id
         where m.proposal_id = $1 and r.proposal_id = $1 and r.status in ('proposed', 'approved')
         order by r.id for update of r",
        proposal
    )
    .fetch_all(tx)
    .await
    .during("lock the requests of a proposal")
}

/// Locks the requests of a proposal that is about to be stored, and insists that they still wait for it
/// as they did when it was built: in the same batch, or in none and alone.
pub(super) async fn insist_on_batch(
    tx: &mut PgConnection,
    batch: Option<Uuid>,
    requests: &[Uuid],
) -> Result<(), StoreError> {
    let waiting = sqlx::query_scalar!(
        "select id from requests
         where id = any($1) and batch_id is not distinct from $2 and status = 'prepared'
         order by id for update",
        requests,
        batch,
    )
    .fetch_all(tx)
    .await
    .during("lock the requests of a batch")?;
    let is_whole = waiting.len() == requests.len() && (requests.len() == 1 || batch.is_some());
    if is_whole { Ok(()) } else { Err(StoreError::BatchChanged) }
}
