//! What an answer to a commit means, and which instance a lost answer may have made. Pure.

use std::time::Duration;

use chrono::TimeDelta;

use crate::{
    phala::{Class, Instance, PhalaError},
    request::{Request, ids::ReplicaId, step::Pace},
    store::attempts::Baseline,
};

/// A server's clock may be off by this much when it dates an instance.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);
/// Shorter pauses than this are not taken from a server; ours grow.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// How long to wait for room on a node.
const RETRY_LATER: Duration = Duration::from_mins(2);

/// How a commit call ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This instance was made.
    Done(ReplicaId),
    /// It certainly had no effect; try again at this pace.
    NoEffect { code: String, reason: String, pace: Pace },
    /// The token is dead, or an earlier try of ours used it: look.
    TokenDead { reason: String },
    /// It cannot succeed, or only after a person changed something.
    Final { code: String, reason: String },
    /// Nobody knows yet: look.
    Ambiguous { reason: String },
}

/// Reads the answer to a commit.
pub fn outcome(answer: Result<Instance, PhalaError>) -> Outcome {
    let error = match answer {
        Ok(instance) => return Outcome::Done(instance.id),
        Err(error) => error,
    };
    if error.may_have_acted() {
        return Outcome::Ambiguous { reason: error.to_string() };
    }
    let PhalaError::Api(answer) = &error else {
        return Outcome::NoEffect {
            code: "not-sent".into(),
            reason: error.to_string(),
            pace: Pace::Backoff,
        };
    };
    let meaning = answer.meaning();
    let code = answer.code.clone().unwrap_or_else(|| format!("http-{}", answer.status));
    let reason = format!("{answer}. {} {}", meaning.text, meaning.advice);
    // A server that says "now" again and again is not asked in a circle.
    let asked = answer.retry_after.filter(|pause| *pause >= RETRY_AFTER_MIN);
    let pace = asked.map_or(Pace::Backoff, Pace::After);
    match meaning.class {
        // A key can be replaced, and the commit was not let in.
        _ if matches!(answer.status, 401 | 403) => Outcome::NoEffect { code, reason, pace },
        Class::RetrySoon | Class::WaitForChain | Class::Verification => {
            Outcome::NoEffect { code, reason, pace }
        }
        Class::RetryLater => {
            let pace = asked.map_or(Pace::After(RETRY_LATER), Pace::After);
            Outcome::NoEffect { code, reason, pace }
        }
        Class::TokenDead => Outcome::TokenDead { reason },
        // Only Phala Cloud itself, by one of its codes, can say that nothing was done: a status
        // alone may come from something in between, after the work was handed over.
        Class::AskHuman | Class::GiveUp if answer.code.is_none() => Outcome::Ambiguous { reason },
        Class::AskHuman | Class::GiveUp => Outcome::Final { code, reason },
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
        .filter(|instance| instance.compose_hash.is_none_or(|hash| hash == request.compose))
        .filter(|instance| instance.device_id.is_none_or(|device| device == request.device))
        .filter(|instance| match (&request.node, &instance.node_id) {
            (Some(asked), Some(shown)) => asked == shown,
            _ => true,
        })
        .filter(|instance| {
            instance.created_at.is_none_or(|at| at + CLOCK_SKEW >= baseline.started_at)
        })
        .map(|instance| instance.id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};
    use uuid::Uuid;

    use super::*;
    use crate::{
        clock::Time,
        phala::ApiError,
        request::{
            facts::Facts,
            ids::{AppId, ChainId, ComposeHash, DeviceId, RequestId},
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
            reason: None,
            next_try_at: at(),
            attempts: 0,
        }
    }

    fn refused(status: u16, code: Option<&str>) -> Result<Instance, PhalaError> {
        Err(PhalaError::Api(ApiError {
            call: "commit replica",
            status,
            code: code.map(Into::into),
            message: "m".into(),
            retry_after: None,
            request_id: None,
        }))
    }

    #[test]
    fn only_a_clear_refusal_counts_as_no_effect() {
        use Outcome::{Ambiguous, Done, Final, NoEffect, TokenDead};
        assert!(matches!(outcome(Ok(instance("r"))), Done(_)));
        for (status, code) in [(503, None), (429, None), (409, None), (465, Some("ERR-01-005"))] {
            assert!(matches!(outcome(refused(status, code)), NoEffect { .. }), "{status}");
        }
        for (status, code) in [(467, Some("ERR-01-007")), (400, Some("ERR-02-005"))] {
            assert!(matches!(outcome(refused(status, code)), NoEffect { .. }), "{status}");
        }
        for (status, code) in [(400, Some("ERR-04-001")), (404, Some("ERR-03-001"))] {
            assert!(matches!(outcome(refused(status, code)), Final { .. }), "{status}");
        }
        for status in [401, 403] {
            assert!(matches!(outcome(refused(status, None)), NoEffect { .. }), "{status}");
        }
        for status in [301, 400, 404, 413, 418, 499, 500, 502, 504, 530] {
            assert!(matches!(outcome(refused(status, None)), Ambiguous { .. }), "{status}");
        }
        assert!(matches!(outcome(refused(466, Some("ERR-01-006"))), TokenDead { .. }));
        let unreadable = PhalaError::Malformed { call: "commit replica", reason: "r".into() };
        assert!(matches!(outcome(Err(unreadable)), Ambiguous { .. }));
    }

    #[test]
    fn a_candidate_is_new_unclaimed_and_fits() {
        let baseline = Baseline { started_at: at(), instances: vec!["old".parse().unwrap()] };
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
        let claimed = ["new".parse().unwrap()];
        assert_eq!(candidates(&request(), &baseline, &[instance("new")], &claimed).len(), 0);
    }
}
