//! Several replicas of the same content, wanted at the same time: which of their requests a
//! preparation is for.

use sqlx::PgConnection;

use super::{During, StoreError, intake::NewPreparation, signed};
use crate::request::ids::{NodeId, RequestId};

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
