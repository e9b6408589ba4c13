//! Moving a chain's follower on, and everything else that rests on where it stands.
//!
//! Whatever is written here takes the head's row first, so that a reorganisation comes before or
//! after it and never between.

use alloy::primitives::Address;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    CHANGES, During, Store, StoreError, WAKE,
    chain::{Leadership, WINDOW_BLOCKS, block_ref},
    journal::Actor,
    lease::Lease,
    ledger::{LedgerEntry, SafeExecution, insert_executions, insert_ledger},
    requests::{self, record},
    signed,
    watched::{insert_discovered, watch_changed},
};
use crate::{
    clock::Time,
    request::{
        Request,
        event::Event,
        facts::BlockRef,
        ids::{AppId, ChainId, RequestId},
    },
};

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
    pub block_millis: Option<u64>,
    pub deep: Option<BlockRef>,
    pub finalized: Option<u64>,
    pub ledger: Vec<LedgerEntry>,
    pub executions: Vec<SafeExecution>,
    /// Safes whose owners, threshold or modules changed.
    pub reconfigured: Vec<Address>,
    /// Apps that a KMS deployed, with the block.
    pub discovered: Vec<(AppId, u64)>,
    /// Requests whose entries both read true at `deep`.
    pub registered: Vec<RequestId>,
    /// The policy that `deep` follows, in words.
    pub policy: String,
}

/// An event that rests on what was read at a block, and is not written yet.
#[derive(Debug, Clone)]
pub struct Seen {
    pub event: Event,
    pub at: BlockRef,
}

impl Store {
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
        lock_head(&mut tx, step.chain, step.from).await?;
        if let Some(ancestor) = step.ancestor {
            retract(&mut tx, step.chain, ancestor, actor, now).await?;
        }
        move_head(&mut tx, step, now).await?;
        insert_ledger(&mut tx, step.chain, &step.ledger).await?;
        insert_executions(&mut tx, step.chain, &step.executions).await?;
        wake(&mut tx, step, now).await?;
        if let Some(deep) = step.deep {
            register(&mut tx, &step.registered, deep, &step.policy, actor, now).await?;
        }
        insert_discovered(&mut tx, step.chain, &step.discovered, now).await?;
        super::commit(tx).await
    }

    /// Notes that these requests are registered, if the follower still stands at `head`.
    #[expect(clippy::too_many_arguments, reason = "what a registration rests on")]
    pub async fn register(
        &self,
        _proof: &Leadership,
        chain: ChainId,
        head: BlockRef,
        deep: BlockRef,
        registered: &[RequestId],
        policy: &str,
        actor: &Actor,
        now: Time,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        lock_head(&mut tx, chain, Some(head)).await?;
        register(&mut tx, registered, deep, policy, actor, now).await?;
        super::commit(tx).await
    }

    /// Lets an event happen, unless the chain has moved away since from the block it was read at:
    /// then nothing happens and [`StoreError::ChainMoved`] says so.
    pub async fn record_seen(
        &self,
        request: &Request,
        lease: &Lease,
        actor: &Actor,
        seen: &Seen,
        now: Time,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        insist_on(&mut tx, request.chain, seen.at).await?;
        record(&mut tx, request.id, Some(lease), actor, &seen.event, now).await?;
        super::commit(tx).await
    }
}

/// Keeps the head where it is to the end of the transaction, and insists that block `at` is still
/// part of the chain.
pub(super) async fn insist_on(
    tx: &mut PgConnection,
    chain: ChainId,
    at: BlockRef,
) -> Result<(), StoreError> {
    let stands = sqlx::query_scalar!(
        r#"select (h.number - $4 >= $2)
            or exists (select 1 from chain_blocks b
                where b.chain_id = h.chain_id and b.number = $2 and b.hash = $3) as "stands!"
         from chain_heads h where h.chain_id = $1 for share of h"#,
        signed(chain.get()),
        signed(at.number),
        at.hash.0.as_slice(),
        signed(WINDOW_BLOCKS),
    )
    .fetch_optional(tx)
    .await
    .during("check that a block is still part of the chain")?;
    if stands == Some(true) { Ok(()) } else { Err(StoreError::ChainMoved) }
}

/// Lets a request become registered by what the follower saw, on a block that was insisted on, unless
/// it has written that itself meanwhile.
pub(super) async fn register_seen(
    tx: &mut PgConnection,
    lease: &Lease,
    request: &Request,
    seen: &Seen,
    now: Time,
) -> Result<(), StoreError> {
    let is_written = sqlx::query_scalar!(
        r#"select registered_at is not null as "is!" from requests where id = $1 for update"#,
        request.id.0
    )
    .fetch_one(&mut *tx)
    .await
    .during("see whether a request is registered")?;
    if !is_written {
        let reader = Actor::service("watch");
        record(tx, request.id, Some(lease), &reader, &seen.event, now).await?;
    }
    Ok(())
}

/// Takes the head's row, which everything that rests on the chain takes first.
async fn lock_head(
    tx: &mut PgConnection,
    chain: ChainId,
    expected: Option<BlockRef>,
) -> Result<(), StoreError> {
    let found = sqlx::query!(
        "select number, hash from chain_heads where chain_id = $1 for update",
        signed(chain.get())
    )
    .fetch_optional(tx)
    .await
    .during("take the head of a chain")?;
    let found = found.map(|row| block_ref(row.number, &row.hash, "chain_heads")).transpose()?;
    // Somebody else moved it: what was read does not continue it.
    if found == expected { Ok(()) } else { Err(StoreError::ChainMoved) }
}

/// The head, its window and the announcement, in one statement: this runs for every block.
async fn move_head(tx: &mut PgConnection, step: &Advance, now: Time) -> Result<(), StoreError> {
    let numbers: Vec<i64> = step.blocks.iter().map(|block| signed(block.number)).collect();
    let hashes: Vec<Vec<u8>> = step.blocks.iter().map(|block| block.hash.0.to_vec()).collect();
    sqlx::query!(
        "with moved as (
            insert into chain_heads (chain_id, number, hash, block_time, seen_at, deep_number,
                deep_hash, final_number, block_millis)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            on conflict (chain_id) do update set number = $2, hash = $3, block_time = $4,
                seen_at = $5, deep_number = $6, deep_hash = $7,
                final_number = greatest(chain_heads.final_number, $8), block_millis = $9
         ), added as (
            insert into chain_blocks (chain_id, number, hash)
            select $1, * from unnest($10::bigint[], $11::bytea[])
         ), forgotten as (
            delete from chain_blocks where chain_id = $1 and number <= $2 - $12
         )
         select pg_notify($13, $14)",
        signed(step.chain.get()),
        signed(step.head.number),
        step.head.hash.0.as_slice(),
        step.head_time,
        now,
        step.deep.map(|deep| signed(deep.number)),
        step.deep.map(|deep| deep.hash.0.to_vec()),
        step.finalized.map(signed),
        step.block_millis.map(signed),
        &numbers,
        &hashes,
        signed(WINDOW_BLOCKS),
        CHANGES,
        format!("head {}", step.chain),
    )
    .fetch_one(tx)
    .await
    .during("move the head of a chain")
    .map(|_| ())
}

async fn register(
    tx: &mut PgConnection,
    requests: &[RequestId],
    deep: BlockRef,
    policy: &str,
    actor: &Actor,
    now: Time,
) -> Result<(), StoreError> {
    if requests.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = requests.iter().map(|id| id.0).collect();
    // A worker or a person may have moved a request on while the chain was read.
    let still: Vec<Uuid> = sqlx::query_scalar!(
        "select id from requests where id = any($1) and status = 'executed' order by id for update",
        &ids
    )
    .fetch_all(&mut *tx)
    .await
    .during("take the requests that are deep enough")?;
    requests::lock(tx, &still).await?;
    for id in still {
        let event = Event::Registered { block: deep, depth: policy.to_owned() };
        record(tx, RequestId(id), None, actor, &event, now).await?;
    }
    Ok(())
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
    // A KMS may not have deployed them on this chain, or elsewhere.
    let gone = sqlx::query!(
        "delete from apps a where chain_id = $1 and discovered = 'kms' and history_start > $2
           and not exists (select 1 from requests r where r.chain_id = a.chain_id and r.app = a.app)",
        chain_id,
        above
    )
    .execute(&mut *tx)
    .await
    .during("forget apps that a reorganisation took")?;
    if gone.rows_affected() > 0 {
        watch_changed(tx, chain).await?;
    }
    // What was deployed above may have come elsewhere: it is looked for again.
    sqlx::query!(
        "with kms as (update kms_contracts set history_start = null, history_is_whole = false
            where chain_id = $1 and history_start > $2)
         update apps set history_start = null, history_is_whole = false
         where chain_id = $1 and history_start > $2",
        chain_id,
        above
    )
    .execute(&mut *tx)
    .await
    .during("forget deployments that a reorganisation took")?;
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

/// Makes due what this step may have changed, locked in the one order: open requests of the touched apps
/// and Safes, and all of them when blocks were taken back, or the chain is read anew. What those blocks did
/// to nonces and owners of Safes is not known any more.
async fn wake(tx: &mut PgConnection, step: &Advance, now: Time) -> Result<(), StoreError> {
    let apps: Vec<Vec<u8>> = step.ledger.iter().map(|entry| entry.app.0.to_vec()).collect();
    let executed = step.executions.iter().map(|one| one.safe);
    let safes: Vec<Vec<u8>> =
        executed.chain(step.reconfigured.iter().copied()).map(|safe| safe.to_vec()).collect();
    let all = step.ancestor.is_some() || step.from.is_none();
    if !all && apps.is_empty() && safes.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "with touched as (
            select id from requests
            where chain_id = $1 and ended_as is null and committed_at is null
              and ($7 or app = any($2) or proposal_id in
                (select id from proposals where owner = any($3) and replaced_at is null))
            order by id for update
         ), woken as (
            update requests r set next_try_at = least(next_try_at, $4)
            from touched where r.id = touched.id
         )
         select pg_notify($5, $6)",
        signed(step.chain.get()),
        &apps,
        &safes,
        now,
        CHANGES,
        WAKE,
        all,
    )
    .fetch_one(tx)
    .await
    .during("wake requests")
    .map(|_| ())
}
