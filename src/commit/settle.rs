//! Finds out how a commit ended whose answer was lost: by the crash of this service, a dropped
//! connection, or a server that broke off.

use std::time::Duration;

use crate::{
    clock::Clock,
    phala::{Instance, PhalaCloud, catalogue::ASK_AGAIN},
    planted::{Bug, planted},
    request::{
        Request,
        event::Event,
        ids::ReplicaId,
        step::{Pace, Step},
    },
    store::{
        Store,
        attempts::{Attempt, Then},
        lease::Lease,
    },
};

use super::{CommitError, begin::actor, outcome::candidates};

const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What the list of instances says about a request's attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    One(ReplicaId),
    Several(usize),
}

/// Looks for the replica that an attempt may have made. After `patience` without one, what the
/// answer left to do is done; should the replica appear later, the next attempt finds it first.
pub async fn settle(
    store: &Store,
    cloud: &PhalaCloud,
    clock: &dyn Clock,
    patience: Duration,
    request: &Request,
    lease: &Lease,
) -> Result<Step, CommitError> {
    let Some(mut attempt) = store.open_attempt(request.id).await? else {
        return Ok(Step::wait("the attempt is being settled", Pace::Backoff));
    };
    if attempt.parked {
        let now = clock.now();
        if !store.take_up(lease, attempt.id, now).await? {
            let reason = "another commit of the same app is under way";
            return Ok(Step::wait(reason, Pace::After(LOOK_AGAIN)));
        }
        attempt.since = now;
    }
    let instances = cloud.instances(request.app).await?;
    if let Some(verdict) = found(store, request, &instances).await? {
        return record_verdict(store, clock, request, lease, &attempt, verdict).await;
    }
    let waited = (clock.now() - attempt.since).to_std().unwrap_or_default();
    if waited < patience {
        let reason = match &attempt.answer {
            Some(answer) => answer.reason.as_str(),
            None => "the commit was not answered",
        };
        let reason = format!("{reason}; looking whether its replica appears");
        return Ok(Step::wait(reason, Pace::After(LOOK_AGAIN.min(patience))));
    }
    conclude_without(store, clock, request, lease, &attempt).await
}

/// No replica appeared.
async fn conclude_without(
    store: &Store,
    clock: &dyn Clock,
    request: &Request,
    lease: &Lease,
    attempt: &Attempt,
) -> Result<Step, CommitError> {
    let then = attempt.answer.as_ref().map_or(Then::TryAgain, |answer| answer.then);
    let why = attempt.answer.as_ref().map_or("the commit was not answered", |it| &it.reason);
    let reason = format!("{why}; no new instance appeared");
    if then == Then::DropToken {
        store.refuse_token(lease, attempt.id, &reason, &actor(), clock.now()).await?;
        return Ok(Step::Changed);
    }
    let asks = then == Then::Ask;
    let code = match &attempt.answer {
        Some(answer) if asks => answer.code.clone(),
        _ => "no-effect-seen".into(),
    };
    let event = Event::CommitRefused {
        attempt: attempt.id,
        code,
        reason: reason.clone(),
        may_have_acted: true,
        asks,
    };
    store.record(request.id, Some(lease), &actor(), &event, clock.now()).await?;
    Ok(if asks { Step::wait(reason, Pace::After(ASK_AGAIN)) } else { Step::Changed })
}

/// Compares the app's instances with what the first attempt saw that may have acted.
pub(super) async fn found(
    store: &Store,
    request: &Request,
    instances: &[Instance],
) -> Result<Option<Verdict>, CommitError> {
    let Some(baseline) = store.baseline(request.id).await? else { return Ok(None) };
    let ids: Vec<ReplicaId> = instances.iter().map(|instance| instance.id.clone()).collect();
    let claimed = store.claimed_replicas(&ids).await?;
    let mut candidates = candidates(request, &baseline, instances, &claimed);
    Ok(match (candidates.len(), candidates.pop()) {
        (1, Some(only)) => Some(Verdict::One(only)),
        (_, None) => None,
        (_, Some(any)) if planted(Bug::FirstOfSeveral) => Some(Verdict::One(any)),
        (several, _) => Some(Verdict::Several(several)),
    })
}

pub(super) async fn record_verdict(
    store: &Store,
    clock: &dyn Clock,
    request: &Request,
    lease: &Lease,
    attempt: &Attempt,
    verdict: Verdict,
) -> Result<Step, CommitError> {
    let event = match verdict {
        Verdict::One(replica) => {
            Event::Committed { attempt: attempt.id, replica, how: "the list of instances".into() }
        }
        Verdict::Several(count) => Event::AttentionNeeded {
            reason: format!(
                "it is not clear how the commit ended, and {count} new instances fit it: a person \
                 must say which one is this request's (`countersign settle`); nothing is committed \
                 again"
            ),
        },
    };
    store.record(request.id, Some(lease), &actor(), &event, clock.now()).await?;
    Ok(Step::Changed)
}
