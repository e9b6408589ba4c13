//! From `registered` to the commit on the wire, alone and with a thousand others, against the loops of
//! [`bare_loop`](crate::bare_loop).

use alloy::primitives::B256;
use chrono::{DateTime, Utc};
use countersign::{
    clock::{Clock, SystemClock},
    dstack::Write,
    request::ids::DeviceId,
    store::Store,
};
use sqlx::postgres::PgListener;

use crate::{
    bare_loop::{Care, Loop, Order},
    figures::{Figure, millis, percentile},
    world::{DEPTH, Running, World, crowd::Crowd, eventually},
};

const ROUNDS: u8 = 30;
const CROWD: usize = 1_000;
/// Enough to know the rate of the loop.
const CROWD_OF_FLOOR: usize = 200;
const WITHIN_MS: f64 = 50.0;

pub async fn figures() -> [Figure; 4] {
    let (ours, bare) = (ours().await, floor(Care::None).await);
    let careful = floor(Care::AsTheProtocol).await;
    let (rate, floor_rate) = (crowd().await, crowd_of_floor().await);
    [
        Figure::at_most(
            "`registered` announced → commit on the wire, p50, against 50 ms",
            "ms",
            ours,
            WITHIN_MS,
            1.0,
        ),
        Figure::at_most("the same, against a bare claim and POST", "ms", ours, bare, 2.0),
        Figure::at_most(
            "the same, against a loop that also reads, lists and keeps an intent",
            "ms",
            ours,
            careful,
            2.0,
        ),
        Figure::at_least(
            "1,000 requests that one block registers, committed",
            "commits/s",
            rate,
            floor_rate,
            // A token, two readings of the chain, a list and an intent come before each of ours.
            0.1,
        ),
    ]
}

/// A world of its own for each that is measured, so that each lists as many instances.
async fn world() -> World {
    let world = World::with(|options| {
        options.missing_compose = false;
        options.boot_polls = 0;
    })
    .await;
    // From here on the Safe can act in one call.
    allow(&world, DeviceId(B256::repeat_byte(u8::MAX)), true).await;
    world
}

/// The service, one request after the other, and idle in between.
async fn ours() -> f64 {
    let world = world().await;
    let running = world.start().await;
    let mut times = vec![];
    for round in 1..=ROUNDS {
        times.push(ours_alone(&world, &running, DeviceId(B256::repeat_byte(round))).await);
    }
    running.stop().await;
    percentile(&mut times, 0.5)
}

async fn floor(care: Care) -> f64 {
    let world = world().await;
    let store = world.service().await.store;
    let floor = Loop::start(&world, care).await;
    let mut times = vec![];
    for round in 1..=ROUNDS {
        let device = DeviceId(B256::repeat_byte(round));
        times.push(floor_alone(&world, &store, &floor, device).await);
    }
    floor.end();
    store.close().await;
    percentile(&mut times, 0.5)
}

async fn allow(world: &World, device: DeviceId, first: bool) {
    let (app, write) = (world.town.chain.app.0, Write::AddDevice(device).calldata());
    if first {
        world.as_the_safe(app, write).await;
    } else {
        world.again_as_the_safe(app, write).await;
    }
}

fn node(world: &World) -> u64 {
    world.town.replica_node().as_str().parse().expect("nodes have numbers here")
}

async fn ours_alone(world: &World, running: &Running, device: DeviceId) -> f64 {
    world.set_device(node(world), device);
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    allow(world, device, false).await;
    world.mine(DEPTH - 1).await;
    api.wait_for_reason(&id, "1 of 2").await;
    let changes = running.service.store.changes().await.expect("the database announces");
    let ((), announced) = tokio::join!(world.mine(1), announcement(changes, |told| told == id));
    api.wait_for(&id, "running").await;
    millis(announced, last_commit(world))
}

/// When the next change that is meant is announced.
async fn announcement(mut changes: PgListener, is_meant: impl Fn(&str) -> bool) -> DateTime<Utc> {
    loop {
        let change = changes.recv().await.expect("the database announces");
        if is_meant(change.payload()) {
            return SystemClock.now();
        }
    }
}

fn last_commit(world: &World) -> DateTime<Utc> {
    world.town.cloud.commit_log().last().expect("there was a commit").at
}

async fn floor_alone(world: &World, store: &Store, floor: &Loop, device: DeviceId) -> f64 {
    world.set_device(node(world), device);
    let prepared = world.prepare().await;
    allow(world, device, false).await;
    world.mine(DEPTH).await;
    let commits = world.town.cloud.commit_log().len();
    let changes = store.changes().await.expect("the database announces");
    let order = Order::new(world, device, world.town.source.as_str(), &prepared);
    let name = order.name.clone();
    let ((), announced) = tokio::join!(
        floor.add(std::slice::from_ref(&order)),
        announcement(changes, |told| told == name)
    );
    world.commits_arrived(commits + 1).await;
    millis(announced, last_commit(world))
}

/// Commits per second, from the first announcement on.
async fn crowd() -> f64 {
    let crowd = Crowd::gather(CROWD, true).await;
    let running = crowd.world.start().await;
    crowd.allow().await;
    crowd.submit(&running).await;
    let changes = running.service.store.changes().await.expect("the database announces");
    let first = announcement(changes, |told| !told.starts_with("head "));
    let ((), from) = tokio::join!(crowd.register(), first);
    crowd.wait_for("running").await;
    let served = crowd.served();
    assert_eq!(served.len(), CROWD, "each is committed once");
    running.stop().await;
    rate(from, served.iter().map(|(call, _)| call.at))
}

async fn crowd_of_floor() -> f64 {
    let crowd = Crowd::gather(CROWD_OF_FLOOR, false).await;
    let world = &crowd.world;
    crowd.allow().await;
    let floor = Loop::start(world, Care::None).await;
    let orders = crowd.prepared.iter().map(|one| {
        let device = DeviceId(B256::ZERO);
        Order::new(world, device, one.source_cvm.as_str(), &one.answer)
    });
    let orders: Vec<_> = orders.collect();
    floor.add(&orders).await;
    let from = SystemClock.now();
    eventually("everything to be committed", async || {
        (world.town.cloud.commit_log().len() == CROWD_OF_FLOOR).then_some(())
    })
    .await;
    floor.end();
    rate(from, world.town.cloud.commit_log().iter().map(|call| call.at))
}

fn rate(from: DateTime<Utc>, arrivals: impl Iterator<Item = DateTime<Utc>>) -> f64 {
    let arrivals: Vec<_> = arrivals.collect();
    let last = arrivals.iter().max().expect("there were commits");
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    let count = arrivals.len() as f64;
    count / millis(from, *last) * 1e3
}
