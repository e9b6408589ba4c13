//! `/v1/requests/{id}/…` and `/v1/proposals`: what people say about requests. Comment on one, take it
//! back, refuse it, have it tried now, tell how its commit ended, or have several proposed together.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::requests::{RequestView, changed, parse_body, request_id};
use crate::{
    request::ids::{ReplicaId, RequestId},
    review,
    roles::Action,
    web::{WebState, gate::Caller, problem::Problem},
};

/// Why a person says it; kept in the journal beside the name of the API token or the wallet.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body; it is read field by field to name what is wrong")]
pub struct Reason {
    reason: String,
}

/// What a person says; kept in the journal beside the name of the API token or the wallet.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body; it is read field by field to name what is wrong")]
pub struct Comment {
    #[schema(min_length = 1, max_length = 2_000)]
    text: String,
}

/// How a commit ended, as a person found out.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body; it is read field by field to name what is wrong")]
pub struct Settlement {
    /// The instance that is this request's replica; null when there is none. It must be there, so
    /// that nobody says "none" by leaving something out.
    #[schema(required)]
    replica: Option<ReplicaId>,
    reason: String,
}

/// How requests are to be put to their Safe.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body; it is read field by field to name what is wrong")]
pub struct Arrangement {
    /// Those that one transaction is to be for, each once.
    #[schema(value_type = Vec<RequestId>, min_items = 1, max_items = 20)]
    requests: Vec<RequestId>,
    /// The nonce of the Safe to use; the next free one unless given.
    nonce: Option<u64>,
    reason: String,
}

/// Requests that are about to be proposed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Arranged {
    pub requests: Vec<RequestView>,
    /// Signatures over what was proposed for them before, which do not count any more.
    pub dropped_signatures: u64,
}

fn requests_in(body: &Value) -> Result<Vec<RequestId>, Problem> {
    let wrong = || Problem::of_field("requests", "expected a list of ids of requests");
    let ids = body.get("requests").and_then(Value::as_array).ok_or_else(wrong)?;
    ids.iter().map(|id| id.as_str().ok_or_else(wrong).and_then(request_id)).collect()
}

fn nonce_in(body: &Value) -> Result<Option<u64>, Problem> {
    match body.get("nonce") {
        None | Some(Value::Null) => Ok(None),
        // As large as the database keeps.
        Some(nonce) => match nonce.as_u64().filter(|nonce| i64::try_from(*nonce).is_ok()) {
            Some(nonce) => Ok(Some(nonce)),
            None => Err(Problem::of_field("nonce", "expected a nonce of the Safe: 0 to 2^63 - 1")),
        },
    }
}

/// Has requests proposed again: several in one transaction of their Safe, or at a nonce of your choice.
/// What was proposed for them is replaced, with the signatures over it. One request without a nonce is
/// proposed alone again. Possible until the entries are on the chain; all of them or none.
#[utoipa::path(
    post, path = "/v1/proposals", operation_id = "arrange_requests", tag = "proposals", request_body = Arrangement,
    responses(
        (status = 200, description = "They are about to be proposed", body = Arranged), (status = 404, body = Problem),
        (status = 409, description = "One is past its approval, or the owner is no Safe", body = Problem),
        (status = 422, description = "They are not of one Safe, or the nonce cannot be had", body = Problem),
        (status = 503, description = "The chain does not read", body = Problem),
    ),
    security(("token" = []), ("session" = []))
)]
pub async fn arrange(
    caller: Caller,
    State(state): State<WebState>,
    body: Bytes,
) -> Result<Json<Arranged>, Problem> {
    let body = parse_body(&body)?;
    let ids = requests_in(&body)?;
    let mut actor = caller.may(Action::Arrange);
    for id in &ids {
        actor = Ok(caller.may_to(&state, Action::Arrange, *id).await?);
    }
    let (actor, nonce, reason) = (actor?, nonce_in(&body)?, reason_in(&body)?);
    let service = &state.service;
    let (store, chains, now) = (&service.store, &service.chains, service.clock.now());
    let rearranged = review::arrange(store, chains, &ids, nonce, &reason, &actor, now).await?;
    let mut requests = vec![];
    for request in rearranged.requests {
        requests.push(changed(service, request).await?);
    }
    Ok(Json(Arranged { requests, dropped_signatures: rearranged.dropped }))
}

fn reason_in(body: &Value) -> Result<String, Problem> {
    let reason = body.get("reason").and_then(Value::as_str);
    reason.map(str::to_owned).ok_or_else(|| Problem::of_field("reason", "missing"))
}

fn replica_in(body: &Value) -> Result<Option<ReplicaId>, Problem> {
    match body.get("replica") {
        None => Err(Problem::of_field("replica", "missing; null means that there is none")),
        Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            text.parse().map(Some).map_err(|_| Problem::of_field("replica", "not an instance's id"))
        }
        Some(_) => Err(Problem::of_field("replica", "expected the id of an instance, or null")),
    }
}

/// Says something about a request, for whoever reads its timeline. It changes nothing, and is possible
/// whatever became of the request.
#[utoipa::path(
    post, path = "/v1/requests/{id}/comments", operation_id = "comment_on_request", tag = "requests", params(("id" = RequestId, Path)), request_body = Comment,
    responses((status = 200, body = RequestView), (status = 404, body = Problem), (status = 409, description = "It has too many", body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = []))
)]
pub async fn comment(
    caller: Caller,
    State(state): State<WebState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<RequestView>, Problem> {
    let id = request_id(&id)?;
    let actor = caller.may_to(&state, Action::Comment, id).await?;
    let body = parse_body(&body)?;
    let text = body.get("text").and_then(Value::as_str);
    let text = text.ok_or_else(|| Problem::of_field("text", "missing"))?;
    let service = &state.service;
    let now = service.clock.now();
    let request = review::comment(&service.store, id, text, &actor, now).await?;
    Ok(Json(changed(service, request).await?))
}

/// Takes a request back; possible until its commit has begun.
#[utoipa::path(
    post, path = "/v1/requests/{id}/withdraw", operation_id = "withdraw_request", tag = "requests", params(("id" = RequestId, Path)), request_body = Reason,
    responses((status = 200, body = RequestView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = []))
)]
pub async fn withdraw(
    caller: Caller,
    State(state): State<WebState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<RequestView>, Problem> {
    let id = request_id(&id)?;
    let actor = caller.may_to(&state, Action::Withdraw, id).await?;
    let reason = reason_in(&parse_body(&body)?)?;
    let service = &state.service;
    let now = service.clock.now();
    let request = review::withdraw(&service.store, id, &reason, &actor, now).await?;
    Ok(Json(changed(service, request).await?))
}

/// Refuses a request in review; possible until its commit has begun.
#[utoipa::path(
    post, path = "/v1/requests/{id}/reject", operation_id = "reject_request", tag = "requests", params(("id" = RequestId, Path)), request_body = Reason,
    responses((status = 200, body = RequestView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = []))
)]
pub async fn reject(
    caller: Caller,
    State(state): State<WebState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<RequestView>, Problem> {
    let id = request_id(&id)?;
    let actor = caller.may_to(&state, Action::Reject, id).await?;
    let reason = reason_in(&parse_body(&body)?)?;
    let service = &state.service;
    let now = service.clock.now();
    let request = review::reject(&service.store, id, &reason, &actor, now).await?;
    Ok(Json(changed(service, request).await?))
}

/// Has a request tried now, whatever it waits for, and takes back what a person was asked. Possible
/// until it has ended; refused as `already-retried` until somebody has tried since the last time, and
/// within ten seconds of it.
#[utoipa::path(
    post, path = "/v1/requests/{id}/retry", operation_id = "retry_request", tag = "requests", params(("id" = RequestId, Path)), request_body = Reason,
    responses((status = 200, body = RequestView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)),
    security(("token" = []), ("session" = []))
)]
pub async fn retry(
    caller: Caller,
    State(state): State<WebState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<RequestView>, Problem> {
    let id = request_id(&id)?;
    let actor = caller.may_to(&state, Action::Retry, id).await?;
    let reason = reason_in(&parse_body(&body)?)?;
    let service = &state.service;
    let now = service.clock.now();
    let request = review::retry(&service.store, id, &reason, &actor, now).await?;
    Ok(Json(changed(service, request).await?))
}

/// Tells how a commit ended that Countersign cannot make out: which instance is the replica, or that
/// none is. Possible while the request asks for that. An instance must be one of the app's that
/// nothing speaks against.
#[utoipa::path(
    post, path = "/v1/requests/{id}/settle", operation_id = "settle_request", tag = "requests", params(("id" = RequestId, Path)), request_body = Settlement,
    responses(
        (status = 200, body = RequestView), (status = 404, body = Problem),
        (status = 409, description = "Nobody is asked how a commit of this request ended", body = Problem),
        (status = 422, description = "A field is wrong, or this instance is not the replica", body = Problem),
        (status = 503, description = "Phala Cloud does not show the app's instances", body = Problem),
    ),
    security(("token" = []), ("session" = []))
)]
pub async fn settle(
    caller: Caller,
    State(state): State<WebState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<RequestView>, Problem> {
    let id = request_id(&id)?;
    let actor = caller.may_to(&state, Action::Settle, id).await?;
    let body = parse_body(&body)?;
    let (replica, reason) = (replica_in(&body)?, reason_in(&body)?);
    let service = &state.service;
    let (store, cloud, now) = (&service.store, &service.cloud, service.clock.now());
    let request = review::settle(store, cloud, id, replica, &reason, &actor, now).await?;
    Ok(Json(changed(service, request).await?))
}
