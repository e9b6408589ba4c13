//! What the gateway costs its callers: a small GET through the real program against the same call made
//! directly, one at a time, and with 200 callers at once whose answers take as long as a cloud's do. These
//! begin one after the other, as callers do who know nothing of each other; and in the same moment, which
//! measures how long two cores, shared with callers and cloud, take for 200 calls that come together.
//!
//! Both are measured in turns, so that whatever else the machine does falls on both.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use axum::{Router, http::header, routing::get};
use futures::future::join_all;
use tokio::net::TcpListener;

use crate::{
    figures::{Figure, percentile},
    world::{Api, World},
};

/// What the gateway may add, at the median.
const ADDS_MAX_MS: f64 = 2.0;
const ALONE: usize = 2_000;
const CALLERS: usize = 200;
const CALLS_OF_EACH: usize = 10;
const ROUNDS: usize = 10;
/// A cloud's API is seldom faster.
const ANSWERS_AFTER: Duration = Duration::from_millis(100);

pub async fn figures() -> [Figure; 3] {
    let prefix = cloud().await;
    let mut world = World::new().await;
    world.settings.phala_api_prefix = prefix.parse().expect("an address is a URL");
    let process = world.spawn().await;
    let through = format!("{}/phala/api/v1", process.api.base());
    let client = Api::bare();
    let (mut ours, mut floor) = (vec![], vec![]);
    for _ in 0..ALONE {
        ours.push(call(&client, &through, "cvms/small").await);
        floor.push(call(&client, &prefix, "cvms/small").await);
    }
    let alone =
        added("GET through the gateway, alone: added to a direct call, p50", &mut ours, &mut floor);
    let spread = ANSWERS_AFTER / u32::try_from(CALLERS).expect("a small count");
    let name = "the same with 200 callers at once, p50";
    let crowd = crowd(name, &client, &through, &prefix, spread).await;
    let name = "the same when all 200 call in the same moment, p50";
    let burst = self::crowd(name, &client, &through, &prefix, Duration::ZERO).await;
    process.terminate().await;
    [alone, crowd, burst]
}

async fn crowd(
    name: &'static str,
    client: &reqwest::Client,
    through: &str,
    prefix: &str,
    spread: Duration,
) -> Figure {
    let (mut ours, mut floor) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        ours.extend(at_once(client, through, spread).await);
        floor.extend(at_once(client, prefix, spread).await);
    }
    added(name, &mut ours, &mut floor)
}

fn added(name: &'static str, ours: &mut [f64], floor: &mut [f64]) -> Figure {
    let (ours, floor) = (percentile(ours, 0.5), percentile(floor, 0.5));
    println!("{name}: {ours:.2} ms through the gateway, {floor:.2} ms directly");
    Figure::at_most(name, "ms", ours - floor, ADDS_MAX_MS, 1.0)
}

/// Every caller begins `spread` after the one before.
async fn at_once(client: &reqwest::Client, prefix: &str, spread: Duration) -> Vec<f64> {
    let callers = (0..CALLERS).map(async |caller| {
        tokio::time::sleep(spread * u32::try_from(caller).expect("a small count")).await;
        let mut times = vec![];
        for _ in 0..CALLS_OF_EACH {
            times.push(call(client, prefix, "cvms/usual").await);
        }
        times
    });
    join_all(callers).await.concat()
}

/// One call, in milliseconds.
async fn call(client: &reqwest::Client, prefix: &str, path: &str) -> f64 {
    let from = Instant::now();
    let answer =
        client.get(format!("{prefix}/{path}")).header("X-API-Key", "phak_bench").send().await;
    let body = answer.expect("it answers").bytes().await.expect("it answers whole");
    assert!(body.len() > 1_000, "the answer came through");
    from.elapsed().as_secs_f64() * 1e3
}

/// The least of a cloud.
async fn cloud() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let prefix = format!("http://{}/api/v1", listener.local_addr().expect("it has one"));
    let cvm = format!("{{\"name\":\"{}\"}}", "x".repeat(1_000));
    let answer = ([(header::CONTENT_TYPE, "application/json")], cvm);
    let late = answer.clone();
    let app = Router::new().route("/api/v1/cvms/small", get(async move || answer)).route(
        "/api/v1/cvms/usual",
        get(async move || {
            tokio::time::sleep(ANSWERS_AFTER).await;
            late
        }),
    );
    tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
    prefix
}
