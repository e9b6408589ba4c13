use alloy::primitives::B256;
use proptest::prelude::*;

use super::*;
use crate::request::ids::BlockHash;

fn at() -> Time {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

fn block() -> BlockRef {
    BlockRef { number: 7, hash: BlockHash(B256::repeat_byte(7)) }
}

fn refused(asks: bool) -> Event {
    let (code, reason) = ("503".into(), "because".into());
    Event::CommitRefused { attempt: Uuid::nil(), code, reason, may_have_acted: false, asks }
}

fn all_events() -> Vec<Event> {
    let id = Uuid::nil();
    let reason = || "because".to_owned();
    vec![
        Event::Opened { preparation: id, expires_at: at() },
        Event::Renewed { preparation: id, expires_at: at() },
        Event::TokenSuperseded { by: id },
        Event::DocumentAttached {
            compose_hash: ComposeHash(B256::repeat_byte(1)),
            form: "raw".into(),
        },
        Event::Proposed {
            proposal: id,
            route: "safe".into(),
            nonce: Some(0),
            safe_tx_hash: None,
            calls: vec![],
        },
        Event::ProposalReplaced { proposal: id, reason: reason() },
        Event::Confirmed { owner: "0x1".into(), confirmations: 1, threshold: 2 },
        Event::Confirmed { owner: "0x2".into(), confirmations: 2, threshold: 2 },
        Event::Executed { block: block(), tx: None },
        Event::Retracted { reason: reason() },
        Event::Registered { block: block(), depth: "2 blocks".into() },
        Event::CommitStarted { attempt: id, preparation: id, evidence: "x".into() },
        refused(false),
        Event::Committed {
            attempt: id,
            replica: "replica".parse().unwrap(),
            how: "answer".into(),
            operation: Some("correlation".into()),
        },
        Event::Running { device_shown: true },
        Event::AttentionNeeded { reason: reason(), about: vec![] },
        Event::Settled { attempt: id, replica: None, reason: reason() },
        Event::Retried { reason: reason() },
        Event::Rejected { reason: reason() },
        Event::Withdrawn { reason: reason() },
        Event::Expired { reason: reason() },
        Event::Failed { code: None, reason: reason() },
        Event::CommittedElsewhere {
            replica: "replica".parse().unwrap(),
            how: "somebody else".into(),
            operation: None,
        },
        Event::Commented { text: "looks right to me".into() },
    ]
}

fn run(events: &[Event]) -> Result<Facts, Illegal> {
    events.iter().try_fold(Facts::default(), |facts, event| facts.apply(event, at()))
}

fn named(kind: &str) -> Event {
    all_events().into_iter().rfind(|event| event.kind() == kind).unwrap()
}

#[test]
fn the_usual_way_ends_running() {
    let steps = [
        ("opened", Status::Prepared),
        ("proposed", Status::Proposed),
        ("confirmed", Status::Approved),
        ("executed", Status::Executed),
        ("registered", Status::Registered),
        ("commit_started", Status::Committing),
        ("committed", Status::Committed),
        ("running", Status::Running),
    ];
    let mut facts = Facts::default();
    for (kind, expected) in steps {
        facts = facts.apply(&named(kind), at()).unwrap();
        assert_eq!(status(&facts), expected, "after {kind}");
    }
}

#[test]
fn one_signature_of_two_does_not_approve() {
    let facts = run(&[named("proposed"), all_events()[6].clone()]).unwrap();
    assert_eq!(status(&facts), Status::Proposed);
}

#[test]
fn registered_is_reached_from_every_earlier_status() {
    for before in [
        vec![],
        vec![named("proposed")],
        vec![named("proposed"), named("confirmed")],
        vec![named("executed")],
    ] {
        let facts = run(&before).unwrap().apply(&named("registered"), at()).unwrap();
        assert_eq!(status(&facts), Status::Registered);
    }
}

#[test]
fn a_reorg_returns_to_where_the_signatures_stood() {
    let facts = run(&[
        named("proposed"),
        named("confirmed"),
        named("executed"),
        named("registered"),
        named("retracted"),
    ])
    .unwrap();
    assert_eq!(status(&facts), Status::Approved);
}

#[test]
fn nothing_takes_a_request_back_once_its_commit_has_begun() {
    let facts = run(&[named("registered"), named("commit_started")]).unwrap();
    for kind in ["retracted", "withdrawn", "rejected", "expired", "commit_started"] {
        assert_eq!(
            facts.apply(&named(kind), at()),
            Err(Illegal { status: Status::Committing, event: named(kind).kind() })
        );
    }
}

#[test]
fn a_refused_commit_returns_to_registered() {
    let facts = run(&[named("registered"), named("commit_started"), named("commit_refused")]);
    assert_eq!(status(&facts.unwrap()), Status::Registered);
}

#[test]
fn a_person_settles_a_commit_either_way() {
    let open = run(&[named("registered"), named("commit_started"), named("attention_needed")]);
    let open = open.unwrap();
    assert_eq!((status(&open), open.attention.is_some()), (Status::Committing, true));
    let none = open.apply(&named("settled"), at()).unwrap();
    assert_eq!((status(&none), none.attention), (Status::Registered, None));
    let replica = Some("replica".parse().unwrap());
    let event = Event::Settled { attempt: Uuid::nil(), replica, reason: "seen".into() };
    let one = open.apply(&event, at()).unwrap();
    assert_eq!((status(&one), one.attention), (Status::Committed, None));
}

#[test]
fn a_commit_of_somebody_else_counts_from_everywhere_before_its_own_is_known() {
    let elsewhere = named("committed_elsewhere");
    for before in [
        vec![],
        vec![named("proposed")],
        vec![named("proposed"), named("confirmed")],
        vec![named("executed")],
        vec![named("registered")],
        vec![named("registered"), named("commit_started")],
        vec![named("registered"), named("commit_started"), named("attention_needed")],
    ] {
        let facts = run(&before).unwrap().apply(&elsewhere, at()).unwrap();
        assert_eq!((status(&facts), facts.attempt), (Status::Committed, None));
        assert_eq!(status(&facts.apply(&named("running"), at()).unwrap()), Status::Running);
        assert!(facts.apply(&elsewhere, at()).is_err(), "it counts once");
    }
    assert!(run(&[named("withdrawn")]).unwrap().apply(&elsewhere, at()).is_err());
}

#[test]
fn an_outcome_is_that_of_the_open_attempt_or_none() {
    let open = run(&[named("registered"), named("commit_started")]).unwrap();
    assert!(open.apply(&named("settled"), at()).is_err(), "nobody was asked");
    let asked = open.apply(&named("attention_needed"), at()).unwrap();
    for kind in ["settled", "committed", "commit_refused"] {
        let mut other = asked.clone();
        other.attempt = Some(Uuid::max());
        assert!(other.apply(&named(kind), at()).is_err(), "{kind} of another attempt");
        assert!(asked.apply(&named(kind), at()).is_ok(), "{kind}");
    }
}

#[test]
fn a_refusal_may_ask_a_person_until_it_is_tried_again() {
    let facts = run(&[named("registered"), named("commit_started"), refused(true)]).unwrap();
    assert_eq!((status(&facts), facts.attention.is_some()), (Status::Registered, true));
    for next in ["retried", "commit_started"] {
        assert_eq!(facts.apply(&named(next), at()).unwrap().attention, None, "{next}");
    }
}

#[test]
fn a_comment_is_legal_always_and_changes_nothing() {
    let asked = run(&[named("registered"), named("commit_started"), named("attention_needed")]);
    let ended = run(&[named("proposed"), named("withdrawn")]);
    for facts in [Facts::default(), asked.unwrap(), ended.unwrap()] {
        assert_eq!(facts.apply(&named("commented"), at()), Ok(facts));
    }
}

#[test]
fn entries_of_older_journals_still_read() {
    let text = r#"{"event":"commit_refused","attempt":"00000000-0000-0000-0000-000000000000","code":"503","reason":"because"}"#;
    assert_eq!(serde_json::from_str::<Event>(text).unwrap(), refused(false));
}

#[test]
fn events_survive_the_journal() {
    for event in all_events() {
        let text = serde_json::to_string(&event).unwrap();
        assert!(text.starts_with(&format!("{{\"event\":\"{}\"", event.kind())), "{text}");
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}

proptest! {
    /// Whatever happens in whatever order: ends are final, and a replica, once known, stays.
    #[test]
    fn ends_are_final_and_replicas_stay(order in prop::collection::vec(0..24_usize, 0..60)) {
        let events = all_events();
        let mut facts = Facts::default();
        for index in order {
            let before = status(&facts);
            if let Ok(next) = facts.apply(&events[index], at()) {
                let is_word = ["document_attached", "commented"].contains(&events[index].kind());
                prop_assert!(!before.is_end() || is_word, "{before} took {}", events[index].kind());
                prop_assert!(!before.is_end() || next == facts, "{before} changed");
                prop_assert!(facts.replica.is_none() || next.replica == facts.replica);
                prop_assert!(
                    next.attempt.is_none() || next.registration.is_some(),
                    "a commit without registration"
                );
                facts = next;
            }
        }
    }
}

#[test]
fn a_reason_is_recounted_where_signatures_are_told_of_first() {
    for (told, then) in [
        ("0 of 3 signatures", Some("1 of 3 signatures")),
        ("7 of 9 signatures; nonce 5 comes first", Some("1 of 3 signatures; nonce 5 comes first")),
        ("0 of 3 signatures are good", None),
        ("most of 3 signatures", None),
        ("no endpoint answers: 0 of 3 signatures", None),
        ("approved: anyone may execute it", None),
        ("", None),
    ] {
        assert_eq!(recounted(told, 1, 3).as_deref(), then, "{told}");
    }
    assert!(recounted(&waits_for_signatures(0, 2), 1, 2).is_some(), "it knows its own words");
}
