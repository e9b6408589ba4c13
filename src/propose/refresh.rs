//! Looks after a proposal that waits: is it still the right one, and can it still be executed?

use std::time::Duration;

use chrono::TimeDelta;

use crate::{
    chain::{Chain, OwnerKind},
    clock::Time,
    dstack::{Addition, Write},
    owner::nonce::{self, ForeignQueued, NonceChoice, is_respected},
    request::{
        Request,
        event::{Event, waits_for_signatures},
        facts::BlockRef,
        need::{Allowed, missing_writes},
        status::Status,
        step::{Pace, Step},
    },
    safe::packed::Part,
    store::{
        Store, StoreError,
        confirmations::Confirmation,
        journal::Actor,
        lease::Lease,
        proposals::{Proposal, SafeProposal},
    },
};

use super::{ANYONE_MAY_EXECUTE, build::ProposeError, standing_signatures};

/// While signatures of contracts are among the counted: how long after a look the next one comes.
const ASK_CONTRACTS_AGAIN: Duration = Duration::from_mins(3);
/// Within how long what was given up is mostly proposed again, and how often to look meanwhile.
const PROPOSED_WITHIN: TimeDelta = TimeDelta::minutes(1);
const UNSETTLED: Duration = Duration::from_secs(1);

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
        // It was replaced while the chain showed the entries of this request, and does not any more.
        if let Some(proposal) = request.facts.proposal {
            let reason = "it was given up while the chain showed what this request needs, which it \
                          does not any more";
            let event = Event::ProposalReplaced { proposal, reason: reason.into() };
            store.record(request.id, Some(lease), &Actor::service("propose"), &event, now).await?;
        }
        return Ok(Step::Changed);
    };
    match standing(store, chain, (request, lease), &proposal, at, allowed, now).await? {
        Standing::Changed => Ok(Step::Changed),
        Standing::Unsettled => {
            let reason = "another transaction of the Safe is being proposed again";
            Ok(Step::wait(reason, Pace::After(UNSETTLED)))
        }
        Standing::Waits(reason) => {
            let given = store.confirmations(proposal.id).await?;
            let of_contract = |one: &Confirmation| matches!(one.signature, Part::Contract { .. });
            // Nothing tells when a contract takes its signature back.
            let can_vanish = given.iter().any(of_contract);
            let pace = if can_vanish { Pace::After(ASK_CONTRACTS_AGAIN) } else { Pace::Woken };
            Ok(Step::wait(reason, pace))
        }
        Standing::Unfit(reason) => {
            let event = Event::ProposalReplaced { proposal: proposal.id, reason };
            store.record(request.id, Some(lease), &Actor::service("propose"), &event, now).await?;
            Ok(Step::Changed)
        }
    }
}

/// How a proposal stands.
enum Standing {
    /// It can still be executed, and this is what it waits for.
    Waits(String),
    /// Owners turned out to have approved it.
    Changed,
    /// Which nonces come first is about to be settled.
    Unsettled,
    /// It must be replaced, and why.
    Unfit(String),
}

async fn standing(
    store: &Store,
    chain: &Chain,
    (request, lease): (&Request, &Lease),
    proposal: &Proposal,
    at: BlockRef,
    allowed: Allowed,
    now: Time,
) -> Result<Standing, ProposeError> {
    let unfit = |reason: String| Ok(Standing::Unfit(reason));
    let owner = chain.owner(request.app, at).await?;
    if owner != proposal.owner {
        return unfit(format!("the app belongs to {owner} now"));
    }
    // Adding again what somebody else added meanwhile changes nothing, and keeps the signatures.
    let missing = missing_writes(allowed, request.compose, request.device);
    let is_in =
        |write: &Write| proposal.additions.contains(&Addition { app: request.app, write: *write });
    if !missing.iter().all(is_in) {
        return unfit("what is missing on chain has changed".into());
    }
    let Some(safe) = &proposal.safe else {
        return Ok(Standing::Waits(format!(
            "the owner {owner} acts in its own way ({}): it makes the calls that `countersign payload` \
             shows",
            proposal.route
        )));
    };
    let OwnerKind::Safe(state) = chain.owner_kind(owner, at).await? else {
        return unfit("the owner is no Safe any more".into());
    };
    if state.version != safe.version {
        return unfit(format!("the Safe is of version {} now", state.version));
    }
    if state.nonce > safe.nonce {
        return unfit(nonce_used(store, proposal, safe).await?);
    }
    if (state.threshold, &state.owners) != (safe.threshold, &safe.owners) {
        return unfit("the owners of the Safe, or how many of them must sign, changed".into());
    }
    let ours = store.queued_nonces(proposal.chain, owner, state.nonce).await?;
    let foreign = store.foreign_queue(proposal.chain, owner, state.nonce, now).await?;
    if is_behind_nothing(store, proposal, safe, state.nonce, &ours, &foreign).await? {
        // What was given up just now may come back with the nonce that is free.
        if store.is_proposed_again(proposal.chain, owner, now - PROPOSED_WITHIN).await? {
            return Ok(Standing::Unsettled);
        }
        let first = state.nonce;
        return unfit(format!("nonce {first} of the Safe comes first, and nothing known uses it"));
    }
    // Signers are shown who needs no signature of theirs, and what nested owners sign, as it is now.
    let around = chain.around(&state, at).await?;
    let queue = nonce::look(state.nonce, (safe.nonce, safe.nonce_choice), &ours, &foreign);
    let is_known = safe.queue.as_ref() == Some(&queue)
        && safe.around.as_ref().is_some_and(|known| known.says_the_same(&around));
    if !is_known {
        store.note_standing(lease, proposal.id, &around, &queue, now).await?;
    }
    let of = (request.id, proposal);
    let told = standing_signatures::look(store, chain, of, safe, &state, at, now).await?;
    match told {
        standing_signatures::Told::Nothing => {}
        standing_signatures::Told::Approvals => return Ok(Standing::Changed),
        standing_signatures::Told::Gone(why) => return unfit(why),
    }
    // One that was allowed by another way for a while was not told of the signatures given meanwhile.
    let given = store.confirmations(proposal.id).await?;
    let count = given.iter().filter(|one| state.owners.contains(&one.owner)).count();
    // What is read after the signatures knows of every event that came with them.
    if count >= state.threshold as usize
        && let Some(last) = given.last()
        && store.request(request.id).await?.status() == Status::Proposed
    {
        let confirmations = u32::try_from(count).unwrap_or(u32::MAX);
        let (owner, threshold) = (last.owner.to_string(), state.threshold);
        let event = Event::Confirmed { owner, confirmations, threshold };
        store.record(request.id, Some(lease), &Actor::owner(last.owner), &event, now).await?;
        return Ok(Standing::Changed);
    }
    let (comes_first, rival) = (queue.comes_first(), queue.rival());
    let told = |words: String| match &rival {
        Some(rival) => format!("{words}; {rival}"),
        None => words,
    };
    if request.status() == Status::Approved {
        return Ok(Standing::Waits(match comes_first {
            None => told(format!("approved: {ANYONE_MAY_EXECUTE}")),
            Some(first) => {
                let last = safe.nonce - 1;
                told(format!("approved: waits until nonce {last} of the Safe is used: {first}"))
            }
        }));
    }
    let signed = waits_for_signatures(given.len(), safe.threshold);
    Ok(Standing::Waits(told(match comes_first {
        None => signed,
        Some(first) => format!("{signed}; {first}"),
    })))
}

/// Whether it waits for earlier nonces of which none is known to be used by anything. A nonce that
/// the mailbox moved stays once an owner signed: a mailbox must not void signatures by what it no
/// longer lists.
async fn is_behind_nothing(
    store: &Store,
    proposal: &Proposal,
    safe: &SafeProposal,
    next: u64,
    ours: &[u64],
    foreign: &[ForeignQueued],
) -> Result<bool, StoreError> {
    if safe.nonce <= next {
        return Ok(false);
    }
    let is_before = |nonce: &u64| *nonce < safe.nonce;
    if ours.iter().any(is_before)
        || foreign.iter().any(|queued| is_before(&queued.nonce) && is_respected(next, queued.nonce))
    {
        return Ok(false);
    }
    Ok(match safe.nonce_choice {
        NonceChoice::Pinned => false,
        NonceChoice::NextFree => true,
        NonceChoice::AfterQueue => store.confirmations(proposal.id).await?.is_empty(),
    })
}

/// What became of a nonce that is used up.
async fn nonce_used(
    store: &Store,
    proposal: &Proposal,
    safe: &SafeProposal,
) -> Result<String, ProposeError> {
    let hash = safe.hashes.safe_tx_hash;
    Ok(match store.safe_execution(proposal.chain, proposal.owner, hash).await? {
        Some((tx, false)) => format!("its execution failed inside, in {tx}: its nonce is spent"),
        Some((tx, true)) => format!("it was executed in {tx}, and undone since"),
        None if safe.version.tells_success() => {
            format!("nonce {} of the Safe was used by another transaction", safe.nonce)
        }
        None => format!("nonce {} of the Safe was used", safe.nonce),
    })
}
