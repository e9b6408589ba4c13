//! From `registered` to the commit on the wire, alone and with a thousand others, against a loop
//! that claims a row and sends the same body, and makes sure of nothing.

use alloy::primitives::B256;
use chrono::{DateTime, Utc};
use countersign::{
    clock::{Clock, SystemClock},
    dstack::Write,
    request::ids::DeviceId,
    store::Store,
};
use serde_json::{Value, json};
use sqlx::{
    PgPool, Row,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::task::JoinHandle;

use crate::{
    figures::{Figure, millis, percentile},
    world::{Api, DEPTH, Running, World, crowd::Crowd, eventually},
};

const ROUNDS: u8 = 60;
const CROWD: usize = 1_000;
/// Enough to know the rate of the loop.
const CROWD_OF_FLOOR: usize = 200;
const WITHIN_MS: f64 = 50.0;
const CHANNEL: &str = "countersign_changes";
/// Above those that the service is given.
const FLOOR_DEVICES: u8 = 0x80;

pub async fn figures() -> [Figure; 3] {
    let (ours, floor) = alone().await;
    println!("`registered` → commit: {ours:.1} ms, with the bare loop {floor:.1} ms");
    let (rate, floor_rate) = (crowd().await, crowd_of_floor().await);
    [
        Figure::at_most(
            "`registered` announced → commit on the wire, p50, against 50 ms",
            "ms",
            ours,
            WITHIN_MS,
            1.0,
        ),
        Figure::at_most("the same, against a bare claim and POST", "ms", ours, floor, 2.0),
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

/// The times of both, one request after the other on an idle service.
async fn alone() -> (f64, f64) {
    let world = World::with(|options| {
        options.missing_compose = false;
        options.boot_polls = 0;
    })
    .await;
    let store = world.service().await.store;
    // From here on the Safe can act in one call.
    allow(&world, DeviceId(B256::repeat_byte(u8::MAX)), true).await;
    let floor = Loop::start(&world).await;
    let mut floor_times = vec![];
    for round in 0..ROUNDS {
        let device = DeviceId(B256::repeat_byte(FLOOR_DEVICES + round));
        floor_times.push(floor_alone(&world, &store, &floor, device).await);
    }
    floor.end();
    let running = world.start().await;
    let mut times = vec![];
    for round in 1..=ROUNDS {
        times.push(ours_alone(&world, &running, DeviceId(B256::repeat_byte(round))).await);
    }
    running.stop().await;
    store.close().await;
    (percentile(&mut times, 0.5), percentile(&mut floor_times, 0.5))
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
    let commits = world.town.cloud.commit_log().len();
    let changes = store.changes().await.expect("the database announces");
    let source = world.town.source.as_str();
    let name = device.to_string();
    let body = body(world, &World::token_of(&prepared));
    let rows = [(name.clone(), url(world, source), body)];
    let ((), announced) =
        tokio::join!(floor.add(&rows), announcement(changes, |told| told == name));
    world.commits_arrived(commits + 1).await;
    millis(announced, last_commit(world))
}

fn url(world: &World, source: &str) -> String {
    format!("{}/cvms/{source}/commit-replica", world.town.cloud.api_prefix())
}

/// What the service sends.
fn body(world: &World, token: &str) -> Value {
    json!({
        "token": token,
        "compose_hash": world.town.compose_hash,
        "transaction_hash": "already-registered",
    })
}

/// The least that anybody must do: hear of a row, claim it, send it.
struct Loop {
    connections: PgPool,
    task: JoinHandle<()>,
}

impl Loop {
    async fn start(world: &World) -> Self {
        let connections = PgPoolOptions::new().connect_with(world.database.options()).await;
        let connections = connections.expect("the database is there");
        let table = "create table floor (name text primary key, place serial, url text not null,
            body jsonb not null, claimed_at timestamptz)";
        sqlx::raw_sql(table).execute(&connections).await.expect("a table is made");
        let mut changes = PgListener::connect_with(&connections).await.expect("it listens");
        changes.listen(CHANNEL).await.expect("it listens");
        let task = tokio::spawn(claim_and_post(connections.clone(), changes));
        Self { connections, task }
    }

    /// Adds rows and announces each, in one transaction.
    async fn add(&self, rows: &[(String, String, Value)]) {
        let mut tx = self.connections.begin().await.expect("a transaction");
        for (name, url, body) in rows {
            let insert = "with row as (insert into floor (name, url, body) values ($1, $2, $3))
                select pg_notify($4, $1)";
            let insert = sqlx::query(insert).bind(name).bind(url).bind(body).bind(CHANNEL);
            insert.execute(&mut *tx).await.expect("a row is added");
        }
        tx.commit().await.expect("it is kept");
    }

    fn end(self) {
        self.task.abort();
    }
}

async fn claim_and_post(connections: PgPool, mut changes: PgListener) {
    let http = Api::bare();
    loop {
        let mut tx = connections.begin().await.expect("a transaction");
        let claim = "update floor set claimed_at = now() where name =
            (select name from floor where claimed_at is null order by place limit 1
             for update skip locked)
            returning url, body";
        let row = sqlx::query(claim).fetch_optional(&mut *tx).await.expect("it is claimed");
        tx.commit().await.expect("it is kept");
        let Some(row) = row else {
            changes.recv().await.expect("the database announces");
            continue;
        };
        let (url, body): (String, Value) = (row.get(0), row.get(1));
        let answer = http.post(url).json(&body).send().await.expect("the emulator answers");
        assert!(answer.status().is_success(), "the emulator commits");
    }
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
    let floor = Loop::start(world).await;
    let rows = crowd.prepared.iter().map(|one| {
        let token = World::token_of(&one.answer);
        (token.clone(), url(world, one.source_cvm.as_str()), body(world, &token))
    });
    let rows: Vec<_> = rows.collect();
    floor.add(&rows).await;
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
