//! An app that belongs to an account: whoever has its key prepares, registers and gets a running
//! replica with one command.

use std::{fs, os::unix::fs::PermissionsExt};

use countersign::{
    devnet::Wallet,
    request::ids::{ComposeHash, SourceCvm},
};
use serde_json::Value;

use crate::world::{Api, DEPTH, World, eventually};

/// An app of this account, which allows another compose hash than its instance runs.
async fn app_of(world: &World, owner: &Wallet) -> SourceCvm {
    let chain = &world.town.chain;
    let (device, other) = (world.town.nodes[0].device_id, ComposeHash([0xee; 32].into()));
    let app = chain.kms.new_app(&chain.rpc, &chain.executor, owner.address(), other, device).await;
    world.town.add_source(app.expect("the app is deployed"))
}

/// Lets blocks pass once something is executed.
async fn mine_when_executed(world: &World, api: &Api) {
    eventually("an execution", async || {
        let requests = api.get("/v1/requests").await.body;
        let is_there = |one: &Value| one["status"] == "executed";
        requests["requests"].as_array()?.iter().any(is_there).then_some(())
    })
    .await;
    world.mine(DEPTH).await;
}

#[tokio::test]
async fn with_the_owners_key_one_command_ends_with_a_running_replica() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let owner = Wallet::funded(7).unwrap();
    let source = app_of(&world, &owner).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("owner.key");
    fs::write(&file, owner.private_key()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    let rpc = world.settings.chains[0].rpc[0].to_string();
    let arguments = [
        "prepare",
        source.as_str(),
        "--node",
        "prod6",
        "--private-key-file",
        file.to_str().unwrap(),
        "--rpc-url",
        &rpc,
        "--json",
    ];
    let ((code, told, said), ()) =
        tokio::join!(world.cli(api, &arguments), mine_when_executed(&world, api));
    assert_eq!(code, 0, "{told}\n{said}");
    let request: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(request["status"], "running", "{request:#}");
    for words in ["allow compose hash", "allow device", "on node 6: running"] {
        assert!(said.contains(words), "{said}");
    }
    let secret = owner.private_key();
    let secret = secret.trim_start_matches("0x");
    assert!(!said.contains(secret) && !told.contains(secret));
    assert_eq!(world.effective_commits(), 1);
    // By another account nothing is even prepared.
    let issued = world.town.cloud.issued().len();
    let other = Wallet::funded(6).unwrap();
    fs::remove_file(&file).unwrap();
    fs::write(&file, other.private_key()).unwrap();
    let (code, _, said) = world.cli(api, &arguments).await;
    assert_eq!(code, 1);
    assert!(said.contains(&owner.address().to_string()), "{said}");
    assert!(said.contains("can be read by everybody"), "{said}");
    assert_eq!(world.town.cloud.issued().len(), issued);
    running.stop().await;
}
