//! Answers auditors: what an app allows as of any block, since when, by which transaction, who
//! decided it, for which request, and which replicas use it; and where ledger and chain disagree.
//!
//! - [`fold`]: from the ledger to the policy after each event, pure;
//! - [`state`]: what the contract itself says;
//! - [`view`]: both together, with requests and replicas;
//! - [`moment`]: as of when, pure;
//! - [`mod@drift`]: where they differ;
//! - [`mod@lanes`]: the ledger as bars over time, pure;
//! - [`search`]: which entries of the ledger somebody looks for, pure;
//! - [`mod@sheet`]: tables for other programs;
//! - [`words`]: entries of the ledger for people.

mod drift;
mod fold;
mod lanes;
mod moment;
#[cfg(test)]
mod samples;
mod search;
mod sheet;
mod state;
mod view;
mod words;

pub use drift::{Compared, Drift, DriftKind, drift};
pub use fold::{AllowedEntry, EntryKind, Policy, Removal, allowlist, changes, policy};
pub use lanes::{Bar, Edge, LANES_MAX, Lane, Lanes, Subject, lanes};
pub use moment::{AsOf, moment};
pub use search::{KINDS, Sought};
pub use sheet::sheet;
pub use view::{Allowlist, allowlist_at};
pub use words::{Arguments, decoded, words};

use crate::{chain::ChainError, clock::Time, store::StoreError};

/// Why an audit question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("{}", match head {
        Some(head) => format!("block {at} lies beyond block {head}, up to which the chain is read"),
        None => "the chain has not been read yet".into(),
    })]
    BeyondHead { at: u64, head: Option<u64> },
    #[error("{}", match head {
        Some(head) => format!("{time} lies after {head}, up to which the chain is read"),
        None => "the chain has not been read yet".into(),
    })]
    AfterHead { time: Time, head: Option<Time> },
}
