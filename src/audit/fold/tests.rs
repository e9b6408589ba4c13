use proptest::prelude::*;

use super::*;
use crate::{
    audit::samples,
    request::ids::{ComposeHash, DeviceId},
};

fn compose(byte: u8) -> ComposeHash {
    ComposeHash(B256::repeat_byte(byte))
}

fn device(byte: u8) -> DeviceId {
    DeviceId(B256::repeat_byte(byte))
}

fn since(ledger: &[Recorded], at: Option<u64>) -> Vec<(EntryKind, u64)> {
    let entries = policy(ledger, true, at).entries;
    entries.iter().map(|entry| (entry.kind, entry.since.number)).collect()
}

#[test]
fn the_allowlist_is_what_was_added_and_not_removed_since() {
    use EntryKind::{ComposeHash, Device};
    let ledger = samples::ledger(&[
        PolicyEvent::ComposeHashAdded(compose(0xaa)),
        PolicyEvent::DeviceAdded(device(0xbb)),
        PolicyEvent::ComposeHashAdded(compose(0xaa)),
        PolicyEvent::DeviceRemoved(device(0xbb)),
        PolicyEvent::DeviceRemoved(device(0xcc)),
        PolicyEvent::DeviceAdded(device(0xbb)),
        PolicyEvent::AllowAnyDeviceSet(true),
    ]);
    assert_eq!(since(&ledger, None), [(ComposeHash, 1), (Device, 6)]);
    assert_eq!(since(&ledger, Some(3)), [(ComposeHash, 1), (Device, 2)]);
    assert_eq!(since(&ledger, Some(5)), [(ComposeHash, 1)]);
    assert_eq!(since(&ledger, Some(0)), []);
    assert_eq!(named(&ledger).len(), 3);
    let entries: Vec<LedgerEntry> = ledger.into_iter().map(|one| one.entry).collect();
    assert_eq!(allowlist(&entries, None).len(), 2);
}

#[test]
fn an_event_changed_something_when_it_was_not_so_before() {
    let (a, b) = (Address::repeat_byte(0xa), Address::repeat_byte(0xb));
    let zero = Address::ZERO;
    let (yes, no) = (Some(true), Some(false));
    // Each event with what is known of a whole ledger, and of one that begins here.
    let story = [
        (PolicyEvent::Upgraded(a), yes, None),
        (PolicyEvent::OwnershipTransferred { from: zero, to: a }, yes, yes),
        (PolicyEvent::DeviceAdded(device(1)), yes, None),
        (
            PolicyEvent::PolicyChanged {
                actor: a,
                policy: B256::ZERO,
                value: B256::ZERO,
                enabled: true,
            },
            no,
            no,
        ),
        (PolicyEvent::Initialized(1), yes, yes),
        (PolicyEvent::DeviceAdded(device(1)), no, no),
        (PolicyEvent::DeviceRemoved(device(2)), no, None),
        (PolicyEvent::DeviceRemoved(device(2)), no, no),
        (PolicyEvent::DeviceRemoved(device(1)), yes, yes),
        (PolicyEvent::ComposeHashAdded(compose(1)), yes, None),
        (PolicyEvent::AllowAnyDeviceSet(false), None, None),
        (PolicyEvent::AllowAnyDeviceSet(false), no, no),
        (PolicyEvent::AllowAnyDeviceSet(true), yes, yes),
        (PolicyEvent::RequireTcbUpToDateSet(true), None, None),
        (PolicyEvent::OwnershipTransferStarted { from: a, to: b }, yes, yes),
        (PolicyEvent::OwnershipTransferStarted { from: a, to: b }, no, no),
        (PolicyEvent::OwnershipTransferred { from: a, to: b }, yes, yes),
        (PolicyEvent::OwnershipTransferred { from: b, to: b }, no, no),
        (PolicyEvent::Upgraded(a), no, no),
        (PolicyEvent::Initialized(2), yes, yes),
        (PolicyEvent::AllowAnyDeviceSet(true), None, None),
        (PolicyEvent::UpgradesDisabled, None, None),
        (PolicyEvent::UpgradesDisabled, no, no),
    ];
    let ledger = samples::ledger(&story.map(|(event, ..)| event));
    let (whole, partial) = (changes(&ledger, true), changes(&ledger, false));
    for (at, (event, in_whole, in_partial)) in story.iter().enumerate() {
        assert_eq!((whole[at], partial[at]), (*in_whole, *in_partial), "{at}: {event:?}");
    }
}

#[test]
fn what_no_event_told_is_not_known() {
    let owner = Address::repeat_byte(0xa);
    let ledger = samples::ledger(&[
        PolicyEvent::OwnershipTransferred { from: Address::ZERO, to: owner },
        PolicyEvent::Initialized(1),
    ]);
    let expected = Policy {
        owner: Some(Account(owner)),
        pending_owner: Some(Account(Address::ZERO)),
        ..Policy::default()
    };
    assert_eq!(policy(&ledger, true, None), expected);
    assert_eq!(policy(&[], false, None), Policy::default());
}

#[test]
fn an_entry_that_does_not_read_changes_nothing_that_is_known() {
    let mut ledger = samples::ledger(&[PolicyEvent::DeviceAdded(device(1))]);
    ledger[0].entry.value.pop();
    assert_eq!(changes(&ledger, true), [None]);
    assert!(policy(&ledger, true, None).entries.is_empty());
}

/// A contract with two lists and two flags, as simple as can be.
#[derive(Clone, Default, PartialEq)]
struct Model {
    allowed: std::collections::BTreeSet<(EntryKind, B256)>,
    flags: [Option<bool>; 2],
}

impl Model {
    fn call(&mut self, event: &PolicyEvent) {
        match (write(event), event) {
            (Some((kind, value, true)), _) => drop(self.allowed.insert((kind, value))),
            (Some((kind, value, false)), _) => drop(self.allowed.remove(&(kind, value))),
            (_, PolicyEvent::AllowAnyDeviceSet(flag)) => self.flags[0] = Some(*flag),
            (_, PolicyEvent::RequireTcbUpToDateSet(flag)) => self.flags[1] = Some(*flag),
            _ => {}
        }
    }
}

fn events() -> impl Strategy<Value = Vec<PolicyEvent>> {
    let event = (0..6_u8, 0..3_u8, any::<bool>()).prop_map(|(kind, byte, flag)| match kind {
        0 => PolicyEvent::ComposeHashAdded(compose(byte)),
        1 => PolicyEvent::ComposeHashRemoved(compose(byte)),
        2 => PolicyEvent::DeviceAdded(device(byte)),
        3 => PolicyEvent::DeviceRemoved(device(byte)),
        4 => PolicyEvent::AllowAnyDeviceSet(flag),
        _ => PolicyEvent::RequireTcbUpToDateSet(flag),
    });
    proptest::collection::vec(event, 0..40)
}

proptest! {
    /// After every event the policy is what the model has, and `changed` is whether the model
    /// changed. A ledger without its beginning is silent where the whole one is not, and never says
    /// anything else.
    #[test]
    fn the_fold_agrees_with_the_contract_after_every_event(events in events(), cut in 0..40_usize) {
        let ledger = samples::ledger(&events);
        let (whole, mut model) = (changes(&ledger, true), Model::default());
        for (at, event) in events.iter().enumerate() {
            let before = model.clone();
            model.call(event);
            let knows = write(event).is_some() || whole[at].is_some();
            prop_assert_eq!(whole[at], knows.then_some(before != model));
            let policy = policy(&ledger, true, Some(at as u64 + 1));
            let found = policy.entries.iter().map(|entry| (entry.kind, entry.value)).collect();
            prop_assert_eq!(model.allowed.clone(), found);
            let flags = [policy.allow_any_device, policy.require_tcb_up_to_date];
            prop_assert_eq!(model.flags, flags);
        }
        let cut = cut.min(ledger.len());
        for (known, told) in changes(&ledger[cut..], false).iter().zip(&whole[cut..]) {
            prop_assert!(known.is_none() || known == told);
        }
    }
}
