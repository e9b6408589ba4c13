//! Storing a preparation: a new request, the same one again, or a newer token for an open one.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    During, Store, StoreError,
    apps::note_app,
    commit_tokens::Issued,
    copies, dependents,
    journal::Actor,
    lease::{self, Lease},
    prepare_body,
    requests::{self, get_locked, record},
    signed,
};
use crate::{
    clock::Time,
    request::{
        Request,
        event::Event,
        ids::{AppId, ChainId, ComposeHash, DeviceId, NodeId, RequestId, SourceCvm},
        kind::Kind,
    },
    vault::Sealed,
};

/// A checked preparation, its token sealed.
#[derive(Debug)]
pub struct NewPreparation {
    /// The request it opens, unless it belongs to one that is there.
    pub request: RequestId,
    pub kind: Kind,
    pub chain: ChainId,
    pub app: AppId,
    pub source: SourceCvm,
    pub node: Option<NodeId>,
    pub compose: ComposeHash,
    pub device: DeviceId,
    /// Which one it is, from 1, of several that are wanted of this content. Without it the one is
    /// meant that has the place of its token.
    pub copy: Option<u32>,
    pub note: Option<String>,
    pub token_fingerprint: [u8; 32],
    /// Under every configured key, to know a token again after a rotation.
    pub token_fingerprints: Vec<[u8; 32]>,
    /// When it came, unless it was told otherwise.
    pub prepared_at: Time,
    pub issued: Issued,
    pub expires_at: Time,
}

/// What became of a preparation.
#[derive(Debug)]
pub enum Stored {
    Opened(Request),
    /// The same token for the same content was here before, or a token prepared later is.
    Known(Request),
    /// The token was taken into an open request of the same content.
    Renewed(Request),
    /// The same token came before with other content.
    TokenReused(RequestId),
}

/// What of a preparation is kept sealed.
#[derive(Debug)]
pub struct Secrets {
    pub token: Sealed,
    /// What was sent to prepare, if it was handed over.
    pub body: Option<Sealed>,
}

/// Seals the secrets of a preparation for the request it ends up in.
pub type SealFor<'a> = &'a (dyn Fn(RequestId) -> Result<Secrets, crate::vault::VaultError> + Sync);

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
        self.kind == request.kind
            && self.chain == request.chain
            && self.app == request.app
            && self.source == request.source
            && self.node == request.node
            && self.compose == request.compose
            && self.device == request.device
    }

    /// Whether it is told to be prepared before the live one of a request, which has voided it by now.
    /// Of equal age is the one that came later the newer one.
    fn is_voided_by(&self, holder: &Request) -> bool {
        let live = holder.preparation.as_ref();
        let is_told = self.issued == Issued::Told;
        is_told && live.is_some_and(|live| self.prepared_at < live.prepared_at)
    }
}

impl Store {
    /// Stores a preparation in one transaction. Preparations of one source are stored one after
    /// the other, so the same one sent twice at once is one request.
    ///
    /// One that is told late, after a newer one of its source, node and kind, leaves the live token
    /// where it is: of the same content nothing changes, and other content opens a request without a
    /// token, which is prepared again once it is approved, if what was sent for it is known.
    pub async fn store_preparation(
        &self,
        new: &NewPreparation,
        seal_for: SealFor<'_>,
        actor: &Actor,
        now: Time,
    ) -> Result<Stored, StorePreparationError> {
        let mut tx = self.begin().await?;
        lock_source(&mut tx, &new.source).await?;
        if let Some(mut stored) = known(&mut tx, new).await? {
            if let Stored::Known(request) = &mut stored {
                // What was sent, and the note, may be handed over later than the token.
                let body = seal_for(request.id)?.body;
                prepare_body::keep(&mut tx, request.id, body.as_ref()).await?;
                requests::keep_note(&mut tx, request, new.note.as_ref()).await?;
                super::commit(tx).await?;
            }
            return Ok(stored);
        }
        let (holder, same) = place_of(&mut tx, new).await?;
        let is_late = holder.as_ref().is_some_and(|holder| new.is_voided_by(holder));
        let mut stored = if let Some(id) = same.filter(|_| is_late) {
            Stored::Known(get_locked(&mut tx, id).await?)
        } else if let Some(id) = same {
            if let Some(holder) = holder.filter(|holder| holder.id != id) {
                let event = Event::TokenSuperseded { by: id.0 };
                record(&mut tx, holder.id, None, actor, &event, now).await?;
            }
            dependents::supersede(&mut tx, id, now).await?;
            let opening = Opening::Renews(id, None);
            Stored::Renewed(add_preparation(&mut tx, new, opening, seal_for, actor, now).await?)
        } else {
            // Before anything that journals: whoever has the journal waits for nobody's app.
            note_app(&mut tx, new.chain, new.app, now).await?;
            Stored::Opened(open(&mut tx, new, holder, seal_for, actor, now).await?)
        };
        if let Stored::Known(request) | Stored::Renewed(request) = &mut stored {
            requests::keep_note(&mut tx, request, new.note.as_ref()).await?;
        }
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
        lease::hold_lease(&mut tx, lease, now).await?;
        dependents::supersede(&mut tx, lease.request, now).await?;
        let opening = Opening::Renews(lease.request, Some(lease));
        let request = add_preparation(&mut tx, new, opening, seal_for, actor, now).await?;
        super::commit(tx).await?;
        Ok(request)
    }

    /// Ends a request by `event` and opens another one in its place for the content that its source
    /// and node are prepared for by now, which needs an approval of its own.
    pub async fn open_instead(
        &self,
        lease: &Lease,
        event: &Event,
        new: &NewPreparation,
        seal_for: SealFor<'_>,
        actor: &Actor,
        now: Time,
    ) -> Result<Request, StorePreparationError> {
        let mut tx = self.begin().await?;
        lock_source(&mut tx, &new.source).await?;
        note_app(&mut tx, new.chain, new.app, now).await?;
        record(&mut tx, lease.request, Some(lease), actor, event, now).await?;
        let holder = live_holder(&mut tx, new).await?;
        let request = open(&mut tx, new, holder, seal_for, actor, now).await?;
        super::commit(tx).await?;
        self.wake_queue_behind(lease.request, event, now).await;
        Ok(request)
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

/// The request that has the place of the token, and the one of the same content that the preparation
/// is for, if there is one.
async fn place_of(
    tx: &mut PgConnection,
    new: &NewPreparation,
) -> Result<(Option<Request>, Option<RequestId>), StoreError> {
    // Locked before the holder, which mostly is one of them.
    let waiting = match new.copy {
        Some(copy) => copies::waiting(tx, new, copy).await?,
        None => None,
    };
    let holder = live_holder(tx, new).await?;
    if new.copy.is_some() {
        return Ok((holder, waiting));
    }
    // A commit whose outcome is not known yet may need it.
    let is_same = |it: &&Request| new.is_content_of(it) && it.facts.replica.is_none();
    let same = holder.as_ref().filter(is_same).map(|it| it.id);
    Ok((holder, same))
}

/// The request whose live preparation is of the same kind, for the same source and node.
async fn live_holder(
    tx: &mut PgConnection,
    new: &NewPreparation,
) -> Result<Option<Request>, StoreError> {
    let holder = sqlx::query_scalar!(
        "select request_id from preparations
         where source_cvm = $1 and node_id = $2 and kind = $3 and ended_at is null",
        new.source.as_str(),
        new.node.as_ref().map_or("", NodeId::as_str),
        new.kind.as_str(),
    )
    .fetch_optional(&mut *tx)
    .await
    .during("look for a live preparation")?;
    let Some(id) = holder else { return Ok(None) };
    // Its preparation may have been used while we waited for the row.
    let request = get_locked(tx, RequestId(id)).await?;
    Ok(request.preparation.is_some().then_some(request))
}

/// Opens a request for a preparation. `holder` has had the place of its token up to now, and keeps it
/// if its own is newer.
async fn open(
    tx: &mut PgConnection,
    new: &NewPreparation,
    holder: Option<Request>,
    seal_for: SealFor<'_>,
    actor: &Actor,
    now: Time,
) -> Result<Request, StorePreparationError> {
    let newer = holder.as_ref().filter(|holder| new.is_voided_by(holder)).map(|holder| holder.id);
    if let Some(holder) = holder.filter(|_| newer.is_none()) {
        let event = Event::TokenSuperseded { by: new.request.0 };
        record(tx, holder.id, None, actor, &event, now).await?;
    }
    insert_request(tx, new, actor, now).await?;
    let opening = newer.map_or(Opening::Opens, |_| Opening::OpensLate);
    let request = add_preparation(tx, new, opening, seal_for, actor, now).await?;
    let Some(newer) = newer else { return Ok(request) };
    let event = Event::TokenSuperseded { by: newer.0 };
    Ok(record(tx, request.id, None, actor, &event, now).await?)
}

async fn insert_request(
    tx: &mut PgConnection,
    new: &NewPreparation,
    actor: &Actor,
    now: Time,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into requests (id, kind, chain_id, app, source_cvm, node_id, compose_hash,
            device_id, note, created_at, created_by, next_try_at, deadline, created_by_token)
         values ($1, $12, $2, $3, $4, $5, $6, $7, $8, $9, $10, $9, $11, $13)",
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
        new.expires_at,
        new.kind.as_str(),
        actor.token_id(),
    )
    .execute(tx)
    .await
    .during("open a request")
    .map(|_| ())
}

/// What a preparation does.
enum Opening<'a> {
    /// It opens its request.
    Opens,
    /// It opens its request, and its token is void.
    OpensLate,
    /// It takes the place of the token of this one, by a worker or by somebody outside.
    Renews(RequestId, Option<&'a Lease>),
}

async fn add_preparation(
    tx: &mut PgConnection,
    new: &NewPreparation,
    opening: Opening<'_>,
    seal_for: SealFor<'_>,
    actor: &Actor,
    now: Time,
) -> Result<Request, StorePreparationError> {
    let (preparation, expires_at) = (Uuid::now_v7(), new.expires_at);
    let ended_at = matches!(opening, Opening::OpensLate).then_some(now);
    let (request, lease, event) = match opening {
        Opening::Opens | Opening::OpensLate => {
            (new.request, None, Event::Opened { preparation, expires_at })
        }
        Opening::Renews(request, lease) => {
            (request, lease, Event::Renewed { preparation, expires_at })
        }
    };
    let secrets = seal_for(request)?;
    sqlx::query!(
        "insert into preparations (id, request_id, source_cvm, node_id, token_sealed,
            token_fingerprint, prepared_at, expires_at, received_at, kind,
            ended_at, ended_as, issued_after, is_ours)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        preparation,
        request.0,
        new.source.as_str(),
        new.node.as_ref().map_or("", NodeId::as_str),
        ended_at.is_none().then_some(secrets.token.as_bytes()),
        new.token_fingerprint.as_slice(),
        new.prepared_at,
        expires_at,
        now,
        new.kind.as_str(),
        ended_at,
        ended_at.map(|_| "superseded"),
        new.issued.not_before(new.prepared_at),
        new.issued == Issued::ForUs,
    )
    .execute(&mut *tx)
    .await
    .during("store a preparation")?;
    prepare_body::keep(tx, request, secrets.body.as_ref()).await?;
    Ok(record(tx, request, lease, actor, &event, now).await?)
}
