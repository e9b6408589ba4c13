//! The shapes Phala Cloud answers in: CVMs by API version, the flat VM, the error envelope.

use axum::{
    Json,
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    chain::{Registration, Unreadable},
    state::{EmulatedCvm, IssuedToken, World},
};
use crate::request::ids::AppId;

pub(super) type Answer = Result<Response, Refusal>;

/// An answer that is not a success. It travels as a response extension until its request id is
/// known.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub status: u16,
    pub code: Option<String>,
    message: String,
    details: Vec<Value>,
    nested: bool,
    pub retry_after: Option<String>,
}

impl Refusal {
    /// An unstructured error: just `detail`.
    pub fn plain(status: u16, message: &str) -> Self {
        let (message, details) = (message.to_owned(), Vec::new());
        Self { status, code: None, message, details, nested: false, retry_after: None }
    }

    pub fn coded(status: u16, code: &str, message: &str) -> Self {
        Self { code: Some(code.to_owned()), ..Self::plain(status, message) }
    }

    /// The answer of a successful prepare, and of anything the chain does not allow yet.
    pub fn approval_needed(world: &World, token: &IssuedToken, chain: Registration) -> Self {
        let mut refusal =
            Self::coded(465, "ERR-01-005", "Compose hash registration required on-chain");
        refusal.nested = world.switches.nest_details;
        let prefix = if world.switches.prefix_hashes { "0x" } else { "" };
        let (origin, config) = (&world.origin, &world.config);
        let hex = |bytes: &[u8]| format!("{prefix}{}", alloy::hex::encode(bytes));
        let fields = [
            ("compose_hash", json!(hex(token.compose_hash.0.as_slice()))),
            ("app_id", json!(hex(token.app.0.as_slice()))),
            ("device_id", json!(hex(token.device_id.0.as_slice()))),
            ("kms_info", kms(world)),
            ("commit_token", json!(token.token)),
            (
                "commit_url",
                json!(format!(
                    "{origin}/{}/commit-replica?token={}",
                    config.workspace, token.token
                )),
            ),
            (
                "api_commit_url",
                json!(format!(
                    "{origin}/api/v1/cvms/{}/commit-replica?token={}",
                    token.source, token.token
                )),
            ),
            (
                "onchain_status",
                json!({
                    "compose_hash_allowed": chain.compose,
                    "device_id_allowed": chain.device_allowed(),
                    "is_allowed": chain.is_allowed(),
                }),
            ),
        ];
        let expiry = world.switches.tell_expiry.then(|| ("expires_at", json!(token.expires_at)));
        refusal.details = fields
            .into_iter()
            .chain(expiry)
            .map(|(field, value)| json!({ "field": field, "value": value, "message": null }))
            .collect();
        refusal
    }

    pub fn render(self, request_id: &str) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = match self.code {
            None => json!({ "detail": self.message }),
            Some(code) => {
                let body = json!({
                    "error_code": code, "message": self.message, "request_id": request_id,
                    "details": self.details, "suggestions": [], "links": [],
                });
                if self.nested { json!({ "detail": body }) } else { body }
            }
        };
        let mut response = (status, Json(body)).into_response();
        if let Some(wait) = self.retry_after.and_then(|text| HeaderValue::from_str(&text).ok()) {
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Unreadable> for Refusal {
    fn from(_: Unreadable) -> Self {
        Self::plain(503, "The chain cannot be read")
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the last word of handlers, which all can refuse")]
pub(super) fn ok(body: Value) -> Answer {
    Ok(Json(body).into_response())
}

/// An answer whose body breaks off, which ends the connection.
pub(in crate::devnet) fn cut_off() -> Response {
    let broken = futures::stream::iter([Err::<&[u8], _>(std::io::ErrorKind::ConnectionReset)]);
    let broken = futures::StreamExt::map(broken, |part| part.map_err(std::io::Error::from));
    Response::new(Body::from_stream(broken))
}

/// The command line tool speaks two API versions, one for each of its halves.
pub(super) fn is_old_version(headers: &HeaderMap) -> bool {
    headers.get("X-Phala-Version").is_some_and(|version| version == "2025-10-28")
}

fn kms(world: &World) -> Value {
    let config = &world.config;
    json!({
        "id": "kms_devnet", "slug": "kms-devnet", "url": format!("{}/kms", world.origin),
        "version": "v0.5.4", "chain_id": config.chain_id,
        "kms_contract_address": config.kms_contract, "gateway_app_id": null,
    })
}

/// An app id as it stands in answers.
pub(super) fn hex_of(app: AppId) -> String {
    alloy::hex::encode(app.0)
}

pub(super) fn kms_type(world: &World) -> &'static str {
    if world.config.chain_id.get() == 1 { "ethereum" } else { "base" }
}

pub(super) fn node_ref(world: &World, id: u64) -> Value {
    let Some(node) = world.node(id) else { return Value::Null };
    json!({
        "object_type": "node", "id": node.id, "name": node.name, "region": node.region,
        "device_id": alloy::hex::encode(node.device_id.0), "ppid": null, "status": "ONLINE",
        "version": "v0.5.4",
    })
}

/// A CVM as of API version 2026-01-21.
pub(super) fn cvm_info(world: &World, cvm: &EmulatedCvm) -> Value {
    let config = &world.config;
    let mut node = node_ref(world, cvm.node);
    if let Some(device) = node.get_mut("device_id") {
        *device = json!(alloy::hex::encode(cvm.device_id.0));
    }
    json!({
        "id": cvm.hashed_id(), "name": cvm.name, "app_id": hex_of(cvm.app), "vm_uuid": cvm.id,
        "instance_id": cvm.instance_id(),
        "resource": { "instance_type": "tdx.small", "vcpu": 1, "memory_in_gb": 2, "disk_in_gb": 20,
            "gpus": 0, "compute_billing_price": null, "billing_period": null },
        "node_info": node,
        "os": { "name": "dstack-0.5.4", "version": "0.5.4", "is_dev": false, "os_image_hash": null },
        "kms_type": kms_type(world),
        "kms_info": { "chain_id": config.chain_id, "dstack_kms_address": config.kms_contract,
            "dstack_app_address": cvm.app, "deployer_address": null, "rpc_endpoint": config.rpc,
            "encrypted_env_pubkey": null },
        "status": cvm.status(), "in_progress": cvm.in_progress(), "progress": null,
        "compose_hash": alloy::hex::encode(cvm.compose_hash.0),
        "gateway": { "base_domain": null, "cname": null }, "services": [],
        "workspace": { "object_type": "workspace", "id": "ws_devnet", "name": config.workspace,
            "slug": config.workspace },
        "creator": { "object_type": "user", "id": "usr_devnet", "username": "devnet" },
        "created_at": cvm.created_at.to_rfc3339(),
    })
}

/// A CVM as of API version 2025-10-28.
pub(super) fn cvm_detail_old(world: &World, cvm: &EmulatedCvm) -> Value {
    let mut value = vm(world, cvm);
    value["kms_info"] = kms(world);
    value["in_progress"] = json!(cvm.in_progress());
    value["contract_address"] = json!(cvm.app);
    value
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
