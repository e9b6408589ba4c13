//! The commit itself: read again, list, write the intent, call, settle.

use std::time::Duration;

use crate::{
    chain::Chain,
    clock::{Clock, Time},
    phala::{CommitEvidence, CommitToken, Instance, PhalaCloud},
    request::{
        Request,
        event::Event,
        facts::BlockRef,
        ids::TxHash,
        step::{Pace, Step},
    },
    store::{
        Store,
        attempts::{Attempt, Intent, StartError},
        journal::Actor,
        lease::Lease,
    },
    vault::Vault,
};
use secrecy::ExposeSecret;

use super::{
    CommitError,
    outcome::{Outcome, outcome},
    settle::{Verdict, found, record_verdict},
};

/// A commit is not started with less lease than this left: the call may take 30 s.
const LEASE_MARGIN: Duration = Duration::from_secs(40);
/// How often the same transaction is named to a cloud that cannot verify it.
const UNVERIFIED_MAX: u64 = 3;
/// How long a commit waits for the history that may hold the transaction to name.
const HISTORY_PATIENCE: Duration = Duration::from_mins(1);
const HISTORY_PAUSE: Duration = Duration::from_millis(500);
const APP_BUSY_PAUSE: Duration = Duration::from_secs(2);

pub(super) fn actor() -> Actor {
    Actor::service("commit")
}

/// Commits a registered request. `deep` tells whether both entries read true at depth right now.
pub async fn begin(
    store: &Store,
    chain: &Chain,
    cloud: &PhalaCloud,
    vault: &Vault,
    clock: &dyn Clock,
    request: &Request,
    lease: &Lease,
) -> Result<Step, CommitError> {
    if !still_registered(chain, request).await? {
        let reason = "it no longer reads true at depth".to_owned();
        let event = Event::Retracted { reason };
        store.record(request.id, Some(lease), &actor(), &event, clock.now()).await?;
        return Ok(Step::Changed);
    }
    let Some((preparation, sealed)) = store.sealed_token(request.id).await? else {
        return Ok(Step::wait("there is no commit token to commit with", Pace::Backoff));
    };
    let secret = vault.open(request.id.0, &sealed)?;
    let Ok(token) = CommitToken::parse(secret.expose_secret()) else {
        return Err(crate::vault::VaultError::Damaged.into());
    };
    let before = cloud.instances(request.app).await?;
    let transaction = evidence(store, request).await?;
    let now = clock.now();
    if transaction.is_none() && history_may_tell(store, request, now).await? {
        let reason = "reading the app's history for the transaction that added the compose hash";
        return Ok(Step::wait(reason, Pace::After(HISTORY_PAUSE)));
    }
    if (lease.until - now).to_std().unwrap_or_default() < LEASE_MARGIN {
        return Ok(Step::wait(
            "too little time left to commit in this turn",
            Pace::After(Duration::ZERO),
        ));
    }
    let instances = before.iter().map(|instance| instance.id.clone()).collect();
    let intent = Intent { preparation, transaction, instances };
    let started = store.start_attempt(lease, request, &intent, &actor(), now).await;
    let attempt = match started {
        Ok(attempt) => attempt,
        Err(StartError::AppBusy) => {
            let reason = "another commit of the same app is under way";
            return Ok(Step::wait(reason, Pace::After(APP_BUSY_PAUSE)));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(step) = adopt_earlier(store, clock, request, lease, &attempt, &before).await? {
        return Ok(step);
    }
    let evidence =
        transaction.map_or(CommitEvidence::AlreadyRegistered, CommitEvidence::Transaction);
    let answer = cloud.commit_replica(&request.source, &token, request.compose, &evidence).await;
    conclude(store, cloud, clock, request, lease, &attempt, outcome(answer)).await
}

/// The transaction to name. One that Phala Cloud keeps failing to verify gives way to the
/// registered state, which is what counts.
async fn evidence(store: &Store, request: &Request) -> Result<Option<TxHash>, CommitError> {
    if store.unverified_attempts(request.id).await? >= UNVERIFIED_MAX {
        return Ok(None);
    }
    Ok(store.compose_tx(request).await?)
}

/// Whether the transaction to name may still be found, and is worth waiting for.
async fn history_may_tell(
    store: &Store,
    request: &Request,
    now: Time,
) -> Result<bool, CommitError> {
    let registered = request.facts.registration.as_ref().map(|registration| registration.at);
    let is_recent = registered
        .is_some_and(|at| (now - at).to_std().is_ok_and(|since| since < HISTORY_PATIENCE));
    Ok(is_recent && !store.history_is_read(request.chain, request.app).await?)
}

/// Both entries at the depth of the policy, read now from agreeing endpoints (invariant I1).
async fn still_registered(chain: &Chain, request: &Request) -> Result<bool, CommitError> {
    let head: BlockRef = chain.head().await?.block;
    let Some(deep) = chain.deep_block(head).await? else { return Ok(false) };
    let at_depth = chain.allowed(request.app, request.compose, request.device, deep.block).await?;
    let at_head = chain.allowed(request.app, request.compose, request.device, head).await?;
    Ok(at_depth.is_complete() && at_head.is_complete())
}

/// An earlier attempt that seemed to have had no effect may have had it late: then its replica is
/// taken instead of making another one.
async fn adopt_earlier(
    store: &Store,
    clock: &dyn Clock,
    request: &Request,
    lease: &Lease,
    attempt: &Attempt,
    instances: &[Instance],
) -> Result<Option<Step>, CommitError> {
    match found(store, request, instances).await? {
        Verdict::None => Ok(None),
        verdict => record_verdict(store, clock, request, lease, attempt, verdict).await.map(Some),
    }
}

async fn conclude(
    store: &Store,
    cloud: &PhalaCloud,
    clock: &dyn Clock,
    request: &Request,
    lease: &Lease,
    attempt: &Attempt,
    outcome: Outcome,
) -> Result<Step, CommitError> {
    let record = async |event: Event| {
        store.record(request.id, Some(lease), &actor(), &event, clock.now()).await
    };
    match outcome {
        Outcome::Done(replica) => {
            let how = "the answer".to_owned();
            record(Event::Committed { attempt: attempt.id, replica, how }).await?;
            Ok(Step::Changed)
        }
        Outcome::NoEffect { code, reason, pace } => {
            record(Event::CommitRefused { attempt: attempt.id, code, reason: reason.clone() })
                .await?;
            Ok(Step::Wait { reason, pace })
        }
        Outcome::Final { code, reason } => {
            record(Event::Failed { code: Some(code), reason }).await?;
            Ok(Step::Changed)
        }
        Outcome::TokenDead { reason } => {
            let now = cloud.instances(request.app).await?;
            let verdict = found(store, request, &now).await?;
            if verdict != Verdict::None {
                return record_verdict(store, clock, request, lease, attempt, verdict).await;
            }
            store.refuse_token(lease, attempt.id, &reason, &actor(), clock.now()).await?;
            Ok(Step::Changed)
        }
        Outcome::Ambiguous { reason } => Ok(Step::wait(
            format!("{reason}; looking whether the replica exists"),
            Pace::After(Duration::from_secs(1)),
        )),
    }
}
