//! Readers of what strangers write, given any bytes at all: they do not panic, and what they take they
//! would have written so. libFuzzer drives these (`fuzz/`), and so does the suite
//! (`tests/ground/hostile_bytes.rs`).

use std::collections::BTreeSet;

use alloy::primitives::{Address, B256, Bytes, U256, address};
use countersign::{
    owner::Call,
    request::ids::{ChainId, SafeTxHash},
    safe::{
        self, BatchFile, OwnerSignature, SafeTx, SafeVersion,
        batch_file::{self, Batch},
        multisend::{self, MAX_CALLS},
        packed::MAX_BYTES,
        signature::LENGTH,
    },
    safe_service::{self, Account, Confirmations},
};
use serde_json::{Value, json};

use super::tamper::{Choices, tampered};

/// What a run came to, so that a driver can tell that it tests something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    Refused,
}

/// Calldata of a batch: taken only if writing its calls gives the same bytes.
///
/// The first byte says how much of it is given: all of it; the entries, in a good envelope; or
/// calls, written well and then changed in some places.
pub fn a_batch_is_read_only_as_it_would_be_written(bytes: &[u8]) -> Outcome {
    let Some((first, rest)) = bytes.split_first() else { return Outcome::Refused };
    let calldata = match first % 3 {
        0 => [multisend::SELECTOR.as_slice(), rest].concat(),
        1 => enveloped(rest),
        _ => {
            let mut choices = Choices(rest);
            let mut calldata = multisend::encode(&calls(&mut choices)).to_vec();
            change(&mut calldata, &mut choices);
            calldata
        }
    };
    let Ok(calls) = multisend::decode(&calldata) else { return Outcome::Refused };
    assert_eq!(multisend::encode(&calls), calldata, "it reads back to the same bytes");
    assert!((1..=MAX_CALLS).contains(&calls.len()));
    assert!(calls.iter().all(|call| !call.to.is_zero()));
    Outcome::Taken
}

fn enveloped(entries: &[u8]) -> Vec<u8> {
    let word = |number: usize| U256::from(number).to_be_bytes::<32>();
    let mut calldata =
        [multisend::SELECTOR.as_slice(), &word(32), &word(entries.len()), entries].concat();
    calldata.resize(4 + 64 + entries.len().next_multiple_of(32), 0);
    calldata
}

/// A signature: taken as it is, but for the `v` of wallets that count from zero; whom it recovers to
/// is a function of the bytes.
pub fn a_signature_is_what_its_bytes_say(bytes: &[u8]) -> Outcome {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(signature) = text.parse::<OwnerSignature>()
    {
        assert_eq!(signature.to_string().parse(), Ok(signature));
    }
    let Some((raw, rest)) = bytes.split_first_chunk::<LENGTH>() else { return Outcome::Refused };
    let Ok(signature) = OwnerSignature::from_bytes(raw) else { return Outcome::Refused };
    let written = signature.to_bytes();
    assert_eq!(written[..64], raw[..64]);
    assert_eq!(written[64], if raw[64] < 2 { raw[64] + 27 } else { raw[64] });
    assert_eq!(OwnerSignature::from_bytes(&written), Ok(signature));
    assert_eq!(signature.to_string().parse(), Ok(signature));
    let hash = SafeTxHash(B256::right_padding_from(&rest[..rest.len().min(32)]));
    if let Ok(owner) = signature.recover(hash) {
        assert!(!owner.is_zero());
        assert_eq!(signature.recover(hash), Ok(owner));
    }
    Outcome::Taken
}

/// A batch file: any text is survived; one that is written reads back; and one that was changed is
/// refused, unless it still says the same.
///
/// The first byte says whether the bytes are the text, or calls and changes.
pub fn a_batch_file_means_what_its_checksum_covers(bytes: &[u8]) -> Outcome {
    let Some((first, rest)) = bytes.split_first() else { return Outcome::Refused };
    if first % 2 == 0 {
        return as_written(&String::from_utf8_lossy(rest));
    }
    let mut choices = Choices(rest);
    let chain = ChainId::new(1 + choices.below(65_536) as u64).expect("a small number is a chain");
    let safe = address(&mut choices);
    let batch = Batch { chain, safe: Some(safe), calls: calls(&mut choices) };
    let text = written(&batch, safe);
    assert_eq!(batch_file::read(&text).as_ref(), Ok(&batch), "{text}");
    let mut changed = text.into_bytes();
    change(&mut changed, &mut choices);
    let changed = String::from_utf8_lossy(&changed);
    if let Ok(read) = batch_file::read(&changed) {
        assert_eq!(read, batch, "{changed}");
    }
    as_written(&changed)
}

/// Reads a text, and what is written of it again.
fn as_written(text: &str) -> Outcome {
    let Ok(batch) = batch_file::read(text) else { return Outcome::Refused };
    let safe = batch.safe.unwrap_or_default();
    let again = batch_file::read(&written(&batch, safe));
    assert_eq!(again, Ok(Batch { safe: Some(safe), ..batch }), "{text}");
    Outcome::Taken
}

fn written(batch: &Batch, safe: Address) -> String {
    let (chain, calls, created_at_ms) = (batch.chain, batch.calls.as_slice(), 1);
    let file = BatchFile { chain, safe, name: "", description: "", created_at_ms, calls };
    file.to_json().to_string()
}

/// The Safe whose mailbox is read.
const MAILBOX: Account = Account {
    chain: ChainId::BASE,
    safe: address!("F71902B32C9854DB8d6f70Afa6Dcf685F7df8d79"),
    version: SafeVersion::V1_4_1,
};

/// What a Safe Transaction Service answers: whatever stands in it, only the transaction that was asked
/// for is believed, and only signatures of it.
pub fn a_mailbox_is_believed_for_what_it_can_prove(bytes: &[u8]) -> Outcome {
    let mut choices = Choices(bytes);
    let honest = honest_row();
    let asked: SafeTxHash = HONEST_HASH.parse().expect("it is a hash");
    let page = json!({ "count": 1, "next": null, "previous": null, "results": [honest] });
    let answer = if choices.byte() % 2 == 0 { honest } else { page };
    let Ok(answer) = serde_json::from_str::<Value>(&tampered(&mut choices, answer)) else {
        return Outcome::Refused;
    };
    let hash =
        |tx: &SafeTx| safe::hashes(tx, MAILBOX.chain, MAILBOX.safe, MAILBOX.version).safe_tx_hash;
    let proven = |given: &Confirmations| {
        let owners: BTreeSet<_> = given.signed.iter().map(|(owner, _)| owner).collect();
        assert_eq!(owners.len(), given.signed.len(), "an owner counts once");
        for (owner, signature) in &given.signed {
            assert_eq!(signature.recover(asked).as_ref(), Ok(owner));
        }
        let contracts: BTreeSet<_> = given.of_contracts.iter().map(|(owner, _)| owner).collect();
        assert_eq!(contracts.len(), given.of_contracts.len(), "a contract is asked once");
        assert!(given.of_contracts.iter().all(|(_, data)| data.len() < MAX_BYTES));
    };
    let mut outcome = Outcome::Refused;
    if let Ok(mail) = safe_service::transaction(&answer, &MAILBOX, asked) {
        assert_eq!((mail.hash, hash(&mail.tx)), (asked, asked));
        proven(&mail.confirmations);
        outcome = Outcome::Taken;
    }
    if let Ok(given) = safe_service::signatures(&answer, asked) {
        proven(&given);
    }
    if let Ok(queue) = safe_service::queue(&answer, &MAILBOX, 3) {
        for queued in &queue.transactions {
            assert_eq!(
                (queued.hash, U256::from(queued.nonce)),
                (hash(&queued.tx), queued.tx.nonce)
            );
            assert!(queued.nonce >= 3);
        }
        assert!(queue.transactions.is_sorted_by_key(|queued| queued.nonce));
        if !queue.transactions.is_empty() {
            outcome = Outcome::Taken;
        }
    }
    for mail in safe_service::at_nonce(&answer, &MAILBOX, 7, asked).unwrap_or_default() {
        assert_eq!((mail.hash, mail.tx.nonce), (hash(&mail.tx), U256::from(7)));
    }
    drop(safe_service::delegates(&answer));
    outcome
}

const HONEST_HASH: &str = "0xf06feb38a54fade21add77027f95395f6ece565b2aa69ce1867b2a53e577eb8f";
const FIRST_SIGNATURE: &str = "0xaf24a1f77c3ff982908e453cb3a458dfe1cd75ef26fdf92b2b32e31fd4147570\
    3f3988ce57f07edcbcfc35d9741296c27c634496ce1a4835173eb12d383960441c";
const SECOND_SIGNATURE: &str = "0x04f34ef6c392ecbcbac9ba0fdc87f77fae438450b0cfd35b63cb1a714c7dda04\
    7070fe7144b0fbaad44b8596b0d5b45da76f939733c78e9f0ed57fce80642b6c1c";

/// A transaction as the service shows it, signed by the keys 0x01…01 and 0x02…02.
fn honest_row() -> Value {
    let confirmation = |owner: &str, signature: &str| {
        json!({
            "owner": owner, "submissionDate": "2026-11-21T01:50:34Z", "transactionHash": null,
            "signature": signature, "signatureType": "EOA",
        })
    };
    json!({
        "safe": MAILBOX.safe.to_string(), "to": "0x9641d764fc13c8B624c04430C7356C1C7C8102e2",
        "value": "0", "data": "0x8d80ff0a", "operation": 1, "gasToken": Address::ZERO.to_string(),
        "safeTxGas": "0", "baseGas": "0", "gasPrice": "0",
        "refundReceiver": Address::ZERO.to_string(), "nonce": "7",
        "executionDate": null, "submissionDate": "2026-11-21T01:50:34Z", "blockNumber": null,
        "transactionHash": null, "safeTxHash": HONEST_HASH, "proposer": MAILBOX.safe.to_string(),
        "isExecuted": false, "isSuccessful": null, "origin": "{}", "dataDecoded": null,
        "confirmationsRequired": 2,
        "confirmations": [
            confirmation("0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1", FIRST_SIGNATURE),
            confirmation("0x5050A4F4b3f9338C3472dcC01A87C76A144b3c9c", SECOND_SIGNATURE),
        ],
        "trusted": true, "signatures": null,
    })
}

fn address(choices: &mut Choices<'_>) -> Address {
    let mut address = Address::ZERO;
    address.0.iter_mut().for_each(|byte| *byte = choices.byte());
    address.0[19] |= 1;
    address
}

/// One to four calls, some of them additions to an app.
fn calls(choices: &mut Choices<'_>) -> Vec<Call> {
    let mut call = || {
        let to = address(choices);
        let value = U256::from(choices.byte()) << choices.byte();
        let head: &[u8] = match choices.below(4) {
            0 => &[0xdf, 0xc7, 0x72, 0x23],
            1 => &[0x2a, 0x81, 0x97, 0x28],
            _ => &[],
        };
        let length = if head.is_empty() { choices.below(80) } else { 32 };
        let tail = (0..length).map(|_| choices.byte());
        let data: Bytes = head.iter().copied().chain(tail).collect();
        Call { to, value, data }
    };
    let count = 1 + usize::from(call().value.bit(0)) + usize::from(call().value.bit(1));
    (0..count).map(|_| call()).collect()
}

/// Up to three bytes set, one put in or taken out, or the end cut off.
fn change(bytes: &mut Vec<u8>, choices: &mut Choices<'_>) {
    for _ in 0..choices.below(4) {
        // The byte before may have been the last one.
        if bytes.is_empty() {
            return;
        }
        let at = choices.below(bytes.len());
        match choices.below(8) {
            0 => bytes.insert(at, choices.byte()),
            1 => drop(bytes.remove(at)),
            2 => bytes.truncate(at.max(1)),
            // As far as a length can be from what it was.
            3 => bytes[at] = 0xff,
            _ => bytes[at] = choices.byte(),
        }
    }
}
