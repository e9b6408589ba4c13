//! Owners need not sign with a key: they may approve on chain, or be contracts that answer for
//! themselves. Whatever is said of a signature, the chain decides.

use alloy::{
    dyn_abi::TypedData,
    primitives::{Address, B256, Bytes, address, hex},
    sol_types::SolCall,
};
use chrono::TimeDelta;
use countersign::{
    devnet::{Wallet, chain_scene::ChainScene},
    request::ids::{ChainId, SafeTxHash},
    safe::{
        SafeTx, SafeVersion, batch_file,
        contract_signature::{message, safe_message_hash},
        hashes,
        packed::{Part, pack},
        tx::Safe,
    },
};
use serde_json::{Value, json};

use super::contract_owners::{become_owner, nested_safe};
use crate::world::{Api, DEPTH, World, eventually, process::cli};

async fn world_of(safe_version: SafeVersion) -> World {
    World::with(|town| town.safe_version = safe_version).await
}

fn hash(proposal: &Value) -> SafeTxHash {
    proposal["safe_tx_hash"].as_str().unwrap().parse().unwrap()
}

async fn approve_on_chain(chain: &ChainScene, owner: &Wallet, hash: SafeTxHash) {
    let approve = Safe::approveHashCall { hashToApprove: hash.0 }.abi_encode();
    chain.rpc.send(owner, chain.safe, approve.into()).await.unwrap();
}

async fn give(api: &Api, id: &str, part: &Part) -> (u16, Value) {
    let answer = api.confirm(id, &part.to_bytes().to_string()).await;
    (answer.status, answer.body)
}

fn kinds(proposal: &Value) -> Vec<&str> {
    let given = proposal["confirmations"].as_array().unwrap();
    given.iter().map(|one| one["kind"].as_str().unwrap()).collect()
}

async fn execute_and_run(world: &World, api: &Api, id: &str) {
    api.wait_for(id, "approved").await;
    world.execute(api, id).await;
    world.mine(DEPTH).await;
    api.wait_for(id, "running").await;
}

#[tokio::test]
async fn an_approval_on_chain_counts_although_nobody_tells_of_it() {
    for version in [SafeVersion::V1_0_0, SafeVersion::V1_1_1, SafeVersion::V1_4_1] {
        let world = world_of(version).await;
        let running = world.start().await;
        let api = &running.api;
        let id = api.submit(&world.submission(&world.prepare().await)).await;
        let hash = hash(&api.proposal(&id).await);
        let chain = &world.town.chain;
        world.sign_by(api, &id, 1).await;
        api.wait_for_reason(&id, "1 of 2").await;
        approve_on_chain(chain, &chain.owners[0], hash).await;
        if !version.tells_success() {
            // 1.0.0 has no event for it either: it is seen at the next look.
            world.mine(1).await;
            world.look_again().await;
        }
        api.wait_for(&id, "approved").await;
        let proposal = api.proposal(&id).await;
        assert_eq!(kinds(&proposal), ["eip712", "approved_hash"]);
        let marker = Part::ApprovedHash(chain.owners[0].address()).to_bytes();
        assert_eq!(proposal["confirmations"][1]["signature"], json!(marker));
        execute_and_run(&world, api, &id).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn a_marker_counts_once_the_approval_is_on_chain() {
    let world = world_of(SafeVersion::V1_5_0).await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    let hash = hash(&api.proposal(&id).await);
    let chain = &world.town.chain;
    let marker = Part::ApprovedHash(chain.owners[0].address());
    let (status, refused) = give(api, &id, &marker).await;
    assert_eq!((status, &refused["code"]), (422, &json!("not-approved-on-chain")));
    approve_on_chain(chain, &chain.owners[0], SafeTxHash(B256::repeat_byte(7))).await;
    assert_eq!(give(api, &id, &marker).await.0, 422, "that was something else");
    let (status, refused) = give(api, &id, &Part::ApprovedHash(Address::repeat_byte(9))).await;
    assert_eq!((status, &refused["code"]), (422, &json!("not-an-owner")));

    approve_on_chain(chain, &chain.owners[0], hash).await;
    // Whether this or the follower comes first, the owner counts once.
    assert!([200, 201].contains(&give(api, &id, &marker).await.0));
    world.sign_by(api, &id, 1).await;
    execute_and_run(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn an_approval_that_a_reorganisation_takes_back_does_not_count_any_more() {
    let world = world_of(SafeVersion::V1_4_1).await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    let hash = hash(&api.proposal(&id).await);
    let chain = &world.town.chain;
    world.sign_by(api, &id, 1).await;
    approve_on_chain(chain, &chain.owners[0], hash).await;
    api.wait_for(&id, "approved").await;
    chain.rpc.reorg(1).await.unwrap();
    world.mine(1).await;
    world.look_again().await;
    let replaced = api.last_told(&id, "proposal_replaced").await;
    assert!(replaced["reason"].as_str().unwrap().contains("does not show"), "{replaced}");
    running.stop().await;
}

#[tokio::test]
async fn several_signatures_at_once_are_taken_together_or_not_at_all() {
    let world = World::with(|town| (town.threshold, town.owners) = (3, 4)).await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    let hash = hash(&api.proposal(&id).await);
    let chain = &world.town.chain;
    let of = |wallet: &Wallet| (wallet.address(), Part::from(wallet.sign(hash)));
    let [first, second, third] = [0, 1, 2].map(|owner| of(&chain.owners[owner]));
    let packed = |parts: &[(Address, Part)]| pack(parts).unwrap().to_string();

    let foreign = packed(&[first.clone(), of(&chain.executor)]);
    let other_hash = SafeTxHash(B256::repeat_byte(7));
    let other = (second.0, Part::from(chain.owners[1].sign(other_hash)));
    let twice = format!("{}{}", first.1.to_bytes(), &first.1.to_bytes().to_string()[2..]);
    let absent = packed(&[first.clone(), (third.0, Part::ApprovedHash(third.0))]);
    let trailing = format!("{}00", packed(&[first.clone(), second.clone()]));
    for (text, code, words) in [
        (foreign, "not-an-owner", "none was taken"),
        (packed(&[first.clone(), other]), "not-an-owner", "none was taken"),
        (twice, "invalid-field", "signature 2"),
        (absent, "not-approved-on-chain", "none was taken"),
        (trailing, "invalid-field", "65 bytes"),
    ] {
        let answer = api.confirm(&id, &text).await;
        assert_eq!(
            (answer.status, answer.body["code"].as_str()),
            (422, Some(code)),
            "{}",
            answer.text
        );
        assert!(answer.text.contains(words), "{}", answer.text);
        assert_eq!(api.proposal(&id).await["confirmations"], json!([]), "all or nothing");
    }
    let answer = api.confirm(&id, &packed(&[first, second.clone()])).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(kinds(&api.proposal(&id).await), ["eip712", "eip712"]);
    assert_eq!(api.confirm(&id, &second.1.to_bytes().to_string()).await.status, 200, "known");
    assert_eq!(api.confirm(&id, &packed(&[second, third])).await.status, 201, "one is new");
    execute_and_run(&world, api, &id).await;
    running.stop().await;
}

/// API, page and every command tell the owners of the nested Safe what they sign, and what approves
/// instead.
async fn its_owners_are_told(world: &World, api: &Api, id: &str, nested: Address, sign: B256) {
    let proposal = api.proposal(id).await;
    let told = &proposal["nested_owners"][0];
    assert_eq!(told["owner"], json!(nested.to_string()));
    assert_eq!(told["safe_message"]["safe_message_hash"], json!(sign));
    let document: TypedData =
        serde_json::from_value(told["safe_message"]["eip712"].clone()).unwrap();
    assert_eq!(document.eip712_signing_hash().unwrap(), sign);
    assert_eq!(told["approval"]["to"], json!(world.town.chain.safe.to_string()));
    let data: Bytes = serde_json::from_value(told["approval"]["data"].clone()).unwrap();
    let approve = Safe::approveHashCall::abi_decode(&data).unwrap();
    assert_eq!(SafeTxHash(approve.hashToApprove), hash(&proposal));
    let file = format!("/v1/requests/{id}/nested-owners/{nested}/safe-batch.json");
    let text = api.get(&file).await.text;
    let file = batch_file::read(&text).unwrap();
    assert_eq!((file.safe, &file.calls[0].data), (Some(nested), &data));
    an_approval_is_told_for_what_it_is(world, api, id, nested, &text).await;
    let foreign = format!("/v1/requests/{id}/nested-owners/{}/safe-batch.json", Address::ZERO);
    assert_eq!(api.get(&foreign).await.status, 404);

    let ledger = told["safe_message"]["message_hash"].as_str().unwrap()[2..].to_uppercase();
    let page = api.get(&format!("/requests/{id}")).await.text;
    let rpc = world.town.chain.rpc_url().to_string();
    let mut told = vec![page];
    for command in [&["show", id][..], &["payload", id], &["verify", id, "--rpc", &rpc]] {
        let (code, out, err) = cli(api, command).await;
        assert_eq!(code, 0, "{command:?}: {out}{err}");
        told.push(out);
    }
    for text in told {
        for part in [sign.to_string(), ledger.clone(), data.to_string(), nested.to_string()] {
            assert!(text.contains(&part), "{part} is not in {text}");
        }
    }
}

/// The file is verified with what it approves, and is no alarm; one that approves anything else is.
async fn an_approval_is_told_for_what_it_is(
    world: &World,
    api: &Api,
    id: &str,
    nested: Address,
    text: &str,
) {
    let rpc = world.town.chain.rpc_url().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("approval.json");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let (code, alone, err) = cli(api, &["verify", file, "--rpc", &rpc]).await;
    assert_eq!(code, 3, "{alone}{err}");
    assert!(alone.contains("an approval by an owner that is a Safe"), "{alone}");
    assert!(alone.contains("--approves ID") && !alone.contains("do not sign"), "{alone}");
    let approves = ["verify", file, "--rpc", &rpc, "--approves", id];
    let (code, told, err) = cli(api, &approves).await;
    assert_eq!(code, 0, "{told}{err}");
    let owner = format!("{nested}, which approves it, is an owner of");
    assert!(told.contains("approves exactly this transaction") && told.contains(&owner), "{told}");

    let mut other: Value = serde_json::from_str(text).unwrap();
    let call = &mut other["transactions"][0];
    let hash = api.proposal(id).await["safe_tx_hash"].as_str().unwrap()[2..].to_owned();
    let changed = call.to_string().replace(&hash, &"ab".repeat(32));
    *call = serde_json::from_str(&changed).unwrap();
    other["meta"]["checksum"] = json!(batch_file::checksum(&other));
    std::fs::write(file, other.to_string()).unwrap();
    let (code, told, err) = cli(api, &approves).await;
    assert_eq!(code, 3, "{told}{err}");
    assert!(told.contains("which is not this transaction: do not sign it"), "{told}");
}

#[tokio::test]
async fn a_safe_that_owns_the_safe_signs_by_its_own_owners() {
    for version in [SafeVersion::V1_1_1, SafeVersion::V1_4_1, SafeVersion::V1_5_0] {
        let world = world_of(version).await;
        let signer = Wallet::funded(7).unwrap();
        let nested = nested_safe(&world.town.chain, &signer).await;
        let running = world.start().await;
        let api = &running.api;
        let id = api.submit(&world.submission(&world.prepare().await)).await;
        let proposal = api.proposal(&id).await;
        let tx: SafeTx = serde_json::from_value(proposal["safe_tx"].clone()).unwrap();
        let hashes = hashes(&tx, ChainId::BASE, world.town.chain.safe, version);
        let message = safe_message_hash(&message(version, &hashes), ChainId::BASE, nested, version);
        its_owners_are_told(&world, api, &id, nested, message).await;
        let data = |hash| Bytes::from(signer.sign(SafeTxHash(hash)).to_bytes());
        let wrong = Part::Contract { owner: nested, data: data(hashes.safe_tx_hash.0) };
        let (status, refused) = give(api, &id, &wrong).await;
        assert_eq!((status, &refused["code"]), (422, &json!("not-signed-by-contract")));
        let good = Part::Contract { owner: nested, data: data(message) };
        // A signature alone says neither whose it is nor for whom: that is told.
        for (signed, words) in [
            (hashes.safe_tx_hash.0, "do not sign this transaction".to_owned()),
            (message, format!("as that of the contract {nested}: {}", good.to_bytes())),
        ] {
            let refused = api.confirm(&id, &data(signed).to_string()).await;
            assert_eq!(refused.body["code"], "of-an-owner-of-an-owner", "{}", refused.text);
            assert!(refused.text.contains(&words), "{}", refused.text);
        }
        assert_eq!(give(api, &id, &good).await.0, 201);
        world.sign_by(api, &id, 0).await;
        assert_eq!(kinds(&api.proposal(&id).await), ["contract_signature", "eip712"]);
        execute_and_run(&world, api, &id).await;
        running.stop().await;
    }
}

/// Contracts that say neither yes nor no, each with what becomes of its signature.
const ODD_CONTRACTS: [(Address, &[u8], u16); 7] = [
    // An account without code.
    (address!("00000000000000000000000000000000000a0001"), &[], 422),
    // Reverts.
    (address!("00000000000000000000000000000000000a0002"), &hex!("60006000fd"), 422),
    // Answers with half a word, and with the answer to the other question.
    (address!("00000000000000000000000000000000000a0003"), &hex!("60106000f3"), 422),
    (
        address!("00000000000000000000000000000000000a0004"),
        &hex!("631626ba7e60e01b60005260206000f3"),
        422,
    ),
    // Burns all gas, breaks off with all of it, and takes from an empty stack: answers of the chain as a
    // refusal is.
    (address!("00000000000000000000000000000000000a0005"), &hex!("5b600056"), 422),
    (address!("00000000000000000000000000000000000a0006"), &hex!("fe"), 422),
    (address!("00000000000000000000000000000000000a0007"), &hex!("01"), 422),
];

#[tokio::test]
async fn a_contract_that_does_not_say_yes_has_not_signed() {
    let world = world_of(SafeVersion::V1_4_1).await;
    for (contract, code, _) in ODD_CONTRACTS {
        world.town.chain.rpc.set_code(contract, &Bytes::from(code)).await.unwrap();
        become_owner(&world.town.chain, contract).await;
    }
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.proposal(&id).await;
    for (owner, _, expected) in ODD_CONTRACTS {
        let (status, body) = give(api, &id, &Part::Contract { owner, data: Bytes::new() }).await;
        assert_eq!(status, expected, "{owner}: {body}");
    }
    let foreign = Part::Contract { owner: world.town.chain.safe, data: Bytes::new() };
    assert_eq!(give(api, &id, &foreign).await.1["code"], "not-an-owner");
    assert_eq!(api.proposal(&id).await["confirmations"], json!([]));
    running.stop().await;
}

/// Says yes to whoever is somebody, and refuses nobody: the zero address.
const ANSWERS_SOMEBODY: [u8; 26] = hex!("33156015576320c13b0b60e01b60005260206000f35b600080fd");
/// The other way round.
const ANSWERS_NOBODY: [u8; 25] = hex!("336014576320c13b0b60e01b60005260206000f35b600080fd");

/// A Safe asks in its own name, so that is how a contract is asked here.
#[tokio::test]
async fn a_contract_is_asked_in_the_name_of_the_safe() {
    let world = world_of(SafeVersion::V1_4_1).await;
    let (honest, odd) = (Address::repeat_byte(0xe1), Address::repeat_byte(0xe2));
    for (contract, code) in [(honest, &ANSWERS_SOMEBODY[..]), (odd, &ANSWERS_NOBODY[..])] {
        world.town.chain.rpc.set_code(contract, &Bytes::from(code.to_vec())).await.unwrap();
        become_owner(&world.town.chain, contract).await;
    }
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.proposal(&id).await;
    let part = |owner| Part::Contract { owner, data: Bytes::new() };
    assert_eq!(give(api, &id, &part(odd)).await.0, 422);
    assert_eq!(give(api, &id, &part(honest)).await.0, 201);
    world.sign_by(api, &id, 0).await;
    execute_and_run(&world, api, &id).await;
    running.stop().await;
}

/// A world whose Safe has an owner that is a contract, and says that it signed what it is asked about.
async fn world_with_a_contract() -> (World, Address) {
    let world = world_of(SafeVersion::V1_4_1).await;
    let honest = Address::repeat_byte(0xe1);
    let code = Bytes::from(ANSWERS_SOMEBODY.to_vec());
    world.town.chain.rpc.set_code(honest, &code).await.unwrap();
    become_owner(&world.town.chain, honest).await;
    (world, honest)
}

/// The contract takes its signature back, and some minutes later the proposal is gone.
async fn assert_gone_when_taken_back(world: &World, api: &Api, id: &str, contract: Address) {
    world.town.chain.rpc.set_code(contract, &hex!("60006000fd").into()).await.unwrap();
    // Such a block wakes nobody.
    world.mine(1).await;
    world.clock.pass(TimeDelta::minutes(4));
    let replaced = api.last_told(id, "proposal_replaced").await;
    assert!(replaced["reason"].as_str().unwrap().contains("takes its signature back"));
}

#[tokio::test]
async fn a_contract_that_takes_its_signature_back_ends_the_offer_within_minutes() {
    let (world, honest) = world_with_a_contract().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.proposal(&id).await;
    let part = Part::Contract { owner: honest, data: Bytes::new() };
    assert_eq!(give(api, &id, &part).await.0, 201);
    world.sign_by(api, &id, 0).await;
    api.wait_for_reason(&id, "anyone may execute").await;
    assert_gone_when_taken_back(&world, api, &id, honest).await;
    running.stop().await;
}

#[tokio::test]
async fn a_contract_whose_signature_is_the_first_is_asked_again_within_minutes() {
    let (world, honest) = world_with_a_contract().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.proposal(&id).await;
    api.wait_for_reason(&id, "0 of 2 signatures").await;
    let part = Part::Contract { owner: honest, data: Bytes::new() };
    assert_eq!(give(api, &id, &part).await.0, 201);
    let soon = "select (lease_until is null and next_try_at < now() + interval '1 hour')::text
        from requests";
    eventually("the contract to be asked again soon", async || {
        (world.database.text(soon).await == "true").then_some(())
    })
    .await;
    assert_gone_when_taken_back(&world, api, &id, honest).await;
    running.stop().await;
}
