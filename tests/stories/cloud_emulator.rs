//! The client and the emulated cloud, through everything that can come between them.

use std::time::Duration;

use alloy::primitives::B256;
use countersign::{
    phala::{
        ApiError, Class, CommitEvidence, CommitToken, Instance, PhalaCloud, PhalaError, Prepared,
    },
    request::ids::{AppId, ChainId, ComposeHash, DeviceId, SourceCvm, TxHash},
};
use secrecy::ExposeSecret;
use serde_json::json;

use super::cloud_scene::{
    APP, SOURCE, Scene, compose_file, compose_hash, device, node_six, source,
};
use crate::world::Api;

async fn prepare(client: &PhalaCloud) -> Prepared {
    client.prepare_replica(&source(), Some(&node_six()), None).await.unwrap()
}

async fn commit(
    client: &PhalaCloud,
    prepared: &Prepared,
    evidence: CommitEvidence,
) -> Result<Instance, PhalaError> {
    let token = &prepared.commit_token;
    client.commit_replica(&source(), token, prepared.compose_hash, &evidence).await
}

/// What takes Phala Cloud some time: its view of the chain, and room on a node.
const THEIR_VIEW: Class = Class::RetryLater(Duration::from_secs(5));
const ROOM: Class = Class::RetryLater(Duration::from_mins(2));

const REGISTERED: CommitEvidence = CommitEvidence::AlreadyRegistered;

#[track_caller]
fn refused<T: std::fmt::Debug>(
    outcome: Result<T, PhalaError>,
    status: u16,
    class: Class,
) -> ApiError {
    match outcome {
        Err(PhalaError::Api(answer)) => {
            assert_eq!((answer.status, answer.meaning().class), (status, class), "{answer}");
            *answer
        }
        other => panic!("expected {status}, got {other:?}"),
    }
}

#[tokio::test]
async fn from_prepared_to_running() {
    let scene = Scene::set().await;
    let client = scene.client();
    let cvm = client.cvm(&source()).await.unwrap();
    assert_eq!(
        (cvm.vm_uuid.as_str(), cvm.app, cvm.chain_id),
        (SOURCE, AppId(APP), Some(ChainId::BASE))
    );
    assert_eq!((cvm.compose_hash, cvm.device_id), (Some(compose_hash()), Some(device(5))));
    assert_eq!(client.compose_file(&source()).await.unwrap(), compose_file().as_bytes());
    client.ping().await.unwrap();

    let prepared = prepare(&client).await;
    assert_eq!((prepared.app, prepared.device_id), (AppId(APP), device(6)));
    assert_eq!((prepared.compose_allowed, prepared.device_allowed), (Some(false), Some(false)));
    refused(commit(&client, &prepared, REGISTERED).await, 465, THEIR_VIEW);
    scene.add_device(device(6)).await;
    refused(commit(&client, &prepared, REGISTERED).await, 465, THEIR_VIEW);

    let added = scene.add_compose(compose_hash()).await;
    let replica = commit(&client, &prepared, CommitEvidence::Transaction(added)).await.unwrap();
    assert_eq!(replica.node_id, Some(node_six()));
    let statuses = [
        client.boot(&replica.id).await.unwrap().status,
        client.boot(&replica.id).await.unwrap().status,
        client.boot(&replica.id).await.unwrap().status,
    ];
    assert_eq!(statuses, ["provisioning", "starting", "running"]);

    let instances = client.instances(AppId(APP)).await.unwrap();
    let listed = instances.iter().find(|it| it.id == replica.id).unwrap();
    assert_eq!(instances.len(), 2);
    assert_eq!((listed.compose_hash, listed.device_id), (Some(compose_hash()), Some(device(6))));
    assert_eq!((listed.created_at, &listed.node_id), (replica.created_at, &replica.node_id));
    let calls: Vec<_> = scene.cloud.commit_log().iter().map(|call| call.status).collect();
    assert_eq!(calls, [465, 465, 200]);
}

#[tokio::test]
async fn a_preparation_reads_the_same_in_every_shape() {
    let scene = Scene::set().await;
    for (nested, prefixed) in [(false, false), (false, true), (true, false), (true, true)] {
        scene.switch(json!({ "nest_details": nested, "prefix_hashes": prefixed }));
        let prepared = prepare(&scene.client()).await;
        let issued = scene.last_issued();
        assert_eq!(prepared.commit_token.secret().expose_secret(), issued.token);
        assert_eq!((prepared.compose_hash, prepared.device_id), (issued.compose_hash, device(6)));
        assert_eq!(prepared.source_cvm.unwrap(), source());
        assert_eq!(prepared.chain_id, Some(ChainId::BASE));
    }
}

#[tokio::test]
async fn a_dead_token_is_told_from_a_live_one() {
    let scene = Scene::set().await;
    let client = scene.client();
    scene.approve().await;
    let mut prepared = prepare(&client).await;

    let right = prepared.compose_hash;
    prepared.compose_hash = ComposeHash(B256::ZERO);
    refused(commit(&client, &prepared, REGISTERED).await, 466, Class::Prepare);
    prepared.compose_hash = right;

    let newer = prepare(&client).await;
    let superseded = refused(commit(&client, &prepared, REGISTERED).await, 466, Class::Prepare);
    assert!(superseded.message.contains("superseded"), "{superseded}");

    scene.switch(json!({ "advance_seconds": 14 * 86_400 }));
    let expired = refused(commit(&client, &newer, REGISTERED).await, 466, Class::Prepare);
    assert!(expired.message.contains("expired"), "{expired}");

    let fresh = prepare(&client).await;
    commit(&client, &fresh, REGISTERED).await.unwrap();
    let used = refused(commit(&client, &fresh, REGISTERED).await, 466, Class::Prepare);
    assert!(used.message.contains("used") && used.request_id.is_some(), "{used}");

    let unknown = Prepared { commit_token: CommitToken::parse("guessed").unwrap(), ..fresh };
    refused(commit(&client, &unknown, REGISTERED).await, 466, Class::Prepare);
    assert_eq!(scene.cloud.instances().len(), 2);
}

#[tokio::test]
async fn tokens_of_one_source_can_live_side_by_side() {
    let scene = Scene::set().await;
    scene.switch(json!({ "supersede_per_source": false }));
    scene.approve().await;
    let client = scene.client();
    let (first, second) = (prepare(&client).await, prepare(&client).await);
    commit(&client, &first, REGISTERED).await.unwrap();
    commit(&client, &second, REGISTERED).await.unwrap();
    assert_eq!(scene.cloud.instances().len(), 3);
}

#[tokio::test]
async fn evidence_has_to_be_the_transaction_that_added_the_hash() {
    let scene = Scene::set().await;
    let client = scene.client();
    let prepared = prepare(&client).await;
    let device_only = scene.add_device(device(6)).await;
    let not_yet = commit(&client, &prepared, CommitEvidence::Transaction(device_only)).await;
    refused(not_yet, 468, Class::Ask);
    let added = scene.add_compose(compose_hash()).await;
    for wrong in [device_only, TxHash(B256::repeat_byte(7))] {
        let outcome = commit(&client, &prepared, CommitEvidence::Transaction(wrong)).await;
        refused(outcome, 467, THEIR_VIEW);
    }
    scene.switch(json!({ "verification_lag": 1 }));
    let evidence = CommitEvidence::Transaction(added);
    refused(commit(&client, &prepared, evidence).await, 467, THEIR_VIEW);
    commit(&client, &prepared, evidence).await.unwrap();
}

#[tokio::test]
async fn the_server_says_how_long_to_wait() {
    let scene = Scene::set().await;
    let client = scene.client();
    scene.approve().await;
    let prepared = prepare(&client).await;
    scene.switch(json!({ "fail_next": [
        { "endpoint": "commit", "status": 503, "retry_after": 7, "times": 2 },
        { "endpoint": "prepare", "status": 429, "retry_after": "Fri, 31 Dec 9999 23:59:59 GMT" },
        { "endpoint": "instances", "status": 400, "code": "ERR-04-001" },
        { "endpoint": "cvm", "status": 502 },
    ] }));
    for _ in 0..2 {
        let busy = refused(commit(&client, &prepared, REGISTERED).await, 503, Class::RetryNow);
        assert_eq!(busy.retry_after, Some(Duration::from_secs(7)));
    }
    let outcome = client.prepare_replica(&source(), None, None).await;
    let slow = refused(outcome, 429, Class::RetryNow);
    assert_eq!(slow.retry_after, Some(Duration::from_hours(1)), "a date, held to an hour");
    refused(client.instances(AppId(APP)).await, 400, Class::Ask);
    let broken = refused(client.cvm(&source()).await, 502, Class::RetryNow);
    assert!(broken.may_have_acted());
    commit(&client, &prepared, REGISTERED).await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_leaves_a_replica_that_can_be_found() {
    let scene = Scene::set().await;
    let client = scene.client();
    scene.approve().await;
    let prepared = prepare(&client).await;
    let before = client.instances(AppId(APP)).await.unwrap();
    scene.switch(json!({ "swallow_next_commit": 1 }));
    let lost = commit(&client, &prepared, REGISTERED).await.unwrap_err();
    assert!(matches!(lost, PhalaError::NoAnswer { .. }) && lost.may_have_acted(), "{lost:?}");
    let after = client.instances(AppId(APP)).await.unwrap();
    let new: Vec<_> = after.iter().filter(|it| before.iter().all(|old| old.id != it.id)).collect();
    assert_eq!(new.len(), 1);
    assert_eq!(scene.cloud.commit_log()[0].created.unwrap().to_string(), new[0].id.as_str());
    refused(commit(&client, &prepared, REGISTERED).await, 466, Class::Prepare);
    assert_eq!(scene.cloud.instances().len(), 2);
}

#[tokio::test]
async fn two_commits_at_once_make_one_replica() {
    let scene = Scene::set().await;
    scene.approve().await;
    let (client, other) = (scene.client(), scene.client_with(None));
    let prepared = prepare(&client).await;
    let outcomes =
        tokio::join!(commit(&client, &prepared, REGISTERED), commit(&other, &prepared, REGISTERED));
    assert_ne!(outcomes.0.is_ok(), outcomes.1.is_ok());
    assert_eq!(scene.cloud.instances().len(), 2);
}

#[tokio::test]
async fn a_replica_made_without_approval_is_an_error() {
    let scene = Scene::set().await;
    scene.switch(json!({ "created_on_prepare": true }));
    let outcome = scene.client().prepare_replica(&source(), None, None).await;
    let Err(PhalaError::CreatedWithoutApproval { replica }) = outcome else {
        panic!("expected the alarm, got {outcome:?}");
    };
    let made = scene.cloud.instances().pop().unwrap().id;
    assert_eq!(replica.unwrap().as_str(), made.to_string());
}

#[tokio::test]
async fn an_unreadable_chain_is_not_an_unregistered_one() {
    let mut scene = Scene::set().await;
    let client = scene.client();
    let prepared = prepare(&client).await;
    scene.lose_chain();
    refused(commit(&client, &prepared, REGISTERED).await, 503, Class::RetryNow);
}

#[tokio::test]
async fn a_commit_that_never_left_is_told_from_a_lost_one() {
    let scene = Scene::set().await;
    let client = scene.client();
    let prepared = prepare(&client).await;
    scene.cloud.shutdown().await;
    let outcome = commit(&client, &prepared, REGISTERED).await.unwrap_err();
    assert!(matches!(outcome, PhalaError::NotSent { .. }), "{outcome:?}");
    assert!(!outcome.may_have_acted());
    let told = format!("{outcome:?} {outcome}");
    assert!(!told.contains(prepared.commit_token.secret().expose_secret()));
}

#[tokio::test]
async fn the_token_alone_commits_and_the_key_does_the_rest() {
    let scene = Scene::set().await;
    scene.approve().await;
    let prepared = prepare(&scene.client()).await;
    let stranger = scene.client_with(None);
    stranger.ping().await.unwrap();
    refused(stranger.cvm(&source()).await, 401, Class::Ask);
    refused(stranger.instances(AppId(APP)).await, 401, Class::Ask);
    commit(&stranger, &prepared, REGISTERED).await.unwrap();
}

#[tokio::test]
async fn room_can_run_out_between_prepare_and_commit() {
    let scene = Scene::set().await;
    scene.approve().await;
    let client = scene.client();
    let prepared = prepare(&client).await;
    scene.switch(json!({ "capacity": 0 }));
    refused(commit(&client, &prepared, REGISTERED).await, 400, ROOM);
    scene.switch(json!({ "capacity": null }));
    commit(&client, &prepared, REGISTERED).await.unwrap();
}

#[tokio::test]
async fn a_registered_replica_can_boot_wrong_or_not_at_all() {
    let scene = Scene::set().await;
    scene.approve().await;
    let client = scene.client();
    let other = "c".repeat(64);
    scene.switch(json!({ "boot_error": "OS image not allowed", "boot_compose_hash": other,
        "node_device": { "id": 6, "device_id": other } }));
    let moved = prepare(&client).await;
    assert_eq!(moved.device_id, other.parse::<DeviceId>().unwrap());
    scene.switch(json!({ "node_device": { "id": 6, "device_id": device(6) } }));
    let replica = commit(&client, &prepare(&client).await, REGISTERED).await.unwrap();
    client.boot(&replica.id).await.unwrap();
    client.boot(&replica.id).await.unwrap();
    let boot = client.boot(&replica.id).await.unwrap();
    assert_eq!(
        (boot.status.as_str(), boot.error.as_deref()),
        ("error", Some("OS image not allowed"))
    );
    let cvm = client.cvm(&replica.id.as_str().parse().unwrap()).await.unwrap();
    assert_eq!(cvm.compose_hash, Some(other.parse().unwrap()));
}

#[tokio::test]
async fn every_spelling_of_an_id_finds_its_cvm() {
    let scene = Scene::set().await;
    let client = scene.client();
    let app = alloy::hex::encode(APP);
    for name in [SOURCE.replace('-', ""), format!("app_{app}"), app.clone(), "payments-api".into()]
    {
        let found = client.cvm(&name.parse::<SourceCvm>().unwrap()).await.unwrap();
        assert_eq!(found.vm_uuid, source());
    }
    scene.approve().await;
    commit(&client, &prepare(&client).await, REGISTERED).await.unwrap();
    let ambiguous = refused(client.cvm(&app.parse().unwrap()).await, 400, Class::GiveUp);
    assert_eq!(ambiguous.code.as_deref(), Some("ERR-03-010"));
    let nodes = client.nodes().await.unwrap();
    assert_eq!(nodes[1].device_ids, [device(6)]);
}

#[tokio::test]
async fn the_switches_are_reached_over_http_and_tell_the_record() {
    let scene = Scene::set().await;
    let url = format!("{}/_control", scene.cloud.origin());
    let http = Api::bare();
    let changed = http.post(&url).json(&json!({ "capacity": 3, "advance_seconds": 60 })).send();
    assert_eq!(changed.await.unwrap().status(), 200);
    let wrong = http.post(&url).json(&json!({ "capacitty": 3 })).send().await.unwrap();
    assert_eq!(wrong.status(), 422);
    scene.approve().await;
    let client = scene.client();
    let prepared = prepare(&client).await;
    commit(&client, &prepared, REGISTERED).await.unwrap();
    let text = http.get(&url).send().await.unwrap().text().await.unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["switches"]["capacity"], 2);
    assert_eq!(record["instances"].as_array().unwrap().len(), 2);
    assert_eq!(record["commits"][0]["created"], record["instances"][1]["id"]);
    assert!(!text.contains(prepared.commit_token.secret().expose_secret()));
}

/// The two halves of the command line tool expect two shapes.
#[tokio::test]
async fn the_older_api_version_gets_its_older_shape() {
    let scene = Scene::set().await;
    let request = Api::bare().get(format!("{}/cvms/{SOURCE}", scene.cloud.api_prefix()));
    let request = request.header("X-API-Key", scene.cloud.api_key());
    let newer = request.try_clone().unwrap().header("X-Phala-Version", "2026-01-21");
    let older = request.header("X-Phala-Version", "2025-10-28");
    let newer: serde_json::Value = newer.send().await.unwrap().json().await.unwrap();
    let older: serde_json::Value = older.send().await.unwrap().json().await.unwrap();
    assert!(newer["id"].is_string() && newer["gateway"].is_object());
    assert!(older["id"].is_number() && older["teepod_id"] == 5);
    assert_eq!(older["kms_info"]["chain_id"], 8453);
}
