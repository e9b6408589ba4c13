//! Killed at whatever point, and in however many instances, the relayer makes one transaction for an
//! execution.

use alloy::primitives::{Address, B256, keccak256};
use chrono::TimeDelta;
use countersign::{
    request::{
        Request,
        ids::{RequestId, SafeTxHash, TxHash},
    },
    store::relays::{Fate, Sent, Try},
};
use uuid::Uuid;

use super::relayer::{ends, paid_for, signed, world};
use crate::world::{
    Api, DEPTH, World, eventually,
    line::{Fault, Line},
};

const SEND: &str = "eth_sendRawTransaction";

/// The hash of the transaction that stands in the database, in hexadecimal.
async fn intended(world: &World) -> String {
    let hash = world.database.text("select '0x' || encode(hash, 'hex') from relay_transactions");
    hash.await
}

async fn one_transaction(world: &World, api: &Api, id: &str) {
    api.wait_for(id, "executed").await;
    world.mine(DEPTH).await;
    api.wait_for(id, "running").await;
    let shown = ends(world, api, id, &["executed"]).await;
    assert_eq!(shown["tries"][0]["transactions"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown["tries"][0]["transaction"], intended(world).await);
    assert_eq!(paid_for(world).await, 1);
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
}

#[tokio::test]
async fn killed_between_the_intent_and_the_sending_it_sends_the_same_bytes() {
    let mut world = world().await;
    let direct = world.settings.chains[0].rpc[0].clone();
    let line = Line::to(&direct).await;
    world.settings.chains[0].rpc = vec![line.near()];
    let running = world.start().await;
    line.set(Fault::Delays(SEND));
    let id = signed(&world, &running.api).await;
    line.caught_one().await;
    let before = intended(&world).await;
    running.kill().await;
    assert_eq!(paid_for(&world).await, 0, "it never arrived");

    world.settings.chains[0].rpc = vec![direct];
    let running = world.start().await;
    running.api.wait_for(&id, "executed").await;
    // What was held on the line arrives now, long after.
    line.set(Fault::None);
    assert_eq!(intended(&world).await, before);
    one_transaction(&world, &running.api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn killed_after_the_sending_it_sends_nothing_else() {
    let mut world = world().await;
    let direct = world.settings.chains[0].rpc[0].clone();
    let line = Line::to(&direct).await;
    world.settings.chains[0].rpc = vec![line.near()];
    let running = world.start().await;
    line.set(Fault::LosesAnswersTo(SEND));
    let id = signed(&world, &running.api).await;
    line.caught_one().await;
    running.kill().await;

    world.settings.chains[0].rpc = vec![direct];
    let running = world.start().await;
    world.clock.pass(TimeDelta::minutes(5));
    one_transaction(&world, &running.api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn two_programs_make_one_transaction_and_one_is_killed_while_it_is_sent() {
    let world = world().await;
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("relayer.key");
    let key = world.relayer.as_ref().unwrap().private_key();
    std::fs::write(&key_file, format!("{key}\n")).unwrap();
    let mut programs =
        vec![world.spawn_relaying(&key_file).await, world.spawn_relaying(&key_file).await];
    let id = signed(&world, &programs[1].api).await;
    // Whoever has the lead: the first one started with it, or the other takes over.
    eventually("an intent", async || {
        let count = world.database.text("select count(*)::text from relay_tries").await;
        (count == "1").then_some(())
    })
    .await;
    let first = programs.remove(0);
    let mut log = first.log();
    first.kill().await;
    let second = programs.remove(0);
    one_transaction(&world, &second.api, &id).await;
    for path in [format!("/v1/requests/{id}"), "/metrics".into(), "/readyz".into()] {
        log.push_str(&second.api.get(&path).await.text);
    }
    log.push_str(&second.terminate().await);
    assert!(log.contains("executes"), "the log tells of it");
    assert!(!log.to_lowercase().contains(&key[2..34]), "the key is never said");
}

#[tokio::test]
async fn what_a_reorganisation_takes_is_sent_again_as_it_was() {
    let world = world().await;
    let running = world.start().await;
    let api = &running.api;
    let id = signed(&world, api).await;
    api.wait_for(&id, "executed").await;
    let before = intended(&world).await;
    world.town.chain.rpc.reorg(1).await.unwrap();
    world.mine(1).await;
    api.last_told(&id, "retracted").await;
    assert_eq!(paid_for(&world).await, 0);
    world.clock.pass(TimeDelta::seconds(20));
    one_transaction(&world, api, &id).await;
    assert_eq!(intended(&world).await, before);
    running.stop().await;
}

/// A try as it would be written for a request.
fn a_try(world: &World, request: &Request, relayer: Address, relayer_nonce: u64) -> Try {
    Try {
        id: Uuid::now_v7(),
        proposal: request.facts.proposal.unwrap(),
        request: request.id,
        chain: request.chain,
        safe: world.town.chain.safe,
        safe_nonce: 0,
        safe_tx_hash: SafeTxHash(B256::ZERO),
        relayer,
        relayer_nonce,
        gas_limit: 100_000,
        simulated_block: 1,
        created_at: request.created_at,
        settled_at: None,
        fate: None,
        tx: None,
        block: None,
        transactions: vec![],
    }
}

fn a_transaction(of: &Try) -> Sent {
    let raw = of.id.as_bytes().to_vec();
    Sent {
        hash: TxHash(keccak256(&raw)),
        cancels: false,
        raw: raw.into(),
        max_fee: 2,
        tip: 1,
        signed_at: of.created_at,
        sent_at: None,
    }
}

#[tokio::test]
async fn a_second_try_is_not_written_whoever_asks() {
    let mut world = world().await;
    let account = world.relayer.take().unwrap().address();
    let running = world.start().await;
    let id = signed(&world, &running.api).await;
    running.api.wait_for(&id, "approved").await;
    running.stop().await;

    let service = world.service().await;
    let (store, chain) = (&service.store, world.town.chain.chain_id);
    let proof = eventually("the lead", async || store.lead(chain).await.unwrap()).await;
    let request = store.request(id.parse::<RequestId>().unwrap()).await.unwrap();
    let begin = async |one: &Try| store.begin_try(&proof, one, &a_transaction(one)).await.unwrap();
    let first = a_try(&world, &request, account, 3);
    assert!(begin(&first).await);
    let other = Address::repeat_byte(0x77);
    for (one, why) in [
        (a_try(&world, &request, account, 4), "the account has one under way"),
        (a_try(&world, &request, other, 0), "the Safe has one under way"),
        (a_try(&world, &request, account, 3), "the nonce was given"),
    ] {
        assert!(!begin(&one).await, "{why}");
    }
    let open = store.open_tries(chain).await.unwrap();
    assert_eq!(open.len(), 1);
    let second = a_transaction(&a_try(&world, &request, account, 3));
    assert!(store.replace_transaction(&proof, &open[0], &second).await.unwrap());
    let third = a_transaction(&a_try(&world, &request, account, 3));
    let late = store.replace_transaction(&proof, &open[0], &third).await.unwrap();
    assert!(!late, "another instance has replaced it already");
    assert_eq!(store.open_tries(chain).await.unwrap()[0].transactions.len(), 2);

    let (end, place) = (Fate::Executed, Some((second.hash, 9)));
    let now = service.clock.now();
    assert!(store.settle_try(&proof, first.id, end, place, now).await.unwrap());
    assert!(!store.settle_try(&proof, first.id, end, place, now).await.unwrap(), "it is settled");
    assert!(!begin(&a_try(&world, &request, account, 3)).await, "its nonce was given");
    // A reorganisation deeper than the policy took it, and the chain shows nonce 3 as unused.
    let reopen = async |nonce| store.reopen_try(&proof, chain, account, nonce).await.unwrap();
    assert!(!reopen(4).await && reopen(3).await && !reopen(3).await);
    let open = store.open_tries(chain).await.unwrap();
    assert_eq!((open.len(), open[0].id, open[0].fate), (1, first.id, None));
    store.close().await;
}
