//! Where the ledger and the chain disagree: what the events add up to, against what the contract
//! says.

use alloy::primitives::B256;
use serde::Serialize;

use super::{
    AuditError,
    fold::{EntryKind, Policy, named, policy},
    state::{self, Part, State, unreadable},
};
use crate::{
    chain::{Chain, ChainError},
    owner::Account,
    request::{facts::BlockRef, ids::AppId},
    store::{Store, apps::AppHistory},
};

/// Most entries compared with the chain in one go.
const ENTRIES_MAX: usize = 5_000;

/// What ledger and chain disagree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    ComposeHash,
    Device,
    AllowAnyDevice,
    RequireTcbUpToDate,
    UpgradesDisabled,
    Owner,
    PendingOwner,
    Implementation,
}

/// Something on which ledger and chain disagree. Two addresses that differ are two of these: one
/// that the ledger alone has, and one that the chain alone has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Drift {
    pub kind: DriftKind,
    /// The hash, device or address; null for a flag.
    pub value: Option<String>,
    pub in_ledger: bool,
    pub on_chain: bool,
}

/// A comparison of ledger and chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// The block it was made at; none when the chain has not been read yet.
    pub at: Option<BlockRef>,
    pub drift: Vec<Drift>,
    /// Entries that the ledger names and that were not compared, since there are too many.
    pub unchecked: usize,
}

/// Compares every value the ledger has ever named, and the rules that its events tell, with the
/// chain at the follower's head.
pub async fn drift(
    store: &Store,
    chain: &Chain,
    history: &AppHistory,
) -> Result<Compared, AuditError> {
    let app = history.app;
    let Some(head) = store.head(chain.id()).await? else { return Ok(Compared::default()) };
    let at = head.block;
    let mut ledger = store.recorded(chain.id(), app).await?;
    // The follower may have read on meanwhile.
    ledger.retain(|one| one.entry.block.number <= at.number);
    let told = policy(&ledger, history.is_whole(), None);
    let mut values = named(&ledger);
    let unchecked = values.len().saturating_sub(ENTRIES_MAX);
    values.truncate(ENTRIES_MAX);
    let (on_chain, state) =
        futures::try_join!(state::allowed(chain, app, &values, at), state::state(chain, app, at),)?;
    // Every generation tells this: where it cannot be read, agreement about the rest means nothing.
    if let Err(problem) = &state.allow_any_device {
        return Err(unreadable(app, problem).into());
    }
    let mut drift = of_entries(&told, &values, &on_chain);
    drift.extend(of_rules(app, &told, &state)?);
    Ok(Compared { at: Some(at), drift, unchecked })
}

fn of_entries(told: &Policy, values: &[(EntryKind, B256)], on_chain: &[bool]) -> Vec<Drift> {
    let allowed: std::collections::HashSet<(EntryKind, B256)> =
        told.entries.iter().map(|entry| (entry.kind, entry.value)).collect();
    let compared = values.iter().zip(on_chain).map(|((kind, value), on_chain)| Drift {
        kind: match kind {
            EntryKind::ComposeHash => DriftKind::ComposeHash,
            EntryKind::Device => DriftKind::Device,
        },
        value: Some(value.to_string()),
        in_ledger: allowed.contains(&(*kind, *value)),
        on_chain: *on_chain,
    });
    compared.filter(|one| one.in_ledger != one.on_chain).collect()
}

/// Only what the events tell is compared; what it is compared with must read.
fn of_rules(app: AppId, told: &Policy, state: &State) -> Result<Vec<Drift>, ChainError> {
    use DriftKind as K;
    let mut drift = vec![];
    for (kind, told, found) in [
        (K::AllowAnyDevice, told.allow_any_device, state.allow_any_device.clone().map(Some)),
        (K::RequireTcbUpToDate, told.require_tcb_up_to_date, state.require_tcb_up_to_date.clone()),
        (K::UpgradesDisabled, told.upgrades_disabled, state.upgrades_disabled.clone().map(Some)),
    ] {
        if let Some((in_ledger, on_chain)) = compared(app, told, found)?
            && in_ledger != on_chain
        {
            drift.push(Drift { kind, value: None, in_ledger, on_chain });
        }
    }
    for (kind, told, found) in [
        (K::Owner, told.owner, state.owner.clone().map(Some)),
        (K::PendingOwner, told.pending_owner, state.pending_owner.clone()),
        (K::Implementation, told.implementation, state.implementation.clone()),
    ] {
        if let Some((in_ledger, on_chain)) = compared(app, told, found)?
            && in_ledger != on_chain
        {
            let one = |value: Account, in_ledger| Drift {
                kind,
                value: Some(value.to_string()),
                in_ledger,
                on_chain: !in_ledger,
            };
            drift.extend([one(in_ledger, true), one(on_chain, false)]);
        }
    }
    Ok(drift)
}

/// What both say, if the events tell and contracts of this generation have such a thing.
fn compared<T>(
    app: AppId,
    told: Option<T>,
    found: Part<Option<T>>,
) -> Result<Option<(T, T)>, ChainError> {
    let Some(told) = told else { return Ok(None) };
    let found = found.map_err(|problem| unreadable(app, &problem))?;
    Ok(found.map(|found| (told, found)))
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::*;
    use crate::dstack::{Generation, UnreadableAnswer};

    fn state() -> State {
        State {
            generation: Generation::G3,
            allow_any_device: Ok(true),
            require_tcb_up_to_date: Ok(Some(false)),
            upgrades_disabled: Ok(false),
            owner: Ok(Account(Address::repeat_byte(1))),
            pending_owner: Ok(Some(Account(Address::ZERO))),
            implementation: Ok(Some(Account(Address::repeat_byte(2)))),
        }
    }

    fn found(told: &Policy, state: &State) -> Vec<(DriftKind, bool, bool)> {
        let drift = of_rules(AppId(Address::ZERO), told, state).unwrap();
        drift.iter().map(|one| (one.kind, one.in_ledger, one.on_chain)).collect()
    }

    #[test]
    fn what_events_do_not_tell_is_no_drift() {
        assert_eq!(found(&Policy::default(), &state()), []);
        let unreadable = State { owner: Err(UnreadableAnswer::Empty), ..state() };
        assert_eq!(found(&Policy::default(), &unreadable), []);
    }

    #[test]
    fn flags_and_addresses_that_differ_are_told() {
        let told = Policy {
            allow_any_device: Some(false),
            require_tcb_up_to_date: Some(false),
            upgrades_disabled: Some(true),
            owner: Some(Account(Address::repeat_byte(9))),
            implementation: Some(Account(Address::repeat_byte(2))),
            ..Policy::default()
        };
        let expected = [
            (DriftKind::AllowAnyDevice, false, true),
            (DriftKind::UpgradesDisabled, true, false),
            (DriftKind::Owner, true, false),
            (DriftKind::Owner, false, true),
        ];
        assert_eq!(found(&told, &state()), expected);
    }

    #[test]
    fn what_does_not_read_is_neither_drift_nor_agreement() {
        let told = Policy { upgrades_disabled: Some(true), ..Policy::default() };
        let state = State { upgrades_disabled: Err(UnreadableAnswer::Layout), ..state() };
        assert!(of_rules(AppId(Address::ZERO), &told, &state).is_err());
    }
}
