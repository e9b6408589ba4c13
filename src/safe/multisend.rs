//! Several calls in one transaction: the codec of MultiSendCallOnly.
//!
//! `multiSend(bytes)` takes entries without padding between them:
//! `operation (1) ‖ to (20) ‖ value (32) ‖ length (32) ‖ data`, as in Safe's `MultiSendCallOnly`.
//! All entries happen or none.
//!
//! Reading is stricter than the contract: it must read back to exactly the bytes it came from, so
//! that nothing can hide behind what a reviewer sees. The contract ignores trailing bytes,
//! unusual offsets and padding; here they are errors.

use alloy::primitives::{Address, Bytes, U256};

use crate::owner::Call;

/// Most calls in a batch, for writing and for reading.
pub const MAX_CALLS: usize = 256;
/// Largest calldata of a batch, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

/// `multiSend(bytes)`
pub const SELECTOR: [u8; 4] = [0x8d, 0x80, 0xff, 0x0a];

const WORD: usize = 32;
/// Selector, offset word, length word.
const HEAD: usize = 4 + 2 * WORD;
/// Bytes of an entry before its data.
const ENTRY_HEAD: usize = 1 + 20 + 2 * WORD;

/// Why calldata is not a batch that can be shown as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MultiSendError {
    #[error("not a call of multiSend(bytes)")]
    NotMultiSend,
    #[error("{0} bytes of calldata, more than a batch may have ({MAX_BYTES})")]
    TooLarge(usize),
    #[error("more than {MAX_CALLS} calls")]
    TooManyCalls,
    #[error("the outer encoding is not the usual one (offset, length, zero padding, no more)")]
    Envelope,
    #[error("there are no calls in it")]
    Empty,
    #[error("call {index} is cut off, or its length is not that of its data")]
    Truncated { index: usize },
    #[error("call {index} has operation {operation}; MultiSendCallOnly makes plain calls (0) only")]
    Operation { index: usize, operation: u8 },
    #[error("call {index} goes to the zero address, which Safe 1.5.0 takes for the Safe itself")]
    ZeroTarget { index: usize },
}

/// Calldata of `multiSend(bytes)` that makes these calls in this order.
#[must_use]
pub fn encode(calls: &[Call]) -> Bytes {
    let mut packed = Vec::new();
    for call in calls {
        packed.push(0);
        packed.extend_from_slice(call.to.as_slice());
        packed.extend_from_slice(&call.value.to_be_bytes::<WORD>());
        packed.extend_from_slice(&U256::from(call.data.len()).to_be_bytes::<WORD>());
        packed.extend_from_slice(&call.data);
    }
    let mut calldata = Vec::with_capacity(HEAD + packed.len() + WORD);
    calldata.extend_from_slice(&SELECTOR);
    calldata.extend_from_slice(&U256::from(WORD).to_be_bytes::<WORD>());
    calldata.extend_from_slice(&U256::from(packed.len()).to_be_bytes::<WORD>());
    calldata.extend_from_slice(&packed);
    calldata.resize(HEAD + packed.len().next_multiple_of(WORD), 0);
    calldata.into()
}

/// The calls in calldata of `multiSend(bytes)`.
///
/// # Errors
/// [`MultiSendError`] for anything that [`encode`] would not have written, and for calls to the
/// zero address.
pub fn decode(calldata: &[u8]) -> Result<Vec<Call>, MultiSendError> {
    let mut entries = packed(calldata)?;
    let mut calls = Vec::new();
    while !entries.is_empty() {
        if calls.len() == MAX_CALLS {
            return Err(MultiSendError::TooManyCalls);
        }
        let (call, rest) = entry(entries, calls.len())?;
        calls.push(call);
        entries = rest;
    }
    if calls.is_empty() { Err(MultiSendError::Empty) } else { Ok(calls) }
}

/// The entries, out of their ABI envelope.
fn packed(calldata: &[u8]) -> Result<&[u8], MultiSendError> {
    if !calldata.starts_with(&SELECTOR) {
        return Err(MultiSendError::NotMultiSend);
    }
    if calldata.len() > MAX_BYTES {
        return Err(MultiSendError::TooLarge(calldata.len()));
    }
    let (head, body) = calldata.split_at_checked(HEAD).ok_or(MultiSendError::Envelope)?;
    let offset = length_word(&head[4..4 + WORD]);
    let length = length_word(&head[4 + WORD..]).ok_or(MultiSendError::Envelope)?;
    let (packed, padding) = body.split_at_checked(length).ok_or(MultiSendError::Envelope)?;
    let usual = offset == Some(WORD)
        && body.len() == length.next_multiple_of(WORD)
        && padding.iter().all(|byte| *byte == 0);
    if usual { Ok(packed) } else { Err(MultiSendError::Envelope) }
}

/// The first entry and what follows it.
fn entry(entries: &[u8], index: usize) -> Result<(Call, &[u8]), MultiSendError> {
    let truncated = MultiSendError::Truncated { index };
    let Some((head, body)) = entries.split_at_checked(ENTRY_HEAD) else { return Err(truncated) };
    if head[0] != 0 {
        return Err(MultiSendError::Operation { index, operation: head[0] });
    }
    let to = Address::from_slice(&head[1..21]);
    if to.is_zero() {
        return Err(MultiSendError::ZeroTarget { index });
    }
    let value = U256::from_be_slice(&head[21..21 + WORD]);
    let length = length_word(&head[21 + WORD..]);
    let Some((data, rest)) = length.and_then(|length| body.split_at_checked(length)) else {
        return Err(truncated);
    };
    Ok((Call { to, value, data: Bytes::copy_from_slice(data) }, rest))
}

/// A length, if it can be one at all: a word may claim up to 2^256 bytes.
fn length_word(word: &[u8]) -> Option<usize> {
    U256::from_be_slice(word).try_into().ok().filter(|length| *length <= MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        dstack::Write,
        request::ids::{AppId, ComposeHash, DeviceId},
    };

    fn both_adds() -> Vec<Call> {
        let app = AppId(Address::repeat_byte(0x11));
        [
            Write::AddComposeHash(ComposeHash(B256::repeat_byte(0xaa))),
            Write::AddDevice(DeviceId(B256::repeat_byte(0xbb))),
        ]
        .iter()
        .map(|write| Call::of_write(app, write))
        .collect()
    }

    #[test]
    fn the_recorded_batch() {
        let entry = |calldata: &str| {
            format!("00{}{}{}24{calldata}", "11".repeat(20), "00".repeat(32), "00".repeat(31))
        };
        let packed = [
            entry(&format!("dfc77223{}", "aa".repeat(32))),
            entry(&format!("2a819728{}", "bb".repeat(32))),
        ]
        .concat();
        let expected = format!("0x8d80ff0a{:064x}{:064x}{packed}{}", 0x20, 0xf2, "00".repeat(14));
        let calldata = encode(&both_adds());
        assert_eq!(calldata.to_string(), expected);
        assert_eq!(decode(&calldata).unwrap(), both_adds());
    }

    /// One way to spoil a good batch, and what must be said about it.
    type Spoil = (fn(&mut Vec<u8>), MultiSendError);

    #[test]
    fn whatever_a_reviewer_could_not_see_is_refused() {
        use MultiSendError as E;
        let spoils: &[Spoil] = &[
            (|c| c[0] ^= 1, E::NotMultiSend),
            (|c| c.truncate(3), E::NotMultiSend),
            (|c| c.truncate(40), E::Envelope),
            (|c| c[35] = 0x40, E::Envelope),
            (|c| c[67] += 1, E::Truncated { index: 2 }),
            (|c| c[36] = 0xff, E::Envelope),
            (|c| c.push(0), E::Envelope),
            (|c| c.extend([0; 32]), E::Envelope),
            (|c| *c.last_mut().unwrap() = 1, E::Envelope),
            (|c| c[HEAD] = 1, E::Operation { index: 0, operation: 1 }),
            (|c| c[HEAD + 1..HEAD + 21].fill(0), E::ZeroTarget { index: 0 }),
            (|c| c[HEAD + 53] = 0xff, E::Truncated { index: 0 }),
            (|c| c[HEAD + 121 + 84] += 1, E::Truncated { index: 1 }),
            (|c| c[HEAD + 121 + 84] -= 1, E::Truncated { index: 2 }),
            (|c| c.resize(MAX_BYTES + 1, 0), E::TooLarge(MAX_BYTES + 1)),
        ];
        for (index, (spoil, expected)) in spoils.iter().enumerate() {
            let mut calldata = encode(&both_adds()).to_vec();
            spoil(&mut calldata);
            assert_eq!(decode(&calldata).as_ref(), Err(expected), "spoil {index}");
        }
        assert_eq!(decode(&encode(&[])), Err(E::Empty));
        let call = Call { to: Address::repeat_byte(1), value: U256::ZERO, data: Bytes::new() };
        assert_eq!(decode(&encode(&vec![call.clone(); MAX_CALLS])).unwrap().len(), MAX_CALLS);
        assert_eq!(decode(&encode(&vec![call; MAX_CALLS + 1])), Err(E::TooManyCalls));
    }

    fn any_call() -> impl Strategy<Value = Call> {
        let to = any::<[u8; 20]>().prop_filter("not zero", |to| *to != [0; 20]);
        let data = prop::collection::vec(any::<u8>(), 0..80);
        (to, any::<[u8; 32]>(), data).prop_map(|(to, value, data)| Call {
            to: to.into(),
            value: U256::from_be_bytes(value),
            data: data.into(),
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(calls in prop::collection::vec(any_call(), 1..8)) {
            prop_assert_eq!(decode(&encode(&calls)).unwrap(), calls);
        }

        #[test]
        fn what_is_read_is_what_was_written(
            calls in prop::collection::vec(any_call(), 1..4),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            length in any::<prop::sample::Index>(),
            cut in any::<bool>(),
        ) {
            let mut calldata = encode(&calls).to_vec();
            for (index, byte) in changes {
                *index.get_mut(&mut calldata) = byte;
            }
            if cut {
                calldata.truncate(length.index(calldata.len()));
            }
            if let Ok(calls) = decode(&calldata) {
                let written = encode(&calls);
                prop_assert_eq!(written.as_ref(), calldata.as_slice());
            }
        }
    }
}
