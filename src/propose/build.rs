//! From missing writes to the owner's transaction.

use std::collections::BTreeSet;

use alloy::primitives::{Address, U256};
use uuid::Uuid;

use crate::{
    chain::{Chain, ChainError, ContractKind, OwnerKind, SafeState},
    clock::Time,
    dstack::Addition,
    owner::{self, Call, Route, nonce},
    request::{
        Request,
        event::Event,
        facts::BlockRef,
        need::{Allowed, missing_writes},
        step::Step,
    },
    safe::{
        self,
        decode::{Expected, Warning, decode},
        deployments::{self, Set},
    },
    store::{
        Store, StoreError,
        batches::Batch,
        journal::Actor,
        lease::Lease,
        proposals::{Proposal, SafeProposal},
    },
};

/// Why nothing could be put to the owner; tried again.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("cannot build the Safe's transaction")]
    Build(#[from] owner::safe::ProposeError),
    #[error(
        "no MultiSendCallOnly for Safe {version} stands on {chain} with the code it should have, \
         so a batch cannot be proposed safely"
    )]
    NoMultiSend { version: String, chain: String },
    #[error(
        "the Safe on {0} runs the code that is made for zkSync, which Countersign cannot check; \
         nothing is proposed to it"
    )]
    Zksync(String),
}

/// Builds and stores the proposal for what is missing at block `at`, for a request and those that a
/// person wants proposed together with it.
pub async fn propose(
    store: &Store,
    chain: &Chain,
    request: &Request,
    lease: &Lease,
    at: BlockRef,
    allowed: Allowed,
    now: Time,
) -> Result<Step, ProposeError> {
    let actor = Actor::service("propose");
    let owner = chain.owner(request.app, at).await?;
    let kind = chain.owner_kind(owner, at).await?;
    let Batch { id: batch, nonce: pinned, others } = store.batch(request.id).await?;
    let mut requests = vec![request.id];
    let mut additions = missing(request, allowed);
    for other in &others {
        // What needs nothing any more, is somebody else's by now, or does not read, goes its own way.
        if let Some(theirs) = belongs(chain, other, owner, at).await? {
            requests.push(other.id);
            additions.extend(theirs);
        }
    }
    // What several need is added once.
    let mut seen = BTreeSet::new();
    additions.retain(|addition| seen.insert(*addition));
    let mut proposal = Proposal {
        id: Uuid::now_v7(),
        route: route(&kind),
        chain: request.chain,
        owner,
        additions,
        warnings: vec![],
        safe: None,
        created_at: now,
    };
    match &kind {
        OwnerKind::Safe(state) if proposal.route.builds_transaction() => {
            let (safe, warnings) =
                safe_proposal(store, chain, state, &proposal.additions, (batch, pinned), (at, now))
                    .await?;
            proposal.safe = Some(safe);
            proposal.warnings = warnings;
        }
        OwnerKind::Nobody => {
            let reason = "the app's ownership was renounced: nobody can allow anything any more";
            let event =
                Event::Failed { code: Some("owner-renounced".into()), reason: reason.into() };
            store.record(request.id, Some(lease), &actor, &event, now).await?;
            return Ok(Step::Changed);
        }
        // Nothing but a Safe makes several additions at once: each is handed its own.
        _ => {
            requests.truncate(1);
            proposal.additions = missing(request, allowed);
        }
    }
    match store.propose(lease, &proposal, &requests, batch, &actor).await {
        // Who looked at another request of the batch was first, or a person said otherwise meanwhile.
        Err(StoreError::BatchChanged) => {}
        done => done?,
    }
    Ok(Step::Changed)
}

/// What another request of a batch needs, if it can be added by this owner.
async fn belongs(
    chain: &Chain,
    other: &Request,
    owner: Address,
    at: BlockRef,
) -> Result<Option<Vec<Addition>>, ChainError> {
    let allowed = match chain.allowed(other.app, other.compose, other.device, at).await {
        Err(ChainError::Unreadable { .. }) => return Ok(None),
        read => read?,
    };
    let is_owner = match chain.owner(other.app, at).await {
        Err(ChainError::Unreadable { .. }) => return Ok(None),
        read => read? == owner,
    };
    Ok((is_owner && !allowed.is_complete()).then(|| missing(other, allowed)))
}

fn missing(request: &Request, allowed: Allowed) -> Vec<Addition> {
    let writes = missing_writes(allowed, request.compose, request.device);
    writes.into_iter().map(|write| Addition { app: request.app, write }).collect()
}

/// How an owner of this kind acts.
pub fn route(kind: &OwnerKind) -> Route {
    match kind {
        OwnerKind::Safe(_) => Route::Safe,
        OwnerKind::Contract { acts_as: ContractKind::Timelock } => Route::Timelock,
        OwnerKind::Contract { acts_as: ContractKind::Governor } => Route::Governor,
        _ => Route::Eoa,
    }
}

/// The one transaction of the Safe, hashed here and read back into words.
async fn safe_proposal(
    store: &Store,
    chain: &Chain,
    state: &SafeState,
    additions: &[Addition],
    (batch, pinned): (Option<Uuid>, Option<u64>),
    (at, now): (BlockRef, Time),
) -> Result<(SafeProposal, Vec<Warning>), ProposeError> {
    let singleton = deployments::find_singleton(state.singleton);
    if singleton.is_some_and(|known| known.set == Set::Zksync) {
        return Err(ProposeError::Zksync(chain.id().label()));
    }
    let calls: Vec<Call> = additions.iter().map(Call::from).collect();
    let multi_send =
        if calls.len() > 1 { multi_send(chain, state, at).await? } else { Address::ZERO };
    let ours = store.queued_nonces(chain.id(), state.address, state.nonce).await?;
    let foreign = store.foreign_queue(chain.id(), state.address, state.nonce, now).await?;
    let kept = store.pinned_nonces(chain.id(), state.address, batch).await?;
    let taken: Vec<u64> = ours.iter().chain(&kept).copied().collect();
    let (nonce, nonce_choice) = nonce::choose(state.nonce, pinned, &taken, &foreign);
    let tx = owner::safe::propose(&calls, multi_send, U256::from(nonce))?;
    let hashes = safe::hashes(&tx, chain.id(), state.address, state.version);
    let expected = Expected { safe: state.address, app: None, additions: Some(additions) };
    let mut warnings = decode(&tx, &expected).warnings;
    warnings.extend(singleton_warning(state));
    let proposal = SafeProposal {
        version: state.version,
        tx,
        nonce,
        nonce_choice,
        threshold: state.threshold,
        owners: state.owners.clone(),
        hashes,
        around: Some(chain.around(state, at).await?),
        queue: Some(nonce::look(state.nonce, (nonce, nonce_choice), &ours, &foreign)),
    };
    Ok((proposal, warnings))
}

/// The Safe's code is the published one, its own and that of its singleton, or a signer must know.
pub fn singleton_warning(state: &SafeState) -> Option<Warning> {
    if !deployments::is_proxy(state.code_hash) {
        return Some(Warning::unknown_proxy(state.address));
    }
    let known = deployments::find_singleton(state.singleton);
    let genuine = known.is_some_and(|known| known.code_hash == state.singleton_code_hash);
    (!genuine).then(|| Warning::unknown_singleton(state.singleton))
}

/// The MultiSendCallOnly for Safes of this version that stands on this chain with the right code.
async fn multi_send(
    chain: &Chain,
    state: &SafeState,
    at: BlockRef,
) -> Result<Address, ProposeError> {
    for deployment in deployments::multi_send_call_only(state.version, chain.id()) {
        if chain.code_hash(deployment.address, at).await? == deployment.code_hash {
            return Ok(deployment.address);
        }
    }
    Err(ProposeError::NoMultiSend { version: state.version.to_string(), chain: chain.id().label() })
}
