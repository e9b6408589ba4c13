//! Something stands still or lags at the worst moment: what was read gets old, an endpoint falls
//! behind, an instance stops inside a transaction, boots are slow, a connection breaks as a request
//! is given back. Nothing is committed on old news, and nobody waits for what stands still.

use std::sync::Arc;

use alloy::providers::Provider;
use chrono::TimeDelta;
use countersign::{
    config::DepthPolicy,
    dstack::Write,
    flow::Service,
    request::{ids::RequestId, status::Status},
};
use serde_json::json;
use sqlx::{PgConnection, Row};

use crate::world::{
    World,
    crowd::Crowd,
    eventually,
    line::{Fault, Line},
    node::{Manner, Node},
};

/// A request that is registered, as nothing could be listed until the service was killed; the
/// service after that is driven by hand.
async fn registered(world: &World) -> (Arc<Service>, RequestId) {
    let refused = json!({ "fail_next": [{ "endpoint": "instances", "status": 503, "times": 99 }] });
    world.switch(refused);
    let running = world.start().await;
    let id = world.carry(&running.api, &world.submission(&world.prepare().await)).await;
    running.api.wait_for(&id, "registered").await;
    running.kill().await;
    world.switch(json!({ "fail_next": [] }));
    world.leases_run_out().await;
    world.look_again().await;
    (Arc::new(world.service().await), id.parse().unwrap())
}

async fn work(service: &Service) {
    assert!(service.work_once().await.expect("the database answers"), "a request is due");
}

async fn told(service: &Service, id: RequestId) -> Vec<String> {
    let page = service.store.journal_page(Some(id), None, 100).await.expect("the journal reads");
    page.into_iter().rev().map(|entry| entry.kind).collect()
}

async fn reason(world: &World) -> String {
    world.database.text("select coalesce(reason, '') from requests").await
}

/// What is due by now is worked on until the replica runs, which is the only one.
async fn runs_once(world: &World, service: &Service, id: RequestId) {
    eventually("the replica to run", async || {
        world.look_again().await;
        service.work_once().await.expect("the database answers");
        let request = service.store.request(id).await.expect("it is there");
        (request.status() == Status::Running).then_some(())
    })
    .await;
    assert_eq!((world.replicas(), world.town.cloud.commit_log().len()), (1, 1));
}

#[tokio::test]
async fn no_commit_rests_on_an_older_block_than_the_one_that_is_followed() {
    let mut world = World::new().await;
    let node = Node::before(world.town.chain.rpc_url()).await;
    world.settings.chains[0].rpc = vec![node.url()];
    let (service, id) = registered(&world).await;
    node.set(Manner::LagsBehind(1));
    work(&service).await;
    let reason = reason(&world).await;
    assert!(reason.contains("behind the block that is followed"), "{reason}");
    assert_eq!(service.store.request(id).await.unwrap().status(), Status::Registered);
    assert_eq!(world.town.cloud.commit_log().len(), 0);

    node.set(Manner::Honest);
    runs_once(&world, &service, id).await;
}

/// Waits until somebody waits for a lock, and gives the backends that do.
async fn waits_for_a_lock(connection: &mut PgConnection, statement: &str) -> Vec<i32> {
    eventually("somebody to wait for a lock", async || {
        let waiting = sqlx::query(
            "select pid from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock' and query like $1",
        );
        let waiting = waiting.bind(statement).fetch_all(&mut *connection).await.expect("it tells");
        (!waiting.is_empty()).then(|| waiting.iter().map(|row| row.get(0)).collect())
    })
    .await
}

#[tokio::test]
async fn no_commit_rests_on_what_was_read_long_ago() {
    let world = World::new().await;
    let (service, id) = registered(&world).await;
    // Nobody can write into the journal, so the intent has to wait after everything was read.
    let mut somebody = world.database.connect().await;
    let hold = "begin; lock table journal in share mode";
    sqlx::raw_sql(hold).execute(&mut somebody).await.unwrap();
    let step = tokio::spawn({
        let service = service.clone();
        async move { work(&service).await }
    });
    waits_for_a_lock(&mut world.database.connect().await, "insert into journal%").await;
    world.clock.pass(TimeDelta::seconds(20));
    sqlx::raw_sql("rollback").execute(&mut somebody).await.unwrap();
    step.await.expect("the step ends");
    assert_eq!(world.town.cloud.commit_log().len(), 0);
    let told = told(&service, id).await;
    assert_eq!(told[told.len() - 2..], ["commit_started", "commit_refused"], "{told:?}");
    assert!(reason(&world).await.contains("had become old"));

    runs_once(&world, &service, id).await;
}

#[tokio::test]
async fn an_instance_that_stands_still_inside_a_transaction_holds_up_the_others_for_seconds_only() {
    let world = World::new().await;
    let still = world.service().await;
    let running = world.start().await;
    let id = running.api.submit(&world.submission(&world.prepare().await)).await;
    running.api.wait_for(&id, "proposed").await;
    let mut transaction = still.store.begin().await.unwrap();
    let lock = sqlx::query("select from requests for update").execute(&mut *transaction);
    lock.await.unwrap();

    let path = format!("/v1/requests/{id}/withdraw");
    eventually("the request to be withdrawn", async || {
        let answer = running.api.post(&path, &json!({ "reason": "not wanted" })).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert!(transaction.commit().await.is_err(), "it was thrown out");
    running.stop().await;
}

/// Workers that do anything but commit, of one instance.
const WORKERS_FOR_BOOTS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_boots_do_not_keep_a_commit_waiting() {
    let mut crowd = Crowd::gather(2 * WORKERS_FOR_BOOTS, true).await;
    let line = Line::to(&crowd.world.settings.phala_api_prefix).await;
    crowd.world.settings.phala_api_prefix = line.near();
    // Deep enough for another execution before the first ones count.
    let depth = 8;
    crowd.world.settings.chains[0].depth = DepthPolicy::Blocks(depth);
    let running = crowd.world.start().await;
    let town = &crowd.world.town;
    let app = town.add_app().await.expect("an app is made");
    let source = town.add_source(app);
    let late = World::submission_from(&source, 6, &crowd.world.prepare_from(&source, 6).await);
    crowd.allow().await;
    let head = async || town.chain.rpc.provider().get_block_number().await.expect("a head");
    let allowed = head().await;
    crowd.submit(&running).await;
    let late = running.api.submit(&late).await;
    running.api.wait_for(&late, "proposed").await;
    let write = Write::AddDevice(town.nodes[1].device_id);
    crowd.world.again_as_the_safe(app.0, write.calldata()).await;
    running.api.wait_for(&late, "executed").await;

    running.api.documents_are_known().await;
    // Every look at an instance, and nothing else.
    line.set(Fault::Delays("GET /api/v1/cvms/"));
    crowd.world.mine(allowed + depth - head().await).await;
    crowd.world.commits_arrived(crowd.prepared.len()).await;
    eventually("all workers to wait for boots that may", async || {
        (line.caught() >= WORKERS_FOR_BOOTS).then_some(())
    })
    .await;
    assert_eq!(running.api.request(&late).await["status"], "executed");
    crowd.world.mine(depth).await;
    crowd.world.commits_arrived(crowd.prepared.len() + 1).await;
    assert_eq!(line.caught(), WORKERS_FOR_BOOTS, "no boot was given up meanwhile");
    line.set(Fault::None);
    running.api.wait_for(&late, "running").await;
    running.stop().await;
}

#[tokio::test]
async fn a_connection_that_breaks_as_a_request_is_given_back_does_not_keep_it_claimed() {
    let mut world = World::new().await;
    let line = Line::to(world.town.chain.rpc_url()).await;
    world.settings.chains[0].rpc = vec![line.near()];
    let running = world.start().await;
    let id = running.api.submit(&world.submission(&world.prepare().await)).await;
    running.api.wait_to_be_woken(&id, "a signature").await;
    running.kill().await;
    world.look_again().await;
    let service = Arc::new(world.service().await);
    line.set(Fault::Delays("eth_call"));
    let step = tokio::spawn({
        let service = service.clone();
        async move { service.work_once().await }
    });
    line.caught_one().await;
    let mut somebody = world.database.connect().await;
    let hold = "begin; select from requests for update";
    sqlx::raw_sql(hold).execute(&mut somebody).await.unwrap();
    line.set(Fault::None);
    let mut other = world.database.connect().await;
    for pid in waits_for_a_lock(&mut other, "update requests%lease_token = null%").await {
        let end = sqlx::query("select pg_terminate_backend($1)").bind(pid).execute(&mut other);
        end.await.unwrap();
    }
    sqlx::raw_sql("rollback").execute(&mut somebody).await.unwrap();
    assert!(step.await.expect("no panic").expect("it is given back all the same"));
    let claimed = "select count(*)::text from requests where lease_token is not null";
    assert_eq!(world.database.text(claimed).await, "0");
}
