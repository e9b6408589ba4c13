//! Requests whose owners live in Safe's own tools: what is proposed goes to Safe's mailbox, it does
//! not matter where an owner signs, and nothing depends on it.

use std::{num::NonZeroU32, sync::Arc};

use alloy::{primitives::Bytes, signers::SignerSync};
use chrono::TimeDelta;
use countersign::{
    clock::Clock,
    config::SafeServiceSetting,
    devnet::{
        Wallet,
        safe_service::{SafeServiceConfig, SafeServiceEmulator},
    },
    request::ids::SafeTxHash,
    safe_service::{DelegateRequest, Hour, Permission, ProposerKey, SafeService},
    wire::{Http, Throttle},
};
use serde_json::{Value, json};

use super::mailbox_scene::stranger;
use crate::world::{Running, World, eventually};

/// A world whose chain has a mailbox.
pub struct Mailed {
    pub world: World,
    pub emulator: SafeServiceEmulator,
}

impl Mailed {
    /// With a proposer key, a delegate of the first owner.
    pub async fn new() -> Self {
        let mut mailed = Self::without_proposer().await;
        let bot = stranger();
        let key = ProposerKey::from_hex(&bot.private_key().into()).unwrap();
        mailed.world.safe_access.proposer = Some(key);
        mailed.delegate(&bot).await;
        mailed
    }

    pub async fn without_proposer() -> Self {
        Self::beside(World::new().await).await
    }

    /// A mailbox for a world, without a proposer key.
    pub async fn beside(mut world: World) -> Self {
        let chain = &world.town.chain;
        let config = SafeServiceConfig {
            rpc: chain.rpc_url().clone(),
            chain_id: chain.chain_id,
            clock: world.clock.clone(),
        };
        let emulator = SafeServiceEmulator::start(config).await.unwrap();
        let root = emulator.origin().parse().unwrap();
        world.settings.chains[0].safe_service = SafeServiceSetting::At(root);
        world.settings.public_url = Some("https://approve.example/".parse().unwrap());
        Self { world, emulator }
    }

    pub fn client(&self) -> SafeService {
        let throttle = Throttle::new(self.world.clock.clone(), NonZeroU32::new(10_000).unwrap());
        let root = self.emulator.root().parse().unwrap();
        let chain = self.world.town.chain.chain_id;
        SafeService::new(Http::new().unwrap(), &root, chain, None, Arc::new(throttle))
    }

    async fn delegate(&self, bot: &Wallet) {
        let (chain, owner) = (&self.world.town.chain, &self.world.town.chain.owners[0]);
        let hour = Hour::of(self.world.clock.now());
        let request = DelegateRequest { chain: chain.chain_id, delegate: bot.address(), hour };
        let signature = owner.signer().sign_hash_sync(&request.signing_hash()).unwrap();
        let permission = Permission {
            safe: Some(chain.safe),
            delegate: bot.address(),
            delegator: owner.address(),
            label: "countersign".into(),
            signature: Bytes::copy_from_slice(&signature.as_bytes()),
        };
        self.client().add_delegate(&permission).await.unwrap();
    }

    pub fn switch(&self, change: Value) {
        self.emulator.control(serde_json::from_value(change).expect("there are such switches"));
    }

    /// A request that is proposed; what its owners sign.
    pub async fn propose(&self, running: &Running) -> (String, SafeTxHash) {
        let prepared = self.world.prepare().await;
        let id = running.api.submit(&self.world.submission(&prepared)).await;
        let proposal = running.api.proposal(&id).await;
        (id, proposal["safe_tx_hash"].as_str().unwrap().parse().unwrap())
    }

    /// An owner signs in Safe's own tools.
    pub async fn sign_there(&self, hash: SafeTxHash, owner: usize) {
        let signature = self.world.town.chain.owners[owner].sign(hash);
        self.client().confirm(hash, &signature.into()).await.unwrap();
    }

    pub async fn has(&self, hash: SafeTxHash, confirmations: usize) {
        eventually(format!("{confirmations} confirmations in the mailbox"), async || {
            self.emulator.mail().contains(&(hash, confirmations)).then_some(())
        })
        .await;
    }

    /// Waits until the mailbox is said to be so.
    pub async fn is_told(&self, running: &Running, id: &str, place: &str, words: &str) -> Value {
        eventually(format!("{place} with {words:?}"), async || {
            let told = running.api.request(id).await["safe_service"].clone();
            told[place].as_str().unwrap_or_default().contains(words).then_some(told)
        })
        .await
    }

    /// Somebody opens the page, and the mailbox is read: what is told of it then.
    pub async fn read_again(&self, running: &Running, id: &str) -> Value {
        // The first to end may have begun before.
        self.another_read(running, id).await;
        self.another_read(running, id).await
    }

    async fn another_read(&self, running: &Running, id: &str) -> Value {
        let of = async || running.api.request(id).await["safe_service"].clone();
        let before = of().await["read_at"].clone();
        self.visit(running, id).await;
        eventually("the mailbox to be read again", async || {
            let told = of().await;
            (told["read_at"] != before).then_some(told)
        })
        .await
    }

    /// Somebody opens the page of a request, some minutes after the mailbox was read.
    pub async fn visit(&self, running: &Running, id: &str) {
        self.world.clock.pass(TimeDelta::minutes(2));
        assert_eq!(running.api.get(&format!("/requests/{id}")).await.status, 200);
    }
}

#[tokio::test]
async fn it_does_not_matter_where_an_owner_signs() {
    let mailed = Mailed::new().await;
    let running = mailed.world.start().await;
    let (id, hash) = mailed.propose(&running).await;
    mailed.has(hash, 0).await;
    let posted = mailed.emulator.requests();
    let post =
        posted.iter().find(|request| request.method == "POST" && request.path.contains("safes"));
    let body = &post.unwrap().body;
    assert_eq!(body["sender"], json!(stranger().address().to_string()));
    let origin: Value = serde_json::from_str(body["origin"].as_str().unwrap()).unwrap();
    let page = format!("https://approve.example/requests/{id}");
    let note = format!("request {id}");
    assert_eq!(origin, json!({ "url": page, "name": "Countersign", "note": note }));

    // One there, one here: the one here goes there, and both count in both places.
    mailed.sign_there(hash, 1).await;
    mailed.world.sign_by(&running.api, &id, 0).await;
    running.api.wait_for(&id, "approved").await;
    mailed.has(hash, 2).await;
    let owners: Vec<Value> = running.api.proposal(&id).await["confirmations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["owner"].clone())
        .collect();
    assert_eq!(owners.len(), 2, "{owners:?}");
    let told = mailed.is_told(&running, &id, "posted_at", "T").await;
    assert_eq!((&told["hint"], &told["problem"]), (&Value::Null, &Value::Null));
    mailed.world.execute(&running.api, &id).await;
    mailed.world.mine(crate::world::DEPTH).await;
    let ran = running.api.wait_for(&id, "running").await;
    assert!(ran.get("safe_service").is_none(), "it waits for no owner any more: {ran}");
    running.stop().await;
}

#[tokio::test]
async fn whoever_opens_the_page_sees_what_was_signed_elsewhere() {
    let mailed = Mailed::new().await;
    let running = mailed.world.start().await;
    let (id, hash) = mailed.propose(&running).await;
    mailed.is_told(&running, &id, "posted_at", "T").await;
    for owner in [2, 1] {
        mailed.sign_there(hash, owner).await;
    }
    mailed.visit(&running, &id).await;
    running.api.wait_for(&id, "approved").await;
    running.stop().await;
}

#[tokio::test]
async fn without_a_proposer_the_first_owner_who_signs_here_opens_it_there() {
    let mailed = Mailed::without_proposer().await;
    let running = mailed.world.start().await;
    let (id, hash) = mailed.propose(&running).await;
    mailed.is_told(&running, &id, "read_at", "T").await;
    assert!(mailed.emulator.mail().is_empty());
    mailed.world.sign(&running.api, &id).await;
    mailed.has(hash, 2).await;
    running.stop().await;
}

#[tokio::test]
async fn a_proposer_that_is_no_delegate_is_told_so_and_keeps_no_owner_from_it() {
    let mut mailed = Mailed::without_proposer().await;
    let key = ProposerKey::from_hex(&stranger().private_key().into()).unwrap();
    mailed.world.safe_access.proposer = Some(key);
    let running = mailed.world.start().await;
    let (id, hash) = mailed.propose(&running).await;
    let told = mailed.is_told(&running, &id, "problem", "countersign delegate add").await;
    assert_eq!(told["posted_at"], Value::Null);
    mailed.world.sign(&running.api, &id).await;
    mailed.has(hash, 2).await;
    running.stop().await;
}

#[tokio::test]
async fn lost_answers_and_a_sudden_end_leave_it_there_once() {
    let mailed = Mailed::new().await;
    mailed.switch(json!({
        "swallow_next": ["propose"],
        "fail_next": [{ "endpoint": "list", "status": 503, "times": 2 }],
    }));
    let running = mailed.world.start().await;
    let (id, hash) = mailed.propose(&running).await;
    mailed.has(hash, 0).await;
    running.kill().await;
    // The turn of the instance that is gone runs out.
    mailed.world.clock.pass(TimeDelta::minutes(3));
    mailed.switch(json!({ "swallow_next": ["confirm"] }));
    let running = mailed.world.start().await;
    mailed.is_told(&running, &id, "posted_at", "T").await;
    mailed.world.sign(&running.api, &id).await;
    mailed.has(hash, 2).await;
    assert_eq!(mailed.emulator.mail().len(), 1);
    let posts = mailed.emulator.requests().into_iter();
    let posts = posts.filter(|request| request.method == "POST" && request.path.contains("safes"));
    assert_eq!(posts.count(), 1, "it was seen there, not posted again");
    running.stop().await;
}

#[tokio::test]
async fn the_program_tells_neither_of_its_keys_and_is_killed_without_harm() {
    let mailed = Mailed::without_proposer().await;
    let (api_key, bot) = ("eyJhbGciOiJFUzI1NiJ9.story.key", stranger());
    mailed.delegate(&bot).await;
    mailed.switch(json!({
        "api_key": api_key,
        "swallow_next": ["propose"],
        "fail_next": [
            { "endpoint": "list", "status": 401, "times": 2, "body": { "detail": api_key } },
        ],
    }));
    let program = mailed.world.spawn_with_keys(api_key, &bot.private_key()).await;
    let prepared = mailed.world.prepare().await;
    let id = program.api.submit(&mailed.world.submission(&prepared)).await;
    let proposal = program.api.proposal(&id).await;
    let hash = proposal["safe_tx_hash"].as_str().unwrap().parse().unwrap();
    let told = eventually("the refusal to be told", async || {
        let told = program.api.request(&id).await["safe_service"].clone();
        told["problem"].is_string().then_some(told)
    })
    .await;
    assert!(told["problem"].as_str().unwrap().contains("SAFE_API_KEY"), "{told}");
    mailed.world.sign_by(&program.api, &id, 0).await;
    mailed.has(hash, 0).await;
    let first = program.log();
    program.kill().await;
    // Nobody waits two minutes for the turn of a program that is gone.
    mailed.world.database.execute("update mailings set next_try_at = now()").await;
    let program = mailed.world.spawn_with_keys(api_key, &bot.private_key()).await;
    mailed.has(hash, 1).await;
    let page = program.api.get(&format!("/requests/{id}")).await.text;
    let said = [first, program.terminate().await, page, told.to_string()].concat().to_lowercase();
    assert!(said.contains(&bot.address().to_string().to_lowercase()), "its address is no secret");
    let key = bot.private_key().to_lowercase();
    for secret in [api_key.to_lowercase(), key.trim_start_matches("0x").to_owned()] {
        assert!(!said.contains(&secret), "a secret was told: {said}");
    }
}

#[tokio::test]
async fn nothing_depends_on_it() {
    let mailed = Mailed::new().await;
    let failures: Vec<Value> = ["list", "propose", "confirm", "detail", "about"]
        .iter()
        .map(|at| json!({ "endpoint": at, "status": 503, "times": 1_000_000 }))
        .collect();
    mailed.switch(json!({ "fail_next": failures }));
    let running = mailed.world.start().await;
    let (id, _) = mailed.propose(&running).await;
    let told = mailed.is_told(&running, &id, "problem", "answered 503").await;
    assert_eq!(told["posted_at"], Value::Null);
    mailed.world.sign(&running.api, &id).await;
    mailed.world.execute(&running.api, &id).await;
    mailed.world.mine(crate::world::DEPTH).await;
    running.api.wait_for(&id, "running").await;
    running.stop().await;
}

#[tokio::test]
async fn what_lies_is_not_taken_over() {
    let mailed = Mailed::new().await;
    let running = mailed.world.start().await;
    let (id, hash) = mailed.propose(&running).await;
    mailed.is_told(&running, &id, "posted_at", "T").await;
    mailed.sign_there(hash, 1).await;
    mailed.switch(json!({ "foreign_signature": true }));
    let told = mailed.read_again(&running, &id).await;
    let hint = told["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("is not counted") && hint.contains("over something else"), "{told}");
    assert_eq!(running.api.proposal(&id).await["confirmations"], json!([]));
    mailed.switch(json!({ "foreign_signature": false, "swap_call": true }));
    mailed.visit(&running, &id).await;
    mailed.is_told(&running, &id, "problem", "its fields hash to").await;
    mailed.switch(json!({ "swap_call": false }));
    mailed.world.clock.pass(TimeDelta::hours(1));
    mailed.is_told(&running, &id, "posted_at", "T").await;
    eventually("the honest signature", async || {
        let given = running.api.proposal(&id).await["confirmations"].as_array().unwrap().len();
        (given == 1).then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn what_becomes_of_the_nonce_elsewhere_is_shown_with_what_to_do() {
    let mailed = Mailed::new().await;
    let running = mailed.world.start().await;
    let (id, hash) = mailed.propose(&running).await;
    mailed.is_told(&running, &id, "posted_at", "T").await;
    mailed.switch(json!({ "replace": hash }));
    mailed.visit(&running, &id).await;
    let told = mailed.is_told(&running, &id, "hint", "a rejection").await;
    assert!(told["hint"].as_str().unwrap().contains("countersign reject"), "{told}");
    let page = running.api.get(&format!("/requests/{id}")).await.text;
    assert!(page.contains("a rejection (an empty call of the Safe to itself)"), "{page}");
    let (_, show, _) = crate::world::process::cli(&running.api, &["show", &id]).await;
    assert!(show.contains("a rejection"), "{show}");

    let rejection = mailed.emulator.mail()[1].0;
    mailed.switch(json!({ "delete": rejection }));
    mailed.switch(json!({ "delete": hash }));
    mailed.visit(&running, &id).await;
    mailed.is_told(&running, &id, "hint", "was deleted from Safe's mailbox").await;
    // It is not put there again, and is signed and executed all the same.
    mailed.world.sign(&running.api, &id).await;
    mailed.world.execute(&running.api, &id).await;
    mailed.world.mine(crate::world::DEPTH).await;
    running.api.wait_for(&id, "running").await;
    assert!(!mailed.emulator.mail().iter().any(|(there, given)| *there == hash && *given > 0));
    running.stop().await;
}

#[tokio::test]
async fn an_idle_request_costs_few_calls_and_one_without_a_mailbox_none() {
    let mailed = Mailed::new().await;
    let running = mailed.world.start().await;
    let (id, _) = mailed.propose(&running).await;
    let told = mailed.is_told(&running, &id, "posted_at", "T").await;
    mailed.emulator.forget_requests();
    let mut read = told["read_at"].clone();
    // A look every six hours at last: each is one call.
    for _ in 0..8 {
        mailed.world.clock.pass(TimeDelta::hours(6) + TimeDelta::minutes(1));
        read = eventually("the next look", async || {
            let now = running.api.request(&id).await["safe_service"]["read_at"].clone();
            (now != read).then_some(now)
        })
        .await;
    }
    let calls = mailed.emulator.requests().len();
    assert!((8..=10).contains(&calls), "{calls} calls in two days");
    running.stop().await;

    let world = World::new().await;
    let running = world.start().await;
    let prepared = world.prepare().await;
    let id = running.api.submit(&world.submission(&prepared)).await;
    world.sign(&running.api, &id).await;
    assert!(running.api.request(&id).await.get("safe_service").is_none());
    assert_eq!(running.service.store.mailing(id.parse().unwrap()).await.unwrap(), None);
    running.stop().await;
}
