//! Safes of every version, and on every singleton that the version comes with, are proposed to,
//! signed for and executed alike. Where a version differs, it is told.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    rpc::types::TransactionRequest,
    signers::SignerSync,
    sol,
    sol_types::SolCall,
};
use countersign::{
    devnet::{Wallet, execute::own_hash},
    safe::{SafeTx, SafeVersion, deployments::find_multi_send_call_only},
};
use serde_json::{Value, json};

use crate::world::{Api, DEPTH, World};

sol! {
    function transferOwnership(address newOwner) external;
}

async fn world_of(safe_version: SafeVersion, l1_singleton: bool) -> World {
    World::with(|town| (town.safe_version, town.l1_singleton) = (safe_version, l1_singleton)).await
}

/// A proposal that shows what the Safe itself hashes to, and nothing alarming.
async fn good_proposal(world: &World, api: &Api, id: &str) -> Value {
    let proposal = api.proposal(id).await;
    let chain = &world.town.chain;
    assert_eq!(proposal["route"], "safe");
    assert_eq!(proposal["safe_version"], chain.safe_version.number());
    assert_eq!(proposal["notes"], json!(chain.safe_version.notes()));
    let codes: Vec<&Value> =
        proposal["warnings"].as_array().unwrap().iter().map(|one| &one["code"]).collect();
    // The package of 1.0.0 was built in another folder than what is on the chains, and its code
    // names that: here the Safe runs something that was never published.
    let foreign = chain.safe_version == SafeVersion::V1_0_0;
    assert_eq!(codes, if foreign { vec!["unknown_singleton"] } else { vec![] });
    let tx: SafeTx = serde_json::from_value(proposal["safe_tx"].clone()).unwrap();
    let own = own_hash(&chain.rpc, chain.safe, &tx).await.unwrap();
    assert_eq!(proposal["safe_tx_hash"], json!(own), "the Safe hashes as we do");
    proposal
}

async fn sign_and_run(world: &World, api: &Api, id: &str) {
    world.sign(api, id).await;
    world.execute(api, id).await;
    api.wait_for(id, "executed").await;
    world.mine(DEPTH).await;
    api.wait_for(id, "running").await;
}

/// From prepared to running: a batch of both additions, then one call for another device.
async fn approves_a_batch_and_a_call(version: SafeVersion, l1: bool) {
    let world = world_of(version, l1).await;
    let running = world.start().await;
    let api = &running.api;
    let first = api.submit(&world.submission(&world.prepare().await)).await;
    let batch = good_proposal(&world, api, &first).await;
    assert_eq!(
        (&batch["safe_tx"]["operation"], &batch["safe_tx"]["nonce"]),
        (&json!(1), &json!("0"))
    );
    let multi_send = batch["safe_tx"]["to"].as_str().unwrap().parse().unwrap();
    assert!(find_multi_send_call_only(multi_send).is_some());
    sign_and_run(&world, api, &first).await;

    let second = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    let call = good_proposal(&world, api, &second).await;
    assert_eq!(
        (&call["safe_tx"]["operation"], &call["safe_tx"]["nonce"]),
        (&json!(0), &json!("1"))
    );
    sign_and_run(&world, api, &second).await;
    assert_eq!((world.replicas(), world.effective_commits()), (2, 2));
    running.stop().await;
}

#[tokio::test]
async fn safe_1_0_0_approves_a_batch_and_a_call() {
    approves_a_batch_and_a_call(SafeVersion::V1_0_0, true).await;
}

#[tokio::test]
async fn safe_1_1_1_approves_a_batch_and_a_call() {
    approves_a_batch_and_a_call(SafeVersion::V1_1_1, true).await;
}

#[tokio::test]
async fn safe_1_2_0_approves_a_batch_and_a_call() {
    approves_a_batch_and_a_call(SafeVersion::V1_2_0, true).await;
}

#[tokio::test]
async fn safe_1_3_0_approves_a_batch_and_a_call() {
    approves_a_batch_and_a_call(SafeVersion::V1_3_0, true).await;
}

#[tokio::test]
async fn safe_1_3_0_l2_approves_a_batch_and_a_call() {
    approves_a_batch_and_a_call(SafeVersion::V1_3_0, false).await;
}

#[tokio::test]
async fn safe_1_4_1_approves_a_batch_and_a_call() {
    approves_a_batch_and_a_call(SafeVersion::V1_4_1, true).await;
}

#[tokio::test]
async fn safe_1_4_1_l2_approves_a_batch_and_a_call() {
    approves_a_batch_and_a_call(SafeVersion::V1_4_1, false).await;
}

#[tokio::test]
async fn safe_1_5_0_approves_a_batch_and_a_call() {
    approves_a_batch_and_a_call(SafeVersion::V1_5_0, true).await;
}

#[tokio::test]
async fn safe_1_5_0_l2_approves_a_batch_and_a_call() {
    approves_a_batch_and_a_call(SafeVersion::V1_5_0, false).await;
}

/// Lets transactions stand in one block in this order, whether they succeed or not.
async fn in_one_block(world: &World, transactions: &[(Address, Address, Bytes)]) {
    let rpc = &world.town.chain.rpc;
    rpc.mine_at_once(false).await.unwrap();
    for (from, to, data) in transactions {
        rpc.impersonate(*from).await.unwrap();
        let transaction = TransactionRequest::default()
            .from(*from)
            .to(*to)
            .input(data.clone().into())
            .gas_limit(1_000_000);
        let _: B256 = rpc.raw("eth_sendTransaction", (transaction,)).await.unwrap();
    }
    rpc.mine(1).await.unwrap();
    rpc.mine_at_once(true).await.unwrap();
}

/// The approved transaction is executed just while the app does not belong to the Safe, so that
/// its calls fail.
async fn execute_while_the_app_is_away(world: &World, api: &Api, id: &str) {
    let chain = &world.town.chain;
    let (app, keeper) = (chain.app.0, Wallet::funded(8).unwrap().address());
    let give =
        |to: Address| -> Bytes { transferOwnershipCall { newOwner: to }.abi_encode().into() };
    let execution = api.proposal(id).await["execution"].clone();
    let data: Bytes = execution["data"].as_str().unwrap().parse().unwrap();
    let ether = U256::from(10).pow(U256::from(18));
    chain.rpc.set_balance(chain.safe, ether).await.unwrap();
    in_one_block(
        world,
        &[
            (chain.safe, app, give(keeper)),
            (chain.executor.address(), chain.safe, data),
            (keeper, app, give(chain.safe)),
        ],
    )
    .await;
}

/// Before 1.3.0 the nonce is spent, which is told, and the owners are asked again.
async fn a_failure_is_told_and_asked_for_again(version: SafeVersion) {
    let world = world_of(version, true).await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    world.sign(api, &id).await;
    execute_while_the_app_is_away(&world, api, &id).await;
    let replaced = api.last_told(&id, "proposal_replaced").await;
    assert!(replaced["reason"].as_str().unwrap().contains("failed inside"), "{replaced}");
    api.wait_for(&id, "proposed").await;
    assert_eq!(good_proposal(&world, api, &id).await["safe_tx"]["nonce"], "1");
    sign_and_run(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_failure_inside_safe_1_0_0_is_told_and_asked_for_again() {
    a_failure_is_told_and_asked_for_again(SafeVersion::V1_0_0).await;
}

#[tokio::test]
async fn a_failure_inside_safe_1_1_1_is_told_and_asked_for_again() {
    a_failure_is_told_and_asked_for_again(SafeVersion::V1_1_1).await;
}

#[tokio::test]
async fn a_failure_inside_safe_1_2_0_is_told_and_asked_for_again() {
    a_failure_is_told_and_asked_for_again(SafeVersion::V1_2_0).await;
}

#[tokio::test]
async fn since_1_3_0_a_failure_costs_nothing_and_is_executed_again() {
    for version in [SafeVersion::V1_3_0, SafeVersion::V1_4_1, SafeVersion::V1_5_0] {
        let world = world_of(version, version == SafeVersion::V1_4_1).await;
        let running = world.start().await;
        let api = &running.api;
        let id = api.submit(&world.submission(&world.prepare().await)).await;
        world.sign(api, &id).await;
        execute_while_the_app_is_away(&world, api, &id).await;
        world.look_again().await;
        api.wait_for_reason(&id, "anyone may execute").await;
        world.execute(api, &id).await;
        world.mine(DEPTH).await;
        api.wait_for(&id, "running").await;
        assert!(!api.told(&id).await.contains(&"proposal_replaced".to_owned()), "{version}");
        running.stop().await;
    }
}

#[tokio::test]
async fn safe_1_0_0_takes_no_eth_sign_and_later_ones_do() {
    for version in [SafeVersion::V1_0_0, SafeVersion::V1_1_1] {
        let world = world_of(version, true).await;
        let running = world.start().await;
        let api = &running.api;
        let id = api.submit(&world.submission(&world.prepare().await)).await;
        let hash: B256 = api.proposal(&id).await["safe_tx_hash"].as_str().unwrap().parse().unwrap();
        for owner in &world.town.chain.owners[..2] {
            let signed = owner.signer().sign_message_sync(hash.as_slice()).unwrap();
            let mut message = signed.as_bytes();
            message[64] += 4;
            let answer = api.confirm(&id, &alloy::hex::encode_prefixed(message)).await;
            if version.takes_eth_sign() {
                assert_eq!(answer.status, 201, "{}", answer.text);
            } else {
                assert_eq!((answer.status, &answer.body["field"]), (422, &json!("signature")));
                assert!(answer.text.contains("EIP-712"), "{}", answer.text);
            }
        }
        if version.takes_eth_sign() {
            world.execute(api, &id).await;
            world.mine(DEPTH).await;
            api.wait_for(&id, "running").await;
        } else {
            assert_eq!(api.proposal(&id).await["confirmations"], json!([]));
        }
        running.stop().await;
    }
}
