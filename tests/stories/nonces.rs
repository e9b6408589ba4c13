//! Safes that have other things to do: which nonce a proposal gets beside what others have waiting.

use alloy::primitives::U256;
use chrono::TimeDelta;
use countersign::{
    safe::SafeTx,
    safe_service::{Account, Post},
};
use serde_json::json;

use super::{
    mailbox::Mailed,
    mailbox_scene::{origin, rejection},
};
use crate::world::{Running, eventually};

/// The nonce of the Safe that comes next.
async fn next(mailed: &Mailed) -> u64 {
    let call = countersign::owner::Call {
        to: mailed.world.town.chain.safe,
        value: U256::ZERO,
        data: alloy::primitives::Bytes::new(),
    };
    mailed.world.town.chain.propose(&[call]).await.unwrap().nonce.to()
}

/// An owner puts an empty transaction into Safe's mailbox.
async fn put(mailed: &Mailed, nonce: u64) -> SafeTx {
    let chain = &mailed.world.town.chain;
    let account = Account { chain: chain.chain_id, safe: chain.safe, version: chain.safe_version };
    let (tx, owner) = (rejection(chain.safe, U256::from(nonce)), &chain.owners[0]);
    let post = Post::new(&account, tx.clone(), owner.address(), |hash| owner.sign(hash), origin());
    mailed.client().propose(chain.safe, &post).await.unwrap();
    tx
}

async fn execute(mailed: &Mailed, tx: &SafeTx) {
    let chain = &mailed.world.town.chain;
    let signatures = chain.sign(tx);
    countersign::devnet::execute(&chain.rpc, &chain.executor, chain.safe, tx, &signatures)
        .await
        .unwrap();
}

/// A request, and the nonce it is proposed with.
async fn proposed(mailed: &Mailed, running: &Running) -> (String, u64) {
    let (id, _) = mailed.propose(running).await;
    let nonce = nonce_of(running, &id).await.expect("it was just proposed");
    (id, nonce)
}

/// None while there is no proposal.
async fn nonce_of(running: &Running, id: &str) -> Option<u64> {
    let shown = running.api.get(&format!("/v1/requests/{id}/proposal")).await.body;
    shown["safe_tx"]["nonce"].as_str()?.parse().ok()
}

#[tokio::test]
async fn a_proposal_lines_up_behind_what_owners_have_waiting_elsewhere() {
    let mailed = Mailed::new().await;
    let next = next(&mailed).await;
    let other = put(&mailed, next).await;
    put(&mailed, next + 5).await;
    let running = mailed.world.start().await;
    let (id, nonce) = proposed(&mailed, &running).await;
    assert_eq!(nonce, next + 1, "behind the one, not behind the gap");
    mailed.is_told(&running, &id, "posted_at", "T").await;
    mailed.world.sign(&running.api, &id).await;
    running.api.wait_for(&id, "approved").await;
    let blocked = eventually("it to be said that another comes first", async || {
        let told = running.api.request(&id).await["explanation"].clone();
        told["why"].as_str()?.contains("waits until nonce").then_some(told)
    })
    .await;
    let why = blocked["why"].as_str().unwrap();
    assert!(why.contains(&format!("nonce {next} comes first")), "{why}");
    assert!(why.contains("a rejection (an empty call of the Safe to itself)"), "{why}");
    assert!(!blocked.to_string().contains("anyone may execute"), "{blocked}");
    execute(&mailed, &other).await;
    mailed.world.execute(&running.api, &id).await;
    mailed.world.mine(crate::world::DEPTH).await;
    running.api.wait_for(&id, "running").await;
    running.stop().await;
}

#[tokio::test]
async fn what_no_owner_signed_moves_no_nonce_and_a_mailbox_that_fails_holds_nothing_up() {
    for lie in [
        json!({ "foreign_signature": true }),
        json!({ "wrong_hash": true }),
        json!({ "fail_next": [{ "endpoint": "list", "status": 503, "times": 1_000_000 }] }),
    ] {
        let mailed = Mailed::new().await;
        let next = next(&mailed).await;
        put(&mailed, next).await;
        mailed.switch(lie.clone());
        let running = mailed.world.start().await;
        let (_, nonce) = proposed(&mailed, &running).await;
        assert_eq!(nonce, next, "{lie}");
        running.stop().await;
    }
}

#[tokio::test]
async fn what_is_deleted_elsewhere_leaves_its_nonce_to_a_proposal_that_nobody_signed() {
    let mailed = Mailed::new().await;
    let next = next(&mailed).await;
    let other = put(&mailed, next).await;
    let running = mailed.world.start().await;
    let (id, nonce) = proposed(&mailed, &running).await;
    assert_eq!(nonce, next + 1);
    mailed.is_told(&running, &id, "posted_at", "T").await;
    mailed.switch(json!({ "delete": mailed.world.town.chain.hashes(&other).safe_tx_hash }));
    // It is still respected for an hour.
    mailed.visit(&running, &id).await;
    assert_eq!(nonce_of(&running, &id).await, Some(next + 1));
    mailed.world.clock.pass(TimeDelta::hours(6) + TimeDelta::minutes(1));
    eventually("the proposal to move up", async || {
        (nonce_of(&running, &id).await == Some(next)).then_some(())
    })
    .await;
    running.stop().await;
}
