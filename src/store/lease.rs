//! The row is the job: claiming a request, giving it back, and waking it.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{During, Store, StoreError, chain::Awaited, signed};
use crate::{
    clock::Time,
    planted::{Bug, planted},
    request::{
        Request,
        ids::{ChainId, RequestId},
    },
};

/// The right to work on one request until the lease runs out. Every write names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub request: RequestId,
    pub token: Uuid,
    pub until: Time,
}

/// How a worker gives a request back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// When to look again, unless something wakes it earlier.
    pub until: Time,
    /// Why it waits, in words.
    pub reason: Option<String>,
    /// Whether it waits because something failed: then pauses keep growing.
    pub failing: bool,
}

/// Locks the request and insists that its lease is still held.
pub async fn hold_lease(tx: &mut PgConnection, lease: &Lease, now: Time) -> Result<(), StoreError> {
    // A row that had to be waited for is judged as it is by then.
    let held = sqlx::query_scalar!(
        r#"select coalesce(lease_token = $2 and lease_until > $3, false) as "held!"
         from requests where id = $1 for update"#,
        lease.request.0,
        lease.token,
        now,
    )
    .fetch_optional(tx)
    .await
    .during("check a lease")?;
    if held == Some(true) || planted(Bug::NoFencing) {
        return Ok(());
    }
    Err(StoreError::LeaseLost)
}

async fn lock_turns(tx: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('turns to commit', 0))")
        .fetch_one(tx)
        .await
        .during("give turns to commit")
        .map(|_| ())
}

/// More requests than all workers of all instances hold at the same time.
const LEASED_MAX: i64 = 100;

/// Which requests a worker looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Those that are to be committed: the one whose token dies first, and one of each app at a
    /// time.
    Commits,
    /// All others: the one that has been due longest.
    Others,
}

impl Store {
    /// Claims a request of one lane, until `until`.
    pub async fn claim(
        &self,
        lane: Lane,
        now: Time,
        until: Time,
    ) -> Result<Option<(Lease, Request)>, StoreError> {
        let token = Uuid::new_v4();
        let claimed = match lane {
            Lane::Commits => self.claim_commit(token, now, until).await?,
            Lane::Others => self.claim_other(token, now, until).await?,
        };
        let Some(id) = claimed else { return Ok(None) };
        // Read after the claim is kept: a row that does not read must not be the next one again.
        let request = self.request(RequestId(id)).await?;
        Ok(Some((Lease { request: request.id, token, until }, request)))
    }

    async fn claim_other(
        &self,
        token: Uuid,
        now: Time,
        until: Time,
    ) -> Result<Option<Uuid>, StoreError> {
        sqlx::query_scalar!(
            "update requests
             set lease_token = $1, lease_until = $2, next_try_at = $2, attempts = attempts + 1
             where id = (
                select id from requests
                where next_try_at <= $3 and ended_as is null and running_at is null
                  and status <> 'registered' and (lease_until is null or lease_until <= $3)
                order by next_try_at limit 1 for update skip locked
             )
             returning id",
            token,
            until,
            now,
        )
        .fetch_optional(&self.pool)
        .await
        .during("claim a request")
    }

    /// Commits of one app take turns, from a fresh token to the outcome: whose a new instance is can
    /// only be told when no other commit may have made it, and a token that is about to be used is
    /// voided by another preparation of its source. An executed request that somebody holds counts,
    /// since it may be about to be committed at once. Turns are given one after the other, so that
    /// each sees the one before.
    async fn claim_commit(
        &self,
        token: Uuid,
        now: Time,
        until: Time,
    ) -> Result<Option<Uuid>, StoreError> {
        let is_any = sqlx::query_scalar!(
            r#"select exists (
                select 1 from requests where status = 'registered' and next_try_at <= $1
                  and (lease_until is null or lease_until <= $1)) as "is_any!""#,
            now
        )
        .fetch_one(&self.pool)
        .await
        .during("look for a request to commit")?;
        if !is_any {
            return Ok(None);
        }
        let mut tx = self.begin().await?;
        lock_turns(&mut tx).await?;
        let claimed = sqlx::query_scalar!(
            "with busy as materialized (
                select distinct chain_id, app from requests
                where status in ('executed', 'registered', 'committing')
                  and (lease_until > $3 and status <> 'committing'
                    or attention is null and status = 'committing')
             )
             update requests
             set lease_token = $1, lease_until = $2, next_try_at = $2, attempts = attempts + 1
             where id = (
                select r.id from requests r
                where r.status = 'registered' and r.next_try_at <= $3
                  and (r.lease_until is null or r.lease_until <= $3)
                  and not exists (
                    select 1 from busy b where b.chain_id = r.chain_id and b.app = r.app)
                order by r.deadline, r.id limit 1 for update skip locked
             )
             returning id",
            token,
            until,
            now,
        )
        .fetch_optional(&mut *tx)
        .await
        .during("claim a request to commit")?;
        super::commit(tx).await?;
        Ok(claimed)
    }

    /// Claims a request that is about to be registered, to be committed at once, unless somebody
    /// works on it, or any other one has its turn first: of its app, or because it is due.
    pub async fn claim_at_once(
        &self,
        id: RequestId,
        now: Time,
        until: Time,
    ) -> Result<Option<(Lease, Request)>, StoreError> {
        let token = Uuid::new_v4();
        let mut tx = self.begin().await?;
        lock_turns(&mut tx).await?;
        let claimed = sqlx::query_scalar!(
            "update requests
             set lease_token = $2, lease_until = $3, next_try_at = $3, attempts = attempts + 1
             where id = (
                select r.id from requests r
                where r.id = $1 and r.status = 'executed'
                  and (r.lease_until is null or r.lease_until <= $4)
                  and not exists (
                    select 1 from requests o
                    where o.chain_id = r.chain_id and o.app = r.app and o.id <> r.id
                      and (o.status = 'registered'
                        or o.status = 'executed' and o.lease_until > $4
                        or o.status = 'committing' and o.attention is null))
                  and not exists (
                    select 1 from requests o
                    where o.status = 'registered' and o.next_try_at <= $4
                      and (o.lease_until is null or o.lease_until <= $4))
                for update skip locked
             )
             returning id",
            id.0,
            token,
            until,
            now,
        )
        .fetch_optional(&mut *tx)
        .await
        .during("claim a request to commit at once")?;
        super::commit(tx).await?;
        if claimed.is_none() {
            return Ok(None);
        }
        let request = self.request(id).await?;
        Ok(Some((Lease { request: id, token, until }, request)))
    }

    /// Gives a request back.
    pub async fn release(&self, lease: &Lease, rest: &Rest) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "update requests
             set lease_token = null, lease_until = null, reason = $4,
                 attempts = case when $5 then attempts else 0 end,
                 next_try_at = case when next_try_at < lease_until then next_try_at else $3 end
             where id = $1 and lease_token = $2",
            lease.request.0,
            lease.token,
            rest.until,
            rest.reason,
            rest.failing,
        )
        .execute(&self.pool)
        .await
        .during("release a request")?;
        match result.rows_affected() {
            1 => Ok(()),
            _ => Err(StoreError::LeaseLost),
        }
    }

    /// When the next request is due, if any is open.
    pub async fn next_due(&self) -> Result<Option<Time>, StoreError> {
        sqlx::query_scalar!(
            "select min(greatest(next_try_at, coalesce(lease_until, next_try_at))) from (
                select next_try_at, lease_until from requests
                where ended_as is null and running_at is null
                order by next_try_at limit $1
             ) as first",
            LEASED_MAX
        )
        .fetch_one(&self.pool)
        .await
        .during("look for due requests")
    }

    /// The requests that wait for their owners and whose state was read longest ago.
    pub async fn longest_unread(
        &self,
        chain: ChainId,
        limit: u32,
    ) -> Result<Vec<Awaited>, StoreError> {
        let rows = sqlx::query!(
            "select id, app, compose_hash, device_id from requests
             where chain_id = $1 and ended_as is null and executed_at is null
               and registered_at is null and attempt_id is null and committed_at is null
               and running_at is null
             order by looked_at nulls first limit $2",
            signed(chain.get()),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await
        .during("look for requests to read again")?;
        rows.into_iter()
            .map(|row| Awaited::read(row.id, &row.app, &row.compose_hash, &row.device_id))
            .collect()
    }

    /// Notes for which requests the state was read, and makes those due that have what they need.
    pub async fn looked_at(
        &self,
        looked: &[(RequestId, bool)],
        now: Time,
    ) -> Result<(), StoreError> {
        let (ids, complete): (Vec<Uuid>, Vec<bool>) =
            looked.iter().map(|(id, complete)| (id.0, *complete)).unzip();
        sqlx::query!(
            "update requests set looked_at = $3,
                next_try_at = case when complete then least(next_try_at, $3) else next_try_at end
             from unnest($1::uuid[], $2::boolean[]) as looked (request, complete)
             where id in (select id from requests where id = any($1) for update skip locked)
               and id = request",
            &ids,
            &complete,
            now,
        )
        .execute(&self.pool)
        .await
        .during("note what was looked at")?;
        Ok(())
    }
}
