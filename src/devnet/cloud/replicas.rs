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
use uuid::Uuid;

use super::{
    Cloud,
    answers::{self, Answer, Refusal},
    commit::{self, CommitAsk},
    control::Endpoint,
    state::World,
};
use crate::request::ids::{AppId, ComposeHash, DeviceId};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReplicaAsk {
    #[serde(alias = "teepod_id")]
    node_id: Option<u64>,
    compose_hash: Option<String>,
}

pub(super) async fn of_cvm(
    State(cloud): State<Cloud>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    replicate(&cloud, &id, &headers, &body).await
}

pub(super) async fn of_app_cvm(
    State(cloud): State<Cloud>,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    replicate(&cloud, &id, &headers, &body).await
}

/// Both phases at one address: a body that has a token commits.
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
    if ask.token.is_empty() {
        replicate(&cloud, &source, &headers, &body).await
    } else {
        commit::run(&cloud, &source, ask).await
    }
}

/// A body that may be left out altogether.
pub(super) fn read<T: Default + for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Refusal> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| Refusal::plain(422, &error.to_string()))
}

async fn replicate(cloud: &Cloud, id: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
    let ask: ReplicaAsk = read(body)?;
    let prepare_only = headers
        .get("X-Prepare-Only")
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
    let plan = {
        let mut world = cloud.world();
        world.arrive(Endpoint::Prepare);
        world.planned_failure(Endpoint::Prepare)?;
        let plan = Plan::make(&world, id, &ask)?;
        world.room()?;
        if world.switches.created_on_prepare {
            return Ok(create(&mut world, plan));
        }
        plan
    };
    let Plan { app, source, node, device_id, compose_hash } = plan;
    let registration = cloud.chain.registration(app, compose_hash, device_id).await?;
    let mut world = cloud.world();
    if !prepare_only && registration.is_allowed() {
        return Ok(create(&mut world, plan));
    }
    let issued = world.issue(app, source, node, device_id, compose_hash);
    Err(Refusal::approval_needed(&world, &world.tokens[issued], registration))
}

fn create(world: &mut World, plan: Plan) -> Response {
    let Plan { app, source, node, device_id, compose_hash } = plan;
    let cvm = world.create(app, source, node, device_id, compose_hash);
    Json(answers::vm(world, &cvm)).into_response()
}

/// What the replica would be.
#[derive(Clone, Copy)]
struct Plan {
    app: AppId,
    source: Uuid,
    node: u64,
    device_id: DeviceId,
    compose_hash: ComposeHash,
}

impl Plan {
    fn make(world: &World, id: &str, ask: &ReplicaAsk) -> Result<Self, Refusal> {
        let source = &world.cvms[world.find(id)?];
        let node = world
            .node(ask.node_id.unwrap_or(source.node))
            .ok_or_else(|| Refusal::coded(400, "ERR-01-001", "Node not found"))?;
        let compose_hash = match ask.compose_hash.as_deref() {
            None | Some("") => source.compose_hash,
            Some(text) => text
                .parse()
                .map_err(|_| Refusal::coded(400, "ERR-02-008", "Invalid compose_hash"))?,
        };
        let (app, source) = (source.app, source.id);
        Ok(Self { app, source, node: node.id, device_id: node.device_id, compose_hash })
    }
}
