//! Readers of what strangers write, given any bytes at all: they do not panic, and what they take they
//! would have written so. libFuzzer drives these (`fuzz/`), and so does the suite
//! (`tests/ground/hostile_bytes.rs`).

use alloy::primitives::{Address, B256, Bytes, U256};
use countersign::{
    owner::Call,
    request::ids::{ChainId, SafeTxHash},
    safe::{
        BatchFile, OwnerSignature,
        batch_file::{self, Batch},
        multisend::{self, MAX_CALLS},
        signature::LENGTH,
    },
};

use super::tamper::Choices;

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
