//! Requests that are put to their Safe together, in one transaction, or at a nonce that a person chose.
//!
//! A batch says how requests are to be proposed; it is no fact about them. What was proposed for which
//! requests stands in `proposal_requests`, and stays there.

use std::collections::HashMap;

use alloy::primitives::Address;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    During, Store, StoreError, Tx,
    journal::Actor,
    request_rows::load,
    requests::{get_locked, record},
    signed, unsigned,
};
use crate::{
    clock::Time,
    request::{
        Request,
        event::Event,
        ids::{ChainId, RequestId},
        status::Status,
    },
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

/// Where requests are to be put: into a transaction of one Safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub chain: ChainId,
    pub safe: Address,
    /// The next free one unless given.
    pub nonce: Option<u64>,
}

/// Requests that were put to their Safe in another way.
#[derive(Debug)]
pub struct Rearranged {
    pub requests: Vec<Request>,
    /// Signatures over what was proposed for them before, which do not count any more.
    pub dropped: u64,
}

/// How often locks are taken again when what is proposed together changed meanwhile.
const BEGINNINGS: usize = 10;

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

    /// Has requests that are not executed proposed again: together and at a place, or each alone without
    /// one. What was proposed for them is replaced. All of them or none.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when one of them is past its approval.
    pub async fn arrange(
        &self,
        requests: &[RequestId],
        place: Option<Place>,
        reason: &str,
        actor: &Actor,
        now: Time,
    ) -> Result<Rearranged, StoreError> {
        let ids: Vec<Uuid> = requests.iter().map(|id| id.0).collect();
        let mut tx = self.begin_with_siblings(&ids).await?;
        if is_arranged(&mut tx, &ids, place).await? {
            // The same word again, as after an answer that was lost, costs no signatures.
            return Ok(Rearranged { requests: load(&mut tx, &ids).await?, dropped: 0 });
        }
        let mut dropped = 0;
        for id in requests {
            // One of them may have lost its proposal with that of another.
            let request = get_locked(&mut tx, *id).await?;
            let is_proposed = matches!(request.status(), Status::Proposed | Status::Approved);
            if let Some(proposal) = request.facts.proposal.filter(|_| is_proposed) {
                dropped += signatures(&mut tx, proposal).await?;
                let reason = format!("it is proposed in another way: {reason}");
                let event = Event::ProposalReplaced { proposal, reason };
                record(&mut tx, *id, None, actor, &event, now).await?;
            }
        }
        let batch = match place {
            Some(place) => Some(insert(&mut tx, place, now).await?),
            None => None,
        };
        let nonce = place.and_then(|place| place.nonce);
        let left = left_behind(&mut tx, &ids).await?;
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
        for id in requests {
            self.wake_behind(*id, now).await;
        }
        if let Err(error) = self.wake_each(&left, now).await {
            tracing::warn!(%error, "cannot wake what is proposed without others now");
        }
        Ok(Rearranged { requests: arranged, dropped })
    }

    /// With which others each of some requests is put to its Safe, or is to be; none for one that is alone.
    pub async fn together_with(
        &self,
        requests: &[RequestId],
    ) -> Result<HashMap<RequestId, Vec<RequestId>>, StoreError> {
        let ids: Vec<Uuid> = requests.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"select r.id as "id!", m.request_id as "other!" from requests r
               join proposal_requests m on m.proposal_id = r.proposal_id
               where r.id = any($1) and m.request_id <> r.id
               union
               select r.id, o.id from requests r join requests o on o.batch_id = r.batch_id
               where r.id = any($1) and o.id <> r.id
                 and r.status = 'prepared' and o.status = 'prepared'
               order by 1, 2"#,
            &ids
        )
        .fetch_all(&self.pool)
        .await
        .during("look what is proposed together")?;
        let mut together: HashMap<_, Vec<_>> = HashMap::new();
        for row in rows {
            together.entry(RequestId(row.id)).or_default().push(RequestId(row.other));
        }
        Ok(together)
    }

    /// Begins a transaction that has these requests locked, and those that are proposed together with
    /// them. Who these are may change while the locks are waited for.
    async fn begin_with_siblings(&self, ids: &[Uuid]) -> Result<Tx, StoreError> {
        for _ in 0..BEGINNINGS {
            let mut tx = self.begin().await?;
            let locked = lock_with_siblings(&mut tx, ids).await?;
            if siblings(&mut tx, ids).await?.iter().all(|id| locked.contains(id)) {
                return Ok(tx);
            }
        }
        Err(StoreError::BatchChanged)
    }

    /// The nonces of a Safe that people chose for requests which wait to be proposed, without those of
    /// one batch.
    pub async fn pinned_nonces(
        &self,
        chain: ChainId,
        safe: Address,
        without: Option<Uuid>,
    ) -> Result<Vec<u64>, StoreError> {
        let nonces = sqlx::query_scalar!(
            r#"select nonce as "nonce!" from batches b
               where chain_id = $1 and safe = $2 and nonce is not null
                 and id is distinct from $3 and exists (select 1 from requests r
                    where r.batch_id = b.id and r.status = 'prepared')"#,
            signed(chain.get()),
            safe.as_slice(),
            without,
        )
        .fetch_all(&self.pool)
        .await
        .during("look for pinned nonces")?;
        nonces.into_iter().map(|nonce| unsigned("batches", "nonce", safe, nonce)).collect()
    }

    /// Whether a transaction of a Safe was given up since, and what it was for waits to be proposed
    /// again: perhaps with the nonce that is free now.
    pub async fn is_proposed_again(
        &self,
        chain: ChainId,
        safe: Address,
        since: Time,
    ) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"select exists (
                select 1 from proposals p
                join proposal_requests m on m.proposal_id = p.id
                join requests r on r.id = m.request_id
                where p.chain_id = $1 and p.owner = $2 and p.replaced_at >= $3
                  and r.status = 'prepared'
            ) as "is!""#,
            signed(chain.get()),
            safe.as_slice(),
            since,
        )
        .fetch_one(&self.pool)
        .await
        .during("look whether something is proposed again")
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

/// Those that are to be proposed together with requests which go elsewhere.
async fn left_behind(tx: &mut PgConnection, requests: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
    sqlx::query_scalar!(
        "select id from requests
         where status = 'prepared' and id <> all($1)
           and batch_id in (select batch_id from requests where id = any($1))",
        requests
    )
    .fetch_all(tx)
    .await
    .during("look for what is left of a batch")
}

/// How many signatures there are over a proposal.
async fn signatures(tx: &mut PgConnection, proposal: Uuid) -> Result<u64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from confirmations where proposal_id = $1"#,
        proposal
    )
    .fetch_one(tx)
    .await
    .during("count the signatures of a proposal")?;
    unsigned("confirmations", "count", proposal, count)
}

async fn insert(tx: &mut PgConnection, place: Place, now: Time) -> Result<Uuid, StoreError> {
    let batch = Uuid::now_v7();
    sqlx::query!(
        "insert into batches (id, chain_id, safe, nonce, arranged_at) values ($1, $2, $3, $4, $5)",
        batch,
        signed(place.chain.get()),
        place.safe.as_slice(),
        place.nonce.map(signed),
        now,
    )
    .execute(tx)
    .await
    .during("store a batch")?;
    Ok(batch)
}

/// Whether requests are to be proposed in this way already, and only these.
async fn is_arranged(
    tx: &mut PgConnection,
    requests: &[Uuid],
    place: Option<Place>,
) -> Result<bool, StoreError> {
    let nonce = place.and_then(|place| place.nonce).map(signed);
    sqlx::query_scalar!(
        r#"select not exists (
                select 1 from requests where id = any($1)
                  and (status not in ('prepared', 'proposed', 'approved')
                    or (batch_id is null) = $3))
            and (not $3 or exists (
                select 1 from batches b where b.nonce is not distinct from $2
                  and (select array_agg(r.id order by r.id) from requests r
                    where r.batch_id = b.id and r.ended_as is null)
                    = (select array_agg(id order by id) from unnest($1::uuid[]) as given (id))
            )) as "is!""#,
        requests,
        nonce,
        place.is_some(),
    )
    .fetch_one(tx)
    .await
    .during("look whether requests are arranged already")
}

/// Locks requests, and those that are proposed together with them, in the one order.
pub(super) async fn lock_with_siblings(
    tx: &mut PgConnection,
    requests: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    sqlx::query_scalar!(
        "select id from requests where id = any($1) or id in (
            select m.request_id from requests r
            join proposal_requests m on m.proposal_id = r.proposal_id where r.id = any($1)
         ) order by id for update",
        requests
    )
    .fetch_all(tx)
    .await
    .during("lock requests that are proposed together")
}

/// Those that are proposed together with requests, as it is now.
async fn siblings(tx: &mut PgConnection, requests: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
    sqlx::query_scalar!(
        "select m.request_id from requests r
         join proposal_requests m on m.proposal_id = r.proposal_id where r.id = any($1)",
        requests
    )
    .fetch_all(tx)
    .await
    .during("look what is proposed together")
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
