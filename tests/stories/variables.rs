//! Variables of a replica: encrypted where the command runs, read by the replica, seen by nobody.

use std::{fs, os::unix::fs::PermissionsExt};

use countersign::devnet::cloud::EmulatedCvm;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    peers::peer::Peer,
    world::{DEPTH, World},
};

/// The file that a command takes variables from, which only its owner can read.
fn env_file(folder: &TempDir, text: &str) -> String {
    let file = folder.path().join("env");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file.to_str().unwrap().to_owned()
}

/// What an instance reads as its variables.
fn variables_of(world: &World, instance: &EmulatedCvm) -> String {
    let secret = alloy::hex::encode(world.town.cloud.env_secret(instance.app));
    let encrypted = instance.encrypted_env();
    let question =
        json!({ "ask": "decrypt", "private_key": secret, "encrypted": encrypted, "env": [] });
    Peer::DstackSdk.ask(&[question])[0]["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn variables_reach_every_replica_and_nobody_else() {
    let world = World::new().await;
    let process = world.spawn_logging("trace").await;
    let api = &process.api;
    let folder = tempfile::tempdir().unwrap();
    let file = env_file(&folder, "# for both\nAPI_KEY='hunter2 # hunter3'\n");
    let prepare =
        ["prepare", world.town.source.as_str(), "--node", "6", "--count", "2", "--env-file", &file];

    // Which KMS signs is said, and nobody else's signature is taken for it.
    let wrong = [&prepare[..], &["--kms-signer", "0x1111111111111111111111111111111111111111"]];
    let (code, _, said) = world.cli(api, &wrong.concat()).await;
    assert_eq!(code, 1, "{said}");
    let signer = said.split("signed by ").nth(1).and_then(|rest| rest.get(..42)).expect(&said);
    assert_eq!(world.town.cloud.issued().len(), 0, "nothing was prepared");
    let told = world.cli_json(api, &[&prepare[..], &["--kms-signer", signer]].concat()).await;
    let ids: Vec<&str> = told["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 2);

    world.sign(api, ids[0]).await;
    world.execute(api, ids[0]).await;
    world.mine(DEPTH).await;
    for id in &ids {
        api.wait_for(id, "running").await;
    }
    // One of them lost its token to the other, and was prepared again with the same.
    let instances = world.town.cloud.instances();
    assert_eq!(instances.len(), 3);
    for instance in &instances[1..] {
        let text = r#"{"env":[{"key":"API_KEY","value":"hunter2 # hunter3"}]}"#;
        assert_eq!(variables_of(&world, instance), text);
    }
    let shown = api.get(&format!("/v1/requests/{}", ids[0])).await.text;
    let log = process.terminate().await;
    for (place, text) in [("JSON", told.to_string()), ("API", shown), ("log", log)] {
        for secret in ["hunter", &alloy::hex::encode("hunter"), &instances[1].encrypted_env()[..40]]
        {
            assert!(!text.contains(secret), "{place} tells of the variables");
        }
    }
}

#[tokio::test]
async fn names_that_the_app_does_not_allow_are_refused() {
    let world = World::new().await;
    let running = world.start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = env_file(&folder, "API_KEY=hunter2\nOTHER=hunter3");
    let prepare = ["prepare", world.town.source.as_str(), "--node", "6", "--env-file", &file];
    let (code, _, said) = world.cli(&running.api, &prepare).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("does not allow OTHER; it allows API_KEY, LOG_LEVEL"), "{said}");
    assert!(!said.contains("hunter"), "{said}");
    assert_eq!(world.town.cloud.issued().len(), 0);
    running.stop().await;
}
