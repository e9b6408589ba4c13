//! Many state reads in one call.
//!
//! The call carries the creation code of `contracts/src/WordReader.sol`, which asks every question
//! and returns the answers; nothing has to be deployed for it. An endpoint that does not take such
//! a call is asked one question at a time.

use alloy::{
    primitives::{Address, Bytes, U256},
    sol_types::SolValue,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::{CallAnswer, EndpointError, endpoint::Endpoint};
use crate::{
    dstack::Read,
    request::ids::{AppId, BlockHash},
};

/// Most questions in one call: its code stays below the limit of EIP-3860 and its answer below
/// that of EIP-170.
pub const QUESTIONS_MAX: usize = 180;
/// Questions under way at the same time, one by one.
const AT_ONCE: usize = 16;
/// The selector and two words.
const CALLDATA: usize = 68;
const ANSWER: usize = 64;
/// Longer answers than this are no different from each other.
const LENGTH_MAX: usize = 1_024;

/// Something to ask of a contract: calldata of a function with two arguments at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub to: Address,
    pub calldata: Bytes,
}

impl Question {
    pub fn of_app(app: AppId, read: Read) -> Self {
        Self { to: app.0, calldata: read.calldata() }
    }
}

/// The answers of one endpoint, in the order of the questions.
pub async fn answers(
    endpoint: &Endpoint,
    questions: &[Question],
    at: BlockHash,
) -> Result<Vec<CallAnswer>, EndpointError> {
    match endpoint.call(None, &code(questions), at).await {
        Ok(CallAnswer::Returned(bytes)) if bytes.len() == questions.len() * ANSWER => {
            return Ok(bytes.chunks_exact(ANSWER).map(read).collect());
        }
        Err(error) if !matches!(error, EndpointError::Refused { .. }) => return Err(error),
        _ => {}
    }
    stream::iter(questions.to_vec())
        .map(|question| answer(endpoint, question, at))
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// The answer to one question, as the reader contract would tell it.
async fn answer(
    endpoint: &Endpoint,
    question: Question,
    at: BlockHash,
) -> Result<CallAnswer, EndpointError> {
    Ok(match endpoint.call(Some(question.to), &question.calldata, at).await? {
        CallAnswer::Returned(bytes) if bytes.len() != 32 => {
            CallAnswer::Returned(vec![0; bytes.len().min(LENGTH_MAX)].into())
        }
        answer => answer,
    })
}

fn code(questions: &[Question]) -> Bytes {
    let mut packed = Vec::with_capacity(questions.len() * (20 + CALLDATA));
    for question in questions {
        let mut calldata = question.calldata.to_vec();
        // Calldata that is longer than a function's arguments changes nothing for it.
        calldata.resize(CALLDATA, 0);
        packed.extend(question.to.as_slice());
        packed.extend(calldata);
    }
    [creation_code(), (Bytes::from(packed),).abi_encode_params()].concat().into()
}

/// The compiled contract; a test holds it against the compiler's output.
pub fn creation_code() -> Vec<u8> {
    alloy::hex::decode(include_str!("word_reader.hex").trim()).unwrap_or_default()
}

fn read(answer: &[u8]) -> CallAnswer {
    let (head, word) = answer.split_at(32);
    let returned = head[0] & 0x80 != 0;
    let mut length = U256::from_be_slice(head);
    length.set_bit(255, false);
    if !returned {
        return CallAnswer::Reverted;
    }
    match usize::try_from(length) {
        Ok(32) => CallAnswer::Returned(Bytes::copy_from_slice(word)),
        length => {
            CallAnswer::Returned(vec![0; length.unwrap_or(LENGTH_MAX).min(LENGTH_MAX)].into())
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;
    use crate::request::ids::ComposeHash;

    fn answer(returned: bool, length: u64, word: u8) -> Vec<u8> {
        let mut head = U256::from(length);
        head.set_bit(255, returned);
        [head.to_be_bytes::<32>(), [word; 32]].concat()
    }

    #[test]
    fn an_answer_is_a_word_or_unreadable() {
        let length = |length: usize| CallAnswer::Returned(vec![0; length].into());
        for (bytes, expected) in [
            (answer(true, 32, 1), CallAnswer::Returned(vec![1; 32].into())),
            (answer(true, 0, 0), length(0)),
            (answer(true, 31, 1), length(31)),
            (answer(true, 64, 1), length(64)),
            (answer(true, u64::MAX, 1), length(LENGTH_MAX)),
            (answer(false, 32, 1), CallAnswer::Reverted),
            (vec![0xff; 64], length(LENGTH_MAX)),
        ] {
            assert_eq!(read(&bytes), expected);
        }
    }

    #[test]
    fn the_largest_batch_stays_within_the_limits_of_the_evm() {
        let read = Read::AllowedComposeHash(ComposeHash(B256::ZERO));
        let question = Question::of_app(AppId(Address::ZERO), read);
        assert!(code(&vec![question; QUESTIONS_MAX]).len() < 49_152, "EIP-3860");
        const { assert!(QUESTIONS_MAX * ANSWER < 24_576, "EIP-170") };
    }
}
