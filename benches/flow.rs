//! How fast the service is, as ratios against a floor measured in the same run on the same machine.
//!
//! Prints a table and writes `target/bench/results.json`.

#[path = "../tests/world/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the stories use the rest of the world")]
mod world;

#[path = "flow/backfill.rs"]
mod backfill;
#[path = "flow/bare_loop.rs"]
mod bare_loop;
#[path = "flow/bare_proxy.rs"]
mod bare_proxy;
#[path = "flow/commit.rs"]
mod commit;
#[path = "flow/confirm.rs"]
mod confirm;
#[path = "flow/figures.rs"]
mod figures;
#[path = "flow/follow.rs"]
mod follow;
#[path = "flow/gateway.rs"]
mod gateway;
#[path = "flow/reads.rs"]
mod reads;
#[path = "flow/scale.rs"]
mod scale;

use alloy::{primitives::B256, providers::Provider, rpc::types::Filter};
use countersign::{
    clock::{Clock, SystemClock},
    devnet::cloud::SwitchChange,
    request::{
        facts::BlockRef,
        ids::{ComposeHash, DeviceId},
    },
};
use figures::{Figure, millis, percentile, report};
use serde_json::json;
use world::{DEPTH, Running, World, eventually};

const ROUNDS: u8 = 20;
const READS: u32 = 500;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_some_and(|first| first == bare_proxy::ARGUMENT) {
        world::install_tls();
        return bare_proxy::serve(arguments.next().expect("what it leads to")).await;
    }
    // Names of parts on the command line choose; cargo adds `--bench`.
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let is_chosen = |part: &str| chosen.is_empty() || chosen.iter().any(|one| one == part);
    let mut figures = vec![];
    if is_chosen("follow") {
        figures.extend(follow::figures().await);
    }
    if is_chosen("backfill") {
        figures.push(backfill::figure().await);
    }
    if is_chosen("commit") {
        figures.extend(commit::figures().await);
    }
    if is_chosen("confirm") {
        figures.push(confirm::figure().await);
    }
    if is_chosen("gateway") {
        figures.extend(gateway::figures().await);
    }
    if is_chosen("reads") {
        figures.extend(reads::figures().await);
    }
    if is_chosen("scale") {
        figures.extend(scale::figures().await);
    }
    if is_chosen("flow") {
        figures.extend(flow().await);
    }
    report(&figures);
}

/// The whole way of a commit, and reading.
async fn flow() -> [Figure; 3] {
    let world = World::with(|options| options.missing_compose = false).await;
    let running = world.start().await;
    let mut ours = vec![];
    let mut floor = vec![];
    for round in 1..=ROUNDS {
        ours.push(depth_to_commit(&world, &running, round).await);
        floor.push(bare_depth_to_post(&world, round).await);
    }
    let (mut reads, mut selects) = (vec![], vec![]);
    for _ in 0..READS {
        reads.push(read_over_http(&running).await);
        selects.push(read_from_store(&running).await);
    }
    running.stop().await;
    [
        Figure::at_most(
            "block that completes the depth → commit on the wire, p50",
            "ms",
            percentile(&mut ours, 0.5),
            percentile(&mut floor, 0.5),
            2.0,
        ),
        Figure::at_most(
            "block that completes the depth → commit on the wire, p95",
            "ms",
            percentile(&mut ours, 0.95),
            percentile(&mut floor, 0.95),
            5.0,
        ),
        Figure::at_most(
            "GET one request with its timeline, p50",
            "ms",
            percentile(&mut reads, 0.5),
            percentile(&mut selects, 0.5),
            4.0,
        ),
    ]
}

/// From the block that makes an approved device deep enough to the arrival of the commit.
async fn depth_to_commit(world: &World, running: &Running, round: u8) -> f64 {
    let device = DeviceId(B256::repeat_byte(round));
    let node = world.town.replica_node();
    let change: SwitchChange =
        serde_json::from_value(json!({ "node_device": { "id": node.as_str().parse::<u64>().unwrap(), "device_id": device } }))
            .expect("a switch of the emulator");
    world.town.cloud.control(change);
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    api.wait_for(&id, "executed").await;
    world.mine(DEPTH - 1).await;
    let commits = world.town.cloud.commit_log().len();
    let from = SystemClock.now();
    world.mine(1).await;
    let commit =
        eventually("the commit", async || world.town.cloud.commit_log().get(commits).cloned())
            .await;
    api.wait_for(&id, "running").await;
    millis(from, commit.at)
}

/// The least that anybody must do: notice the block by polling as often, read its logs, read the
/// three values, send one POST.
///
/// The block comes at another moment between two polls in each round, as it does for the service.
async fn bare_depth_to_post(world: &World, round: u8) -> f64 {
    let settings = &world.settings.chains[0];
    let chain = countersign::chain::Chain::new(settings.clone(), &world::Api::bare());
    let provider = world.town.chain.rpc.provider();
    let app = world.town.chain.app;
    let known = provider.get_block_number().await.unwrap();
    let http = world::Api::bare();
    let url = format!("{}/cvms/x/commit-replica", world.town.cloud.api_prefix());
    let mut poll = tokio::time::interval(settings.poll);
    poll.tick().await;
    tokio::time::sleep(settings.poll.mul_f64(f64::from(round) / f64::from(ROUNDS + 1))).await;
    let from = SystemClock.now();
    world.mine(1).await;
    let head: BlockRef = loop {
        poll.tick().await;
        let head = chain.head().await.unwrap().block;
        if head.number > known {
            break head;
        }
    };
    let filter = Filter::new().address(app.0).from_block(head.number).to_block(head.number);
    provider.get_logs(&filter).await.unwrap();
    let deep = chain.deep_block(head).await.unwrap().unwrap();
    let (compose, device) = (ComposeHash(B256::ZERO), DeviceId(B256::ZERO));
    chain.allowed(app, compose, device, deep.block).await.unwrap();
    http.post(url).json(&json!({})).send().await.unwrap();
    millis(from, SystemClock.now())
}

async fn any_request(running: &Running) -> String {
    let list = running.api.get("/v1/requests?limit=1").await;
    list.body["requests"][0]["id"].as_str().unwrap().to_owned()
}

async fn read_over_http(running: &Running) -> f64 {
    let id = any_request(running).await;
    let from = SystemClock.now();
    running.api.request(&id).await;
    millis(from, SystemClock.now())
}

/// The same rows, without HTTP.
async fn read_from_store(running: &Running) -> f64 {
    let id = any_request(running).await.parse().unwrap();
    let store = &running.service.store;
    let from = SystemClock.now();
    store.request(id).await.unwrap();
    store.journal_page(Some(id), None, 500).await.unwrap();
    millis(from, SystemClock.now())
}
