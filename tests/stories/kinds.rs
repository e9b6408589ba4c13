//! Kinds of requests, what was sent to prepare them, and commits that somebody else makes.

use chrono::TimeDelta;
use countersign::{
    clock::Clock,
    request::status::Status,
    store::{
        elsewhere::{Elsewhere, SeenCommit},
        journal::Actor,
    },
};
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Api, Running, World, process::cli};

/// A preparation in our own fields, with a token of its own.
fn fields(world: &World, kind: &str, node: Option<u64>) -> Value {
    json!({
        "kind": kind,
        "app": world.town.chain.app,
        "source_cvm": world.town.source,
        "node_id": node,
        "compose_hash": world.town.compose_hash,
        "device_id": world.town.nodes[1].device_id,
        "commit_token": Uuid::new_v4(),
    })
}

#[tokio::test]
async fn an_update_and_a_replica_of_one_cvm_do_not_void_each_other() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let update = api.submit(&fields(&world, "update", None)).await;
    let replica = api.submit(&fields(&world, "replica", None)).await;
    for (id, kind) in [(&update, "update"), (&replica, "replica")] {
        assert_eq!(api.request(id).await["kind"], kind);
        assert!(!api.told(id).await.contains(&"token_superseded".to_owned()), "{kind}");
    }
    let newer = api.post("/v1/requests", &fields(&world, "update", None)).await;
    assert_eq!(newer.status, 200, "the same update again brings a newer token");
    assert_eq!(newer.body["id"], update.as_str());
    let mut other = fields(&world, "update", None);
    other["compose_hash"] = json!("cc".repeat(32));
    let other = api.submit(&other).await;
    assert_ne!(other, update);
    api.look(&update, "its token to be voided", |it| !told(it, "token_superseded").is_null()).await;
    let (code, listed, _) = cli(api, &["list"]).await;
    assert_eq!(code, 0);
    assert!(listed.contains("update") && listed.contains("replica"), "{listed}");
    let (_, shown, _) = cli(api, &["show", &update]).await;
    assert!(shown.contains("Kind"), "{shown}");
    running.stop().await;
}

fn told(request: &Value, kind: &str) -> Value {
    let timeline = request["timeline"].as_array().expect("there is a timeline");
    timeline.iter().find(|entry| entry["kind"] == kind).cloned().unwrap_or_default()
}

#[tokio::test]
async fn an_update_that_cannot_be_prepared_again_expires_with_its_token() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let forgotten = api.submit(&fields(&world, "update", None)).await;
    world.clock.pass(TimeDelta::days(15));
    world.look_again().await;
    let ended = api.wait_for(&forgotten, "expired").await;
    let reason = ended["reason"].as_str().unwrap();
    assert!(reason.contains("what was sent to prepare the update is not known"), "{reason}");
    running.stop().await;
}

#[tokio::test]
async fn what_was_sent_to_prepare_is_kept_sealed_until_nothing_is_left_to_prepare() {
    const SECRET: &str = "0badc0de0badc0de0badc0de0badc0de";
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let mut body = fields(&world, "update", None);
    let filler = "\n".repeat(240 * 1024 / 2 - 200);
    body["prepare_body"] = json!({ "encrypted_env": SECRET, "docker_compose_file": filler });
    let id = api.submit(&body).await;
    let kept = kept(&world, &id).await.expect("it is kept");
    assert!(kept.len() > 200 * 1024, "{} bytes", kept.len());
    assert!(!kept.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    let shown = format!("{}{:?}", api.request(&id).await, api.timeline(&id).await);
    assert!(!shown.contains(SECRET) && !shown.contains("encrypted_env"), "{shown}");

    let token = body["commit_token"].clone();
    for (field, wrong) in [
        ("prepare_body", json!({ "note": token })),
        ("prepare_body", json!({ "a": "x".repeat(240 * 1024) })),
        ("prepare_body", json!({ "token": "another" })),
    ] {
        let mut body = body.clone();
        body[field] = wrong;
        let answer = api.post("/v1/requests", &body).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (422, Some(field)));
    }
    let withdrawn = json!({ "reason": "not wanted" });
    let path = format!("/v1/requests/{id}/withdraw");
    assert_eq!(api.post(&path, &withdrawn).await.status, 200);
    assert_eq!(self::kept(&world, &id).await, None, "nothing is left to prepare");
    running.stop().await;
}

async fn kept(world: &World, id: &str) -> Option<Vec<u8>> {
    let mut connection = world.database.connect().await;
    let id: Uuid = id.parse().unwrap();
    sqlx::query_scalar("select prepare_body_sealed from requests where id = $1")
        .bind(id)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

/// A person commits at Phala Cloud with the token of a request, and is answered.
async fn commit_by_hand(world: &World, prepared: &Value) -> Value {
    let url =
        format!("{}/cvms/{}/commit-replica", world.town.cloud.api_prefix(), world.town.source);
    let body =
        json!({ "token": World::token_of(prepared), "compose_hash": world.town.compose_hash });
    let answer = Api::bare().post(url).json(&body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    answer.json().await.unwrap()
}

async fn tell(running: &Running, world: &World, prepared: &Value, made: &Value) -> Elsewhere {
    let token = SecretString::from(World::token_of(prepared));
    let seen = SeenCommit {
        replica: made["vm_uuid"].as_str().map(|id| id.parse().unwrap()),
        operation: None,
        how: "a commit through the gateway".into(),
    };
    let (prints, actor) = (running.service.vault.fingerprints(&token), Actor::service("gateway"));
    let now = world.clock.now();
    running.service.store.committed_elsewhere(&prints, &seen, &actor, now).await.unwrap()
}

#[tokio::test]
async fn a_commit_of_somebody_else_settles_the_request_and_its_replica_is_proved() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let prepared = world.prepare().await;
    let id = api.submit(&world.submission(&prepared)).await;
    api.wait_for(&id, "proposed").await;
    world.allow(world.town.nodes[1].device_id).await;
    let made = commit_by_hand(&world, &prepared).await;
    let settled = tell(&running, &world, &prepared, &made).await;
    let Elsewhere::Settled(request) = settled else { panic!("{settled:?}") };
    assert_eq!((request.status(), request.id.to_string()), (Status::Committed, id.clone()));
    let again = tell(&running, &world, &prepared, &made).await;
    assert!(matches!(again, Elsewhere::Ignored(_)), "{again:?}");
    let shown = api.wait_for(&id, "running").await;
    assert_eq!(shown["replica"]["id"], made["vm_uuid"]);
    assert_eq!(world.replicas(), 1, "nothing else was made for it");
    let stranger = world.prepare().await;
    let unknown = tell(&running, &world, &stranger, &made).await;
    assert!(matches!(unknown, Elsewhere::Unknown), "{unknown:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_replica_of_another_request_is_not_taken_for_that_of_a_commit_made_elsewhere() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let first = world.prepare().await;
    let id = world.carry(api, &world.submission(&first)).await;
    let made = api.wait_for(&id, "running").await;
    let other = world.prepare_on(7).await;
    let waiting = api.submit(&world.submission_on(&other, 7)).await;
    let claim = json!({ "vm_uuid": made["replica"]["id"] });
    let ignored = tell(&running, &world, &other, &claim).await;
    assert!(matches!(ignored, Elsewhere::Ignored(_)), "{ignored:?}");
    let nothing = tell(&running, &world, &other, &json!({})).await;
    assert!(matches!(nothing, Elsewhere::Ignored(_)), "{nothing:?}");
    assert!(api.request(&waiting).await["replica"].is_null());
    running.stop().await;
}
