//! Single CVMs: what they are, what they run, how their boot is going.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::HeaderMap,
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Cloud,
    answers::{self, Answer, Refusal, ok},
    control::Endpoint,
    state::EmulatedCvm,
};

pub(super) async fn show(
    State(cloud): State<Cloud>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let mut world = cloud.world();
    world.arrive(Endpoint::Cvm);
    world.planned_failure(Endpoint::Cvm)?;
    let cvm = world.look_at(&id)?;
    if answers::is_old_version(&headers) {
        return ok(answers::cvm_detail_old(&world, &cvm));
    }
    let mut value = answers::cvm_info(&world, &cvm);
    value["compose_file"] = compose(&world.config.source.compose_file);
    ok(value)
}

/// Replicas run what their source runs, so there is one file.
pub(super) async fn compose_file(
    State(cloud): State<Cloud>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let world = cloud.world();
    world.find(&id)?;
    let text = world.config.source.compose_file.clone();
    let raw = query.is_some_and(|query| query.split('&').any(|part| part.starts_with("raw")));
    if raw { Ok(text.into_response()) } else { ok(compose(&text)) }
}

fn compose(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

pub(super) async fn state(State(cloud): State<Cloud>, Path(id): Path<String>) -> Answer {
    let cvm = cloud.world().look_at(&id)?;
    let mut value = json!({
        "id": cvm.hashed_id(), "instance_id": cvm.instance_id(), "name": cvm.name,
        "status": cvm.status(),
    });
    // Clients take this field as a text or not at all.
    if let Some(error) = cvm.failure() {
        value["boot_error"] = json!(error);
    }
    ok(value)
}

#[derive(Deserialize)]
pub(super) struct Batch {
    vm_uuids: Vec<String>,
}

pub(super) async fn batch(State(cloud): State<Cloud>, Json(batch): Json<Batch>) -> Answer {
    let mut world = cloud.world();
    let mut statuses = Map::new();
    for id in batch.vm_uuids {
        let cvm: Result<EmulatedCvm, Refusal> = world.look_at(&id);
        if let Ok(cvm) = cvm {
            let status = json!({
                "vm_uuid": cvm.id, "status": cvm.status(), "in_progress": cvm.in_progress(),
                "boot_progress": null, "boot_error": cvm.failure(), "operation_type": null,
                "correlation_id": null,
            });
            statuses.insert(id, status);
        }
    }
    ok(Value::Object(statuses))
}
