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
        kind::Kind,
        step::{Pace, Step},
    },
    store::{
        Store,
        attempts::{Answer, Attempt, NOT_SENT, Then, UsedBefore},
        lease::Lease,
    },
};

use super::{
    CommitError,
    begin::actor,
    outcome::{candidates, looking},
    update::{self, Effect},
};

pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// So many times longer is looked before a token is given up with which a commit was sent that was
/// not answered.
const LONGER: u32 = 5;

/// What Phala Cloud shows of a request's attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    One { replica: ReplicaId, operation: Option<String>, how: &'static str },
    Several(Vec<ReplicaId>),
}

/// Looks for the replica that an attempt may have made. After so many looks in vain as `patience`
/// has room for, what the answer left to do is done; should the replica appear later, the next
/// attempt finds it first.
pub async fn settle(
    store: &Store,
    cloud: &PhalaCloud,
    clock: &dyn Clock,
    patience: Duration,
    request: &Request,
    lease: &Lease,
) -> Result<Step, CommitError> {
    let Some(attempt) = store.open_attempt(request.id).await? else {
        return Ok(Step::wait("the attempt is being settled", Pace::Backoff));
    };
    if attempt.parked && !store.take_up(lease, attempt.id, clock.now()).await? {
        let reason = "another commit of the same app is under way";
        return Ok(Step::wait(reason, Pace::After(LOOK_AGAIN)));
    }
    if let Some(answer) = attempt.answer.as_ref().filter(|answer| answer.is_of_nothing_sent()) {
        let event = Event::CommitRefused {
            attempt: attempt.id,
            code: NOT_SENT.into(),
            reason: answer.reason.clone(),
            may_have_acted: false,
            asks: false,
        };
        store.record(request.id, Some(lease), &actor(), &event, clock.now()).await?;
        return Ok(Step::Changed);
    }
    if let Some(verdict) = found(store, cloud, request, None).await? {
        return record_verdict(store, clock, request, lease, &attempt, verdict).await;
    }
    let looks = store.looked_in_vain(lease, attempt.id, clock.now()).await?;
    let used = match &attempt.answer {
        Some(Answer { then: Then::DropToken, .. }) => {
            store.used_before(attempt.id, clock.now()).await?
        }
        _ => UsedBefore::No,
    };
    // A fresh token would make a second replica beside one that is listed late.
    let patience = match used {
        UsedBefore::Perhaps => patience.saturating_mul(LONGER),
        UsedBefore::No | UsedBefore::Likely => patience,
    };
    let used = match request.kind {
        // Made twice, an update is the same: nobody has to be asked before it is made again.
        Kind::Update => UsedBefore::No,
        Kind::Replica => used,
    };
    // Counted, and not timed from the start of the attempt: the call may have taken long, and the
    // instance that made it may have had another clock.
    let is_patient = LOOK_AGAIN.saturating_mul(looks.saturating_sub(1)) < patience;
    if is_patient && !planted(Bug::OneLook) {
        let reason = looking(attempt.answer.as_ref());
        return Ok(Step::wait(reason, Pace::After(LOOK_AGAIN.min(patience))));
    }
    conclude_without(store, clock, request, lease, &attempt, used).await
}

/// No replica appeared.
async fn conclude_without(
    store: &Store,
    clock: &dyn Clock,
    request: &Request,
    lease: &Lease,
    attempt: &Attempt,
    used: UsedBefore,
) -> Result<Step, CommitError> {
    let (id, now) = (attempt.id, clock.now());
    let (then, code, why) = match &attempt.answer {
        Some(Answer { then, code, reason, .. }) => (*then, code.as_str(), reason.as_str()),
        None => (Then::TryAgain, "no-answer", "the commit was not answered"),
    };
    let reason = match request.kind {
        Kind::Replica => format!("{why}; no new instance appeared"),
        Kind::Update => format!("{why}; nothing of an update is to be seen at the CVM"),
    };
    let refused = |code: &str, asks| Event::CommitRefused {
        attempt: id,
        code: code.to_owned(),
        reason: reason.clone(),
        may_have_acted: true,
        asks,
    };
    let (event, step) = match then {
        Then::DropToken if used == UsedBefore::Likely => {
            let reason = format!(
                "{why}. An earlier commit with this token was not answered, and may be what used it, \
                 though no new instance is listed: a person must say which instance is this \
                 request's, or that there is none (`countersign settle`); nothing is committed again"
            );
            (Event::AttentionNeeded { reason, about: vec![] }, Step::Changed)
        }
        Then::DropToken => {
            store.refuse_token(lease, id, &reason, &actor(), now).await?;
            return Ok(Step::Changed);
        }
        Then::TryAgain => (refused("no-effect-seen", false), Step::Changed),
        Then::Ask => (refused(code, true), Step::wait(reason.clone(), Pace::After(ASK_AGAIN))),
        Then::Fail => {
            let code = Some(code.to_owned());
            (Event::Failed { code, reason: why.to_owned() }, Step::Changed)
        }
    };
    store.record(request.id, Some(lease), &actor(), &event, now).await?;
    Ok(step)
}

/// Compares what there is with what the first attempt saw that may have acted. `listed` are the app's
/// instances, when they were read just now.
pub(super) async fn found(
    store: &Store,
    cloud: &PhalaCloud,
    request: &Request,
    listed: Option<&[Instance]>,
) -> Result<Option<Verdict>, CommitError> {
    let Some(baseline) = store.baseline(request.id).await? else { return Ok(None) };
    if let Some(replica) = request.target().updated() {
        let effect = update::effect(cloud, request, &baseline).await?;
        return Ok(effect.map(|Effect { operation, how }| Verdict::One {
            replica,
            operation,
            how,
        }));
    }
    let instances = match listed {
        Some(listed) => listed,
        None => &cloud.instances(request.app).await?,
    };
    let ids: Vec<ReplicaId> = instances.iter().map(|instance| instance.id.clone()).collect();
    let claimed = store.claimed_replicas(&ids).await?;
    let mut candidates = candidates(request, &baseline, instances, &claimed);
    let one =
        |replica| Some(Verdict::One { replica, operation: None, how: "the list of instances" });
    Ok(match candidates.len() {
        0 => None,
        2.. if !planted(Bug::FirstOfSeveral) => Some(Verdict::Several(candidates)),
        _ => candidates.pop().and_then(one),
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
        Verdict::One { replica, operation, how } => {
            Event::Committed { attempt: attempt.id, replica, how: how.into(), operation }
        }
        Verdict::Several(about) => Event::AttentionNeeded {
            reason: format!(
                "it is not clear how the commit ended, and {} new instances fit it: a person must \
                 say which one is this request's (`countersign settle`); nothing is committed again",
                about.len()
            ),
            about,
        },
    };
    store.record(request.id, Some(lease), &actor(), &event, clock.now()).await?;
    Ok(Step::Changed)
}
