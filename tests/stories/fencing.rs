//! What must not happen although everything would allow it: a worker that was overtaken writes, a
//! late replica is made twice, an answer that does not read counts as no.

use chrono::TimeDelta;
use countersign::{
    devnet::cloud::SwitchChange,
    flow::Service,
    intake,
    request::{Request, event::Event, ids::RequestId, status::Status},
    store::{
        StoreError,
        intake::Stored,
        journal::Actor,
        lease::{Lane, Rest},
    },
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{
    DEPTH, World, eventually,
    line::{Fault, Line},
};

/// Takes in a preparation without HTTP.
async fn accept(service: &Service, submission: &Value) -> Request {
    let now = service.clock.now();
    let chains = [service.settings.chains[0].id];
    let submission = intake::read(submission, &chains, now).expect("it is well formed");
    let actor = Actor::service("story");
    let (store, id) = (&service.store, RequestId(Uuid::now_v7()));
    let stored = intake::accept(store, &service.vault, id, &submission, &actor, now).await;
    match stored.expect("it is stored") {
        Stored::Opened(request) | Stored::Renewed(request) => request,
        other => panic!("neither new nor newer: {other:?}"),
    }
}

async fn told(service: &Service, id: RequestId) -> Vec<String> {
    let page = service.store.journal_page(Some(id), None, 100).await.expect("the journal reads");
    page.into_iter().rev().map(|entry| entry.kind).collect()
}

#[tokio::test]
async fn a_worker_that_was_overtaken_or_is_late_cannot_write() {
    let world = World::new().await;
    let service = world.service().await;
    let store = &service.store;
    let request = accept(&service, &world.submission(&world.prepare().await)).await;
    let (now, minute) = (service.clock.now(), TimeDelta::minutes(1));
    let (first, _) =
        store.claim(Lane::Others, now, now + minute).await.unwrap().expect("it is due");
    let later = now + minute + minute;
    let (second, _) =
        store.claim(Lane::Others, later, later + minute).await.unwrap().expect("it ran out");

    let rest = Rest { until: later, reason: None, failing: false };
    let event = Event::AttentionNeeded { reason: "a story".into(), about: vec![] };
    let actor = Actor::service("story");
    let write = async |lease, at| store.record(request.id, Some(lease), &actor, &event, at).await;
    assert!(matches!(write(&first, later).await, Err(StoreError::LeaseLost)), "overtaken");
    assert!(matches!(store.release(&first, &rest).await, Err(StoreError::LeaseLost)));
    let too_late = later + minute + minute;
    assert!(matches!(write(&second, too_late).await, Err(StoreError::LeaseLost)), "late");
    write(&second, later).await.expect("the lease is held");
    assert_eq!(told(&service, request.id).await, ["opened", "attention_needed"]);
}

#[tokio::test]
async fn a_late_replica_of_an_earlier_commit_is_taken_though_the_token_is_new_by_then() {
    let mut world = World::new().await;
    let both_tokens_live: SwitchChange =
        serde_json::from_value(json!({ "supersede_per_source": false })).expect("a switch");
    world.town.cloud.control(both_tokens_live);
    let line = Line::to(&world.settings.phala_api_prefix).await;
    let direct = std::mem::replace(&mut world.settings.phala_api_prefix, line.near());
    let running = world.start().await;
    let id = running.api.submit(&world.submission(&world.prepare().await)).await;
    world.sign(&running.api, &id).await;
    line.set(Fault::Delays("commit-replica"));
    world.execute(&running.api, &id).await;
    world.mine(DEPTH).await;
    line.caught_one().await;
    running.kill().await;

    world.leases_run_out().await;
    world.settings.phala_api_prefix = direct;
    let service = world.service().await;
    let id: RequestId = id.parse().unwrap();
    eventually("the commit to count as without effect", async || {
        service.work_once().await.expect("the database answers");
        told(&service, id).await.contains(&"commit_refused".to_owned()).then_some(())
    })
    .await;
    assert_eq!(accept(&service, &world.submission(&world.prepare().await)).await.id, id);
    line.set(Fault::None);
    world.commits_arrived(1).await;

    eventually("the replica to run", async || {
        service.work_once().await.expect("the database answers");
        let request = service.store.request(id).await.expect("it is there");
        (request.status() == Status::Running).then_some(())
    })
    .await;
    assert_eq!((world.replicas(), world.town.cloud.commit_log().len()), (1, 1));
}

#[tokio::test]
async fn an_answer_that_does_not_read_takes_nothing_back() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    api.wait_for(&id, "executed").await;

    let (rpc, app) = (&world.town.chain.rpc, world.town.chain.app.0);
    let code = rpc.code(app).await.expect("the app has code");
    // Answers 2 to every question: neither yes nor no.
    rpc.set_code(app, &"0x600260005260206000f3".parse().unwrap()).await.expect("anvil obeys");
    world.mine(DEPTH).await;
    api.wait_for_reason(&id, "does not read").await;
    assert_eq!(api.request(&id).await["status"], "executed");

    rpc.set_code(app, &code).await.expect("anvil obeys");
    world.mine(DEPTH).await;
    api.wait_for(&id, "running").await;
    assert!(!api.told(&id).await.contains(&"retracted".to_owned()));
    running.stop().await;
}
