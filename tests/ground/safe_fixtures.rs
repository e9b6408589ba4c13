//! Safe transactions for the Solidity tests: made and signed here, executed there on real Safes.
//!
//! What the contracts accept is the last word on hashing, batching and packing, so the Rust side
//! writes `contracts/fixtures/safe-transactions.json` and Foundry runs it. Everything in it is
//! deterministic. The file is checked in, and this test fails when it is stale; run it with
//! `UPDATE_FIXTURES=1` to write it again.

use std::{fs, path::Path};

use alloy::{
    primitives::{Address, B256, U256, address, b256},
    signers::SignerSync,
};
use alloy_signer_local::PrivateKeySigner;
use countersign::{
    dstack::{Addition, Write},
    owner::{Call, safe::propose},
    request::ids::{AppId, ChainId, ComposeHash, DeviceId},
    safe::{
        Expected, OwnerSignature, SafeTx, SafeVersion, decode, decode::WarningCode, hashes,
        packed::pack,
    },
};
use serde_json::{Value, json};

const FILE: &str = "contracts/fixtures/safe-transactions.json";
const APP: AppId = AppId(Address::repeat_byte(0x11));
const THRESHOLD: usize = 2;

/// The first three accounts of the `test … junk` mnemonic, which every local chain funds.
const KEYS: [&str; 3] = [
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];

/// A version with its Safe and its MultiSendCallOnly. The Safes of 1.3.0 and 1.4.1 are those of the
/// recorded vectors. What came before 1.3.0 uses the MultiSendCallOnly of that.
const SAFES: [(SafeVersion, Address, Address); 6] = [
    (
        SafeVersion::V1_0_0,
        address!("5AfE00000000000000000000000000000000100A"),
        address!("40A2aCCbd92BCA938b02010E17A5b8929b49130D"),
    ),
    (
        SafeVersion::V1_1_1,
        address!("5AfE00000000000000000000000000000000111A"),
        address!("A1dabEF33b3B82c7814B6D82A79e50F4AC44102B"),
    ),
    (
        SafeVersion::V1_2_0,
        address!("5AfE00000000000000000000000000000000120A"),
        address!("9641d764fc13c8B624c04430C7356C1C7C8102e2"),
    ),
    (
        SafeVersion::V1_3_0,
        address!("D27E699f481e849DBC69CdEF7E822e19F402993C"),
        address!("40A2aCCbd92BCA938b02010E17A5b8929b49130D"),
    ),
    (
        SafeVersion::V1_4_1,
        address!("F71902B32C9854DB8d6f70Afa6Dcf685F7df8d79"),
        address!("9641d764fc13c8B624c04430C7356C1C7C8102e2"),
    ),
    (
        SafeVersion::V1_5_0,
        address!("5AfE00000000000000000000000000000000150A"),
        address!("A83c336B20401Af773B6219BA5027174338D1836"),
    ),
];

/// What one case approves, in every version.
struct Scene {
    name: &'static str,
    compose_hashes: &'static [u8],
    devices: &'static [u8],
    nonce: u64,
    safe_tx_gas: u64,
}

const fn scene(name: &'static str, compose_hashes: &'static [u8], devices: &'static [u8]) -> Scene {
    Scene { name, compose_hashes, devices, nonce: 0, safe_tx_gas: 0 }
}

/// Hashes are one byte repeated, so that a failing Solidity test is readable.
const SCENES: [Scene; 6] = [
    scene("single compose", &[0xaa], &[]),
    scene("single device", &[], &[0xbb]),
    scene("both", &[0xaa], &[0xbb]),
    Scene { nonce: 7, ..scene("both at nonce 7", &[0xaa], &[0xbb]) },
    scene("five calls", &[0xa1, 0xa2, 0xa3], &[0xb1, 0xb2]),
    Scene { safe_tx_gas: 200_000, ..scene("with safeTxGas", &[0xaa], &[0xbb]) },
];

impl Scene {
    fn writes(&self) -> Vec<Write> {
        let compose = self.compose_hashes.iter().map(|byte| ComposeHash(B256::repeat_byte(*byte)));
        let devices = self.devices.iter().map(|byte| DeviceId(B256::repeat_byte(*byte)));
        compose.map(Write::AddComposeHash).chain(devices.map(Write::AddDevice)).collect()
    }

    fn transaction(&self, multi_send: Address) -> SafeTx {
        let calls: Vec<Call> =
            self.writes().iter().map(|write| Call::of_write(APP, write)).collect();
        let tx = propose(&calls, multi_send, U256::from(self.nonce)).unwrap();
        SafeTx { safe_tx_gas: U256::from(self.safe_tx_gas), ..tx }
    }
}

fn signers() -> [PrivateKeySigner; 3] {
    KEYS.map(|key| key.parse().unwrap())
}

/// One case: the transaction, its hashes, and the signatures of the first owners.
fn case(scene: &Scene, version: SafeVersion, safe: Address, multi_send: Address) -> Value {
    let tx = scene.transaction(multi_send);
    let hashes = hashes(&tx, ChainId::BASE, safe, version);
    let confirmations: Vec<(Address, OwnerSignature)> = signers()[..THRESHOLD]
        .iter()
        .map(|signer| {
            let signed = signer.sign_hash_sync(&hashes.safe_tx_hash.0).unwrap();
            let signature = OwnerSignature::from_bytes(&signed.as_bytes()).unwrap();
            assert_eq!(signature.recover(hashes.safe_tx_hash), Ok(signer.address()));
            (signer.address(), signature)
        })
        .collect();
    let words =
        |bytes: &[u8]| -> Vec<B256> { bytes.iter().copied().map(B256::repeat_byte).collect() };
    let mut case = json!({
        "name": format!("{} on {version}", scene.name),
        "safe_version": version,
        "safe": safe.to_string(),
        "app": APP,
        "compose_hashes": words(scene.compose_hashes),
        "devices": words(scene.devices),
    });
    let case_fields = case.as_object_mut().unwrap();
    for part in [json!(tx), json!(hashes)] {
        case_fields.extend(part.as_object().unwrap().clone());
    }
    case_fields.insert("signatures".into(), json!(pack(&confirmations).unwrap()));
    case
}

fn fixtures() -> Value {
    let owners = signers().map(|signer| signer.address().to_string());
    let safes: serde_json::Map<String, Value> = SAFES
        .iter()
        .map(|(version, safe, _)| (version.to_string(), safe.to_string().into()))
        .collect();
    let cases: Vec<Value> = SAFES
        .iter()
        .flat_map(|(version, safe, multi_send)| {
            SCENES.iter().map(|scene| case(scene, *version, *safe, *multi_send))
        })
        .collect();
    json!({
        "chain_id": ChainId::BASE,
        "owners": owners,
        "threshold": THRESHOLD,
        "safes": safes,
        "app": APP,
        "cases": cases,
    })
}

#[test]
fn the_checked_in_transactions_are_the_ones_we_make() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let made = format!("{}\n", serde_json::to_string_pretty(&fixtures()).unwrap());
    if std::env::var_os("UPDATE_FIXTURES").is_some_and(|value| value == "1") {
        fs::write(&path, &made).unwrap();
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == made, "{FILE} is stale: run this test with UPDATE_FIXTURES=1");
}

#[test]
fn the_recorded_vectors_are_among_them() {
    let fixtures = fixtures();
    let cases = fixtures["cases"].as_array().unwrap();
    for (version, recorded) in [
        ("1.3.0", b256!("e56cc64badad41f523cb8ca33a695ed7709c02be0c890e46f3439adf3716fbd0")),
        ("1.4.1", b256!("3c0550ea6f44c260e534bcd1e860ee901997b71c1efa334f751ec51975f900cb")),
    ] {
        let name = format!("both at nonce 7 on {version}");
        let case = cases.iter().find(|case| case["name"] == name).unwrap();
        assert_eq!(case["safe_tx_hash"], recorded.to_string());
    }
}

#[test]
fn only_the_one_with_safe_tx_gas_is_warned_of() {
    for (_, safe, multi_send) in SAFES {
        for scene in &SCENES {
            let (tx, writes) = (scene.transaction(multi_send), scene.writes());
            let wanted: Vec<Addition> =
                writes.iter().map(|write| Addition { app: APP, write: *write }).collect();
            let expected = Expected { safe, app: Some(APP), additions: Some(&wanted) };
            let decoded = decode::decode(&tx, &expected);
            let codes: Vec<WarningCode> = decoded.warnings.iter().map(|w| w.code).collect();
            let gas = if scene.safe_tx_gas > 0 { vec![WarningCode::SafeTxGas] } else { vec![] };
            assert_eq!(codes, gas, "{}", scene.name);
            assert_eq!(decoded.calls.len(), writes.len());
        }
    }
}
