//! What a simulation came to, for programs.

use alloy::primitives::B256;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{owner::Account, request::facts::BlockRef};

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SimulatedOutcome)]
pub enum Outcome {
    Succeeds,
    /// The nonce is spent, and nothing is done.
    SpendsNonce,
    /// Nothing happens at all.
    Reverts,
}

/// An event that would be emitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SimulatedEvent)]
pub struct Event {
    #[schema(value_type = String)]
    pub by: Account,
    pub words: String,
    /// Whether additions to an allowlist emit it.
    pub expected: bool,
}

/// Something that would be different afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SimulatedChange)]
pub struct Change {
    #[schema(value_type = String)]
    pub of: Account,
    /// `balance`, `nonce`, `code`, or a storage slot.
    pub place: String,
    #[schema(value_type = String)]
    pub before: B256,
    #[schema(value_type = String)]
    pub after: B256,
    pub words: String,
    /// Whether additions to an allowlist change it in this way.
    pub expected: bool,
}

/// What an app answers. Absent is what does not read; that is never "no".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SimulatedAnswers)]
pub struct Answers {
    pub compose_hash_allowed: Option<bool>,
    pub device_listed: Option<bool>,
    pub any_device: Option<bool>,
    /// What `isAppAllowed` answers to an instance that boots.
    pub may_boot: Option<bool>,
    /// Its reason, or why it does not answer.
    pub reason: String,
}

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Simulation {
    /// On the state after this block.
    pub block: BlockRef,
    #[schema(value_type = String)]
    pub safe: Account,
    /// The app: the one that is known, or the only contract that speaks like one.
    #[schema(value_type = Option<String>)]
    pub app: Option<Account>,
    pub outcome: Outcome,
    /// Why not, when it does not succeed.
    pub failure: Option<String>,
    pub gas_used: u64,
    /// Whether the nonce goes on by one. Without that the same signatures are good again.
    pub spends_nonce: bool,
    pub events: Vec<Event>,
    pub changes: Vec<Change>,
    /// What guard and modules had to do with it.
    pub extensions: Vec<String>,
    pub before: Option<Answers>,
    pub after: Option<Answers>,
    /// What was taken for granted.
    pub assumed: Vec<String>,
}

/// What came of a simulation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Foreseen {
    Simulated(Box<Simulation>),
    /// It says nothing about the transaction.
    NotSimulated {
        problem: String,
    },
}

impl Simulation {
    /// Whether it succeeds, and does nothing but what additions to an allowlist do.
    pub fn is_as_expected(&self) -> bool {
        self.outcome == Outcome::Succeeds
            && self.spends_nonce
            && self.events.iter().all(|event| event.expected)
            && self.changes.iter().all(|change| change.expected)
    }
}
