//! What looking costs with 100,000 requests stored: the API and the pages of the real program, asked by
//! so many callers at once that two cores have no rest, the callers' own work included. Most of these
//! answers are given again. Beside that, pages that nobody has looked at lately, and are made.

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
/// Callers for whom every page is made: two for each core.
const CALLERS_OF_NEW: usize = 4;
const NEW_PAGES_OF_EACH: usize = 400;
/// What the API answers in a second at least, and the slowest of a hundred answers.
const RATE_MIN: f64 = 5_000.0;
const API_P99_MAX_MS: f64 = 20.0;
const PAGE_P99_MAX_MS: f64 = 50.0;
/// Requests that are looked at again and again.
const IDS: usize = 100;
/// Most that a list of the API has.
const LIST_MAX: usize = 200;

/// What many answers took.
struct Load {
    per_second: f64,
    p99_ms: f64,
}

pub async fn figures() -> [Figure; 10] {
    let viewer = Wallet::funded(5).expect("there are ten");
    let world = World::new().await;
    // The program makes the tables. It would refuse to start on these rows, whose tokens nobody sealed.
    let process = world
        .spawn_with(|serve| {
            serve.env("COUNTERSIGN_VIEWERS", viewer.address().to_string());
        })
        .await;
    world.database.execute(MANY).await;
    let ids = ids(&process.api, CALLERS_OF_NEW * NEW_PAGES_OF_EACH).await;
    let some_ids = &ids[..IDS];
    let api: Vec<String> = some_ids.iter().map(|id| format!("/v1/requests/{id}")).collect();
    let pages: Vec<String> = some_ids.iter().map(|id| format!("/requests/{id}")).collect();
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
    let queue_of_session = load(signed_in, &["/".to_owned()], PAGES_OF_EACH).await;
    let page_of_session = load(signed_in, &pages, PAGES_OF_EACH).await;
    let new_queue = walk(signed_in).await;
    let new_page = each_once(signed_in, &ids).await;
    process.terminate().await;
    let page_at_most =
        |name, load: Load| Figure::at_most(name, "ms", load.p99_ms, PAGE_P99_MAX_MS, 1.0);
    [
        Figure::at_least("GET one of 100,000 requests", "per s", one.per_second, RATE_MIN, 1.0),
        Figure::at_most("the same, p99", "ms", one.p99_ms, API_P99_MAX_MS, 1.0),
        Figure::at_least("GET twenty of them", "per s", some.per_second, RATE_MIN, 1.0),
        Figure::at_most("the same, p99", "ms", some.p99_ms, API_P99_MAX_MS, 1.0),
        page_at_most("page of the queue, p99", queue),
        page_at_most("page of a request, p99", page),
        page_at_most("page of the queue for who signed in, p99", queue_of_session),
        page_at_most("page of a request for who signed in, p99", page_of_session),
        page_at_most("page of the queue that is made, p99", new_queue),
        page_at_most("page of a request that is made, p99", new_page),
    ]
}

async fn ids(api: &Api, wanted: usize) -> Vec<String> {
    let (mut ids, mut path) = (vec![], format!("/v1/requests?limit={LIST_MAX}"));
    while ids.len() < wanted {
        let list = api.get(&path).await.body;
        let requests = list["requests"].as_array().expect("a list").iter();
        ids.extend(requests.map(|one| one["id"].as_str().expect("an id").to_owned()));
        let cursor = list["next_cursor"].as_str().expect("there are more");
        path = format!("/v1/requests?limit={LIST_MAX}&cursor={cursor}");
    }
    ids.truncate(wanted);
    ids
}

/// Every caller asks for all paths in turn, each beginning at another one.
async fn load(call: impl Fn(&str) -> RequestBuilder, paths: &[String], calls: usize) -> Load {
    let began = Instant::now();
    let callers = (0..CALLERS).map(async |caller| {
        let mut times = vec![];
        for turn in 0..calls {
            times.push(answered(&call, &paths[(caller * 7 + turn) % paths.len()]).await.0);
        }
        times
    });
    Load::of(began, join_all(callers).await.concat())
}

/// No page of a request is asked for twice.
async fn each_once(call: impl Fn(&str) -> RequestBuilder, ids: &[String]) -> Load {
    let began = Instant::now();
    let callers = ids.chunks(NEW_PAGES_OF_EACH).map(async |ids| {
        let mut times = vec![];
        for id in ids {
            times.push(answered(&call, &format!("/requests/{id}")).await.0);
        }
        times
    });
    Load::of(began, join_all(callers).await.concat())
}

/// Every caller goes through the queue from page to page, as long as no other one's.
async fn walk(call: impl Fn(&str) -> RequestBuilder) -> Load {
    let began = Instant::now();
    let callers = (0..CALLERS_OF_NEW).map(async |caller| {
        let (mut times, mut path) = (vec![], format!("/?limit={}", 50 - caller));
        for _ in 0..NEW_PAGES_OF_EACH {
            let (time, page) = answered(&call, &path).await;
            times.push(time);
            let (before, _) = page.split_once("\" rel=\"next\"").expect("there are more");
            let (_, next) = before.rsplit_once("href=\"").expect("a link");
            path = next.replace("&#38;", "&");
        }
        times
    });
    Load::of(began, join_all(callers).await.concat())
}

/// How many milliseconds an answer took, and what it was.
async fn answered(call: impl Fn(&str) -> RequestBuilder, path: &str) -> (f64, String) {
    let from = Instant::now();
    let answer = call(path).send().await.expect("it answers");
    assert_eq!(answer.status(), 200, "{path}");
    let body = answer.text().await.expect("it answers whole");
    (from.elapsed().as_secs_f64() * 1e3, body)
}

impl Load {
    fn of(began: Instant, mut times: Vec<f64>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        let per_second = times.len() as f64 / began.elapsed().as_secs_f64();
        Self { per_second, p99_ms: percentile(&mut times, 0.99) }
    }
}
