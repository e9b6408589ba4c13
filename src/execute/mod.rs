//! The relayer: executes a Safe's transaction once its owners have signed, and pays for the gas.
//! Without a relayer key nothing here runs, and anyone executes.
//!
//! ```text
//! look     is it ours, exactly what was proposed, signed enough, the Safe's next one?
//!          simulate it at a named block; what does gas cost?         ─► why it waits, in words
//! begin    sign, write the intent, send                              (relay_tries, relay_transactions)
//! push     send the same bytes again; after a while the same nonce with a higher fee
//! settle   is the nonce used, deep enough? By which transaction, and what did it do?
//! ```
//!
//! **At most one try is under way** for an account and for a Safe, whatever crashes and however many
//! instances there are: unique indexes say so. Everything that is signed for a try has the same nonce
//! of the account, so that one of them happens at most. The intent is written with the signed bytes
//! before they are sent, so after a crash the same bytes are sent again, never others. That an
//! execution happened is told by the follower, as of any other.

pub mod begin;
pub mod decide;
mod look;
mod purse;
pub mod settle;

pub use purse::{Purse, purse};

use alloy::primitives::Address;
use chrono::TimeDelta;

use crate::{
    chain::{CannotRelay, Chain, ChainError, RelayerKey, simulate::SimulationError},
    clock::Time,
    config::RelayerCaps,
    request::facts::BlockRef,
    store::{Store, StoreError, chain::Leadership},
};

/// Everything that the relayer of a chain works with in one step.
#[derive(Clone, Copy)]
pub struct Relayer<'a> {
    pub store: &'a Store,
    pub chain: &'a Chain,
    pub key: &'a RelayerKey,
    /// Only who follows the chain relays on it.
    pub leadership: &'a Leadership,
    pub now: Time,
}

impl Relayer<'_> {
    fn address(&self) -> Address {
        self.key.address()
    }

    fn caps(&self) -> RelayerCaps {
        self.chain.settings().relayer
    }
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is to be done until a block or some time has passed.
    Idle,
    /// There may be more to do at once.
    Moved,
}

/// Why a step failed; tried again.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("cannot simulate")]
    Simulate(#[from] SimulationError),
    #[error(transparent)]
    Sign(#[from] CannotRelay),
    #[error("cannot pack the signatures")]
    Pack(#[from] crate::safe::packed::DuplicateOwner),
}

/// One step: look after the tries that are under way, then begin another if there is room for one.
/// `at` is the follower's head, `deep` the newest block that is deep enough.
pub async fn step(
    relayer: Relayer<'_>,
    at: BlockRef,
    deep: Option<BlockRef>,
) -> Result<Progress, ExecuteError> {
    let mut is_busy = false;
    for open in relayer.store.open_tries(relayer.chain.id()).await? {
        let is_settled = settle::tend(relayer, &open, at, deep).await?;
        is_busy |= !is_settled && open.relayer == relayer.address();
    }
    if is_busy {
        return Ok(Progress::Idle);
    }
    let due = relayer.store.relayable(relayer.chain.id(), relayer.now).await?;
    let Some(request) = due else { return Ok(Progress::Idle) };
    // A nonce is given once. That a settled one is unused again comes first.
    let (chain, account) = (relayer.chain, relayer.address());
    let nonce = chain.account_nonce(account, at).await?;
    if relayer.store.reopen_try(relayer.leadership, chain.id(), account, nonce).await? {
        tracing::warn!(chain.id = %chain.id(), nonce, "a reorganisation took a settled execution");
        return Ok(Progress::Moved);
    }
    begin::begin(relayer, request, at).await?;
    Ok(Progress::Moved)
}

/// The longest that the same bytes are not sent again while they are in no block.
pub const RESEND_AFTER: TimeDelta = TimeDelta::seconds(15);
