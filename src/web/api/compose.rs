//! `/v1/requests/{id}/compose` and `/v1/compose/{hash}`: what a compose hash means.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::requests::request_id;
use crate::{
    request::ids::{ComposeHash, RequestId},
    review::{self, AttachError},
    roles::Action,
    web::{
        WebState,
        compose_proof::{ComposeView, compose},
        gate::{Caller, Reader},
        problem::Problem,
        sight::Sight,
    },
};

impl From<AttachError> for Problem {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Store(error) => error.into(),
            AttachError::Refused(_) => {
                Self { code: "no-document", ..Self::of_field("body", error.to_string()) }
            }
            AttachError::Other { .. } => {
                Self { code: "other-document", ..Self::of_field("body", error.to_string()) }
            }
        }
    }
}

/// What the compose hash of a request means: whether its document is known, what to look at in it, and
/// what differs from what the source runs and from what was approved before.
#[utoipa::path(
    get, path = "/v1/requests/{id}/compose", operation_id = "show_compose", tag = "compose", params(("id" = RequestId, Path)),
    responses((status = 200, body = ComposeView), (status = 404, body = Problem)),
    security(("token" = []), ("session" = []))
)]
pub async fn show(
    _: Reader,
    State(state): State<WebState>,
    Path(id): Path<String>,
) -> Result<Json<ComposeView>, Problem> {
    let request = state.service.store.request(request_id(&id)?).await?;
    Ok(Json(compose(&state.service, &request).await?))
}

/// Hands in the document of a request, in the bytes of `app-compose.json`. It is taken if it has the hash,
/// and counts as proof like one from Phala Cloud.
#[utoipa::path(
    post, path = "/v1/requests/{id}/compose", operation_id = "attach_compose", tag = "compose", params(("id" = RequestId, Path)),
    request_body(content = String, content_type = "application/octet-stream", description = "The document, as it is"),
    responses(
        (status = 200, description = "It is the document", body = ComposeView),
        (status = 404, body = Problem),
        (status = 422, description = "It is another document, or none that can be used", body = Problem),
    ),
    security(("token" = []), ("session" = []))
)]
pub async fn attach(
    caller: Caller,
    State(state): State<WebState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<ComposeView>, Problem> {
    let id = request_id(&id)?;
    let actor = caller.may_to(&state, Action::Attach, id).await?;
    let service = &state.service;
    let now = service.clock.now();
    review::attach(&service.store, id, &body, &actor, now).await?;
    let request = service.store.request(id).await?;
    Ok(Json(compose(service, &request).await?))
}

/// A document, in the bytes that its hash is of. It may hold secrets that somebody put there. To a signer
/// there are the documents that a request of their apps is for.
#[utoipa::path(
    get, path = "/v1/compose/{hash}", operation_id = "download_compose", tag = "compose", params(("hash" = ComposeHash, Path)),
    responses((status = 200, description = "The document", content_type = "text/plain"), (status = 404, body = Problem)),
    security(("token" = []), ("session" = []))
)]
pub async fn document(
    sight: Sight,
    State(state): State<WebState>,
    Path(hash): Path<String>,
) -> Result<Response, Problem> {
    let hash: ComposeHash = hash.parse().map_err(|_| Problem::not_found("compose document"))?;
    if let Some(apps) = sight.apps()
        && !state.service.store.is_asked_for(hash.0, apps).await?
    {
        return Err(Problem::not_found("compose document"));
    }
    let document = state.service.store.document(hash).await?;
    let document = document.ok_or_else(|| Problem::not_found("compose document"))?;
    let disposition = format!("attachment; filename=\"app-compose-{hash}.json\"");
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((StatusCode::OK, headers, document.bytes).into_response())
}
