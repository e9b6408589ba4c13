//! Environment variables, encrypted for an app as the published SDK does it, and read from a file as
//! it reads them.

use std::{env, fmt::Write};

use alloy::{
    primitives::{Address, keccak256},
    signers::{SignerSync, k256::ecdsa::VerifyingKey},
};
use alloy_signer_local::PrivateKeySigner;
use countersign::{
    phala::{EnvKey, EnvVar, Signer, parse_env},
    request::ids::AppId,
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use super::peer::Peer;
use crate::world::tamper::{Choices, choices};

const CASES: usize = 200;
const FILES: usize = 1_000;
const BYTES: usize = 4 * 1024;
const VARS_MAX: usize = 8;
const VALUE_MAX: usize = 60;

/// What values are made of: letters, all that JSON escapes, and what UTF-8 needs several bytes for.
const CHARACTERS: [char; 20] = [
    'a', 'Z', '0', ' ', '"', '\\', '/', '\n', '\r', '\t', '\u{8}', '\u{c}', '\u{1}', '\u{1f}',
    '\u{7f}', 'ä', '€', '𝄞', '\u{2028}', '\'',
];
/// What files are made of.
const PIECES: [&str; 22] = [
    "A", "B", "_c.d-e", "export ", "=", " = ", "\n", "\r\n", "\n\n", " ", "'", "\"", "`", "x y",
    "#", " # said", "\\n", "\\r", "\\", ":", "ä€", "1",
];

fn first_seed() -> u64 {
    let seed = env::var("PEERS_SEED").map_or(1, |text| text.parse().expect("it is a number"));
    println!("PEERS_SEED={seed}");
    seed
}

struct Case {
    seed: u64,
    private_key: String,
    vars: Vec<EnvVar>,
    app: AppId,
    signer: PrivateKeySigner,
}

fn hex(draw: &mut Choices<'_>, count: usize) -> String {
    alloy::hex::encode((0..count).map(|_| draw.byte()).collect::<Vec<_>>())
}

fn case(seed: u64) -> Case {
    let bytes = choices(seed, BYTES);
    let mut draw = Choices(&bytes);
    let private_key = hex(&mut draw, 32);
    let app: AppId = hex(&mut draw, 20).parse().unwrap();
    let signer = hex(&mut draw, 32).parse().expect("nearly every number is a key");
    let vars = (0..draw.below(VARS_MAX))
        .map(|at| {
            let length = draw.below(VALUE_MAX);
            let value = (0..length).map(|_| CHARACTERS[draw.below(CHARACTERS.len())]);
            EnvVar { name: format!("NAME_{at}"), value: value.collect::<String>().into() }
        })
        .collect();
    Case { seed, private_key, vars, app, signer }
}

fn cases() -> Vec<Case> {
    let first = first_seed();
    (first..first + CASES as u64).map(case).collect()
}

/// The public keys that belong to the private ones, from the peer.
fn keys(cases: &[Case]) -> Vec<[u8; 32]> {
    let ask = |case: &Case| json!({ "ask": "public_key", "private_key": case.private_key });
    let answers = Peer::DstackSdk.ask(&cases.iter().map(ask).collect::<Vec<_>>());
    let key = |answer: &Value| alloy::hex::decode(answer["public_key"].as_str().unwrap());
    answers.iter().map(|answer| key(answer).unwrap().try_into().unwrap()).collect()
}

#[test]
fn what_is_encrypted_for_an_app_reads_as_if_the_sdk_had_encrypted_it() {
    let cases = cases();
    let mut lengths = vec![];
    let questions: Vec<Value> = cases
        .iter()
        .zip(keys(&cases))
        .map(|(case, key)| {
            let encrypted = EnvKey { key, signer: Signer::Nobody }.encrypt(&case.vars).unwrap();
            lengths.push(encrypted.len());
            let env = case
                .vars
                .iter()
                .map(|var| json!({ "key": var.name, "value": var.value.expose_secret() }));
            json!({
                "ask": "decrypt", "private_key": case.private_key, "encrypted": encrypted,
                "env": env.collect::<Vec<_>>(),
            })
        })
        .collect();
    for ((case, answer), length) in cases.iter().zip(Peer::DstackSdk.ask(&questions)).zip(lengths) {
        let seed = case.seed;
        assert_eq!(answer["text"], answer["their_text"], "PEERS_SEED={seed}");
        assert_eq!(answer["length"], length, "PEERS_SEED={seed}");
    }
}

#[test]
fn the_signer_of_a_key_is_the_one_that_the_sdk_finds() {
    let cases = cases();
    let mut found = vec![];
    let questions: Vec<Value> = cases
        .iter()
        .zip(keys(&cases))
        .map(|(case, key)| {
            let message =
                [b"dstack-env-encrypt-pubkey:".as_slice(), case.app.0.as_slice(), &key].concat();
            let mut signature = case.signer.sign_hash_sync(&keccak256(message)).unwrap().as_bytes();
            signature[64] -= 27;
            // Every third is of something else, and every fourth has another recovery id.
            if case.seed.is_multiple_of(3) {
                signature[5] ^= 1;
            }
            if case.seed.is_multiple_of(4) {
                signature[64] += 27;
            }
            let [key, signature] = [alloy::hex::encode(key), alloy::hex::encode(signature)];
            let read = json!({ "public_key": key, "signature": signature });
            found.push(EnvKey::read(&read, case.app).unwrap().signer);
            let app = alloy::hex::encode(case.app.0);
            json!({ "ask": "signer", "public_key": key, "signature": signature, "app": app })
        })
        .collect();
    let mut good = 0;
    for ((case, answer), ours) in cases.iter().zip(Peer::DstackSdk.ask(&questions)).zip(found) {
        let theirs = answer["signer"].as_str().map_or(Signer::Invalid, |key| {
            let key = VerifyingKey::from_sec1_bytes(&alloy::hex::decode(key).unwrap()).unwrap();
            Signer::Kms(Address::from_public_key(&key))
        });
        assert_eq!(ours, theirs, "PEERS_SEED={}", case.seed);
        good += usize::from(ours == Signer::Kms(case.signer.address()));
    }
    assert!(good >= CASES / 3, "most are good: {good}");
}

#[test]
fn a_file_that_is_taken_is_read_as_the_sdk_reads_it() {
    let first = first_seed();
    let text = |seed: u64| {
        let bytes = choices(seed, 256);
        let mut draw = Choices(&bytes);
        let pieces = (0..3 + draw.below(30)).map(|_| PIECES[draw.below(PIECES.len())]);
        pieces.collect::<String>()
    };
    // Whole lines too, or hardly any file would be taken.
    let line = |seed: u64| {
        let bytes = choices(seed, 256);
        let mut draw = Choices(&bytes);
        let mut lines = String::new();
        for at in 0..=draw.below(5) {
            let quote = ["", "'", "\"", "`"][draw.below(4)];
            let value: String =
                (0..draw.below(6)).map(|_| PIECES[draw.below(PIECES.len())]).collect();
            let comment = ["", " # said", "#", "  "][draw.below(4)];
            writeln!(lines, "N{at}={quote}{value}{quote}{comment}").expect("a String takes it");
        }
        lines
    };
    let texts = (first..first + FILES as u64).flat_map(|seed| [text(seed), line(seed)]);
    let taken: Vec<(String, Value)> = texts
        .filter_map(|text| {
            let vars = parse_env(&text).ok()?;
            let pair = |var: EnvVar| (var.name, json!(var.value.expose_secret()));
            Some((text, Value::Object(vars.into_iter().map(pair).collect::<Map<_, _>>())))
        })
        .collect();
    assert!(taken.len() > FILES / 4, "{} are taken", taken.len());
    let questions: Vec<Value> =
        taken.iter().map(|(text, _)| json!({ "ask": "parse", "text": text })).collect();
    for ((text, ours), answer) in taken.iter().zip(Peer::DstackSdk.ask(&questions)) {
        assert_eq!(*ours, answer["env"], "{text:?}");
    }
}
