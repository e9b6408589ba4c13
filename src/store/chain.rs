//! The follower's place on each chain, and how it moves on.

use alloy::primitives::Address;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{
    CHANGES, During, Store, StoreError, hash_of, inconsistent,
    journal::Actor,
    lease::wake_apps,
    ledger::{LedgerEntry, SafeExecution, insert_executions, insert_ledger},
    one_row,
    requests::{self, record},
    signed, unsigned,
};
use crate::{
    clock::Time,
    request::{
        event::Event,
        facts::BlockRef,
        ids::{AppId, BlockHash, ChainId, RequestId},
    },
};

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
        insert_executions(&mut tx, step.chain, &step.executions).await?;
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

/// Makes due what this step may have changed: requests of the touched apps and Safes, and those
/// that wait for depth.
async fn wake(tx: &mut PgConnection, step: &Advance, now: Time) -> Result<(), StoreError> {
    let apps: Vec<AppId> = step.ledger.iter().map(|entry| entry.app).collect();
    wake_apps(tx, step.chain, &apps, now).await?;
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
