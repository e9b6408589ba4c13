//! What the gateway costs its callers: a small GET through the real program against the same call made
//! directly, one at a time, and with 200 callers at once whose answers take as long as a cloud's do. These
//! begin one after the other, as callers do who know nothing of each other; and in the same moment, which
//! measures how long two cores, shared with callers and cloud, take for 200 calls that come together. What
//! that costs is compared with what a bare proxy costs.
//!
//! All are measured in turns, so that whatever else the machine does falls on all.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use axum::{Router, http::header, routing::get};
use futures::future::join_all;
use tokio::net::TcpListener;

use crate::{
    bare_proxy::BareProxy,
    figures::{Figure, percentile},
    world::{Api, World},
};

/// What the gateway may add, at the median.
const ADDS_MAX_MS: f64 = 2.0;
/// What it may add, of what a bare proxy adds.
const AGAINST_BARE_MAX: f64 = 2.0;
const ALONE: usize = 2_000;
const CALLERS: usize = 200;
const CALLS_OF_EACH: usize = 10;
const ROUNDS: usize = 10;
/// A cloud's API is seldom faster.
const ANSWERS_AFTER: Duration = Duration::from_millis(100);

/// The ways to the cloud that are compared.
struct Ways {
    client: reqwest::Client,
    direct: String,
    gateway: String,
    bare: String,
}

/// Times of the same calls on each way.
#[derive(Default)]
struct Times {
    direct: Vec<f64>,
    gateway: Vec<f64>,
    bare: Vec<f64>,
}

pub async fn figures() -> [Figure; 4] {
    let direct = cloud().await;
    let mut world = World::new().await;
    world.settings.phala_api_prefix = direct.parse().expect("an address is a URL");
    let process = world.spawn().await;
    let proxy = BareProxy::start(&direct).await;
    let (gateway, bare) = (format!("{}/phala/api/v1", process.api.base()), proxy.prefix.clone());
    let ways = Ways { client: Api::bare(), direct, gateway, bare };
    let alone =
        ways.alone().await.added("GET through the gateway, alone: added to a direct call, p50");
    let spread = ANSWERS_AFTER / u32::try_from(CALLERS).expect("a small count");
    let crowd = ways.crowd(spread).await.added("the same with 200 callers at once, p50");
    let mut burst = ways.crowd(Duration::ZERO).await;
    let figures = [
        alone,
        crowd,
        burst.added("the same when all 200 call in the same moment, p50"),
        burst.against_bare("the same, against a bare proxy"),
    ];
    process.terminate().await;
    figures
}

impl Ways {
    async fn alone(&self) -> Times {
        let mut times = Times::default();
        for _ in 0..ALONE {
            times.gateway.push(call(&self.client, &self.gateway, "cvms/small").await);
            times.direct.push(call(&self.client, &self.direct, "cvms/small").await);
        }
        times
    }

    async fn crowd(&self, spread: Duration) -> Times {
        let mut times = Times::default();
        for _ in 0..ROUNDS {
            times.gateway.extend(at_once(&self.client, &self.gateway, spread).await);
            times.direct.extend(at_once(&self.client, &self.direct, spread).await);
            times.bare.extend(at_once(&self.client, &self.bare, spread).await);
        }
        times
    }
}

impl Times {
    fn added(&mut self, name: &'static str) -> Figure {
        let (ours, floor) = (percentile(&mut self.gateway, 0.5), percentile(&mut self.direct, 0.5));
        println!("{name}: {ours:.2} ms through the gateway, {floor:.2} ms directly");
        Figure::at_most(name, "ms", ours - floor, ADDS_MAX_MS, 1.0)
    }

    fn against_bare(&mut self, name: &'static str) -> Figure {
        let [ours, bare, direct] = [&mut self.gateway, &mut self.bare, &mut self.direct]
            .map(|times| percentile(times, 0.5));
        Figure::at_most(name, "ms", ours - direct, bare - direct, AGAINST_BARE_MAX)
    }
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
