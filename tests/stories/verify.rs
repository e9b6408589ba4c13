//! A signer verifies a proposal with the program, on her own machine and through her own endpoint:
//! what an honest service shows matches, and a lie anywhere between is found (invariants I3 and I7).

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use alloy::sol_types::SolCall;
use axum::{Json, Router, extract::State, http::Uri, response::IntoResponse};
use countersign::{
    devnet::Wallet,
    safe::{packed::Part, tx::Safe},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    contract_owners::{nested_safe, signed_by_nested},
    mailbox_scene::Mailbox,
};
use crate::world::{
    Api, World, eventually,
    node::{Manner, Node},
    process::cli,
};

#[tokio::test]
async fn what_is_not_checked_for_want_of_the_app_needs_attention() {
    let (app, nobody) = (format!("0x{}", "11".repeat(20)), Api::new("http://127.0.0.1:9", ""));
    let data = format!("0x2a819728{}", "cc".repeat(32));
    let safe = format!("0x{}", "5a".repeat(20));
    let fields = [
        "verify",
        "--offline",
        "--chain-id",
        "8453",
        "--safe",
        &safe,
        "--safe-version",
        "1.4.1",
        "--nonce",
        "7",
        "--to",
        &app,
        "--data",
        &data,
    ];
    let (code, told, _) = cli(&nobody, &fields).await;
    assert!(code == 3 && told.contains("give it with --app"), "{code} {told}");
    let (code, told, _) = cli(&nobody, &[&fields[..], &["--app", &app]].concat()).await;
    assert!(code == 0 && told.contains("no warnings"), "{code} {told}");
}

/// Stands between signer and service, and changes what the service says.
struct Liar {
    url: String,
    lie: Arc<Mutex<Option<(&'static str, Value)>>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Post {
    api: Api,
    lie: Arc<Mutex<Option<(&'static str, Value)>>>,
}

impl Liar {
    async fn before(api: &Api) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().unwrap());
        let lie = Arc::default();
        let post = Post { api: api.clone(), lie: Arc::clone(&lie) };
        let router = Router::new().fallback(pass_on).with_state(post);
        let task = tokio::spawn(async { axum::serve(listener, router).await.expect("it serves") });
        Self { url, lie, task }
    }

    /// From now on a field, by its JSON pointer, is something else.
    fn says(&self, field: &'static str, value: Value) {
        *self.lie.lock().unwrap() = Some((field, value));
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(State(post): State<Post>, uri: Uri) -> impl IntoResponse {
    let mut body = post.api.get(uri.path()).await.body;
    if let Some((field, value)) = post.lie.lock().unwrap().clone()
        && let Some(place) = body.pointer_mut(field)
    {
        *place = value;
    }
    Json(body)
}

/// How the program ended, and what it said.
#[derive(Debug)]
struct Told {
    code: i32,
    out: String,
    #[expect(dead_code, reason = "shown when an assertion fails")]
    err: String,
}

async fn run(api: &Api, args: &[&str]) -> Told {
    let (code, out, err) = cli(api, args).await;
    Told { code, out, err }
}

async fn verify(world: &World, api: &Api, service: &str, subject: &str, more: &[&str]) -> Told {
    let rpc = world.town.chain.rpc_url().as_str();
    let mut args = vec!["verify", subject, "--rpc", rpc, "--url", service];
    args.extend(more);
    run(api, &args).await
}

#[tokio::test]
async fn a_signer_verifies_a_proposal_on_her_own_machine() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    world.sign_by(api, &id, 0).await;
    let liar = Liar::before(api).await;

    let said = verify(&world, api, &liar.url, &id, &[]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.trim_start().starts_with("matches what "), "{said:?}");
    assert!(said.out.lines().count() <= 40, "{said:?}");
    let proposal = api.proposal(&id).await;
    let hash = proposal["safe_tx_hash"].as_str().unwrap();
    for words in [
        hash,
        "1 of 2 signatures",
        "is the Safe's next",
        "no module and no guard",
        "If it is executed",
        "it succeeds",
        "nonce 0 becomes 1",
        "the instance may not boot (Compose hash not allowed)",
        "the instance may boot\n",
    ] {
        assert!(said.out.contains(words), "{words}: {said:?}");
    }
    let page = format!("{}/requests/{id}", liar.url);
    let whole = verify(&world, api, "http://127.0.0.1:9", &page, &["--json"]).await;
    assert_eq!(whole.code, 0, "{whole:?}");
    let whole: Value = serde_json::from_str(&whole.out).unwrap();
    assert_eq!(whole["simulation"]["outcome"], "succeeds", "{whole}");
    assert_eq!(whole["simulation"]["after"]["may_boot"], true, "{whole}");

    let other = json!("0x1234567890123456789012345678901234567890");
    for (field, lie) in [
        ("/safe_tx/to", other.clone()),
        ("/safe_tx/nonce", json!("1")),
        ("/domain_hash", json!(hash)),
        ("/owner", other.clone()),
        ("/owners/0", other.clone()),
        ("/threshold", json!(1)),
        ("/confirmations/0/owner", other.clone()),
        ("/calls/0/words", json!("nothing to see here")),
        ("/app", other),
        ("/device_id", json!(hash)),
        ("/chain_id", json!(1)),
        ("/id", json!("019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11")),
    ] {
        liar.says(field, lie);
        let said = verify(&world, api, &liar.url, &id, &[]).await;
        assert_ne!(said.code, 0, "{field}: {said:?}");
        assert!(!said.out.trim_start().starts_with("matches"), "{field}: {said:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_file_is_verified_as_well() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    let proposal = api.proposal(&id).await;
    let folder = tempfile::tempdir().unwrap();
    for (name, document) in [("proposal", &proposal), ("document", &proposal["eip712"])] {
        let file = folder.path().join(name);
        std::fs::write(&file, document.to_string()).unwrap();
        let nobody = "http://127.0.0.1:9";
        let said = verify(&world, api, nobody, file.to_str().unwrap(), &[]).await;
        assert_eq!(said.code, 0, "{name}: {said:?}");
        assert!(said.out.contains(proposal["safe_tx_hash"].as_str().unwrap()), "{name}: {said:?}");

        let said = run(api, &["verify", file.to_str().unwrap()]).await;
        assert_eq!(said.code, 3, "nobody asked the chain: {said:?}");
        assert!(said.out.contains("--rpc"), "{said:?}");
        std::fs::write(&file, document.to_string().replace("\"nonce\":\"0\"", "\"nonce\":\"5\""))
            .unwrap();
        let changed = verify(&world, api, nobody, file.to_str().unwrap(), &["--json"]).await;
        let changed: Value = serde_json::from_str(&changed.out).unwrap();
        assert_ne!(changed["safe_tx_hash"], proposal["safe_tx_hash"], "{name}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_batch_file_is_verified_by_its_calls() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.proposal(&id).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("batch.json");
    let mut batch = api.get(&format!("/v1/requests/{id}/safe-batch.json")).await.body;
    std::fs::write(&file, batch.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let told = verify(&world, api, "http://127.0.0.1:9", file, &[]).await;
    assert_eq!(told.code, 0, "{told:?}");
    for part in ["owns the app", "binds neither", "no module and no guard", "fallback handler"] {
        assert!(told.out.contains(part), "{part}: {told:?}");
    }

    batch["transactions"][1]["to"] = json!("0x1234567890123456789012345678901234567890");
    std::fs::write(file, batch.to_string()).unwrap();
    let told = verify(&world, api, "http://127.0.0.1:9", file, &[]).await;
    assert_eq!(told.code, 1, "the checksum is another: {told:?}");
    running.stop().await;
}

#[tokio::test]
async fn an_approval_on_chain_counts_when_the_chain_says_so() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    let chain = &world.town.chain;
    let hash = api.proposal(&id).await["safe_tx_hash"].as_str().unwrap().parse().unwrap();
    let approve = Safe::approveHashCall { hashToApprove: hash }.abi_encode();
    chain.rpc.send(&chain.owners[0], chain.safe, approve.into()).await.expect("it is approved");
    eventually("the approval to be seen", async || {
        let proposal = api.proposal(&id).await;
        (proposal["confirmations"][0]["kind"] == "approved_hash").then_some(())
    })
    .await;
    let liar = Liar::before(api).await;
    let told = verify(&world, api, &liar.url, &id, &[]).await;
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("1 of 2 signatures"), "{told:?}");

    // The same of an owner who approved nothing.
    let mut marker = chain.owners[1].address().into_word().to_vec();
    marker.extend([0; 32]);
    marker.push(1);
    liar.says("/confirmations/0/signature", json!(alloy::hex::encode_prefixed(&marker)));
    let told = verify(&world, api, &liar.url, &id, &[]).await;
    assert_eq!(told.code, 3, "{told:?}");
    assert!(told.out.contains("not those of owners"), "{told:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_chain_that_lies_or_is_another_one_is_no_witness() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.proposal(&id).await;
    let liar = Liar::before(api).await;
    let node = Node::before(world.town.chain.rpc_url()).await;
    for manner in [Manner::SaysYes, Manner::SaysNo] {
        node.set(manner);
        let rpc = format!("{},{}", world.town.chain.rpc_url(), node.url());
        let args = ["verify", &id, "--rpc", &rpc, "--url", &liar.url];
        let said = run(api, &args).await;
        assert_eq!(said.code, 1, "two endpoints that do not agree are none: {said:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_transaction_in_safes_own_mailbox_is_verified_by_its_link() {
    let mailbox = Mailbox::set().await;
    let (tx, safe) = (mailbox.tx().await, mailbox.chain.safe);
    let post = mailbox.post(&tx, mailbox.owner(0));
    mailbox.client().propose(safe, &post).await.expect("it takes the proposal");
    let hash = mailbox.hash(&tx);
    let wallet = "https://app.safe.global/transactions/tx";
    let link = format!("{wallet}?safe=base:{safe}&id=multisig_{safe}_{hash}");
    let (rpc, root) = (mailbox.chain.rpc_url().to_string(), mailbox.emulator.root());
    let app = mailbox.chain.app.to_string();
    let nobody = Api::new("http://127.0.0.1:9", "");
    let args = ["verify", &link, "--rpc", &rpc, "--safe-service", &root, "--app", &app];

    let told = run(&nobody, &args).await;
    assert_eq!(told.code, 0, "{told:?}");
    for words in [&hash.to_string(), "1 of 2 signatures", "owns the app"] {
        assert!(told.out.contains(words), "{words}: {told:?}");
    }
    // An owner that is a contract is asked; what it does not say it signed is none of its signatures.
    let key = Wallet::funded(7).unwrap();
    let nested = nested_safe(&mailbox.chain, &key).await;
    let signature = signed_by_nested(&mailbox.chain, nested, &key, &tx);
    mailbox.client().confirm(hash, &signature).await.expect("it takes the signature");
    let told = run(&nobody, &args).await;
    assert!(told.code == 0 && told.out.contains("2 of 2 signatures"), "{told:?}");
    let plant = |signature: &Part| {
        let (owner, signature) = (nested, signature.to_bytes());
        let kind = "CONTRACT_SIGNATURE";
        let plant = json!({ "hash": hash, "owner": owner, "signature": signature, "type": kind });
        mailbox.switch(json!({ "plant": plant }));
    };
    plant(&signed_by_nested(&mailbox.chain, nested, mailbox.owner(2), &tx));
    let told = run(&nobody, &args).await;
    let words = format!("not those of owners: {nested}");
    assert!(told.code == 3 && told.out.contains(&words), "{told:?}");
    plant(&signature);
    for lie in ["wrong_hash", "foreign_signature", "swap_call"] {
        mailbox.switch(json!({ lie: true }));
        let told = run(&nobody, &args).await;
        assert_ne!(told.code, 0, "{lie}: {told:?}");
        assert!(!told.out.trim_start().starts_with("matches"), "{lie}: {told:?}");
        mailbox.switch(json!({ lie: false }));
    }
    mailbox.switch(json!({ "chain_id": 1 }));
    assert_eq!(run(&nobody, &args).await.code, 1, "a service of another chain is none");
}
