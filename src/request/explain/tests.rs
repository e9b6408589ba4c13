use alloy::primitives::Address;
use chrono::TimeDelta;

use super::*;
use crate::request::ids::{SafeTxHash, TxHash};
use crate::request::samples::{facts, now, request};

const FRESH: Option<TimeDelta> = Some(TimeDelta::days(10));

fn around(can_prepare: bool) -> Around {
    Around::only(Means { can_prepare })
}

/// A request in this status, changed, and what is said about it with an API key.
fn told(status: Status, change: impl FnOnce(&mut Request)) -> Explanation {
    told_around(status, around(true), change)
}

fn told_around(status: Status, around: Around, change: impl FnOnce(&mut Request)) -> Explanation {
    let mut request = request(status, FRESH);
    change(&mut request);
    explain(&request, &around, now())
}

fn waits(reason: &str, pause: TimeDelta, attempts: u32) -> impl FnOnce(&mut Request) {
    move |request| {
        request.reason = Some(reason.to_owned());
        request.next_try_at = now() + pause;
        request.attempts = attempts;
    }
}

fn words(explanation: &Explanation) -> String {
    explanation.when.words(now())
}

#[test]
fn every_status_is_explained() {
    for (status, next, when) in [
        (Status::Prepared, "puts it to the owner", "in 5 min"),
        (Status::Proposed, "the owners sign", "when woken by a signature"),
        (Status::Approved, "anyone executes", "when woken by the block"),
        (Status::Executed, "buries the execution", "when woken by blocks"),
        (Status::Registered, "commits the replica", "in 5 min"),
        (Status::Committing, "looks whether the app has a new instance", "in 5 min"),
        (Status::Committed, "looks at the replica until it runs", "in 5 min"),
        (Status::Running, "it is done", "never"),
        (Status::Rejected, "it has ended", "never"),
        (Status::Withdrawn, "it has ended", "never"),
        (Status::Expired, "prepare the replica again", "never"),
        (Status::Failed, "it has ended", "never"),
    ] {
        let calm = |request: &mut Request| request.next_try_at = now() + TimeDelta::minutes(5);
        let told = told(status, calm);
        assert!(!told.why.is_empty() && told.next.contains(next), "{status}: {told:?}");
        assert!(words(&told).starts_with(when), "{status}: {}", words(&told));
        assert_eq!(told.when == When::Never, status.is_end(), "{status}");
    }
}

#[test]
fn an_owner_that_is_no_safe_is_not_said_to_sign() {
    let around = Around { acts_itself: true, ..around(true) };
    let calm = |request: &mut Request| request.next_try_at = now() + TimeDelta::minutes(5);
    let told = told_around(Status::Proposed, around, calm);
    assert!(told.next.starts_with("the owner makes the calls"), "{told:?}");
    let all = format!("{told:?}{}", words(&told));
    assert!(!all.contains("signature") && !all.contains("sign here"), "{all}");
}

#[test]
fn what_waits_for_its_document_says_so() {
    let around = Around { needs_document: true, ..around(true) };
    let told = told_around(Status::Prepared, around, waits("unproved", TimeDelta::minutes(5), 0));
    assert!(told.next.starts_with("once the document of the compose hash is found"), "{told:?}");
    assert!(words(&told).contains("countersign compose attach"), "{}", words(&told));
    // It is past that.
    let later = told_around(Status::Registered, around, |_| {});
    assert!(!later.next.contains("document"), "{later:?}");
}

#[test]
fn an_update_makes_no_replica_and_is_not_told_to() {
    for (status, part) in [
        (Status::Registered, "commits the update"),
        (Status::Committing, "looks whether the CVM is being updated"),
        (Status::Committed, "looks at the CVM until it runs"),
        (Status::Expired, "prepare the update again"),
    ] {
        let told = told(status, |request| request.kind = Kind::Update);
        let all = format!("{} {}", told.why, told.next);
        assert!(all.contains(part) && !all.contains("replica"), "{status}: {all}");
    }
}

#[test]
fn what_is_due_is_tried_now() {
    for status in Status::ALL.into_iter().filter(|status| !status.is_end()) {
        let told = told(status, |request| request.next_try_at = now() - TimeDelta::seconds(1));
        assert_eq!(words(&told), "now", "{status}");
    }
}

#[test]
fn what_a_worker_holds_is_tried_now_until_its_lease_ends() {
    let told_of = |lease: TimeDelta| {
        told(Status::Committing, |request| {
            request.next_try_at = now() + TimeDelta::minutes(3);
            request.held_until = Some(now() + lease);
        })
    };
    assert_eq!(words(&told_of(TimeDelta::minutes(3))), "now");
    assert_eq!(words(&told_of(TimeDelta::zero())), "in 3 min");
}

#[test]
fn what_fails_is_told_with_how_often_and_when_next() {
    for status in [Status::Proposed, Status::Executed, Status::Registered, Status::Committing] {
        let told = told(status, waits("no endpoint answers", TimeDelta::minutes(4), 7));
        assert_eq!(told.why, "no endpoint answers (tried 7 times in a row)", "{status}");
        assert_eq!(words(&told), "in 4 min", "{status}");
    }
    let calm = told(Status::Proposed, waits("1 of 2 signatures", TimeDelta::hours(6), 0));
    assert_eq!(calm.why, "1 of 2 signatures");
    assert!(words(&calm).ends_with("; looked at in 6 h 0 min all the same"), "{}", words(&calm));
}

#[test]
fn why_it_ended_comes_with_its_code() {
    let end = |reason: &str| {
        let told = told(Status::Failed, |request| {
            let end = request.facts.end.as_mut().unwrap();
            (end.code, end.reason) = (Some("boot-differs".into()), reason.to_owned());
        });
        told.why
    };
    assert_eq!(end("another device"), "another device (boot-differs)");
    assert_eq!(end("boot-differs: another device"), "boot-differs: another device");
}

#[test]
fn what_failed_after_its_commit_is_for_a_person_to_mend() {
    let told = told(Status::Failed, |request| {
        request.kind = Kind::Update;
        request.facts.replica = facts(Status::Committed).replica;
        request.facts.end.as_mut().unwrap().code = Some("update-failed".into());
    });
    assert!(told.next.contains("prepares the update again"), "{}", told.next);
}

#[test]
fn an_unclear_commit_waits_for_a_person_and_for_nothing_else() {
    let told = told(Status::Committing, |request| {
        request.facts.attention = Some("2 new instances fit".into());
        request.reason = Some("a person must say which".into());
        request.next_try_at = now() + TimeDelta::hours(6);
    });
    assert_eq!(told.why, "2 new instances fit");
    assert!(told.next.starts_with("nothing is committed again"), "{}", told.next);
    let id = RequestId(uuid::Uuid::nil());
    assert_eq!(
        words(&told),
        format!(
            "after a person: `countersign settle {id} --as REPLICA_UUID|none --reason TEXT` or \
             `countersign retry {id}`"
        )
    );
}

#[test]
fn what_else_asks_for_a_person_is_tried_all_the_same() {
    for status in [Status::Proposed, Status::Registered, Status::Committed] {
        let asked = told(status, |request| {
            request.facts.attention = Some("Add credit".into());
            request.reason = Some("Add credit".into());
            request.next_try_at = now() + TimeDelta::minutes(15);
        });
        assert_eq!(asked.why, "Add credit", "said once");
        assert!(asked.next.starts_with("a person sees to what is asked"), "{}", asked.next);
        let told = words(&asked);
        assert!(told.contains("countersign retry") && !told.contains("settle"), "{told}");
        assert!(told.ends_with("; tried in 15 min all the same"), "{told}");
    }
    let both = told(Status::Registered, |request| {
        request.facts.attention = Some("Add credit".into());
        request.reason = Some("no endpoint answers".into());
    });
    assert_eq!(both.why, "Add credit; the last look says: no endpoint answers");
}

#[test]
fn depth_comes_with_the_time_it_should_take() {
    let deep = Around { deep_at: Some(now() + TimeDelta::seconds(18)), ..around(true) };
    let told =
        told_around(Status::Executed, deep, waits("3 of 12 blocks deep", TimeDelta::hours(6), 0));
    let expected = "when woken by blocks on top of the execution (about in 18 s); looked at in \
                    6 h 0 min all the same";
    assert_eq!((told.why.as_str(), words(&told).as_str()), ("3 of 12 blocks deep", expected));
}

#[test]
fn a_token_about_to_die_is_told_while_it_matters() {
    let next = |status, left: TimeDelta, can_prepare| {
        let mut request = request(status, Some(left));
        request.next_try_at = now() + TimeDelta::minutes(5);
        explain(&request, &around(can_prepare), now()).next
    };
    let today = TimeDelta::hours(20);
    assert!(next(Status::Proposed, today, true).contains("gets a fresh one before"));
    assert!(
        next(Status::Proposed, TimeDelta::zero(), true)
            .ends_with("token is dead, and Countersign gets a fresh one")
    );
    let alone = next(Status::Proposed, today, false);
    assert!(alone.ends_with("dies in 20 h 0 min, and without an API key the request with it"));
    assert!(!next(Status::Proposed, TimeDelta::days(10), false).contains("token"));
    let minutes = next(Status::Registered, TimeDelta::minutes(9), true);
    assert!(minutes.contains("since the old one dies in 9 min"), "{minutes}");
    assert!(next(Status::Registered, TimeDelta::zero(), true).contains("the old one is dead"));
    assert!(next(Status::Registered, TimeDelta::zero(), false).starts_with("it ends as expired"));
    assert!(!next(Status::Committing, TimeDelta::zero(), true).contains("token"));
}

#[test]
fn what_takes_longer_than_usual_is_told() {
    let mut request = request(Status::Registered, FRESH);
    request.reason = Some("no room on the node".into());
    let why = |hours| {
        let now = now() + TimeDelta::hours(hours);
        explain(&request, &around(true), now).why
    };
    assert_eq!(why(0), "no room on the node");
    let told = "no room on the node; this has taken 3 h 0 min, and usually takes 10 min at most";
    assert_eq!(why(3), told);
}

#[test]
fn a_token_that_is_no_good_is_replaced_and_why_is_told() {
    let lost = told(Status::Registered, |request| request.preparation = None);
    assert!(lost.next.contains("superseded or refused"), "{}", lost.next);
    let relayed =
        explain(&request(Status::Approved, None), &Around { relays: true, ..around(true) }, now());
    assert!(relayed.next.starts_with("the relayer executes"), "{relayed:?}");
    let suspect = Around { suspect: true, ..around(true) };
    let told = told_around(Status::Registered, suspect, |_| {});
    assert!(told.next.contains("has probably voided the old one"), "{}", told.next);
}

#[test]
fn commits_of_one_app_take_turns() {
    let other = RequestId(uuid::Uuid::max());
    let behind = Around { behind: Some(other), ..around(true) };
    let waiting = told_around(Status::Registered, behind, |_| {});
    assert!(waiting.why.contains(&format!("request {other} is before it")), "{}", waiting.why);
    let when = words(&waiting);
    assert!(when.starts_with(&format!("when woken by the end of the commit of request {other}")));
    // A parked attempt that is taken up again waits for the same.
    let reason = "another commit of the same app is under way";
    let parked = told(Status::Committing, waits(reason, TimeDelta::seconds(2), 0));
    assert_eq!((parked.why.as_str(), words(&parked).as_str()), (reason, "in 2 s"));
}

#[test]
fn a_chain_that_is_given_up_waits_for_a_person_until_the_commit() {
    let halted = Around { halted: true, ..around(true) };
    for status in Status::ALL {
        let told = told_around(status, halted, |_| {});
        let is_held = words(&told) == "after a person: `countersign chain restart 8453`";
        assert_eq!(is_held, status.is_before_commit(), "{status}: {told:?}");
    }
}

#[test]
fn a_replica_that_boots_is_looked_at_again_and_again() {
    let told = told(Status::Committed, waits("the replica is starting", TimeDelta::seconds(10), 0));
    assert_eq!((told.why.as_str(), words(&told).as_str()), ("the replica is starting", "in 10 s"));
}

/// Programs read it back, and so does the command line.
#[test]
fn it_survives_json() {
    for status in Status::ALL {
        let told = told(status, |_| {});
        let json = serde_json::to_value(&told).unwrap();
        assert!(json["when"]["kind"].is_string(), "{json}");
        assert_eq!(serde_json::from_value::<Explanation>(json).unwrap(), told);
    }
}

#[test]
fn what_owners_signed_outlives_a_request_until_the_chain_has_seen_it() {
    let tx = TxHash(alloy::primitives::B256::repeat_byte(0x7e));
    let (can_still, with_others, allowed, failed) = (
        "can still execute the signed transaction",
        "with those that are missing",
        "and allowed what it was for",
        "failed inside",
    );
    let none = Executions::default();
    let by = |is_by_all| Some(Signed { safe: Address::repeat_byte(5), nonce: 3, is_by_all });
    let signed = Executions { signed: by(true), ..none };
    let succeeded = Executions { allowed_by: Some(tx), ..none };
    let failure = Executions { failed_in: Some(tx), ..none };
    for (seen, words) in [
        (none, vec![]),
        (signed, vec![can_still]),
        (Executions { signed: by(false), ..none }, vec![with_others]),
        (succeeded, vec![allowed]),
        // What was proposed after it is signed, and was not executed.
        (Executions { allowed_by: Some(tx), ..signed }, vec![allowed, can_still]),
        (failure, vec![failed]),
        (Executions { allowed_by: Some(tx), ..failure }, vec![allowed, failed]),
    ] {
        for status in [Status::Withdrawn, Status::Rejected] {
            let around = Around { seen, ..around(true) };
            let told = told_around(status, around, |_| {});
            for every in [can_still, with_others, allowed, failed] {
                let is_said = told.next.contains(every);
                assert_eq!(is_said, words.contains(&every), "{status}, {seen:?}: {}", told.next);
            }
        }
    }
}

#[test]
fn what_was_signed_before_is_told_while_signatures_are_waited_for() {
    let hash = SafeTxHash(alloy::primitives::B256::repeat_byte(0x5a));
    let (same, other) = ("one more owner signed this very transaction", "2 owners signed another");
    let rival = Rival { hash, owners: 2, is_by_all: true };
    for (before, words) in [
        (SignedBefore::default(), vec![]),
        (SignedBefore { same: 1, other: None }, vec![same]),
        (SignedBefore { same: 0, other: Some(rival) }, vec![other]),
        (SignedBefore { same: 1, other: Some(rival) }, vec![same, other]),
    ] {
        let around = Around { signed_before: before, ..around(true) };
        let told = told_around(Status::Proposed, around, |_| {});
        for every in [same, other] {
            assert_eq!(told.next.contains(every), words.contains(&every), "{}", told.next);
        }
    }
}

#[test]
fn without_a_key_nobody_is_told_that_something_is_committed() {
    let told = |can_prepare| told_around(Status::Registered, around(can_prepare), |_| {}).next;
    assert!(told(true).contains("commits the replica"), "{}", told(true));
    assert!(told(false).contains("nothing is committed before"), "{}", told(false));
}
