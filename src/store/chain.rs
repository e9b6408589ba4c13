//! The follower's place on each chain.

use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{During, Store, StoreError, hash_of, inconsistent, signed, unsigned};
use crate::{
    clock::Time,
    request::{
        facts::BlockRef,
        ids::{AppId, BlockHash, ChainId, ComposeHash, DeviceId, RequestId},
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
    /// Newest block that is as deep as the policy asks.
    pub deep: Option<BlockRef>,
    /// Newest block the chain was seen to call finalized.
    pub finalized: Option<u64>,
    /// Usual time between two blocks, in milliseconds.
    pub block_millis: Option<u64>,
}

/// Where the follower stands, and what a tick needs to know beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub head: Head,
    /// The block that the next one makes deep enough, when the policy counts blocks.
    pub next_deep: Option<BlockRef>,
    /// Changes with what is watched.
    pub watch_version: i64,
    /// Whether a request waits for depth.
    pub is_awaited: bool,
    /// Why a person must look before this chain is followed on.
    pub halted: Option<String>,
}

/// Proof that this instance alone follows a chain, for as long as its connection lives.
#[derive(Debug)]
pub struct Leadership {
    connection: Mutex<PgConnection>,
}

impl Leadership {
    /// Whether the lock is still held: it goes with the connection.
    pub async fn holds(&self) -> bool {
        self.connection.lock().await.ping().await.is_ok()
    }

    pub async fn resign(self) {
        // The server frees the lock when the connection ends, however it ends.
        drop(self.connection.into_inner().close().await);
    }
}

pub(super) fn block_ref(
    number: i64,
    hash: &[u8],
    table: &'static str,
) -> Result<BlockRef, StoreError> {
    Ok(BlockRef {
        number: unsigned(table, "number", number, number)?,
        hash: BlockHash(hash_of(hash, table, number)?),
    })
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
            // A leader whose machine is gone must not hold the lead for hours.
            sqlx::query!(
                "select set_config('tcp_keepalives_idle', '5', false) as idle,
                    set_config('tcp_keepalives_interval', '2', false) as pause,
                    set_config('tcp_keepalives_count', '3', false) as count"
            )
            .fetch_one(&mut connection)
            .await
            .during("watch over the lead on a chain")?;
            return Ok(Some(Leadership { connection: Mutex::new(connection) }));
        }
        drop(connection.close().await);
        Ok(None)
    }

    pub async fn head(&self, chain: ChainId) -> Result<Option<Head>, StoreError> {
        Ok(self.place(chain, None).await?.map(|place| place.head))
    }

    /// Where the follower of a chain stands; none before its first step. `depth` is the number of
    /// blocks that the policy counts, if it counts blocks.
    pub async fn place(
        &self,
        chain: ChainId,
        depth: Option<u64>,
    ) -> Result<Option<Place>, StoreError> {
        let row = sqlx::query!(
            r#"select number, hash, block_time, seen_at, deep_number, deep_hash, final_number,
                block_millis,
                (select hash from chain_blocks b
                 where b.chain_id = $1 and b.number = h.number + 1 - $2) as next_deep_hash,
                coalesce((select version from watch_versions where chain_id = $1), 0)
                    as "watch_version!",
                exists (select 1 from requests
                    where chain_id = $1 and executed_at is not null and registered_at is null
                      and ended_as is null and attempt_id is null and committed_at is null)
                    as "is_awaited!",
                (select problem from chain_troubles where chain_id = $1 and halted) as halted
             from chain_heads h where chain_id = $1"#,
            signed(chain.get()),
            depth.map(signed),
        )
        .fetch_optional(&self.pool)
        .await
        .during("read the head of a chain")?;
        let Some(row) = row else { return Ok(None) };
        let table = "chain_heads";
        let number = |column, value: Option<i64>| {
            value.map(|value| unsigned(table, column, chain, value)).transpose()
        };
        let block = block_ref(row.number, &row.hash, table)?;
        let deep = row.deep_number.zip(row.deep_hash);
        let next_deep = depth.and_then(|depth| (block.number + 1).checked_sub(depth));
        let next_deep = next_deep.zip(row.next_deep_hash);
        Ok(Some(Place {
            head: Head {
                block,
                block_time: row.block_time,
                seen_at: row.seen_at,
                deep: deep.map(|(number, hash)| block_ref(number, &hash, table)).transpose()?,
                finalized: number("final_number", row.final_number)?,
                block_millis: number("block_millis", row.block_millis)?,
            },
            next_deep: next_deep
                .map(|(number, hash)| block_ref(signed(number), &hash, table))
                .transpose()?,
            watch_version: row.watch_version,
            is_awaited: row.is_awaited,
            halted: row.halted,
        }))
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

    /// The remembered blocks at or below `number`, newest first.
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
        rows.into_iter().map(|row| block_ref(row.number, &row.hash, "chain_blocks")).collect()
    }

    /// The remembered block at `number`.
    pub async fn block_at(
        &self,
        chain: ChainId,
        number: u64,
    ) -> Result<Option<BlockRef>, StoreError> {
        let row = sqlx::query!(
            "select number, hash from chain_blocks where chain_id = $1 and number = $2",
            signed(chain.get()),
            signed(number),
        )
        .fetch_optional(&self.pool)
        .await
        .during("read a block of the window")?;
        row.map(|row| block_ref(row.number, &row.hash, "chain_blocks")).transpose()
    }

    /// Requests whose execution lies at or below `deep` and that are not registered yet.
    pub async fn awaiting_depth(
        &self,
        chain: ChainId,
        deep: u64,
        limit: u32,
    ) -> Result<Vec<Awaited>, StoreError> {
        let rows = sqlx::query!(
            "select id, app, compose_hash, device_id from requests
             where chain_id = $1 and executed_block <= $2 and executed_at is not null
               and registered_at is null and ended_as is null and attempt_id is null
               and committed_at is null
             order by deadline, executed_block, id limit $3",
            signed(chain.get()),
            signed(deep),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await
        .during("look for requests that wait for depth")?;
        rows.into_iter()
            .map(|row| Awaited::read(row.id, &row.app, &row.compose_hash, &row.device_id))
            .collect()
    }
}

/// A request that waits for what its app allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    pub request: RequestId,
    pub app: AppId,
    pub compose: ComposeHash,
    pub device: DeviceId,
}

impl Awaited {
    pub(super) fn read(
        id: Uuid,
        app: &[u8],
        compose: &[u8],
        device: &[u8],
    ) -> Result<Self, StoreError> {
        Ok(Self {
            request: RequestId(id),
            app: AppId(app.try_into().map_err(|_| inconsistent("requests", "app", id))?),
            compose: ComposeHash(hash_of(compose, "requests", id)?),
            device: DeviceId(hash_of(device, "requests", id)?),
        })
    }
}
