//! The key management services: which there are, and the keys that environments are encrypted to.

use alloy::{primitives::keccak256, signers::SignerSync};
use alloy_signer_local::PrivateKeySigner;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use x25519_dalek::{PublicKey, StaticSecret};

use super::{
    Cloud,
    answers::{Answer, Refusal, ok},
    shapes,
    state::World,
};
use crate::request::ids::AppId;

/// The words before the key in what is signed.
const SIGNED_AS: &[u8] = b"dstack-env-encrypt-pubkey:";

/// The key that opens what was encrypted for an app. It can be guessed, as everything here.
pub(super) fn env_secret(app: AppId) -> StaticSecret {
    StaticSecret::from(keccak256([b"environment of ", app.0.as_slice()].concat()).0)
}

/// The key that variables of an app are encrypted to.
pub(super) fn env_pubkey(app: AppId) -> String {
    alloy::hex::encode(PublicKey::from(&env_secret(app)).as_bytes())
}

/// What signs the keys of apps, as the root key of a KMS does.
fn root_key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256(b"root key of the emulated KMS"))
        .expect("a hash is a key")
}

fn known(world: &World, kms: &str) -> Result<Value, Refusal> {
    let value = shapes::kms(world);
    let is_it = value["id"] == kms || value["slug"] == kms;
    if is_it { Ok(value) } else { Err(Refusal::coded(404, "ERR-02-011", "KMS not found")) }
}

pub(super) async fn list(State(cloud): State<Cloud>) -> Answer {
    let kms = shapes::kms(&cloud.world());
    ok(json!({ "items": [kms], "total": 1, "page": 1, "page_size": 50, "pages": 1 }))
}

pub(super) async fn show(State(cloud): State<Cloud>, Path(kms): Path<String>) -> Answer {
    ok(known(&cloud.world(), &kms)?)
}

pub(super) async fn pubkey(
    State(cloud): State<Cloud>,
    Path((kms, app)): Path<(String, String)>,
) -> Answer {
    known(&cloud.world(), &kms)?;
    let app: AppId = app.parse().map_err(|_| Refusal::plain(404, "App not found"))?;
    let key = PublicKey::from(&env_secret(app));
    let signed = keccak256([SIGNED_AS, app.0.as_slice(), key.as_bytes()].concat());
    let signature = root_key()
        .sign_hash_sync(&signed)
        .map_err(|_| Refusal::plain(500, "Internal Server Error"))?;
    let mut bytes = signature.as_rsy();
    // The recovery id itself, not 27 more.
    bytes[64] = u8::from(signature.v());
    ok(json!({
        "public_key": alloy::hex::encode(key.as_bytes()), "signature": alloy::hex::encode(bytes),
    }))
}

pub(super) async fn on_chain(State(cloud): State<Cloud>, Path(chain): Path<String>) -> Answer {
    let world = cloud.world();
    let config = &world.config;
    if chain != shapes::kms_type(&world) {
        return Err(Refusal::plain(404, "Chain not supported"));
    }
    let devices: Vec<Value> = config
        .nodes
        .iter()
        .map(|node| {
            json!({
                "device_id": alloy::hex::encode(node.device_id.0), "node_name": node.name,
                "on_chain_allowed": null,
            })
        })
        .collect();
    let image = json!({
        "name": "dstack-0.5.4", "version": "0.5.4", "os_image_hash": null,
        "on_chain_allowed": null,
    });
    ok(json!({
        "chain_name": chain, "chain_id": config.chain_id,
        "contracts": [{
            "contract_address": config.kms_contract, "chain_id": config.chain_id,
            "chain_name": chain, "devices": devices, "os_images": [image],
        }],
    }))
}
