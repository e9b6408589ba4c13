//! What goes through the gateway, and that it goes as it is.

use std::time::Duration;

use bytes::Bytes;
use countersign::{dstack::Write, owner::Call, request::ids::ComposeHash};
use futures::{StreamExt, future::join_all};
use reqwest::{Body, StatusCode, redirect};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::{
    gateway_scene::{Stub, behind, gateway_of},
    phala_cli::Cli,
};
use crate::world::{Api, DEPTH, World, eventually};

const MIB: usize = 1024 * 1024;

fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(redirect::Policy::none()).build().unwrap()
}

/// The one request there is.
async fn only_request(api: &Api) -> Value {
    eventually("a request", async || {
        let list = api.get("/v1/requests").await;
        let requests = list.body["requests"].as_array().unwrap().clone();
        assert!(requests.len() <= 1, "{requests:#?}");
        requests.into_iter().next()
    })
    .await
}

#[tokio::test]
async fn a_replica_prepared_with_the_real_cli_runs_after_two_signatures_and_no_further_command() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let rpc = world.town.chain.rpc_url().as_str();
    let cli = Cli::new(&gateway_of(api), &world.town.cloud.api_key(), rpc);
    let source = world.town.source.as_str();
    cli.ok(&["cvms", "replicate", source, "--node-id", "6", "--prepare-only"]).await;

    let request = only_request(api).await;
    assert_eq!(request["created_by"], "service:gateway");
    assert_eq!(request["node_id"], "6");
    assert_eq!(request["source_cvm"], json!(world.town.source.canonical()));
    let id = request["id"].as_str().unwrap();
    world.sign(api, id).await;
    world.execute(api, id).await;
    world.mine(DEPTH).await;
    api.wait_for(id, "running").await;
    assert_eq!(world.replicas(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_note_of_a_preparation_through_the_gateway_ends_up_at_its_request() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let gateway = gateway_of(api);
    let prepare = |note: &'static str| {
        let source = world.town.source.as_str();
        ["prepare", source, "--node", "6", "--phala-api-prefix", &gateway, "--note", note]
    };
    let told = world.cli_json(api, &prepare("second region")).await;
    assert_eq!(
        (&told["note"], &told["created_by"]),
        (&json!("second region"), &json!("service:gateway"))
    );
    assert_eq!(only_request(api).await["note"], "second region");
    // What was noted first stays.
    let again = world.cli_json(api, &prepare("third region")).await;
    assert_eq!((&again["id"], &again["note"]), (&told["id"], &told["note"]));
    running.stop().await;
}

#[tokio::test]
async fn the_answer_to_a_prepare_gains_a_link_to_the_review_and_nothing_else() {
    let world = World::new().await;
    let running = world.start().await;
    let prefix = gateway_of(&running.api);
    let source = &world.town.source;
    for nested in [false, true] {
        world.switch(json!({ "nest_details": nested }));
        let answer = client()
            .post(format!("{prefix}/cvms/{source}/replicas"))
            .header("X-API-Key", world.town.cloud.api_key())
            .header("X-Prepare-Only", "true")
            .header("Accept-Encoding", "gzip, br")
            .json(&json!({ "node_id": 6 }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 465);
        let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        assert!(!answer.headers().contains_key("content-security-policy"));
        let text = answer.text().await.unwrap();
        assert_eq!(text.len(), length);
        let body: Value = serde_json::from_str(&text).unwrap();
        let envelope = if nested { &body["detail"] } else { &body };
        let token = envelope["details"].as_array().unwrap().iter();
        let token = token.clone().find(|one| one["field"] == "commit_token").unwrap();
        assert_eq!(token["value"], json!(world.town.cloud.issued().pop().unwrap().token));
        let links = envelope["links"].as_array().unwrap();
        let id = only_request(&running.api).await["id"].as_str().unwrap().to_owned();
        let url = format!("{}/requests/{id}", running.api.base());
        assert_eq!(links.len(), 1);
        assert_eq!(links[0]["url"], json!(url));
        let page = running.api.get(&format!("/requests/{id}")).await;
        assert_eq!(page.status, 200);
    }
    running.stop().await;
}

#[tokio::test]
async fn what_is_prepared_with_a_long_body_is_kept_without_what_stood_in_it() {
    let world = World::new().await;
    let running = world.start().await;
    let (prefix, source) = (gateway_of(&running.api), &world.town.source);
    let answer = client()
        .post(format!("{prefix}/cvms/{source}/replicas"))
        .header("X-API-Key", world.town.cloud.api_key())
        .header("X-Prepare-Only", "true")
        .json(&json!({ "node_id": 6, "note": "x".repeat(300 * 1024) }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 465);
    let body: Value = answer.json().await.unwrap();
    let request = only_request(&running.api).await;
    let url = format!("{}/requests/{}", running.api.base(), request["id"].as_str().unwrap());
    assert_eq!(body["links"][0]["url"], json!(url), "its token is not lost");
    assert_eq!(request["node_id"], json!(null));
    let kept = "select (prepare_body_sealed is not null)::text from requests";
    assert_eq!(world.database.text(kept).await, "false");
    running.stop().await;
}

#[tokio::test]
async fn a_source_is_the_same_in_whatever_spelling_it_is_prepared_from() {
    let world = World::new().await;
    let running = world.start().await;
    let prefix = gateway_of(&running.api);
    let app = alloy::hex::encode(world.town.chain.app.0);
    let source = &world.town.source;
    let undashed = source.as_str().replace('-', "");
    for path in [
        format!("cvms/{source}/replicas"),
        format!("cvms/{undashed}/replicas"),
        "cvms/payments/replicas".to_owned(),
        format!("cvms/app_{app}/replicas"),
        format!("apps/{app}/cvms/{source}/replicas"),
    ] {
        let answer = client()
            .post(format!("{prefix}/{path}"))
            .header("X-API-Key", world.town.cloud.api_key())
            .header("x-prepare-only", "true")
            .json(&json!({ "teepod_id": 6 }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 465, "{path}");
        let request = only_request(&running.api).await;
        assert_eq!(request["source_cvm"], json!(source.canonical()), "{path}");
    }
    assert_eq!(world.town.cloud.issued().len(), 5);
    running.stop().await;
}

/// A service that would need many more blocks to commit by itself, so that a person is first.
async fn slow_world() -> World {
    let mut world = World::new().await;
    world.settings.chains[0].depth = countersign::config::DepthPolicy::Blocks(400);
    world
}

#[tokio::test]
async fn what_a_person_commits_through_the_gateway_settles_its_request() {
    let world = slow_world().await;
    let running = world.start().await;
    let api = &running.api;
    let rpc = world.town.chain.rpc_url().as_str();
    let cli = Cli::new(&gateway_of(api), &world.town.cloud.api_key(), rpc);
    let (source, hash) = (world.town.source.as_str(), world.town.compose_hash.to_string());
    let app = alloy::hex::encode(world.town.chain.app.0);
    let ways: [(&[&str], &[&str]); 2] = [
        (
            &["cvms", "replicate", source, "--node-id", "6", "--prepare-only"],
            &["cvms", "replicate", source],
        ),
        (
            &["instances", "add", "--app-id", &app, "--node-id", "7", "--prepare-only"],
            &["instances", "add", "--app-id", &app],
        ),
    ];
    for (made, (prepare, commit)) in ways.into_iter().enumerate() {
        cli.ok(prepare).await;
        let issued = world.town.cloud.issued().pop().unwrap();
        world.allow(issued.device_id).await;
        let list = api.get("/v1/requests?limit=1").await;
        let id = list.body["requests"][0]["id"].as_str().unwrap().to_owned();
        // With a token that is nobody's, nothing is told.
        cli.run(&[commit, &["--commit", "--token", "of-nobody", "--compose-hash", &hash]].concat())
            .await;
        cli.ok(&[commit, &["--commit", "--token", &issued.token, "--compose-hash", &hash]].concat()).await;
        let request = api.wait_for(&id, "running").await;
        let replica = world.town.cloud.instances().pop().unwrap();
        assert_eq!(request["replica"]["id"], json!(replica.id));
        let told = api.told(&id).await;
        assert!(told.contains(&"committed_elsewhere".to_owned()), "{told:?}");
        assert!(!told.contains(&"commit_started".to_owned()), "{told:?}");
        assert_eq!(world.replicas(), made + 1);
    }
    // Of one that was taken back it is said as well.
    let (prepare, commit) = ways[0];
    cli.ok(prepare).await;
    let issued = world.town.cloud.issued().pop().unwrap();
    let list = api.get("/v1/requests?limit=1").await;
    let id = list.body["requests"][0]["id"].as_str().unwrap().to_owned();
    let withdraw = format!("/v1/requests/{id}/withdraw");
    assert_eq!(api.post(&withdraw, &json!({ "reason": "no" })).await.status, 200);
    cli.ok(&[commit, &["--commit", "--token", &issued.token, "--compose-hash", &hash]].concat())
        .await;
    let told = api.last_told(&id, "commented").await;
    let replica = world.town.cloud.instances().pop().unwrap().id.to_string();
    assert!(
        told["text"].as_str().unwrap().contains(&format!("the answer names CVM {replica}")),
        "{told}"
    );
    assert_eq!(api.request(&id).await["status"], "withdrawn");
    running.stop().await;
}

const DEPLOY: [&str; 5] = ["--prepare-only", "-c", "dc.yml", "--no-json", "--cvm-id"];

fn cli_with_document(world: &World, api: &Api) -> Cli {
    let rpc = world.town.chain.rpc_url().as_str();
    let cli = Cli::new(&gateway_of(api), &world.town.cloud.api_key(), rpc);
    cli.put("dc.yml", "services:\n  web:\n    image: nginx:1.27\n");
    cli
}

#[tokio::test]
async fn an_update_prepared_with_the_real_cli_is_applied_after_two_signatures() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let source = world.town.source.as_str();
    cli_with_document(&world, api).ok(&[&["deploy"], &DEPLOY[..], &[source]].concat()).await;
    let request = only_request(api).await;
    assert_eq!(request["kind"], "update");
    assert_eq!(request["source_cvm"], json!(world.town.source.canonical()));
    let id = request["id"].as_str().unwrap();
    world.sign(api, id).await;
    world.execute(api, id).await;
    world.mine(DEPTH).await;
    api.last_told(id, "committed").await;
    assert_eq!((world.town.cloud.operations().len(), world.replicas()), (1, 0));
    running.stop().await;
}

#[tokio::test]
async fn an_update_that_a_person_commits_by_its_hash_settles_its_request() {
    let world = slow_world().await;
    let running = world.start().await;
    let api = &running.api;
    let (id, hash) = update_prepared(&world, api).await;
    update_by_hash(&world, api, hash).await;
    let told = api.last_told(&id, "committed_elsewhere").await;
    assert_eq!(told["replica"], json!(world.town.source.as_instance()));
    assert_eq!(world.town.cloud.operations().len(), 1);
    running.stop().await;
}

/// An update that was prepared through the gateway: its request, and what it puts on the CVM.
async fn update_prepared(world: &World, api: &Api) -> (String, ComposeHash) {
    let source = world.town.source.as_str();
    cli_with_document(world, api).ok(&[&["deploy"], &DEPLOY[..], &[source]].concat()).await;
    let id = only_request(api).await["id"].as_str().unwrap().to_owned();
    (id, world.town.cloud.issued().pop().unwrap().compose_hash)
}

/// The app allows an update, and a person commits it by the name of the CVM, so that it has to be asked
/// which one that is.
async fn update_by_hash(world: &World, api: &Api, hash: ComposeHash) {
    let app = world.town.chain.app;
    world.as_the_safe(app.0, Call::of_write(app, &Write::AddComposeHash(hash)).data).await;
    let answer = client()
        .patch(format!("{}/cvms/payments", gateway_of(api)))
        .header("X-API-Key", world.town.cloud.api_key())
        .header("X-Compose-Hash", hash.to_string())
        .header("X-Transaction-Hash", "already-registered")
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 202, "{}", answer.text().await.unwrap());
}

#[tokio::test]
async fn an_update_that_was_taken_back_says_that_a_person_made_it_all_the_same() {
    let world = slow_world().await;
    let running = world.start().await;
    let api = &running.api;
    let (id, hash) = update_prepared(&world, api).await;
    let withdraw = format!("/v1/requests/{id}/withdraw");
    assert_eq!(api.post(&withdraw, &json!({ "reason": "no" })).await.status, 200);
    update_by_hash(&world, api, hash).await;
    let text = api.last_told(&id, "commented").await["text"].to_string();
    assert!(text.contains(world.town.source.as_instance().as_str()), "{text}");
    running.stop().await;
}

#[tokio::test]
async fn bodies_pass_in_both_directions_before_they_are_whole() {
    let stub = Stub::start().await;
    let (_world, running) = behind(&stub).await;
    let (parts, body) = mpsc::unbounded_channel::<Result<Bytes, std::io::Error>>();
    let body = Body::wrap_stream(UnboundedReceiverStream::new(body));
    parts.send(Ok(Bytes::from(vec![1; 64]))).unwrap();
    // The head of the answer is here before more than the first part was sent.
    let mut answer = client()
        .post(format!("{}/echo", gateway_of(&running.api)))
        .body(body)
        .send()
        .await
        .unwrap();
    let mut back = answer.chunk().await.unwrap().expect("the first part").to_vec();
    assert_eq!(back, vec![1; 64]);
    for part in 2..=16_u8 {
        parts.send(Ok(Bytes::from(vec![part; MIB / 16]))).unwrap();
        let whole = 64 + usize::from(part - 1) * (MIB / 16);
        while back.len() < whole {
            back.extend(answer.chunk().await.unwrap().expect("the part that was just sent"));
        }
        assert!(back[whole - MIB / 16..].iter().all(|byte| *byte == part));
    }
    drop(parts);
    assert!(answer.chunk().await.unwrap().is_none());
    running.stop().await;
}

#[tokio::test]
async fn a_mebibyte_with_a_known_length_keeps_its_length() {
    let stub = Stub::start().await;
    let (_world, running) = behind(&stub).await;
    let body: Vec<u8> = (0..MIB).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let answer = client()
        .put(format!("{}/echo", gateway_of(&running.api)))
        .body(body.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.bytes().await.unwrap(), body);
    let seen = stub.last_seen();
    assert_eq!(seen.headers["content-length"], MIB.to_string());
    assert!(!seen.headers.contains_key("transfer-encoding"));
    running.stop().await;
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one() {
    let stub = Stub::start().await;
    let (_world, running) = behind(&stub).await;
    let answer = client().get(format!("{}/events", gateway_of(&running.api))).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut events = answer.bytes_stream();
    for event in ["event: state\ndata: 1\n\n", "event: complete\ndata: 2\n\n"] {
        stub.tell(event);
        assert_eq!(events.next().await.unwrap().unwrap(), event);
    }
    running.stop().await;
}

#[tokio::test]
async fn two_hundred_calls_at_once_all_come_back() {
    let stub = Stub::start().await;
    let (_world, running) = behind(&stub).await;
    let (client, prefix) = (client(), gateway_of(&running.api));
    let calls = (0..200).map(async |number: usize| {
        let body = number.to_string().repeat(1_000);
        let answer = client.post(format!("{prefix}/echo?{number}")).body(body.clone()).send().await;
        assert_eq!(answer.unwrap().text().await.unwrap(), body);
    });
    join_all(calls).await;
    assert_eq!(stub.seen().len(), 200);
    running.stop().await;
}

#[tokio::test]
async fn calls_beyond_the_limit_are_told_to_come_back_and_the_site_goes_on() {
    let stub = Stub::start().await;
    let (_world, running) = behind(&stub).await;
    let (client, prefix) = (client(), gateway_of(&running.api));
    // Each has begun to be answered, and its body stays open.
    let open = (0..512).map(async |_| {
        let (parts, body) = mpsc::unbounded_channel::<Result<Bytes, std::io::Error>>();
        let body = Body::wrap_stream(UnboundedReceiverStream::new(body));
        parts.send(Ok(Bytes::from_static(b"x"))).unwrap();
        let answer = client.post(format!("{prefix}/echo")).body(body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        (parts, answer)
    });
    let open = join_all(open).await;
    let refused = client.get(format!("{prefix}/status/200")).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error_code"], "COUNTERSIGN-BUSY");
    assert_eq!(running.api.get("/healthz").await.status, 200);
    drop(open);
    eventually("room again", async || {
        let answer = client.get(format!("{prefix}/status/200")).send().await.unwrap();
        answer.status().is_success().then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn headers_status_and_body_come_through_untouched() {
    let stub = Stub::start().await;
    let (_world, running) = behind(&stub).await;
    for status in [200, 201, 202, 301, 307, 400, 404, 409, 429, 465, 466, 467, 468, 500, 503] {
        let answer = client()
            .patch(format!("{}/status/{status}?a=%2F..%2F&b=%41", gateway_of(&running.api)))
            .header("X-API-Key", "phak_of_the_caller")
            .header("X-Phala-Version", "2025-10-28")
            .header("Connection", "close, x-hop")
            .header("X-Hop", "1")
            .header("Cookie", "a=b; countersign=ours")
            .body("{}")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status);
        let headers = answer.headers().clone();
        for (name, value) in [
            ("x-request-id", "rid-1"),
            ("retry-after", "7"),
            ("location", "https://elsewhere.example/x"),
            ("content-encoding", "gzip"),
            ("cache-control", "private, max-age=3"),
        ] {
            assert_eq!(headers[name], value);
        }
        assert_eq!(headers.get_all("x-twice").iter().count(), 2);
        for name in ["content-security-policy", "x-content-type-options", "x-of-this-one"] {
            assert!(!headers.contains_key(name), "{name}");
        }
        assert_eq!(answer.text().await.unwrap(), "no gzip at all");
    }
    let seen = stub.last_seen();
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("PATCH", "/api/v1/status/503?a=%2F..%2F&b=%41")
    );
    assert_eq!(seen.headers["x-api-key"], "phak_of_the_caller");
    assert_eq!(seen.headers["x-phala-version"], "2025-10-28");
    assert_eq!(seen.headers["cookie"], "a=b");
    assert_eq!(seen.headers["host"], stub.prefix.authority());
    let mut names: Vec<&str> =
        seen.headers.keys().map(reqwest::header::HeaderName::as_str).collect();
    names.sort_unstable();
    let expected = ["accept", "content-length", "cookie", "host", "x-api-key", "x-phala-version"];
    assert_eq!(names, expected, "nothing of ours is added");
    let switched = client().get(format!("{}/status/101", gateway_of(&running.api))).send().await;
    assert_eq!(switched.unwrap().status().as_u16(), 502, "nobody asked for another protocol");
    running.stop().await;
}

#[tokio::test]
async fn a_token_of_ours_and_pages_for_browsers_do_not_go_through() {
    let stub = Stub::start().await;
    let (_world, running) = behind(&stub).await;
    let url = format!("{}/status/200", gateway_of(&running.api));
    let ours = running.api.token();
    for request in
        [client().get(&url).bearer_auth(ours), client().get(&url).basic_auth("me", Some(ours))]
    {
        assert_eq!(request.send().await.unwrap().status().as_u16(), 200);
        assert!(!stub.last_seen().headers.contains_key("authorization"));
    }
    client().get(&url).bearer_auth("theirs").send().await.unwrap();
    assert_eq!(stub.last_seen().headers["authorization"], "Bearer theirs");
    let arrived = stub.seen().len();
    for (name, value) in [
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-dest", "script"),
        ("sec-fetch-dest", "iframe"),
        ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
    ] {
        let answer = client().get(&url).header(name, value).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 403, "{name}: {value}");
    }
    assert_eq!(stub.seen().len(), arrived);
    // What programs send.
    let fetched = client().get(&url).header("accept", "application/json, text/plain, */*");
    fetched.header("sec-fetch-mode", "cors").send().await.unwrap();
    assert_eq!(stub.seen().len(), arrived + 1);
    running.stop().await;
}

/// Sends a request line as it is, which no client would.
async fn raw(api: &Api, line: &str, host: &str) -> String {
    let address = api.base().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![];
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    read.expect("it is answered").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn no_address_leads_out_of_the_api_of_phala_cloud() {
    let (stub, elsewhere) = (Stub::start().await, Stub::start().await);
    let (_world, running) = behind(&stub).await;
    let other = elsewhere.prefix.authority().to_owned();
    let hidden = [
        "/..",
        "/../admin",
        "/x/../../../admin",
        "/%2e%2e/admin",
        "/%2e%2e%2f%2e%2e%2fadmin",
        "/..%2fadmin",
        "/..%5c..%5cadmin",
        "/..\\admin",
        "/%252e%252e%252fadmin",
        "/..;/admin",
        "/./x",
        "/x%00y",
        "/x%0d%0aevil:1",
    ];
    for path in hidden {
        let answer = raw(&running.api, &format!("GET /phala/api/v1{path}"), "x").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    assert_eq!(stub.seen().len(), 0, "none of these was sent: {:?}", stub.seen());
    for line in [
        format!("GET /phala/api/v1//{other}/x"),
        format!("GET /phala/api/v1/http://{other}/x"),
        format!("GET http://{other}/phala/api/v1/x"),
        format!("GET /phala/api/v1/@{other}/x"),
        format!("GET /phala/api/v1/a%2Fb?x=http://{other}/../.."),
        "GET /phala/api/v1".to_owned(),
        "GET /phala/api/v1/".to_owned(),
        "GET /phala/api/v1?x".to_owned(),
    ] {
        let answer = raw(&running.api, &line, &other).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{line}: {answer}");
        assert!(stub.last_seen().target.starts_with("/api/v1"), "{line}: {:?}", stub.last_seen());
    }
    for line in [
        "GET /phala/api/v2/x",
        "GET /phala/api/v1x",
        "GET /phala//api/v1/x",
        "GET /phala/api/v1%2f..%2fx",
        "CONNECT elsewhere.example:443",
        "GET /phala/api",
    ] {
        let before = stub.seen().len();
        raw(&running.api, line, &other).await;
        assert_eq!(stub.seen().len(), before, "{line}");
    }
    assert_eq!(elsewhere.seen().len(), 0);
    assert!(stub.seen().iter().all(|seen| seen.headers["host"] == stub.prefix.authority()));
    running.stop().await;
}
