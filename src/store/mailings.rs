//! What is known of proposals in Safe's mailbox: the intent to post, and what came of it.
//!
//! Rows are made and read only where a chain has a Transaction Service. They are no facts of a
//! request: nothing is decided by them.

use chrono::TimeDelta;
use uuid::Uuid;

use super::{During, Store, StoreError, one_row, signed};
use crate::{
    clock::Time,
    request::ids::{ChainId, RequestId},
};

/// A proposal whose turn it is to be exchanged with the mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailing {
    pub proposal: Uuid,
    pub request: RequestId,
    pub posted_at: Option<Time>,
    /// When something last happened.
    pub quiet_since: Time,
    /// Exchanges in a row that failed.
    pub attempts: i32,
    pub problem: Option<String>,
    wakes: i32,
}

#[cfg(test)]
impl Mailing {
    pub fn sample(request: RequestId, quiet_since: Time, attempts: i32) -> Self {
        let proposal = Uuid::nil();
        Self { proposal, request, posted_at: None, quiet_since, attempts, problem: None, wakes: 0 }
    }
}

/// What came of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub is_posted: bool,
    /// None when the mailbox was not read.
    pub read_at: Option<Time>,
    pub quiet_since: Time,
    pub hint: Option<String>,
    pub problem: Option<String>,
    pub attempts: i32,
    pub next_try_at: Time,
}

/// How a proposal stands in the mailbox, to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub posted_at: Option<Time>,
    pub read_at: Option<Time>,
    pub hint: Option<String>,
    pub problem: Option<String>,
}

impl Store {
    /// Writes the intent for every live proposal of a Safe on this chain that has none.
    pub async fn open_mailings(&self, chain: ChainId, now: Time) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into mailings (proposal_id, created_at, quiet_since, next_try_at)
             select p.id, $2, $2, $2 from proposals p join requests r on r.proposal_id = p.id
             where p.chain_id = $1 and p.safe_tx is not null and p.replaced_at is null
               and r.status in ('proposed', 'approved')
               and not exists (select 1 from mailings m where m.proposal_id = p.id)
             on conflict do nothing",
            signed(chain.get()),
            now,
        )
        .execute(&self.pool)
        .await
        .during("note what is to be posted")
        .map(|_| ())
    }

    /// Takes the one that has been due longest, and puts it off to `again_at`, so that no other
    /// instance takes it too and a crash means that it is taken again.
    pub async fn take_mailing(
        &self,
        chain: ChainId,
        now: Time,
        again_at: Time,
    ) -> Result<Option<Mailing>, StoreError> {
        let row = sqlx::query!(
            r#"update mailings set next_try_at = $3
               where proposal_id = (
                  select m.proposal_id from mailings m
                  join proposals p on p.id = m.proposal_id
                  join requests r on r.proposal_id = p.id
                  where p.chain_id = $1 and p.replaced_at is null and m.next_try_at <= $2
                    and r.status in ('proposed', 'approved')
                  order by m.next_try_at limit 1 for update of m skip locked
               )
               returning proposal_id, posted_at, quiet_since, attempts, problem, wakes,
                  (select r.id from requests r join proposal_requests m on m.request_id = r.id
                   where m.proposal_id = mailings.proposal_id
                     and r.proposal_id = mailings.proposal_id
                     and r.status in ('proposed', 'approved')
                   order by r.id limit 1) as "request!""#,
            signed(chain.get()),
            now,
            again_at,
        )
        .fetch_optional(&self.pool)
        .await
        .during("take what is to be exchanged with a mailbox")?;
        Ok(row.map(|row| Mailing {
            proposal: row.proposal_id,
            request: RequestId(row.request),
            posted_at: row.posted_at,
            quiet_since: row.quiet_since,
            attempts: row.attempts,
            problem: row.problem,
            wakes: row.wakes,
        }))
    }

    /// Notes what came of an exchange. One that was woken meanwhile is due at once.
    pub async fn settle_mailing(
        &self,
        mailing: &Mailing,
        exchange: &Exchange,
        now: Time,
    ) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "update mailings set
                posted_at = case when $2 then coalesce(posted_at, $9) else posted_at end,
                read_at = coalesce($3, read_at), quiet_since = greatest(quiet_since, $4),
                
                hint = case when $3::timestamptz is null then hint else left($5, 2000) end, problem = left($6, 2000), attempts = $7,
                next_try_at = case when wakes = $10 then $8 else $9 end
             where proposal_id = $1",
            mailing.proposal,
            exchange.is_posted,
            exchange.read_at,
            exchange.quiet_since,
            exchange.hint,
            exchange.problem,
            exchange.attempts,
            exchange.next_try_at,
            now,
            mailing.wakes,
        )
        .execute(&self.pool)
        .await
        .during("note what came of an exchange")?;
        one_row("noting what came of an exchange", &result)
    }

    /// Something happened to the proposal of this request here: it is exchanged at once.
    pub async fn wake_mailing(&self, request: RequestId, now: Time) -> Result<(), StoreError> {
        sqlx::query!(
            "update mailings set next_try_at = least(next_try_at, $2), quiet_since = $2,
                wakes = wakes + 1
             where proposal_id = (select proposal_id from requests where id = $1)",
            request.0,
            now,
        )
        .execute(&self.pool)
        .await
        .during("wake an exchange")
        .map(|_| ())
    }

    /// Somebody looks at the request: it is exchanged now, unless the mailbox was read less than
    /// `pause` ago, or cannot be used.
    pub async fn look_into_mailbox(
        &self,
        request: RequestId,
        pause: TimeDelta,
        now: Time,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update mailings set next_try_at = $2
             where proposal_id = (select proposal_id from requests where id = $1)
               and attempts = 0 and read_at < $3 and next_try_at > $2",
            request.0,
            now,
            now - pause,
        )
        .execute(&self.pool)
        .await
        .during("look into a mailbox")
        .map(|_| ())
    }

    /// How the live proposal of a request stands in the mailbox.
    pub async fn mailing(&self, request: RequestId) -> Result<Option<Standing>, StoreError> {
        sqlx::query_as!(
            Standing,
            "select posted_at, read_at, hint, problem from mailings
             where proposal_id = (select proposal_id from requests where id = $1)",
            request.0,
        )
        .fetch_optional(&self.pool)
        .await
        .during("read how a proposal stands in a mailbox")
    }
}
