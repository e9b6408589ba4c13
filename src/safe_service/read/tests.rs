use std::sync::LazyLock;

use alloy::{primitives::address, signers::SignerSync};
use alloy_signer_local::PrivateKeySigner;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::owner::Call;

const SAFE: Address = address!("F71902B32C9854DB8d6f70Afa6Dcf685F7df8d79");

fn account() -> Account {
    Account { chain: ChainId::BASE, safe: SAFE, version: SafeVersion::V1_4_1 }
}

fn key(number: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(number)).unwrap()
}

fn sign(key: &PrivateKeySigner, hash: SafeTxHash) -> String {
    alloy::hex::encode_prefixed(key.sign_hash_sync(&hash.0).unwrap().as_bytes())
}

fn tx(nonce: u64) -> SafeTx {
    let call = Call {
        to: address!("9641d764fc13c8B624c04430C7356C1C7C8102e2"),
        value: U256::ZERO,
        data: Bytes::from_static(&[0x8d, 0x80, 0xff, 0x0a]),
    };
    SafeTx::new(call, Operation::DelegateCall, U256::from(nonce))
}

fn hash(nonce: u64) -> SafeTxHash {
    hashes(&tx(nonce), ChainId::BASE, SAFE, SafeVersion::V1_4_1).safe_tx_hash
}

/// An honest row, as the service gives it, signed by two owners.
fn row(nonce: u64) -> Value {
    let hash = hash(nonce);
    let confirmation = |number: u8| {
        let owner = key(number);
        json!({
            "owner": owner.address().to_string(), "submissionDate": "2026-11-21T01:50:34Z",
            "transactionHash": null, "signature": sign(&owner, hash), "signatureType": "EOA",
        })
    };
    json!({
        "safe": SAFE.to_string(), "to": "0x9641d764fc13c8B624c04430C7356C1C7C8102e2",
        "value": "0", "data": "0x8d80ff0a", "operation": 1, "gasToken": Address::ZERO.to_string(),
        "safeTxGas": "0", "baseGas": "0", "gasPrice": "0",
        "refundReceiver": Address::ZERO.to_string(), "nonce": nonce.to_string(),
        "executionDate": null, "submissionDate": "2026-11-21T01:50:34Z", "blockNumber": null,
        "transactionHash": null, "safeTxHash": hash.to_string(), "proposer": SAFE.to_string(),
        "isExecuted": false, "isSuccessful": null, "origin": "{}", "dataDecoded": null,
        "confirmationsRequired": 2, "confirmations": [confirmation(1), confirmation(2)],
        "trusted": true, "signatures": null,
    })
}

fn changed(place: &str, value: Value) -> Value {
    let mut row = row(7);
    *row.pointer_mut(place).unwrap_or_else(|| panic!("{place}")) = value;
    row
}

fn read(row: &Value) -> Result<MailTransaction, Disbelief> {
    transaction(row, &account(), hash(7))
}

#[test]
fn an_honest_answer_is_believed() {
    let read = read(&row(7)).unwrap();
    assert_eq!((read.tx, read.hash, read.trusted), (tx(7), hash(7), Some(true)));
    assert_eq!(read.execution, None);
    let owners: Vec<_> = read.confirmations.signed.iter().map(|(owner, _)| *owner).collect();
    assert!(owners.contains(&key(1).address()) && owners.contains(&key(2).address()));
    assert!(read.confirmations.refused.is_empty() && owners.len() == 2);
}

#[test]
fn both_spellings_of_numbers_missing_options_and_unknown_fields_are_read() {
    for name in ["nonce", "safeTxGas", "baseGas"] {
        let number: u64 = if name == "nonce" { 7 } else { 0 };
        assert!(read(&changed(&format!("/{name}"), json!(number))).is_ok(), "{name}");
    }
    let mut sparse = row(7);
    let fields = sparse.as_object_mut().unwrap();
    let needed = [
        "safe",
        "to",
        "value",
        "data",
        "operation",
        "safeTxGas",
        "baseGas",
        "gasPrice",
        "nonce",
        "safeTxHash",
    ];
    fields.retain(|name, _| needed.contains(&name.as_str()));
    fields.insert("newInVersionSeven".into(), json!({ "a": [1] }));
    let read = read(&sparse).unwrap();
    assert_eq!((read.trusted, read.confirmations), (None, Confirmations::default()));
}

#[test]
fn whatever_is_changed_in_the_transaction_is_noticed() {
    let other = Address::repeat_byte(0x66).to_string();
    for (place, value) in [
        ("/to", json!(other)),
        ("/value", json!("1")),
        ("/data", json!("0x8d80ff0b")),
        ("/data", json!(null)),
        ("/operation", json!(0)),
        ("/safeTxGas", json!("1")),
        ("/baseGas", json!("1")),
        ("/gasPrice", json!("1")),
        ("/gasToken", json!(other)),
        ("/refundReceiver", json!(other)),
        ("/nonce", json!("8")),
        ("/safeTxHash", json!(B256::repeat_byte(9))),
    ] {
        let error = read(&changed(place, value)).unwrap_err();
        assert!(matches!(error, Disbelief::WrongHash { .. }), "{place}: {error}");
    }
    let error = read(&changed("/safe", json!(other))).unwrap_err();
    assert!(matches!(error, Disbelief::OtherSafe { .. }), "{error}");
}

#[test]
fn another_transaction_another_chain_and_another_version_are_not_what_was_asked_for() {
    let other = transaction(&row(8), &account(), hash(7)).unwrap_err();
    assert_eq!(other, Disbelief::OtherTransaction { asked: hash(7), found: hash(8) });
    for account in [
        Account { chain: ChainId::ETHEREUM, ..account() },
        Account { version: SafeVersion::V1_1_1, ..account() },
    ] {
        let error = transaction(&row(7), &account, hash(7)).unwrap_err();
        assert!(matches!(error, Disbelief::WrongHash { .. }), "{error}");
    }
}

#[test]
fn a_transaction_that_does_not_read_is_not_guessed() {
    for (place, value) in [
        ("/value", json!("0x0")),
        ("/value", json!(-1)),
        ("/value", json!(format!("{}0", U256::MAX))),
        ("/nonce", json!(null)),
        ("/operation", json!(2)),
        ("/operation", json!("1")),
        ("/data", json!("8d80ff0a!")),
        ("/to", json!("0x12")),
        ("/safeTxHash", json!("0x12")),
    ] {
        let error = read(&changed(place, value)).unwrap_err();
        assert!(matches!(error, Disbelief::Unreadable { .. }), "{place}: {error}");
    }
    for nothing in [json!(null), json!([]), json!("x"), json!({})] {
        assert!(read(&nothing).is_err(), "{nothing}");
        assert!(signatures(&nothing, hash(7)).is_err(), "{nothing}");
        assert!(queue(&nothing, &account(), 0).is_err(), "{nothing}");
        assert!(delegates(&nothing).is_err(), "{nothing}");
    }
}

#[test]
fn a_signature_counts_for_whom_it_recovers_to_alone() {
    let stranger = key(9);
    let approved = Part::ApprovedHash(key(1).address()).to_bytes();
    let of_contract = |owner: u8, data: Vec<u8>| {
        let part = Part::Contract { owner: key(owner).address(), data: data.into() };
        json!({ "signature": part.to_bytes(), "signatureType": "CONTRACT_SIGNATURE" })
    };
    let several = [1, 2].map(|owner| sign(&key(owner), hash(7)));
    let several = format!("{}{}", several[0], &several[1][2..]);
    for (change, signed, unproven, refused) in [
        // Of somebody else; over something else; no signature; nobody.
        (json!({ "signature": sign(&stranger, hash(7)) }), 1, 0, 1),
        (json!({ "signature": sign(&key(1), hash(8)) }), 1, 0, 1),
        (json!({ "signature": "0x" }), 1, 0, 1),
        (json!({ "signature": null }), 1, 0, 1),
        (json!({ "owner": "0x12" }), 1, 0, 1),
        (json!({ "owner": key(9).address().to_string() }), 1, 0, 1),
        // Another's, under an own name.
        (
            json!({ "owner": key(2).address().to_string(), "signature": sign(&key(2), hash(7)) }),
            1,
            0,
            0,
        ),
        // What bytes alone do not prove.
        (json!({ "signature": approved, "signatureType": "APPROVED_HASH" }), 1, 1, 0),
        (of_contract(1, vec![0xab; 200]), 1, 1, 0),
        (of_contract(1, vec![]), 1, 1, 0),
        // Another contract's; longer than is read; no such bytes; two at once.
        (of_contract(9, vec![0xab; 200]), 1, 0, 1),
        (of_contract(1, vec![0xab; packed::MAX_BYTES]), 1, 0, 1),
        (
            json!({ "signature": format!("0x{}", "ab".repeat(200)), "signatureType": "CONTRACT_SIGNATURE" }),
            1,
            0,
            1,
        ),
        (json!({ "signature": several }), 1, 0, 1),
        // The bytes tell the kind, whatever is said of it.
        (json!({ "signatureType": "SECP256R1" }), 2, 0, 0),
    ] {
        let mut row = row(7);
        let first = row["confirmations"][0].as_object_mut().unwrap();
        first.extend(change.as_object().unwrap().clone());
        let read = read(&row).unwrap().confirmations;
        let given = read.of_contracts.len() + read.approved.len();
        let counts = (read.signed.len(), given, read.refused.len());
        assert_eq!(counts, (signed, unproven, refused), "{change}: {read:?}");
        let list = json!({ "count": 2, "results": row["confirmations"] });
        assert_eq!(signatures(&list, hash(7)).unwrap(), read);
    }
    let many = json!({ "results": vec![row(7)["confirmations"][0].clone(); 513] });
    assert_eq!(signatures(&many, hash(7)), Err(Disbelief::TooMany(513)));
}

#[test]
fn what_it_says_about_the_execution_is_kept_as_a_hint() {
    let mut executed = row(7);
    executed["isExecuted"] = json!(true);
    executed["isSuccessful"] = json!(false);
    executed["transactionHash"] = json!(B256::repeat_byte(4));
    let execution = read(&executed).unwrap().execution.unwrap();
    assert_eq!(execution.tx, Some(TxHash(B256::repeat_byte(4))));
    assert_eq!(execution.success, Some(false));
    executed["transactionHash"] = json!("nonsense");
    assert_eq!(read(&executed).unwrap().execution.unwrap().tx, None);
}

#[test]
fn a_queue_keeps_what_waits_and_tells_what_it_does_not_believe() {
    let mut executed = row(9);
    executed["isExecuted"] = json!(true);
    let rows = [row(8), row(7), changed("/value", json!("5")), executed, row(6), row(8)];
    let list = json!({ "count": 6, "next": "https://safe.example/?offset=6", "results": rows });
    let read = queue(&list, &account(), 7).unwrap();
    let nonces: Vec<_> = read.transactions.iter().map(|queued| queued.nonce).collect();
    assert_eq!((nonces, read.refused.len(), read.more), (vec![7, 8], 1, true));
    let mut owners = [key(1).address(), key(2).address()];
    owners.sort();
    assert_eq!(read.transactions[0].signers, owners, "who signed is recovered");
    let foreign = json!([{ "owner": owners[0].to_string(), "signature": sign(&key(9), hash(7)) }]);
    let mut claimed = row(7);
    claimed["confirmations"] = foreign;
    let unsigned = queue(&json!({ "results": [claimed] }), &account(), 7).unwrap();
    assert_eq!(unsigned.transactions[0].signers, [] as [Address; 0], "what is claimed is not");
    assert_eq!(next_nonce(&read, 7), 9);
    assert_eq!(next_nonce(&Queue::default(), 7), 7);
    assert_eq!(next_nonce(&read, 12), 12, "the chain is ahead of the mailbox");
}

#[test]
fn at_a_nonce_what_is_asked_for_is_believed_or_refused() {
    let rival = changed("/safeTxHash", json!(hash(6)));
    let ask = |rows: Value| at_nonce(&json!({ "results": rows }), &account(), 7, hash(7));
    assert_eq!(ask(json!([row(7), row(8), rival])).unwrap().len(), 1, "others are left out");
    let swapped = changed("/to", json!(SAFE.to_string()));
    assert!(matches!(ask(json!([swapped])), Err(Disbelief::WrongHash { .. })));
    assert_eq!(ask(json!([])), Ok(vec![]));
}

#[test]
fn delegates_are_read_and_nonsense_is_left_out() {
    let delegate = key(3).address().to_string();
    let good = json!({ "safe": null, "delegate": delegate, "delegator": SAFE.to_string(), "label": "bot" });
    let list = json!({ "results": [good, { "delegate": 5 }, null] });
    let read = delegates(&list).unwrap();
    assert_eq!((read.len(), read[0].safe, read[0].delegate), (1, None, key(3).address()));
}

static ROW: LazyLock<Value> = LazyLock::new(|| row(7));

/// Any JSON, and honest rows with something replaced.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,80}".prop_map(Value::from),
        "0x[0-9a-f]{0,140}".prop_map(Value::from),
        Just(json!(hash(7))),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((field(), inner), 0..6)
                .prop_map(|fields| { Value::from(serde_json::Map::from_iter(fields)) }),
        ]
    })
}

fn field() -> impl Strategy<Value = String> {
    let names: Vec<String> = ROW.as_object().unwrap().keys().cloned().collect();
    let more = ["results", "next", "owner", "signature", "signatureType", "delegate", "delegator"];
    let names = names.into_iter().chain(more.map(String::from)).collect::<Vec<_>>();
    prop::sample::select(names)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn nothing_makes_the_reader_panic(value in anything(), name in field(), nested in any::<bool>()) {
        let mut mutated = ROW.clone();
        let place = if nested { mutated.pointer_mut("/confirmations/0").unwrap() } else { &mut mutated };
        place[name.as_str()] = value.clone();
        for answer in [&value, &mutated, &json!({ "results": [mutated.clone(), value.clone()] })] {
            drop((transaction(answer, &account(), hash(7)), signatures(answer, hash(7))));
            drop((queue(answer, &account(), 0), delegates(answer)));
            drop(at_nonce(answer, &account(), 7, hash(7)));
        }
        // What is believed is what was asked for, whatever else stands there.
        if let Ok(read) = transaction(&mutated, &account(), hash(7)) {
            prop_assert_eq!((read.hash, read.tx), (hash(7), tx(7)));
            for (owner, signature) in read.confirmations.signed {
                prop_assert_eq!(signature.recover(hash(7)), Ok(owner));
            }
        }
    }
}
