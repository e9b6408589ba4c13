//! Several preparations of the same source: which request one is for of several that want the same
//! content, and whether there is a newer one.

use sqlx::PgConnection;

use super::{During, Store, StoreError, intake::NewPreparation, signed};
use crate::request::{
    Request,
    ids::{NodeId, RequestId},
};

/// The request that is `copy`th, from 1, of those of this content that have no replica yet, the
/// oldest first; none when there are fewer. All of them stay locked.
pub(super) async fn waiting(
    tx: &mut PgConnection,
    new: &NewPreparation,
    copy: u32,
) -> Result<Option<RequestId>, StoreError> {
    let waiting = sqlx::query_scalar!(
        "select id from requests
         where kind = $1 and chain_id = $2 and app = $3 and source_cvm = $4
           and node_id is not distinct from $5 and compose_hash = $6 and device_id = $7
           and ended_at is null and replica_id is null
         order by id for update",
        new.kind.as_str(),
        signed(new.chain.get()),
        new.app.0.as_slice(),
        new.source.as_str(),
        new.node.as_ref().map(NodeId::as_str),
        new.compose.0.as_slice(),
        new.device.0.as_slice(),
    )
    .fetch_all(tx)
    .await
    .during("look for requests of the same content")?;
    let place = usize::try_from(copy).unwrap_or(usize::MAX).saturating_sub(1);
    Ok(waiting.get(place).copied().map(RequestId))
}

impl Store {
    /// Whether a newer preparation of the same source CVM is known than the live one of this
    /// request: it mostly voids it.
    pub async fn is_suspect(&self, request: &Request) -> Result<bool, StoreError> {
        let Some(preparation) = &request.preparation else { return Ok(false) };
        sqlx::query_scalar!(
            r#"select exists (
                select 1 from preparations p, preparations ours
                where ours.id = $1 and p.source_cvm = ours.source_cvm and p.id <> ours.id
                  and (p.prepared_at, p.received_at, p.id)
                    > (ours.prepared_at, ours.received_at, ours.id)
            ) as "suspect!""#,
            preparation.id,
        )
        .fetch_one(&self.pool)
        .await
        .during("look for newer preparations of a source CVM")
    }
}
