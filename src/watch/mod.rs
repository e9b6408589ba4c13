//! Follows the chains and tells, of each request, what its app allows.
//!
//! [`follow`] moves one chain's head on and keeps the ledger; [`look`] reads the state for one
//! request. Events say when to look and which transaction did it; only a state read decides.

pub mod follow;
pub mod logs;
pub mod look;

use crate::{chain::ChainError, store::StoreError};

/// Why a look or a tick failed; each is tried again.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(
        "chain {chain} reorganised deeper than the {window} blocks kept; nothing on it is trusted until a person looks"
    )]
    TooDeep { chain: crate::request::ids::ChainId, window: u64 },
}
