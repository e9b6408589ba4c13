//! `countersign delegate`, against the emulated service: an owner lets a key propose, by a wallet
//! or by a key.

use alloy::{dyn_abi::TypedData, signers::SignerSync};
use serde_json::{Value, json};

use super::mailbox_scene::{Mailbox, stranger};
use crate::world::{Api, process::cli};

struct Commands {
    mailbox: Mailbox,
    /// The commands ask no Countersign.
    nowhere: Api,
}

impl Commands {
    async fn new() -> Self {
        Self { mailbox: Mailbox::set().await, nowhere: Api::new("http://127.0.0.1:9", "") }
    }

    async fn run(&self, what: &str, more: &[&str]) -> (i32, String, String) {
        let (safe, root) = (self.mailbox.chain.safe.to_string(), self.mailbox.emulator.origin());
        let place = ["--chain-id", "8453", "--safe", &safe, "--safe-service", &root, "--json"];
        cli(&self.nowhere, &[&["delegate", what], &place[..], more].concat()).await
    }

    async fn json(&self, code: i32, what: &str, more: &[&str]) -> Value {
        let (ended, out, err) = self.run(what, more).await;
        assert_eq!(ended, code, "{out}{err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

#[tokio::test]
async fn an_owner_signs_in_a_wallet_and_takes_it_back_with_a_key() {
    let scene = Commands::new().await;
    let (owner, bot) = (scene.mailbox.owner(0), stranger());
    let (delegator, delegate) = (owner.address().to_string(), bot.address().to_string());
    let pair = ["--delegate", &delegate, "--delegator", &delegator];

    let asked = scene.json(3, "add", &pair).await;
    assert_eq!(asked["registered"], false);
    let document: TypedData = serde_json::from_value(asked["document"].clone()).unwrap();
    let sign = |wallet: &countersign::devnet::Wallet| {
        let hash = document.eip712_signing_hash().unwrap();
        alloy::hex::encode_prefixed(wallet.signer().sign_hash_sync(&hash).unwrap().as_bytes())
    };
    let foreign = sign(&bot);
    let count = scene.mailbox.emulator.requests().len();
    let (code, _, error) =
        scene.run("add", &[&pair[..], &["--signature", &foreign]].concat()).await;
    assert!(code == 1 && error.contains("not of"), "{error}");
    assert_eq!(scene.mailbox.emulator.requests().len(), count, "the service was not told");

    let signature = sign(owner);
    let added = scene.json(0, "add", &[&pair[..], &["--signature", &signature]].concat()).await;
    assert_eq!(added["registered"], true);
    let listed = scene.json(0, "list", &[]).await;
    assert_eq!(listed[0]["delegate"], json!(delegate));
    assert_eq!(listed[0]["label"], "countersign");
    let tx = scene.mailbox.tx().await;
    let post = scene.mailbox.post(&tx, &bot);
    scene.mailbox.client().propose(scene.mailbox.chain.safe, &post).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("owner.key");
    std::fs::write(&file, format!("{}\n", owner.private_key())).unwrap();
    let key = ["--signer-key-file", file.to_str().unwrap()];
    scene.json(0, "remove", &[&pair[..], &key].concat()).await;
    assert_eq!(scene.json(0, "list", &[]).await, json!([]));
}

#[tokio::test]
async fn refusals_of_the_service_come_through_whole() {
    let scene = Commands::new().await;
    let bot = stranger();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, bot.private_key()).unwrap();
    let (address, file) = (bot.address().to_string(), file.to_str().unwrap());
    let more = ["--delegate", &address, "--delegator", &address, "--signer-key-file", file];
    let (code, _, error) = scene.run("add", &more).await;
    assert!(code == 1 && error.contains("is not an owner of Safe"), "{error}");
    scene.mailbox.switch(json!({ "api_key": "eyJright" }));
    let (code, _, error) = scene.run("list", &[]).await;
    assert!(code == 1 && error.contains("SAFE_API_KEY"), "{error}");
    scene.mailbox.switch(json!({ "api_key": "", "chain_id": 1 }));
    let (code, _, error) = scene.run("list", &[]).await;
    assert!(code == 1 && error.contains("of chain 1"), "{error}");
}
