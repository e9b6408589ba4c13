//! Who is asking, and where instances can be put.

use axum::{
    extract::{Path, State},
    http::HeaderMap,
};
use serde_json::{Value, json};

use super::{
    Cloud,
    answers::{Answer, Refusal, is_old_version, ok},
    shapes,
};

pub(super) async fn me(State(cloud): State<Cloud>, headers: HeaderMap) -> Answer {
    let workspace = cloud.world().config.workspace.clone();
    if is_old_version(&headers) {
        return ok(json!({
            "username": "devnet", "email": "devnet@localhost", "credits": 100,
            "granted_credits": 0, "avatar": "", "team_name": workspace, "team_tier": "pro",
        }));
    }
    ok(json!({
        "user": { "username": "devnet", "email": "devnet@localhost", "role": "user", "avatar": "",
            "email_verified": true, "totp_enabled": false, "has_backup_codes": false,
            "flag_has_password": true },
        "workspace": { "id": "ws_devnet", "name": workspace, "slug": workspace, "tier": "pro",
            "role": "owner", "avatar": null },
        "credits": { "balance": "100", "granted_balance": "0", "is_post_paid": false,
            "outstanding_amount": null },
    }))
}

pub(super) async fn available(State(cloud): State<Cloud>) -> Answer {
    let world = cloud.world();
    let nodes: Vec<Value> = world
        .config
        .nodes
        .iter()
        .map(|node| {
            json!({
                "teepod_id": node.id, "name": node.name, "listed": true, "resource_score": 0.9,
                "remaining_vcpu": 64, "remaining_memory": 131_072,
                "remaining_cvm_slots": world.switches.capacity.unwrap_or(16),
                "images": [{ "name": "dstack-0.5.4", "is_dev": false, "version": [0, 5, 4],
                    "os_image_hash": null }],
                "support_onchain_kms": true, "fmspc": null,
                "device_id": alloy::hex::encode(node.device_id.0),
                "region_identifier": node.region, "default_kms": "kms-devnet",
                "kms_list": ["kms-devnet"],
            })
        })
        .collect();
    ok(json!({ "tier": "pro", "capacity": {}, "nodes": nodes, "kms_list": [shapes::kms(&world)] }))
}

pub(super) async fn of_workspace(State(cloud): State<Cloud>, Path(slug): Path<String>) -> Answer {
    let world = cloud.world();
    if slug != world.config.workspace {
        return Err(Refusal::plain(403, "Not a member of this workspace"));
    }
    let nodes = &world.config.nodes;
    let items: Vec<Value> = nodes.iter().map(|node| shapes::node_ref(&world, node.id)).collect();
    ok(json!({ "total": items.len(), "page": 1, "page_size": 50, "pages": 1, "items": items }))
}
