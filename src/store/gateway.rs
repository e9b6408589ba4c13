//! What comes from Phala Cloud's side: whose app it is, and events that were told.

use chrono::TimeDelta;
use uuid::Uuid;

use super::{During, Store, StoreError, hash_of, requests::wake_one, signed};
use crate::{
    clock::Time,
    request::ids::{AppId, ChainId, ComposeHash, RequestId, SourceCvm},
};

/// How long it is known which events were taken. A retry comes within hours.
const KEPT: TimeDelta = TimeDelta::days(30);
/// Rows that go with each new one, at most.
const PRUNED_MAX: i64 = 100;
/// Requests that one event makes due, at most.
const WOKEN_MAX: i64 = 100;

/// An event that was told, without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookEvent {
    pub id: String,
    pub event: String,
    pub told_at: Option<Time>,
    pub cvm: Option<SourceCvm>,
    pub app: Option<AppId>,
    pub compose: Option<ComposeHash>,
}

impl Store {
    /// Whether there ever was a request for this app.
    pub async fn has_request_of(&self, chain: ChainId, app: AppId) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"select exists (select 1 from requests where chain_id = $1 and app = $2) as "has!""#,
            signed(chain.get()),
            app.0.as_slice(),
        )
        .fetch_one(&self.pool)
        .await
        .during("look for requests of an app")
    }

    /// The fingerprints of the tokens that live for an update of a CVM to a compose document.
    pub async fn fingerprints_of_update(
        &self,
        source: &SourceCvm,
        compose: ComposeHash,
    ) -> Result<Vec<[u8; 32]>, StoreError> {
        let source = source.canonical();
        let prints: Vec<Vec<u8>> = sqlx::query_scalar!(
            "select p.token_fingerprint from preparations p join requests r on r.id = p.request_id
             where r.kind = 'update' and r.source_cvm = $1 and r.compose_hash = $2
               and (p.ended_at is null or r.ended_at is not null)",
            source.as_str(),
            compose.0.as_slice(),
        )
        .fetch_all(&self.pool)
        .await
        .during("look for the token of an update")?;
        prints
            .into_iter()
            .map(|print| {
                let row = source.as_str();
                hash_of(&print, "preparations", row).map(|print| print.0)
            })
            .collect()
    }

    /// Whether an event was taken before.
    pub async fn knows_webhook_event(&self, id: &str) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"select exists (select 1 from webhook_events where id = $1) as "knows!""#,
            id
        )
        .fetch_one(&self.pool)
        .await
        .during("look for an event")
    }

    /// Keeps that an event was taken. The same one at the same time is no harm.
    pub async fn keep_webhook_event(
        &self,
        event: &WebhookEvent,
        request: Option<RequestId>,
        now: Time,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "with old as (
                select id from webhook_events where received_at < $9
                order by received_at limit $10 for update skip locked
             ), pruned as (delete from webhook_events w using old where w.id = old.id)
             insert into webhook_events
                (id, event, told_at, received_at, cvm, app, compose_hash, request_id)
             values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
            event.id,
            event.event,
            event.told_at,
            now,
            event.cvm.as_ref().map(SourceCvm::as_str),
            event.app.as_ref().map(|app| app.0.as_slice()),
            event.compose.as_ref().map(|hash| hash.0.as_slice()),
            request.map(|request| request.0),
            now - KEPT,
            PRUNED_MAX,
        )
        .execute(&self.pool)
        .await
        .during("keep an event")
        .map(|_| ())
    }

    /// Makes the open requests due that a CVM is the source or the replica of, and those of its app;
    /// tells how many.
    pub async fn wake_of_cvm(
        &self,
        cvm: Option<&SourceCvm>,
        app: Option<AppId>,
        chains: &[ChainId],
        now: Time,
    ) -> Result<usize, StoreError> {
        let source = cvm.map(|cvm| cvm.canonical().to_string());
        let replica = source.as_deref().map(|id| {
            Uuid::try_parse(id).map_or_else(|_| id.to_owned(), |uuid| uuid.hyphenated().to_string())
        });
        let chains: Vec<i64> = chains.iter().map(|chain| signed(chain.get())).collect();
        let ids: Vec<Uuid> = sqlx::query_scalar!(
            "select id from requests
             where ended_as is null and running_at is null
               and (source_cvm = $1 or replica_id = $2 or (chain_id = any($4) and app = $3))
             order by created_at desc limit $5",
            source,
            replica,
            app.as_ref().map(|app| app.0.as_slice()),
            &chains,
            WOKEN_MAX,
        )
        .fetch_all(&self.pool)
        .await
        .during("look for the requests of a CVM")?;
        // One by one: whoever is at work on one of them is waited for, and holds up no other.
        for id in &ids {
            let mut tx = self.begin().await?;
            wake_one(&mut tx, RequestId(*id), now).await?;
            super::commit(tx).await?;
        }
        Ok(ids.len())
    }
}
