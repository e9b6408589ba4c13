//! What Phala Cloud tells by itself: who may tell it, what it leads to, and that once is enough.

use std::time::{Duration, Instant};

use countersign::clock::Clock;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::secrets::{assert_absent, everything_kept};
use crate::world::{Answer, Api, DEPTH, Running, World};

const SECRET: &str = "whsec_9b1c2d3e4f5061728394a5b6c7d8e9f0";
const OLDER: &str = "whsec_older_0011223344556677";

fn signature(secret: &str, timestamp: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{timestamp}.{body}").as_bytes());
    format!("sha256={}", alloy::hex::encode(mac.finalize().into_bytes()))
}

/// Tells something as Phala Cloud does.
async fn tell_signed(world: &World, api: &Api, secret: &str, late: i64, body: &str) -> Answer {
    let timestamp = world.clock.now().timestamp() - late;
    let call = Api::bare()
        .post(format!("{}/phala/webhook", api.base()))
        .header("X-Webhook-Id", "evt_1")
        .header("X-Webhook-Event", "x")
        .header("X-Webhook-Timestamp", timestamp.to_string())
        .header("X-Webhook-Signature", signature(secret, timestamp, body))
        .header("User-Agent", "PhalaCloud-Webhook/1.0")
        .body(body.to_owned());
    api.with_token("").send(call).await
}

async fn tell(world: &World, api: &Api, body: &Value) -> Answer {
    tell_signed(world, api, SECRET, 0, &body.to_string()).await
}

async fn started(world: &World) -> Running {
    world.start_with(|service| service.webhook_secrets = vec![SECRET.into(), OLDER.into()]).await
}

/// An event about what was prepared, as it comes after a prepare.
fn pending(world: &World, id: &str, event: &str, prepared: &Value) -> Value {
    let of = |name: &str| {
        let details = prepared["details"].as_array().unwrap();
        details.iter().find(|one| one["field"] == name).map(|one| one["value"].clone()).unwrap()
    };
    json!({
        "id": id, "event": event, "version": "1", "created_at": world.clock.now(),
        "workspace": { "id": "ws_1", "slug": "acme", "name": "Acme" },
        "data": {
            "cvm_id": world.town.source, "cvm_name": "payments", "compose_hash": of("compose_hash"),
            "app_id": of("app_id"), "device_id": of("device_id"),
            "kms": { "chain_id": of("kms_info")["chain_id"], "contract_address": "0x" },
            // It says this whatever is missing, and the calldata is only the hash.
            "onchain_action": { "to": of("app_id"), "method": "addComposeHash",
                "calldata": of("compose_hash") },
            "commit_token": of("commit_token"), "commit_url": of("commit_url"),
            "api_commit_url": of("api_commit_url"),
            "expires_at": world.clock.now() + chrono::TimeDelta::days(14),
            "initiated_by": { "user_id": 1, "username": "ada" },
        },
    })
}

async fn requests(api: &Api) -> Vec<Value> {
    api.get("/v1/requests").await.body["requests"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_replica_that_is_told_of_runs_once_its_owners_have_signed() {
    let world = World::new().await;
    let running = started(&world).await;
    let api = &running.api;
    let prepared = world.prepare().await;
    let event = pending(&world, "evt_00000000000000a1", "cvm.replica.pending_approval", &prepared);
    let answer = tell(&world, api, &event).await;
    assert_eq!(
        (answer.status, &answer.body["outcome"]),
        (200, &json!("opened")),
        "{}",
        answer.text
    );
    let id = answer.body["request"].as_str().unwrap().to_owned();
    let request = api.request(&id).await;
    assert_eq!(request["created_by"], "service:webhook");
    assert_eq!(request["source_cvm"], json!(world.town.source.canonical()));
    // Told again, resent under another id, and submitted by hand: one request.
    let again = tell(&world, api, &event).await;
    assert_eq!((again.status, &again.body["outcome"]), (200, &json!("known")));
    let resent = pending(&world, "evt_00000000000000a2", "cvm.replica.pending_approval", &prepared);
    let resent = tell(&world, api, &resent).await;
    assert_eq!((resent.status, &resent.body["outcome"]), (200, &json!("known")));
    assert_eq!(requests(api).await.len(), 1);
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    api.wait_for(&id, "running").await;
    assert_eq!(world.replicas(), 1);

    let token = World::token_of(&prepared);
    for (table, rows) in everything_kept(&world.database).await {
        assert_absent(&table, &rows, &[token.clone(), SECRET.into()]);
    }
    assert_absent("the metrics", &api.get("/metrics").await.text, &[token, SECRET.into()]);
    running.stop().await;
}

#[tokio::test]
async fn only_what_is_signed_with_a_secret_of_ours_just_now_is_taken() {
    let world = World::new().await;
    let running = started(&world).await;
    let api = &running.api;
    let event = pending(&world, "evt_b1", "cvm.replica.pending_approval", &world.prepare().await);
    let body = event.to_string();
    // The edges are the reader's; here a second may pass on the way.
    for (secret, late) in [("whsec_of_nobody", 0), (SECRET, 301), (SECRET, -360), (OLDER, 3_600)] {
        let answer = tell_signed(&world, api, secret, late, &body).await;
        assert_eq!((answer.status, &answer.body["code"]), (401, &json!("not-signed")), "{late}");
        assert!(!answer.text.contains("whsec"), "{}", answer.text);
    }
    let unsigned = api.with_token("").post_text("/phala/webhook", &body).await;
    assert_eq!(unsigned.status, 401);
    assert_eq!(requests(api).await.len(), 0);
    let older = tell_signed(&world, api, OLDER, 200, &body).await;
    assert_eq!(older.status, 200, "the secret before the last one still counts");
    let long = json!({ "id": "evt_b2", "event": "webhook.test", "data": "x".repeat(300_000) });
    assert_eq!(tell(&world, api, &long).await.status, 413);
    for body in ["", "[]", "{\"id\":7}", "\u{0}"] {
        assert_eq!(tell_signed(&world, api, SECRET, 0, body).await.status, 422, "{body:?}");
    }
    running.stop().await;

    let running = world.start().await;
    let answer = tell(&world, &running.api, &event).await;
    assert_eq!((answer.status, &answer.body["code"]), (404, &json!("no-webhook-secret")));
    running.stop().await;
}

#[tokio::test]
async fn what_happens_to_a_cvm_has_its_requests_looked_at_and_what_is_new_does_no_harm() {
    let world = World::new().await;
    let running = started(&world).await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_to_be_woken(&id, "").await;
    let app = alloy::hex::encode(world.town.chain.app.0);
    let due = "select count(*)::text from requests where next_try_at <= '2100-01-01'";
    for (number, event, data, outcome) in [
        (1, "cvm.started", json!({ "cvm_id": world.town.source }), "woken"),
        (2, "cvm.updated", json!({ "vm_uuid": world.town.source.canonical() }), "woken"),
        (3, "cvm.created", json!({ "cvm_id": "cvm_abc", "app_id": app }), "woken"),
        (4, "cvm.stopped", json!({ "cvm_id": "somebody-elses" }), "ignored"),
        (5, "webhook.test", json!({}), "ignored"),
        (6, "cvm.moved", json!({ "cvm_id": world.town.source }), "ignored"),
        (7, "cvm.deleted", json!("no data at all"), "ignored"),
    ] {
        let body = json!({ "id": format!("evt_c{number}"), "event": event, "data": data });
        let answer = tell(&world, api, &body).await;
        assert_eq!((answer.status, &answer.body["outcome"]), (200, &json!(outcome)), "{event}");
    }
    assert_eq!(world.database.text(due).await, "1");
    let metrics = api.get("/metrics").await.text;
    assert!(metrics.contains("countersign_webhook_events_total{event=\"other\"} "), "{metrics}");
    assert!(!metrics.contains("cvm.moved"), "names that strangers choose make no series");
    assert_eq!(world.database.text("select count(*)::text from webhook_events").await, "7");
    // What is old enough goes.
    world.clock.pass(chrono::TimeDelta::days(31));
    tell(&world, api, &json!({ "id": "evt_c8", "event": "webhook.test" })).await;
    assert_eq!(world.database.text("select count(*)::text from webhook_events").await, "1");
    running.stop().await;
}

#[tokio::test]
async fn a_database_that_stands_still_has_it_told_again() {
    let world = World::new().await;
    let running = started(&world).await;
    let api = &running.api;
    let event = pending(&world, "evt_d1", "cvm.replica.pending_approval", &world.prepare().await);
    let mut somebody = world.database.connect().await;
    let hold = "begin; lock table journal in share mode";
    sqlx::raw_sql(hold).execute(&mut somebody).await.unwrap();
    let before = Instant::now();
    let answer = tell(&world, api, &event).await;
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("not-kept")));
    assert!(before.elapsed() < Duration::from_secs(10), "Phala Cloud waits ten seconds");
    sqlx::raw_sql("rollback").execute(&mut somebody).await.unwrap();
    let again = tell(&world, api, &event).await;
    assert_eq!(again.status, 200, "{}", again.text);
    assert_eq!(requests(api).await.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn events_of_chains_that_are_not_followed_and_lies_about_the_call_change_nothing() {
    let world = World::new().await;
    let running = started(&world).await;
    let api = &running.api;
    let mut event =
        pending(&world, "evt_e1", "cvm.replica.pending_approval", &world.prepare().await);
    event["data"]["kms"]["chain_id"] = json!(1);
    assert_eq!(tell(&world, api, &event).await.status, 422);
    assert_eq!(requests(api).await.len(), 0);
    event["data"]["kms"]["chain_id"] = json!(8453);
    event["data"]["onchain_action"] = json!({ "to": "0xdead", "method": "transferOwnership",
        "calldata": "0xf2fde38b" });
    event["id"] = json!("evt_e2");
    let answer = tell(&world, api, &event).await;
    let id = answer.body["request"].as_str().unwrap();
    let proposal = api.proposal(id).await;
    let calls = proposal["calls"].to_string();
    assert!(!calls.contains("f2fde38b") && !calls.contains("dead"), "{calls}");
    running.stop().await;
}

/// What is prepared when the source is to be updated to this image.
async fn prepare_update(world: &World, image: &str) -> Value {
    let compose = format!("services:\n  web:\n    image: {image}\n");
    let answer = Api::bare()
        .patch(format!("{}/cvms/{}", world.town.cloud.api_prefix(), world.town.source))
        .header("X-API-Key", world.town.cloud.api_key())
        .header("X-Prepare-Only", "true")
        .json(&json!({ "docker_compose_file": compose }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 465);
    answer.json().await.unwrap()
}

/// Tells of two updates, the newer one first; what was answered to each.
async fn told_late(world: &World, api: &Api, images: [&str; 2]) -> [Answer; 2] {
    const EVENT: &str = "cvm.update.pending_approval";
    let older = pending(world, "evt_f1", EVENT, &prepare_update(world, images[0]).await);
    world.clock.pass(chrono::TimeDelta::minutes(1));
    let newer = pending(world, "evt_f2", EVENT, &prepare_update(world, images[1]).await);
    world.clock.pass(chrono::TimeDelta::minutes(50));
    [tell(world, api, &newer).await, tell(world, api, &older).await]
}

/// Lets the owners sign and the update run: by one commit, with the token that was given out last.
async fn runs_at_once(world: &World, api: &Api, id: &str) {
    let sealed = "select count(*)::text from preparations where token_sealed is not null";
    assert_eq!(world.database.text(sealed).await, "1");
    world.sign(api, id).await;
    world.execute(api, id).await;
    world.mine(DEPTH).await;
    api.wait_for(id, "running").await;
    let commits: Vec<_> =
        world.town.cloud.commit_log().iter().map(|call| (call.status, call.token)).collect();
    assert_eq!(commits, [(202, Some(1))]);
}

#[tokio::test]
async fn an_event_that_comes_late_leaves_the_newer_token_of_the_same_content() {
    let world = World::new().await;
    let running = started(&world).await;
    let api = &running.api;
    let [newer, late] = told_late(&world, api, ["nginx:2", "nginx:2"]).await;
    assert_eq!((newer.status, &newer.body["outcome"]), (200, &json!("opened")), "{}", newer.text);
    assert_eq!((late.status, &late.body["outcome"]), (200, &json!("known")), "{}", late.text);
    assert_eq!(late.body["request"], newer.body["request"]);
    let id = newer.body["request"].as_str().unwrap();
    assert!(!api.told(id).await.contains(&"renewed".to_owned()));
    runs_at_once(&world, api, id).await;
    running.stop().await;
}

#[tokio::test]
async fn an_event_of_other_content_that_comes_late_opens_a_request_without_its_dead_token() {
    let world = World::new().await;
    let running = started(&world).await;
    let api = &running.api;
    let [newer, late] = told_late(&world, api, ["nginx:2", "nginx:3"]).await;
    assert_eq!((late.status, &late.body["outcome"]), (200, &json!("opened")), "{}", late.text);
    let [newer, late] = [newer, late].map(|it| it.body["request"].as_str().unwrap().to_owned());
    assert_ne!(newer, late);
    let superseded = "token_superseded".to_owned();
    assert!(api.told(&late).await.contains(&superseded), "its token is void");
    assert!(!api.told(&newer).await.contains(&superseded));
    runs_at_once(&world, api, &newer).await;
    running.stop().await;
}

#[tokio::test]
async fn an_event_whose_token_is_dead_by_now_is_refused() {
    let world = World::new().await;
    let running = started(&world).await;
    let prepared = world.prepare().await;
    let mut event = pending(&world, "evt_g1", "cvm.replica.pending_approval", &prepared);
    event["created_at"] = json!("2020-01-01T00:00:00Z");
    // The other says fourteen days from now, which no token of that day lives.
    for expires_at in
        [json!(null), json!("2020-01-15T00:00:00Z"), event["data"]["expires_at"].clone()]
    {
        event["data"]["expires_at"] = expires_at;
        let answer = tell(&world, &running.api, &event).await;
        assert_eq!(answer.status, 422, "{}", answer.text);
    }
    assert_eq!(requests(&running.api).await.len(), 0);
    running.stop().await;
}
