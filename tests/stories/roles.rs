//! Every route and every role, over HTTP: who is let in, and whose requests are whose.

use std::collections::BTreeSet;

use alloy::{
    primitives::{Address, B256, U256},
    sol,
    sol_types::SolCall,
};
use chrono::TimeDelta;
use countersign::{
    access::OpenToken,
    devnet::Wallet,
    request::ids::{AppId, ComposeHash, DeviceId},
    web,
};
use reqwest::{Method, RequestBuilder, header};
use serde_json::{Value, json};

use crate::world::{Answer, Running, Visitor, World};

sol! {
    function removeOwner(address prevOwner, address owner, uint256 _threshold) external;
}

/// Who calls, in the order of the columns below.
const CALLERS: [&str; 13] = [
    "nobody",
    "stranger",
    "viewer",
    "auditor",
    "requester",
    "signer",
    "admin",
    "read token",
    "write token",
    "viewer token",
    "requester token",
    "auditor token",
    "admin token",
];

/// `y` is let in, `-` is not. Where a path names a request or an app, it is one of the signer's Safe
/// that the requester has not made.
const LOOK: &str = "--yyy-y yyyyyy";
const LOOK_AT_ONE: &str = "--yyyyy yyyyyy";
/// Of what is looked at, a signer sees what belongs to their apps.
const LOOK_AT_OWN: &str = "--yyy yy yyyyyy";
const AUDIT: &str = "---y--y yy--yy";
const SUBMIT: &str = "----y-y -y-y-y";
const ACT: &str = "-----yy -y---y";
const OPEN: &str = "yyyyyyy yyyyyy";
/// Another's to let in: Phala Cloud checks the key.
const ELSEWHERE: &str = "";

/// Every documented route. What is not here fails the story.
const ROUTES: [(&str, &str); 46] = [
    ("post /v1/session/challenge", OPEN),
    ("post /v1/session", OPEN),
    ("get /v1/session", OPEN),
    ("delete /v1/session", OPEN),
    ("post /v1/requests", SUBMIT),
    ("get /v1/requests", LOOK_AT_OWN),
    ("get /v1/requests/{id}", LOOK_AT_ONE),
    ("post /v1/requests/{id}/comments", ACT),
    ("post /v1/requests/{id}/withdraw", ACT),
    ("post /v1/requests/{id}/reject", ACT),
    ("post /v1/requests/{id}/retry", ACT),
    ("post /v1/requests/{id}/settle", ACT),
    ("post /v1/proposals", ACT),
    ("get /v1/requests/{id}/proposal", LOOK_AT_ONE),
    ("get /v1/requests/{id}/safe-batch.json", LOOK_AT_ONE),
    ("get /v1/requests/{id}/nested-owners/{owner}/safe-batch.json", LOOK_AT_ONE),
    ("post /v1/requests/{id}/confirmations", OPEN),
    ("get /v1/requests/{id}/simulation", LOOK_AT_ONE),
    ("get /v1/requests/{id}/compose", LOOK_AT_ONE),
    ("post /v1/requests/{id}/compose", ACT),
    ("get /v1/compose/{hash}", LOOK_AT_OWN),
    ("get /v1/devices/{device_id}", LOOK_AT_OWN),
    ("get /v1/apps", LOOK_AT_OWN),
    ("get /v1/apps/{chain_id}/{app}", LOOK_AT_ONE),
    ("get /v1/apps/{chain_id}/{app}/allowlist", LOOK_AT_ONE),
    ("get /v1/apps/{chain_id}/{app}/ledger", LOOK_AT_ONE),
    ("get /v1/apps/{chain_id}/{app}/allowlist/export", LOOK_AT_ONE),
    ("get /v1/apps/{chain_id}/{app}/ledger/export", LOOK_AT_ONE),
    ("get /v1/apps/{chain_id}/{app}/drift", LOOK_AT_ONE),
    ("get /v1/chains", LOOK),
    ("get /v1/journal", AUDIT),
    ("get /v1/journal/chain", AUDIT),
    ("get /v1/operator", AUDIT),
    ("get /v1/events", LOOK_AT_OWN),
    ("get /healthz", OPEN),
    ("get /readyz", OPEN),
    ("get /metrics", OPEN),
    ("post /phala/webhook", OPEN),
    ("get /phala/api/v1/{path}", ELSEWHERE),
    // Pages, which the document does not name.
    ("get /", LOOK_AT_OWN),
    ("get /apps", LOOK_AT_OWN),
    ("get /requests/{id}", LOOK_AT_ONE),
    ("get /apps/{chain_id}/{app}", LOOK_AT_ONE),
    ("get /apps/{chain_id}/{app}/ledger", LOOK_AT_ONE),
    ("get /journal", AUDIT),
    ("get /operator", AUDIT),
];
/// Rows that are no part of the document.
const PAGES: [&str; 7] = [
    "get /",
    "get /apps",
    "get /requests/{id}",
    "get /apps/{chain_id}/{app}",
    "get /apps/{chain_id}/{app}/ledger",
    "get /journal",
    "get /operator",
];

/// Wallets with a role by the settings; the owners of the Safe are others.
pub fn wallet(index: usize) -> Wallet {
    Wallet::funded(index).expect("there are ten")
}
const STRANGER: usize = 3;
const VIEWER: usize = 4;
const AUDITOR: usize = 5;
const REQUESTER: usize = 6;
const ADMIN: usize = 7;
/// Owns the other Safe.
pub const OTHER_SIGNER: usize = 8;

/// Somebody, with whatever shows who they are.
pub struct Caller {
    pub visitor: Visitor,
    token: String,
}

impl Caller {
    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let call = self.visitor.call(method, path);
        if self.token.is_empty() { call } else { call.bearer_auth(&self.token) }
    }

    /// The head of the answer: some answers never end.
    async fn status(&self, call: RequestBuilder) -> u16 {
        call.send().await.expect("the service answers").status().as_u16()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.visitor.send(self.call(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> u16 {
        self.status(self.call(Method::POST, path).json(body)).await
    }
}

pub struct Scene {
    pub world: World,
    pub running: Running,
    /// Of the app of the town's Safe, and of the app of another one.
    pub ours: String,
    pub theirs: String,
    pub other_app: AppId,
}

impl Scene {
    pub async fn set() -> Self {
        let mut world = World::new().await;
        let one = |index| vec![wallet(index).address().to_string()];
        world.set_access(|lists| {
            lists.viewers = one(VIEWER);
            lists.auditors = one(AUDITOR);
            lists.requesters = one(REQUESTER);
            lists.admins = one(ADMIN);
        });
        let chain = &world.town.chain;
        let owners = vec![wallet(OTHER_SIGNER).address()];
        let safe =
            chain.release.new_safe(&chain.rpc, &chain.executor, chain.singleton, owners, 1, 77);
        let safe = safe.await.expect("another Safe");
        let (hash, device) = (ComposeHash(B256::repeat_byte(1)), DeviceId(B256::repeat_byte(2)));
        let other_app = chain.kms.new_app(&chain.rpc, &chain.executor, safe, hash, device).await;
        let other_app = other_app.expect("another app");
        let running = world.start().await;
        let ours = running.api.submit(&world.submission(&world.prepare().await)).await;
        let theirs = running.api.submit(&submission(other_app, "theirs")).await;
        for id in [&ours, &theirs] {
            running.api.wait_for(id, "proposed").await;
        }
        Self { world, running, ours, theirs, other_app }
    }

    pub async fn wallet(&self, index: usize) -> Caller {
        let visitor = Visitor::signed_in(&self.running.api, &wallet(index)).await;
        Caller { visitor, token: String::new() }
    }

    pub async fn token(&self, scope: &str) -> Caller {
        let service = &self.running.service;
        let (token, scopes) = (OpenToken::generate().unwrap(), [scope.to_owned()]);
        // By a name of its own: what another token made is not its own.
        let (store, now) = (&service.store, service.clock.now());
        store.insert_token(scope, &token.hash(), &scopes, now).await.expect("it is stored");
        Caller { visitor: Visitor::new(&self.running.api), token: token.expose().to_owned() }
    }

    async fn callers(&self) -> Vec<Caller> {
        let nobody = Caller { visitor: Visitor::new(&self.running.api), token: String::new() };
        let mut callers = vec![nobody];
        for index in [STRANGER, VIEWER, AUDITOR, REQUESTER, 0, ADMIN] {
            callers.push(self.wallet(index).await);
        }
        for scope in ["read", "write", "viewer", "requester", "auditor", "admin"] {
            callers.push(self.token(scope).await);
        }
        assert_eq!(callers.len(), CALLERS.len());
        callers
    }
}

pub fn submission(app: AppId, token: &str) -> Value {
    json!({
        "chain_id": 8453, "app": app, "source_cvm": "4f4c932f-f33e-4014-8a9e-31f70c02c67c",
        "node_id": "77", "compose_hash": B256::repeat_byte(3), "device_id": B256::repeat_byte(4),
        "commit_token": format!("a-commit-token-of-a-story-{token}"),
    })
}

/// The address and the body of a call that changes nothing, whoever makes it.
fn harmless(route: &str, id: &str, app: AppId) -> (Method, String, Option<Value>) {
    let (method, path) = route.split_once(' ').unwrap();
    let mut path = path.to_owned();
    for (name, value) in [
        ("{id}", id),
        ("{app}", &app.to_string()),
        ("{chain_id}", "8453"),
        ("{owner}", &Address::ZERO.to_string()),
        ("{hash}", &B256::ZERO.to_string()),
        ("{device_id}", &B256::ZERO.to_string()),
    ] {
        path = path.replace(name, value);
    }
    let method: Method = method.to_uppercase().parse().unwrap();
    let body = match route {
        "post /v1/proposals" => json!({ "requests": [id], "reason": " " }),
        _ if route.ends_with("/comments") => json!({ "text": " " }),
        _ if route.ends_with("/settle") => json!({ "replica": null, "reason": " " }),
        _ => json!({ "reason": " " }),
    };
    let body = (method == Method::POST).then_some(body);
    (method, path, body)
}

fn call_of(caller: &Caller, route: &str, id: &str, app: AppId) -> RequestBuilder {
    let (method, path, body) = harmless(route, id, app);
    body.iter().fold(caller.call(method, &path), RequestBuilder::json)
}

/// Whether a call names a request or an app.
fn is_of_one(route: &str) -> bool {
    route.contains("{id}") || route.contains("{app}") || route == "post /v1/proposals"
}

/// What somebody is told who may not see what a path names.
const HIDDEN: &str = "or it is none of yours";

/// The status of an answer, and whether it says that there is nothing for them there.
async fn told(caller: &Caller, route: &str, id: &str, app: AppId) -> (u16, bool) {
    let answer = call_of(caller, route, id, app).send().await.expect("the service answers");
    let status = answer.status().as_u16();
    // Of what is let in some answers never end.
    let is_hidden = status == 404 && answer.text().await.unwrap().contains(HIDDEN);
    (status, is_hidden)
}

#[test]
fn every_documented_route_has_a_row() {
    let document = serde_json::to_value(web::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let documented: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    let rows = ROUTES.iter().map(|(route, _)| (*route).to_owned());
    let rows: BTreeSet<String> = rows.filter(|row| !PAGES.contains(&row.as_str())).collect();
    assert_eq!(rows, documented);
}

#[tokio::test]
async fn every_route_lets_in_whom_it_should_and_nobody_else() {
    let scene = Scene::set().await;
    let callers = scene.callers().await;
    let app = scene.world.town.chain.app;
    let mut wrong = vec![];
    // Signing out comes last.
    let (out, others): (Vec<_>, Vec<_>) =
        ROUTES.iter().partition(|(route, _)| *route == "delete /v1/session");
    for (route, row) in others.into_iter().chain(out).filter(|(_, row)| *row != ELSEWHERE) {
        scene.world.clock.pass(TimeDelta::minutes(1));
        for ((caller, name), cell) in callers.iter().zip(CALLERS).zip(row.replace(' ', "").chars())
        {
            let (status, is_hidden) = told(caller, route, &scene.ours, app).await;
            let expected = match (cell, name) {
                ('y', _) => !is_hidden && !matches!(status, 401 | 403 | 415 | 429 | 500),
                (_, "nobody") => status == 401,
                (_, "stranger") if is_of_one(route) => is_hidden,
                _ => status == 403,
            };
            if !expected {
                wrong.push(format!("{route}: {name} gets {status}, and the table says {cell}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    scene.running.stop().await;
}

#[tokio::test]
async fn a_signer_of_one_safe_has_no_say_in_what_is_another_s() {
    let scene = Scene::set().await;
    let our_app = scene.world.town.chain.app;
    let (ours, theirs) = (scene.wallet(0).await, scene.wallet(OTHER_SIGNER).await);
    for (route, row) in ROUTES.iter().filter(|(_, row)| [ACT, LOOK_AT_ONE].contains(row)) {
        for (caller, id, app, lets_in) in [
            (&ours, &scene.ours, our_app, true),
            (&ours, &scene.theirs, scene.other_app, false),
            (&theirs, &scene.theirs, scene.other_app, true),
            (&theirs, &scene.ours, our_app, false),
        ] {
            let (status, is_hidden) = told(caller, route, id, app).await;
            let is_let_in = !is_hidden && status != 403;
            assert_eq!(is_let_in, lets_in, "{route} {id}: {status} ({row})");
        }
    }
    // One of several is enough to be refused.
    let both = json!({ "requests": [scene.ours, scene.theirs], "reason": "together" });
    assert_eq!(ours.post("/v1/proposals", &both).await, 404);
    let reject = |id: &str| format!("/v1/requests/{id}/reject");
    let no = json!({ "reason": "not on our app" });
    assert_eq!(theirs.post(&reject(&scene.ours), &no).await, 404);
    assert_eq!(ours.post(&reject(&scene.ours), &no).await, 200);
    let told = scene.running.api.timeline(&scene.ours).await;
    let last = told.last().unwrap();
    let actor = format!("wallet:{}", wallet(0).address());
    assert_eq!((&last["kind"], &last["actor"]), (&json!("rejected"), &json!(actor)));
    assert_eq!(scene.running.api.request(&scene.theirs).await["status"], "proposed");
    scene.running.stop().await;
}

/// What tells one answer from another, beside when it was given and under which number.
async fn whole(call: RequestBuilder) -> (u16, String, Vec<(String, String)>) {
    let answer = call.send().await.expect("the service answers");
    let headers = answer
        .headers()
        .iter()
        .filter(|(name, _)| ![header::DATE.as_str(), "x-request-id"].contains(&name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()));
    let (status, headers) = (answer.status().as_u16(), headers.collect());
    (status, answer.text().await.unwrap(), headers)
}

#[tokio::test]
async fn what_is_another_s_is_answered_like_what_is_not_there() {
    let scene = Scene::set().await;
    let nothing = ("01a1fcbd-70c3-75cc-be9e-a3487739dbcd", AppId(Address::repeat_byte(0x99)));
    let not_theirs = (scene.theirs.as_str(), scene.other_app);
    // A signature shows that whoever hands it in knows of the request, whose id nobody guesses.
    let routes = ROUTES.iter().map(|(route, _)| *route).filter(|route| is_of_one(route));
    let routes: Vec<&str> = routes.filter(|route| !route.ends_with("/confirmations")).collect();
    assert_eq!(routes.len(), 22);
    for caller in [scene.wallet(STRANGER).await, scene.wallet(0).await] {
        for route in &routes {
            let [missing, hidden] = [nothing, not_theirs].map(async |(id, app)| {
                let (status, text, headers) = whole(call_of(&caller, route, id, app)).await;
                // A page leads back to where its reader went, which the reader knows.
                let text = text.replace(id, "{id}").replace(&app.to_string(), "{app}");
                (status, text, headers)
            });
            let (missing, hidden) = (missing.await, hidden.await);
            assert_eq!(missing.0, 404, "{route}: {missing:?}");
            assert_eq!(missing, hidden, "{route}");
        }
    }
    scene.running.stop().await;
}

#[tokio::test]
async fn a_requester_takes_back_what_is_their_own_and_nothing_else() {
    let scene = Scene::set().await;
    let requester = scene.wallet(REQUESTER).await;
    let call = requester.call(Method::POST, "/v1/requests").json(&json!({
        "chain_id": 8453, "app": scene.other_app, "node_id": "78",
        "source_cvm": "5f4c932f-f33e-4014-8a9e-31f70c02c67c",
        "compose_hash": B256::repeat_byte(5), "device_id": B256::repeat_byte(6),
        "commit_token": "a-commit-token-of-the-requester",
    }));
    let answer = requester.visitor.send(call).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let actor = format!("wallet:{}", wallet(REQUESTER).address());
    assert_eq!(answer.body["created_by"], actor.as_str());
    let own = answer.body["id"].as_str().unwrap().to_owned();
    let path = |id: &str, what: &str| format!("/v1/requests/{id}/{what}");
    let no = json!({ "reason": "no longer" });
    assert_eq!(requester.post(&path(&own, "reject"), &no).await, 403);
    assert_eq!(requester.post(&path(&scene.theirs, "withdraw"), &no).await, 403);
    assert_eq!(requester.post(&path(&own, "withdraw"), &no).await, 200);
    scene.running.stop().await;
}

#[tokio::test]
async fn whoever_is_removed_from_the_safe_is_no_signer_any_more() {
    let scene = Scene::set().await;
    let chain = &scene.world.town.chain;
    let signer = scene.wallet(1).await;
    let told = signer.visitor.get("/v1/session").await.body;
    assert_eq!(told["roles"], json!([]));
    let safe = chain.safe.to_string();
    let expected = json!([{ "chain_id": 8453, "safe": safe.to_lowercase(), "apps": [chain.app] }]);
    assert_eq!(told["signer_of"], expected, "{told}");
    let path = format!("/v1/requests/{}/retry", scene.ours);
    let why = json!({ "reason": "now" });
    assert_eq!(signer.post(&path, &why).await, 200);
    let (before, owner) = (chain.owners[0].address(), chain.owners[1].address());
    let remove = removeOwnerCall { prevOwner: before, owner, _threshold: U256::from(2) };
    scene.world.as_the_safe(chain.safe, remove.abi_encode().into()).await;
    // What was read is good for a moment.
    scene.world.clock.pass(TimeDelta::seconds(16));
    assert_eq!(signer.post(&path, &why).await, 404);
    assert_eq!(signer.visitor.get("/v1/session").await.body["signer_of"], json!([]));
    let page = signer.call(Method::GET, "/sign-in").header(header::ACCEPT, "text/html");
    let page = signer.visitor.send(page).await.text;
    assert!(page.contains("You have no role here"), "{page}");
    scene.running.stop().await;
}
