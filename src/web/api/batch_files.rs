//! `/v1/requests/{id}/…/safe-batch.json`: calls as files for Safe's Transaction Builder.

use alloy::primitives::Address;
use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    proposals::{none_yet, view},
    requests::request_id,
};
use crate::{
    owner::Call,
    request::{ids::RequestId, kind::Kind},
    safe::batch_file::BatchFile,
    web::{WebState, gate::Reader, problem::Problem},
};

/// The calls as a file for Safe's Transaction Builder.
#[utoipa::path(
    get, path = "/v1/requests/{id}/safe-batch.json", operation_id = "download_safe_batch", tag = "proposals", params(("id" = RequestId, Path)),
    responses((status = 200, description = "Transaction Builder file", content_type = "application/json"), (status = 404, body = Problem)),
    security(("token" = []), ("session" = []))
)]
pub async fn safe_batch(
    _: Reader,
    State(state): State<WebState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = request_id(&id)?;
    let store = &state.service.store;
    let proposal = store.proposal(id).await?.ok_or_else(none_yet)?;
    if proposal.safe.is_none() {
        let text = "the owner is no Safe that Countersign acts through, so there is no file for one; \
                    the proposal has the bare calls";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-safe", text));
    }
    let calls: Vec<Call> = proposal.additions.iter().map(Call::from).collect();
    let kind = store.request(id).await?.kind;
    let article = match kind {
        Kind::Replica => "a",
        Kind::Update => "an",
    };
    let file = BatchFile {
        chain: proposal.chain,
        safe: proposal.owner,
        name: &format!("Countersign: allow {article} {kind}"),
        description: &format!("request {id}"),
        created_at_ms: u64::try_from(proposal.created_at.timestamp_millis()).unwrap_or_default(),
        calls: &calls,
    };
    let disposition = format!("attachment; filename=\"countersign-{id}.json\"");
    Ok(([(header::CONTENT_DISPOSITION, disposition)], Json(file.to_json())).into_response())
}

/// The approval of an owner that is a contract, as a file for the Transaction Builder of that owner.
#[utoipa::path(
    get, path = "/v1/requests/{id}/nested-owners/{owner}/safe-batch.json", operation_id = "download_approval_batch", tag = "proposals",
    params(("id" = RequestId, Path), ("owner" = String, Path)),
    responses((status = 200, description = "Transaction Builder file", content_type = "application/json"), (status = 404, body = Problem)),
    security(("token" = []), ("session" = []))
)]
pub async fn approval_batch(
    _: Reader,
    State(state): State<WebState>,
    Path((id, owner)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = request_id(&id)?;
    let proposal = view(&state, id).await?.ok_or_else(none_yet)?;
    let owner: Option<Address> = owner.parse().ok();
    let nested = proposal.nested_owners.iter().find(|one| Some(one.owner) == owner);
    let nested = nested.ok_or_else(|| {
        let text = "that is no owner of the Safe that is a contract";
        Problem::new(StatusCode::NOT_FOUND, "no-nested-owner", text)
    })?;
    let created_at_ms = u64::try_from(proposal.created_at.timestamp_millis()).unwrap_or_default();
    let file = nested.batch_file(proposal.chain_id, &format!("request {id}"), created_at_ms);
    let name = format!("countersign-{id}-{}.json", nested.owner);
    let disposition = format!("attachment; filename=\"{name}\"");
    Ok(([(header::CONTENT_DISPOSITION, disposition)], Json(file)).into_response())
}
