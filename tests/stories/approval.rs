//! However the approval comes about, the state of the app is what counts, and a signature covers
//! exactly what it was given for.

use alloy::{
    primitives::{B256, Bytes, U256, address},
    signers::SignerSync,
    sol,
    sol_types::SolCall,
};
use countersign::{
    devnet::{Wallet, execute},
    dstack::Write,
    owner::Call,
    request::ids::SafeTxHash,
    safe::{OwnerSignature, SafeTx},
};
use serde_json::{Value, json};
use sqlx::postgres::PgListener;

use crate::world::{Api, DEPTH, World, eventually};

sol! {
    function transferOwnership(address newOwner) external;
    function addOwnerWithThreshold(address owner, uint256 _threshold) external;
    function setAllowAnyDevice(bool allow) external;
}

/// The two writes that let the replica in.
fn writes(world: &World) -> [Call; 2] {
    let (compose, device) = (world.town.compose_hash, world.town.nodes[1].device_id);
    [Write::AddComposeHash(compose), Write::AddDevice(device)]
        .map(|write| Call::of_write(world.town.chain.app, &write))
}

/// The owners sign and execute by themselves, far from here.
async fn executed_elsewhere(world: &World, calls: &[Call]) -> SafeTx {
    let chain = &world.town.chain;
    let tx = chain.propose(calls).await.unwrap();
    let signatures = chain.sign(&tx);
    let executed =
        execute(&chain.rpc, &chain.executor, chain.safe, &tx, &signatures).await.unwrap();
    assert!(executed.success);
    tx
}

async fn submit(world: &World, api: &Api) -> String {
    api.submit(&world.submission(&world.prepare().await)).await
}

async fn assert_runs(world: &World, api: &Api, id: &str) {
    api.wait_for(id, "running").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
}

/// The request that is announced next.
async fn next_change(changes: &mut PgListener) -> String {
    loop {
        let change = changes.recv().await.unwrap().payload().to_owned();
        if !change.starts_with("head ") {
            return change;
        }
    }
}

fn evidence(world: &World) -> String {
    world.town.cloud.commit_log().pop().unwrap().transaction_hash
}

#[tokio::test]
async fn what_is_registered_already_is_committed_without_a_proposal() {
    let world = World::new().await;
    executed_elsewhere(&world, &writes(&world)).await;
    world.mine(DEPTH).await;
    let running = world.start().await;
    let id = submit(&world, &running.api).await;
    assert_runs(&world, &running.api, &id).await;
    assert!(!running.api.told(&id).await.contains(&"proposed".to_owned()));
    running.stop().await;
}

#[tokio::test]
async fn a_missing_device_is_one_plain_call_and_is_no_evidence() {
    let world = World::with(|town| town.missing_compose = false).await;
    let running = world.start().await;
    let api = &running.api;
    let id = submit(&world, api).await;
    let proposal = api.proposal(&id).await;
    assert_eq!(proposal["safe_tx"]["operation"], 0);
    assert_eq!(proposal["calls"].as_array().unwrap().len(), 1);
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    assert_runs(&world, api, &id).await;
    // The compose hash was set when the app was made; not every generation tells by an event.
    let app = world.town.chain.app;
    let ledger = api.get(&format!("/v1/apps/8453/{app}/ledger")).await.body;
    let mut entries = ledger.as_array().unwrap().iter();
    let added = entries.find(|entry| entry["kind"] == "compose_hash_added");
    let expected = added.map_or("already-registered", |entry| entry["tx"].as_str().unwrap());
    assert_eq!(evidence(&world), expected);
    running.stop().await;
}

#[tokio::test]
async fn a_missing_device_names_the_transaction_that_added_the_compose_hash() {
    let world = World::new().await;
    let [compose, device] = writes(&world);
    executed_elsewhere(&world, &[compose]).await;
    let running = world.start().await;
    let api = &running.api;
    let id = submit(&world, api).await;
    let proposal = api.proposal(&id).await;
    assert_eq!(proposal["bare_calls"], json!([device]), "the compose hash is there already");
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    assert_runs(&world, api, &id).await;
    let executed = api.request(&id).await["executed"]["transaction"].clone();
    assert!(evidence(&world).starts_with("0x"));
    assert_ne!(json!(evidence(&world)), executed, "that one added the device only");
    running.stop().await;
}

#[tokio::test]
async fn a_transaction_executed_elsewhere_counts() {
    let world = World::new().await;
    let running = world.start().await;
    let id = submit(&world, &running.api).await;
    running.api.wait_for(&id, "proposed").await;
    executed_elsewhere(&world, &writes(&world)).await;
    world.mine(DEPTH).await;
    assert_runs(&world, &running.api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn another_route_counts_and_its_nonce_goes_to_the_next_request() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = submit(&world, api).await;
    world.sign(api, &id).await;
    for call in writes(&world) {
        world.as_the_safe(call.to, call.data).await;
    }
    world.mine(DEPTH).await;
    assert_runs(&world, api, &id).await;

    let second = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    world.sign(api, &second).await;
    world.execute(api, &second).await;
    world.mine(DEPTH).await;
    api.wait_for(&second, "running").await;
    running.stop().await;
}

#[tokio::test]
async fn any_device_is_device_enough() {
    let world = World::new().await;
    let running = world.start().await;
    let id = submit(&world, &running.api).await;
    running.api.wait_for(&id, "proposed").await;
    let app = world.town.chain.app.0;
    let [compose, _] = writes(&world);
    let open = setAllowAnyDeviceCall { allow: true }.abi_encode();
    world.as_the_safe(app, open.into()).await;
    world.as_the_safe(app, compose.data).await;
    world.mine(DEPTH).await;
    assert_runs(&world, &running.api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn an_owner_that_is_no_safe_gets_the_bare_calls() {
    let world = World::new().await;
    let owner = Wallet::funded(0).unwrap();
    let app = world.town.chain.app.0;
    let give = transferOwnershipCall { newOwner: owner.address() }.abi_encode();
    world.as_the_safe(app, give.into()).await;
    let running = world.start().await;
    let api = &running.api;
    let id = submit(&world, api).await;
    let proposal = api.proposal(&id).await;
    assert_eq!((&proposal["route"], &proposal["safe_tx"]), (&json!("eoa"), &Value::Null));
    assert_eq!(proposal["owner"], json!(owner.address()));
    api.wait_for_reason(&id, "acts in its own way (eoa)").await;
    let refused = api.confirm(&id, &format!("0x{}", "11".repeat(65))).await;
    assert_eq!(refused.status, 422, "{}", refused.text);

    for call in proposal["bare_calls"].as_array().unwrap() {
        let data: Bytes = call["data"].as_str().unwrap().parse().unwrap();
        world.town.chain.rpc.send(&owner, app, data).await.unwrap();
    }
    world.mine(DEPTH).await;
    assert_runs(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_new_owner_of_the_app_gets_a_proposal_of_its_own() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = submit(&world, api).await;
    world.sign(api, &id).await;
    let owner = Wallet::funded(0).unwrap();
    let give = transferOwnershipCall { newOwner: owner.address() }.abi_encode();
    world.as_the_safe(world.town.chain.app.0, give.into()).await;
    let replaced = api.last_told(&id, "proposal_replaced").await;
    assert!(replaced["reason"].as_str().unwrap().contains("belongs to"), "{replaced}");
    api.wait_for(&id, "proposed").await;
    assert_eq!(api.proposal(&id).await["route"], "eoa");
    running.stop().await;
}

#[tokio::test]
async fn only_a_signature_of_an_owner_over_this_transaction_is_taken() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = submit(&world, api).await;
    let hash: SafeTxHash =
        api.proposal(&id).await["safe_tx_hash"].as_str().unwrap().parse().unwrap();
    let owner = &world.town.chain.owners[0];
    let text = |signature: OwnerSignature| alloy::hex::encode_prefixed(signature.to_bytes());

    let stranger = api.confirm(&id, &text(world.town.chain.executor.sign(hash))).await;
    assert_eq!((stranger.status, stranger.body["code"].as_str()), (422, Some("not-an-owner")));
    let other = SafeTxHash(B256::repeat_byte(7));
    let other = api.confirm(&id, &text(owner.sign(other))).await;
    assert_eq!((other.status, other.body["code"].as_str()), (422, Some("not-an-owner")));
    let good = text(owner.sign(hash));
    for garbage in ["", "0x", "0xzz", &good[..130], &format!("0x{}", "00".repeat(65))] {
        let answer = api.confirm(&id, garbage).await;
        assert_eq!((answer.status, &answer.body["field"]), (422, &json!("signature")), "{garbage}");
    }
    assert_eq!(api.proposal(&id).await["confirmations"], json!([]), "nothing of that is kept");
    let taken = api.confirm(&id, &good).await;
    // Nobody has to look for that: it is told by the answer itself.
    assert_eq!((taken.status, &taken.body["reason"]), (201, &json!("1 of 2 signatures")));
    assert_eq!(api.confirm(&id, &good).await.status, 200, "the same again changes nothing");
    assert_eq!(api.request(&id).await["status"], "proposed", "one signature of two is not enough");
    running.stop().await;
}

#[tokio::test]
async fn a_signature_that_is_not_the_last_one_is_told_and_gives_nobody_work() {
    let world = World::with(|town| (town.threshold, town.owners) = (3, 3)).await;
    let running = world.start().await;
    let api = &running.api;
    let first = submit(&world, api).await;
    api.wait_for_reason(&first, "0 of 3 signatures").await;
    let second = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    api.wait_for_reason(&second, "0 of 3 signatures; nonce").await;
    let due = async || {
        let each = "select string_agg(next_try_at::text, ' ' order by id) from requests";
        world.database.text(each).await
    };
    let before = due().await;
    let store = &running.service.store;
    let (mut changes, mut work) = (store.changes().await.unwrap(), store.work().await.unwrap());
    for id in [&first, &second] {
        let answer = api.confirm(id, &world.signature(api, id, 0).await).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert!(answer.body["reason"].as_str().unwrap().starts_with("1 of 3 signatures"));
        assert_eq!(&next_change(&mut changes).await, id, "those who look on hear of it");
    }
    assert_eq!(due().await, before, "nobody has to look");
    api.wait_for_reason(&second, "1 of 3 signatures; nonce").await;
    let path = format!("/v1/requests/{second}/withdraw");
    assert_eq!(api.post(&path, &json!({"reason": "no"})).await.status, 200);
    assert_eq!(next_change(&mut work).await, second, "workers heard of nothing before");
    // They have connections that the end would wait for.
    drop((changes, work));
    running.stop().await;
}

#[tokio::test]
async fn every_spelling_of_a_signature_is_packed_as_the_contract_takes_it() {
    let world = World::with(|town| (town.threshold, town.owners) = (3, 4)).await;
    let running = world.start().await;
    let api = &running.api;
    let id = submit(&world, api).await;
    let hash: SafeTxHash =
        api.proposal(&id).await["safe_tx_hash"].as_str().unwrap().parse().unwrap();
    let owners = &world.town.chain.owners;
    // As MetaMask writes it with a Ledger: 0 and 1 in the place of 27 and 28.
    let mut ledger = owners[2].sign(hash).to_bytes();
    ledger[64] -= 27;
    // As `eth_sign` and `personal_sign` make it.
    let mut message = owners[1].signer().sign_message_sync(hash.0.as_slice()).unwrap().as_bytes();
    // Without the mark of its kind it is told from a foreigner's, and not put right.
    let unmarked = api.confirm(&id, &alloy::hex::encode_prefixed(message)).await;
    assert_eq!((unmarked.status, &unmarked.body["code"]), (422, &"unmarked-eth-sign".into()));
    let last = message[64] + 4;
    assert!(unmarked.text.contains(&format!("with {last} ({last:#04x})")), "{}", unmarked.text);
    assert_eq!(api.proposal(&id).await["confirmations"], Value::Array(vec![]));
    message[64] += 4;
    let plain = owners[0].sign(hash).to_bytes();
    for (given, signature) in [ledger, message, plain].iter().enumerate() {
        let status = api.request(&id).await["status"].clone();
        assert_eq!(status, "proposed", "{given} of 3 signatures are not enough");
        let answer = api.confirm(&id, &alloy::hex::encode_prefixed(signature)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    api.wait_for(&id, "approved").await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    assert_runs(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_used_nonce_replaces_the_proposal_and_its_signatures() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = submit(&world, api).await;
    let before = api.proposal(&id).await;
    let old = world.signature(api, &id, 0).await;
    world.sign(api, &id).await;
    let nothing = Call { to: world.town.chain.safe, value: U256::ZERO, data: Bytes::new() };
    executed_elsewhere(&world, &[nothing]).await;

    let replaced = api.last_told(&id, "proposal_replaced").await;
    assert!(replaced["reason"].as_str().unwrap().contains("nonce"), "{replaced}");
    api.wait_for(&id, "proposed").await;
    let after = api.proposal(&id).await;
    assert_ne!(before["safe_tx_hash"], after["safe_tx_hash"]);
    assert_eq!((&after["confirmations"], &after["execution"]), (&json!([]), &Value::Null));
    let late = api.confirm(&id, &old).await;
    assert_eq!((late.status, late.body["code"].as_str()), (409, Some("proposal-replaced")));
    let title = late.body["title"].as_str().unwrap();
    assert!(title.contains("signed an earlier transaction of this request"), "{title}");
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    assert_runs(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_gap_that_a_withdrawn_request_leaves_is_closed() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let first = submit(&world, api).await;
    api.proposal(&first).await;
    let second = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    let waiting = api.proposal(&second).await["safe_tx"]["nonce"].clone();
    world.sign(api, &second).await;
    api.wait_for_reason(&second, "waits until nonce").await;
    let answer =
        api.post(&format!("/v1/requests/{first}/withdraw"), &json!({"reason": "no"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);

    api.last_told(&second, "proposal_replaced").await;
    api.wait_for(&second, "proposed").await;
    assert_ne!(api.proposal(&second).await["safe_tx"]["nonce"], waiting);
    world.sign(api, &second).await;
    world.execute(api, &second).await;
    world.mine(DEPTH).await;
    assert_runs(&world, api, &second).await;
    running.stop().await;
}

#[tokio::test]
async fn what_another_request_added_meanwhile_does_not_cost_the_signatures() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let first = submit(&world, api).await;
    api.proposal(&first).await;
    let second = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    for id in [&first, &second] {
        world.sign(api, id).await;
    }
    world.execute(api, &first).await;
    world.mine(DEPTH).await;
    api.wait_for(&first, "running").await;
    api.wait_for_reason(&second, "anyone may execute").await;
    world.execute(api, &second).await;
    world.mine(DEPTH).await;
    api.wait_for(&second, "running").await;
    assert!(!api.told(&second).await.contains(&"proposal_replaced".to_owned()));
    running.stop().await;
}

#[tokio::test]
async fn new_owners_of_the_safe_must_sign_anew() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let first = submit(&world, api).await;
    api.proposal(&first).await;
    let second = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    world.sign(api, &second).await;
    let safe = world.town.chain.safe;
    let owner = address!("00000000000000000000000000000000000000aa");
    let add = addOwnerWithThresholdCall { owner, _threshold: U256::from(3) }.abi_encode();
    executed_elsewhere(&world, &[Call { to: safe, value: U256::ZERO, data: add.into() }]).await;

    let replaced = api.last_told(&second, "proposal_replaced").await;
    assert!(replaced["reason"].as_str().unwrap().contains("owners"), "{replaced}");
    api.wait_for(&second, "proposed").await;
    let proposal = api.proposal(&second).await;
    assert_eq!((&proposal["threshold"], &proposal["confirmations"]), (&json!(3), &json!([])));
    running.stop().await;
}

#[tokio::test]
async fn what_was_signed_before_it_was_withdrawn_and_is_executed_all_the_same_is_told() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = submit(&world, api).await;
    world.sign(api, &id).await;
    let execution = api.proposal(&id).await["execution"].clone();
    let path = format!("/v1/requests/{id}/withdraw");
    let withdrawn = api.post(&path, &json!({ "reason": "no" })).await;
    let told = withdrawn.body["explanation"]["next"].to_string();
    assert!(withdrawn.status == 200 && told.contains("can still execute"), "{told}");
    let next = async || api.request(&id).await["explanation"]["next"].to_string();
    let open = next().await;
    assert!(open.contains("can still execute") && open.contains("at nonce 0"), "{open}");
    world.send(&execution).await;
    let told = eventually("the execution to be told of", async || {
        let next = next().await;
        next.contains("was executed all the same, in 0x").then_some(next)
    })
    .await;
    assert!(told.contains("allowed what it was for") && !told.contains("can still"), "{told}");
    assert_eq!(api.request(&id).await["status"], "withdrawn");
    let page = api.get(&format!("/requests/{id}")).await.text;
    assert!(page.contains("was executed all the same"), "{page}");
    let (chain, app) = (world.town.chain.chain_id, world.town.chain.app);
    eventually("the entries to name the request", async || {
        let list = api.get(&format!("/v1/apps/{chain}/{app}/allowlist")).await.body;
        let named =
            list["entries"].as_array()?.iter().filter(|one| one["requests"][0] == id.as_str());
        (named.count() == 2).then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn signatures_for_what_was_withdrawn_are_told_of_until_their_nonce_is_used() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let first = submit(&world, api).await;
    world.sign(api, &first).await;
    // What is signed stays so when it is proposed at another nonce.
    let again = json!({ "requests": [first], "nonce": 1, "reason": "something comes before it" });
    assert_eq!(api.post("/v1/proposals", &again).await.status, 200);
    api.last_told(&first, "proposal_replaced").await;
    let path = format!("/v1/requests/{first}/withdraw");
    assert_eq!(api.post(&path, &json!({ "reason": "no" })).await.status, 200);
    let next = async || api.request(&first).await["explanation"]["next"].to_string();
    let open = next().await;
    assert!(open.contains("can still execute") && open.contains("at nonce 0"), "{open}");
    let second = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    eventually("a proposal at that nonce", async || {
        (api.proposal(&second).await["safe_tx"]["nonce"] == "0").then_some(())
    })
    .await;
    world.sign(api, &second).await;
    world.execute(api, &second).await;
    world.mine(DEPTH).await;
    assert_runs(&world, api, &second).await;
    assert_eq!(next().await, "\"nothing: it has ended\"");
    running.stop().await;
}

#[tokio::test]
async fn signatures_are_for_a_transaction_whichever_request_they_were_asked_for() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let withdrawn = async |id: &str| {
        let path = format!("/v1/requests/{id}/withdraw");
        assert_eq!(api.post(&path, &json!({ "reason": "no" })).await.status, 200);
    };
    let next = async |id: &str| api.request(id).await["explanation"]["next"].to_string();
    let hash_of = async |id: &str| api.proposal(id).await["safe_tx_hash"].clone();
    let first = submit(&world, api).await;
    let hash = hash_of(&first).await;
    world.sign_by(api, &first, 0).await;
    withdrawn(&first).await;
    let told = next(&first).await;
    assert!(told.contains("with those that are missing") && told.contains("nonce 0"), "{told}");

    let second = submit(&world, api).await;
    assert_ne!(first, second);
    assert_eq!(hash_of(&second).await, hash, "it is the same transaction");
    let told = next(&second).await;
    assert!(told.contains("one more owner signed this very transaction before"), "{told}");
    world.sign_by(api, &second, 1).await;
    withdrawn(&second).await;
    for id in [&first, &second] {
        let told = next(id).await;
        assert!(told.contains("can still execute the signed transaction"), "{told}");
    }

    // Something that was not proposed here takes the nonce.
    executed_elsewhere(&world, &writes(&world)[..1]).await;
    world.mine(DEPTH).await;
    for id in [&first, &second] {
        eventually("the nonce to be used", async || {
            (next(id).await == "\"nothing: it has ended\"").then_some(())
        })
        .await;
    }
    running.stop().await;
}
