//! The ledger: every policy event of the watched apps, and what Safes reported.

use alloy::primitives::{Address, B256};
use serde::Serialize;
use sqlx::PgConnection;

use super::{During, Store, StoreError, hash_of, signed, unsigned};
use crate::{
    clock::Time,
    request::{
        Request,
        explain::{Executions, Rival, Signed, SignedBefore},
        facts::BlockRef,
        ids::{AppId, BlockHash, ChainId, RequestId, SafeTxHash, TxHash},
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

    /// What the chain did with every Safe transaction that was put to owners for a request, as far as it was
    /// seen: the last proposal is told from those that were replaced.
    pub async fn executions_for(&self, request: RequestId) -> Result<Executions, StoreError> {
        let rows = sqlx::query!(
            r#"select e.tx_hash, e.success, r.proposal_id is not distinct from p.id as "is_last!"
             from proposal_requests m
             join requests r on r.id = m.request_id
             join proposals p on p.id = m.proposal_id
             join safe_executions e on e.chain_id = p.chain_id and e.safe_tx_hash = p.safe_tx_hash
             where m.request_id = $1 and e.safe = p.owner
             order by e.block_number"#,
            request.0,
        )
        .fetch_all(&self.pool)
        .await
        .during("look for executions for a request")?;
        let signed = self.signed_for(request).await?;
        let mut seen = Executions { signed, ..Executions::default() };
        for row in rows {
            let tx = TxHash(hash_of(&row.tx_hash, "safe_executions", request)?);
            if row.success {
                seen.allowed_by = Some(tx);
            } else if row.is_last {
                seen.failed_in = Some(tx);
            }
        }
        Ok(seen)
    }

    /// The Safe transactions for this request that owners have signed, of those after which the Safe was not
    /// seen to make any that was proposed here. A signature is for the transaction, whichever request it
    /// was asked for: the same one may have been proposed for several.
    async fn signed_for(&self, request: RequestId) -> Result<Option<Signed>, StoreError> {
        let row = sqlx::query!(
            r#"select p.owner, max(p.nonce) as "nonce!", bool_or(
                    p.id = r.proposal_id and r.approved_at is not null or p.threshold <= given.count
                ) as "is_by_all!"
             from proposal_requests m
             join requests r on r.id = m.request_id
             join proposals p on p.id = m.proposal_id
             cross join lateral (
                select count(distinct c.owner) from proposals same
                join confirmations c on c.proposal_id = same.id
                where same.chain_id = p.chain_id and same.owner = p.owner
                    and same.safe_tx_hash = p.safe_tx_hash
             ) given
             where m.request_id = $1 and p.route = 'safe' and p.nonce is not null
                and (p.id = r.proposal_id and r.approved_at is not null or given.count > 0)
                and not exists (
                    select from proposals o
                    join safe_executions e
                        on e.chain_id = o.chain_id and e.safe_tx_hash = o.safe_tx_hash
                    where o.chain_id = p.chain_id and o.owner = p.owner and o.route = 'safe'
                        and o.nonce >= p.nonce and e.safe = o.owner
                )
             group by p.owner order by max(p.created_at) desc limit 1"#,
            request.0,
        )
        .fetch_optional(&self.pool)
        .await
        .during("look for signatures that still count")?;
        row.map(|row| {
            Ok(Signed {
                safe: super::watched::address("proposals", "owner", &row.owner)?,
                nonce: unsigned("proposals", "nonce", request, row.nonce)?,
                is_by_all: row.is_by_all,
            })
        })
        .transpose()
    }

    /// What owners have signed at the nonce of the transaction that stands for this request, and not for
    /// this proposal: it was another request's, or an earlier one's, and counts on chain.
    pub async fn signed_before(&self, request: RequestId) -> Result<SignedBefore, StoreError> {
        let rows = sqlx::query!(
            r#"select o.safe_tx_hash as "hash!", o.safe_tx_hash = p.safe_tx_hash as "is_same!",
                count(distinct c.owner) as "owners!",
                bool_or(o.threshold <= (
                    select count(distinct all_of.owner) from proposals twin
                    join confirmations all_of on all_of.proposal_id = twin.id
                    where twin.chain_id = o.chain_id and twin.owner = o.owner
                        and twin.safe_tx_hash = o.safe_tx_hash
                )) as "is_by_all!"
             from requests r
             join proposals p on p.id = r.proposal_id
             join proposals o on o.chain_id = p.chain_id and o.owner = p.owner and o.nonce = p.nonce
                and o.route = 'safe' and o.id <> p.id
             join confirmations c on c.proposal_id = o.id
             where r.id = $1 and p.route = 'safe' and (o.safe_tx_hash <> p.safe_tx_hash or not exists (
                select from confirmations mine where mine.proposal_id = p.id and mine.owner = c.owner
             ))
             group by 1, 2 order by 3 desc, 1"#,
            request.0,
        )
        .fetch_all(&self.pool)
        .await
        .during("look what was signed at the same nonce before")?;
        let mut before = SignedBefore::default();
        for row in rows {
            let owners = unsigned("confirmations", "count", request, row.owners)?;
            if row.is_same {
                before.same = owners;
            } else if before.other.is_none() {
                let hash = SafeTxHash(hash_of(&row.hash, "proposals", request)?);
                before.other = Some(Rival { hash, owners, is_by_all: row.is_by_all });
            }
        }
        Ok(before)
    }
}

/// The columns that place a log, as arrays for one statement.
struct Places {
    blocks: Vec<i64>,
    indexes: Vec<i64>,
    hashes: Vec<Vec<u8>>,
    txs: Vec<Vec<u8>>,
}

impl Places {
    fn of(places: impl Iterator<Item = (BlockRef, u64, TxHash)> + Clone) -> Self {
        Self {
            blocks: places.clone().map(|(block, ..)| signed(block.number)).collect(),
            indexes: places.clone().map(|(_, index, _)| signed(index)).collect(),
            hashes: places.clone().map(|(block, ..)| block.hash.0.to_vec()).collect(),
            txs: places.map(|(.., tx)| tx.0.to_vec()).collect(),
        }
    }
}

pub(super) async fn insert_ledger(
    tx: &mut PgConnection,
    chain: ChainId,
    entries: &[LedgerEntry],
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let places = Places::of(entries.iter().map(|entry| (entry.block, entry.log_index, entry.tx)));
    let times: Vec<Time> = entries.iter().map(|entry| entry.block_time).collect();
    let apps: Vec<Vec<u8>> = entries.iter().map(|entry| entry.app.0.to_vec()).collect();
    let kinds: Vec<String> = entries.iter().map(|entry| entry.kind.clone()).collect();
    let values: Vec<Vec<u8>> = entries.iter().map(|entry| entry.value.clone()).collect();
    sqlx::query!(
        "insert into ledger (chain_id, block_number, log_index, block_hash, tx_hash, block_time,
            app, kind, value)
         select $1, * from unnest($2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[],
            $6::timestamptz[], $7::bytea[], $8::text[], $9::bytea[])
         on conflict (chain_id, block_number, log_index) do nothing",
        signed(chain.get()),
        &places.blocks,
        &places.indexes,
        &places.hashes,
        &places.txs,
        &times,
        &apps,
        &kinds,
        &values,
    )
    .execute(tx)
    .await
    .during("write the ledger")
    .map(|_| ())
}

pub(super) async fn insert_executions(
    tx: &mut PgConnection,
    chain: ChainId,
    executions: &[SafeExecution],
) -> Result<(), StoreError> {
    if executions.is_empty() {
        return Ok(());
    }
    let places = Places::of(executions.iter().map(|one| (one.block, one.log_index, one.tx)));
    let safes: Vec<Vec<u8>> = executions.iter().map(|one| one.safe.to_vec()).collect();
    let safe_txs: Vec<Vec<u8>> = executions.iter().map(|one| one.safe_tx_hash.0.to_vec()).collect();
    let successes: Vec<bool> = executions.iter().map(|one| one.success).collect();
    sqlx::query!(
        "insert into safe_executions (chain_id, block_number, log_index, block_hash, tx_hash,
            safe, safe_tx_hash, success)
         select $1, * from unnest($2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[],
            $6::bytea[], $7::bytea[], $8::boolean[])
         on conflict (chain_id, block_number, log_index) do nothing",
        signed(chain.get()),
        &places.blocks,
        &places.indexes,
        &places.hashes,
        &places.txs,
        &safes,
        &safe_txs,
        &successes,
    )
    .execute(tx)
    .await
    .during("note Safe executions")
    .map(|_| ())
}
