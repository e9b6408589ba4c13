//! A simulation, for the tests of what shows one.

use alloy::primitives::{Address, B256};

use super::{Answers, Change, Outcome, Simulation};
use crate::{
    owner::Account,
    request::{facts::BlockRef, ids::BlockHash},
};

/// One that succeeds, with these changes.
pub fn simulation(changes: Vec<Change>) -> Simulation {
    let answers = |allowed: bool| Answers {
        compose_hash_allowed: Some(allowed),
        device_listed: None,
        any_device: Some(false),
        may_boot: Some(allowed),
        reason: if allowed { String::new() } else { "Device not allowed".into() },
    };
    Simulation {
        block: BlockRef { number: 12, hash: BlockHash(B256::ZERO) },
        safe: Account(Address::ZERO),
        app: None,
        outcome: Outcome::Succeeds,
        failure: None,
        gas_used: 99,
        spends_nonce: true,
        events: vec![],
        changes,
        extensions: vec![],
        before: Some(answers(false)),
        after: Some(answers(true)),
        assumed: vec!["enough owners sign".into()],
    }
}

pub fn change(words: &str, expected: bool) -> Change {
    let (place, before, after) = ("balance".into(), B256::ZERO, B256::ZERO);
    Change { of: Account(Address::ZERO), place, before, after, words: words.into(), expected }
}
