//! Which entries of a ledger somebody looks for. Pure.

use serde::Serialize;

use super::words::words;
use crate::store::paths::Recorded;

/// The kinds of events that a ledger has, as they are stored.
pub const KINDS: [&str; 12] = [
    "compose_hash_added",
    "compose_hash_removed",
    "device_added",
    "device_removed",
    "allow_any_device_set",
    "require_tcb_up_to_date_set",
    "upgrades_disabled",
    "upgraded",
    "ownership_transferred",
    "ownership_transfer_started",
    "policy_changed",
    "initialized",
];

/// What is looked for; what is empty does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Sought {
    /// One of [`KINDS`].
    pub kind: Option<String>,
    /// A part of what happened, of the transaction, or of who acted; case does not matter.
    pub q: Option<String>,
    /// The first block.
    pub from: Option<u64>,
    /// The last block.
    pub to: Option<u64>,
}

impl Sought {
    /// Whether everything is.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    pub fn finds(&self, one: &Recorded) -> bool {
        let block = one.entry.block.number;
        self.kind.as_ref().is_none_or(|kind| *kind == one.entry.kind)
            && self.from.is_none_or(|from| from <= block)
            && self.to.is_none_or(|to| block <= to)
            && self.q.as_ref().is_none_or(|q| text(one).contains(&q.to_lowercase()))
    }
}

/// What a text is looked for in.
fn text(one: &Recorded) -> String {
    let by = one.acted_by.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("{} {} {by}", words(&one.entry), one.entry.tx).to_lowercase()
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};

    use super::*;
    use crate::{
        audit::samples,
        dstack::PolicyEvent,
        owner::{Account, ActedBy},
        request::ids::{ComposeHash, DeviceId},
    };

    #[test]
    fn entries_are_found_by_kind_text_and_blocks() {
        let mut ledger = samples::ledger(&[
            PolicyEvent::ComposeHashAdded(ComposeHash(B256::repeat_byte(0xab))),
            PolicyEvent::DeviceAdded(DeviceId(B256::repeat_byte(0xcd))),
            PolicyEvent::DeviceRemoved(DeviceId(B256::repeat_byte(0xcd))),
        ]);
        let address = Account(Address::repeat_byte(0x77));
        ledger[2].acted_by = Some(ActedBy::Account { address });
        let some = |text: &str| Some(text.to_owned());
        for (sought, expected) in [
            (Sought::default(), vec![1, 2, 3]),
            (Sought { kind: some("device_added"), ..Sought::default() }, vec![2]),
            (Sought { kind: some("device"), ..Sought::default() }, vec![]),
            (Sought { q: some("0xCDCDCD"), ..Sought::default() }, vec![2, 3]),
            (Sought { q: some("no longer"), ..Sought::default() }, vec![3]),
            (Sought { q: some("account 0x7777"), ..Sought::default() }, vec![3]),
            (Sought { q: some(&ledger[0].entry.tx.to_string()), ..Sought::default() }, vec![1]),
            (Sought { from: Some(2), ..Sought::default() }, vec![2, 3]),
            (Sought { to: Some(2), ..Sought::default() }, vec![1, 2]),
            (Sought { from: Some(3), to: Some(2), ..Sought::default() }, vec![]),
            (Sought { q: some("cdcd"), to: Some(2), ..Sought::default() }, vec![2]),
        ] {
            let found = ledger.iter().filter(|one| sought.finds(one));
            let found: Vec<u64> = found.map(|one| one.entry.block.number).collect();
            assert_eq!(found, expected, "{sought:?}");
        }
    }

    #[test]
    fn every_kind_of_event_can_be_looked_for() {
        for kind in KINDS {
            let error = PolicyEvent::from_parts(kind, &[0; 3]).map(|event| event.kind());
            assert!(!matches!(error, Err(crate::dstack::MalformedEvent::UnknownKind)), "{kind}");
        }
    }
}
