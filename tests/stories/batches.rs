//! Requests that a person has put to their Safe together, in one transaction, or at a nonce of her
//! choice. Each is followed by itself.

use countersign::{dstack::Write, request::ids::DeviceId, safe::SafeVersion};
use serde_json::{Value, json};

use crate::world::{Answer, Api, DEPTH, Running, World, eventually, process::cli};

const OTHER_NODE: u64 = 7;

pub async fn propose(api: &Api, ids: &[&str], nonce: Option<u64>) -> Answer {
    let body = json!({ "requests": ids, "nonce": nonce, "reason": "in one go" });
    api.post("/v1/proposals", &body).await
}

/// The proposal of a request, once it is for so many.
pub async fn proposed_for(api: &Api, id: &str, count: usize) -> Value {
    eventually(format!("a proposal for {count} requests"), async || {
        let shown = api.get(&format!("/v1/requests/{id}/proposal")).await.body;
        (shown["requests"].as_array()?.len() == count).then_some(shown)
    })
    .await
}

/// Two requests for one app, on two nodes, neither of which voids the other's token.
async fn two(world: &World, api: &Api) -> [String; 2] {
    world.switch(json!({ "supersede_per_source": false }));
    let first = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&first, "proposed").await;
    let prepared = world.prepare_on(OTHER_NODE).await;
    let second = api.submit(&world.submission_on(&prepared, OTHER_NODE)).await;
    api.wait_for(&second, "proposed").await;
    [first, second]
}

/// The same, put to their Safe in one transaction.
async fn two_together(world: &World, api: &Api) -> ([String; 2], Value) {
    let ids = two(world, api).await;
    assert_eq!(propose(api, &[&ids[0], &ids[1]], None).await.status, 200);
    let together = proposed_for(api, &ids[0], 2).await;
    (ids, together)
}

fn hash_of(proposal: &Value) -> &str {
    proposal["safe_tx_hash"].as_str().expect("a Safe's transaction")
}

async fn both_run(world: &World, running: &Running, ids: &[String; 2]) {
    world.mine(DEPTH).await;
    for id in ids {
        running.api.wait_for(id, "running").await;
    }
    assert_eq!(world.effective_commits(), 2);
}

#[tokio::test]
async fn two_requests_are_signed_and_executed_at_once_and_each_runs() {
    for version in [SafeVersion::V1_1_1, SafeVersion::V1_4_1] {
        let world = World::with(|town| town.safe_version = version).await;
        let running = world.start().await;
        let api = &running.api;
        let ids = two(&world, api).await;
        let [first, second] = [ids[0].as_str(), ids[1].as_str()];
        let before = api.proposal(first).await;
        world.sign_by(api, first, 0).await;

        let (code, told, _) = cli(api, &["propose", first, second, "--reason", "in one go"]).await;
        assert_eq!(code, 0, "{told}");
        assert!(told.contains("1 signature does not count any more"), "{told}");
        let proposal = proposed_for(api, first, 2).await;
        let (_, listed, _) = cli(api, &["list"]).await;
        assert_eq!(listed.matches("one transaction with 1 other").count(), 2, "{listed}");
        let (_, shown, _) = cli(api, &["show", first]).await;
        assert!(shown.contains(&format!("together with {second}: in one go")), "{shown}");
        assert_eq!(api.request(second).await["together_with"], json!([first]));
        assert_eq!(hash_of(&proposal), hash_of(&proposed_for(api, second, 2).await));
        assert_ne!(hash_of(&proposal), hash_of(&before));
        assert_eq!(proposal["safe_tx"]["nonce"], before["safe_tx"]["nonce"], "the lowest again");
        assert_eq!(proposal["confirmations"], json!([]), "what was signed was something else");
        // The compose hash is the same, and added once.
        assert_eq!(proposal["calls"].as_array().unwrap().len(), 3, "{proposal:#}");
        assert_eq!(proposal["warnings"], json!([]));
        let page = api.get(&format!("/requests/{first}")).await.text;
        assert!(page.contains(&format!("/requests/{second}")), "{page}");

        // One signature is for both, and the same word again does not cost it.
        world.sign_by(api, first, 0).await;
        assert_eq!(propose(api, &[second, first], None).await.status, 200);
        assert_eq!(hash_of(&api.proposal(first).await), hash_of(&proposal));
        let told = api.confirm(second, &world.signature(api, second, 0).await).await;
        assert_eq!(told.status, 200, "it is here already: {}", told.body);
        world.sign_by(api, second, 1).await;
        for id in [first, second] {
            api.wait_for(id, "approved").await;
        }
        world.execute(api, second).await;
        both_run(&world, &running, &ids).await;
        let [one, other] = [api.request(first).await, api.request(second).await];
        assert_eq!(one["executed"]["transaction"], other["executed"]["transaction"]);
        assert_ne!(one["replica"]["id"], other["replica"]["id"]);
        running.stop().await;
    }
}

#[tokio::test]
async fn requests_of_two_apps_of_one_safe_share_a_transaction() {
    let world = World::new().await;
    let app = world.town.add_app().await.unwrap();
    let source = world.town.add_source(app);
    let running = world.start().await;
    let api = &running.api;
    let first = api.submit(&world.submission(&world.prepare().await)).await;
    let prepared = world.prepare_from(&source, OTHER_NODE).await;
    let second = api.submit(&World::submission_from(&source, OTHER_NODE, &prepared)).await;
    let ids = [first, second];
    for id in &ids {
        api.wait_for(id, "proposed").await;
    }
    assert_eq!(propose(api, &[&ids[0], &ids[1]], None).await.status, 200);
    let proposal = proposed_for(api, &ids[0], 2).await;
    assert_eq!(proposal["warnings"], json!([]));
    let apps: std::collections::BTreeSet<&str> = proposal["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| call["to"].as_str().unwrap())
        .collect();
    assert_eq!(apps.len(), 2, "{proposal:#}");
    proposed_for(api, &ids[1], 2).await;

    // The signer is told of the other request until she says that she knows of it.
    let rpc = world.settings.chains[0].rpc[0].to_string();
    let alone = ["verify", &ids[0], "--rpc", &rpc];
    let (code, told, _) = cli(api, &alone).await;
    assert_eq!(code, 3, "{told}");
    assert!(told.contains(&format!("--with {}", ids[1])), "{told}");
    let (code, told, _) = cli(api, &[&alone[..], &["--with", &ids[1]]].concat()).await;
    assert_eq!(code, 0, "{told}");
    assert!(told.contains(&format!("also for request {}", ids[1])), "{told}");

    world.sign_by(api, &ids[1], 0).await;
    world.sign_by(api, &ids[0], 2).await;
    api.wait_for(&ids[1], "approved").await;
    world.execute(api, &ids[0]).await;
    both_run(&world, &running, &ids).await;
    running.stop().await;
}

#[tokio::test]
async fn with_a_relayer_one_execution_is_for_both() {
    let mut world = World::new().await;
    world.relayer = countersign::devnet::Wallet::funded(7);
    let running = world.start().await;
    let api = &running.api;
    let (ids, _) = two_together(&world, api).await;
    for owner in 0..world.town.chain.threshold {
        world.sign_by(api, &ids[1], owner).await;
    }
    for id in &ids {
        api.wait_for(id, "executed").await;
    }
    both_run(&world, &running, &ids).await;
    let tries: Vec<Value> = futures::future::join_all(ids.iter().map(|id| api.request(id)))
        .await
        .into_iter()
        .map(|request| request["relayer"]["tries"].clone())
        .collect();
    assert_eq!(tries[0][0]["transaction"], tries[1][0]["transaction"]);
    assert_eq!(tries[0].as_array().unwrap().len(), 1, "{tries:?}");
    running.stop().await;
}

#[tokio::test]
async fn what_ends_leaves_the_others_to_be_proposed_without_it() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let (ids, together) = two_together(&world, api).await;
    world.sign(api, &ids[0]).await;
    let withdrawn = format!("/v1/requests/{}/withdraw", ids[0]);
    assert_eq!(api.post(&withdrawn, &json!({ "reason": "no" })).await.status, 200);
    let alone = proposed_for(api, &ids[1], 1).await;
    assert_ne!(hash_of(&alone), hash_of(&together));
    let next = api.request(&ids[1]).await["explanation"]["next"].to_string();
    let rival = format!(
        "another transaction at this nonce before, {}",
        together["safe_tx_hash"].as_str().unwrap()
    );
    assert!(next.contains(&rival) && next.contains("instead, now"), "{next}");
    assert_eq!(alone["calls"].as_array().unwrap().len(), 2, "{alone:#}");
    let told = api.last_told(&ids[1], "proposal_replaced").await;
    let why = format!("it was for request {} as well, which was withdrawn", ids[0]);
    assert!(told["reason"].as_str().unwrap().starts_with(&why), "{told}");
    world.sign(api, &ids[1]).await;
    world.execute(api, &ids[1]).await;
    world.mine(DEPTH).await;
    api.wait_for(&ids[1], "running").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn what_is_allowed_by_another_way_goes_on_and_the_rest_keeps_its_signatures() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let (ids, together) = two_together(&world, api).await;
    world.sign_by(api, &ids[1], 0).await;
    let device: DeviceId =
        api.request(&ids[0]).await["device_id"].as_str().unwrap().parse().unwrap();
    world.allow(device).await;
    world.mine(DEPTH).await;
    api.wait_for(&ids[0], "running").await;
    let kept = api.proposal(&ids[1]).await;
    assert_eq!(hash_of(&kept), hash_of(&together));
    assert_eq!(kept["confirmations"].as_array().unwrap().len(), 1);
    world.sign_by(api, &ids[1], 1).await;
    api.wait_for(&ids[1], "approved").await;
    world.execute(api, &ids[1]).await;
    world.mine(DEPTH).await;
    api.wait_for(&ids[1], "running").await;
    assert_eq!((world.replicas(), world.effective_commits()), (2, 2));
    running.stop().await;
}

#[tokio::test]
async fn a_nonce_is_pinned_and_let_go_again() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    let next =
        api.look(&id, "its nonce", |it| it["nonce"]["is_next"] == true).await["nonce"]["nonce"]
            .as_u64()
            .unwrap();
    let pinned = next + 2;
    assert_eq!(propose(api, &[&id], Some(pinned)).await.status, 200);
    let told =
        api.look(&id, "the nonce", |it| it["nonce"]["nonce"] == pinned).await["nonce"].clone();
    assert_eq!((&told["choice"], &told["is_next"]), (&json!("pinned"), &json!(false)));
    let codes: Vec<&Value> =
        told["warnings"].as_array().unwrap().iter().map(|it| &it["code"]).collect();
    assert_eq!(codes, [&json!("gap")], "{told:#}");
    assert_eq!(told["earlier"][0], json!({ "nonce": next, "used_by": "nothing" }));
    let (code, shown, _) = cli(api, &["show", &id]).await;
    assert_eq!(code, 0);
    assert!(shown.contains("chosen by a person") && shown.contains("nothing is known"), "{shown}");
    // It stays where it was put, however often it is looked at.
    world.look_again().await;
    world.sign(api, &id).await;
    api.wait_for_reason(&id, &format!("waits until nonce {} of the Safe", next + 1)).await;

    assert_eq!(propose(api, &[&id], None).await.status, 200);
    let told = api.look(&id, "the next nonce", |it| it["nonce"]["nonce"] == next).await;
    assert_eq!(told["nonce"]["warnings"], json!([]));
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    api.wait_for(&id, "running").await;
    running.stop().await;
}

#[tokio::test]
async fn a_pinned_nonce_that_is_used_by_something_else_gives_way_to_the_next_free_one() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    let next = api.proposal(&id).await["safe_tx"]["nonce"].as_str().unwrap().parse().unwrap();
    assert_eq!(propose(api, &[&id], Some(next)).await.status, 200);
    api.look(&id, "the nonce", |it| it["nonce"]["choice"] == "pinned").await;
    let chain = &world.town.chain;
    let device = Write::AddDevice(DeviceId([0xcc; 32].into()));
    let call = countersign::owner::Call::of_write(chain.app, &device);
    let other = chain.propose(&[call]).await.unwrap();
    let signatures = chain.sign(&other);
    countersign::devnet::execute(&chain.rpc, &chain.executor, chain.safe, &other, &signatures)
        .await
        .unwrap();
    let told = api.look(&id, "another nonce", |it| it["nonce"]["nonce"] == next + 1).await;
    assert_eq!(told["nonce"]["choice"], "next_free");
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_one_transaction_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let ids = two(&world, api).await;
    let nonces: Vec<u64> = futures::future::join_all(ids.iter().map(|id| api.proposal(id)))
        .await
        .iter()
        .map(|shown| shown["safe_tx"]["nonce"].as_str().unwrap().parse().unwrap())
        .collect();
    let unknown = "019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11";
    let (first, second) = (ids[0].as_str(), ids[1].as_str());
    let many: Vec<String> = (0..21).map(|_| uuid::Uuid::now_v7().to_string()).collect();
    for (requests, nonce, status, code) in [
        (json!([first, first]), json!(null), 422, "invalid-field"),
        (json!([]), json!(null), 422, "invalid-field"),
        (json!(many), json!(null), 422, "invalid-field"),
        (json!([first, 7]), json!(null), 422, "invalid-field"),
        (json!([first, unknown]), json!(null), 404, "not-found"),
        (json!([first]), json!(-1), 422, "invalid-field"),
        (json!([first]), json!(u64::MAX), 422, "invalid-field"),
        (json!([first]), json!("7"), 422, "invalid-field"),
        (json!([first]), json!(nonces[1]), 422, "nonce-taken"),
    ] {
        let body = json!({ "requests": requests, "nonce": nonce, "reason": "why not" });
        let answer = api.post("/v1/proposals", &body).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (status, &json!(code)),
            "{body}: {}",
            answer.body
        );
    }
    let nameless = json!({ "requests": [first], "reason": " " });
    assert_eq!(api.post("/v1/proposals", &nameless).await.status, 422);
    assert_eq!(api.with_token("nobody").post("/v1/proposals", &nameless).await.status, 401);
    for (id, nonce) in ids.iter().zip(&nonces) {
        assert_eq!(api.proposal(id).await["safe_tx"]["nonce"], nonce.to_string());
        assert!(!api.told(id).await.contains(&"proposal_replaced".to_owned()));
    }

    // Once the entries are on the chain there is nothing left to propose.
    world.sign(api, first).await;
    world.execute(api, first).await;
    world.mine(DEPTH).await;
    api.wait_for(first, "running").await;
    let late = propose(api, &[second, first], None).await;
    assert_eq!(
        (late.status, &late.body["code"]),
        (409, &json!("not-in-this-status")),
        "{}",
        late.body
    );
    assert!(!api.told(second).await.contains(&"arranged".to_owned()), "all of them or none");
    running.stop().await;
}
