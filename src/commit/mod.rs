//! Commits a registered request, exactly once, and proves that what boots is what was approved.
//!
//! ```text
//! registered ── begin ──► intent written ── the call ──► outcome
//!                                                        ├─ done     → committed
//!                                                        ├─ refused  → registered, later again
//!                                                        └─ unclear  → committing: settle
//! committing ── settle ─► list the app's instances, compare with the list from before (for an update:
//!                         what the CVM runs, and what was ordered for it); when nothing is found,
//!                         what the answer left to do: again, another token, ask, fail
//! committed ─── boot ───► running, or a person is asked
//! ```
//!
//! The token is opened here and nowhere else. Nothing here knows how a request became registered;
//! it reads both entries again before the call.

mod begin;
mod boot;
mod boot_error;
mod outcome;
mod settle;
mod update;

pub use begin::{begin, wait_for_list};
pub use boot::boot;
pub use settle::settle;

use crate::{chain::ChainError, phala::PhalaError, store::StoreError, vault::VaultError};

/// Why a step of the commit could not be taken; tried again.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Cloud(#[from] PhalaError),
    #[error("cannot open the commit token")]
    Vault(#[from] VaultError),
}
