//! Taking preparations in: many at once, the same again, wrong ones, newer ones, and what the
//! `phala` command line tool prints.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use countersign::{clock::Clock, devnet::cloud::EmulatedNode};
use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::phala_cli::Cli;
use crate::world::{Answer, Api, World, eventually};

const DISTINCT: usize = 60;

/// A preparation in our own fields, with a token of its own.
fn own_fields(world: &World, source: &str) -> Value {
    json!({
        "chain_id": world.town.chain.chain_id,
        "app": world.town.chain.app,
        "source_cvm": source,
        "node_id": "6",
        "compose_hash": world.town.compose_hash,
        "device_id": world.town.nodes[1].device_id,
        "commit_token": Uuid::new_v4(),
    })
}

/// Every way in which one field can be wrong, and the field that the refusal must name.
fn wrong_fields(world: &World) -> Vec<(&'static str, Value)> {
    let now = world.clock.now();
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    vec![
        ("chain_id", json!(1)),
        ("chain_id", json!("base")),
        ("app", json!("0x12")),
        ("app", json!("0".repeat(40))),
        ("app", json!(null)),
        ("source_cvm", json!("../other")),
        ("source_cvm", json!(null)),
        ("node_id", json!({ "id": 6 })),
        ("compose_hash", json!("ab")),
        ("compose_hash", json!("0".repeat(64))),
        ("compose_hash", json!("g".repeat(64))),
        ("device_id", json!("0".repeat(64))),
        ("device_id", json!(nothing)),
        ("commit_token", json!(null)),
        ("commit_token", json!("two words")),
        ("commit_token", json!("x".repeat(513))),
        ("commit_token", json!(7)),
        ("prepared_at", json!("yesterday")),
        ("prepared_at", json!(now - TimeDelta::days(15))),
        ("prepared_at", json!(now + TimeDelta::hours(1))),
        ("note", json!("x".repeat(2001))),
        ("note", json!("a\0b")),
        ("prepare_response", json!("twice")),
        ("prepare_response", json!({})),
        ("no_such_field", json!(1)),
    ]
}

#[track_caller]
fn assert_refused(answer: &Answer, field: &str) {
    assert_eq!(answer.status, 422, "{field}: {}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let named = answer.body["field"].as_str().unwrap_or_default();
    assert!(named == field || named.starts_with(&format!("{field}.")), "{field}: {}", answer.text);
}

async fn all_requests(api: &Api) -> Vec<Value> {
    let (mut requests, mut cursor) = (vec![], String::new());
    loop {
        let page = api.get(&format!("/v1/requests?limit=50&cursor={cursor}")).await.body;
        requests.extend(page["requests"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return requests,
        }
    }
}

#[tokio::test]
async fn two_hundred_at_once_open_exactly_the_distinct_valid_requests() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let valid: Vec<Value> =
        (0..DISTINCT).map(|one| own_fields(&world, &format!("source-{one}"))).collect();
    let wrong: Vec<(&str, Value)> = wrong_fields(&world)
        .into_iter()
        .cycle()
        .take(200 - 2 * DISTINCT)
        .map(|(field, value)| {
            let mut body = own_fields(&world, "never-stored");
            body[field] = value;
            (field, body)
        })
        .collect();
    let good = valid.iter().chain(&valid).map(async |body| api.post("/v1/requests", body).await);
    let bad = wrong.iter().map(async |(_, body)| api.post("/v1/requests", body).await);
    let (good, bad) = futures::join!(join_all(good), join_all(bad));

    for ((field, _), answer) in wrong.iter().zip(&bad) {
        assert_refused(answer, field);
    }
    let count = |status| good.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(201), count(200)), (DISTINCT, DISTINCT));
    for (first, second) in good[..DISTINCT].iter().zip(&good[DISTINCT..]) {
        assert_eq!(first.body["id"], second.body["id"], "the same preparation is one request");
    }
    let stored = all_requests(api).await;
    let sources: BTreeSet<&str> =
        stored.iter().map(|request| request["source_cvm"].as_str().unwrap()).collect();
    assert_eq!((stored.len(), sources.len()), (DISTINCT, DISTINCT));
    assert!(!sources.contains("never-stored"), "nothing of a refused one is kept");
    running.stop().await;
}

#[tokio::test]
async fn requests_of_one_safe_get_nonces_of_their_own() {
    let world = World::new().await;
    let running = world.start().await;
    let submissions = (0..8)
        .map(async |one| running.api.submit(&own_fields(&world, &format!("source-{one}"))).await);
    let mut nonces = BTreeSet::new();
    for id in join_all(submissions).await {
        nonces.insert(running.api.proposal(&id).await["safe_tx"]["nonce"].to_string());
    }
    assert_eq!(nonces.len(), 8, "{nonces:?}");
    running.stop().await;
}

#[tokio::test]
async fn the_same_token_with_other_content_is_refused() {
    let world = World::new().await;
    let running = world.start().await;
    let mut body = own_fields(&world, "source");
    let id = running.api.submit(&body).await;
    body["device_id"] = json!("bb".repeat(32));
    let answer = running.api.post("/v1/requests", &body).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (409, Some("token-reused")));
    assert_eq!(answer.body["field"], "commit_token");
    assert!(answer.text.contains(&id), "it says which request: {}", answer.text);
    running.stop().await;
}

#[tokio::test]
async fn a_newer_token_for_the_same_content_renews_the_request() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    world.sign(api, &id).await;
    let newer = world.prepare().await;
    let answer = api.post("/v1/requests", &world.submission(&newer)).await;
    assert_eq!((answer.status, &answer.body["id"]), (200, &json!(id)));
    assert!(api.told(&id).await.contains(&"renewed".to_owned()));
    assert_eq!(answer.body["status"], "approved", "the signatures stay");

    world.execute(api, &id).await;
    world.mine(crate::world::DEPTH).await;
    api.wait_for(&id, "running").await;
    let commits = world.town.cloud.commit_log();
    assert_eq!((commits.len(), commits[0].token), (1, Some(1)), "the newer token was used");
    running.stop().await;
}

#[tokio::test]
async fn a_newer_prepare_of_something_else_takes_the_older_request_its_token() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let older = api.submit(&own_fields(&world, "source")).await;
    let mut body = own_fields(&world, "source");
    body["compose_hash"] = json!("cc".repeat(32));
    let newer = api.submit(&body).await;
    assert_ne!(older, newer);
    assert!(api.told(&older).await.contains(&"token_superseded".to_owned()));
    // Its approval is still worth having.
    api.wait_for(&older, "proposed").await;
    running.stop().await;
}

#[tokio::test]
async fn an_old_printout_takes_nobody_its_newer_token() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let (at, live) =
        (world.clock.now(), "select count(*)::text from preparations where ended_at is null");
    let mut body = own_fields(&world, "source");
    body["prepared_at"] = json!(at);
    let newer = api.submit(&body).await;
    let mut old = own_fields(&world, "source");
    old["prepared_at"] = json!(at - TimeDelta::milliseconds(1));
    let answer = api.post("/v1/requests", &old).await;
    assert_eq!((answer.status, &answer.body["id"]), (200, &json!(newer)), "{}", answer.text);
    old["commit_token"] = json!(Uuid::new_v4());
    old["compose_hash"] = json!("cc".repeat(32));
    let other = api.submit(&old).await;
    assert_ne!(other, newer);
    let superseded = "token_superseded".to_owned();
    assert!(api.told(&other).await.contains(&superseded));
    let told = api.told(&newer).await;
    assert!(!told.contains(&superseded) && !told.contains(&"renewed".to_owned()), "{told:?}");
    assert_eq!(world.database.text(live).await, "1");
    // Its approval is still worth having.
    api.wait_for(&other, "proposed").await;
    // Of the same time, the one that comes later counts.
    body["commit_token"] = json!(Uuid::new_v4());
    api.post("/v1/requests", &body).await;
    assert!(api.told(&newer).await.contains(&"renewed".to_owned()));
    running.stop().await;
}

#[tokio::test]
async fn what_the_phala_tool_prints_is_taken_as_it_is() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let cloud = &world.town.cloud;
    let cli = Cli::new(&cloud.api_prefix(), &cloud.api_key(), world.town.chain.rpc_url().as_str());
    let source = world.town.source.as_str();
    for (node, json) in [("6", false), ("7", true)] {
        let arguments =
            ["cvms", "replicate", source, "--node-id", node, "--prepare-only", "--json"];
        let printed = cli.ok(&arguments[..if json { 7 } else { 6 }]).await;
        let submission = json!({ "prepare_response": printed, "node_id": node });
        let id = api.submit(&submission).await;
        let request = api.request(&id).await;
        let device = |node: &EmulatedNode| json!(node.device_id) == request["device_id"];
        let expected = world.town.nodes.iter().find(|one| one.id.to_string() == node).unwrap();
        assert!(device(expected), "{request:#}");
        assert_eq!(request["compose_hash"], json!(world.town.compose_hash));
    }
    eventually("both are proposed", async || {
        let requests = all_requests(api).await;
        requests.iter().all(|one| one["status"] == "proposed").then_some(())
    })
    .await;
    running.stop().await;
}
