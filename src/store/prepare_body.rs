//! What was sent to Phala Cloud to prepare a request, sealed: kept to prepare it again with the same, and to
//! prove what it asks for.

use sqlx::PgConnection;

use super::{During, Store, StoreError};
use crate::{request::ids::RequestId, vault::Sealed};

impl Store {
    /// What is sent again to prepare a request again; none when nobody handed it over, or when there
    /// is nothing more to prepare.
    pub async fn prepare_body(&self, request: RequestId) -> Result<Option<Sealed>, StoreError> {
        let body = sqlx::query_scalar!(
            "select prepare_body_sealed from requests where id = $1",
            request.0
        )
        .fetch_optional(&self.pool)
        .await
        .during("read what was sent to prepare a request")?;
        Ok(body.ok_or(StoreError::NotFound("request"))?.map(Sealed::from_bytes))
    }
}

/// Keeps what was sent this time. A preparation that came without it leaves what is there: it was for
/// the same content.
pub(super) async fn keep(
    tx: &mut PgConnection,
    request: RequestId,
    body: Option<&Sealed>,
) -> Result<(), StoreError> {
    let Some(body) = body else { return Ok(()) };
    sqlx::query!(
        "update requests set prepare_body_sealed = $2
         where id = $1 and committed_at is null and ended_at is null",
        request.0,
        body.as_bytes(),
    )
    .execute(tx)
    .await
    .during("keep what was sent to prepare a request")
    .map(|_| ())
}
