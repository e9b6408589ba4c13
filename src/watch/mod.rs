//! Follows the chains and tells, of each request, what its app allows.
//!
//! [`follow`] moves one chain's head on and keeps the ledger; [`look`] reads the state for one
//! request. Events say when to look and which transaction did it; only a state read decides.
//! [`attribute`] finds out, after the fact, who made each entry of the ledger.

pub mod attribute;
mod blocks;
pub mod depth;
pub mod follow;
pub mod history;
pub mod logs;
pub mod look;
pub mod path;
mod range;

use crate::{chain::ChainError, request::ids::ChainId, store::StoreError};

/// Why a look or a tick failed; each is tried again.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("chain {chain} reorganised deeper than the {window} blocks that are kept")]
    TooDeep { chain: ChainId, window: u64 },
    #[error(
        "chain {chain} reorganised down to block {ancestor}, below block {finalized}, which it had \
         called finalized"
    )]
    BelowFinalized { chain: ChainId, ancestor: u64, finalized: u64 },
    #[error("{problem}")]
    Halted { problem: String },
}

impl WatchError {
    /// Whether nothing on the chain may be trusted until a person has looked.
    pub fn halts(&self) -> bool {
        matches!(self, Self::TooDeep { .. } | Self::BelowFinalized { .. })
    }
}
