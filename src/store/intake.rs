//! Storing a preparation: a new request, the same one again, or a newer token for an open one.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    During, Store, StoreError,
    journal::Actor,
    lease::{self, Lease},
    requests::{self, get_locked, record},
    signed,
    watched::watch_changed,
};
use crate::{
    clock::Time,
    request::{
        Request,
        event::Event,
        ids::{AppId, ChainId, ComposeHash, DeviceId, NodeId, RequestId, SourceCvm},
    },
    vault::Sealed,
};

/// A checked preparation, its token sealed.
#[derive(Debug)]
pub struct NewPreparation {
    /// The request it opens, unless it belongs to one that is there.
    pub request: RequestId,
    pub chain: ChainId,
    pub app: AppId,
    pub source: SourceCvm,
    pub node: Option<NodeId>,
    pub compose: ComposeHash,
    pub device: DeviceId,
    pub note: Option<String>,
    pub token_fingerprint: [u8; 32],
    /// Under every configured key, to know a token again after a rotation.
    pub token_fingerprints: Vec<[u8; 32]>,
    pub prepared_at: Time,
    pub expires_at: Time,
}

/// What became of a preparation.
#[derive(Debug)]
pub enum Stored {
    Opened(Request),
    /// The same token for the same content was here before.
    Known(Request),
    /// The token was taken into an open request of the same content.
    Renewed(Request),
    /// The same token came before with other content.
    TokenReused(RequestId),
}

/// Seals the token for the request it ends up in.
pub type SealFor<'a> = &'a (dyn Fn(RequestId) -> Result<Sealed, crate::vault::VaultError> + Sync);

/// Why a preparation was not stored.
#[derive(Debug, thiserror::Error)]
pub enum StorePreparationError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot seal the commit token")]
    Seal(#[from] crate::vault::VaultError),
}

impl NewPreparation {
    fn is_content_of(&self, request: &Request) -> bool {
        self.chain == request.chain
            && self.app == request.app
            && self.source == request.source
            && self.node == request.node
            && self.compose == request.compose
            && self.device == request.device
    }
}

impl Store {
    /// Stores a preparation in one transaction. Preparations of one source are stored one after
    /// the other, so the same one sent twice at once is one request.
    pub async fn store_preparation(
        &self,
        new: &NewPreparation,
        seal_for: SealFor<'_>,
        actor: &Actor,
        now: Time,
    ) -> Result<Stored, StorePreparationError> {
        let mut tx = self.begin().await?;
        lock_source(&mut tx, &new.source).await?;
        if let Some(stored) = known(&mut tx, new).await? {
            return Ok(stored);
        }
        let stored = match live_holder(&mut tx, new).await? {
            Some(holder) if new.is_content_of(&holder) && holder.status().is_before_commit() => {
                requests::end_preparation(&mut tx, holder.id, "superseded", now).await?;
                Stored::Renewed(
                    add_preparation(&mut tx, new, holder.id, false, seal_for, actor, now).await?,
                )
            }
            holder => {
                // Before anything that journals: whoever has the journal waits for nobody's app.
                note_app(&mut tx, new, now).await?;
                if let Some(holder) = holder {
                    let event = Event::TokenSuperseded { by: new.request.0 };
                    record(&mut tx, holder.id, None, actor, &event, now).await?;
                }
                insert_request(&mut tx, new, actor, now).await?;
                Stored::Opened(
                    add_preparation(&mut tx, new, new.request, true, seal_for, actor, now).await?,
                )
            }
        };
        super::commit(tx).await?;
        Ok(stored)
    }
}

impl Store {
    /// Puts a fresh preparation of the same content in the place of the one a request has.
    pub async fn renew_preparation(
        &self,
        lease: &Lease,
        new: &NewPreparation,
        seal_for: SealFor<'_>,
        actor: &Actor,
        now: Time,
    ) -> Result<Request, StorePreparationError> {
        let mut tx = self.begin().await?;
        lock_source(&mut tx, &new.source).await?;
        if let Some(holder) = live_holder(&mut tx, new).await?.filter(|it| it.id != lease.request) {
            requests::lock(&mut tx, &[lease.request.0]).await?;
            // Phala Cloud has voided its token by now.
            let event = Event::TokenSuperseded { by: lease.request.0 };
            record(&mut tx, holder.id, None, actor, &event, now).await?;
        }
        requests::end_preparation(&mut tx, lease.request, "superseded", now).await?;
        lease::check_lease(&mut tx, lease, now).await?;
        let request =
            add_preparation(&mut tx, new, lease.request, false, seal_for, actor, now).await?;
        super::commit(tx).await?;
        Ok(request)
    }
}

impl Store {
    /// Whether another request of the same source is committing, or is about to with a token that
    /// came after `since`.
    pub async fn source_is_committing(
        &self,
        request: &Request,
        since: Time,
    ) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"select exists (
                select 1 from requests r
                join preparations p on p.request_id = r.id and p.ended_at is null
                where r.source_cvm = $1 and r.id <> $2
                  and r.attention is null
                  and (r.status = 'committing' or (r.status = 'registered' and p.received_at > $3))
            ) as "busy!""#,
            request.source.as_str(),
            request.id.0,
            since,
        )
        .fetch_one(&self.pool)
        .await
        .during("look for commits of a source CVM")
    }
}

/// Preparations of one source are stored one after the other.
async fn lock_source(tx: &mut PgConnection, source: &SourceCvm) -> Result<(), StoreError> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended($1, 0))",
        format!("preparation {source}")
    )
    .fetch_one(tx)
    .await
    .during("take the lock of a source CVM")
    .map(|_| ())
}

/// The request that this very token belongs to.
async fn known(tx: &mut PgConnection, new: &NewPreparation) -> Result<Option<Stored>, StoreError> {
    let fingerprints: Vec<Vec<u8>> =
        new.token_fingerprints.iter().map(|fingerprint| fingerprint.to_vec()).collect();
    let holder = sqlx::query_scalar!(
        "select request_id from preparations where token_fingerprint = any($1)",
        &fingerprints
    )
    .fetch_optional(&mut *tx)
    .await
    .during("look for a token")?;
    let Some(holder) = holder else { return Ok(None) };
    let request = get_locked(tx, RequestId(holder)).await?;
    Ok(Some(if new.is_content_of(&request) {
        Stored::Known(request)
    } else {
        Stored::TokenReused(request.id)
    }))
}

/// The request whose live preparation is for the same source and node.
async fn live_holder(
    tx: &mut PgConnection,
    new: &NewPreparation,
) -> Result<Option<Request>, StoreError> {
    let holder = sqlx::query_scalar!(
        "select request_id from preparations
         where source_cvm = $1 and node_id = $2 and ended_at is null",
        new.source.as_str(),
        new.node.as_ref().map_or("", NodeId::as_str),
    )
    .fetch_optional(&mut *tx)
    .await
    .during("look for a live preparation")?;
    let Some(id) = holder else { return Ok(None) };
    // Its preparation may have been used while we waited for the row.
    let request = get_locked(tx, RequestId(id)).await?;
    Ok(request.preparation.is_some().then_some(request))
}

async fn note_app(
    tx: &mut PgConnection,
    new: &NewPreparation,
    now: Time,
) -> Result<(), StoreError> {
    let added = sqlx::query!(
        "insert into apps (chain_id, app, first_seen_at) values ($1, $2, $3)
         on conflict do nothing",
        signed(new.chain.get()),
        new.app.0.as_slice(),
        now,
    )
    .execute(&mut *tx)
    .await
    .during("note an app")?;
    if added.rows_affected() > 0 { watch_changed(tx, new.chain).await } else { Ok(()) }
}

async fn insert_request(
    tx: &mut PgConnection,
    new: &NewPreparation,
    actor: &Actor,
    now: Time,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into requests (id, kind, chain_id, app, source_cvm, node_id, compose_hash,
            device_id, note, created_at, created_by, next_try_at)
         values ($1, 'replica', $2, $3, $4, $5, $6, $7, $8, $9, $10, $9)",
        new.request.0,
        signed(new.chain.get()),
        new.app.0.as_slice(),
        new.source.as_str(),
        new.node.as_ref().map(NodeId::as_str),
        new.compose.0.as_slice(),
        new.device.0.as_slice(),
        new.note,
        now,
        actor.as_str(),
    )
    .execute(tx)
    .await
    .during("open a request")
    .map(|_| ())
}

async fn add_preparation(
    tx: &mut PgConnection,
    new: &NewPreparation,
    request: RequestId,
    opens: bool,
    seal_for: SealFor<'_>,
    actor: &Actor,
    now: Time,
) -> Result<Request, StorePreparationError> {
    let sealed = seal_for(request)?;
    let preparation = Uuid::now_v7();
    sqlx::query!(
        "insert into preparations (id, request_id, source_cvm, node_id, token_sealed,
            token_fingerprint, prepared_at, expires_at, received_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        preparation,
        request.0,
        new.source.as_str(),
        new.node.as_ref().map_or("", NodeId::as_str),
        sealed.as_bytes(),
        new.token_fingerprint.as_slice(),
        new.prepared_at,
        new.expires_at,
        now,
    )
    .execute(&mut *tx)
    .await
    .during("store a preparation")?;
    let expires_at = new.expires_at;
    let event = if opens {
        Event::Opened { preparation, expires_at }
    } else {
        Event::Renewed { preparation, expires_at }
    };
    Ok(record(tx, request, None, actor, &event, now).await?)
}
