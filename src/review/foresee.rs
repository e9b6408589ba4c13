//! What would come of a proposal: executed in memory on the block that is followed. It decides
//! nothing; people look at it before they sign.

use crate::{
    chain::{
        Chain, ChainError, OwnerKind,
        simulate::{Simulation, SimulationError, Subject},
    },
    request::Request,
    store::{Store, StoreError, proposals::Proposal},
};

/// Why a proposal could not be simulated. None of it says anything about the proposal.
#[derive(Debug, thiserror::Error)]
pub enum ForeseeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    #[error("no block of this chain is followed yet")]
    NotFollowed,
    #[error("at block {0} the owner does not read as a Safe")]
    NoSafe(u64),
    #[error("there is no transaction of a Safe to execute")]
    NoTransaction,
}

/// Executes the Safe transaction of a proposal in memory, on the state of the block that is followed,
/// as if enough owners had signed.
pub async fn foresee(
    store: &Store,
    chain: &Chain,
    request: &Request,
    proposal: &Proposal,
) -> Result<Simulation, ForeseeError> {
    let content = proposal.safe.as_ref().ok_or(ForeseeError::NoTransaction)?;
    let head = store.head(request.chain).await?.ok_or(ForeseeError::NotFollowed)?;
    let at = head.block;
    let OwnerKind::Safe(safe) = chain.owner_kind(proposal.owner, at).await? else {
        return Err(ForeseeError::NoSafe(at.number));
    };
    let modules = chain.extensions(&safe, at).await?.modules;
    let also: Vec<_> = proposal.additions.iter().map(|addition| addition.app).collect();
    let subject = Subject {
        safe: &safe,
        tx: &content.tx,
        modules: &modules,
        wanted: Some((request.app, request.compose, request.device)),
        also: &also,
        signed: None,
    };
    Ok(chain.simulate(subject, at).await?)
}
