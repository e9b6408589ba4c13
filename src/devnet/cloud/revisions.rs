//! What an app's CVMs ran, run, and are about to run; and what a CVM itself says of it.

use axum::extract::{Path, Query, RawQuery, State};
use serde_json::{Value, json};

use super::{
    Cloud,
    answers::{Answer, Refusal, ok},
    apps::known,
    cvms::Paging,
    documents::{as_json, hash_of},
    operations::Revision,
    shapes,
    state::World,
    tokens::IssuedToken,
};
use crate::request::{ids::ComposeHash, kind::Kind};

pub(super) async fn list(
    State(cloud): State<Cloud>,
    Path(app): Path<String>,
    Query(paging): Query<Paging>,
) -> Answer {
    let world = cloud.world();
    let app = known(&world, &app)?;
    let is_of_app =
        |one: &&Revision| world.cvms.iter().any(|cvm| cvm.id == one.cvm && cvm.app == app);
    let all: Vec<&Revision> = world.revisions.iter().rev().filter(is_of_app).collect();
    let (total, (page, page_size, pages)) = (all.len(), paging.of(all.len()));
    let shown: Vec<Value> = paging.cut(all).into_iter().map(|one| view(&world, one)).collect();
    ok(json!({
        "revisions": shown, "total": total, "page": page, "page_size": page_size,
        "total_pages": pages,
    }))
}

fn view(world: &World, revision: &Revision) -> Value {
    let cvm = world.cvms.iter().find(|cvm| cvm.id == revision.cvm);
    json!({
        "revision_id": revision.id, "app_id": cvm.map(|cvm| shapes::hex_of(cvm.app)),
        "vm_uuid": revision.cvm, "compose_hash": alloy::hex::encode(revision.hash.0),
        "created_at": revision.created_at, "trace_id": null, "operation_type": revision.kind,
        "triggered_by": shapes::user(), "workspace": shapes::workspace(world),
        "cvm": cvm.map(|cvm| json!({
            "object_type": "cvm", "id": cvm.hashed_id(), "name": cvm.name,
            "app_id": shapes::hex_of(cvm.app), "vm_uuid": cvm.id,
        })),
    })
}

pub(super) async fn show(
    State(cloud): State<Cloud>,
    Path((app, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer {
    let world = cloud.world();
    known(&world, &app)?;
    let revision = world.revisions.iter().find(|one| one.id.to_string() == id);
    let revision = revision.ok_or_else(|| Refusal::plain(404, "Revision not found"))?;
    let raw = query.is_some_and(|query| query.contains("raw_compose_file=true"));
    let mut value = view(&world, revision);
    value["compose_file"] = match world.served(&revision.document) {
        None => Value::Null,
        Some(text) if raw => json!(&*text),
        Some(text) => as_json(&text),
    };
    value["encrypted_env"] = json!(revision.encrypted_env);
    value["user_config"] = json!("");
    ok(value)
}

/// Updates that are prepared and could be committed.
fn pending(world: &World) -> impl Iterator<Item = &IssuedToken> {
    let is_pending =
        |token: &&IssuedToken| token.kind == Kind::Update && world.is_live(token).is_ok();
    world.tokens.iter().filter(is_pending)
}

pub(super) async fn pending_updates(State(cloud): State<Cloud>, Path(app): Path<String>) -> Answer {
    let (app, tokens) = {
        let world = cloud.world();
        let app = known(&world, &app)?;
        let name = |token: &IssuedToken| {
            let cvm = world.cvms.iter().find(|cvm| cvm.id == token.source);
            cvm.map(|cvm| cvm.name.clone())
        };
        let of_app = pending(&world).filter(|token| token.app == app);
        (app, of_app.map(|token| (token.clone(), name(token))).collect::<Vec<_>>())
    };
    let mut items = vec![];
    for (token, name) in tokens {
        let on_chain =
            cloud.chain.registration(app, token.compose_hash, token.device_id).await?.compose;
        if on_chain {
            items.push(json!({
                "vm_uuid": token.source, "instance_name": name, "on_chain": on_chain,
                "compose_hash": alloy::hex::encode(token.compose_hash.0),
            }));
        }
    }
    ok(json!({ "items": items }))
}

pub(super) async fn preview(
    State(cloud): State<Cloud>,
    Path((app, cvm, hash)): Path<(String, String, String)>,
) -> Answer {
    let world = cloud.world();
    known(&world, &app)?;
    let cvm = &world.cvms[world.find(&cvm)?];
    let nothing = || Refusal::plain(404, "Pending update not found");
    let hash: ComposeHash = hash.parse().map_err(|_| nothing())?;
    let token = pending(&world)
        .find(|token| token.source == cvm.id && token.compose_hash == hash)
        .ok_or_else(nothing)?;
    let documents = (world.served(&cvm.document), world.served(&token.document));
    let [now, then] =
        [documents.0, documents.1].map(|text| text.map_or(Value::Null, |text| as_json(&text)));
    ok(json!({
        "current_docker_compose": now["docker_compose_file"],
        "pending_docker_compose": then["docker_compose_file"],
        "current_pre_launch_script": now["pre_launch_script"],
        "pending_pre_launch_script": then["pre_launch_script"],
    }))
}

/// What the CVM's own agent tells. The hash in its event log is of what was measured; the document
/// beside it comes by way of the server.
pub(super) async fn attestation(State(cloud): State<Cloud>, Path(id): Path<String>) -> Answer {
    let world = cloud.world();
    let cvm = &world.cvms[world.find(&id)?];
    let zero = "00".repeat(48);
    let event = |event: &str, payload: String| {
        json!({
            "imr": 3, "event_type": 134_217_729, "digest": zero, "event": event,
            "event_payload": payload,
        })
    };
    let measured = hash_of(&cvm.document);
    let info = world.served(&cvm.document).map(|text| {
        json!({
            "mrtd": zero, "rootfs_hash": null, "rtmr0": zero, "rtmr1": zero, "rtmr2": zero,
            "rtmr3": zero, "app_compose": &*text,
            "event_log": [
                event("app-id", shapes::hex_of(cvm.app)),
                event("compose-hash", alloy::hex::encode(measured.0)),
                event("instance-id", cvm.instance_id().to_owned()),
            ],
        })
    });
    ok(json!({
        "name": cvm.name, "is_online": cvm.status() == "running", "is_public": true,
        "error": null, "app_certificates": null, "tcb_info": info, "compose_file": null,
    }))
}
