//! Keeping a document: found by the service, or handed in by a person, which the journal tells.

use sqlx::PgConnection;

use super::{Document, Provenance};
use crate::{
    clock::Time,
    request::{
        event::Event,
        ids::{ComposeHash, RequestId},
    },
    store::{CHANGES, During, Store, StoreError, WAKE, journal::Actor, requests::record},
};

impl Store {
    /// Keeps a document under the hash of its bytes; the first one stays. What waits for it is woken.
    pub async fn keep_document(
        &self,
        hash: ComposeHash,
        document: &Document,
        now: Time,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        if insert(&mut tx, hash, document).await? {
            wake(&mut tx, hash, now).await?;
        }
        crate::store::commit(tx).await
    }

    /// Keeps a document that a person handed in for a request, and who did. What is here already is not
    /// handed in again.
    pub async fn attach_document(
        &self,
        request: RequestId,
        hash: ComposeHash,
        document: &Document,
        actor: &Actor,
        now: Time,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        if insert(&mut tx, hash, document).await? {
            lock(&mut tx, request, hash).await?;
            wake(&mut tx, hash, now).await?;
            let form = document.provenance.form.as_str().to_owned();
            let event = Event::DocumentAttached { compose_hash: hash, form };
            record(&mut tx, request, None, actor, &event, now).await?;
        }
        crate::store::commit(tx).await
    }
}

/// Whether it is a new one.
async fn insert(
    tx: &mut PgConnection,
    hash: ComposeHash,
    document: &Document,
) -> Result<bool, StoreError> {
    let Provenance { form, origin, place, received_at } = &document.provenance;
    let place: String = place.chars().take(300).collect();
    let kept = sqlx::query!(
        "insert into compose_documents (compose_hash, document, form, source, place, received_at)
         values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        hash.0.as_slice(),
        document.bytes,
        form.as_str(),
        origin.as_str(),
        place,
        received_at,
    )
    .execute(tx)
    .await
    .during("keep a compose document")?;
    Ok(kept.rows_affected() > 0)
}

/// Takes the rows of a request and of what waits for the document in the one order.
async fn lock(
    tx: &mut PgConnection,
    request: RequestId,
    hash: ComposeHash,
) -> Result<(), StoreError> {
    sqlx::query!(
        "select id from requests where id = $1 or (compose_hash = $2 and status = 'prepared')
         order by id for update",
        request.0,
        hash.0.as_slice(),
    )
    .fetch_all(tx)
    .await
    .during("lock what waits for a document")
    .map(|_| ())
}

/// Makes due what waits for the document.
async fn wake(tx: &mut PgConnection, hash: ComposeHash, now: Time) -> Result<(), StoreError> {
    let woken = sqlx::query!(
        "update requests set next_try_at = least(next_try_at, $2)
         where compose_hash = $1 and status = 'prepared'",
        hash.0.as_slice(),
        now,
    )
    .execute(&mut *tx)
    .await
    .during("wake what waits for a document")?;
    if woken.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query!("select pg_notify($1, $2)", CHANGES, WAKE)
        .fetch_one(tx)
        .await
        .during("announce a document")
        .map(|_| ())
}
