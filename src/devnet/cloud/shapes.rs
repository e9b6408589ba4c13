//! The shapes in which Phala Cloud shows its CVMs, by API version, and the flat VM.

use serde_json::{Value, json};

use super::{instance::EmulatedCvm, kms::env_pubkey, state::World};
use crate::request::ids::AppId;

/// The chain that governs the apps, when one does.
fn chain_id(world: &World) -> Option<u64> {
    (!world.switches.cloud_kms).then(|| world.config.chain_id.get())
}

pub(super) fn kms(world: &World) -> Value {
    let config = &world.config;
    let contract = chain_id(world).map(|_| config.kms_contract);
    json!({
        "id": "kms_devnet", "slug": "kms-devnet", "url": format!("{}/kms", world.origin),
        "version": "v0.5.4", "chain_id": chain_id(world),
        "kms_contract_address": contract, "gateway_app_id": null,
    })
}

/// An app id as it stands in answers.
pub(super) fn hex_of(app: AppId) -> String {
    alloy::hex::encode(app.0)
}

pub(super) fn kms_type(world: &World) -> &'static str {
    match chain_id(world) {
        None => "phala",
        Some(1) => "ethereum",
        Some(_) => "base",
    }
}

pub(super) fn node_ref(world: &World, id: u64) -> Value {
    let Some(node) = world.node(id) else { return Value::Null };
    json!({
        "object_type": "node", "id": node.id, "name": node.name, "region": node.region,
        "device_id": alloy::hex::encode(node.device_id.0), "ppid": null, "status": "ONLINE",
        "version": "v0.5.4",
    })
}

pub(super) fn workspace(world: &World) -> Value {
    let name = &world.config.workspace;
    json!({ "object_type": "workspace", "id": "ws_devnet", "name": name, "slug": name })
}

pub(super) fn user() -> Value {
    json!({ "object_type": "user", "id": "usr_devnet", "username": "devnet" })
}

/// What a CVM is in the middle of.
fn progress(world: &World, cvm: &EmulatedCvm) -> Value {
    let Some(update) = &cvm.update else { return Value::Null };
    let operation = &world.operations[update.operation];
    json!({
        "target": "running", "started_at": operation.started_at,
        "correlation_id": operation.id,
    })
}

/// A CVM as of API version 2026-01-21.
pub(super) fn cvm_info(world: &World, cvm: &EmulatedCvm) -> Value {
    let config = &world.config;
    let mut node = node_ref(world, cvm.node);
    if let Some(device) = node.get_mut("device_id") {
        *device = json!(alloy::hex::encode(cvm.device_id.0));
    }
    let on_chain = chain_id(world).is_some();
    json!({
        "id": cvm.hashed_id(), "name": cvm.name, "app_id": hex_of(cvm.app), "vm_uuid": cvm.id,
        "instance_id": cvm.instance_id(),
        "resource": { "instance_type": "tdx.small", "vcpu": 1, "memory_in_gb": 2, "disk_in_gb": 20,
            "gpus": 0, "compute_billing_price": null, "billing_period": null },
        "node_info": node,
        "os": { "name": "dstack-0.5.4", "version": "0.5.4", "is_dev": false, "os_image_hash": null },
        "kms_type": kms_type(world),
        "kms_info": { "chain_id": chain_id(world),
            "dstack_kms_address": on_chain.then_some(config.kms_contract),
            "dstack_app_address": on_chain.then_some(cvm.app), "deployer_address": null,
            "rpc_endpoint": on_chain.then_some(&config.rpc), "encrypted_env_pubkey": null },
        "status": cvm.status(), "in_progress": cvm.in_progress(),
        "progress": progress(world, cvm),
        "compose_hash": alloy::hex::encode(cvm.compose_hash.0),
        "gateway": { "base_domain": null, "cname": null }, "services": [],
        "workspace": workspace(world), "creator": user(),
        "created_at": cvm.created_at.to_rfc3339(),
    })
}

/// A CVM as of API version 2025-10-28.
pub(super) fn cvm_detail_old(world: &World, cvm: &EmulatedCvm) -> Value {
    let mut value = vm(world, cvm);
    value["kms_info"] = kms(world);
    if chain_id(world).is_none() {
        value["encrypted_env_pubkey"] = json!(env_pubkey(cvm.app));
    }
    value["in_progress"] = json!(cvm.in_progress());
    value["contract_address"] = json!(cvm.app);
    value
}

/// A CVM in a list as of API version 2025-10-28.
pub(super) fn cvm_listed_old(world: &World, cvm: &EmulatedCvm) -> Value {
    let node = world.node(cvm.node);
    json!({
        "hosted": { "id": cvm.id.simple().to_string(), "name": cvm.name, "status": cvm.status(),
            "uptime": "1m", "app_url": null, "app_id": hex_of(cvm.app),
            "instance_id": cvm.instance_id(), "exited_at": null, "boot_progress": null,
            "boot_error": cvm.failure(), "shutdown_progress": null, "image_version": "0.5.4" },
        "name": cvm.name, "managed_user": { "id": 1, "username": "devnet" },
        "node": node.map(|node| json!({
            "id": node.id, "name": node.name, "region_identifier": node.region,
        })),
        "listed": false, "status": cvm.status(), "in_progress": cvm.in_progress(),
        "dapp_dashboard_url": null, "syslog_endpoint": null, "allow_upgrade": true,
        "project_id": null, "project_type": null, "billing_period": null,
        "kms_info": kms(world), "vcpu": 1, "memory": 2048, "disk_size": 20,
        "gateway_domain": null, "public_urls": [],
    })
}

/// A CVM of an app as of API version 2025-10-28.
pub(super) fn cvm_basic_old(world: &World, cvm: &EmulatedCvm) -> Value {
    let node = world.node(cvm.node);
    json!({
        "vm_uuid": cvm.id, "app_id": hex_of(cvm.app), "name": cvm.name, "status": cvm.status(),
        "vcpu": 1, "memory": 2048, "disk_size": 20, "teepod_id": cvm.node,
        "teepod_name": node.map_or("", |node| &node.name),
        "region_identifier": node.map(|node| &node.region), "kms_type": kms_type(world),
        "instance_type": "tdx.small", "listed": false, "base_image": "dstack-0.5.4",
        "kms_slug": "kms-devnet", "kms_id": "kms_devnet", "instance_id": cvm.instance_id(),
    })
}

/// The flat form that creating and committing answer with.
pub(super) fn vm(world: &World, cvm: &EmulatedCvm) -> Value {
    let node = world.node(cvm.node);
    json!({
        "id": cvm.serial, "name": cvm.name, "status": cvm.status(), "teepod_id": cvm.node,
        "teepod": node.map(|node| json!({
            "id": node.id, "name": node.name, "region_identifier": node.region,
        })),
        "user_id": 1, "app_id": hex_of(cvm.app), "vm_uuid": cvm.id,
        "instance_id": cvm.instance_id(), "app_url": null, "base_image": "dstack-0.5.4", "vcpu": 1,
        "memory": 2048, "disk_size": 20, "manifest_version": 2, "version": null,
        "runner": "docker-compose", "docker_compose_file": null, "features": null,
        "created_at": cvm.created_at.to_rfc3339(), "encrypted_env_pubkey": null,
    })
}
