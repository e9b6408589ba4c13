//! The commit itself: read again, list, write the intent, call, settle.

use std::time::Duration;

use chrono::TimeDelta;
use futures::try_join;
use secrecy::ExposeSecret;
use uuid::Uuid;

use crate::{
    chain::Chain,
    clock::{Clock, Time},
    phala::{
        ApiError, CommitEvidence, CommitToken, Instance, Listing, PhalaCloud, PhalaError,
        catalogue::ASK_AGAIN,
    },
    planted::{Bug, planted},
    request::{
        Request,
        event::Event,
        facts::BlockRef,
        ids::{ComposeHash, ReplicaId, TxHash},
        kind::Kind,
        step::{Pace, Step},
    },
    store::{
        Store, StoreError,
        advance::Seen,
        attempts::{Answer, Attempt, Intent, NOT_SENT, StartError},
        commit_tokens::CommitTokens,
        journal::Actor,
        lease::Lease,
    },
    vault::Vault,
};

use super::{
    CommitError,
    outcome::{Outcome, Refusal, looking, made_by_others, outcome},
    settle::{LOOK_AGAIN, found, record_verdict},
};

/// A commit is not started with less lease than this left: the call may take 30 s.
const LEASE_MARGIN: Duration = Duration::from_secs(40);
/// How often the same transaction is named to a cloud that cannot verify it.
const UNVERIFIED_MAX: u64 = 3;
/// How long a commit waits for the history that may hold the transaction to name.
const HISTORY_PATIENCE: Duration = Duration::from_mins(1);
const HISTORY_PAUSE: Duration = Duration::from_millis(500);
/// A commit is sent on what was read this long ago at most.
const READ_LATELY: TimeDelta = TimeDelta::seconds(15);
const APP_BUSY_PAUSE: Duration = Duration::from_secs(2);
/// A replica needs a moment to be listed.
const FIRST_LOOK: Duration = Duration::from_secs(1);

pub(super) fn actor() -> Actor {
    Actor::service("commit")
}

/// Commits a registered request, or one that `registered` is about to make so: that is written in
/// one transaction with the intent then, so that nothing is left to be done between a registration
/// that anybody hears of and its commit. A replica is listed within `patience`.
#[expect(clippy::too_many_arguments, reason = "what a commit takes")]
pub async fn begin(
    store: &Store,
    chain: &Chain,
    cloud: &PhalaCloud,
    vault: &Vault,
    clock: &dyn Clock,
    patience: Duration,
    request: &Request,
    registered: Option<&Seen>,
    lease: &Lease,
) -> Result<Step, CommitError> {
    let began = clock.now();
    // Before the chain is asked, which then may be further on, and never behind.
    let followed = store.head(request.chain).await?.map(|head| head.block);
    let listed = async { look_before(cloud, request).await.map_err(CommitError::from) };
    let kept = async {
        let token = open_token(store, vault, request).await?;
        let was_tried = store.baseline(request.id).await?.is_some();
        let used = token.as_ref().map(|(preparation, _)| *preparation);
        let tokens = store.commit_tokens(request.id, used).await?;
        Ok((token, evidence(store, request).await?, was_tried, tokens))
    };
    // They do not wait for each other: somebody waits for the commit.
    let looked = try_join!(still_registered(chain, followed, request), listed, kept);
    let (still, before, (token, transaction, was_tried, tokens)) = match looked {
        Err(CommitError::Cloud(PhalaError::Api(answer))) if is_gone(request, &answer) => {
            return ask_for_the_cvm(store, clock, request, lease, &answer).await;
        }
        looked => looked?,
    };
    let Some((preparation, token)) = token else {
        return Ok(Step::wait("there is no commit token to commit with", Pace::Backoff));
    };
    if still == Still::Behind {
        let reason = "the endpoints are behind the block that is followed";
        return Ok(Step::wait(reason, Pace::Backoff));
    }
    if still == Still::No && !planted(Bug::CommitWithoutReading) {
        let reason = "it no longer reads true at depth".to_owned();
        if registered.is_some() {
            // Nothing was written that is to be taken back.
            return Ok(Step::wait(reason, Pace::After(Duration::ZERO)));
        }
        let event = Event::Retracted { reason };
        store.record(request.id, Some(lease), &actor(), &event, clock.now()).await?;
        return Ok(Step::Changed);
    }
    let now = clock.now();
    if transaction.is_none() && history_may_tell(store, request, now).await? {
        let reason = "reading the app's history for the transaction that added the compose hash";
        return Ok(Step::wait(reason, Pace::After(HISTORY_PAUSE)));
    }
    if (lease.until - now).to_std().unwrap_or_default() < LEASE_MARGIN {
        let reason = "too little time left to commit in this turn";
        return Ok(Step::wait(reason, Pace::After(Duration::ZERO)));
    }
    cloud.may_commit()?;
    if let Some(step) = unlisted(store, request, lease, &tokens, patience, now).await? {
        return Ok(step);
    }
    let ahead = before.at.map(|at| at - now);
    let Before { instances: before, at: listed_at, compose: compose_before } = before;
    if planted(Bug::CommitBeforeIntent) {
        let evidence = CommitEvidence::AlreadyRegistered;
        drop(cloud.commit(&request.target(), &token, request.compose, &evidence).await);
    }
    let instances = before.iter().map(|instance| instance.id.clone()).collect();
    let intent = Intent { preparation, transaction, instances, listed_at, compose_before };
    let started = store.start_attempt(lease, request, registered, &intent, &actor(), now).await;
    let attempt = match started {
        Ok(attempt) => attempt,
        Err(StartError::AppBusy) => {
            let reason = "another commit of the same app is under way";
            return Ok(Step::wait(reason, Pace::After(APP_BUSY_PAUSE)));
        }
        Err(error @ StartError::OtherToken) => {
            return Ok(Step::wait(error.to_string(), Pace::After(Duration::ZERO)));
        }
        Err(StartError::Store(error)) => return Err(error.into()),
    };
    // An earlier attempt that seemed to have had no effect may have had it late: then its replica is
    // taken instead of making another one.
    if was_tried && let Some(verdict) = found(store, cloud, request, Some(&before)).await? {
        return record_verdict(store, clock, request, lease, &attempt, verdict).await;
    }
    if !tokens.others.is_empty() && !COVERED.into_iter().any(planted) {
        let ids: Vec<_> = before.iter().map(|instance| instance.id.clone()).collect();
        let claimed = store.claimed_replicas(&ids).await?;
        let others = made_by_others(request, &tokens, &before, &claimed, ahead);
        if !others.is_empty() {
            return ask_about(store, clock, request, lease, &attempt, others).await;
        }
    }
    if clock.now() - began > READ_LATELY {
        // Waiting for the database took so long that what was read may no longer be so.
        let (reason, attempt) = ("what was read had become old before the call", attempt.id);
        let event = Event::CommitRefused {
            attempt,
            code: NOT_SENT.into(),
            reason: reason.into(),
            may_have_acted: false,
            asks: false,
        };
        store.record(request.id, Some(lease), &actor(), &event, clock.now()).await?;
        return Ok(Step::wait(reason, Pace::Backoff));
    }
    let evidence =
        transaction.map_or(CommitEvidence::AlreadyRegistered, CommitEvidence::Transaction);
    let target = request.target();
    let answer = cloud.commit(&target, &token, request.compose, &evidence).await;
    conclude(store, clock, request, lease, attempt.id, outcome(answer, &target, &before)).await
}

/// Before a token takes the place of another: what to do first, if that one died so lately that what
/// somebody made with it may not be listed yet. Asked before a fresh token is asked for, too, which would
/// void those of other requests meanwhile.
pub async fn wait_for_list(
    store: &Store,
    clock: &dyn Clock,
    patience: Duration,
    request: &Request,
    lease: &Lease,
) -> Result<Option<Step>, CommitError> {
    let now = clock.now();
    let tokens = store.commit_tokens(request.id, None).await?;
    unlisted(store, request, lease, &tokens, patience, now).await
}

async fn unlisted(
    store: &Store,
    request: &Request,
    lease: &Lease,
    tokens: &CommitTokens,
    patience: Duration,
    now: Time,
) -> Result<Option<Step>, CommitError> {
    // Made twice, an update is the same.
    let matters = request.kind == Kind::Replica && !planted(Bug::SuccessorAtOnce);
    if !matters || !tokens.may_be_unlisted(patience, LOOK_AGAIN, now) {
        return Ok(None);
    }
    store.looked_for_earlier(lease, now).await?;
    let reason = "what was made with an earlier commit token may not be listed yet";
    Ok(Some(Step::wait(reason, Pace::After(LOOK_AGAIN.min(patience)))))
}

/// There is nothing to update any more.
async fn ask_for_the_cvm(
    store: &Store,
    clock: &dyn Clock,
    request: &Request,
    lease: &Lease,
    answer: &ApiError,
) -> Result<Step, CommitError> {
    let reason = format!(
        "Phala Cloud no longer knows the CVM that is to be updated: it was deleted, or belongs to \
         another workspace than the API key ({answer})"
    );
    if request.facts.attention.as_ref() != Some(&reason) {
        let event = Event::AttentionNeeded { reason: reason.clone(), about: vec![] };
        store.record(request.id, Some(lease), &actor(), &event, clock.now()).await?;
    }
    Ok(Step::wait(reason, Pace::After(ASK_AGAIN)))
}

/// Bugs that would not show behind the question below, so that it is left out with them.
const COVERED: [Bug; 5] = [
    Bug::ForgetEarlierTokens,
    Bug::IgnoreAmbiguity,
    Bug::LatestBaseline,
    Bug::NewestTokenFirst,
    Bug::OneLook,
];

/// Nothing is sent while somebody may have committed with an earlier token: only a person can tell.
async fn ask_about(
    store: &Store,
    clock: &dyn Clock,
    request: &Request,
    lease: &Lease,
    attempt: &Attempt,
    about: Vec<ReplicaId>,
) -> Result<Step, CommitError> {
    let named: Vec<_> = about.iter().map(ReplicaId::as_str).collect();
    let reason = format!(
        "an earlier commit token of this request may have been used past this service. What fits \
         the request, and is the replica of none: {}. A person must say which instance is this \
         request's, or that there is none (`countersign settle`); nothing is committed before that",
        named.join(", ")
    );
    let answer = Answer::never_sent(reason.clone());
    store.note_answer(lease, attempt.id, &answer, clock.now()).await?;
    let event = Event::AttentionNeeded { reason, about };
    store.record(request.id, Some(lease), &actor(), &event, clock.now()).await?;
    Ok(Step::Changed)
}

/// What there is before a commit, to tell afterwards what it made.
struct Before {
    /// Of the app; none for an update, which makes no instance.
    instances: Vec<Instance>,
    /// By Phala Cloud's clock, if it told.
    at: Option<Time>,
    /// What the CVM runs that is to be updated.
    compose: Option<ComposeHash>,
}

async fn look_before(cloud: &PhalaCloud, request: &Request) -> Result<Before, PhalaError> {
    if request.target().updated().is_some() {
        let (cvm, at) = cloud.cvm_dated(&request.source).await?;
        return Ok(Before { instances: vec![], at, compose: cvm.compose_hash });
    }
    let Listing { instances, at } = cloud.list_instances(request.app).await?;
    Ok(Before { instances, at, compose: None })
}

/// Whether there is nothing to update any more. Only Phala Cloud itself can say so; a proxy may lose its
/// way.
fn is_gone(request: &Request, answer: &ApiError) -> bool {
    request.kind == Kind::Update && answer.status == 404 && answer.code.is_some()
}

/// The token to commit with, opened. Here and nowhere else.
async fn open_token(
    store: &Store,
    vault: &Vault,
    request: &Request,
) -> Result<Option<(Uuid, CommitToken)>, CommitError> {
    let Some((preparation, sealed)) = store.sealed_token(request.id).await? else {
        return Ok(None);
    };
    let secret = vault.open(request.id.0, &sealed)?;
    match CommitToken::parse(secret.expose_secret()) {
        Ok(token) => Ok(Some((preparation, token))),
        Err(_) => Err(crate::vault::VaultError::Damaged.into()),
    }
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

/// What the chain says now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Still {
    Yes,
    No,
    /// It was read at an older block than what is known already.
    Behind,
}

/// Both entries at the depth of the policy, read now from agreeing endpoints (invariant I1), and
/// not before the block up to which the chain is followed: that may have taken them back.
async fn still_registered(
    chain: &Chain,
    followed: Option<BlockRef>,
    request: &Request,
) -> Result<Still, CommitError> {
    let head: BlockRef = chain.head().await?.block;
    if followed.is_some_and(|followed| followed.number > head.number) {
        return Ok(Still::Behind);
    }
    let allowed_at = async |block| -> Result<bool, CommitError> {
        let (compose, device) = (request.compose, request.device);
        match chain.allowed(request.app, compose, device, block).await {
            Err(_) if planted(Bug::UnreadableAsFalse) => Ok(false),
            allowed => Ok(allowed?.is_complete()),
        }
    };
    let at_depth = async {
        match chain.deep_block(head).await? {
            Some(deep) => allowed_at(deep.block).await,
            None => Ok(false),
        }
    };
    let (at_depth, at_head) = try_join!(at_depth, allowed_at(head))?;
    Ok(if at_depth && at_head { Still::Yes } else { Still::No })
}

async fn conclude(
    store: &Store,
    clock: &dyn Clock,
    request: &Request,
    lease: &Lease,
    attempt: Uuid,
    outcome: Outcome,
) -> Result<Step, CommitError> {
    // The answer is worth a second try over another connection.
    let record = async |event: Event| {
        let actor = actor();
        let record = || store.record(request.id, Some(lease), &actor, &event, clock.now());
        match record().await {
            Err(StoreError::Database { .. }) => record().await,
            done => done,
        }
    };
    match outcome {
        Outcome::Done { replica, operation } => {
            let how = "the answer".into();
            record(Event::Committed { attempt, replica, how, operation }).await?;
            Ok(Step::Changed)
        }
        Outcome::Refused(Refusal { code, reason, pace, asks, may_have_acted }) => {
            let told = reason.clone();
            let event = Event::CommitRefused { attempt, code, reason, may_have_acted, asks };
            record(event).await?;
            Ok(Step::Wait { reason: told, pace })
        }
        Outcome::Unclear(answer) => {
            store.note_answer(lease, attempt, &answer, clock.now()).await?;
            Ok(Step::wait(looking(Some(&answer)), Pace::After(FIRST_LOOK)))
        }
    }
}
