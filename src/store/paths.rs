//! Who made each entry of the ledger: found after the fact, one transaction at a time.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    During, Store, StoreError, hash_of, inconsistent, ledger::LedgerEntry, signed, unsigned,
};
use crate::{
    clock::Time,
    owner::{Account, ActedBy},
    request::{
        facts::BlockRef,
        ids::{AppId, BlockHash, ChainId, TxHash},
    },
};

/// An entry of the ledger, and who made it as far as that was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub entry: LedgerEntry,
    /// Who sent the transaction.
    pub sender: Option<Account>,
    pub acted_by: Option<ActedBy>,
}

/// A row of the ledger as the database has it.
struct Row {
    app: Vec<u8>,
    block_number: i64,
    block_hash: Vec<u8>,
    block_time: Time,
    log_index: i64,
    tx_hash: Vec<u8>,
    kind: String,
    value: Vec<u8>,
    sender: Option<Vec<u8>>,
    acted_by: Option<Value>,
}

impl Row {
    fn read(self) -> Result<Recorded, StoreError> {
        let number = self.block_number;
        let wrong = |column| inconsistent("ledger", column, number);
        let address = |bytes: &[u8], column| bytes.try_into().map_err(|_| wrong(column));
        Ok(Recorded {
            entry: LedgerEntry {
                block: BlockRef {
                    number: unsigned("ledger", "block_number", number, number)?,
                    hash: BlockHash(hash_of(&self.block_hash, "ledger", number)?),
                },
                block_time: self.block_time,
                log_index: unsigned("ledger", "log_index", number, self.log_index)?,
                tx: TxHash(hash_of(&self.tx_hash, "ledger", number)?),
                app: AppId(address(&self.app, "app")?),
                kind: self.kind,
                value: self.value,
            },
            sender: self
                .sender
                .map(|sender| address(&sender, "sender").map(Account))
                .transpose()?,
            acted_by: self
                .acted_by
                .map(|way| serde_json::from_value(way).map_err(|_| wrong("acted_by")))
                .transpose()?,
        })
    }
}

impl Store {
    /// The ledger of one app with who made each entry, oldest first.
    pub async fn recorded(&self, chain: ChainId, app: AppId) -> Result<Vec<Recorded>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select app, block_number, block_hash, block_time, log_index, tx_hash, kind, value,
                sender, acted_by
             from ledger where chain_id = $1 and app = $2 order by block_number, log_index",
            signed(chain.get()),
            app.0.as_slice(),
        )
        .fetch_all(&self.pool)
        .await
        .during("read the ledger with who made it")?;
        rows.into_iter().map(Row::read).collect()
    }

    /// The entries of at most so many transactions of which nobody knows yet who made them, the newest
    /// first, and those whose receipts could not be had before last.
    pub async fn without_path(
        &self,
        chain: ChainId,
        transactions: u32,
        now: Time,
    ) -> Result<HashMap<TxHash, Vec<LedgerEntry>>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"with due as (
                select distinct block_number, tx_hash from (
                    select block_number, tx_hash from ledger
                    where chain_id = $1 and acted_by is null and path_retry_at <= $3
                    order by path_retry_at, block_number desc limit $2
                ) as first
             )
             select app, block_number, block_hash, block_time, log_index, tx_hash, kind, value,
                sender, acted_by
             from ledger join due using (block_number, tx_hash)
             where chain_id = $1 order by block_number, log_index"#,
            signed(chain.get()),
            i64::from(transactions),
            now,
        )
        .fetch_all(&self.pool)
        .await
        .during("look for entries of the ledger that nobody is known to have made")?;
        let mut due: HashMap<TxHash, Vec<LedgerEntry>> = HashMap::new();
        for row in rows {
            let entry = row.read()?.entry;
            due.entry(entry.tx).or_default().push(entry);
        }
        Ok(due)
    }

    /// What the ledger tells of the owners of apps, oldest first.
    pub async fn ownership(
        &self,
        chain: ChainId,
        apps: &[AppId],
    ) -> Result<HashMap<AppId, Vec<LedgerEntry>>, StoreError> {
        let apps: Vec<Vec<u8>> = apps.iter().map(|app| app.0.to_vec()).collect();
        let rows = sqlx::query_as!(
            Row,
            "select app, block_number, block_hash, block_time, log_index, tx_hash, kind, value,
                sender, acted_by
             from ledger where chain_id = $1 and app = any($2)
               and kind in ('ownership_transferred', 'ownership_transfer_started')
             order by block_number, log_index",
            signed(chain.get()),
            &apps,
        )
        .fetch_all(&self.pool)
        .await
        .during("read who owned apps")?;
        let mut owners: HashMap<AppId, Vec<LedgerEntry>> = HashMap::new();
        for row in rows {
            let entry = row.read()?.entry;
            owners.entry(entry.app).or_default().push(entry);
        }
        Ok(owners)
    }

    /// Notes who made entries of one transaction. Entries that a reorganisation took meanwhile are
    /// not there any more, and nothing is noted of them.
    pub async fn note_paths(
        &self,
        chain: ChainId,
        sender: Account,
        paths: &[(&LedgerEntry, ActedBy)],
    ) -> Result<(), StoreError> {
        let numbers: Vec<i64> = paths.iter().map(|(one, _)| signed(one.block.number)).collect();
        let indexes: Vec<i64> = paths.iter().map(|(one, _)| signed(one.log_index)).collect();
        let hashes: Vec<Vec<u8>> = paths.iter().map(|(one, _)| one.block.hash.0.to_vec()).collect();
        let ways: Vec<Value> = paths
            .iter()
            .map(|(_, way)| serde_json::to_value(way).expect("a way to act is plain data"))
            .collect();
        sqlx::query!(
            "update ledger set sender = $2, acted_by = way
             from unnest($3::bigint[], $4::bigint[], $5::bytea[], $6::jsonb[])
                as found (number, index, hash, way)
             where chain_id = $1 and block_number = number and log_index = index
               and block_hash = hash",
            signed(chain.get()),
            sender.0.as_slice(),
            &numbers,
            &indexes,
            &hashes,
            &ways,
        )
        .execute(&self.pool)
        .await
        .during("note who made entries of the ledger")
        .map(|_| ())
    }

    /// Leaves the path of a transaction for later, for nobody's fault.
    pub async fn path_later(
        &self,
        chain: ChainId,
        block: u64,
        tx: TxHash,
        until: Time,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update ledger set path_retry_at = $4
             where chain_id = $1 and block_number = $2 and tx_hash = $3 and acted_by is null",
            signed(chain.get()),
            signed(block),
            tx.0.as_slice(),
            until,
        )
        .execute(&self.pool)
        .await
        .during("leave for later who made an entry of the ledger")
        .map(|_| ())
    }

    /// Asks for the path of a transaction again later: after 1, 2, 4 … minutes, up to a day.
    pub async fn path_failed(
        &self,
        chain: ChainId,
        block: u64,
        tx: TxHash,
        now: Time,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update ledger set path_tries = path_tries + 1,
                path_retry_at = $4::timestamptz
                    + least(interval '1 minute' * power(2, least(path_tries, 20)), interval '1 day')
             where chain_id = $1 and block_number = $2 and tx_hash = $3 and acted_by is null",
            signed(chain.get()),
            signed(block),
            tx.0.as_slice(),
            now,
        )
        .execute(&self.pool)
        .await
        .during("note that a receipt could not be had")
        .map(|_| ())
    }
}
