//! Safe's own api-kit and our client do the same to a Transaction Service: request by request, as
//! they stand on the wire, and with the same answers.

use alloy::{primitives::Bytes, signers::SignerSync};
use countersign::clock::Clock;
use countersign::{
    devnet::{Wallet, safe_service::WireRequest},
    owner::text::decimal,
    safe::packed::Part,
    safe_service::{DelegateRequest, Hour, Permission, next_nonce},
};
use serde_json::{Value, json};

use super::{
    contract_owners::{nested_safe, signed_by_nested},
    kit::run_kit,
    mailbox_scene::{Mailbox, origin, stranger},
};

async fn kit(scene: &Value) -> Value {
    run_kit("api_kit.mjs", scene).await
}

/// Without what differs by design: each looks around in its own way first (we ask for the chain of
/// the service, api-kit for the nonce of the Safe, which we have from the chain), and a signature
/// that a key made over the hour.
fn comparable(requests: &[WireRequest]) -> Vec<Value> {
    let looks_around = |request: &&WireRequest| {
        request.path.starts_with("/api/v1/about/") || request.path.starts_with("/api/v1/safes/")
    };
    let of_delegates = |request: &WireRequest| request.path.starts_with("/api/v2/delegates/");
    requests
        .iter()
        .filter(|request| !looks_around(request))
        .map(|request| {
            let mut value = serde_json::to_value(request).unwrap();
            if of_delegates(request) && request.method == "POST" {
                value["body"]["signature"] = json!("…");
            }
            value
        })
        .collect()
}

#[tokio::test]
async fn our_client_and_api_kit_say_the_same_on_the_wire_and_hear_the_same() {
    let mailbox = Mailbox::set().await;
    let key = Wallet::funded(7).unwrap();
    let nested = nested_safe(&mailbox.chain, &key).await;
    let (tx, account) = (mailbox.tx().await, mailbox.account());
    let (hash, owner, delegate) = (mailbox.hash(&tx), mailbox.owner(0), stranger().address());
    let signatures = [0, 1].map(|number| mailbox.owner(number).sign(hash));
    let of_contract = signed_by_nested(&mailbox.chain, nested, &key, &tx);
    let Part::Contract { data, .. } = &of_contract else { panic!("it is of a contract") };
    let mut fields = serde_json::Map::new();
    for (name, value) in [
        ("to", json!(tx.to.to_string())),
        ("value", json!(tx.value.to_string())),
        ("data", json!(tx.data)),
        ("operation", json!(tx.operation)),
        ("safeTxGas", json!("0")),
        ("baseGas", json!("0")),
        ("gasPrice", json!("0")),
        ("gasToken", json!(tx.gas_token.to_string())),
        ("refundReceiver", json!(tx.refund_receiver.to_string())),
        ("nonce", json!(tx.nonce.to::<u64>())),
    ] {
        fields.insert(name.into(), value);
    }
    let scene = json!({
        "chain_id": account.chain, "root": mailbox.emulator.root(), "safe": account.safe.to_string(),
        "tx": fields, "hash": hash, "sender": owner.address().to_string(),
        "signatures": signatures, "origin": origin().to_text(), "nonce": tx.nonce.to_string(),
        "owner_key": owner.private_key(), "delegate": delegate.to_string(),
        "contract": { "owner": nested.to_string(), "data": data },
    });
    let theirs = kit(&scene).await;
    let their_requests = mailbox.emulator.requests();

    let fresh = mailbox.another().await;
    let client = mailbox.client_of(&fresh, None);
    client.propose(account.safe, &mailbox.post(&tx, owner)).await.unwrap();
    let read = client.transaction(&account, hash).await.unwrap().unwrap();
    client.confirm(hash, &signatures[1].into()).await.unwrap();
    client.confirm(hash, &of_contract).await.unwrap();
    let confirmations = client.confirmations(hash).await.unwrap();
    let from: u64 = tx.nonce.to();
    let queue = client.queue(&account, from).await.unwrap();
    // Their next nonce reads the queue once more.
    let again = client.queue(&account, from).await.unwrap();
    let at_nonce = client.at_nonce(&account, from, hash).await.unwrap();
    let hour = Hour::of(mailbox.clock.now());
    let permit = DelegateRequest { chain: account.chain, delegate, hour };
    let signature = owner.signer().sign_hash_sync(&permit.signing_hash()).unwrap();
    let permission = Permission {
        safe: Some(account.safe),
        delegate,
        delegator: owner.address(),
        label: "countersign".into(),
        signature: Bytes::copy_from_slice(&signature.as_bytes()),
    };
    client.add_delegate(&permission).await.unwrap();
    let delegates = client.delegates(account.safe).await.unwrap();

    let (ours, kits) = (comparable(&fresh.requests()), comparable(&their_requests));
    assert_eq!(ours, kits);
    assert_eq!(ours.len(), 10);

    assert_eq!(read.tx, tx);
    assert_eq!(theirs["transaction"]["safeTxHash"], json!(hash));
    assert_eq!(confirmations.signed.len(), 2);
    assert_eq!(confirmations.of_contracts, [(nested, data.clone())]);
    assert_eq!(theirs["confirmations"]["count"], 3);
    assert_eq!(queue.transactions.len(), 1);
    assert_eq!(theirs["queue"]["results"][0]["safeTxHash"], json!(hash));
    let their_nonce = decimal::parse(theirs["next_nonce"].as_str().unwrap()).unwrap();
    assert_eq!(next_nonce(&again, from), their_nonce.to::<u64>());
    assert_eq!(at_nonce[0].hash, hash);
    assert_eq!(theirs["at_nonce"]["results"][0]["safeTxHash"], json!(hash));
    assert_eq!(delegates[0].delegate, delegate);
    assert_eq!(theirs["delegates"]["results"][0]["delegate"], json!(delegate.to_string()));
}
