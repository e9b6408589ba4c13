//! The real `phala` command line tool against the emulated cloud: what it sends is served, and what
//! it prints is read.

use std::process::{Output, Stdio};

use countersign::{phala::Prepared, request::ids::AppId};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::cloud_scene::{APP, SOURCE, Scene, compose_hash, device, node_modules};

/// A home with nothing in it, so that nobody's credentials are used.
pub struct Cli {
    home: TempDir,
    prefix: String,
    key: String,
    rpc: String,
}

impl Cli {
    fn of(scene: &Scene) -> Self {
        Self::new(&scene.cloud.api_prefix(), &scene.cloud.api_key(), scene.rpc())
    }

    pub fn new(prefix: &str, key: &str, rpc: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { home, prefix: prefix.into(), key: key.into(), rpc: rpc.into() }
    }

    pub async fn run(&self, arguments: &[&str]) -> Output {
        Command::new(node_modules().join(".bin/phala"))
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("PHALA_CLOUD_DIR", self.home.path())
            .env("PHALA_CLOUD_API_PREFIX", &self.prefix)
            .env("PHALA_CLOUD_API_KEY", &self.key)
            // Without it the tool would ask a public endpoint.
            .env("ETH_RPC_URL", &self.rpc)
            .env("PHALA_DISABLE_UPDATE_CHECK", "1")
            .env("CI", "1")
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("the phala command line tool is installed (run npm ci)")
    }

    /// A file in the folder that commands run in.
    pub fn put(&self, name: &str, text: &str) {
        std::fs::write(self.home.path().join(name), text).expect("a file is written");
    }

    pub async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}\n{text}\n{error}");
        text
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--json"]].concat()).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

#[track_caller]
fn assert_is_last_issued(read: &Prepared, scene: &Scene) {
    let issued = scene.last_issued();
    assert_eq!(read.commit_token.secret().expose_secret(), issued.token);
    assert_eq!((read.compose_hash, read.device_id), (issued.compose_hash, issued.device_id));
    assert_eq!((read.app, issued.node), (AppId(APP), 6));
    assert_eq!(read.source_cvm.as_ref().unwrap().as_str(), issued.source.to_string());
    assert_eq!((read.compose_allowed, read.device_allowed), (Some(false), Some(true)));
}

#[tokio::test]
async fn what_it_prints_after_a_prepare_is_what_was_issued() {
    let scene = Scene::set().await;
    scene.add_device(device(6)).await;
    let cli = Cli::of(&scene);
    for (node, prefixed) in [("6", false), ("prod6", true)] {
        scene.switch(json!({ "prefix_hashes": prefixed, "nest_details": prefixed }));
        let prepare = ["cvms", "replicate", SOURCE, "--node-id", node, "--prepare-only"];
        let text = cli.ok(&prepare).await;
        assert_is_last_issued(&Prepared::from_cli_text(&text).unwrap(), &scene);
        let value = cli.json(&prepare).await;
        let read = Prepared::from_prepare_response(&value).unwrap();
        assert_is_last_issued(&read, &scene);
        assert_eq!(read.chain_id, Some("8453".parse().unwrap()));
    }
    assert_eq!(scene.cloud.instances().len(), 1);
}

#[tokio::test]
async fn it_commits_once_the_chain_says_so() {
    let scene = Scene::set().await;
    let cli = Cli::of(&scene);
    let prepare = ["cvms", "replicate", SOURCE, "--node-id", "6", "--prepare-only"];
    let text = cli.ok(&prepare).await;
    let prepared = Prepared::from_cli_text(&text).unwrap();
    let token = prepared.commit_token.secret().expose_secret().to_owned();
    let hash = prepared.compose_hash.to_string();
    let commit =
        ["cvms", "replicate", SOURCE, "--commit", "--token", &token, "--compose-hash", &hash];

    let early = cli.run(&commit).await;
    assert!(!early.status.success());
    assert!(String::from_utf8_lossy(&early.stderr).contains("ERR-01-005"));

    let added = scene.approve().await.to_string();
    let made = cli.json(&[&commit[..], &["--transaction-hash", &added]].concat()).await;
    let replica = scene.cloud.instances().pop().unwrap();
    assert_eq!(made["vm_uuid"], json!(replica.id));
    assert_eq!((replica.node, replica.compose_hash), (6, compose_hash()));

    let again = cli.run(&commit).await;
    assert!(String::from_utf8_lossy(&again.stderr).contains("ERR-01-006"));
    let log = scene.cloud.commit_log();
    let calls: Vec<_> =
        log.iter().map(|call| (call.status, call.transaction_hash.as_str())).collect();
    let registered = "already-registered";
    assert_eq!(calls, [(465, registered), (200, added.as_str()), (466, registered)]);
}

#[tokio::test]
async fn it_finds_its_way_from_an_app_with_several_instances() {
    let scene = Scene::set().await;
    scene.approve().await;
    let cli = Cli::of(&scene);
    // Without prepare-only and with everything registered the replica is made at once.
    cli.ok(&["cvms", "replicate", SOURCE, "--node-id", "6"]).await;
    assert_eq!(scene.cloud.instances().len(), 2);
    let app = alloy::hex::encode(APP);
    let value = cli.json(&["cvms", "replicate", &app, "--node-id", "6", "--prepare-only"]).await;
    let read = Prepared::from_prepare_response(&value).unwrap();
    assert_eq!(read.source_cvm.unwrap().as_str(), SOURCE);
    assert_eq!((read.compose_allowed, read.device_allowed), (Some(true), Some(true)));
}

#[tokio::test]
async fn its_newer_command_works_with_one_address_for_both_phases() {
    let scene = Scene::set().await;
    scene.add_device(device(6)).await;
    let cli = Cli::of(&scene);
    let app = format!("0x{}", alloy::hex::encode(APP));
    let prepare = ["instances", "add", "--app-id", &app, "--node-id", "6", "--prepare-only"];
    let text = cli.ok(&prepare).await;
    let prepared = Prepared::from_cli_text(&text).unwrap();
    assert_is_last_issued(&prepared, &scene);
    let added = scene.add_compose(compose_hash()).await.to_string();
    let token = prepared.commit_token.secret().expose_secret();
    let hash = prepared.compose_hash.to_string();
    let commit = [
        "instances",
        "add",
        "--app-id",
        &app,
        "--commit",
        "--token",
        token,
        "--compose-hash",
        &hash,
        "--transaction-hash",
        &added,
    ];
    cli.ok(&commit).await;
    assert_eq!(scene.cloud.instances().len(), 2);
}

#[tokio::test]
async fn it_can_look_around() {
    let scene = Scene::set().await;
    let cli = Cli::of(&scene);
    let app = alloy::hex::encode(APP);
    let looks: [&[&str]; 6] = [
        &["apps"],
        &["nodes", "ls"],
        &["whoami"],
        &["cvms", "get", SOURCE],
        &["cvms", "get", "payments-api"],
        &["allow-devices", "list", &app, "--rpc-url", scene.rpc()],
    ];
    for look in looks {
        cli.ok(look).await;
    }
}
