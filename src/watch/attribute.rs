//! Finds out who made the entries of the ledger, from the receipts of their transactions.
//!
//! It comes after the fact and holds up nothing. A receipt that cannot be had, or that does not hold
//! the logs the ledger has, leaves its entries as they are, to be tried again.

use std::collections::{HashMap, HashSet};

use alloy::{primitives::Address, rpc::types::TransactionReceipt};
use futures::{StreamExt, stream};

use super::{
    WatchError,
    path::{Caller, Place, Sent, caller, path_of},
};
use crate::{
    chain::{Chain, ChainError},
    clock::Time,
    dstack::PolicyEvent,
    owner::{Account, ActedBy},
    request::{
        facts::BlockRef,
        ids::{AppId, TxHash},
    },
    store::{Store, ledger::LedgerEntry},
};

/// Receipts asked for at the same time.
const RECEIPTS_AT_ONCE: usize = 8;

/// Who owned the apps, as far as is known.
#[derive(Default)]
struct Owners {
    told: HashMap<AppId, Vec<(Place, PolicyEvent)>>,
    /// The present owners of apps whose ledgers do not tell of one.
    now: HashMap<AppId, Address>,
    /// Apps whose older history is still to be read.
    unread: HashSet<AppId>,
}

/// Entries of one transaction, and who made each.
type Paths<'a> = Vec<(&'a LedgerEntry, ActedBy)>;

/// Why a path is not known yet.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("the receipt of transaction {0} does not hold the logs of the ledger")]
    Differs(TxHash),
    #[error("who owned the app is told by history that is still to be read")]
    History,
}

/// Looks for who made the entries of at most `limit` transactions, the newest first. Returns of how
/// many it is known now.
pub async fn attribute(
    store: &Store,
    chain: &Chain,
    limit: u32,
    now: Time,
) -> Result<usize, WatchError> {
    let due = store.without_path(chain.id(), limit, now).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let owners = owners(store, chain, &due).await?;
    let done: Vec<Result<bool, WatchError>> = stream::iter(&due)
        .map(|(tx, entries)| one(store, chain, *tx, entries, &owners, now))
        .buffer_unordered(RECEIPTS_AT_ONCE)
        .collect()
        .await;
    let done: Vec<bool> = done.into_iter().collect::<Result<_, _>>()?;
    Ok(done.into_iter().filter(|found| *found).count())
}

/// Who owned the apps that these entries are of.
async fn owners(
    store: &Store,
    chain: &Chain,
    due: &HashMap<TxHash, Vec<LedgerEntry>>,
) -> Result<Owners, WatchError> {
    let apps: HashSet<AppId> = due.values().flatten().map(|entry| entry.app).collect();
    let apps: Vec<AppId> = apps.into_iter().collect();
    // The head comes first: what the ledger then tells of owners reaches at least as far.
    let head = store.head(chain.id()).await?;
    let mut owners = Owners::default();
    for (app, entries) in store.ownership(chain.id(), &apps).await? {
        let told = entries.iter().filter_map(|entry| Some((place(entry), read(entry)?)));
        owners.told.insert(app, told.collect());
    }
    for app in apps {
        if !store.history_is_read(chain.id(), app).await? {
            owners.unread.insert(app);
        }
        if !owners.told.contains_key(&app)
            && let Some(head) = head
            && let Some(owner) = present_owner(chain, app, head.block).await?
        {
            owners.now.insert(app, owner);
        }
    }
    Ok(owners)
}

/// An app that has no owner to tell is one whose callers stay unknown; a chain that cannot be read
/// is asked again.
async fn present_owner(
    chain: &Chain,
    app: AppId,
    at: BlockRef,
) -> Result<Option<Address>, ChainError> {
    match chain.owner(app, at).await {
        Ok(owner) => Ok(Some(owner)),
        Err(ChainError::Unreadable { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One transaction; whether it is known now who made its entries.
async fn one(
    store: &Store,
    chain: &Chain,
    tx: TxHash,
    entries: &[LedgerEntry],
    owners: &Owners,
    now: Time,
) -> Result<bool, WatchError> {
    let found = match chain.receipt(tx).await {
        Ok(receipt) => paths(tx, &receipt, entries, owners),
        Err(error) => Err(error.into()),
    };
    match found {
        Ok((sender, paths)) => {
            store.note_paths(chain.id(), sender, &paths).await?;
            Ok(true)
        }
        Err(why) => {
            tracing::debug!(tx.hash = %tx, %why, "not known yet who acted");
            let block = entries.first().map_or(0, |entry| entry.block.number);
            store.path_failed(chain.id(), block, tx, now).await?;
            Ok(false)
        }
    }
}

/// Who made the entries of a transaction. The receipt is one endpoint's word, so it must show the
/// very logs that the ledger has.
fn paths<'a>(
    tx: TxHash,
    receipt: &TransactionReceipt,
    entries: &'a [LedgerEntry],
    owners: &Owners,
) -> Result<(Account, Paths<'a>), NotYet> {
    let sent = Sent {
        from: receipt.from,
        to: receipt.to,
        created: receipt.contract_address,
        logs: receipt.logs().to_vec(),
    };
    let mut paths = vec![];
    for entry in entries {
        let event = shown(receipt, tx, entry).ok_or(NotYet::Differs(tx))?;
        let told = owners.told.get(&entry.app).map(Vec::as_slice).unwrap_or_default();
        let caller = caller(&event, place(entry), told, owners.now.get(&entry.app).copied());
        if caller == Caller::Ambiguous && owners.unread.contains(&entry.app) {
            return Err(NotYet::History);
        }
        paths.push((entry, path_of(&sent, entry.app, entry.log_index, &event, caller)));
    }
    Ok((Account(receipt.from), paths))
}

/// The event of an entry, if the receipt shows it at its place.
fn shown(receipt: &TransactionReceipt, tx: TxHash, entry: &LedgerEntry) -> Option<PolicyEvent> {
    let stands = receipt.status()
        && receipt.transaction_hash == tx.0
        && receipt.block_hash == Some(entry.block.hash.0)
        && receipt.block_number == Some(entry.block.number);
    let log = receipt
        .logs()
        .iter()
        .find(|log| log.log_index == Some(entry.log_index) && log.address() == entry.app.0)?;
    let event = PolicyEvent::decode(log.topics(), &log.data().data).ok()??;
    (stands && event.kind() == entry.kind && event.value() == entry.value).then_some(event)
}

fn place(entry: &LedgerEntry) -> Place {
    (entry.block.number, entry.log_index)
}

fn read(entry: &LedgerEntry) -> Option<PolicyEvent> {
    PolicyEvent::from_parts(&entry.kind, &entry.value).ok()
}
