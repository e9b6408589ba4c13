//! Folds a ledger into what the app allowed after each event. Pure.
//!
//! An event says that a call was made, not that anything changed by it: adds and removes are emitted
//! all the same. What was so before decides, and is known from the events only as far as they reach.
//! `initialize` sets flags without an event, so those are not known before their first one.

use std::collections::HashMap;

use alloy::primitives::{Address, B256};
use serde::Serialize;

use crate::{
    clock::Time,
    dstack::PolicyEvent,
    owner::{Account, ActedBy},
    request::{
        facts::BlockRef,
        ids::{NodeId, ReplicaId, RequestId, TxHash},
    },
    store::{ledger::LedgerEntry, paths::Recorded},
};

/// What an entry of an allowlist lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    ComposeHash,
    Device,
}

/// One entry that the ledger says is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AllowedEntry {
    pub kind: EntryKind,
    #[schema(value_type = String)]
    pub value: B256,
    /// The block it has been allowed since without a break.
    pub since: BlockRef,
    #[schema(value_type = String, format = DateTime)]
    pub since_time: Time,
    pub tx: TxHash,
    /// Who allowed it; null until that is found out.
    pub acted_by: Option<ActedBy>,
    /// The requests that this transaction answered.
    pub requests: Vec<RequestId>,
    /// The replicas made here that use it today.
    pub replicas: Vec<ReplicaId>,
    /// What its removal would hit, of all that is known here.
    pub removal: Removal,
}

/// What no longer is allowed to run, or never will be, when an entry goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Removal {
    /// Instances: made here, or on the newest list of Phala Cloud.
    pub instances: Vec<ReplicaId>,
    /// Requests that are on their way and need it.
    pub requests: Vec<RequestId>,
    /// The nodes that those instances are on, and those requests are for.
    pub nodes: Vec<NodeId>,
}

impl Removal {
    /// Whether nobody who is known here needs the entry.
    pub fn hits_nobody(&self) -> bool {
        self.instances.is_empty() && self.requests.is_empty()
    }
}

/// What an app allows, as far as its events tell; none is what they do not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub entries: Vec<AllowedEntry>,
    pub allow_any_device: Option<bool>,
    pub require_tcb_up_to_date: Option<bool>,
    pub upgrades_disabled: Option<bool>,
    pub owner: Option<Account>,
    /// Zero when the app is offered to nobody, as the contract has it.
    pub pending_owner: Option<Account>,
    pub implementation: Option<Account>,
}

impl Policy {
    /// Whether a rule that every reader asks for is not known.
    pub fn lacks_rules(&self) -> bool {
        let flags = [self.allow_any_device, self.require_tcb_up_to_date, self.upgrades_disabled];
        flags.contains(&None) || self.owner.is_none() || self.implementation.is_none()
    }
}

/// The policy as of block `at`, or as of the last event.
pub fn policy(ledger: &[Recorded], is_whole: bool, at: Option<u64>) -> Policy {
    let mut fold = Fold::new(is_whole);
    let shown = ledger.iter().filter(|one| at.is_none_or(|at| one.entry.block.number <= at));
    for one in shown {
        fold.apply(&one.entry, one.acted_by.as_ref());
    }
    fold.policy()
}

/// Whether each event changed anything; none when that cannot be known.
pub fn changes(ledger: &[Recorded], is_whole: bool) -> Vec<Option<bool>> {
    let mut fold = Fold::new(is_whole);
    ledger.iter().map(|one| fold.apply(&one.entry, one.acted_by.as_ref())).collect()
}

/// The entries allowed as of block `at`, or now, by a ledger without who made it.
pub fn allowlist(ledger: &[LedgerEntry], at: Option<u64>) -> Vec<AllowedEntry> {
    let mut fold = Fold::new(false);
    for entry in ledger.iter().filter(|entry| at.is_none_or(|at| entry.block.number <= at)) {
        fold.apply(entry, None);
    }
    fold.policy().entries
}

/// Every value that a ledger names, the newest first.
pub fn named(ledger: &[Recorded]) -> Vec<(EntryKind, B256)> {
    let mut seen = std::collections::HashSet::new();
    let events = ledger.iter().rev().filter_map(|one| read(&one.entry));
    let values = events.filter_map(|event| write(&event)).map(|(kind, value, _)| (kind, value));
    values.filter(|one| seen.insert(*one)).collect()
}

pub(super) fn read(entry: &LedgerEntry) -> Option<PolicyEvent> {
    PolicyEvent::from_parts(&entry.kind, &entry.value).ok()
}

/// What an event does to the lists: which part, which value, and whether it adds.
fn write(event: &PolicyEvent) -> Option<(EntryKind, B256, bool)> {
    match event {
        PolicyEvent::ComposeHashAdded(hash) => Some((EntryKind::ComposeHash, hash.0, true)),
        PolicyEvent::ComposeHashRemoved(hash) => Some((EntryKind::ComposeHash, hash.0, false)),
        PolicyEvent::DeviceAdded(device) => Some((EntryKind::Device, device.0, true)),
        PolicyEvent::DeviceRemoved(device) => Some((EntryKind::Device, device.0, false)),
        _ => None,
    }
}

/// The state after some events.
#[derive(Default)]
struct Fold {
    /// Whether the events reach back to the deployment, when every list was empty.
    is_whole: bool,
    /// Values that events named: allowed since when, or not allowed.
    named: HashMap<(EntryKind, B256), Option<AllowedEntry>>,
    allow_any_device: Option<bool>,
    require_tcb_up_to_date: Option<bool>,
    upgrades_disabled: Option<bool>,
    owner: Option<Address>,
    pending_owner: Option<Address>,
    implementation: Option<Address>,
}

impl Fold {
    fn new(is_whole: bool) -> Self {
        let nobody = is_whole.then_some(Address::ZERO);
        Self { is_whole, pending_owner: nobody, implementation: nobody, ..Self::default() }
    }

    /// Takes one event in; whether it changed anything, if that is known.
    fn apply(&mut self, entry: &LedgerEntry, acted_by: Option<&ActedBy>) -> Option<bool> {
        let event = read(entry)?;
        if let Some((kind, value, adds)) = write(&event) {
            return self.list(entry, acted_by, (kind, value), adds);
        }
        match event {
            PolicyEvent::AllowAnyDeviceSet(flag) => set(&mut self.allow_any_device, flag),
            PolicyEvent::RequireTcbUpToDateSet(flag) => set(&mut self.require_tcb_up_to_date, flag),
            PolicyEvent::UpgradesDisabled => set(&mut self.upgrades_disabled, true),
            PolicyEvent::Upgraded(code) => set(&mut self.implementation, code),
            PolicyEvent::OwnershipTransferred { from, to } => {
                (self.owner, self.pending_owner) = (Some(to), Some(Address::ZERO));
                Some(from != to)
            }
            PolicyEvent::OwnershipTransferStarted { from, to } => {
                self.owner = Some(from);
                set(&mut self.pending_owner, to)
            }
            // It repeats what the event beside it said.
            PolicyEvent::PolicyChanged { .. } => Some(false),
            PolicyEvent::Initialized(_) => {
                // It may have set the flags, and says nothing of them.
                self.allow_any_device = None;
                self.require_tcb_up_to_date = None;
                self.upgrades_disabled = self.upgrades_disabled.filter(|disabled| *disabled);
                Some(true)
            }
            _ => None,
        }
    }

    fn list(
        &mut self,
        entry: &LedgerEntry,
        acted_by: Option<&ActedBy>,
        place: (EntryKind, B256),
        adds: bool,
    ) -> Option<bool> {
        let before = match self.named.get(&place) {
            Some(allowed) => Some(allowed.is_some()),
            None => self.is_whole.then_some(false),
        };
        if !adds {
            self.named.insert(place, None);
        } else if before != Some(true) {
            let (kind, value) = place;
            let allowed = AllowedEntry {
                kind,
                value,
                since: entry.block,
                since_time: entry.block_time,
                tx: entry.tx,
                acted_by: acted_by.cloned(),
                requests: vec![],
                replicas: vec![],
                removal: Removal::default(),
            };
            self.named.insert(place, Some(allowed));
        }
        before.map(|before| before != adds)
    }

    fn policy(self) -> Policy {
        let mut entries: Vec<AllowedEntry> = self.named.into_values().flatten().collect();
        entries.sort_by_key(|entry| (entry.kind, entry.since.number, entry.value));
        Policy {
            entries,
            allow_any_device: self.allow_any_device,
            require_tcb_up_to_date: self.require_tcb_up_to_date,
            upgrades_disabled: self.upgrades_disabled,
            owner: self.owner.map(Account),
            pending_owner: self.pending_owner.map(Account),
            implementation: self.implementation.filter(|code| !code.is_zero()).map(Account),
        }
    }
}

/// Sets a part of the state; whether that changed it, if it was known before.
fn set<T: PartialEq>(part: &mut Option<T>, value: T) -> Option<bool> {
    let changed = part.as_ref().map(|before| *before != value);
    *part = Some(value);
    changed
}

#[cfg(test)]
mod tests;
