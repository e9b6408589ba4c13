//! The follower's place on each chain, the ledger, and what Safes reported.

use serde::Serialize;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{
    CHANGES, During, Store, StoreError,
    journal::Actor,
    one_row,
    requests::{self, record},
    signed, unsigned,
};
use crate::{
    clock::Time,
    request::{
        Request,
        event::Event,
        facts::BlockRef,
        ids::{AppId, BlockHash, ChainId, RequestId, SafeTxHash, TxHash},
    },
};
use alloy::primitives::{Address, B256};

/// Blocks whose hashes are kept: a reorganisation deeper than this stops the chain's follower.
pub const WINDOW_BLOCKS: u64 = 512;

/// The block up to which everything has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub block: BlockRef,
    pub block_time: Time,
    /// When we last saw the chain move.
    pub seen_at: Time,
}

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

/// One step of the follower: what is new since the last one.
#[derive(Debug, Clone)]
pub struct Advance {
    pub chain: ChainId,
    /// Where the follower stood when it looked.
    pub from: Option<BlockRef>,
    /// Last block that is still part of the chain; rows above it are retracted.
    pub ancestor: Option<u64>,
    /// The new blocks to remember, oldest first, ending with the head.
    pub blocks: Vec<BlockRef>,
    pub head: BlockRef,
    pub head_time: Time,
    pub ledger: Vec<LedgerEntry>,
    pub executions: Vec<SafeExecution>,
}

/// Proof that this instance alone follows a chain, for as long as its connection lives.
#[derive(Debug)]
pub struct Leadership {
    connection: PgConnection,
}

impl Leadership {
    /// Whether the lock is still held: it goes with the connection.
    pub async fn holds(&mut self) -> bool {
        self.connection.ping().await.is_ok()
    }

    pub async fn resign(self) {
        // The server frees the lock when the connection ends, however it ends.
        drop(self.connection.close().await);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "rows are told by small copies")]
fn inconsistent(table: &'static str, column: &'static str, row: impl ToString) -> StoreError {
    StoreError::Inconsistent { table, column, row: row.to_string() }
}

fn hash_of(bytes: &[u8], table: &'static str, row: i64) -> Result<B256, StoreError> {
    bytes.try_into().map_err(|_| inconsistent(table, "hash", row))
}

impl Store {
    /// Becomes the only follower of a chain, unless another instance is.
    pub async fn lead(&self, chain: ChainId) -> Result<Option<Leadership>, StoreError> {
        let mut connection = self.pool.acquire().await.during("connect")?.detach();
        let got = sqlx::query_scalar!(
            r#"select pg_try_advisory_lock(hashtextextended($1, 0)) as "got!""#,
            format!("follower of chain {chain}")
        )
        .fetch_one(&mut connection)
        .await
        .during("take the lead on a chain")?;
        if got {
            return Ok(Some(Leadership { connection }));
        }
        drop(connection.close().await);
        Ok(None)
    }

    pub async fn head(&self, chain: ChainId) -> Result<Option<Head>, StoreError> {
        let row = sqlx::query!(
            "select number, hash, block_time, seen_at from chain_heads where chain_id = $1",
            signed(chain.get())
        )
        .fetch_optional(&self.pool)
        .await
        .during("read the head of a chain")?;
        row.map(|row| {
            Ok(Head {
                block: BlockRef {
                    number: unsigned("chain_heads", "number", chain, row.number)?,
                    hash: BlockHash(hash_of(&row.hash, "chain_heads", row.number)?),
                },
                block_time: row.block_time,
                seen_at: row.seen_at,
            })
        })
        .transpose()
    }

    /// Notes that the chain was looked at and stands where it stood.
    pub async fn head_seen(&self, chain: ChainId, now: Time) -> Result<(), StoreError> {
        sqlx::query!(
            "update chain_heads set seen_at = $2 where chain_id = $1",
            signed(chain.get()),
            now
        )
        .execute(&self.pool)
        .await
        .during("note the age of a head")
        .map(|_| ())
    }

    /// The remembered blocks below `number`, newest first.
    pub async fn window(&self, chain: ChainId, number: u64) -> Result<Vec<BlockRef>, StoreError> {
        let rows = sqlx::query!(
            "select number, hash from chain_blocks
             where chain_id = $1 and number <= $2 order by number desc",
            signed(chain.get()),
            signed(number),
        )
        .fetch_all(&self.pool)
        .await
        .during("read the window of blocks")?;
        rows.into_iter()
            .map(|row| {
                Ok(BlockRef {
                    number: unsigned("chain_blocks", "number", chain, row.number)?,
                    hash: BlockHash(hash_of(&row.hash, "chain_blocks", row.number)?),
                })
            })
            .collect()
    }

    /// The apps watched on a chain, and from which block on the ledger has them.
    pub async fn apps(&self, chain: ChainId) -> Result<Vec<(AppId, Option<u64>)>, StoreError> {
        let rows = sqlx::query!(
            "select app, ledger_from from apps where chain_id = $1 order by app",
            signed(chain.get())
        )
        .fetch_all(&self.pool)
        .await
        .during("list the apps of a chain")?;
        rows.into_iter()
            .map(|row| {
                let app = row.app.as_slice().try_into();
                let app = app.map_err(|_| inconsistent("apps", "app", chain))?;
                let from = row
                    .ledger_from
                    .map(|from| unsigned("apps", "ledger_from", chain, from))
                    .transpose()?;
                Ok((AppId(app), from))
            })
            .collect()
    }

    /// The Safes whose executions matter on a chain: those with a live proposal.
    pub async fn safes(&self, chain: ChainId) -> Result<Vec<Address>, StoreError> {
        let rows = sqlx::query_scalar!(
            "select distinct owner from proposals
             where chain_id = $1 and route = 'safe' and replaced_at is null",
            signed(chain.get())
        )
        .fetch_all(&self.pool)
        .await
        .during("list the Safes of a chain")?;
        rows.iter()
            .map(|safe| {
                safe.as_slice().try_into().map_err(|_| inconsistent("proposals", "owner", chain))
            })
            .collect()
    }

    /// Moves the follower on, in one transaction: retracts what a reorganisation took, adds what
    /// is new, takes requests back or wakes them, and moves the head.
    pub async fn advance(
        &self,
        _proof: &Leadership,
        step: &Advance,
        actor: &Actor,
        now: Time,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        move_head(&mut tx, step, now).await?;
        if let Some(ancestor) = step.ancestor {
            retract(&mut tx, step.chain, ancestor, actor, now).await?;
        }
        insert_blocks(&mut tx, step).await?;
        insert_ledger(&mut tx, step.chain, &step.ledger).await?;
        insert_executions(&mut tx, step).await?;
        wake(&mut tx, step, now).await?;
        super::commit(tx).await
    }

    /// Adds history of one app from before it was watched, complete from block `from` on.
    pub async fn backfilled(
        &self,
        _proof: &Leadership,
        chain: ChainId,
        app: AppId,
        from: u64,
        entries: &[LedgerEntry],
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        insert_ledger(&mut tx, chain, entries).await?;
        let result = sqlx::query!(
            "update apps set ledger_from = $3 where chain_id = $1 and app = $2",
            signed(chain.get()),
            app.0.as_slice(),
            signed(from),
        )
        .execute(&mut *tx)
        .await
        .during("note how far the ledger reaches")?;
        one_row("noting how far the ledger reaches", &result)?;
        super::commit(tx).await
    }

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

async fn move_head(tx: &mut PgConnection, step: &Advance, now: Time) -> Result<(), StoreError> {
    let result = match step.from {
        Some(from) => {
            sqlx::query!(
                "update chain_heads set number = $2, hash = $3, block_time = $4, seen_at = $5
                 where chain_id = $1 and number = $6 and hash = $7",
                signed(step.chain.get()),
                signed(step.head.number),
                step.head.hash.0.as_slice(),
                step.head_time,
                now,
                signed(from.number),
                from.hash.0.as_slice(),
            )
            .execute(tx)
            .await
        }
        None => {
            sqlx::query!(
                "insert into chain_heads (chain_id, number, hash, block_time, seen_at)
                 values ($1, $2, $3, $4, $5) on conflict do nothing",
                signed(step.chain.get()),
                signed(step.head.number),
                step.head.hash.0.as_slice(),
                step.head_time,
                now,
            )
            .execute(tx)
            .await
        }
    }
    .during("move the head of a chain")?;
    one_row("moving the head of a chain", &result)
}

/// Forgets everything above `ancestor` and takes back what requests had from there.
async fn retract(
    tx: &mut PgConnection,
    chain: ChainId,
    ancestor: u64,
    actor: &Actor,
    now: Time,
) -> Result<(), StoreError> {
    let (chain_id, above) = (signed(chain.get()), signed(ancestor));
    sqlx::query!("delete from chain_blocks where chain_id = $1 and number > $2", chain_id, above)
        .execute(&mut *tx)
        .await
        .during("retract blocks")?;
    sqlx::query!("delete from ledger where chain_id = $1 and block_number > $2", chain_id, above)
        .execute(&mut *tx)
        .await
        .during("retract the ledger")?;
    sqlx::query!(
        "delete from safe_executions where chain_id = $1 and block_number > $2",
        chain_id,
        above
    )
    .execute(&mut *tx)
    .await
    .during("retract Safe executions")?;
    let affected: Vec<Uuid> = sqlx::query_scalar!(
        "select id from requests
         where chain_id = $1 and status in ('executed', 'registered')
           and greatest(executed_block, registered_block) > $2
         order by id for update",
        chain_id,
        above
    )
    .fetch_all(&mut *tx)
    .await
    .during("look for requests that a reorganisation touches")?;
    requests::lock(tx, &affected).await?;
    let reason = format!("the chain reorganised above block {ancestor}");
    for id in affected {
        let event = Event::Retracted { reason: reason.clone() };
        record(tx, RequestId(id), None, actor, &event, now).await?;
    }
    Ok(())
}

async fn insert_blocks(tx: &mut PgConnection, step: &Advance) -> Result<(), StoreError> {
    let numbers: Vec<i64> = step.blocks.iter().map(|block| signed(block.number)).collect();
    let hashes: Vec<Vec<u8>> = step.blocks.iter().map(|block| block.hash.0.to_vec()).collect();
    sqlx::query!(
        "insert into chain_blocks (chain_id, number, hash)
         select $1, * from unnest($2::bigint[], $3::bytea[])",
        signed(step.chain.get()),
        &numbers,
        &hashes,
    )
    .execute(&mut *tx)
    .await
    .during("remember blocks")?;
    sqlx::query!(
        "delete from chain_blocks where chain_id = $1 and number <= $2",
        signed(step.chain.get()),
        signed(step.head.number) - signed(WINDOW_BLOCKS),
    )
    .execute(tx)
    .await
    .during("forget old blocks")
    .map(|_| ())
}

async fn insert_ledger(
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

async fn insert_executions(tx: &mut PgConnection, step: &Advance) -> Result<(), StoreError> {
    for execution in &step.executions {
        sqlx::query!(
            "insert into safe_executions (chain_id, block_number, log_index, block_hash, tx_hash,
                safe, safe_tx_hash, success)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (chain_id, block_number, log_index) do nothing",
            signed(step.chain.get()),
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

/// Makes due what this step may have changed: requests of the touched apps and Safes, and those
/// that wait for depth.
async fn wake(tx: &mut PgConnection, step: &Advance, now: Time) -> Result<(), StoreError> {
    let apps: Vec<AppId> = step.ledger.iter().map(|entry| entry.app).collect();
    requests::wake_apps(tx, step.chain, &apps, now).await?;
    let safes: Vec<Vec<u8>> = step.executions.iter().map(|one| one.safe.to_vec()).collect();
    sqlx::query!(
        "update requests set next_try_at = least(next_try_at, $3)
         where chain_id = $1 and ended_as is null and committed_at is null
           and (status = 'executed' or proposal_id in
                (select id from proposals where owner = any($2) and replaced_at is null))",
        signed(step.chain.get()),
        &safes,
        now,
    )
    .execute(&mut *tx)
    .await
    .during("wake requests")?;
    sqlx::query!("select pg_notify($1, $2)", CHANGES, format!("head {}", step.chain))
        .fetch_one(tx)
        .await
        .during("announce a head")
        .map(|_| ())
}
