//! The chain reorganises, lags, lies and falls silent: nothing is committed that is not registered,
//! and what is not readable is never "no" (invariants I1 and I5).

use countersign::config::DepthPolicy;
use serde_json::{Value, json};

use crate::world::{
    Api, DEPTH, World, eventually,
    line::{Fault, Line},
};

async fn approved(world: &World, api: &Api) -> String {
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    world.sign(api, &id).await;
    id
}

async fn executed(world: &World, api: &Api) -> String {
    let id = approved(world, api).await;
    world.execute(api, &id).await;
    api.wait_for(&id, "executed").await;
    id
}

async fn assert_runs_once(world: &World, api: &Api, id: &str) {
    api.wait_for(id, "running").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
}

#[tokio::test]
async fn an_execution_that_a_reorganisation_took_is_retracted_and_can_be_repeated() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = executed(&world, api).await;
    world.town.chain.rpc.reorg(1).await.unwrap();
    let retracted = api.last_told(&id, "retracted").await;
    assert!(retracted["reason"].as_str().unwrap().contains("reorganised"), "{retracted}");
    let request = api.wait_for(&id, "approved").await;
    assert_eq!(request["executed"], json!(null));
    let app = world.town.chain.app;
    eventually("the ledger to hold the one device that is left", async || {
        let ledger = api.get(&format!("/v1/apps/8453/{app}/ledger")).await.body;
        let added = |entry: &&Value| entry["kind"] == "device_added";
        (ledger.as_array()?.iter().filter(added).count() == 1).then_some(())
    })
    .await;

    world.mine(DEPTH).await;
    world.look_again().await;
    api.wait_for_reason(&id, "anyone may execute").await;
    assert_eq!(world.town.cloud.commit_log().len(), 0, "what is gone is not committed");
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_head_that_goes_back_is_a_node_that_lags_until_the_chain_differs() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = executed(&world, api).await;
    world.town.chain.rpc.rollback(1).await.unwrap();
    world.look_again().await;
    api.wait_for_reason(&id, "cannot read").await;
    assert_eq!(api.request(&id).await["status"], "executed", "a lagging node takes nothing back");

    world.mine(DEPTH).await;
    api.last_told(&id, "retracted").await;
    api.wait_for(&id, "approved").await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

/// A world whose only endpoint is reached over a line.
async fn over_a_line() -> (World, Line) {
    let mut world = World::new().await;
    let line = Line::to(world.town.chain.rpc_url()).await;
    world.settings.chains[0].rpc = vec![line.near()];
    (world, line)
}

/// Trouble on the line while everything happens that should lead to a commit.
async fn waits_and_recovers(fault: Fault, reason: &str) {
    let (world, line) = over_a_line().await;
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    let call = api.proposal(&id).await["execution"].clone();
    line.set(fault);
    world.send(&call).await;
    world.mine(DEPTH).await;
    world.clock.pass(chrono::TimeDelta::minutes(2));
    world.look_again().await;
    let request = api.wait_for_reason(&id, reason).await;
    assert_eq!(request["status"], "approved", "{request:#}");
    let ready = api.get("/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.text);

    line.set(Fault::None);
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_dead_endpoint_is_waited_for() {
    waits_and_recovers(Fault::Cut, "does not answer").await;
}

#[tokio::test]
async fn an_endpoint_that_talks_nonsense_is_waited_for() {
    waits_and_recovers(Fault::Answers("{\"weather\": \"fine\"}"), "cannot read").await;
    waits_and_recovers(Fault::Answers("<html>"), "cannot read").await;
}

#[tokio::test]
async fn an_endpoint_that_says_yes_to_everything_is_not_believed() {
    let yes = "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":\"0x1\"}";
    waits_and_recovers(Fault::Answers(yes), "cannot read").await;
}

#[tokio::test]
async fn an_endpoint_that_comes_back_on_another_chain_is_refused() {
    let (world, line) = over_a_line().await;
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    let call = api.proposal(&id).await["execution"].clone();
    world.send(&call).await;
    line.set(Fault::Cut);
    world.look_again().await;
    api.wait_for_reason(&id, "does not answer").await;
    world.town.chain.rpc.set_chain_id(1).await.unwrap();
    world.mine(DEPTH).await;
    line.set(Fault::None);
    world.look_again().await;
    api.wait_for_reason(&id, "is on chain 1, not on").await;
    assert_eq!(world.town.cloud.commit_log().len(), 0);

    world.town.chain.rpc.set_chain_id(8453).await.unwrap();
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn two_endpoints_must_agree_and_one_is_not_two() {
    let mut world = World::new().await;
    let direct = world.town.chain.rpc_url().clone();
    let line = Line::to(&direct).await;
    world.settings.chains[0].rpc = vec![direct, line.near()];
    world.settings.chains[0].quorum = 2;
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    line.set(Fault::Cut);
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    world.look_again().await;
    api.wait_for_reason(&id, "1 of 2 endpoints answered, 2 must agree").await;
    assert_eq!(world.town.cloud.commit_log().len(), 0);
    line.set(Fault::None);
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn two_of_three_endpoints_are_enough() {
    let mut world = World::new().await;
    let direct = world.town.chain.rpc_url().clone();
    let (dead, other) = (Line::to(&direct).await, Line::to(&direct).await);
    dead.set(Fault::Cut);
    world.settings.chains[0].rpc = vec![dead.near(), other.near(), direct];
    world.settings.chains[0].quorum = 2;
    let running = world.start().await;
    let id = executed(&world, &running.api).await;
    world.mine(DEPTH).await;
    assert_runs_once(&world, &running.api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn the_depth_may_be_what_the_chain_calls_safe_or_finalized() {
    for depth in [DepthPolicy::Safe, DepthPolicy::Finalized] {
        let mut world = World::new().await;
        world.settings.chains[0].depth = depth;
        let running = world.start().await;
        let id = executed(&world, &running.api).await;
        running.api.wait_for_reason(&id, &format!("until the chain calls it {depth}")).await;
        world.mine(DEPTH).await;
        assert_runs_once(&world, &running.api, &id).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn what_is_taken_back_before_the_commit_is_not_committed() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = executed(&world, api).await;
    let remove = alloy::sol_types::SolCall::abi_encode(&removeDeviceCall {
        deviceId: world.town.nodes[1].device_id.0,
    });
    world.as_the_safe(world.town.chain.app.0, remove.into()).await;
    world.mine(DEPTH).await;
    let retracted = api.last_told(&id, "retracted").await;
    assert!(retracted["reason"].as_str().unwrap().contains("no longer allows"), "{retracted}");
    api.wait_for(&id, "proposed").await;
    assert_eq!(world.town.cloud.commit_log().len(), 0);
    api.wait_to_be_woken(&id, "a signature").await;
    // It is put to the owners again, and they may well allow it again.
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

alloy::sol! {
    function removeDevice(bytes32 deviceId) external;
}
