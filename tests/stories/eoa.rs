//! An app that belongs to an account: whoever has its key prepares, registers and gets a running
//! replica with one command.

use std::{fs, os::unix::fs::PermissionsExt};

use countersign::{
    devnet::Wallet,
    request::ids::{ComposeHash, SourceCvm},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{Api, DEPTH, World, eventually, process::cli};

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
async fn without_the_key_the_calls_are_shown_as_they_are_sent_and_no_safe_is_spoken_of() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let owner = Wallet::funded(7).unwrap();
    let source = app_of(&world, &owner).await;
    let told = world.cli_json(api, &["prepare", source.as_str(), "--node", "prod6"]).await;
    let id = told["id"].as_str().unwrap();
    let proposal = api.proposal(id).await;
    let calls = proposal["bare_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2, "{proposal:#}");

    let (code, shown, said) = cli(api, &["payload", id]).await;
    assert!(code == 0 && shown.contains("cast send"), "{shown}\n{said}");
    for call in calls {
        for part in ["to", "data"] {
            assert!(shown.contains(call[part].as_str().unwrap()), "{part}: {shown}");
        }
    }
    let (code, _, said) = cli(api, &["payload", id, "--batch", "-"]).await;
    assert!(code == 1 && said.contains("bare calls"), "{said}");
    let file = api.get(&format!("/v1/requests/{id}/safe-batch.json")).await;
    assert_eq!((file.status, &file.body["code"]), (404, &json!("no-safe")));
    let request = api.wait_for_reason(id, "acts in its own way").await;
    let next = request["explanation"]["next"].as_str().unwrap();
    assert!(next.starts_with("the owner makes the calls"), "{next}");
    let (_, seen, _) = cli(api, &["show", id]).await;
    let page = api.get(&format!("/requests/{id}")).await.text;
    for text in [&shown, &seen, &page] {
        assert!(!text.contains("Safe") && !text.contains("sign here"), "{text}");
    }

    // What is offered works as it stands, with a way to sign added.
    let commands = world.cli_json(api, &["payload", id]).await["commands"].clone();
    for line in commands.as_array().unwrap() {
        let line = line.as_str().unwrap();
        assert!(page.contains(line), "{line} is missing in {page}");
        let line = line.replace("URL", world.town.chain.rpc_url().as_str());
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let mut cast = Command::new("node_modules/.bin/cast");
        let sent = cast.args(words).arg("--unlocked").output().await.expect("cast starts");
        assert!(sent.status.success(), "{line}: {}", String::from_utf8_lossy(&sent.stderr));
    }
    mine_when_executed(&world, api).await;
    api.wait_for(id, "running").await;
    running.stop().await;
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
