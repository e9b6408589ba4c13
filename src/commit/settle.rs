//! Finds out how a commit ended whose answer was lost: by the crash of this service, a dropped
//! connection, or a server that broke off.

use std::time::Duration;

use crate::{
    clock::Clock,
    phala::{Instance, PhalaCloud},
    request::{
        Request,
        event::Event,
        ids::ReplicaId,
        step::{Pace, Step},
    },
    store::{Store, attempts::Attempt, lease::Lease},
};

use super::{CommitError, begin::actor, outcome::candidates};

const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What the list of instances says about a request's attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    None,
    One(ReplicaId),
    Several(usize),
}

/// Looks for the replica that an attempt may have made. After `settle` without one, the attempt
/// counts as without effect; should its replica appear later, the next attempt finds it first.
pub async fn settle(
    store: &Store,
    cloud: &PhalaCloud,
    clock: &dyn Clock,
    settle: Duration,
    request: &Request,
    lease: &Lease,
) -> Result<Step, CommitError> {
    let Some(attempt) = store.open_attempt(request.id).await? else {
        return Ok(Step::wait("the attempt is being settled", Pace::Backoff));
    };
    if request.facts.attention.is_some() {
        let reason = "a person must say which replica is this request's";
        return Ok(Step::wait(reason, Pace::Woken));
    }
    let instances = cloud.instances(request.app).await?;
    let verdict = found(store, request, &instances).await?;
    let waited = (clock.now() - attempt.started_at).to_std().unwrap_or_default();
    if verdict == Verdict::None && waited < settle {
        let reason = "the commit was not answered; looking whether its replica appears";
        return Ok(Step::wait(reason, Pace::After(LOOK_AGAIN.min(settle))));
    }
    record_verdict(store, clock, request, lease, &attempt, verdict).await
}

/// Compares the app's instances with what the first attempt saw that may have acted.
pub(super) async fn found(
    store: &Store,
    request: &Request,
    instances: &[Instance],
) -> Result<Verdict, CommitError> {
    let Some(baseline) = store.baseline(request.id).await? else { return Ok(Verdict::None) };
    let ids: Vec<ReplicaId> = instances.iter().map(|instance| instance.id.clone()).collect();
    let claimed = store.claimed_replicas(&ids).await?;
    let mut candidates = candidates(request, &baseline, instances, &claimed);
    Ok(match (candidates.len(), candidates.pop()) {
        (1, Some(only)) => Verdict::One(only),
        (_, None) => Verdict::None,
        (several, _) => Verdict::Several(several),
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
        Verdict::None => Event::CommitRefused {
            attempt: attempt.id,
            code: "no-effect-seen".into(),
            reason: "the commit was not answered and no new instance appeared".into(),
        },
        Verdict::Several(count) => Event::AttentionNeeded {
            reason: format!(
                "the commit was not answered and {count} new instances fit it: a person must say \
                 which one is this request's; nothing is committed again"
            ),
        },
    };
    store.record(request.id, Some(lease), &actor(), &event, clock.now()).await?;
    Ok(Step::Changed)
}
