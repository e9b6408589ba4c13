//! Asking for a replica. With `X-Prepare-Only`, or when the chain does not allow it yet, the answer
//! is 465 and a token; otherwise the replica is made at once.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    Cloud,
    answers::{Answer, Refusal},
    commit::{self, CommitAsk},
    control::Endpoint,
    documents::DocumentChange,
    shapes,
    state::World,
    tokens::Plan,
};
use crate::request::kind::Kind;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReplicaAsk {
    #[serde(alias = "teepod_id")]
    node_id: Option<u64>,
    compose_hash: Option<String>,
    encrypted_env: Option<String>,
}

pub(super) async fn of_cvm(
    State(cloud): State<Cloud>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    replicate(&cloud, &id, &headers, &body, &DocumentChange::default()).await
}

pub(super) async fn of_app_cvm(
    State(cloud): State<Cloud>,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    replicate(&cloud, &id, &headers, &body, &DocumentChange::default()).await
}

/// Both phases at one address: a body that has a token commits. It may bring a compose document.
pub(super) async fn instances(
    State(cloud): State<Cloud>,
    Path(app): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let source = {
        let world = cloud.world();
        let app = world.app(&app).ok_or_else(|| Refusal::plain(404, "App not found"))?;
        world.cvms[world.of_app(app)[0]].id.to_string()
    };
    let ask: CommitAsk = read(&body)?;
    if ask.token.as_deref().is_none_or(str::is_empty) {
        let change: DocumentChange = read(&body)?;
        replicate(&cloud, &source, &headers, &body, &change).await
    } else {
        commit::run(&cloud, Kind::Replica, &source, ask).await
    }
}

/// A body that may be left out altogether.
pub(super) fn read<T: Default + for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Refusal> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| Refusal::plain(422, &error.to_string()))
}

pub(super) fn is_prepare_only(headers: &HeaderMap) -> bool {
    let value = headers.get("X-Prepare-Only").and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
}

async fn replicate(
    cloud: &Cloud,
    id: &str,
    headers: &HeaderMap,
    body: &[u8],
    change: &DocumentChange,
) -> Answer {
    let ask: ReplicaAsk = read(body)?;
    let plan = {
        let mut world = cloud.world();
        world.arrive(Endpoint::Prepare);
        world.planned_failure(Endpoint::Prepare)?;
        let plan = plan(&world, id, &ask, change)?;
        world.room()?;
        if world.switches.created_on_prepare || world.switches.cloud_kms {
            return Ok(create(&mut world, plan));
        }
        plan
    };
    let Plan { app, device_id, compose_hash, .. } = plan;
    let registration = cloud.chain.registration(app, compose_hash, device_id).await?;
    let mut world = cloud.world();
    if !is_prepare_only(headers) && registration.is_allowed() {
        return Ok(create(&mut world, plan));
    }
    let issued = world.issue(plan);
    Err(Refusal::approval_needed(&world, &world.tokens[issued], registration))
}

fn create(world: &mut World, plan: Plan) -> Response {
    let cvm = world.create(plan);
    Json(shapes::vm(world, &cvm)).into_response()
}

/// What the replica would be.
fn plan(
    world: &World,
    id: &str,
    ask: &ReplicaAsk,
    change: &DocumentChange,
) -> Result<Plan, Refusal> {
    let source = &world.cvms[world.find(id)?];
    let node = world
        .node(ask.node_id.unwrap_or(source.node))
        .ok_or_else(|| Refusal::coded(400, "ERR-01-001", "Node not found"))?;
    let (document, hash) = match ask.compose_hash.as_deref() {
        None | Some("") => (source.document.clone(), source.compose_hash),
        Some(text) => {
            let hash = text
                .parse()
                .map_err(|_| Refusal::coded(400, "ERR-02-008", "Invalid compose_hash"))?;
            let known = world.revisions.iter().rev().find(|one| one.hash == hash);
            (known.map_or(&source.document, |one| &one.document).clone(), hash)
        }
    };
    let (document, compose_hash) = world.changed(&document, hash, change)?;
    Ok(Plan {
        kind: Kind::Replica,
        app: source.app,
        source: source.id,
        node: node.id,
        device_id: node.device_id,
        compose_hash,
        document,
        encrypted_env: ask.encrypted_env.clone(),
    })
}
