//! The app: its instances, and what the chain allows it.

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Cloud,
    answers::{Answer, Refusal, is_old_version, ok},
    control::Endpoint,
    shapes,
    state::World,
};
use crate::request::ids::{AppId, ComposeHash, DeviceId};

pub(super) fn known(world: &World, app: &str) -> Result<AppId, Refusal> {
    world.app(app).ok_or_else(|| Refusal::plain(404, "App not found"))
}

pub(super) async fn list(State(cloud): State<Cloud>, headers: HeaderMap) -> Answer {
    let (mut world, is_old) = (cloud.world(), is_old_version(&headers));
    let apps = world.apps();
    let apps: Vec<Value> = apps.into_iter().map(|app| full(&mut world, app, is_old)).collect();
    let total = apps.len();
    ok(json!({
        "dstack_apps": apps, "page": 1, "page_size": total.max(20), "total": total,
        "total_pages": 1,
    }))
}

pub(super) async fn show(
    State(cloud): State<Cloud>,
    Path(app): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let mut world = cloud.world();
    let app = known(&world, &app)?;
    ok(full(&mut world, app, is_old_version(&headers)))
}

pub(super) async fn cvms(
    State(cloud): State<Cloud>,
    Path(app): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let mut world = cloud.world();
    world.arrive(Endpoint::Instances);
    world.planned_failure(Endpoint::Instances)?;
    let app = known(&world, &app)?;
    let hidden = world.switches.hide_replicas;
    let mut seen = world.look_at_all(app);
    seen.retain(|cvm| !(hidden && cvm.source.is_some()));
    let view = if is_old_version(&headers) { shapes::cvm_listed_old } else { shapes::cvm_info };
    ok(seen.iter().map(|cvm| view(&world, cvm)).collect())
}

fn full(world: &mut World, app: AppId, is_old: bool) -> Value {
    let seen = world.look_at_all(app);
    let created_at = seen[0].created_at.to_rfc3339();
    let view = if is_old { shapes::cvm_basic_old } else { shapes::cvm_info };
    let cvms: Vec<Value> = seen.iter().map(|cvm| view(world, cvm)).collect();
    json!({
        "id": "dapp_devnet", "name": world.config.source.name, "app_id": shapes::hex_of(app),
        "app_provision_type": null, "app_icon_url": null,
        "created_at": created_at, "kms_type": shapes::kms_type(world),
        "profile": null, "current_cvm": cvms[0], "cvm_count": cvms.len(), "cvms": cvms,
    })
}

pub(super) async fn device_allowlist(
    State(cloud): State<Cloud>,
    Path(app): Path<String>,
) -> Answer {
    let (config, app, cvms) = {
        let world = cloud.world();
        let app = known(&world, &app)?;
        let cvms = world.cvms.iter().filter(|cvm| cvm.app == app).cloned().collect::<Vec<_>>();
        (world.config.clone(), app, cvms)
    };
    let (mut devices, mut any_device) = (Vec::new(), false);
    for node in &config.nodes {
        let (hash, device) = (config.source.compose_hash, node.device_id);
        let on_chain = cloud.chain.registration(app, hash, device).await?;
        any_device = on_chain.any_device;
        let here: Vec<u64> = cvms
            .iter()
            .filter(|cvm| cvm.device_id == node.device_id)
            .map(|cvm| cvm.serial)
            .collect();
        if on_chain.device || !here.is_empty() {
            devices.push(json!({
                "device_id": alloy::hex::encode(node.device_id.0), "node_name": node.name,
                "cvm_ids": here, "allowed_onchain": on_chain.device,
                "status": if on_chain.device { "allowed" } else { "not_allowed" },
            }));
        }
    }
    ok(json!({
        "is_onchain_kms": true, "allow_any_device": any_device, "chain_id": config.chain_id,
        "app_contract_address": app, "devices": devices,
    }))
}

#[derive(Deserialize)]
pub(super) struct AllowedAsk {
    compose_hash: ComposeHash,
    node_id: Option<u64>,
    device_id: Option<DeviceId>,
}

pub(super) async fn is_allowed(
    State(cloud): State<Cloud>,
    Path(app): Path<String>,
    Json(ask): Json<AllowedAsk>,
) -> Answer {
    let (app, device_id) = {
        let world = cloud.world();
        let app = known(&world, &app)?;
        let of_node = ask.node_id.and_then(|id| world.node(id)).map(|node| node.device_id);
        let device = ask.device_id.or(of_node);
        (app, device.unwrap_or(world.cvms[world.of_app(app)[0]].device_id))
    };
    let on_chain = cloud.chain.registration(app, ask.compose_hash, device_id).await?;
    ok(json!({
        "app_contract_address": app, "compose_hash": ask.compose_hash,
        "device_id": device_id, "compose_hash_allowed": on_chain.compose,
        "allow_any_device": on_chain.any_device, "device_id_allowed": on_chain.device,
        "is_allowed": on_chain.is_allowed(), "error": null,
    }))
}

pub(super) async fn kms_info(State(cloud): State<Cloud>, Path(app): Path<String>) -> Answer {
    let (config, app) = {
        let world = cloud.world();
        (world.config.clone(), known(&world, &app)?)
    };
    if cloud.world().switches.cloud_kms {
        return ok(json!({
            "is_onchain_kms": false, "chain_id": null, "kms_contract_address": null,
            "app_contract_address": null, "deployer_address": null, "deployer_type": null,
            "is_contract": false, "safe_app_url": null,
        }));
    }
    let (owner, is_contract) = cloud.chain.owner(app).await?;
    ok(json!({
        "is_onchain_kms": true, "chain_id": config.chain_id,
        "kms_contract_address": config.kms_contract, "app_contract_address": app,
        "deployer_address": owner, "deployer_type": if is_contract { "safe" } else { "eoa" },
        "is_contract": is_contract, "safe_app_url": null,
    }))
}
