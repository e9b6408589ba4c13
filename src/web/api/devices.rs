//! `/v1/devices/{device_id}`: what a device id means.

use axum::{
    Json,
    extract::{Path, State},
};

use crate::{
    request::ids::DeviceId,
    web::{
        WebState,
        device_meaning::{DeviceView, device},
        problem::Problem,
        sight::Sight,
    },
};

/// What a device id means: which node has it, which ids that node had before and how that is known, and
/// who uses it. All of it is what Phala Cloud and the chain showed so far; a device that nobody has seen
/// is answered too, with a warning. To a signer there are the devices that a request of their apps is for.
#[utoipa::path(
    get, path = "/v1/devices/{device_id}", operation_id = "show_device", tag = "devices", params(("device_id" = DeviceId, Path)),
    responses((status = 200, body = DeviceView), (status = 404, body = Problem)),
    security(("token" = []), ("session" = []))
)]
pub async fn show(
    sight: Sight,
    State(state): State<WebState>,
    Path(id): Path<String>,
) -> Result<Json<DeviceView>, Problem> {
    let id: DeviceId = id.parse().map_err(|_| Problem::not_found("device id"))?;
    if let Some(apps) = sight.apps()
        && !state.service.store.is_asked_for(id.0, apps).await?
    {
        return Err(Problem::not_found("device id"));
    }
    Ok(Json(device(&state.service, id, sight.apps()).await?))
}
