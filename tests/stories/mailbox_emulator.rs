//! The emulated Transaction Service answers as the real one was seen to: statuses and bodies of
//! every check, in order.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::SolCall,
};
use countersign::{
    devnet::Wallet,
    safe::{
        SafeVersion,
        packed::{Part, pack},
        tx::Safe,
    },
};
use serde_json::{Value, json};

use super::{
    contract_owners::{nested_safe, signed_by_nested},
    mailbox_scene::{Mailbox, rejection, stranger},
};
use crate::world::Api;

/// Sends as any client would, and gives status and body.
async fn send(mailbox: &Mailbox, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let url = format!("{}{path}", mailbox.emulator.root());
    let request = Api::bare().request(method.parse().unwrap(), url);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    let answer = request.send().await.expect("the emulator answers");
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
}

struct Proposing {
    mailbox: Mailbox,
    body: Value,
    path: String,
}

impl Proposing {
    async fn new() -> Self {
        Self::of(SafeVersion::V1_4_1).await
    }

    async fn of(version: SafeVersion) -> Self {
        let mailbox = Mailbox::of(version).await;
        let tx = mailbox.tx().await;
        let hash = mailbox.hash(&tx);
        let owner = mailbox.owner(0);
        let zero = Address::ZERO.to_string();
        let body = json!({
            "to": tx.to.to_string(), "value": "0", "data": tx.data, "operation": 0,
            "safeTxGas": "0", "baseGas": "0", "gasPrice": "0", "gasToken": zero,
            "refundReceiver": zero, "nonce": tx.nonce.to_string(), "contractTransactionHash": hash,
            "sender": owner.address().to_string(), "signature": owner.sign(hash),
            "origin": r#"{"url":"https://example.org","name":"replica approvals"}"#,
        });
        let path = format!("/v2/safes/{}/multisig-transactions/", mailbox.chain.safe);
        Self { mailbox, body, path }
    }

    async fn post(&self, changes: &Value) -> (u16, Value) {
        let mut body = self.body.clone();
        for (name, value) in changes.as_object().unwrap() {
            if value == "(left out)" {
                body.as_object_mut().unwrap().remove(name);
            } else {
                body[name] = value.clone();
            }
        }
        send(&self.mailbox, "POST", &self.path, Some(&body)).await
    }

    fn hash(&self) -> &str {
        self.body["contractTransactionHash"].as_str().unwrap()
    }

    async fn detail(&self) -> (u16, Value) {
        let path = format!("/v2/multisig-transactions/{}/", self.hash());
        send(&self.mailbox, "GET", &path, None).await
    }

    async fn queue(&self, query: &str) -> Value {
        send(&self.mailbox, "GET", &format!("{}{query}", self.path), None).await.1
    }
}

#[tokio::test]
async fn a_proposal_is_checked_in_order() {
    let scene = Proposing::new().await;
    let sender = scene.body["sender"].as_str().unwrap().to_lowercase();
    let fields = [
        (json!({ "to": sender }), "to", format!("Address {sender} is not checksumed")),
        (json!({ "to": "0x12" }), "to", "Invalid ethereum address".into()),
        (json!({ "value": "(left out)" }), "value", "This field is required.".into()),
        (json!({ "value": "0x1" }), "value", "A valid integer is required.".into()),
        (json!({ "nonce": -1 }), "nonce", "A valid integer is required.".into()),
        (json!({ "signature": "" }), "signature", "This field may not be blank.".into()),
        (json!({ "signature": "0x" }), "signature", "This field may not be blank.".into()),
        (
            json!({ "signature": "0x12" }),
            "signature",
            "Ensure this field has at least 65 hexadecimal chars (not counting 0x).".into(),
        ),
        (
            json!({ "origin": "o".repeat(201) }),
            "origin",
            "Ensure this field has no more than 200 characters.".into(),
        ),
    ];
    for (changes, name, problem) in fields {
        let refused = scene.post(&changes).await;
        assert_eq!(refused, (422, json!({ name: [problem] })), "{changes}");
    }
    // Two fields, two complaints.
    let both = scene.post(&json!({ "to": "0x12", "gasPrice": "(left out)" })).await.1;
    assert!(both["to"].is_array() && both["gasPrice"].is_array(), "{both}");

    let object = async |changes: Value| {
        let (status, body) = scene.post(&changes).await;
        assert_eq!(status, 422, "{changes}: {body}");
        body["nonFieldErrors"][0].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
    };
    let given = B256::repeat_byte(7).to_string();
    let refused = object(json!({ "contractTransactionHash": given })).await;
    let hash = scene.hash();
    let said = format!(
        "Contract-transaction-hash={hash} does not match provided contract-tx-hash={given}"
    );
    assert_eq!(refused, said);

    let foreign = stranger();
    let refused = object(json!({ "sender": foreign.address().to_string() })).await;
    let start =
        format!("Sender={} is not an owner or delegate. Current owners=['", foreign.address());
    assert!(refused.starts_with(&start), "{refused}");

    let hash = hash.parse().unwrap();
    let refused = object(json!({ "signature": foreign.sign(hash) })).await;
    assert!(
        refused.starts_with(&format!("Signer={} is not an owner", foreign.address())),
        "{refused}"
    );

    let another = scene.mailbox.owner(1).sign(hash);
    let refused = object(json!({ "signature": another })).await;
    let said = format!("Signature does not match sender={}", scene.mailbox.owner(0).address());
    assert!(refused.starts_with(&said), "{refused}");

    let mine = scene.body["signature"].as_str().unwrap();
    let twice = format!("{mine}{}", &mine[2..]);
    let refused = object(json!({ "signature": twice })).await;
    assert!(refused.ends_with("is duplicated"), "{refused}");
    let not_valid = format!("0x{:064}{:064}00", 0, 0);
    let refused = object(json!({ "signature": not_valid })).await;
    assert!(refused.ends_with("is not valid"), "{refused}");
    assert!(scene.mailbox.emulator.mail().is_empty());
}

#[tokio::test]
async fn a_proposal_is_kept_once_and_becomes_trusted_with_a_signature() {
    let scene = Proposing::new().await;
    let unsigned = json!({ "signature": null });
    assert_eq!(scene.post(&unsigned).await, (201, Value::Null));
    let nonce = scene.body["nonce"].as_str().unwrap();
    let queue = format!("?executed=false&nonce__gte={nonce}");
    assert_eq!(scene.queue(&queue).await["count"], 0, "nobody vouches for it");
    assert_eq!(scene.queue(&format!("{queue}&trusted=false")).await["count"], 1);
    assert_eq!(scene.detail().await.1["trusted"], false);

    assert_eq!(scene.post(&json!({})).await.0, 201);
    assert_eq!(scene.post(&json!({})).await.0, 201, "again");
    let (status, detail) = scene.detail().await;
    assert_eq!(
        (status, &detail["trusted"], &detail["isExecuted"]),
        (200, &json!(true), &json!(false))
    );
    assert_eq!(detail["confirmations"].as_array().unwrap().len(), 1);
    assert_eq!(detail["origin"], r#"{"url": "https://example.org", "name": "replica approvals"}"#);
    assert_eq!((&detail["proposer"], &detail["nonce"]), (&scene.body["sender"], &json!(nonce)));
    let listed = scene.queue(&queue).await;
    assert_eq!((&listed["count"], &listed["countUniqueNonce"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn paths_bodies_and_addresses_are_taken_as_the_real_one_takes_them() {
    let scene = Proposing::new().await;
    let safe = scene.mailbox.chain.safe.to_string();
    let lower = safe.to_lowercase();
    let refused = send(&scene.mailbox, "GET", &format!("/v1/safes/{lower}/"), None).await;
    let message = "Checksum address validation failed";
    assert_eq!(refused, (422, json!({ "code": 1, "message": message, "arguments": [lower] })));
    let info = send(&scene.mailbox, "GET", &format!("/v1/safes/{safe}/"), None).await.1;
    assert_eq!((&info["version"], &info["threshold"]), (&json!("1.4.1+L2"), &json!(2)));
    let nobody = format!("/v1/safes/{}/", stranger().address());
    assert_eq!(send(&scene.mailbox, "GET", &nobody, None).await, (404, Value::Null));

    // A client that follows turns the POST into a GET; it is not followed here.
    let none = reqwest::redirect::Policy::none();
    let without = reqwest::Client::builder().redirect(none).build().unwrap();
    let url = format!("{}{}", scene.mailbox.emulator.root(), scene.path.trim_end_matches('/'));
    let moved = without.post(&url).json(&scene.body).send().await.unwrap();
    assert_eq!(moved.status().as_u16(), 301);
    let place = moved.headers()["location"].to_str().unwrap();
    assert_eq!(place, format!("/api{}", scene.path));

    let url = format!("{}{}", scene.mailbox.emulator.root(), scene.path);
    let broken = without.post(&url).header("content-type", "application/json").body("{");
    assert_eq!(broken.send().await.unwrap().status().as_u16(), 400);
    let text = without.post(&url).header("content-type", "text/plain").body("{}");
    assert_eq!(text.send().await.unwrap().status().as_u16(), 415);
}

#[tokio::test]
async fn confirmations_are_refused_with_400_and_kept_once() {
    let scene = Proposing::new().await;
    let hash = scene.hash().parse().unwrap();
    let path = format!("/v1/multisig-transactions/{hash}/confirmations/");
    let post = async |signature: Value| {
        let body = json!({ "signature": signature });
        send(&scene.mailbox, "POST", &path, Some(&body)).await
    };
    let second = scene.mailbox.owner(1).sign(hash);
    let (status, body) = post(json!(second)).await;
    let said = format!("Multisig transaction with safe-tx-hash={hash} was not found");
    assert_eq!((status, &body["detail"]), (404, &json!(said)));

    scene.post(&json!({ "signature": null })).await;
    let refused = async |signature: Value, says: &str| {
        let (status, body) = post(signature).await;
        assert_eq!(status, 400, "{body}");
        let text = body["signature"][0].as_str().unwrap_or_else(|| panic!("{body}"));
        assert!(text.contains(says), "{text}");
    };
    refused(json!(stranger().sign(hash)), "is not an owner. Current owners=['").await;
    refused(json!("0x12"), "at least 65").await;
    refused(json!(format!("0x{}", "00".repeat(64) + "1c")), "Signer=0x0000").await;
    let approved =
        format!("0x{:0>64}{:064}01", alloy::hex::encode(scene.mailbox.owner(1).address()), 0);
    refused(json!(approved), "is not valid").await;

    assert_eq!(post(json!(second)).await, (201, json!({ "signature": second })));
    assert_eq!(post(json!(second)).await.0, 201, "again");
    let (_, detail) = scene.detail().await;
    assert_eq!(
        (&detail["trusted"], detail["confirmations"].as_array().unwrap().len()),
        (&json!(true), 1)
    );
    let kept = send(&scene.mailbox, "GET", &path, None).await.1;
    assert_eq!((&kept["count"], &kept["results"][0]["signatureType"]), (&json!(1), &json!("EOA")));

    // Both at once, as some tools send them.
    let first = scene.mailbox.owner(0).sign(hash).to_string();
    let both = format!("{first}{}", &second.to_string()[2..]);
    assert_eq!(post(json!(both)).await.0, 201);
    assert_eq!(send(&scene.mailbox, "GET", &path, None).await.1["count"], 2);
}

#[tokio::test]
async fn a_contract_is_asked_whether_it_signed_in_either_way_and_its_bytes_are_kept_alone() {
    for version in [SafeVersion::V1_4_1, SafeVersion::V1_5_0] {
        let scene = Proposing::of(version).await;
        let (chain, key) = (&scene.mailbox.chain, Wallet::funded(7).unwrap());
        let nested = nested_safe(chain, &key).await;
        scene.post(&json!({})).await;
        let path = format!("/v1/multisig-transactions/{}/confirmations/", scene.hash());
        let post = async |signature: String| {
            let body = json!({ "signature": signature });
            send(&scene.mailbox, "POST", &path, Some(&body)).await
        };
        let good = signed_by_nested(chain, nested, &key, &scene.mailbox.tx().await);
        let Part::Contract { data, .. } = &good else { panic!("it is of a contract") };
        let of = |owner, data: &[u8]| {
            let data = Bytes::copy_from_slice(data);
            Part::Contract { owner, data }.to_bytes().to_string()
        };
        let not_valid = format!("for owner={nested} is not valid");
        for (signature, says) in [
            (of(nested, b""), not_valid.as_str()),
            (of(nested, &data[..64]), &not_valid),
            (of(chain.safe, data), "is not an owner. Current owners=['"),
            (of(chain.owners[1].address(), data), "is not valid"),
            (of(nested, &[7; 5_000]), "no more than 5000 hexadecimal chars"),
        ] {
            let (status, body) = post(signature).await;
            let text = body["signature"][0].as_str().unwrap_or_else(|| panic!("{body}"));
            assert!(status == 400 && text.contains(says), "{version}, {says}: {text}");
        }
        // Beside that of a key, with more behind it: kept is what stands alone.
        let second = scene.mailbox.owner(1);
        let signed = second.sign(scene.hash().parse().unwrap());
        let both = [(nested, good.clone()), (second.address(), Part::from(signed))];
        let both = format!("{}00000000", pack(&both).unwrap());
        assert_eq!(post(both).await.0, 201, "{version}");
        let kept = send(&scene.mailbox, "GET", &path, None).await.1;
        let row = kept["results"].as_array().unwrap().iter();
        let mut row = row.filter(|row| row["signatureType"] == "CONTRACT_SIGNATURE");
        let row = row.next().unwrap();
        assert_eq!((&kept["count"], &row["signature"]), (&json!(3), &json!(good.to_bytes())));
        assert_eq!(row["owner"], json!(nested.to_string()));
    }
}

#[tokio::test]
async fn an_approval_on_chain_is_indexed_as_a_confirmation() {
    let scene = Proposing::new().await;
    scene.post(&json!({})).await;
    let (chain, hash) = (&scene.mailbox.chain, scene.hash().parse::<B256>().unwrap());
    let approve = Safe::approveHashCall { hashToApprove: hash }.abi_encode();
    let sent = chain.rpc.send(&chain.owners[2], chain.safe, approve.into()).await.unwrap();
    let detail = scene.detail().await.1;
    let row = &detail["confirmations"][1];
    let marker = Part::ApprovedHash(chain.owners[2].address()).to_bytes();
    assert_eq!(
        (&row["signatureType"], &row["signature"]),
        (&json!("APPROVED_HASH"), &json!(marker))
    );
    assert_eq!(row["transactionHash"], json!(sent.transaction_hash));
}

#[tokio::test]
async fn executions_are_noticed_once_they_are_indexed() {
    let scene = Proposing::new().await;
    let tx = scene.mailbox.tx().await;
    scene.post(&json!({})).await;
    scene.mailbox.switch(json!({ "stale_index": true }));
    let rival = rejection(scene.mailbox.chain.safe, tx.nonce);
    scene.mailbox.execute(&rival).await;
    let path = format!("/v1/multisig-transactions/{}/confirmations/", scene.hash());
    let signature = scene.mailbox.owner(1).sign(scene.hash().parse().unwrap());
    let body = json!({ "signature": signature });
    // The nonce is used; a lagging index takes everything, a fresh one the confirmation still.
    assert_eq!(scene.post(&json!({})).await.0, 201);
    scene.mailbox.switch(json!({ "stale_index": false }));
    assert_eq!(send(&scene.mailbox, "POST", &path, Some(&body)).await.0, 201);
    let (status, refused) = scene.post(&json!({})).await;
    let text = refused["nonFieldErrors"][0].as_str().unwrap();
    assert!(status == 422 && text.starts_with("Tx with nonce="), "{text}");

    let detail = scene.detail().await.1;
    assert_eq!((&detail["isExecuted"], &detail["isSuccessful"]), (&json!(false), &json!(null)));
    let all = scene.queue("").await;
    assert_eq!(all["count"], 2);
    let executed = scene.queue("?executed=true").await;
    let row = &executed["results"][0];
    assert_eq!((&row["proposer"], &row["isSuccessful"]), (&json!(null), &json!(true)));
    let next = tx.nonce + U256::from(1);
    assert_eq!(scene.queue(&format!("?executed=false&nonce__gte={next}")).await["count"], 0);
    assert_eq!(scene.queue("?executed=false").await["count"], 1, "what was replaced stays");
}
