//! Finds out who made the entries of the ledger, from the receipts of their transactions.
//!
//! It comes after the fact and holds up nothing. A receipt that cannot be had, or that does not hold
//! the logs the ledger has, leaves its entries as they are, to be tried again.

use std::collections::{HashMap, HashSet};

use alloy::{primitives::Address, rpc::types::TransactionReceipt};
use chrono::TimeDelta;
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
/// How long to leave alone what older history may tell.
const HISTORY_PAUSE: TimeDelta = TimeDelta::seconds(10);

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
    let looks: Vec<_> =
        due.iter().map(|(tx, entries)| one(store, chain, *tx, entries, &owners, now)).collect();
    let done: Vec<Result<bool, WatchError>> =
        stream::iter(looks).buffer_unordered(RECEIPTS_AT_ONCE).collect().await;
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
    let block = entries.first().map_or(0, |entry| entry.block.number);
    if entries.iter().any(|entry| owners.must_wait(entry)) {
        store.path_later(chain.id(), block, tx, now + HISTORY_PAUSE).await?;
        return Ok(false);
    }
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
            store.path_failed(chain.id(), block, tx, now).await?;
            Ok(false)
        }
    }
}

impl Owners {
    fn caller(&self, event: &PolicyEvent, entry: &LedgerEntry) -> Caller {
        let told = self.told.get(&entry.app).map(Vec::as_slice).unwrap_or_default();
        caller(event, place(entry), told, self.now.get(&entry.app).copied())
    }

    /// Whether history that is still to be read may tell who called.
    fn must_wait(&self, entry: &LedgerEntry) -> bool {
        self.unread.contains(&entry.app)
            && read(entry).is_some_and(|event| self.caller(&event, entry) == Caller::Ambiguous)
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
        let caller = owners.caller(&event, entry);
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

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, Bytes};
    use serde_json::{Value, json};

    use super::*;
    use crate::request::ids::{BlockHash, DeviceId};

    const APP: Address = Address::repeat_byte(0x11);
    const OWNER: Address = Address::repeat_byte(0x22);
    const TX: TxHash = TxHash(B256::repeat_byte(0x77));
    const BLOCK: B256 = B256::repeat_byte(0xb1);

    fn event() -> PolicyEvent {
        PolicyEvent::DeviceAdded(DeviceId(B256::repeat_byte(0xdd)))
    }

    fn entry() -> LedgerEntry {
        LedgerEntry {
            block: BlockRef { number: 9, hash: BlockHash(BLOCK) },
            block_time: Time::default(),
            log_index: 4,
            tx: TX,
            app: AppId(APP),
            kind: event().kind().into(),
            value: event().value(),
        }
    }

    /// The receipt of the owner's own call, as a node tells it.
    fn receipt() -> Value {
        let topics = PolicyEvent::topics();
        let added = topics
            .iter()
            .find(|topic| PolicyEvent::decode(&[**topic], &event().value()) == Ok(Some(event())));
        json!({
            "status": "0x1", "type": "0x2", "cumulativeGasUsed": "0x1", "gasUsed": "0x1",
            "effectiveGasPrice": "0x1", "logsBloom": Bytes::from(vec![0; 256]),
            "transactionHash": TX.0, "transactionIndex": "0x0", "blockHash": BLOCK,
            "blockNumber": "0x9", "from": OWNER, "to": APP, "contractAddress": null,
            "logs": [{
                "address": APP, "topics": [added.unwrap()], "data": Bytes::from(event().value()),
                "blockHash": BLOCK, "blockNumber": "0x9", "transactionHash": TX.0,
                "transactionIndex": "0x0", "logIndex": "0x4", "removed": false,
            }],
        })
    }

    fn found(receipt: Value, entry: &LedgerEntry, owners: &Owners) -> Result<ActedBy, NotYet> {
        let receipt: TransactionReceipt = serde_json::from_value(receipt).unwrap();
        let entries = [entry.clone()];
        let (_, mut paths) = paths(TX, &receipt, &entries, owners)?;
        Ok(paths.pop().unwrap().1)
    }

    #[test]
    fn a_receipt_counts_only_with_the_very_log_that_the_ledger_has() {
        let owners = Owners { now: HashMap::from([(AppId(APP), OWNER)]), ..Owners::default() };
        let expected = ActedBy::Account { address: Account(OWNER) };
        assert_eq!(found(receipt(), &entry(), &owners).unwrap(), expected);
        for (place, lie) in [
            ("/status", json!("0x0")),
            ("/transactionHash", json!(B256::ZERO)),
            ("/blockHash", json!(B256::ZERO)),
            ("/blockNumber", json!("0x8")),
            ("/logs/0/logIndex", json!("0x5")),
            ("/logs/0/address", json!(OWNER)),
            ("/logs/0/data", json!(B256::ZERO)),
            ("/logs", json!([])),
        ] {
            let mut receipt = receipt();
            *receipt.pointer_mut(place).unwrap() = lie;
            let refused = found(receipt, &entry(), &owners);
            assert!(matches!(refused, Err(NotYet::Differs(_))), "{place}: {refused:?}");
        }
    }

    #[test]
    fn what_older_history_would_tell_is_waited_for() {
        let moved = PolicyEvent::OwnershipTransferred { from: OWNER, to: APP };
        let transfer = LedgerEntry { kind: moved.kind().into(), value: moved.value(), ..entry() };
        let mut owners = Owners {
            told: HashMap::from([(AppId(APP), vec![(place(&transfer), moved)])]),
            ..Owners::default()
        };
        assert!(!owners.must_wait(&transfer), "there is nothing older");
        owners.unread.insert(AppId(APP));
        assert!(owners.must_wait(&transfer));
        assert!(!owners.must_wait(&entry()), "only a transfer asks who came before");
    }
}
