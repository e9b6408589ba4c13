//! The page of whoever runs the service: what it tells, to whom, and that none of it is secret.

use countersign::devnet::Wallet;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::secrets::assert_absent;
use crate::world::{Visitor, World, api::make_token, eventually};

const RPC_PASSWORD: &str = "rpc-password-8d21";
const RPC_KEY: &str = "rpc-key-77ab01";
const HOOK: &str = "hook-path-5c1f99";
const EXPLORER: &str = "explorer-key-1e55";
const DATABASE_PASSWORD: &str = "database-password-3f3a";
const WEBHOOK_SECRET: &str = "whsec_c2VjcmV0LW9mLXdlYmhvb2tz";
const SAFE_KEY: &str = "safe-api-key-6b2e";

/// How a setting is told.
fn setting<'a>(told: &'a Value, name: &str) -> (&'a str, &'a str) {
    let all = told["settings"].as_array().unwrap();
    let one = all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}"));
    (one["value"].as_str().unwrap(), one["source"].as_str().unwrap())
}

#[tokio::test]
async fn every_setting_is_told_and_no_secret() {
    let world = World::new().await;
    let (relayer, proposer) = (Wallet::funded(6).unwrap(), Wallet::funded(7).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("relayer.key");
    std::fs::write(&key_file, relayer.private_key()).unwrap();
    let rpc = world.town.chain.rpc_url().to_string();
    let rpc = rpc.replace("http://", &format!("http://user:{RPC_PASSWORD}@"));
    let chain = format!(
        "8453={}/?apikey={RPC_KEY};depth=2;safe_service=off;explorer=https://scan.example/{EXPLORER}/",
        rpc.trim_end_matches('/')
    );
    let database = world.database.url();
    let (scheme, rest) = database.split_once("://").unwrap();
    let (user, rest) = rest.split_once('@').unwrap();
    let user = user.split(':').next().unwrap();
    let database = format!("{scheme}://{user}:{DATABASE_PASSWORD}@{rest}");
    let program = world
        .spawn_with(|command| {
            command
                .env("COUNTERSIGN_CHAIN", &chain)
                .env("DATABASE_URL", &database)
                .env("COUNTERSIGN_WEBHOOK", format!("https://hooks.example/{HOOK}"))
                .env("COUNTERSIGN_PHALA_WEBHOOK_SECRET", WEBHOOK_SECRET)
                .env("COUNTERSIGN_RELAYER_KEY_FILE", &key_file)
                .env("COUNTERSIGN_PROPOSER_KEY", proposer.private_key())
                .env("SAFE_API_KEY", SAFE_KEY);
        })
        .await;
    let api = &program.api;
    let visitor = Visitor::signed_in(api, &Wallet::funded(0).unwrap()).await;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.proposal(&id).await;
    let told = eventually("a head", async || {
        let told = api.get("/v1/operator").await;
        assert_eq!(told.status, 200, "{}", told.text);
        told.body["chains"][0]["head"].is_object().then_some(told)
    })
    .await;
    let page = api.get("/operator").await;
    assert_eq!(page.status, 200, "{}", page.text);
    let (_, session) = visitor.cookie.split_once('=').unwrap();
    let bare = |key: &str| key.trim_start_matches("0x").to_owned();
    let secrets = [
        world.seal_key.expose_secret().to_owned(),
        world.town.cloud.api_key(),
        bare(&relayer.private_key()),
        bare(&proposer.private_key()),
        api.token().to_owned(),
        session.to_owned(),
        RPC_PASSWORD.to_owned(),
        RPC_KEY.to_owned(),
        HOOK.to_owned(),
        EXPLORER.to_owned(),
        DATABASE_PASSWORD.to_owned(),
        WEBHOOK_SECRET.to_owned(),
        SAFE_KEY.to_owned(),
    ];
    assert_absent("the page", &page.text, &secrets);
    assert_absent("the API", &told.text, &secrets);
    let told = &told.body;
    assert_eq!(setting(told, "webhooks"), ("https://hooks.example/…", "flag_or_environment"));
    assert_eq!(setting(told, "chains.8453.explorer").0, "https://scan.example/…");
    assert!(setting(told, "chains.8453.rpc").0.ends_with("/…"), "{told}");
    assert_eq!(setting(told, "chains.8453.poll_ms"), ("1s", "default"));
    assert_eq!(setting(told, "open_reads"), ("false", "default"));
    assert_eq!(told["sessions"], 1);
    let tokens = told["tokens"].as_array().unwrap();
    assert_eq!((tokens.len(), &tokens[0]["name"]), (1, &json!("story")));
    assert!(told["secrets"].as_array().unwrap().iter().any(|one| {
        one["name"] == "relayer key"
            && one["detail"] == format!("executes as {}", relayer.address()).as_str()
    }));
    assert!(!told["connections"].as_array().unwrap().is_empty(), "{told}");
    let waiting = told["requests"].as_array().unwrap();
    assert_eq!((waiting.len(), &waiting[0]["count"]), (1, &json!(1)), "{told}");
    for part in ["Base (8453)", "chains.8453.quorum", "alerts to deliver", "flag or environment"] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    program.terminate().await;
}

#[tokio::test]
async fn open_reads_do_not_open_it() {
    let mut world = World::new().await;
    world.settings.open_reads = true;
    let running = world.start().await;
    let service = &running.service;
    let nobody = running.api.with_token("");
    assert_eq!(nobody.get("/v1/journal").await.status, 200);
    let viewer = make_token(&service.store, &["viewer"], service.clock.now()).await;
    let viewer = running.api.with_token(&viewer);
    for path in ["/v1/operator", "/operator"] {
        assert_eq!(nobody.get(path).await.status, 401);
        assert_eq!(viewer.get(path).await.status, 403);
        assert_eq!(running.api.get(path).await.status, 200);
    }
    running.stop().await;
}
