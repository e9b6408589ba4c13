//! What an answer to a commit means, and which instance a lost answer may have made. Pure.

use chrono::TimeDelta;

use crate::{
    phala::{Class, Instance, Made, PhalaError, catalogue::is_known},
    planted::{Bug, planted},
    request::{Request, ids::ReplicaId, kind::Target, step::Pace},
    store::{
        attempts::{Answer, Baseline, Then},
        commit_tokens::CommitTokens,
    },
};

/// The parts of a cloud may differ by this much about the time.
pub(super) const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// How a commit call ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This instance was made, or is being updated, by an operation of this name.
    Done { replica: ReplicaId, operation: Option<String> },
    /// It was refused.
    Refused(Refusal),
    /// Nobody knows yet: look. What is to be done when nothing is found is told by the answer.
    Unclear(Answer),
}

/// A commit that was refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: String,
    pub reason: String,
    /// When to try again.
    pub pace: Pace,
    /// Whether a person must change something for it to succeed.
    pub asks: bool,
    /// It was not Phala Cloud itself that said so, as far as can be told: something in between may
    /// have handed the commit over before. Not worth waiting for, but worth looking for later.
    pub may_have_acted: bool,
}

/// Reads the answer to a commit of `target`. `before` are the app's instances as they were before it.
pub fn outcome(answer: Result<Made, PhalaError>, target: &Target, before: &[Instance]) -> Outcome {
    let error = match (answer, target.updated()) {
        (Ok(Made::Accepted { operation }), Some(replica)) => {
            return Outcome::Done { replica, operation };
        }
        (Ok(Made::Instance(made)), None)
            if before.iter().any(|instance| instance.id == made.id) =>
        {
            let reason = format!(
                "the commit was answered with instance {}, which was there before it",
                made.id
            );
            return unclear("answer-differs", reason, None, Then::Ask);
        }
        (Ok(Made::Instance(made)), None) => {
            return Outcome::Done { replica: made.id, operation: None };
        }
        (Ok(_), _) => {
            let reason = "the commit was answered as one of another kind".to_owned();
            return unclear("answer-differs", reason, None, Then::Ask);
        }
        (Err(error), _) => error,
    };
    let PhalaError::Api(answer) = &error else {
        let reason = error.to_string();
        return if error.may_have_acted() && !planted(Bug::IgnoreAmbiguity) {
            unclear("no-answer", reason, None, Then::TryAgain)
        } else {
            Outcome::Refused(refusal("not-sent", reason))
        };
    };
    let code = answer.code.clone().unwrap_or_else(|| format!("http-{}", answer.status));
    let (reason, body) = (answer.explained(), Some(answer.body.clone()));
    let known = answer.code.as_deref().is_some_and(is_known);
    let refused =
        |code: &str, reason: String| Refusal { pace: answer.pace(), ..refusal(code, reason) };
    match answer.meaning().class {
        _ if answer.may_have_acted() => unclear(&code, reason, body, Then::TryAgain),
        Class::Prepare => unclear(&code, reason, body, Then::DropToken),
        Class::RetryNow => {
            Outcome::Refused(Refusal { may_have_acted: !known, ..refused(&code, reason) })
        }
        Class::RetryLater(_) if planted(Bug::GiveUpTooSoon) => {
            unclear(&code, reason, body, Then::Fail)
        }
        Class::RetryLater(_) => Outcome::Refused(refused(&code, reason)),
        // Known to be said before anything is done: by a code, or because it was not let in.
        Class::Ask if known || matches!(answer.status, 401 | 403 | 468) => {
            Outcome::Refused(Refusal { asks: true, ..refused(&code, reason) })
        }
        // Only Phala Cloud itself, by one of its codes, can say that nothing was done: anything
        // else may come from something in between, after the work was handed over.
        Class::Ask => unclear(&code, reason, body, Then::Ask),
        // An earlier try may have succeeded: then it has not failed.
        Class::GiveUp => unclear(&code, reason, body, Then::Fail),
    }
}

fn refusal(code: &str, reason: String) -> Refusal {
    let (code, pace) = (code.to_owned(), Pace::Backoff);
    Refusal { code, reason, pace, asks: false, may_have_acted: false }
}

fn unclear(code: &str, reason: String, body: Option<String>, then: Then) -> Outcome {
    Outcome::Unclear(Answer { code: code.to_owned(), reason, body, then })
}

/// What is done about a commit whose end is not known. A dead token is no failure: another one is to be had,
/// and with several replicas of one source each prepare may void the token before it.
pub(super) fn looking(answer: Option<&Answer>) -> String {
    match answer {
        Some(Answer { then: Then::DropToken, .. }) => {
            "its commit token is void, mostly by a newer prepare of the same source: Countersign looks \
             whether it was used, before it gets a fresh one"
                .into()
        }
        Some(answer) => format!("{}; looking what came of it", answer.reason),
        None => "the commit was not answered; looking what came of it".into(),
    }
}

/// The instances that may be the replica of this request: new since its baseline, of nobody
/// else, and not contradicting what was asked for. What the cloud does not show cannot rule an
/// instance out.
pub fn candidates(
    request: &Request,
    baseline: &Baseline,
    now: &[Instance],
    claimed: &[ReplicaId],
) -> Vec<ReplicaId> {
    now.iter()
        .filter(|instance| !baseline.instances.contains(&instance.id))
        .filter(|instance| !claimed.contains(&instance.id))
        .filter(|instance| instance.may_be_of(request))
        // Their clock on both sides: ours may be off by any amount.
        .filter(|instance| match (instance.created_at, baseline.listed_at) {
            (Some(created), Some(listed)) => created + CLOCK_SKEW >= listed,
            _ => true,
        })
        .map(|instance| instance.id.clone())
        .collect()
}

/// The instances that somebody may have made with a token of this request: of nobody else, not
/// contradicting what was asked for, and not older than the first token. `ahead` is how much further
/// Phala Cloud's clock is than ours.
pub fn made_by_others(
    request: &Request,
    tokens: &CommitTokens,
    now: &[Instance],
    claimed: &[ReplicaId],
    ahead: Option<TimeDelta>,
) -> Vec<ReplicaId> {
    now.iter()
        .filter(|instance| !claimed.contains(&instance.id) && instance.may_be_of(request))
        .filter(|instance| tokens.may_have_made(&instance.id, instance.created_at, ahead))
        .map(|instance| instance.id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use alloy::primitives::{Address, B256};
    use uuid::Uuid;

    use super::*;
    use crate::{
        clock::Time,
        phala::ApiError,
        request::{
            facts::Facts,
            ids::{AppId, ChainId, ComposeHash, DeviceId, RequestId, SourceCvm},
            kind::Kind,
        },
    };

    fn at() -> Time {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn instance(id: &str) -> Instance {
        Instance {
            id: id.parse().unwrap(),
            name: String::new(),
            status: "running".into(),
            node_id: Some("5".parse().unwrap()),
            node_name: None,
            compose_hash: Some(ComposeHash(B256::repeat_byte(0xaa))),
            device_id: None,
            created_at: Some(at()),
            boot_error: None,
        }
    }

    fn request() -> Request {
        Request {
            id: RequestId(Uuid::nil()),
            kind: Kind::Replica,
            chain: ChainId::BASE,
            app: AppId(Address::repeat_byte(1)),
            source: "source".parse().unwrap(),
            node: Some("5".parse().unwrap()),
            compose: ComposeHash(B256::repeat_byte(0xaa)),
            device: DeviceId(B256::repeat_byte(0xbb)),
            note: None,
            created_at: at(),
            created_by: "test".into(),
            facts: Facts::default(),
            preparation: None,
            expires_at: at(),
            prepared_at: at(),
            is_repeatable: true,
            reason: None,
            next_try_at: at(),
            held_until: None,
            attempts: 0,
        }
    }

    fn refused(status: u16, code: Option<&str>) -> Result<Made, PhalaError> {
        Err(PhalaError::Api(Box::new(ApiError {
            call: "commit replica",
            status,
            code: code.map(Into::into),
            message: "m".into(),
            retry_after: None,
            request_id: None,
            body: "{}".into(),
        })))
    }

    fn outcome(answer: Result<Made, PhalaError>, before: &[Instance]) -> Outcome {
        super::outcome(answer, &request().target(), before)
    }

    fn made(id: &str) -> Made {
        Made::Instance(instance(id))
    }

    #[test]
    fn a_dead_token_is_told_as_a_step_and_what_failed_as_it_was_said() {
        let told = |status, code| match outcome(refused(status, code), &[]) {
            Outcome::Unclear(answer) => looking(Some(&answer)),
            other => panic!("{other:?}"),
        };
        let dead = told(466, Some("ERR-01-006"));
        assert!(dead.contains("gets a fresh one") && !dead.contains("466"), "{dead}");
        let broken = told(500, None);
        assert!(broken.contains("500") && broken.ends_with("looking what came of it"), "{broken}");
        assert!(looking(None).starts_with("the commit was not answered"));
    }

    #[test]
    fn an_update_is_done_when_it_is_accepted_and_a_replica_when_it_is_made() {
        let source: SourceCvm = "0b7c4a526d7e4f0a9c1d2f3a4b5c6d7e".parse().unwrap();
        let update = Target::Update(source.clone());
        let accepted = || Made::Accepted { operation: Some("c-1".into()) };
        let done = super::outcome(Ok(accepted()), &update, &[]);
        let replica = source.as_instance();
        assert_eq!(done, Outcome::Done { replica, operation: Some("c-1".into()) });
        for (made, target) in [(accepted(), request().target()), (made("r"), update)] {
            assert_eq!(then(&super::outcome(Ok(made), &target, &[])), Some(Then::Ask));
        }
    }

    fn then(outcome: &Outcome) -> Option<Then> {
        match outcome {
            Outcome::Unclear(answer) => Some(answer.then),
            _ => None,
        }
    }

    #[test]
    fn what_is_refused_is_tried_again_or_asked_about() {
        assert!(matches!(outcome(Ok(made("r")), &[]), Outcome::Done { .. }));
        assert!(matches!(outcome(Ok(made("r")), &[instance("q")]), Outcome::Done { .. }));
        let old = outcome(Ok(made("r")), &[instance("q"), instance("r")]);
        assert_eq!(
            then(&old),
            Some(Then::Ask),
            "what was there before was not made by this commit"
        );
        for (status, code, asks) in [
            (503, None, false),
            (429, None, false),
            (409, None, false),
            (425, None, false),
            (465, Some("ERR-01-005"), false),
            (467, Some("ERR-01-007"), false),
            (400, Some("ERR-02-005"), false),
            (402, Some("ERR-04-001"), true),
            (400, Some("ERR-02-015"), true),
            (468, Some("ERR-01-008"), true),
            (468, None, true),
            (401, None, true),
            (403, None, true),
        ] {
            let outcome = outcome(refused(status, code), &[]);
            let Outcome::Refused(refusal) = &outcome else { panic!("{status}: {outcome:?}") };
            assert_eq!(refusal.asks, asks, "{status} {code:?}");
            let by_something_between = matches!(status, 503 | 429 | 409 | 425);
            assert_eq!(refusal.may_have_acted, by_something_between, "{status} {code:?}");
        }
        for (status, code) in [(400, Some("ERR-01-001")), (404, Some("ERR-03-001"))] {
            assert_eq!(then(&outcome(refused(status, code), &[])), Some(Then::Fail), "{status}");
        }
    }

    #[test]
    fn what_is_not_clear_is_looked_into_first() {
        for status in [408, 500, 502, 504, 520] {
            assert_eq!(
                then(&outcome(refused(status, None), &[])),
                Some(Then::TryAgain),
                "{status}"
            );
        }
        for (status, code) in [(466, Some("ERR-01-006")), (466, None), (400, Some("ERR-01-006"))] {
            assert_eq!(
                then(&outcome(refused(status, code), &[])),
                Some(Then::DropToken),
                "{status}"
            );
        }
        for status in [301, 400, 404, 413, 418, 499, 530] {
            assert_eq!(then(&outcome(refused(status, None), &[])), Some(Then::Ask), "{status}");
        }
        for status in [400, 404, 409] {
            let unknown = outcome(refused(status, Some("ERR-99-999")), &[]);
            assert_eq!(then(&unknown), Some(Then::Ask), "{status}");
        }
        let unreadable = PhalaError::Malformed { call: "commit replica", reason: "r".into() };
        assert_eq!(then(&outcome(Err(unreadable), &[])), Some(Then::TryAgain));
        let lost = PhalaError::NoAnswer { call: "commit replica", source: "gone".into() };
        assert_eq!(then(&outcome(Err(lost), &[])), Some(Then::TryAgain));
    }

    #[test]
    fn no_answer_can_say_that_the_commit_was_never_sent() {
        let Outcome::Unclear(answer) = outcome(refused(400, Some("not-sent")), &[]) else {
            panic!()
        };
        assert!(!answer.is_of_nothing_sent());
        assert!(Answer::never_sent("r".into()).is_of_nothing_sent());
    }

    #[test]
    fn an_answer_that_nobody_knows_is_kept_whole() {
        let Outcome::Unclear(answer) = outcome(refused(400, Some("ERR-99-999")), &[]) else {
            panic!()
        };
        assert_eq!((answer.code.as_str(), answer.body.as_deref()), ("ERR-99-999", Some("{}")));
        assert!(answer.reason.contains("not in its catalogue"), "{}", answer.reason);
    }

    #[test]
    fn what_never_left_had_no_effect() {
        let unsent = PhalaError::NotSent { call: "commit replica", source: "refused".into() };
        let Outcome::Refused(refusal) = outcome(Err(unsent), &[]) else { panic!() };
        assert!(!refusal.asks && !refusal.may_have_acted);
    }

    #[test]
    fn the_server_says_when_to_come_back_but_not_at_once() {
        let pace = |status, seconds| {
            let mut answer = refused(status, None);
            let Err(PhalaError::Api(error)) = &mut answer else { panic!() };
            error.retry_after = Some(Duration::from_secs(seconds));
            let Outcome::Refused(refusal) = outcome(answer, &[]) else { panic!() };
            refusal.pace
        };
        assert_eq!(pace(503, 7), Pace::After(Duration::from_secs(7)));
        assert_eq!(pace(503, 0), Pace::Backoff);
        assert_eq!(pace(465, 30), Pace::After(Duration::from_secs(30)));
        assert_eq!(pace(465, 0), Pace::After(Duration::from_secs(5)));
    }

    #[test]
    fn a_candidate_is_new_unclaimed_and_fits() {
        let mut baseline = Baseline {
            listed_at: Some(at()),
            instances: vec!["old".parse().unwrap()],
            compose: None,
        };
        let strange = |change: fn(&mut Instance)| {
            let mut instance = instance("new");
            change(&mut instance);
            vec![instance]
        };
        let found = |now: &[Instance]| candidates(&request(), &baseline, now, &[]).len();
        assert_eq!(found(&[instance("old")]), 0, "it was there before");
        assert_eq!(found(&[instance("old"), instance("new")]), 1);
        assert_eq!(found(&strange(|one| one.compose_hash = None)), 1, "unknown is not another");
        assert_eq!(found(&strange(|one| one.node_id = Some("6".parse().unwrap()))), 0);
        assert_eq!(found(&strange(|one| one.compose_hash = Some(ComposeHash(B256::ZERO)))), 0);
        assert_eq!(found(&strange(|one| one.device_id = Some(DeviceId(B256::ZERO)))), 0);
        assert_eq!(found(&strange(|one| one.created_at = Some(at() - TimeDelta::hours(1)))), 0);
        let early = strange(|one| one.created_at = Some(at() - TimeDelta::hours(1)));
        baseline.listed_at = None;
        let found = candidates(&request(), &baseline, &early, &[]).len();
        assert_eq!(found, 1, "nobody told when the list was made");
        let claimed = ["new".parse().unwrap()];
        assert_eq!(candidates(&request(), &baseline, &[instance("new")], &claimed).len(), 0);
    }
}
