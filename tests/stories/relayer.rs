//! The relayer executes what enough owners have signed, pays no more than it may, says why it waits,
//! and has one transaction under way at most.

use alloy::primitives::{Address, Bytes, U256};
use chrono::TimeDelta;
use countersign::{
    devnet::Wallet,
    safe::{SafeVersion, tx::Safe},
};
use serde_json::{Value, json};

use crate::world::{Api, DEPTH, Running, World, eventually, node::Node, process::cli};

const GUARD_SLOT: &str = "0x4a204f620c8c5ccdca3fd54d003badd85ba500436a431f0cbda4f558c93c34c8";
const GUARD: Address = Address::repeat_byte(0x5a);
/// Reverts whatever it is asked.
const REFUSES: Bytes = Bytes::from_static(&[0x60, 0, 0x60, 0, 0xfd]);
pub const GWEI: u64 = 1_000_000_000;

/// A world with an account that executes.
pub async fn world() -> World {
    world_of(SafeVersion::V1_4_1).await
}

async fn world_of(version: SafeVersion) -> World {
    let mut world = World::with(|town| town.safe_version = version).await;
    world.relayer = Wallet::funded(7);
    world
}

/// Everybody signs who must. Nothing is waited for: the relayer is quick.
pub async fn signed(world: &World, api: &Api) -> String {
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.proposal(&id).await;
    for owner in 0..world.town.chain.threshold {
        world.sign_by(api, &id, owner).await;
    }
    id
}

/// How many transactions of the relayer are in blocks.
pub async fn paid_for(world: &World) -> u64 {
    nonce(world, "latest").await
}

pub async fn nonce(world: &World, tag: &str) -> u64 {
    let relayer = world.relayer.as_ref().unwrap().address();
    let count: U256 =
        world.town.chain.rpc.raw("eth_getTransactionCount", (relayer, tag)).await.unwrap();
    count.to()
}

/// Waits until what the relayer shows of a request is so.
pub async fn relayer(api: &Api, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let request = api.look(id, what, |request| is_so(&request["relayer"])).await;
    request["relayer"].clone()
}

pub async fn says(api: &Api, id: &str, words: &str) -> Value {
    let is_so = |it: &Value| it["state"].as_str().unwrap_or_default().contains(words);
    relayer(api, id, words, is_so).await
}

pub fn outcomes(shown: &Value) -> Vec<&str> {
    let tries = shown["tries"].as_array().map(Vec::as_slice).unwrap_or_default();
    tries.iter().map(|one| one["outcome"].as_str().unwrap_or("open")).collect()
}

/// Lets blocks pass until the tries of the relayer have ended like this.
pub async fn ends(world: &World, api: &Api, id: &str, expected: &[&str]) -> Value {
    world.mine(DEPTH).await;
    relayer(api, id, &format!("{expected:?}"), |shown| outcomes(shown) == expected).await
}

pub async fn runs(world: &World, running: &Running, id: &str) {
    running.api.wait_for(id, "executed").await;
    world.mine(DEPTH).await;
    running.api.wait_for(id, "running").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
}

async fn set_guard(world: &World, guard: Address) {
    let (rpc, safe) = (&world.town.chain.rpc, world.town.chain.safe);
    rpc.set_code(GUARD, &REFUSES).await.unwrap();
    let slot = (safe, GUARD_SLOT, guard.into_word());
    let _: Value = rpc.raw("anvil_setStorageAt", slot).await.unwrap();
}

pub async fn next_base_fee(world: &World, wei: u64) {
    let rpc = &world.town.chain.rpc;
    let _: Value = rpc.raw("anvil_setNextBlockBaseFeePerGas", (U256::from(wei),)).await.unwrap();
    world.mine(1).await;
}

#[tokio::test]
async fn with_the_last_signature_it_executes_and_nobody_else_has_to() {
    for version in [SafeVersion::V1_1_1, SafeVersion::V1_3_0, SafeVersion::V1_5_0] {
        let world = world_of(version).await;
        let running = world.start().await;
        let api = &running.api;
        let id = api.submit(&world.submission(&world.prepare().await)).await;
        api.proposal(&id).await;
        let before = says(api, &id, "once enough owners have signed").await;
        let account = world.relayer.as_ref().unwrap().address();
        assert_eq!(before["address"], json!(account));
        world.sign_by(api, &id, 0).await;
        assert_eq!(paid_for(&world).await, 0, "one signature of two is not enough");
        world.sign_by(api, &id, 1).await;
        runs(&world, &running, &id).await;
        let shown = ends(&world, api, &id, &["executed"]).await;
        let tried = &shown["tries"][0];
        let executed = api.request(&id).await["executed"]["transaction"].clone();
        assert_eq!((&tried["transaction"], &tried["relayer_nonce"]), (&executed, &json!(0)));
        assert_eq!(paid_for(&world).await, 1, "{version}");
        let (code, shown, _) = cli(api, &["show", &id]).await;
        assert_eq!(code, 0);
        for part in ["Tries of the relayer", "executed", executed.as_str().unwrap()] {
            assert!(shown.contains(part), "{part} is missing in {shown}");
        }
        let page = api.get(&format!("/requests/{id}")).await.text;
        assert!(page.contains("executed in block"), "{page}");
        running.stop().await;
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_ever_sent() {
    let mut world = World::new().await;
    let node = Node::before(&world.settings.chains[0].rpc[0]).await;
    world.settings.chains[0].rpc = vec![node.url()];
    let running = world.start().await;
    let api = &running.api;
    let id = signed(&world, api).await;
    api.wait_for_reason(&id, "anyone may execute").await;
    world.mine(5).await;
    world.clock.pass(TimeDelta::hours(1));
    world.look_again().await;
    api.wait_for_reason(&id, "anyone may execute").await;
    assert_eq!(api.request(&id).await["relayer"], Value::Null);
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    api.wait_for(&id, "running").await;
    let calls = node.take_calls();
    assert!(
        calls.keys().all(|method| !method.contains("Transaction") || method.contains("Receipt")),
        "{calls:?}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_cap_of_zero_turns_it_off_on_a_chain() {
    let mut world = world().await;
    world.settings.chains[0].relayer.max_fee = 0;
    let running = world.start().await;
    let id = signed(&world, &running.api).await;
    running.api.wait_for_reason(&id, "anyone may execute").await;
    assert_eq!(running.api.request(&id).await["relayer"], Value::Null);
    assert_eq!(nonce(&world, "pending").await, 0);
    running.stop().await;
}

#[tokio::test]
async fn while_gas_is_dearer_than_the_cap_it_waits_and_says_so() {
    let world = world().await;
    let running = world.start().await;
    let api = &running.api;
    next_base_fee(&world, 40 * GWEI).await;
    let id = signed(&world, api).await;
    says(api, &id, "and the relayer pays 2 at most").await;
    let (_, shown, _) = cli(api, &["show", &id]).await;
    assert!(shown.contains("gas costs"), "{shown}");
    assert_eq!(nonce(&world, "pending").await, 0, "nothing was sent");
    next_base_fee(&world, GWEI / 10).await;
    runs(&world, &running, &id).await;
    let shown = ends(&world, api, &id, &["executed"]).await;
    let paid = shown["tries"][0]["transactions"][0]["max_fee"].as_u64().unwrap();
    assert!(paid <= 2 * GWEI, "{shown}");
    running.stop().await;
}

#[tokio::test]
async fn an_account_that_cannot_pay_is_named() {
    let world = world().await;
    let account = world.relayer.as_ref().unwrap().address();
    let rpc = &world.town.chain.rpc;
    rpc.set_balance(account, U256::from(GWEI)).await.unwrap();
    let running = world.start().await;
    let api = &running.api;
    let id = signed(&world, api).await;
    let words = format!("relayer {account} holds 0.000000001 of the chain's coin and needs");
    says(api, &id, &words).await;
    assert_eq!(nonce(&world, "pending").await, 0);
    let (code, told, _) = cli(api, &["doctor"]).await;
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("relayer on chain 8453") && told.contains("send it some"), "{told}");
    let ready = api.get("/readyz").await;
    assert_eq!((ready.status, &ready.body["ready"]), (200, &json!(true)), "it goes on without");

    rpc.set_balance(account, U256::from(GWEI) * U256::from(GWEI)).await.unwrap();
    world.mine(1).await;
    runs(&world, &running, &id).await;
    world.clock.pass(TimeDelta::minutes(1));
    // The chain was last looked at a minute ago, too, until it is looked at again.
    eventually("a doctor content with everything", async || {
        (cli(api, &["doctor"]).await.0 == 0).then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn what_a_simulation_does_not_let_pass_is_not_sent() {
    let world = world().await;
    set_guard(&world, GUARD).await;
    world.mine(1).await;
    let running = world.start().await;
    let api = &running.api;
    let id = signed(&world, api).await;
    says(api, &id, &format!("fails: its guard {GUARD} refuses")).await;
    assert_eq!(nonce(&world, "pending").await, 0);

    // It lets everything pass, and notes something of its own: more than was approved.
    let notes = Bytes::from_static(&[0x60, 1, 0x60, 9, 0x55, 0]);
    world.town.chain.rpc.set_code(GUARD, &notes).await.unwrap();
    world.mine(1).await;
    says(api, &id, "does more than allow entries").await;
    assert_eq!(nonce(&world, "pending").await, 0);

    set_guard(&world, Address::ZERO).await;
    world.mine(1).await;
    runs(&world, &running, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_safe_whose_code_nobody_published_is_left_to_people() {
    let world = world_of(SafeVersion::V1_0_0).await;
    let running = world.start().await;
    let id = signed(&world, &running.api).await;
    says(&running.api, &id, "which is not a published Safe").await;
    assert_eq!(nonce(&world, "pending").await, 0);
    world.execute(&running.api, &id).await;
    runs(&world, &running, &id).await;
    assert_eq!(nonce(&world, "pending").await, 0);
    running.stop().await;
}

/// A transaction of the relayer waits in the pool.
pub async fn in_the_pool(world: &World, api: &Api) -> String {
    world.town.chain.rpc.mine_at_once(false).await.unwrap();
    let id = signed(world, api).await;
    eventually("a transaction in the pool", async || {
        (nonce(world, "pending").await == 1).then_some(())
    })
    .await;
    id
}

#[tokio::test]
async fn one_that_reverts_is_told_and_tried_again_only_after_a_pause() {
    let world = world().await;
    let running = world.start().await;
    let api = &running.api;
    let id = in_the_pool(&world, api).await;
    set_guard(&world, GUARD).await;
    world.mine(1).await;
    set_guard(&world, Address::ZERO).await;
    ends(&world, api, &id, &["reverted"]).await;
    says(api, &id, "it reverted in 0x").await;
    assert_eq!((paid_for(&world).await, nonce(&world, "pending").await), (1, 1));

    world.clock.pass(TimeDelta::minutes(2));
    relayer(api, &id, "a second try", |shown| outcomes(shown) == ["reverted", "open"]).await;
    world.town.chain.rpc.mine_at_once(true).await.unwrap();
    world.mine(1).await;
    runs(&world, &running, &id).await;
    ends(&world, api, &id, &["reverted", "executed"]).await;
    assert_eq!(paid_for(&world).await, 2);
    running.stop().await;
}

#[tokio::test]
async fn one_that_stays_out_of_blocks_is_replaced_at_the_same_nonce_up_to_the_cap() {
    let mut world = world().await;
    world.settings.chains[0].relayer.max_fee = 4 * GWEI;
    let running = world.start().await;
    let api = &running.api;
    let id = in_the_pool(&world, api).await;
    let mut before = 0;
    for count in 2..=3 {
        world.clock.pass(TimeDelta::seconds(91));
        let shown = relayer(api, &id, "a replacement", |shown| {
            shown["tries"][0]["transactions"].as_array().is_some_and(|all| all.len() == count)
        })
        .await;
        let fee = shown["tries"][0]["transactions"][count - 1]["max_fee"].as_u64().unwrap();
        assert!(fee * 100 >= before * 112 && fee <= 4 * GWEI, "{shown}");
        before = fee;
        assert_eq!(nonce(&world, "pending").await, 1, "all of them have one nonce");
    }
    let shown = eventually("the cap to be reached", async || {
        world.clock.pass(TimeDelta::seconds(91));
        let shown = api.request(&id).await["relayer"].clone();
        let state = shown["state"].as_str().unwrap();
        state.contains("would cost more than the 4 gwei").then_some(shown)
    })
    .await;
    for sent in shown["tries"][0]["transactions"].as_array().unwrap() {
        assert!(sent["max_fee"].as_u64().unwrap() <= 4 * GWEI, "{shown}");
    }
    world.town.chain.rpc.mine_at_once(true).await.unwrap();
    world.mine(1).await;
    runs(&world, &running, &id).await;
    ends(&world, api, &id, &["executed"]).await;
    assert_eq!(paid_for(&world).await, 1);
    running.stop().await;
}

#[tokio::test]
async fn what_is_withdrawn_while_it_is_in_no_block_is_not_pushed_but_cancelled() {
    let world = world().await;
    let running = world.start().await;
    let api = &running.api;
    let id = in_the_pool(&world, api).await;
    let withdrawn = format!("/v1/requests/{id}/withdraw");
    assert_eq!(api.post(&withdrawn, &json!({ "reason": "no" })).await.status, 200);
    world.clock.pass(TimeDelta::seconds(91));
    relayer(api, &id, "an empty transfer", |shown| {
        let sent = shown["tries"][0]["transactions"].as_array().unwrap();
        sent.last().is_some_and(|last| last["cancels"] == true)
    })
    .await;
    world.mine(1).await;
    ends(&world, api, &id, &["cancelled"]).await;
    assert_eq!(paid_for(&world).await, 1);
    let chain = &world.town.chain;
    let spent: U256 = chain.rpc.ask(chain.safe, &Safe::nonceCall {}).await.unwrap();
    assert!(spent.is_zero(), "the Safe did nothing");
    running.stop().await;
}

#[tokio::test]
async fn a_nonce_of_the_safe_that_is_spent_by_a_failure_is_told_and_not_repeated() {
    let world = world_of(SafeVersion::V1_1_1).await;
    let running = world.start().await;
    let api = &running.api;
    let id = in_the_pool(&world, api).await;
    let (rpc, app) = (&world.town.chain.rpc, world.town.chain.app.0);
    let code = rpc.code(app).await.unwrap();
    rpc.set_code(app, &REFUSES).await.unwrap();
    world.mine(1).await;
    rpc.set_code(app, &code).await.unwrap();
    ends(&world, api, &id, &["failed_inside"]).await;
    let replaced = api.last_told(&id, "proposal_replaced").await;
    assert!(replaced["reason"].as_str().unwrap().contains("failed inside"), "{replaced}");
    world.clock.pass(TimeDelta::hours(1));
    world.mine(1).await;
    api.wait_for(&id, "proposed").await;
    assert_eq!(nonce(&world, "pending").await, 1, "nothing is sent before the owners sign anew");
    running.stop().await;
}

#[tokio::test]
async fn what_waits_behind_another_transaction_of_the_safe_is_executed_in_its_turn() {
    let world = world().await;
    let running = world.start().await;
    let api = &running.api;
    let first = api.submit(&world.submission(&world.prepare().await)).await;
    api.proposal(&first).await;
    let second = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    api.proposal(&second).await;
    for owner in 0..2 {
        world.sign_by(api, &second, owner).await;
    }
    says(api, &second, "nonce 0 of the Safe comes first").await;
    assert_eq!(nonce(&world, "pending").await, 0);
    for owner in 0..2 {
        world.sign_by(api, &first, owner).await;
    }
    for id in [&first, &second] {
        api.wait_for(id, "executed").await;
        world.mine(DEPTH).await;
        api.wait_for(id, "running").await;
    }
    assert_eq!(paid_for(&world).await, 2);
    running.stop().await;
}

/// Lets blocks and time pass until something holds.
async fn in_time(world: &World, what: &str, holds: impl AsyncFn() -> bool) {
    eventually(what, async || {
        world.clock.pass(TimeDelta::seconds(20));
        world.mine(1).await;
        holds().await.then_some(())
    })
    .await;
}

async fn second_signed(world: &World, api: &Api) -> String {
    let id = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    api.proposal(&id).await;
    for owner in 0..2 {
        world.sign_by(api, &id, owner).await;
    }
    id
}

#[tokio::test]
async fn a_nonce_whose_transaction_is_forgotten_at_the_cap_is_freed() {
    let mut world = world().await;
    world.settings.chains[0].relayer.max_fee = 4 * GWEI;
    let running = world.start().await;
    let api = &running.api;
    // Dear, but within the cap: what is offered leaves no room for more.
    next_base_fee(&world, 2 * GWEI + GWEI / 2).await;
    let id = in_the_pool(&world, api).await;
    let shown = api.request(&id).await["relayer"].clone();
    let sent = &shown["tries"][0]["transactions"][0];
    assert!(sent["max_fee"].as_u64().unwrap() * 9 / 8 > 4 * GWEI, "{shown}");
    // Somebody withdraws it, and the nodes forget it, as their pools do.
    let reason = json!({ "reason": "not wanted" });
    assert_eq!(api.post(&format!("/v1/requests/{id}/withdraw"), &reason).await.status, 200);
    let hash = sent["hash"].as_str().unwrap().to_owned();
    let _: Value = world.town.chain.rpc.raw("anvil_dropTransaction", (hash,)).await.unwrap();
    world.town.chain.rpc.mine_at_once(true).await.unwrap();
    // Gas is cheap again.
    next_base_fee(&world, GWEI / 10).await;
    in_time(&world, "the nonce to be used", async || paid_for(&world).await == 1).await;
    let other = second_signed(&world, api).await;
    let status = async || api.request(&other).await["status"].clone();
    in_time(&world, "the next one to run", async || status().await == "running").await;
    assert_eq!(paid_for(&world).await, 2);
    running.stop().await;
}

#[tokio::test]
async fn what_a_deep_reorganisation_took_is_sent_again_below_an_open_try() {
    let world = world().await;
    let running = world.start().await;
    let api = &running.api;
    let first = signed(&world, api).await;
    runs(&world, &running, &first).await;
    let shown = ends(&world, api, &first, &["executed"]).await;
    let block = shown["tries"][0]["block"].as_u64().unwrap();
    world.town.chain.rpc.mine_at_once(false).await.unwrap();
    second_signed(&world, api).await;
    eventually("a second in the pool", async || {
        (nonce(&world, "pending").await == 2).then_some(())
    })
    .await;
    let head: U256 = world.town.chain.rpc.raw("eth_blockNumber", ()).await.unwrap();
    world.town.chain.rpc.reorg(head.to::<u64>() - block + 1).await.unwrap();
    world.town.chain.rpc.mine_at_once(true).await.unwrap();
    in_time(&world, "the first nonce to be used again", async || paid_for(&world).await > 0).await;
    running.stop().await;
}
