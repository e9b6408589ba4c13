//! What ends with an event: attempts, proposals and preparations, in the transaction that records it.

use alloy::primitives::Address;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    During, Store, StoreError, batches::lock_waiting, journal::Actor, one_row, requests::record,
    signed,
};
use crate::{
    clock::Time,
    planted::{Bug, planted},
    request::{
        event::Event,
        ids::{ChainId, RequestId},
    },
};

/// How an attempt ended that made nothing, as a person says.
pub(super) const NO_EFFECT: &str = "no effect, says a person";

/// Lets everything that hangs on a request follow what happened to it.
pub(super) async fn follow_event(
    tx: &mut PgConnection,
    id: RequestId,
    actor: &Actor,
    event: &Event,
    at: Time,
) -> Result<(), StoreError> {
    end_attempt(tx, id, event, at).await?;
    if let Event::ProposalReplaced { proposal, reason } = event {
        replace_proposal(tx, *proposal, actor, reason, at).await?;
        wake_queue(tx, id, at).await?;
    }
    if event.ends() {
        leave_proposal(tx, id, actor, event, at).await?;
        retire_proposal(tx, id, "the request ended", true, at).await?;
        wake_queue(tx, id, at).await?;
    }
    let has_replica = event.has_replica();
    if has_replica {
        // What is allowed by another route leaves its nonce free for another proposal.
        retire_proposal(tx, id, "it was not needed", false, at).await?;
        wake_queue(tx, id, at).await?;
    }
    match event {
        _ if has_replica => drop_tokens(tx, id, "used", at).await,
        Event::Expired { .. } => drop_tokens(tx, id, "expired", at).await,
        Event::TokenSuperseded { .. } => supersede(tx, id, at).await,
        _ if event.ends() => drop_tokens(tx, id, "dropped", at).await,
        _ => Ok(()),
    }
}

async fn end_attempt(
    tx: &mut PgConnection,
    id: RequestId,
    event: &Event,
    at: Time,
) -> Result<(), StoreError> {
    match event {
        Event::CommitRefused { attempt, code, may_have_acted, .. } => {
            let outcome = format!("refused {code}");
            settle_attempt(tx, *attempt, &outcome, *may_have_acted, at).await
        }
        Event::Committed { attempt, how, .. } => {
            settle_attempt(tx, *attempt, &format!("committed by {how}"), true, at).await
        }
        Event::Settled { attempt, replica: Some(_), .. } => {
            settle_attempt(tx, *attempt, "settled by a person", true, at).await
        }
        Event::Settled { attempt, replica: None, .. } => {
            settle_attempt(tx, *attempt, NO_EFFECT, false, at).await?;
            // What is there now is not this request's, whichever of its commits could have made it.
            sqlx::query!(
                "update commit_attempts set may_have_acted = false where request_id = $1",
                id.0
            )
            .execute(tx)
            .await
            .during("clear the commits of a request")
            .map(|_| ())
        }
        Event::AttentionNeeded { about, .. } => sqlx::query!(
            "update commit_attempts set parked = true, asked_about = $2
             where request_id = $1 and settled_at is null",
            id.0,
            &about.iter().map(ToString::to_string).collect::<Vec<_>>()
        )
        .execute(tx)
        .await
        .during("park a commit attempt")
        .map(|_| ()),
        Event::Failed { .. } => settle_open(tx, id, "failed", at).await,
        Event::CommittedElsewhere { .. } => {
            settle_open(tx, id, "committed by somebody else", at).await
        }
        _ => Ok(()),
    }
}

/// Settles the attempt of a request that is open, if one is.
async fn settle_open(
    tx: &mut PgConnection,
    id: RequestId,
    outcome: &str,
    at: Time,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update commit_attempts set settled_at = $2, outcome = $3
         where request_id = $1 and settled_at is null",
        id.0,
        at,
        outcome
    )
    .execute(tx)
    .await
    .during("settle a commit attempt")
    .map(|_| ())
}

async fn settle_attempt(
    tx: &mut PgConnection,
    attempt: Uuid,
    outcome: &str,
    may_have_acted: bool,
    at: Time,
) -> Result<(), StoreError> {
    let result = sqlx::query!(
        "update commit_attempts set settled_at = $2, outcome = $3, may_have_acted = $4
         where id = $1 and settled_at is null",
        attempt,
        at,
        outcome,
        may_have_acted,
    )
    .execute(tx)
    .await
    .during("settle a commit attempt")?;
    one_row("settling a commit attempt", &result)
}

/// A proposal is replaced once, for all the requests that wait for it.
async fn replace_proposal(
    tx: &mut PgConnection,
    proposal: Uuid,
    actor: &Actor,
    reason: &str,
    at: Time,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update proposals set replaced_at = $2, replaced_reason = $3
         where id = $1 and replaced_at is null",
        proposal,
        at,
        reason
    )
    .execute(&mut *tx)
    .await
    .during("replace a proposal")?;
    let event = Event::ProposalReplaced { proposal, reason: reason.to_owned() };
    // The first of them does the same for the next, and does not wait for it any more then.
    if let Some(other) = lock_waiting(tx, proposal).await?.first() {
        Box::pin(record(tx, RequestId(*other), None, actor, &event, at)).await?;
    }
    Ok(())
}

/// What was to be approved together with a request that ended is proposed anew, without it.
async fn leave_proposal(
    tx: &mut PgConnection,
    id: RequestId,
    actor: &Actor,
    event: &Event,
    at: Time,
) -> Result<(), StoreError> {
    let proposal = sqlx::query_scalar!("select proposal_id from requests where id = $1", id.0)
        .fetch_one(&mut *tx)
        .await
        .during("look for the proposal of a request")?;
    let Some(proposal) = proposal else { return Ok(()) };
    if lock_waiting(tx, proposal).await?.is_empty() {
        return Ok(());
    }
    let how = match event {
        Event::Rejected { .. } => "was rejected",
        Event::Withdrawn { .. } => "was withdrawn",
        _ => "has ended",
    };
    let reason = format!(
        "it was for request {id} as well, which {how}: this one is proposed again without it, to be \
         signed anew"
    );
    replace_proposal(tx, proposal, actor, &reason, at).await
}

/// Frees the nonce of a proposal: always, since what one request asked for is not to be executed any
/// more, or only when it was not executed and no other request holds on to it.
async fn retire_proposal(
    tx: &mut PgConnection,
    id: RequestId,
    why: &str,
    even_executed: bool,
    at: Time,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update proposals p set replaced_at = $2, replaced_reason = $3
         where id = (select proposal_id from requests where id = $1) and replaced_at is null
           and ($4 or (safe_tx is not null and not exists (select 1 from safe_executions e
                where e.chain_id = p.chain_id and e.safe_tx_hash = p.safe_tx_hash)))
           and ($4 or not exists (select 1 from proposal_requests m
                join requests r on r.id = m.request_id
                where m.proposal_id = p.id and r.id <> $1 and r.proposal_id = p.id
                  and r.ended_as is null and r.committed_at is null))",
        id.0,
        at,
        why,
        even_executed,
    )
    .execute(tx)
    .await
    .during("retire a proposal")
    .map(|_| ())
}

/// Makes the requests due whose proposals queue behind those of this one: a nonce may be free. One
/// that is being worked on is left alone, so that nobody waits for anybody here.
async fn wake_queue(tx: &mut PgConnection, id: RequestId, now: Time) -> Result<(), StoreError> {
    sqlx::query!(
        "update requests set next_try_at = least(next_try_at, $2)
         where id in (
            select r.id from requests r
            join proposals q on q.id = r.proposal_id and q.replaced_at is null
            where r.id <> $1 and r.status in ('proposed', 'approved')
              and exists (select 1 from proposal_requests m join proposals p on p.id = m.proposal_id
                where m.request_id = $1 and p.chain_id = q.chain_id and p.owner = q.owner)
            for update of r skip locked
         )",
        id.0,
        now
    )
    .execute(tx)
    .await
    .during("wake a queue")
    .map(|_| ())
}

/// Makes the requests due that were to be proposed together with one which will not be: what it was waited
/// for, such as its proof, is waited for no more. One that is being worked on is left alone, as above.
pub(super) async fn wake_batch(
    tx: &mut PgConnection,
    id: RequestId,
    now: Time,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update requests set next_try_at = least(next_try_at, $2)
         where id in (
            select id from requests
            where id <> $1 and status = 'prepared'
              and batch_id = (select batch_id from requests where id = $1)
            for update skip locked
         )",
        id.0,
        now
    )
    .execute(tx)
    .await
    .during("wake a batch")
    .map(|_| ())
}

impl Store {
    /// Makes those due as well that were being worked on when a nonce became free. After the
    /// transaction of the event: there it would wait for others that may wait for it. The event
    /// stands whatever becomes of this, and those are looked at later all the same.
    pub(super) async fn wake_queue_behind(&self, id: RequestId, event: &Event, now: Time) {
        let is_replaced = matches!(event, Event::ProposalReplaced { .. });
        if event.ends() || event.has_replica() || is_replaced {
            self.wake_behind(id, now).await;
        }
    }

    pub(super) async fn wake_behind(&self, id: RequestId, now: Time) {
        let woken = async {
            let queued = self.queued_behind(id, now).await?;
            self.wake_each(&queued, now).await
        };
        if let Err(error) = woken.await {
            tracing::warn!(request.id = %id, %error, "cannot wake what waits for a request");
        }
    }

    /// Makes due what waits for higher nonces of a Safe: what was said to come first, or to be missing,
    /// is another thing now. The proposal stands whatever becomes of this.
    pub(super) async fn wake_above(&self, chain: ChainId, safe: Address, nonce: u64, now: Time) {
        let woken = sqlx::query!(
            "update requests set next_try_at = least(next_try_at, $4)
             where id in (
                select r.id from requests r
                join proposals q on q.id = r.proposal_id and q.replaced_at is null
                where q.chain_id = $1 and q.owner = $2 and q.nonce > $3
                    and r.status in ('proposed', 'approved')
                for update of r skip locked
             )",
            signed(chain.get()),
            safe.as_slice(),
            signed(nonce),
            now,
        );
        if let Err(error) = woken.execute(&self.pool).await {
            tracing::warn!(%error, "cannot wake what waits for higher nonces");
        }
    }

    /// Those that queue behind a request, or were to be proposed together with it.
    async fn queued_behind(&self, id: RequestId, now: Time) -> Result<Vec<Uuid>, StoreError> {
        sqlx::query_scalar!(
            "select r.id from requests r
             left join proposals q on q.id = r.proposal_id and q.replaced_at is null
             where r.id <> $1 and r.next_try_at > $2
               and (r.status in ('proposed', 'approved')
                  and exists (select 1 from proposal_requests m
                    join proposals p on p.id = m.proposal_id
                    where m.request_id = $1 and p.chain_id = q.chain_id and p.owner = q.owner)
                or r.status = 'prepared'
                  and r.batch_id = (select batch_id from requests where id = $1))",
            id.0,
            now
        )
        .fetch_all(&self.pool)
        .await
        .during("look for a queue")
    }

    /// Makes each due, one after the other, so that nobody waits for anybody here.
    pub(super) async fn wake_each(&self, ids: &[Uuid], now: Time) -> Result<(), StoreError> {
        for id in ids {
            sqlx::query!(
                "update requests set next_try_at = least(next_try_at, $2) where id = $1",
                id,
                now
            )
            .execute(&self.pool)
            .await
            .during("wake one of a queue")?;
        }
        Ok(())
    }
}

/// Another token takes the place of the live one. One whose commit may still be on its way stays
/// sealed, since it is to be used before any other.
pub(super) async fn supersede(
    tx: &mut PgConnection,
    id: RequestId,
    at: Time,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update preparations p set ended_at = $2, ended_as = 'superseded',
            token_sealed = case when exists (
                select 1 from commit_attempts a where a.preparation_id = p.id and a.may_have_acted
            ) and not $3 then token_sealed end
         where request_id = $1 and ended_at is null",
        id.0,
        at,
        planted(Bug::NewestTokenFirst),
    )
    .execute(tx)
    .await
    .during("end a preparation")
    .map(|_| ())
}

/// Ends the live preparation of a request and erases every token it has.
async fn drop_tokens(
    tx: &mut PgConnection,
    id: RequestId,
    ended_as: &str,
    at: Time,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update preparations set token_sealed = null,
            ended_as = case when ended_at is null then $3 else ended_as end,
            ended_at = coalesce(ended_at, $2)
         where request_id = $1 and token_sealed is not null",
        id.0,
        at,
        ended_as
    )
    .execute(tx)
    .await
    .during("end the preparations of a request")
    .map(|_| ())
}
