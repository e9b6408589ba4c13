//! What looking costs with 100,000 requests stored: the API and the pages of the real program, asked by
//! so many callers at once that two cores have no rest, the callers' own work included. An API token is
//! mostly given answers again; each page of a session is made for it.

use std::time::Instant;

use countersign::devnet::Wallet;
use futures::future::join_all;
use reqwest::{RequestBuilder, header};

use crate::{
    figures::{Figure, percentile},
    scale::MANY,
    world::{Api, World, visitor::Visitor},
};

const CALLERS: usize = 16;
const CALLS_OF_EACH: usize = 4_000;
const PAGES_OF_EACH: usize = 1_000;
const PAGES_MADE_OF_EACH: usize = 200;
/// What the API answers in a second at least, and the slowest of a hundred answers.
const RATE_MIN: f64 = 5_000.0;
const API_P99_MAX_MS: f64 = 20.0;
const PAGE_P99_MAX_MS: f64 = 50.0;
/// Requests that are looked at, one after the other.
const IDS: usize = 100;

/// What many answers took.
struct Load {
    per_second: f64,
    p99_ms: f64,
}

pub async fn figures() -> [Figure; 8] {
    let viewer = Wallet::funded(5).expect("there are ten");
    let world = World::new().await;
    // The program makes the tables. It would refuse to start on these rows, whose tokens nobody sealed.
    let process = world
        .spawn_with(|serve| {
            serve.env("COUNTERSIGN_VIEWERS", viewer.address().to_string());
        })
        .await;
    world.database.execute(MANY).await;
    let list = process.api.get(&format!("/v1/requests?limit={IDS}")).await;
    let ids = list.body["requests"].as_array().expect("a list").iter();
    let ids: Vec<String> = ids.map(|one| one["id"].as_str().expect("an id").to_owned()).collect();
    let api: Vec<String> = ids.iter().map(|id| format!("/v1/requests/{id}")).collect();
    let pages: Vec<String> = ids.iter().map(|id| format!("/requests/{id}")).collect();
    let client = Api::bare();
    let by_token = |path: &str| {
        client.get(format!("{}{path}", process.api.base())).bearer_auth(process.api.token())
    };
    let one = load(by_token, &api, CALLS_OF_EACH).await;
    let some = load(by_token, &["/v1/requests?limit=20".to_owned()], CALLS_OF_EACH / 2).await;
    let queue = load(by_token, &["/".to_owned()], PAGES_OF_EACH).await;
    let page = load(by_token, &pages, PAGES_OF_EACH).await;
    let visitor = Visitor::signed_in(&process.api, &viewer).await;
    let signed_in = |path: &str| {
        client.get(format!("{}{path}", process.api.base())).header(header::COOKIE, &visitor.cookie)
    };
    let queue_made = load(signed_in, &["/".to_owned()], PAGES_MADE_OF_EACH).await;
    let page_made = load(signed_in, &pages, PAGES_MADE_OF_EACH).await;
    process.terminate().await;
    [
        Figure::at_least("GET one of 100,000 requests", "per s", one.per_second, RATE_MIN, 1.0),
        Figure::at_most("the same, p99", "ms", one.p99_ms, API_P99_MAX_MS, 1.0),
        Figure::at_least("GET twenty of them", "per s", some.per_second, RATE_MIN, 1.0),
        Figure::at_most("the same, p99", "ms", some.p99_ms, API_P99_MAX_MS, 1.0),
        Figure::at_most("page of the queue, p99", "ms", queue.p99_ms, PAGE_P99_MAX_MS, 1.0),
        Figure::at_most("page of a request, p99", "ms", page.p99_ms, PAGE_P99_MAX_MS, 1.0),
        Figure::at_most(
            "queue made for a session, p99",
            "ms",
            queue_made.p99_ms,
            PAGE_P99_MAX_MS,
            1.0,
        ),
        Figure::at_most(
            "request made for a session, p99",
            "ms",
            page_made.p99_ms,
            PAGE_P99_MAX_MS,
            1.0,
        ),
    ]
}

/// Every caller asks for all paths in turn, each beginning at another one.
async fn load(call: impl Fn(&str) -> RequestBuilder, paths: &[String], calls: usize) -> Load {
    let began = Instant::now();
    let callers = (0..CALLERS).map(async |caller| {
        let mut times = vec![];
        for turn in 0..calls {
            let path = &paths[(caller * 7 + turn) % paths.len()];
            let from = Instant::now();
            let answer = call(path).send().await.expect("it answers");
            assert_eq!(answer.status(), 200, "{path}");
            answer.bytes().await.expect("it answers whole");
            times.push(from.elapsed().as_secs_f64() * 1e3);
        }
        times
    });
    let mut times = join_all(callers).await.concat();
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let per_second = times.len() as f64 / began.elapsed().as_secs_f64();
    Load { per_second, p99_ms: percentile(&mut times, 0.99) }
}
