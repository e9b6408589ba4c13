//! Answers auditors: which compose hashes and devices an app allows, since when, and by which
//! transaction; and where the ledger and the chain disagree.

use alloy::primitives::B256;
use serde::Serialize;

use crate::{
    chain::{Chain, ChainError},
    clock::Time,
    request::{
        facts::BlockRef,
        ids::{AppId, ComposeHash, DeviceId, TxHash},
    },
    store::{Store, StoreError, ledger::LedgerEntry},
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
}

/// An entry on which ledger and chain disagree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Drift {
    pub kind: EntryKind,
    #[schema(value_type = String)]
    pub value: B256,
    pub in_ledger: bool,
    pub on_chain: bool,
}

/// Why an audit question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Most entries compared with the chain in one go.
const DRIFT_ENTRIES_MAX: usize = 500;

/// Folds a ledger, oldest entry first, into the allowlist as of block `at`, or now. Adding what is
/// there changes nothing (the contract emits all the same), so `since` stays the first.
pub fn allowlist(ledger: &[LedgerEntry], at: Option<u64>) -> Vec<AllowedEntry> {
    let mut allowed: Vec<AllowedEntry> = vec![];
    for entry in ledger.iter().filter(|entry| at.is_none_or(|at| entry.block.number <= at)) {
        let Some((kind, added)) = meaning(&entry.kind) else { continue };
        let Ok(value) = B256::try_from(entry.value.as_slice()) else { continue };
        let place = allowed.iter().position(|one| one.kind == kind && one.value == value);
        match (added, place) {
            (true, None) => allowed.push(AllowedEntry {
                kind,
                value,
                since: entry.block,
                since_time: entry.block_time,
                tx: entry.tx,
            }),
            (false, Some(place)) => {
                allowed.remove(place);
            }
            _ => {}
        }
    }
    allowed.sort_by_key(|entry| (entry.kind, entry.since.number));
    allowed
}

/// What a ledger entry does to the allowlist: which part, and whether it adds.
fn meaning(kind: &str) -> Option<(EntryKind, bool)> {
    match kind {
        "compose_hash_added" => Some((EntryKind::ComposeHash, true)),
        "compose_hash_removed" => Some((EntryKind::ComposeHash, false)),
        "device_added" => Some((EntryKind::Device, true)),
        "device_removed" => Some((EntryKind::Device, false)),
        _ => None,
    }
}

/// Compares every value the ledger has ever named with the chain at the follower's head.
pub async fn drift(store: &Store, chain: &Chain, app: AppId) -> Result<Vec<Drift>, AuditError> {
    let ledger = store.ledger(chain.id(), app).await?;
    let Some(head) = store.head(chain.id()).await? else { return Ok(vec![]) };
    let allowed = allowlist(&ledger, None);
    let mut seen: Vec<(EntryKind, B256)> = vec![];
    for entry in &ledger {
        if let (Some((kind, _)), Ok(value)) =
            (meaning(&entry.kind), B256::try_from(entry.value.as_slice()))
            && !seen.contains(&(kind, value))
            && seen.len() < DRIFT_ENTRIES_MAX
        {
            seen.push((kind, value));
        }
    }
    let mut drift = vec![];
    for (kind, value) in seen {
        let in_ledger = allowed.iter().any(|one| one.kind == kind && one.value == value);
        let state = chain.allowed(app, ComposeHash(value), DeviceId(value), head.block).await?;
        let on_chain = match kind {
            EntryKind::ComposeHash => state.compose,
            EntryKind::Device => state.device_listed,
        };
        if in_ledger != on_chain {
            drift.push(Drift { kind, value, in_ledger, on_chain });
        }
    }
    Ok(drift)
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::*;
    use crate::request::ids::BlockHash;

    fn entry(number: u64, kind: &str, byte: u8) -> LedgerEntry {
        LedgerEntry {
            block: BlockRef { number, hash: BlockHash(B256::with_last_byte(1)) },
            block_time: Time::default(),
            log_index: 0,
            tx: TxHash(B256::with_last_byte(u8::try_from(number).unwrap())),
            app: AppId(Address::ZERO),
            kind: kind.into(),
            value: B256::repeat_byte(byte).to_vec(),
        }
    }

    fn folded(ledger: &[LedgerEntry], at: Option<u64>) -> Vec<(EntryKind, u64)> {
        allowlist(ledger, at).iter().map(|entry| (entry.kind, entry.since.number)).collect()
    }

    #[test]
    fn the_allowlist_is_what_was_added_and_not_removed_since() {
        use EntryKind::{ComposeHash, Device};
        let ledger = [
            entry(1, "compose_hash_added", 0xaa),
            entry(2, "device_added", 0xbb),
            entry(3, "compose_hash_added", 0xaa),
            entry(4, "device_removed", 0xbb),
            entry(5, "device_removed", 0xcc),
            entry(6, "device_added", 0xbb),
            entry(7, "allow_any_device_set", 1),
        ];
        assert_eq!(folded(&ledger, None), [(ComposeHash, 1), (Device, 6)]);
        assert_eq!(folded(&ledger, Some(3)), [(ComposeHash, 1), (Device, 2)]);
        assert_eq!(folded(&ledger, Some(5)), [(ComposeHash, 1)]);
        assert_eq!(folded(&ledger, Some(0)), []);
    }
}
