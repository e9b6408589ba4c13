//! Commit attempts: the intent, written before the call.

mod answer;

use uuid::Uuid;

pub use answer::{Answer, NOT_SENT, Then, UsedBefore};

use super::{
    During, Store, StoreError,
    advance::{Seen, insist_on, register_seen},
    commit_tokens::token_to_use,
    inconsistent,
    journal::Actor,
    lease::{Lease, hold_lease},
    one_row,
    requests::record,
    signed, unsigned,
};
use crate::{
    clock::Time,
    planted::{Bug, planted},
    request::{
        Request,
        event::Event,
        ids::{ComposeHash, ReplicaId, RequestId, TxHash},
    },
};

/// An attempt to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub id: Uuid,
    /// Commits of the same app go on meanwhile, since a person has the word.
    pub parked: bool,
    /// The answer that left open what happened, if one came.
    pub answer: Option<Answer>,
}

/// What is about to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub preparation: Uuid,
    /// The transaction to be given as evidence.
    pub transaction: Option<TxHash>,
    /// The app's instances as they are now.
    pub instances: Vec<ReplicaId>,
    /// When that was, by Phala Cloud's clock.
    pub listed_at: Option<Time>,
    /// What the CVM that is to be updated runs now.
    pub compose_before: Option<ComposeHash>,
}

/// What the first attempt of a request that may have acted saw, by which a later look tells a new instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// When the instances were listed, by Phala Cloud's clock, if it told.
    pub listed_at: Option<Time>,
    pub instances: Vec<ReplicaId>,
    /// What the CVM ran that was to be updated.
    pub compose: Option<ComposeHash>,
}

/// What is added to the end of a request of which a commit was sent that may still have an effect.
pub const LATE: &str = "; a commit of it was sent before, which may still make a replica: look for \
                        it in Phala Cloud";

/// Whether a commit of this request was sent that may still have an effect: one that was refused,
/// if only by a status, hardly has.
pub(super) async fn may_have_acted(
    connection: &mut sqlx::PgConnection,
    request: RequestId,
) -> Result<bool, StoreError> {
    sqlx::query_scalar!(
        r#"select exists (select 1 from commit_attempts
            where request_id = $1 and may_have_acted
              and coalesce(outcome, '') not like 'refused http-%') as "may!""#,
        request.0
    )
    .fetch_one(connection)
    .await
    .during("look for commits that may have acted")
}

/// Why an attempt could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Commits are serialised per app: whose a new instance is can only be told when no other
    /// commit may have made it. That covers each source CVM too, by whatever name it goes.
    #[error("another commit of the same app is under way")]
    AppBusy,
    /// A newer preparation came while the token was open, and the old one is not kept: a commit with
    /// it could arrive after one with the new token.
    #[error("the commit token was replaced meanwhile")]
    OtherToken,
}

impl Store {
    /// Writes the intent and moves the request to `committing`, in one transaction, in which it also
    /// becomes registered when that is not written yet.
    pub async fn start_attempt(
        &self,
        lease: &Lease,
        request: &Request,
        registered: Option<&Seen>,
        intent: &Intent,
        actor: &Actor,
        now: Time,
    ) -> Result<Attempt, StartError> {
        let mut tx = self.begin().await?;
        if let Some(seen) = registered {
            insist_on(&mut tx, request.chain, seen.at).await?;
        }
        hold_lease(&mut tx, lease, now).await?;
        let next = token_to_use(&mut tx, request.id).await?.map(|(preparation, _)| preparation);
        if next != Some(intent.preparation) {
            return Err(StartError::OtherToken);
        }
        let id = Uuid::now_v7();
        let Intent { preparation, transaction, .. } = *intent;
        let instances: Vec<String> = intent.instances.iter().map(ToString::to_string).collect();
        let inserted = sqlx::query!(
            "insert into commit_attempts (id, request_id, preparation_id, chain_id, app,
                transaction_hash, instances_before, started_at, listed_at, compose_before)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             on conflict (chain_id, app) where settled_at is null and not parked do nothing",
            id,
            request.id.0,
            preparation,
            signed(request.chain.get()),
            request.app.0.as_slice(),
            transaction.map(|transaction| transaction.0.to_vec()),
            &instances,
            now,
            intent.listed_at,
            intent.compose_before.map(|hash| hash.0.to_vec()),
        )
        .execute(&mut *tx)
        .await
        .during("write the intent to commit")?;
        if inserted.rows_affected() == 0 {
            return Err(StartError::AppBusy);
        }
        // After the place of the app is taken: who waits for that must not hold the journal.
        if let Some(seen) = registered {
            register_seen(&mut tx, lease, request, seen, now).await?;
        }
        let evidence =
            transaction.map_or_else(|| "already-registered".to_owned(), |t| t.to_string());
        let event = Event::CommitStarted { attempt: id, preparation, evidence };
        record(&mut tx, request.id, Some(lease), actor, &event, now).await?;
        super::commit(tx).await?;
        Ok(Attempt { id, parked: false, answer: None })
    }

    /// The unsettled attempt of a request.
    pub async fn open_attempt(&self, request: RequestId) -> Result<Option<Attempt>, StoreError> {
        let row = sqlx::query!(
            "select id, parked, answer_code, answer_reason, answer_body, answer_then
             from commit_attempts where request_id = $1 and settled_at is null",
            request.0
        )
        .fetch_optional(&self.pool)
        .await
        .during("read the commit attempt")?;
        let Some(row) = row else { return Ok(None) };
        let answer = match (row.answer_code, row.answer_reason, row.answer_then) {
            (Some(code), Some(reason), Some(then)) => {
                let then = Then::parse(&then);
                let then =
                    then.ok_or_else(|| inconsistent("commit_attempts", "answer_then", row.id))?;
                Some(Answer { code, reason, body: row.answer_body, then })
            }
            _ => None,
        };
        Ok(Some(Attempt { id: row.id, parked: row.parked, answer }))
    }

    /// Keeps the answer that left open what happened.
    pub async fn note_answer(
        &self,
        lease: &Lease,
        attempt: Uuid,
        answer: &Answer,
        now: Time,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        hold_lease(&mut tx, lease, now).await?;
        let result = sqlx::query!(
            "update commit_attempts
             set answer_code = $2, answer_reason = $3, answer_body = $4, answer_then = $5
             where id = $1 and settled_at is null",
            attempt,
            answer.code,
            answer.reason,
            answer.body,
            answer.then.as_str(),
        )
        .execute(&mut *tx)
        .await
        .during("keep the answer to a commit")?;
        one_row("keeping the answer to a commit", &result)?;
        super::commit(tx).await
    }

    /// Notes that the replica of an attempt was looked for in vain; how often that is by now.
    pub async fn looked_in_vain(
        &self,
        lease: &Lease,
        attempt: Uuid,
        now: Time,
    ) -> Result<u32, StoreError> {
        let mut tx = self.begin().await?;
        hold_lease(&mut tx, lease, now).await?;
        let looks = sqlx::query_scalar!(
            "update commit_attempts set looks = looks + 1
             where id = $1 and settled_at is null returning looks",
            attempt
        )
        .fetch_one(&mut *tx)
        .await
        .during("count looks for a replica")?;
        super::commit(tx).await?;
        Ok(looks.unsigned_abs())
    }

    /// Takes up an attempt again that a person had the word about; false while another commit of
    /// the app is under way, whose replica could be taken for this one's.
    pub async fn take_up(
        &self,
        lease: &Lease,
        attempt: Uuid,
        now: Time,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        hold_lease(&mut tx, lease, now).await?;
        let taken = sqlx::query!(
            "update commit_attempts a set parked = false, looks = 0
             where id = $1 and settled_at is null and not exists (
                select 1 from commit_attempts o
                where o.chain_id = a.chain_id and o.app = a.app and o.id <> a.id
                  and o.settled_at is null and not o.parked)",
            attempt
        )
        .execute(&mut *tx)
        .await
        .during("take up a commit attempt")?;
        super::commit(tx).await?;
        Ok(taken.rows_affected() == 1)
    }

    /// What the first attempt of this request saw that may have had an effect; none when there is
    /// no such attempt. One that was refused made nothing, so what appeared since is not ours.
    ///
    /// Later attempts keep comparing with the first: a replica that an earlier attempt created
    /// late must not hide in a later attempt's list.
    pub async fn baseline(&self, request: RequestId) -> Result<Option<Baseline>, StoreError> {
        if planted(Bug::LatestBaseline) {
            let forget = "update commit_attempts set may_have_acted = settled_at is null
                where request_id = $1";
            let forget = sqlx::query(forget).bind(request.0);
            forget.execute(&self.pool).await.during("forget earlier attempts")?;
        }
        let row = sqlx::query!(
            "select listed_at, instances_before, compose_before from commit_attempts
             where request_id = $1 and may_have_acted order by number limit 1",
            request.0
        )
        .fetch_optional(&self.pool)
        .await
        .during("read the first commit attempt")?;
        row.map(|row| {
            let instances = row.instances_before.iter().map(|id| id.parse());
            let instances = instances
                .collect::<Result<_, _>>()
                .map_err(|_| inconsistent("commit_attempts", "instances_before", request.0))?;
            let wrong = || inconsistent("commit_attempts", "compose_before", request.0);
            let compose =
                row.compose_before.map(|hash| hash.as_slice().try_into().map(ComposeHash));
            let compose = compose.transpose().map_err(|_| wrong())?;
            Ok(Baseline { listed_at: row.listed_at, instances, compose })
        })
        .transpose()
    }

    /// How often Phala Cloud could not verify the evidence that this request's commits named.
    pub async fn unverified_attempts(&self, request: RequestId) -> Result<u64, StoreError> {
        let count = sqlx::query_scalar!(
            r#"select count(*) as "count!" from commit_attempts
               where request_id = $1 and outcome in ('refused ERR-01-007', 'refused http-467')"#,
            request.0
        )
        .fetch_one(&self.pool)
        .await
        .during("count unverified commits")?;
        unsigned("commit_attempts", "count", request, count)
    }

    /// Which of these instances already are the replica of a request.
    pub async fn claimed_replicas(
        &self,
        instances: &[ReplicaId],
    ) -> Result<Vec<ReplicaId>, StoreError> {
        let ids: Vec<String> = instances.iter().map(ToString::to_string).collect();
        let claimed = sqlx::query_scalar!(
            r#"select replica_id as "replica_id!" from requests
               where replica_id = any($1) and kind = 'replica'"#,
            &ids
        )
        .fetch_all(&self.pool)
        .await
        .during("look for known replicas")?;
        Ok(instances
            .iter()
            .filter(|instance| claimed.iter().any(|known| known == instance.as_str()))
            .cloned()
            .collect())
    }

    /// Whether it was an earlier commit that used the token which Phala Cloud now calls dead.
    pub async fn used_before(&self, attempt: Uuid, now: Time) -> Result<UsedBefore, StoreError> {
        let row = sqlx::query!(
            r#"select exists (
                    select 1 from commit_attempts earlier
                    where earlier.preparation_id = this.preparation_id
                      and earlier.id <> this.id and earlier.may_have_acted
                ) as "sent!",
                exists (
                    select 1 from commit_attempts earlier
                    where earlier.preparation_id = this.preparation_id and earlier.id <> this.id
                      and earlier.may_have_acted and earlier.outcome not like 'refused http-%'
                ) as "unanswered!",
                p.expires_at <= $2 or p.ended_as is not null or exists (
                    select 1 from preparations newer
                    where newer.source_cvm = p.source_cvm and newer.prepared_at > p.prepared_at
                ) as "known_dead!"
             from commit_attempts this join preparations p on p.id = this.preparation_id
             where this.id = $1"#,
            attempt,
            now
        )
        .fetch_one(&self.pool)
        .await
        .during("look for earlier commits with a token")?;
        Ok(match (row.sent, row.known_dead) {
            (false, true) => UsedBefore::No,
            (true, false) if row.unanswered => UsedBefore::Likely,
            _ => UsedBefore::Perhaps,
        })
    }

    /// Whether a commit of this request was sent that may still have an effect.
    pub async fn may_have_acted(&self, request: RequestId) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await.during("reach the database")?;
        may_have_acted(&mut connection, request).await
    }

    /// Settles an attempt whose token Phala Cloud calls dead: the preparation ends with it.
    pub async fn refuse_token(
        &self,
        lease: &Lease,
        attempt: Uuid,
        reason: &str,
        actor: &Actor,
        now: Time,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let event = Event::CommitRefused {
            attempt,
            code: "token-refused".into(),
            reason: reason.to_owned(),
            may_have_acted: false,
            asks: false,
        };
        record(&mut tx, lease.request, Some(lease), actor, &event, now).await?;
        let result = sqlx::query!(
            "update preparations p
             set ended_at = coalesce(p.ended_at, $2), ended_as = 'refused', token_sealed = null
             from commit_attempts a where a.id = $1 and p.id = a.preparation_id",
            attempt,
            now
        )
        .execute(&mut *tx)
        .await
        .during("end a preparation")?;
        one_row("ending a preparation", &result)?;
        // It is dead and nothing is to be seen of it: none of its commits can still have an effect.
        sqlx::query!(
            "update commit_attempts set may_have_acted = false where preparation_id =
                (select preparation_id from commit_attempts where id = $1)",
            attempt
        )
        .execute(&mut *tx)
        .await
        .during("clear the commits of a dead token")?;
        super::commit(tx).await
    }
}
