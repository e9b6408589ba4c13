//! What a proposal would do, by the service's own endpoints: API and page show what `verify` finds,
//! when somebody asks, and nothing is decided by it.

use alloy::{
    primitives::{Address, Bytes},
    sol_types::{Revert, SolError},
};
use chrono::TimeDelta;
use countersign::safe::SafeVersion;
use serde_json::{Value, json};

use crate::world::{
    Answer, Api, DEPTH, World, eventually,
    line::{Fault, Line},
    process::cli,
};

const OTHER_NODE: u64 = 7;
const GUARD_SLOT: &str = "0x4a204f620c8c5ccdca3fd54d003badd85ba500436a431f0cbda4f558c93c34c8";

async fn proposed(world: &World, api: &Api) -> String {
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.proposal(&id).await;
    id
}

async fn simulated(api: &Api, id: &str) -> Answer {
    api.get(&format!("/v1/requests/{id}/simulation")).await
}

/// The section of the page, when somebody asks for it.
async fn shown(api: &Api, id: &str, query: &str) -> String {
    let page = api.get(&format!("/requests/{id}{query}")).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let section = page.text.split("id=\"simulation\"").nth(1).expect("there is a section");
    section.split("</section>").next().unwrap().to_owned()
}

/// Half a minute later it is made again.
fn later(world: &World) {
    world.clock.pass(TimeDelta::seconds(31));
}

#[tokio::test]
async fn what_a_proposal_would_do_is_foreseen_as_a_signer_would() {
    for version in [SafeVersion::V1_1_1, SafeVersion::V1_4_1, SafeVersion::V1_5_0] {
        let world = World::with(|town| town.safe_version = version).await;
        let running = world.start().await;
        let api = &running.api;
        let id = proposed(&world, api).await;
        let unasked = shown(api, &id, "").await;
        assert!(unasked.contains("?simulate=now") && !unasked.contains("on block"), "{unasked}");

        let told = simulated(api, &id).await;
        assert_eq!(told.status, 200, "{}", told.text);
        let (body, simulation) = (&told.body, &told.body["simulation"]);
        let proposal = api.proposal(&id).await;
        assert_eq!(
            (&body["safe_tx_hash"], &body["as_expected"]),
            (&proposal["safe_tx_hash"], &json!(true))
        );
        assert_eq!(simulation["outcome"], "succeeds", "{version}: {simulation:#}");
        let may_boot = |when: &str| simulation[when]["may_boot"].clone();
        assert_eq!((may_boot("before"), may_boot("after")), (json!(false), json!(true)));
        assert_eq!(simulation["changes"].as_array().unwrap().len(), 3, "two entries and the nonce");
        let section = shown(api, &id, "").await;
        let block = format!("on block {}", simulation["block"]["number"]);
        for part in [block.as_str(), "it succeeds, with ", "the instance may boot<"] {
            assert!(section.contains(part), "{part} is missing in {section}");
        }

        // Once the service follows the newest block, both tell the same to the last word.
        let rpc = world.town.chain.rpc_url().to_string();
        let (code, out, err) = cli(api, &["verify", &id, "--rpc", &rpc, "--json"]).await;
        assert_eq!(code, 0, "{out}{err}");
        let verified: Value = serde_json::from_str(&out).unwrap();
        eventually("the newest block to be followed", async || {
            later(&world);
            let body = simulated(api, &id).await.body;
            (body["simulation"]["block"] == verified["simulation"]["block"]).then_some(())
        })
        .await;
        assert_eq!(
            simulated(api, &id).await.body["simulation"],
            verified["simulation"],
            "{version}"
        );
        running.stop().await;
    }
}

#[tokio::test]
async fn it_is_made_when_somebody_asks_and_kept_for_a_while() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = proposed(&world, api).await;
    let first = simulated(api, &id).await.body;
    world.mine(3).await;
    let again = simulated(api, &id).await.body;
    assert_eq!(first, again, "somebody asked just before");
    let asked = shown(api, &id, "?simulate=now").await;
    assert!(asked.contains(&format!("on block {}", first["simulation"]["block"]["number"])));
    eventually("a newer block", async || {
        later(&world);
        let body = simulated(api, &id).await.body;
        (body["simulation"]["block"] != first["simulation"]["block"]).then_some(())
    })
    .await;

    assert_eq!(simulated(&api.with_token(""), &id).await.status, 401, "it costs reads");
    let nobody = simulated(api, "019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11").await;
    assert_eq!(nobody.status, 404, "{}", nobody.text);
    // What is executed is not foreseen any more.
    world.sign(api, &id).await;
    assert_eq!(simulated(api, &id).await.status, 200);
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    api.wait_for(&id, "running").await;
    let over = simulated(api, &id).await;
    assert!([404, 409].contains(&over.status), "{}", over.text);
    let page = api.get(&format!("/requests/{id}?simulate=now")).await.text;
    assert!(!page.contains("id=\"simulation\""), "{page}");
    running.stop().await;
}

/// One transaction for two apps: for each request the app is asked that is its own.
#[tokio::test]
async fn of_a_transaction_for_two_requests_each_foresees_its_own() {
    let world = World::new().await;
    let app = world.town.add_app().await.unwrap();
    let source = world.town.add_source(app);
    let running = world.start().await;
    let api = &running.api;
    let first = proposed(&world, api).await;
    let prepared = world.prepare_from(&source, OTHER_NODE).await;
    let second = api.submit(&World::submission_from(&source, OTHER_NODE, &prepared)).await;
    api.wait_for(&second, "proposed").await;
    let body = json!({ "requests": [first, second], "nonce": null, "reason": "in one go" });
    assert_eq!(api.post("/v1/proposals", &body).await.status, 200);
    let mut hashes = vec![];
    for (id, app) in [(&first, world.town.chain.app), (&second, app)] {
        let calls = eventually("a proposal for both", async || {
            let shown = api.proposal(id).await;
            let is_for_both = shown["requests"].as_array()?.len() == 2;
            is_for_both.then(|| shown["calls"].as_array().unwrap().len())
        })
        .await;
        let told = simulated(api, id).await.body;
        let changes = told["simulation"]["changes"].as_array().map(Vec::len);
        assert_eq!(changes, Some(calls + 1), "each entry, and the nonce: {told:#}");
        assert_eq!(told["as_expected"], true, "{told:#}");
        assert_eq!(told["simulation"]["app"], json!(app.0.to_string()));
        assert_eq!(told["simulation"]["after"]["may_boot"], true);
        hashes.push(told["safe_tx_hash"].clone());
    }
    assert_eq!(hashes[0], hashes[1], "it is one transaction");
    running.stop().await;
}

/// Code that refuses every call with a reason.
fn refuser(reason: &str) -> Bytes {
    let data = Revert::from(reason).abi_encode();
    let length = u8::try_from(data.len()).unwrap();
    let head = [0x60, length, 0x60, 0x0c, 0x60, 0, 0x39, 0x60, length, 0x60, 0, 0xfd];
    [head.as_slice(), &data].concat().into()
}

#[tokio::test]
async fn what_a_guard_refuses_is_loud_and_holds_nothing_up() {
    let world = World::new().await;
    let (chain, guard) = (&world.town.chain, Address::repeat_byte(0x5a));
    chain.rpc.set_code(guard, &refuser("not on a <Sunday>")).await.unwrap();
    let at = (chain.safe, GUARD_SLOT, guard.into_word());
    let _: Value = chain.rpc.raw("anvil_setStorageAt", at).await.unwrap();
    world.mine(1).await;
    let running = world.start().await;
    let api = &running.api;
    let id = proposed(&world, api).await;
    let told = simulated(api, &id).await.body;
    let simulation = &told["simulation"];
    assert_eq!((&told["as_expected"], &simulation["outcome"]), (&json!(false), &json!("reverts")));
    let why = format!("its guard {guard} refuses: not on a <Sunday>");
    assert_eq!(simulation["failure"], why);
    assert_eq!(simulation["extensions"], json!([format!("the guard {guard} refuses")]));
    let section = shown(api, &id, "?simulate=now").await;
    let loud = format!("IT FAILS: its guard {guard} refuses: not on a &#60;Sunday&#62;");
    assert!(section.contains(&loud) && section.contains("class=\"urgent\""), "{section}");

    // Nothing is decided by it.
    world.sign(api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn without_an_endpoint_it_is_said_why_there_is_none() {
    let mut world = World::new().await;
    let line = Line::to(world.town.chain.rpc_url()).await;
    world.settings.chains[0].rpc = vec![line.near()];
    let running = world.start().await;
    let api = &running.api;
    let id = proposed(&world, api).await;
    line.set(Fault::Cut);
    let dead = simulated(api, &id).await;
    assert_eq!((dead.status, &dead.body["code"]), (503, &json!("not-simulated")), "{}", dead.text);
    let why = dead.body["title"].as_str().unwrap();
    assert!(why.starts_with("could not simulate: cannot read "), "{why}");
    let section = shown(api, &id, "?simulate=now").await;
    assert!(section.contains("Could not simulate: cannot read "), "{section}");
    assert!(!section.contains("it succeeds"), "{section}");
    line.set(Fault::None);
    eventually("an endpoint that answers", async || {
        later(&world);
        (simulated(api, &id).await.status == 200).then_some(())
    })
    .await;
    let section = shown(api, &id, "").await;
    assert!(section.contains("it succeeds"), "{section}");
    running.stop().await;
}
