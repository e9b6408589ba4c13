//! Commits that somebody else made with a token of ours, such as a person through the gateway.

use super::{
    During, Store, StoreError,
    journal::Actor,
    requests::{get_locked, record_of},
};
use crate::{
    clock::Time,
    request::{
        Request,
        event::Event,
        ids::{ReplicaId, RequestId},
    },
};

/// A commit that was answered with success, as somebody saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCommit {
    /// The CVM of the answer; an update needs none, since it is known what is updated.
    pub replica: Option<ReplicaId>,
    /// What an update's answer calls the work that it set off.
    pub operation: Option<String>,
    /// From what it is known, for the journal.
    pub how: String,
}

/// What became of a commit that somebody else made.
#[derive(Debug)]
pub enum Elsewhere {
    /// The request has its replica.
    Settled(Box<Request>),
    /// The request has ended without one, and says now that somebody committed it.
    Late(RequestId),
    /// The request has it already, or the answer names no CVM or one of another request: nothing was
    /// recorded.
    Ignored(RequestId),
    /// The token is of no request.
    Unknown,
}

impl Store {
    /// Settles the request of a token with which somebody else has committed. `token_fingerprints`
    /// are those under every key of the vault.
    pub async fn committed_elsewhere(
        &self,
        token_fingerprints: &[[u8; 32]],
        seen: &SeenCommit,
        actor: &Actor,
        now: Time,
    ) -> Result<Elsewhere, StoreError> {
        let prints: Vec<Vec<u8>> = token_fingerprints.iter().map(|it| it.to_vec()).collect();
        let mut tx = self.begin().await?;
        let holder = sqlx::query_scalar!(
            "select r.id from preparations p join requests r on r.id = p.request_id
             where p.token_fingerprint = any($1)
             order by r.ended_at is not null, r.created_at desc limit 1",
            &prints
        )
        .fetch_optional(&mut *tx)
        .await
        .during("look for a token")?;
        let Some(id) = holder.map(RequestId) else { return Ok(Elsewhere::Unknown) };
        let request = get_locked(&mut tx, id).await?;
        let replica = request.target().updated().or_else(|| seen.replica.clone());
        if request.facts.end.is_some() && request.facts.replica.is_none() {
            let event = Event::Commented { text: in_words(replica.as_ref(), seen) };
            if !is_said(&mut tx, id, &event).await? {
                record_of(&mut tx, request, None, actor, &event, now).await?;
                super::commit(tx).await?;
            }
            return Ok(Elsewhere::Late(id));
        }
        let Some(replica) = replica else { return Ok(Elsewhere::Ignored(id)) };
        let event = Event::CommittedElsewhere {
            replica: replica.clone(),
            how: seen.how.clone(),
            operation: seen.operation.clone(),
        };
        if request.facts.apply(&event, now).is_err() {
            return Ok(Elsewhere::Ignored(id));
        }
        if request.target().updated().is_none() && is_of_another(&mut tx, &replica).await? {
            return Ok(Elsewhere::Ignored(id));
        }
        let request = record_of(&mut tx, request, None, actor, &event, now).await?;
        super::commit(tx).await?;
        self.wake_queue_behind(id, &event, now).await;
        Ok(Elsewhere::Settled(Box::new(request)))
    }
}

/// That somebody committed what had ended.
fn in_words(replica: Option<&ReplicaId>, seen: &SeenCommit) -> String {
    let cvm = replica.map_or_else(
        || "which CVM that made is not known".to_owned(),
        |replica| format!("the answer names CVM {replica}"),
    );
    format!("somebody committed it although it had ended: {cvm} (known from {})", seen.how)
}

/// Whether the request says that already: who is not answered may ask again.
async fn is_said(
    tx: &mut sqlx::PgConnection,
    id: RequestId,
    comment: &Event,
) -> Result<bool, StoreError> {
    let Event::Commented { text } = comment else { return Ok(false) };
    sqlx::query_scalar!(
        r#"select exists (select from journal
            where request_id = $1 and kind = $2 and body::jsonb ->> 'text' = $3) as "is!""#,
        id.0,
        comment.kind(),
        text
    )
    .fetch_one(tx)
    .await
    .during("look for a comment")
}

async fn is_of_another(
    tx: &mut sqlx::PgConnection,
    replica: &ReplicaId,
) -> Result<bool, StoreError> {
    sqlx::query_scalar!(
        r#"select exists (select 1 from requests
            where replica_id = $1 and kind = 'replica') as "is!""#,
        replica.as_str()
    )
    .fetch_one(tx)
    .await
    .during("look for known replicas")
}
