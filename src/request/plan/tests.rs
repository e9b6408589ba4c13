use proptest::prelude::*;

use super::*;
use crate::request::samples::{facts, now, request};

const FRESH: Option<TimeDelta> = Some(TimeDelta::days(10));
const TODAY: Option<TimeDelta> = Some(TimeDelta::hours(20));
const LAST_MINUTES: Option<TimeDelta> = Some(TimeDelta::minutes(9));
const DEAD: Option<TimeDelta> = Some(TimeDelta::zero());
const BEFORE_REGISTERED: [Status; 4] =
    [Status::Prepared, Status::Proposed, Status::Approved, Status::Executed];

fn planned(status: Status, token: Option<TimeDelta>, suspect: bool, can_prepare: bool) -> Plan {
    plan(&request(status, token), suspect, Means { can_prepare }, now())
}

#[test]
fn with_a_key_a_token_is_replaced_a_day_before_it_dies() {
    for status in BEFORE_REGISTERED {
        for (token, renew) in
            [(FRESH, false), (TODAY, true), (LAST_MINUTES, true), (DEAD, true), (None, false)]
        {
            assert_eq!(planned(status, token, false, true), Plan::Watch { renew }, "{status}");
            // Only when it is to be used does it matter whether another one voided it.
            assert_eq!(planned(status, token, true, true), Plan::Watch { renew }, "{status}");
        }
    }
}

#[test]
fn a_token_that_lives_shorter_than_a_day_is_not_replaced_as_soon_as_it_is_there() {
    let renews = |life: TimeDelta, left: TimeDelta| {
        let mut request = request(Status::Proposed, Some(left));
        let token = request.preparation.as_mut().unwrap();
        token.prepared_at = token.expires_at - life;
        plan(&request, false, Means { can_prepare: true }, now()) == Plan::Watch { renew: true }
    };
    for life in [TimeDelta::hours(24), TimeDelta::hours(1), TimeDelta::minutes(5)] {
        assert!(!renews(life, life) && !renews(life, life / 2), "{life}");
        assert!(renews(life, life / 5) && renews(life, TimeDelta::zero()), "{life}");
    }
    let backwards = TimeDelta::hours(-1);
    assert!(renews(backwards, TimeDelta::zero()), "one that died before it was made is dead");
}

#[test]
fn what_cannot_be_prepared_again_keeps_to_its_token_whoever_has_a_key() {
    let planned = |status, token, suspect| {
        let request = Request { is_repeatable: false, ..request(status, token) };
        plan(&request, suspect, Means { can_prepare: true }, now())
    };
    for status in BEFORE_REGISTERED {
        assert_eq!(planned(status, TODAY, false), Plan::Watch { renew: false }, "{status}");
        assert!(matches!(planned(status, DEAD, false), Plan::Expire(_)), "{status}");
    }
    assert_eq!(planned(Status::Registered, FRESH, true), Plan::Commit { renew: false });
    assert!(matches!(planned(Status::Registered, None, false), Plan::Expire(_)));
}

#[test]
fn a_commit_begins_with_a_token_that_is_not_known_to_be_bad() {
    for (token, suspect, renew) in [
        (FRESH, false, false),
        (TODAY, false, false),
        (LAST_MINUTES, false, true),
        (DEAD, false, true),
        (None, false, true),
        (FRESH, true, true),
    ] {
        assert_eq!(planned(Status::Registered, token, suspect, true), Plan::Commit { renew });
    }
}

#[test]
fn without_a_key_a_dead_token_is_the_end() {
    for status in BEFORE_REGISTERED.into_iter().chain([Status::Registered]) {
        for token in [DEAD, None] {
            assert!(matches!(planned(status, token, false, false), Plan::Expire(_)), "{status}");
        }
        let alive = planned(status, LAST_MINUTES, true, false);
        assert!(!matches!(alive, Plan::Expire(_)), "{status}");
        assert!(!matches!(alive, Plan::Watch { renew: true } | Plan::Commit { renew: true }));
    }
}

#[test]
fn from_the_commit_on_the_token_does_not_matter() {
    for token in [FRESH, DEAD, None] {
        for (status, expected) in [
            (Status::Committing, Plan::Settle),
            (Status::Committed, Plan::Boot),
            (Status::Running, Plan::Rest),
            (Status::Rejected, Plan::Rest),
            (Status::Withdrawn, Plan::Rest),
            (Status::Expired, Plan::Rest),
            (Status::Failed, Plan::Rest),
        ] {
            assert_eq!(planned(status, token, true, false), expected, "{status}");
            assert_eq!(planned(status, token, false, true), expected, "{status}");
        }
    }
}

#[test]
fn nothing_is_done_about_a_commit_that_a_person_is_asked_about() {
    let mut request = request(Status::Committing, FRESH);
    request.facts.attention = Some("which one?".into());
    assert_eq!(plan(&request, false, Means { can_prepare: true }, now()), Plan::Ask);
    request.facts = facts(Status::Registered);
    request.facts.attention = Some("add credit".into());
    let plan = plan(&request, false, Means { can_prepare: true }, now());
    assert_eq!(plan, Plan::Commit { renew: false }, "it may have been answered elsewhere");
}

#[test]
fn what_changes_by_time_alone_is_told() {
    let at = |token, can_prepare| {
        changes_by_itself_at(&request(Status::Proposed, token), Means { can_prepare }, now())
    };
    assert_eq!(at(FRESH, true), Some(now() + TimeDelta::days(9)));
    assert_eq!(at(FRESH, false), Some(now() + TimeDelta::days(10)));
    assert_eq!(at(TODAY, true), Some(now() + TimeDelta::hours(20)));
    assert_eq!(at(DEAD, true), None);
}

proptest! {
    /// Whatever the time and the means: an end rests, and what has not ended is worked on.
    #[test]
    fn only_what_has_ended_rests(
        status in proptest::sample::select(Status::ALL.to_vec()),
        minutes in proptest::option::of(-60_000_i64..60_000),
        suspect: bool,
        can_prepare: bool,
    ) {
        let plan = planned(status, minutes.map(TimeDelta::minutes), suspect, can_prepare);
        prop_assert_eq!(plan == Plan::Rest, status.is_end());
        let commits = matches!(plan, Plan::Commit { .. });
        prop_assert!(!commits || status == Status::Registered);
    }
}
