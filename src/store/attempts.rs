//! Commit attempts: the intent, written before the call.

use uuid::Uuid;

use super::{
    During, Store, StoreError, journal::Actor, lease::Lease, requests::record, signed, unsigned,
};
use crate::{
    clock::Time,
    request::{
        Request,
        event::Event,
        ids::{ReplicaId, RequestId, TxHash},
    },
    vault::Sealed,
};

/// An attempt to commit, as it was intended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub id: Uuid,
    pub started_at: Time,
    /// The transaction given as evidence; none means "already registered".
    pub transaction: Option<TxHash>,
}

/// What is about to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub preparation: Uuid,
    /// The transaction to be given as evidence.
    pub transaction: Option<TxHash>,
    /// The app's instances as they are now.
    pub instances: Vec<ReplicaId>,
}

/// What the first attempt of a request that may have acted saw, by which a later look tells a new instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    pub started_at: Time,
    pub instances: Vec<ReplicaId>,
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
}

impl Store {
    /// Writes the intent and moves the request to `committing`, in one transaction.
    pub async fn start_attempt(
        &self,
        lease: &Lease,
        request: &Request,
        intent: &Intent,
        actor: &Actor,
        now: Time,
    ) -> Result<Attempt, StartError> {
        let mut tx = self.begin().await?;
        let id = Uuid::now_v7();
        let Intent { preparation, transaction, .. } = *intent;
        let instances: Vec<String> = intent.instances.iter().map(ToString::to_string).collect();
        let inserted = sqlx::query!(
            "insert into commit_attempts (id, request_id, preparation_id, chain_id, app,
                transaction_hash, instances_before, started_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (chain_id, app) where settled_at is null do nothing",
            id,
            request.id.0,
            preparation,
            signed(request.chain.get()),
            request.app.0.as_slice(),
            transaction.map(|transaction| transaction.0.to_vec()),
            &instances,
            now,
        )
        .execute(&mut *tx)
        .await
        .during("write the intent to commit")?;
        if inserted.rows_affected() == 0 {
            return Err(StartError::AppBusy);
        }
        let evidence =
            transaction.map_or_else(|| "already-registered".to_owned(), |t| t.to_string());
        let event = Event::CommitStarted { attempt: id, preparation, evidence };
        record(&mut tx, request.id, Some(lease), actor, &event, now).await?;
        super::commit(tx).await?;
        Ok(Attempt { id, started_at: now, transaction })
    }

    /// The unsettled attempt of a request.
    pub async fn open_attempt(&self, request: RequestId) -> Result<Option<Attempt>, StoreError> {
        let row = sqlx::query!(
            "select id, started_at, transaction_hash from commit_attempts
             where request_id = $1 and settled_at is null",
            request.0
        )
        .fetch_optional(&self.pool)
        .await
        .during("read the commit attempt")?;
        row.map(|row| {
            let transaction = row
                .transaction_hash
                .map(|hash| {
                    hash.as_slice().try_into().map(TxHash).map_err(|_| StoreError::Inconsistent {
                        table: "commit_attempts",
                        column: "transaction_hash",
                        row: row.id.to_string(),
                    })
                })
                .transpose()?;
            Ok(Attempt { id: row.id, started_at: row.started_at, transaction })
        })
        .transpose()
    }

    /// What the first attempt of this request saw that may have had an effect; none when there is
    /// no such attempt. One that was clearly refused made nothing, so what appeared since is not
    /// ours.
    ///
    /// Later attempts keep comparing with the first: a replica that an earlier attempt created
    /// late must not hide in a later attempt's list.
    pub async fn baseline(&self, request: RequestId) -> Result<Option<Baseline>, StoreError> {
        let row = sqlx::query!(
            "select started_at, instances_before from commit_attempts
             where request_id = $1
               and (settled_at is null or outcome = 'refused no-effect-seen')
             order by started_at, id limit 1",
            request.0
        )
        .fetch_optional(&self.pool)
        .await
        .during("read the first commit attempt")?;
        row.map(|row| {
            let instances = row
                .instances_before
                .iter()
                .map(|id| id.parse())
                .collect::<Result<_, _>>()
                .map_err(|_| StoreError::Inconsistent {
                    table: "commit_attempts",
                    column: "instances_before",
                    row: request.to_string(),
                })?;
            Ok(Baseline { started_at: row.started_at, instances })
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
            r#"select replica_id as "replica_id!" from requests where replica_id = any($1)"#,
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

    /// The sealed token of the live preparation.
    pub async fn sealed_token(
        &self,
        request: RequestId,
    ) -> Result<Option<(Uuid, Sealed)>, StoreError> {
        let row = sqlx::query!(
            r#"select id, token_sealed as "token_sealed!" from preparations
               where request_id = $1 and ended_at is null"#,
            request.0
        )
        .fetch_optional(&self.pool)
        .await
        .during("read the sealed token")?;
        Ok(row.map(|row| (row.id, Sealed::from_bytes(row.token_sealed))))
    }

    /// Settles an attempt whose token the cloud refused: the preparation ends with it.
    pub async fn refuse_token(
        &self,
        lease: &Lease,
        attempt: Uuid,
        reason: &str,
        actor: &Actor,
        now: Time,
    ) -> Result<Request, StoreError> {
        let mut tx = self.begin().await?;
        let event = Event::CommitRefused {
            attempt,
            code: "token-refused".into(),
            reason: reason.to_owned(),
        };
        let id = lease.request;
        record(&mut tx, id, Some(lease), actor, &event, now).await?;
        super::requests::end_preparation(&mut tx, id, "refused", now).await?;
        let request = super::requests::get_locked(&mut tx, id).await?;
        super::commit(tx).await?;
        Ok(request)
    }
}
