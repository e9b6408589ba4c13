//! Single CVMs: what they are, what they run, how their boot is going; stopping and deleting them.

use axum::{
    Json,
    extract::{Path, Query, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Cloud,
    answers::{Answer, Refusal, is_old_version, ok},
    control::Endpoint,
    documents::as_json,
    instance::EmulatedCvm,
    shapes,
    state::World,
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
    if is_old_version(&headers) {
        return ok(shapes::cvm_detail_old(&world, &cvm));
    }
    let mut value = shapes::cvm_info(&world, &cvm);
    value["compose_file"] = world.served(&cvm.document).map_or(Value::Null, |text| as_json(&text));
    ok(value)
}

#[derive(Deserialize)]
pub(super) struct Paging {
    page: Option<usize>,
    page_size: Option<usize>,
}

impl Paging {
    /// The page's number, its size, and how many pages there are.
    pub fn of(&self, total: usize) -> (usize, usize, usize) {
        let size = self.page_size.unwrap_or(50).clamp(1, 1_000);
        (self.page.unwrap_or(1).max(1), size, total.div_ceil(size).max(1))
    }

    pub fn cut<T>(&self, items: Vec<T>) -> Vec<T> {
        let (page, size, _) = self.of(items.len());
        items.into_iter().skip((page - 1) * size).take(size).collect()
    }
}

pub(super) async fn paginated(
    State(cloud): State<Cloud>,
    Query(paging): Query<Paging>,
    headers: HeaderMap,
) -> Answer {
    let mut world = cloud.world();
    let all: Vec<EmulatedCvm> = (0..world.cvms.len()).map(|at| world.look(at)).collect();
    let view = if is_old_version(&headers) { shapes::cvm_listed_old } else { shapes::cvm_info };
    let (total, (page, page_size, pages)) = (all.len(), paging.of(all.len()));
    let items: Vec<Value> = paging.cut(all).iter().map(|cvm| view(&world, cvm)).collect();
    ok(json!({
        "items": items, "total": total, "page": page, "page_size": page_size, "pages": pages,
    }))
}

/// Each CVM has a document of its own.
pub(super) async fn compose_file(
    State(cloud): State<Cloud>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let world = cloud.world();
    let cvm = &world.cvms[world.find(&id)?];
    let text = world.served(&cvm.document);
    let text = text.ok_or_else(|| Refusal::plain(404, "Compose file not available"))?;
    let raw = query.is_some_and(|query| query.split('&').any(|part| part.starts_with("raw")));
    if raw { Ok(text.to_string().into_response()) } else { ok(as_json(&text)) }
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
        if let Ok(cvm) = world.look_at(&id) {
            statuses.insert(id, status(&world, &cvm));
        }
    }
    ok(Value::Object(statuses))
}

fn status(world: &World, cvm: &EmulatedCvm) -> Value {
    let operation = cvm.update.as_ref().map(|update| &world.operations[update.operation]);
    json!({
        "vm_uuid": cvm.id, "status": cvm.status(), "in_progress": cvm.in_progress(),
        "boot_progress": null, "boot_error": cvm.failure(),
        "operation_type": operation.map(|one| one.kind),
        "operation_started_at": operation.map(|one| one.started_at),
        "correlation_id": operation.map(|one| one.id),
    })
}

pub(super) async fn delete(State(cloud): State<Cloud>, Path(id): Path<String>) -> Answer {
    let mut world = cloud.world();
    let at = world.find(&id)?;
    world.cvms.remove(at);
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn start(State(cloud): State<Cloud>, Path(id): Path<String>) -> Answer {
    turn(&mut cloud.world(), &id, false)
}

pub(super) async fn stop(State(cloud): State<Cloud>, Path(id): Path<String>) -> Answer {
    turn(&mut cloud.world(), &id, true)
}

/// Starting it again is a boot.
fn turn(world: &mut World, id: &str, stopped: bool) -> Answer {
    let at = world.find(id)?;
    let cvm = &mut world.cvms[at];
    if cvm.in_progress() {
        return Err(Refusal::plain(409, "Another operation is in progress"));
    }
    cvm.stopped = stopped;
    cvm.boot_polls = world.config.boot_polls;
    cvm.polls_left = if stopped { 0 } else { cvm.boot_polls };
    let cvm = cvm.clone();
    ok(shapes::vm(world, &cvm))
}
