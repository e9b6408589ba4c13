//! The ledger: every policy event of the watched apps, and what Safes reported.

use alloy::primitives::{Address, B256};
use serde::Serialize;
use sqlx::PgConnection;

use super::{During, Store, StoreError, hash_of, signed, unsigned};
use crate::{
    clock::Time,
    request::{
        Request,
        facts::BlockRef,
        ids::{AppId, BlockHash, ChainId, SafeTxHash, TxHash},
    },
};

/// One policy event of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LedgerEntry {
    pub block: BlockRef,
    #[schema(value_type = String, format = DateTime)]
    pub block_time: Time,
    pub log_index: u64,
    pub tx: TxHash,
    pub app: AppId,
    /// What happened, such as `compose_hash_added`.
    pub kind: String,
    /// The argument, as the contract's event carries it.
    #[serde(serialize_with = "as_hex")]
    #[schema(value_type = String)]
    pub value: Vec<u8>,
}

fn as_hex<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&alloy::hex::encode_prefixed(bytes))
}

/// A Safe's report of one execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SafeExecution {
    pub block: BlockRef,
    pub log_index: u64,
    pub tx: TxHash,
    pub safe: Address,
    pub safe_tx_hash: SafeTxHash,
    pub success: bool,
}

impl Store {
    /// The ledger of one app, oldest first.
    pub async fn ledger(&self, chain: ChainId, app: AppId) -> Result<Vec<LedgerEntry>, StoreError> {
        let rows = sqlx::query!(
            "select block_number, block_hash, block_time, log_index, tx_hash, kind, value
             from ledger where chain_id = $1 and app = $2 order by block_number, log_index",
            signed(chain.get()),
            app.0.as_slice(),
        )
        .fetch_all(&self.pool)
        .await
        .during("read the ledger")?;
        rows.into_iter()
            .map(|row| {
                Ok(LedgerEntry {
                    block: BlockRef {
                        number: unsigned("ledger", "block_number", app, row.block_number)?,
                        hash: BlockHash(hash_of(&row.block_hash, "ledger", row.block_number)?),
                    },
                    block_time: row.block_time,
                    log_index: unsigned("ledger", "log_index", app, row.log_index)?,
                    tx: TxHash(hash_of(&row.tx_hash, "ledger", row.block_number)?),
                    app,
                    kind: row.kind,
                    value: row.value,
                })
            })
            .collect()
    }

    /// Where and by which transaction the app came to allow this compose hash and device: the
    /// newest entry that added either.
    pub async fn adding_tx(
        &self,
        request: &Request,
    ) -> Result<Option<(BlockRef, TxHash)>, StoreError> {
        self.newest_entry(
            request.chain,
            request.app,
            &["compose_hash_added", "device_added"],
            &[request.compose.0, request.device.0],
        )
        .await
    }

    /// The newest transaction that emitted `ComposeHashAdded` for this compose hash.
    pub async fn compose_tx(&self, request: &Request) -> Result<Option<TxHash>, StoreError> {
        let kinds = ["compose_hash_added"];
        let entry =
            self.newest_entry(request.chain, request.app, &kinds, &[request.compose.0]).await?;
        Ok(entry.map(|(_, tx)| tx))
    }

    async fn newest_entry(
        &self,
        chain: ChainId,
        app: AppId,
        kinds: &[&str],
        values: &[B256],
    ) -> Result<Option<(BlockRef, TxHash)>, StoreError> {
        let kinds: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let values: Vec<Vec<u8>> = values.iter().map(|value| value.to_vec()).collect();
        let row = sqlx::query!(
            "select tx_hash, block_number, block_hash from ledger
             where chain_id = $1 and app = $2 and kind = any($3) and value = any($4)
             order by block_number desc, log_index desc limit 1",
            signed(chain.get()),
            app.0.as_slice(),
            &kinds,
            &values,
        )
        .fetch_optional(&self.pool)
        .await
        .during("look for the transaction that registered")?;
        row.map(|row| {
            let number = unsigned("ledger", "block_number", app, row.block_number)?;
            let hash = BlockHash(hash_of(&row.block_hash, "ledger", row.block_number)?);
            let tx = TxHash(hash_of(&row.tx_hash, "ledger", row.block_number)?);
            Ok((BlockRef { number, hash }, tx))
        })
        .transpose()
    }

    /// How a Safe transaction ended, if the chain has seen it.
    pub async fn safe_execution(
        &self,
        chain: ChainId,
        safe: Address,
        safe_tx_hash: SafeTxHash,
    ) -> Result<Option<(TxHash, bool)>, StoreError> {
        let row = sqlx::query!(
            "select tx_hash, success from safe_executions
             where chain_id = $1 and safe_tx_hash = $2 and safe = $3",
            signed(chain.get()),
            safe_tx_hash.0.as_slice(),
            safe.as_slice(),
        )
        .fetch_optional(&self.pool)
        .await
        .during("look for a Safe execution")?;
        row.map(|row| Ok((TxHash(hash_of(&row.tx_hash, "safe_executions", 0)?), row.success)))
            .transpose()
    }
}

pub(super) async fn insert_ledger(
    tx: &mut PgConnection,
    chain: ChainId,
    entries: &[LedgerEntry],
) -> Result<(), StoreError> {
    for entry in entries {
        sqlx::query!(
            "insert into ledger (chain_id, block_number, log_index, block_hash, block_time,
                tx_hash, app, kind, value)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             on conflict (chain_id, block_number, log_index) do nothing",
            signed(chain.get()),
            signed(entry.block.number),
            signed(entry.log_index),
            entry.block.hash.0.as_slice(),
            entry.block_time,
            entry.tx.0.as_slice(),
            entry.app.0.as_slice(),
            entry.kind,
            entry.value,
        )
        .execute(&mut *tx)
        .await
        .during("write the ledger")?;
    }
    Ok(())
}

pub(super) async fn insert_executions(
    tx: &mut PgConnection,
    chain: ChainId,
    executions: &[SafeExecution],
) -> Result<(), StoreError> {
    for execution in executions {
        sqlx::query!(
            "insert into safe_executions (chain_id, block_number, log_index, block_hash, tx_hash,
                safe, safe_tx_hash, success)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (chain_id, block_number, log_index) do nothing",
            signed(chain.get()),
            signed(execution.block.number),
            signed(execution.log_index),
            execution.block.hash.0.as_slice(),
            execution.tx.0.as_slice(),
            execution.safe.as_slice(),
            execution.safe_tx_hash.0.as_slice(),
            execution.success,
        )
        .execute(&mut *tx)
        .await
        .during("note a Safe execution")?;
    }
    Ok(())
}
