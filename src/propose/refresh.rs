//! Looks after a proposal that waits: is it still the right one, and can it still be executed?

use crate::{
    chain::{Chain, OwnerKind},
    clock::Time,
    request::{
        Request,
        event::Event,
        facts::BlockRef,
        need::{Allowed, missing_writes},
        status::Status,
        step::{Pace, Step},
    },
    store::{Store, journal::Actor, proposals::Proposal, requests::Lease},
};

use super::build::ProposeError;

/// Replaces a proposal that no longer fits, or tells what it waits for.
pub async fn refresh(
    store: &Store,
    chain: &Chain,
    request: &Request,
    lease: &Lease,
    at: BlockRef,
    allowed: Allowed,
    now: Time,
) -> Result<Step, ProposeError> {
    let Some(proposal) = store.proposal(request.id).await? else {
        return Ok(Step::wait("the proposal is being replaced", Pace::Backoff));
    };
    let unfit = unfit(store, chain, request, &proposal, at, allowed).await?;
    if let Some(reason) = unfit {
        let event = Event::ProposalReplaced { proposal: proposal.id, reason };
        store.record(request.id, Some(lease), &Actor::service("propose"), &event, now).await?;
        return Ok(Step::Changed);
    }
    let reason = match (request.status(), &proposal.safe) {
        (Status::Approved, _) => "approved: anyone may execute it".to_owned(),
        (_, Some(safe)) => {
            let given = store.confirmations(proposal.id).await?.len();
            format!("{given} of {} signatures", safe.threshold)
        }
        (_, None) => format!(
            "the owner {} is no Safe that Countersign can act through ({}): make the calls shown \
             from there",
            proposal.owner, proposal.route
        ),
    };
    Ok(Step::wait(reason, Pace::Woken))
}

/// Why a proposal cannot stay, if so.
async fn unfit(
    store: &Store,
    chain: &Chain,
    request: &Request,
    proposal: &Proposal,
    at: BlockRef,
    allowed: Allowed,
) -> Result<Option<String>, ProposeError> {
    let owner = chain.owner(request.app, at).await?;
    if owner != proposal.owner {
        return Ok(Some(format!("the app belongs to {owner} now")));
    }
    if missing_writes(allowed, request.compose, request.device) != proposal.writes {
        return Ok(Some("what is missing on chain has changed".into()));
    }
    let Some(safe) = &proposal.safe else { return Ok(None) };
    let OwnerKind::Safe(state) = chain.owner_kind(owner, at).await? else {
        return Ok(Some("the owner is no Safe any more".into()));
    };
    if state.version != safe.version {
        return Ok(Some(format!("the Safe is of version {} now", state.version)));
    }
    if state.nonce <= safe.nonce {
        return Ok(None);
    }
    let nonce = safe.nonce;
    let hash = safe.hashes.safe_tx_hash;
    Ok(Some(match store.safe_execution(request.chain, owner, hash).await? {
        Some((tx, false)) => format!("its execution failed inside (ExecutionFailure in {tx})"),
        Some((tx, true)) => format!("it was executed in {tx}, and undone since"),
        None => format!("nonce {nonce} of the Safe was used by another transaction"),
    }))
}
