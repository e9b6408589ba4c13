//! Who may do what, and in what words everybody else is turned away.

use chrono::TimeDelta;
use countersign::{
    access::OpenToken,
    store::{Store, journal::Verdict},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, Api, Running, World, api::make_token, browser::Browser};

/// Everything that changes something, and everything that can be read.
const WRITES: [&str; 5] = [
    "/v1/requests",
    "/v1/requests/{id}/withdraw",
    "/v1/requests/{id}/reject",
    "/v1/requests/{id}/retry",
    "/v1/requests/{id}/settle",
];
const READS: [&str; 14] = [
    "/v1/requests",
    "/v1/requests/{id}",
    "/v1/requests/{id}/proposal",
    "/v1/requests/{id}/safe-batch.json",
    "/v1/apps",
    "/v1/apps/8453/{app}",
    "/v1/apps/8453/{app}/allowlist",
    "/v1/apps/8453/{app}/ledger",
    "/v1/apps/8453/{app}/drift",
    "/v1/apps/8453/{app}/allowlist/export",
    "/v1/apps/8453/{app}/ledger/export",
    "/v1/journal",
    "/v1/journal/chain",
    "/v1/events",
];

struct Scene {
    world: World,
    running: Running,
    id: String,
}

impl Scene {
    async fn set() -> Self {
        Self::with(false).await
    }

    async fn with(open_reads: bool) -> Self {
        let mut world = World::new().await;
        world.settings.open_reads = open_reads;
        let running = world.start().await;
        let id = running.api.submit(&world.submission(&world.prepare().await)).await;
        running.api.wait_for(&id, "proposed").await;
        Self { world, running, id }
    }

    fn path(&self, path: &str) -> String {
        path.replace("{id}", &self.id).replace("{app}", &self.world.town.chain.app.to_string())
    }

    async fn token(&self, scopes: &[&str]) -> Api {
        let service = &self.running.service;
        let token = make_token(&service.store, scopes, service.clock.now()).await;
        self.running.api.with_token(&token)
    }

    /// Only the head of the answer: one of them never ends.
    async fn status(&self, api: &Api, path: &str) -> u16 {
        let request = Api::bare().get(format!("{}{}", api.base(), self.path(path)));
        let request =
            if api.token().is_empty() { request } else { request.bearer_auth(api.token()) };
        request.send().await.unwrap().status().as_u16()
    }
}

#[track_caller]
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    let kind = &answer.headers["content-type"];
    assert_eq!(
        (answer.status, answer.body["code"].as_str()),
        (status, Some(code)),
        "{}",
        answer.text
    );
    assert_eq!(kind, "application/problem+json", "{}", answer.text);
    assert_eq!(answer.body["status"], status);
    assert!(answer.body["title"].as_str().is_some_and(|title| !title.is_empty()));
}

#[tokio::test]
async fn without_a_token_nothing_is_read_or_written() {
    let scene = Scene::set().await;
    let nobody = scene.running.api.with_token("");
    for path in READS {
        let answer = nobody.get(&scene.path(path)).await;
        assert_problem(&answer, 401, "unauthorized");
        assert!(answer.headers["www-authenticate"].to_str().unwrap().contains("Bearer"));
    }
    for path in WRITES {
        let answer = nobody.post(&scene.path(path), &json!({ "reason": "no" })).await;
        assert_problem(&answer, 401, "unauthorized");
    }
    for wrong in ["nonsense", "countersign_", &format!("countersign_{}", "0".repeat(72))] {
        let answer = nobody.with_token(wrong).get("/v1/requests").await;
        assert_problem(&answer, 401, "unauthorized");
    }
    scene.running.stop().await;
}

#[tokio::test]
async fn who_may_read_may_not_write() {
    let scene = Scene::set().await;
    let reader = scene.token(&["read"]).await;
    for path in READS {
        assert_eq!(scene.status(&reader, path).await, 200, "{path}");
    }
    for path in WRITES {
        let answer = reader.post(&scene.path(path), &json!({ "reason": "no" })).await;
        assert_problem(&answer, 403, "forbidden");
    }
    let writer = scene.token(&["write"]).await;
    assert_eq!(scene.status(&writer, "/v1/requests").await, 200, "who may write may look");
    scene.running.stop().await;
}

#[tokio::test]
async fn nobody_is_asked_for_a_password_before_the_sign_in_was_offered() {
    let world = World::new().await;
    let running = world.start().await;
    let stranger = running.api.with_token("");
    let asks = |answer: &Answer| {
        let all = answer.headers.get_all("www-authenticate");
        all.iter().any(|one| one.to_str().unwrap().starts_with("Basic "))
    };
    for path in ["/", "/apps", "/journal", "/requests/00000000-0000-0000-0000-000000000000"] {
        let answer = stranger.get(path).await;
        assert_eq!((answer.status, asks(&answer)), (401, false), "{path}");
        let place = path.replace('/', "%2F");
        for way in ["sign-in", "token"] {
            let link = format!("href=\"/{way}?back={place}\"");
            assert!(answer.text.contains(&link), "{path}: {}", answer.text);
        }
    }
    // An open page listens by itself.
    assert!(!asks(&stranger.get("/v1/events").await));
    let answer = stranger.get("/token").await;
    assert_eq!((answer.status, asks(&answer)), (401, true));
    assert!(asks(&stranger.get("/v1/requests").await), "programs are told both ways");
    let Some(browser) = Browser::start().await else { return };
    let scene = json!({ "base": running.api.base(), "token": "", "password": running.api.token() });
    browser.run("password.mjs", &scene).await;
    running.stop().await;
}

#[tokio::test]
async fn a_refusal_says_which_roles_it_takes() {
    let world = World::new().await;
    let running = world.start().await;
    let service = &running.service;
    let token = make_token(&service.store, &["viewer"], service.clock.now()).await;
    let viewer = running.api.with_token(&token);
    let id = running.api.submit(&world.submission(&world.prepare().await)).await;
    let told = viewer.get("/v1/journal").await.body["title"].clone();
    let title = "your role here (viewer) does not allow this: it takes the role auditor or admin";
    assert_eq!(told, title);
    let reject = format!("/v1/requests/{id}/reject");
    let told = viewer.post(&reject, &json!({ "reason": "no" })).await.body["title"].clone();
    let title = "your role here (viewer) does not allow this: it takes the role admin, or to own the Safe of the app";
    assert_eq!(told, title);
    let page = viewer.get("/journal").await.text;
    assert!(
        page.contains("auditor or admin") && page.contains("href=\"/sign-in?back=%2Fjournal\""),
        "{page}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_revoked_token_opens_nothing() {
    let scene = Scene::set().await;
    let service = &scene.running.service;
    let api = scene.token(&["read", "write"]).await;
    assert_eq!(api.get("/v1/requests").await.status, 200);
    service.store.revoke_tokens("story", service.clock.now()).await.unwrap();
    assert_problem(&api.get("/v1/requests").await, 401, "unauthorized");
    let answer = api.post(&scene.path(WRITES[1]), &json!({ "reason": "no" })).await;
    assert_problem(&answer, 401, "unauthorized");
    scene.running.stop().await;
}

#[tokio::test]
async fn reads_may_be_open_to_all_and_writes_never() {
    let scene = Scene::with(true).await;
    let nobody = scene.running.api.with_token("");
    for path in READS {
        assert_eq!(scene.status(&nobody, path).await, 200, "{path}");
    }
    for path in WRITES {
        let answer = nobody.post(&scene.path(path), &json!({ "reason": "no" })).await;
        assert_problem(&answer, 401, "unauthorized");
    }
    scene.running.stop().await;
}

#[tokio::test]
async fn an_owner_needs_no_token_to_confirm() {
    let scene = Scene::set().await;
    scene.world.sign(&scene.running.api, &scene.id).await;
    let told = scene.running.api.timeline(&scene.id).await;
    let actors = told.iter().filter(|entry| entry["kind"] == "confirmed");
    let actors: Vec<&str> = actors.map(|entry| entry["actor"].as_str().unwrap()).collect();
    let owners = &scene.world.town.chain.owners;
    let expected: Vec<String> =
        owners[..2].iter().map(|owner| format!("owner:{}", owner.address())).collect();
    assert_eq!(actors, expected, "the signature says who it was");
    scene.running.stop().await;
}

#[tokio::test]
async fn what_does_not_exist_or_does_not_fit_is_a_problem_with_a_code() {
    let scene = Scene::set().await;
    let api = &scene.running.api;
    let send = async |method: Method, path: &str, body: Vec<u8>| {
        let url = format!("{}{path}", api.base());
        api.send(Api::bare().request(method, url).body(body)).await
    };
    for path in ["/nowhere", "/v1/nowhere", "/v1/requests/nonsense", "/v1/apps/8453/0x12"] {
        assert_problem(&api.get(path).await, 404, "not-found");
    }
    let unknown = "/v1/requests/00000000-0000-7000-8000-000000000000";
    assert_problem(&api.get(unknown).await, 404, "not-found");
    for path in ["/v1/requests", "/v1/events", "/healthz", "/openapi.json"] {
        assert_problem(&send(Method::DELETE, path, vec![]).await, 405, "method-not-allowed");
    }
    let huge = vec![b' '; 1_100_000];
    assert_problem(&send(Method::POST, "/v1/requests", huge).await, 413, "body-too-large");
    for body in [&b"{"[..], b"", b"\xff\xfe", b"{\"a\":1}}"] {
        let answer = send(Method::POST, "/v1/requests", body.to_vec()).await;
        assert_problem(&answer, 422, "invalid-field");
        assert_eq!(answer.body["field"], "body");
    }
    for query in ["limit=0", "limit=x", "status=nope", "cursor=x", "app=x"] {
        let answer = api.get(&format!("/v1/requests?{query}")).await;
        assert_problem(&answer, 422, "invalid-field");
        assert_eq!(answer.body["field"], query.split('=').next().unwrap());
    }
    for path in ["/v1/requests?colour=red", "/v1/journal?limit=x", "/v1/requests/%ff"] {
        assert_problem(&api.get(path).await, 400, "bad-request");
    }
    let ended = json!({ "reason": "no" });
    let withdraw = scene.path("/v1/requests/{id}/withdraw");
    assert_problem(&api.post(&withdraw, &json!({ "reason": " " })).await, 422, "invalid-field");
    assert_eq!(api.post(&withdraw, &ended).await.status, 200);
    assert_problem(&api.post(&withdraw, &ended).await, 409, "not-in-this-status");
    scene.running.stop().await;
}

/// Deeply nested, huge, or made of odd characters: an answer comes, and the service lives.
#[tokio::test]
async fn no_input_breaks_the_server() {
    let scene = Scene::set().await;
    let api = &scene.running.api;
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let odd: Value = json!({ "prepare_response": "\u{0}\u{202e}\u{fffd}".repeat(1000) });
    for body in
        [deep, odd.to_string(), "9".repeat(200_000), format!("\"{}\"", "\\u0000".repeat(9000))]
    {
        let answer = api.post_text("/v1/requests", &body).await;
        assert_eq!(answer.status, 422, "{}", answer.text);
    }
    for path in [
        "/v1/requests?q=%00",
        "/v1/requests?q=%25%27%22%3b",
        "/v1/requests?cursor=9223372036854775807_x",
        "/v1/requests?limit=99999999999999999999",
        "/v1/journal?before=18446744073709551615",
        "/v1/apps/18446744073709551615/0x0000000000000000000000000000000000000001",
    ] {
        let status = api.get(path).await.status;
        assert!(status < 500, "{path}: {status}");
    }
    let store = Store::open(scene.world.database.options()).await.unwrap();
    assert!(matches!(store.verify_journal(|_| {}).await.unwrap(), Verdict::Intact { .. }));
    store.close().await;
    assert_eq!(api.get("/healthz").await.status, 200);
    scene.running.stop().await;
}

#[tokio::test]
async fn a_request_is_its_tokens_own_and_not_that_of_a_later_one_of_the_same_name() {
    let world = World::new().await;
    let running = world.start().await;
    let (store, clock) = (&running.service.store, &running.service.clock);
    let mut made = vec![];
    for _ in 0..2 {
        let token = OpenToken::generate().unwrap();
        let scopes = ["requester".to_owned()];
        store.insert_token("ci", &token.hash(), &scopes, clock.now()).await.unwrap();
        made.push(running.api.with_token(token.expose()));
    }
    let [first, second] = &made[..] else { unreachable!() };
    let no = json!({ "reason": "not wanted" });
    let id = first.submit(&world.submission(&world.prepare().await)).await;
    assert_eq!(first.request(&id).await["created_by"], "token:ci", "as people read it");
    let withdraw = format!("/v1/requests/{id}/withdraw");
    assert_problem(&second.post(&withdraw, &no).await, 403, "forbidden");
    let told = first.post(&withdraw, &no).await;
    assert_eq!(told.status, 200, "{}", told.text);

    // Of a request from before ids were noted the name tells, for whoever had it by then.
    let before = second.submit(&world.submission(&world.prepare().await)).await;
    world.database.execute("update requests set created_by_token = null").await;
    let late = OpenToken::generate().unwrap();
    world.clock.pass(TimeDelta::minutes(1));
    store.insert_token("ci", &late.hash(), &["requester".to_owned()], clock.now()).await.unwrap();
    let late = running.api.with_token(late.expose());
    let withdraw = format!("/v1/requests/{before}/withdraw");
    assert_problem(&late.post(&withdraw, &no).await, 403, "forbidden");
    assert_eq!(first.post(&withdraw, &no).await.status, 200);
    running.stop().await;
}

#[tokio::test]
async fn a_token_has_scopes_or_roles_and_whoever_asks_for_both_is_told() {
    let world = World::new().await;
    let both = ["token", "create", "x", "--role", "viewer", "--scope", "read"];
    let (code, told, said) = world.cli(&Api::new("http://127.0.0.1:1", ""), &both).await;
    assert_eq!((code, told.as_str()), (2, ""), "{said}");
    assert!(said.contains("--scope") && said.contains("--role"), "{said}");
}
