//! Updates of a CVM: prepared by PATCH, committed with the token of the answer, or with the hash and
//! the transaction in the headers of a second PATCH.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{
    Cloud,
    answers::{Answer, Refusal, ok},
    commit::{self, CommitAsk},
    control::Endpoint,
    documents::DocumentChange,
    replicas::{is_prepare_only, read},
    shapes,
    state::World,
    tokens::Plan,
};
use crate::request::kind::Kind;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UpdateAsk {
    encrypted_env: Option<String>,
}

pub(super) async fn patch(
    State(cloud): State<Cloud>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let (Some(hash), Some(transaction)) = (text("X-Compose-Hash"), text("X-Transaction-Hash")) {
        let ask = CommitAsk::of_headers(&mut cloud.world(), &id, hash, transaction)?;
        return commit::run(&cloud, Kind::Update, &id, ask).await;
    }
    let (ask, change): (UpdateAsk, DocumentChange) = (read(&body)?, read(&body)?);
    let plan = {
        let mut world = cloud.world();
        world.arrive(Endpoint::Prepare);
        world.planned_failure(Endpoint::Prepare)?;
        let plan = plan(&world, &id, &ask, &change)?;
        if world.switches.cloud_kms || world.switches.created_on_prepare {
            return Ok(accepted(world.order(plan)?));
        }
        plan
    };
    let Plan { app, device_id, compose_hash, .. } = plan;
    let registration = cloud.chain.registration(app, compose_hash, device_id).await?;
    let mut world = cloud.world();
    if !is_prepare_only(&headers) && registration.is_allowed() {
        return Ok(accepted(world.order(plan)?));
    }
    let issued = world.issue(plan);
    Err(Refusal::approval_needed(&world, &world.tokens[issued], registration))
}

fn plan(
    world: &World,
    id: &str,
    ask: &UpdateAsk,
    change: &DocumentChange,
) -> Result<Plan, Refusal> {
    let cvm = &world.cvms[world.find(id)?];
    let (document, compose_hash) = world.changed(&cvm.document, cvm.compose_hash, change)?;
    Ok(Plan {
        kind: Kind::Update,
        app: cvm.app,
        source: cvm.id,
        node: cvm.node,
        // It boots anew, and so on what the node is now.
        device_id: world.node(cvm.node).map_or(cvm.device_id, |node| node.device_id),
        compose_hash,
        document,
        encrypted_env: ask.encrypted_env.clone(),
    })
}

/// That an update was ordered.
pub(super) fn accepted(operation: Uuid) -> Response {
    let body = json!({
        "status": "accepted", "message": "Update is being applied", "correlation_id": operation,
    });
    (StatusCode::ACCEPTED, Json(body)).into_response()
}

pub(super) async fn commit(
    State(cloud): State<Cloud>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Answer {
    let ask = CommitAsk::read(&body, query.as_deref())?;
    commit::run(&cloud, Kind::Update, &id, ask).await
}

#[derive(Deserialize)]
pub(super) struct Lookup {
    token: String,
}

/// What a token is for, without an API key: the page on which it is confirmed shows that.
pub(super) async fn lookup(
    State(cloud): State<Cloud>,
    Path(id): Path<String>,
    Query(asked): Query<Lookup>,
) -> Answer {
    let world = cloud.world();
    let cvm = &world.cvms[world.find(&id)?];
    let token = &world.tokens[world.live_token(Kind::Update, &asked.token, cvm.id, "")?];
    ok(json!({
        "cvm_id": cvm.hashed_id(), "vm_uuid": cvm.id, "cvm_name": cvm.name,
        "app_id": shapes::hex_of(token.app),
        "compose_hash": alloy::hex::encode(token.compose_hash.0),
        "device_id": alloy::hex::encode(token.device_id.0), "kms_info": shapes::kms(&world),
        "expires_at": token.expires_at,
    }))
}
