//! Phala's own SDK asks the emulated cloud, and parses what it answers with its own schemas, at both
//! of the API versions that it speaks.

use alloy::{primitives::keccak256, signers::k256::ecdsa::SigningKey};
use countersign::request::{ids::ComposeHash, kind::Kind};
use serde_json::{Value, json};

use super::{
    cloud_scene::{APP, SOURCE, Scene, compose_hash, device},
    kit::run_kit,
};

const NEW_COMPOSE: &str = "services:\n  web:\n    image: nginx:2\n";

/// One step of the script; fails with what the SDK objects to.
async fn sdk(scene: &Scene, step: &str, more: Value) -> Value {
    let mut asked = json!({
        "step": step, "base": scene.cloud.api_prefix(), "key": scene.cloud.api_key(),
        "app": alloy::hex::encode(APP), "cvm": SOURCE, "node": 6, "workspace": "devnet",
    });
    let fields = asked.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    run_kit("cloud_sdk.mjs", &asked).await
}

fn hash_in(value: &Value) -> ComposeHash {
    value.as_str().unwrap().parse().unwrap()
}

/// The running CVM, once nothing is under way with it any more.
async fn settle(scene: &Scene) {
    while scene.client().cvm(&SOURCE.parse().unwrap()).await.unwrap().status != "running" {}
}

#[tokio::test]
async fn every_answer_is_what_phalas_own_sdk_expects() {
    let scene = Scene::set().await;
    let said = sdk(&scene, "look", json!({})).await;
    assert_eq!(said["cvm"]["vm_uuid"], SOURCE);
    assert_eq!(said["list"]["total"], 1);
    assert_eq!(hash_in(&said["revisions"]["revisions"][0]["compose_hash"]), compose_hash());
    let root = SigningKey::from_slice(&keccak256(b"root key of the emulated KMS").0).unwrap();
    let root = root.verifying_key().to_encoded_point(true);
    assert_eq!(said["signer"], alloy::hex::encode_prefixed(root.as_bytes()));
    assert_eq!(said["env_key"].as_str().unwrap().len(), 64);

    let change = json!({ "change": { "docker_compose_file": NEW_COMPOSE, "encrypted_env": "aa" } });
    let prepared = sdk(&scene, "prepare", change.clone()).await["prepared"].clone();
    assert_eq!(prepared["requiresOnChainHash"], true);
    let hash = hash_in(&prepared["composeHash"]);
    assert_ne!(hash, compose_hash());
    scene.add_device(device(5)).await;
    scene.add_compose(hash).await;
    let commit = json!({ "token": prepared["commitToken"], "hash": hash });
    let committed = sdk(&scene, "commit", commit).await["committed"].clone();
    let operation = scene.cloud.operations().pop().unwrap();
    assert_eq!(committed["correlationId"], operation.id.to_string());
    settle(&scene).await;
    let cvm = scene.cloud.instances().remove(0);
    assert_eq!((cvm.compose_hash, cvm.encrypted_env()), (hash, "aa"));
    let document: Value = serde_json::from_str(cvm.compose_document()).unwrap();
    assert_eq!(document["docker_compose_file"], NEW_COMPOSE);
    sdk(&scene, "look", json!({})).await;
}

#[tokio::test]
async fn the_second_phase_of_a_direct_update_names_hash_and_transaction() {
    let scene = Scene::set().await;
    scene.add_device(device(5)).await;
    let change = json!({ "change": { "docker_compose_file": NEW_COMPOSE } });
    let prepared = sdk(&scene, "prepare", change).await["prepared"].clone();
    let hash = hash_in(&prepared["composeHash"]);
    let transaction = scene.add_compose(hash).await;
    let second = json!({ "hash": hash, "transaction": transaction });
    let confirmed = sdk(&scene, "confirm", second).await["confirmed"].clone();
    let call = scene.cloud.commit_log().pop().unwrap();
    assert_eq!((call.kind, call.status), (Kind::Update, 202));
    assert_eq!(confirmed["correlationId"], call.operation.unwrap().to_string());
}

#[tokio::test]
async fn what_is_made_stopped_started_and_deleted_is_told_as_the_sdk_expects() {
    let scene = Scene::set().await;
    scene.approve().await;
    let said = sdk(&scene, "create", json!({})).await;
    assert_eq!(said["stopped"]["status"], "stopped");
    assert_eq!(scene.cloud.instances().len(), 3, "one replica for each version, and the source");
}

#[tokio::test]
async fn a_cvm_whose_keys_phala_keeps_is_told_as_the_sdk_expects_and_updated_at_once() {
    let scene = Scene::set().await;
    scene.switch(json!({ "cloud_kms": true }));
    let change = json!({ "id": SOURCE, "docker_compose_file": NEW_COMPOSE });
    let url = format!("{}/cvms/{SOURCE}", scene.cloud.api_prefix());
    let answer = crate::world::Api::bare()
        .patch(url)
        .header("X-API-Key", scene.cloud.api_key())
        .header("X-Prepare-Only", "true")
        .json(&change)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 202, "as the real one does, prepare-only or not");
    settle(&scene).await;
    let shown = scene.client().cvm(&SOURCE.parse().unwrap()).await.unwrap();
    assert_eq!(shown.chain_id, None);
    assert_ne!(shown.compose_hash, Some(compose_hash()));
}
