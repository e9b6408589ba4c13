//! Owners that are contracts, and Safe's mailbox: their signatures go both ways, and the contract is
//! asked before one counts, whatever the mailbox says.

use alloy::{
    primitives::{Address, Bytes, U256, hex},
    sol_types::SolCall,
};
use countersign::{
    devnet::{ChainScene, Wallet},
    request::ids::SafeTxHash,
    safe::{SafeTx, SafeVersion, packed::Part, tx::Safe},
};
use serde_json::{Value, json};

use super::{
    contract_owners::{become_owner, nested_safe, signed_by_nested},
    mailbox::Mailed,
};
use crate::world::{Api, DEPTH, World, eventually};

/// A world with a mailbox whose Safe is owned by a Safe, too, and the key that owns that one.
struct Nested {
    mailed: Mailed,
    owner: Address,
    key: Wallet,
}

impl Nested {
    async fn of(safe_version: SafeVersion) -> Self {
        let world = World::with(|town| town.safe_version = safe_version).await;
        let key = Wallet::funded(7).unwrap();
        let nested = nested_safe(&world.town.chain, &key).await;
        Self { mailed: Mailed::beside(world).await, owner: nested, key }
    }

    fn chain(&self) -> &ChainScene {
        &self.mailed.world.town.chain
    }

    fn sign(&self, tx: &SafeTx) -> Part {
        signed_by_nested(self.chain(), self.owner, &self.key, tx)
    }

    /// What the owner of another Safe's key gives: of the right form, and false.
    fn signed_by_a_stranger(&self, tx: &SafeTx) -> Part {
        signed_by_nested(self.chain(), self.owner, &Wallet::funded(8).unwrap(), tx)
    }

    fn plant(&self, hash: SafeTxHash, owner: Address, signature: &Bytes) {
        let plant = json!({ "hash": hash, "owner": owner, "signature": signature,
            "type": "CONTRACT_SIGNATURE" });
        self.mailed.switch(json!({ "plant": plant }));
    }

    async fn execute_and_run(&self, api: &Api, id: &str) {
        api.wait_for(id, "approved").await;
        self.mailed.world.execute(api, id).await;
        self.mailed.world.mine(DEPTH).await;
        api.wait_for(id, "running").await;
    }
}

async fn tx_of(api: &Api, id: &str) -> SafeTx {
    serde_json::from_value(api.proposal(id).await["safe_tx"].clone()).unwrap()
}

async fn kinds(api: &Api, id: &str) -> Vec<String> {
    let proposal = api.proposal(id).await;
    let given = proposal["confirmations"].as_array().unwrap();
    given.iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect()
}

/// Who confirmed in the mailbox by which kind of signature, as it tells.
async fn there(mailed: &Mailed, hash: SafeTxHash) -> Vec<(String, String)> {
    let url = format!("{}/v1/multisig-transactions/{hash}/confirmations/", mailed.emulator.root());
    let told: Value = Api::bare().get(url).send().await.unwrap().json().await.unwrap();
    let rows = told["results"].as_array().unwrap().iter();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    rows.map(|row| (text(row, "signatureType"), text(row, "signature"))).collect()
}

#[tokio::test]
async fn what_a_nested_safe_signs_in_the_mailbox_counts_here() {
    for version in [SafeVersion::V1_3_0, SafeVersion::V1_4_1, SafeVersion::V1_5_0] {
        let scene = Nested::of(version).await;
        let mailed = &scene.mailed;
        let running = mailed.world.start().await;
        let (id, hash) = mailed.propose(&running).await;
        let part = scene.sign(&tx_of(&running.api, &id).await);
        // Somebody has to open it there.
        mailed.world.sign_by(&running.api, &id, 0).await;
        mailed.has(hash, 1).await;
        mailed.client().confirm(hash, &part).await.unwrap();
        let told = mailed.read_again(&running, &id).await;
        assert_eq!((&told["hint"], &told["problem"]), (&Value::Null, &Value::Null), "{version}");
        assert_eq!(kinds(&running.api, &id).await, ["eip712", "contract_signature"], "{version}");
        scene.execute_and_run(&running.api, &id).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn what_a_nested_safe_signs_here_is_in_the_mailbox_and_opens_it_there() {
    let scene = Nested::of(SafeVersion::V1_4_1).await;
    let mailed = &scene.mailed;
    let running = mailed.world.start().await;
    let (id, hash) = mailed.propose(&running).await;
    let part = scene.sign(&tx_of(&running.api, &id).await).to_bytes().to_string();
    assert_eq!(running.api.confirm(&id, &part).await.status, 201);
    mailed.has(hash, 1).await;
    let requests = mailed.emulator.requests();
    let mut posts = requests.iter().filter(|request| request.method == "POST");
    let body = &posts.next().unwrap().body;
    let given = (body["sender"].as_str().unwrap(), body["signature"].as_str().unwrap());
    assert_eq!(given, (scene.owner.to_string().as_str(), part.as_str()));
    mailed.world.sign_by(&running.api, &id, 1).await;
    mailed.has(hash, 2).await;
    let told = there(mailed, hash).await;
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!((kinds, &told[0].1), (vec!["CONTRACT_SIGNATURE", "EOA"], &part));
    let told = mailed.read_again(&running, &id).await;
    assert_eq!((&told["hint"], &told["problem"]), (&Value::Null, &Value::Null));
    scene.execute_and_run(&running.api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_false_signature_of_a_contract_is_not_counted_and_it_is_said_why() {
    let scene = Nested::of(SafeVersion::V1_4_1).await;
    let (mailed, nested) = (&scene.mailed, scene.owner);
    let running = mailed.world.start().await;
    let (id, hash) = mailed.propose(&running).await;
    mailed.world.sign_by(&running.api, &id, 0).await;
    mailed.has(hash, 1).await;
    let tx = tx_of(&running.api, &id).await;
    let owner = mailed.world.town.chain.owners[1].address();
    let other = SafeTx { nonce: tx.nonce + U256::from(1), ..tx.clone() };
    let honest = scene.sign(&tx).to_bytes();
    let huge = Part::Contract { owner: nested, data: vec![0xab; 20_000].into() }.to_bytes();
    let foreign = Part::Contract { owner: Address::repeat_byte(9), data: Bytes::new() }.to_bytes();
    let [says_no, short] = [&honest[..], &honest[..100]].map(Bytes::copy_from_slice);
    let refuses = "does not say that this is its signature";
    for (of, signature, why) in [
        (nested, scene.signed_by_a_stranger(&tx).to_bytes(), refuses),
        (nested, scene.sign(&other).to_bytes(), refuses),
        (owner, says_no, "is one of"),
        (Address::repeat_byte(9), foreign, "who is not an owner of the Safe"),
        (nested, huge, "more than 16384 bytes"),
        (nested, short, "does not read"),
    ] {
        scene.plant(hash, of, &signature);
        let told = mailed.read_again(&running, &id).await;
        let hint = told["hint"].as_str().unwrap_or_default();
        assert!(hint.contains("not counted: ") && hint.contains(why), "{why}: {told}");
        assert_eq!(told["problem"], Value::Null, "{why}");
        assert_eq!(kinds(&running.api, &id).await, ["eip712"], "{why}");
    }
    // What is honest beside it counts.
    mailed.sign_there(hash, 2).await;
    mailed.read_again(&running, &id).await;
    running.api.wait_for(&id, "approved").await;
    running.stop().await;
}

/// Says yes to whoever is somebody, and refuses nobody: the zero address.
const ANSWERS_SOMEBODY: [u8; 26] = hex!("33156015576320c13b0b60e01b60005260206000f35b600080fd");
/// Burns all gas.
const BURNS_GAS: [u8; 4] = hex!("5b600056");

/// The service asks a contract in nobody's name, the Safe in its own.
#[tokio::test]
async fn what_the_mailbox_refuses_counts_here_and_keeps_nothing_else_from_it() {
    let world = World::with(|town| (town.threshold, town.owners) = (3, 4)).await;
    let contract = Address::repeat_byte(0xe1);
    let chain = &world.town.chain;
    chain.rpc.set_code(contract, &Bytes::from_static(&ANSWERS_SOMEBODY)).await.unwrap();
    become_owner(chain, contract).await;
    let mailed = Mailed::beside(world).await;
    let running = mailed.world.start().await;
    let (id, hash) = mailed.propose(&running).await;
    mailed.world.sign_by(&running.api, &id, 0).await;
    mailed.has(hash, 1).await;
    let part = Part::Contract { owner: contract, data: Bytes::from_static(b"yes") };
    assert_eq!(running.api.confirm(&id, &part.to_bytes().to_string()).await.status, 201);
    let told = mailed.is_told(&running, &id, "problem", "is not valid").await;
    assert!(told["problem"].as_str().unwrap().contains("counts here and on the chain"), "{told}");
    mailed.world.sign_by(&running.api, &id, 2).await;
    mailed.has(hash, 2).await;
    let owners: Vec<String> =
        there(&mailed, hash).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(owners, ["EOA", "EOA"]);
    assert_eq!(kinds(&running.api, &id).await.len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn a_contract_that_burns_all_gas_keeps_no_other_signature_back() {
    let world = World::new().await;
    let contract = Address::repeat_byte(0xe1);
    world.town.chain.rpc.set_code(contract, &Bytes::from_static(&BURNS_GAS)).await.unwrap();
    become_owner(&world.town.chain, contract).await;
    let mailed = Mailed::beside(world).await;
    let running = mailed.world.start().await;
    let (id, hash) = mailed.propose(&running).await;
    mailed.world.sign_by(&running.api, &id, 0).await;
    mailed.has(hash, 1).await;
    let signature = Part::Contract { owner: contract, data: Bytes::new() }.to_bytes();
    let plant = json!({ "hash": hash, "owner": contract, "signature": signature,
        "type": "CONTRACT_SIGNATURE" });
    mailed.switch(json!({ "plant": plant }));
    let told = mailed.read_again(&running, &id).await;
    let hint = told["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("does not say that this is its signature"), "{told}");
    mailed.sign_there(hash, 1).await;
    mailed.read_again(&running, &id).await;
    running.api.wait_for(&id, "approved").await;
    assert_eq!(kinds(&running.api, &id).await, ["eip712", "eip712"]);
    running.stop().await;
}

/// Both sides read approvals from the chain. Neither takes the other's word, and none is posted.
#[tokio::test]
async fn approvals_on_chain_are_read_from_the_chain_on_both_sides() {
    let mailed = Mailed::new().await;
    let running = mailed.world.start().await;
    let (id, hash) = mailed.propose(&running).await;
    mailed.is_told(&running, &id, "posted_at", "T").await;
    let owner = mailed.world.town.chain.owners[0].address();
    let marker = Part::ApprovedHash(owner).to_bytes();
    let claimed = json!({ "hash": hash, "owner": owner, "signature": marker,
        "type": "APPROVED_HASH" });
    mailed.switch(json!({ "plant": claimed }));
    mailed.read_again(&running, &id).await;
    assert_eq!(kinds(&running.api, &id).await, [] as [&str; 0], "the chain does not show it");

    let chain = &mailed.world.town.chain;
    let approve = Safe::approveHashCall { hashToApprove: hash.0 }.abi_encode();
    chain.rpc.send(&chain.owners[1], chain.safe, approve.into()).await.unwrap();
    eventually("the approval to be seen", async || {
        (kinds(&running.api, &id).await == ["approved_hash"]).then_some(())
    })
    .await;
    mailed.read_again(&running, &id).await;
    mailed.has(hash, 2).await;
    let told = there(&mailed, hash).await;
    assert!(told.iter().all(|(kind, _)| kind == "APPROVED_HASH"), "{told:?}");
    let posted = mailed.emulator.requests().into_iter();
    let confirms = posted.filter(|one| one.method == "POST" && one.path.contains("confirmations"));
    assert_eq!(confirms.count(), 0, "the service sees it by itself");
    mailed.sign_there(hash, 2).await;
    mailed.read_again(&running, &id).await;
    running.api.wait_for(&id, "approved").await;
    running.stop().await;
}
