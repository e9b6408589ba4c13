//! What breaks around the gateway: Phala Cloud, the database, and those who mean no good.

use std::time::{Duration, Instant};

use countersign::{clock::Clock, config::Capture};
use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    gateway_scene::{Stub, gateway_of},
    phala_cli::Cli,
    secrets::{assert_absent, everything_kept},
};
use crate::world::{
    Api, DEPTH, World, eventually,
    line::{Fault, Line},
};

const PREPARE: [&str; 2] = ["cvms", "replicate"];

fn cli(world: &World, api: &Api) -> Cli {
    let rpc = world.town.chain.rpc_url().as_str();
    Cli::new(&gateway_of(api), &world.town.cloud.api_key(), rpc)
}

/// A prepare through the gateway: its status and body.
async fn prepare(world: &World, api: &Api, source: &str) -> (u16, Value) {
    let answer = Api::bare()
        .post(format!("{}/cvms/{source}/replicas", gateway_of(api)))
        .header("X-API-Key", world.town.cloud.api_key())
        .header("X-Prepare-Only", "true")
        .json(&json!({ "node_id": 6 }))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn metric(api: &Api, line: &str) -> bool {
    api.get("/metrics").await.text.lines().any(|one| one.starts_with(line))
}

async fn requests(api: &Api) -> usize {
    api.get("/v1/requests").await.body["requests"].as_array().unwrap().len()
}

#[tokio::test]
async fn phala_cloud_that_is_gone_is_told_in_its_own_words() {
    let mut world = World::new().await;
    let cloud = Line::to(&world.settings.phala_api_prefix).await;
    world.settings.phala_api_prefix = cloud.near();
    let running = world.start().await;
    let cli = cli(&world, &running.api);
    cli.ok(&["whoami"]).await;
    cloud.set(Fault::Cut);
    let output = cli.run(&["whoami"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let source = world.town.source.as_str();
    let prepare = [&PREPARE[..], &[source, "--node-id", "6", "--prepare-only"]].concat();
    let output = cli.run(&prepare).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("COUNTERSIGN-UPSTREAM") && said.contains("Phala Cloud"), "{said}");
    cloud.set(Fault::None);
    cli.ok(&["whoami"]).await;
    running.stop().await;

    world.settings.phala_api_prefix = "http://127.0.0.1:9/api/v1".parse().unwrap();
    let running = world.start().await;
    let answer =
        Api::bare().get(format!("{}/apps", gateway_of(&running.api))).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 502);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error_code"], "COUNTERSIGN-UPSTREAM");
    assert!(body["suggestions"][0].as_str().unwrap().contains("not sent"));
    running.stop().await;
}

#[tokio::test]
async fn a_database_that_stands_still_holds_nothing_up_for_longer_than_two_seconds() {
    let world = World::new().await;
    let running = world.start().await;
    let mut somebody = world.database.connect().await;
    let hold = "begin; lock table requests in access exclusive mode";
    sqlx::raw_sql(hold).execute(&mut somebody).await.unwrap();
    let before = Instant::now();
    let (status, body) = prepare(&world, &running.api, world.town.source.as_str()).await;
    let took = before.elapsed();
    assert_eq!((status, &body["links"]), (465, &json!([])), "it goes on as it came");
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&took), "{took:?}");
    // What is not kept only passes.
    let source = &world.town.source;
    let url = format!("{}/cvms/{source}", gateway_of(&running.api));
    let answer = Api::bare().get(url).header("X-API-Key", world.town.cloud.api_key()).send().await;
    assert_eq!(answer.unwrap().status().as_u16(), 200);
    sqlx::raw_sql("rollback").execute(&mut somebody).await.unwrap();
    assert!(
        metric(&running.api, "countersign_gateway_captures_total{outcome=\"missed\"}").await,
        "it is counted"
    );
    let (status, body) = prepare(&world, &running.api, source.as_str()).await;
    assert_eq!((status, body["links"].as_array().unwrap().len()), (465, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_database_that_is_gone_stops_nothing_unless_captures_are_required() {
    for capture in [Capture::BestEffort, Capture::Required] {
        let mut world = World::new().await;
        world.settings.gateway.capture = capture;
        let running = world.start().await;
        let (api, source) = (&running.api, world.town.source.as_str());
        let (status, body) = prepare(&world, api, source).await;
        assert_eq!((status, body["links"].as_array().unwrap().len()), (465, 1));
        running.service.store.close().await;
        let (status, body) = prepare(&world, api, source).await;
        let cli = cli(&world, api);
        cli.ok(&["cvms", "get", source]).await;
        let output =
            cli.run(&[&PREPARE[..], &[source, "--node-id", "6", "--prepare-only"]].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if capture == Capture::BestEffort {
            assert_eq!((status, &body["links"]), (465, &json!([])));
            assert_eq!(output.status.code(), Some(0), "{said}");
        } else {
            assert_eq!((status, &body["error_code"]), (503, &json!("COUNTERSIGN-CAPTURE")));
            let token = world.town.cloud.issued().pop().unwrap().token;
            assert!(!body.to_string().contains(&token), "the token is held back");
            assert!(
                output.status.code() == Some(1) && said.contains("COUNTERSIGN-CAPTURE"),
                "{said}"
            );
        }
        running.kill().await;
    }
}

#[tokio::test]
async fn a_gateway_that_is_off_says_so() {
    let mut world = World::new().await;
    world.settings.gateway.is_on = false;
    let running = world.start().await;
    let output = cli(&world, &running.api).run(&["cvms", "get", "x"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("switched off"), "{said}");
    running.stop().await;
}

#[tokio::test]
async fn what_is_of_another_chain_or_workspace_passes_and_is_not_kept() {
    let world = World::new().await;
    // Our own key does not see the app.
    let running = world.start_with(|service| {
        service.cloud = countersign::phala::PhalaCloud::new(
            countersign::wire::Http::new().unwrap(),
            service.settings.phala_api_prefix.clone(),
            Some(world.town.cloud.api_key().into()),
        );
    });
    let running = running.await;
    let refused = json!({ "fail_next": [{ "endpoint": "instances", "status": 404 }] });
    world.switch(refused);
    let (status, body) = prepare(&world, &running.api, world.town.source.as_str()).await;
    assert_eq!((status, &body["links"]), (465, &json!([])));
    assert_eq!(requests(&running.api).await, 0);
    // It cannot be told whose it is.
    world.switch(json!({ "fail_next": [{ "endpoint": "instances", "status": 503 }] }));
    let (_, body) = prepare(&world, &running.api, world.town.source.as_str()).await;
    assert_eq!((requests(&running.api).await, &body["links"]), (0, &json!([])));
    let (_, body) = prepare(&world, &running.api, world.town.source.as_str()).await;
    assert_eq!((requests(&running.api).await, body["links"].as_array().unwrap().len()), (1, 1));
    running.stop().await;

    let mut world = World::new().await;
    world.settings.chains[0].id = countersign::request::ids::ChainId::ETHEREUM;
    let running = world.start().await;
    let (status, body) = prepare(&world, &running.api, world.town.source.as_str()).await;
    assert_eq!((status, &body["links"]), (465, &json!([])));
    assert_eq!(requests(&running.api).await, 0);
    assert!(metric(&running.api, "countersign_gateway_captures_total{outcome=\"not_ours\"}").await);
    running.stop().await;
}

#[tokio::test]
async fn nobody_fills_the_database_through_the_gateway() {
    let world = World::new().await;
    let running = world.start().await;
    let source = world.town.source.as_str();
    let before = Instant::now();
    let calls = (0..150).map(async |_| {
        let (status, body) = prepare(&world, &running.api, source).await;
        assert_eq!(status, 465, "every call passes");
        body["links"].as_array().unwrap().len()
    });
    let linked: usize = join_all(calls).await.into_iter().sum();
    // Sixty at once, and one more with each second.
    let seconds = usize::try_from(before.elapsed().as_secs()).unwrap();
    assert!(linked > 0 && linked <= 61 + seconds, "{linked} in {seconds} s");
    let missed = "countersign_gateway_captures_total{outcome=\"missed\"}";
    assert!(metric(&running.api, missed).await);
    assert_eq!(requests(&running.api).await, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_workspace_of_strangers_takes_no_place_of_ours_and_few_calls_of_our_key() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let (_, body) = prepare(&world, api, world.town.source.as_str()).await;
    assert_eq!((requests(api).await, body["links"].as_array().unwrap().len()), (1, 1));
    let theirs = world.town.add_source(world.town.add_app().await.unwrap());
    let unseen = vec![json!({ "endpoint": "instances", "status": 404 }); 90];
    world.switch(json!({ "fail_next": unseen }));
    let before = Instant::now();
    let calls = (0..90).map(async |_| {
        let (status, body) = prepare(&world, api, theirs.as_str()).await;
        assert_eq!((status, &body["links"]), (465, &json!([])));
    });
    join_all(calls).await;
    let metrics = api.get("/metrics").await.text;
    let asked = "countersign_gateway_captures_total{outcome=\"not_ours\"} ";
    let asked = metrics.lines().find_map(|line| line.strip_prefix(asked)).unwrap();
    // Twenty at once, and one more each three seconds.
    let most = 21 + before.elapsed().as_secs() / 3;
    assert!((1..=most).contains(&asked.parse::<u64>().unwrap()), "{asked} of at most {most}");
    let (_, body) = prepare(&world, api, world.town.source.as_str()).await;
    assert_eq!(body["links"].as_array().unwrap().len(), 1, "ours is kept all the same");
    assert_eq!(requests(api).await, 1);
    running.stop().await;
}

#[tokio::test]
async fn no_key_and_no_token_of_a_caller_is_ever_logged_or_stored() {
    let world = World::new().await;
    let program = world.spawn_logging("trace").await;
    let (api, source) = (&program.api, world.town.source.as_str());
    let theirs = "phak_of_somebody_7f3e9a51c2d84b06";
    let client = Api::bare();
    let prefix = gateway_of(api);
    for (method, path) in [
        ("GET", format!("/cvms/{source}?token={theirs}")),
        ("POST", format!("/cvms/{source}/replicas")),
        ("POST", format!("/cvms/{theirs}/replicas")),
        ("POST", format!("/cvms/{source}/commit-replica?token={theirs}")),
        ("PATCH", format!("/cvms/{source}")),
        ("POST", format!("/..%2f{theirs}")),
    ] {
        let call = client.request(method.parse().unwrap(), format!("{prefix}{path}"));
        let call =
            call.header("X-API-Key", theirs).header("Authorization", format!("Bearer {theirs}"));
        let call = call.header("Cookie", theirs).header("X-Compose-Hash", theirs);
        let answer = call.json(&json!({ "token": theirs, "compose_hash": theirs })).send().await;
        assert!(answer.unwrap().status().is_client_error(), "{method} {path}");
    }
    let (status, body) = prepare(&world, api, source).await;
    assert_eq!((status, body["links"].as_array().unwrap().len()), (465, 1));
    let id = api.get("/v1/requests").await.body["requests"][0]["id"].as_str().unwrap().to_owned();
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    api.wait_for(&id, "running").await;
    let late = world.clock.now();
    assert!(late > countersign::clock::Time::default());

    let tokens = world.town.cloud.issued().into_iter().map(|issued| issued.token);
    let mut secrets: Vec<String> = tokens.collect();
    secrets.extend([theirs.to_owned(), world.town.cloud.api_key()]);
    assert_absent("the metrics", &api.get("/metrics").await.text, &secrets);
    assert_absent("the request", &api.get(&format!("/v1/requests/{id}")).await.text, &secrets);
    for (table, rows) in everything_kept(&world.database).await {
        assert_absent(&table, &rows, &secrets);
    }
    let log = program.terminate().await;
    assert!(log.contains("\"DEBUG\"") && log.contains("kept what was prepared"), "it tells all");
    assert_absent("the log", &log, &secrets);
}

#[tokio::test]
async fn a_caller_who_goes_away_has_the_preparation_kept_all_the_same() {
    let mut world = World::new().await;
    let cloud = Line::to(&world.settings.phala_api_prefix).await;
    world.settings.phala_api_prefix = cloud.near();
    let running = world.start().await;
    let mut somebody = world.database.connect().await;
    let hold = "begin; lock table journal in share mode";
    sqlx::raw_sql(hold).execute(&mut somebody).await.unwrap();
    let (api, source) = (running.api.clone(), world.town.source.to_string());
    let url = format!("{}/cvms/{source}/replicas", gateway_of(&api));
    let key = world.town.cloud.api_key();
    let caller = tokio::spawn(async move {
        let call = Api::bare().post(url).header("X-API-Key", key).header("X-Prepare-Only", "true");
        call.json(&json!({ "node_id": 6 })).send().await
    });
    eventually("the preparation", async || (!world.town.cloud.issued().is_empty()).then_some(()))
        .await;
    let waits = "select count(*)::text from pg_stat_activity where datname = current_database()
         and wait_event_type = 'Lock' and query like 'insert into journal%'";
    eventually("it to be kept", async || (world.database.text(waits).await != "0").then_some(()))
        .await;
    caller.abort();
    sqlx::raw_sql("rollback").execute(&mut somebody).await.unwrap();
    eventually("a request", async || (requests(&running.api).await == 1).then_some(())).await;
    running.stop().await;
}

#[tokio::test]
async fn a_commit_is_followed_to_its_answer_although_its_caller_has_gone() {
    let stub = Stub::start().await;
    let mut world = World::new().await;
    world.settings.phala_api_prefix = stub.prefix.clone();
    let program = world.spawn().await;
    let gateway = gateway_of(&program.api);
    let url = format!("{gateway}/cvms/waits/commit-replica?token=t");
    let caller = tokio::spawn(Api::bare().post(url).send());
    let is_there = || stub.seen().iter().any(|seen| seen.target.contains("/waits/"));
    eventually("the commit to arrive", async || is_there().then_some(())).await;
    caller.abort();
    assert!(caller.await.is_err(), "it has gone");
    // Others pass meanwhile.
    let answer = Api::bare().get(format!("{gateway}/status/200")).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    stub.tell("it is made");
    let line = "countersign_gateway_commits_total{outcome=\"unknown\"} 1";
    eventually(line, async || metric(&program.api, line).await.then_some(())).await;
    program.terminate().await;
}

#[tokio::test]
async fn answers_that_break_off_are_told_of() {
    let stub = Stub::start().await;
    let mut world = World::new().await;
    world.settings.phala_api_prefix = stub.prefix.clone();
    let program = world.spawn().await;
    for call in ["replicas", "commit-replica?token=t"] {
        let url = format!("{}/cvms/breaks/{call}", gateway_of(&program.api));
        let answer = Api::bare().post(url).header("X-Prepare-Only", "true").send().await;
        let is_whole = match answer {
            Ok(answer) => answer.bytes().await.is_ok(),
            Err(_) => false,
        };
        assert!(!is_whole, "it breaks off for its caller too");
    }
    for line in [
        "countersign_gateway_captures_total{outcome=\"missed\"} 1",
        "countersign_gateway_commits_total{outcome=\"unknown\"} 1",
    ] {
        eventually(line, async || metric(&program.api, line).await.then_some(())).await;
    }
    let log = program.terminate().await;
    for words in ["gateway capture missed", "what a commit made is not known"] {
        assert!(log.contains(words), "{words}: {log}");
    }
}
