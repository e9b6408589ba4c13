//! How far back the history of each watched contract is known. It is read downwards from the block
//! where watching began, so that "everything from `ledger_from` on is here" is true at all times.

use alloy::primitives::Address;
use sqlx::PgConnection;

use super::{
    During, Store, StoreError,
    chain::Leadership,
    inconsistent,
    ledger::{LedgerEntry, insert_ledger},
    signed, unsigned,
    watched::insert_discovered,
};
use crate::{
    clock::Time,
    request::{
        facts::BlockRef,
        ids::{AppId, BlockHash, ChainId},
    },
};

/// A contract whose history is not read to its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread {
    pub address: Address,
    pub is_kms: bool,
    /// Everything from this block on is known.
    pub known_from: u64,
    /// First block worth reading, once that is found out.
    pub start: Option<u64>,
}

/// A stretch of blocks that was read.
#[derive(Debug, Clone)]
pub struct Stretch {
    pub chain: ChainId,
    pub from: u64,
    /// Last block, as the chain had it when the logs were read.
    pub to: BlockRef,
    pub entries: Vec<LedgerEntry>,
    /// Apps that a KMS deployed in these blocks.
    pub discovered: Vec<(AppId, u64)>,
}

impl Store {
    /// Contracts whose history is not read to its start, those known least far back first.
    pub async fn unread(&self, chain: ChainId, limit: u32) -> Result<Vec<Unread>, StoreError> {
        let rows = sqlx::query!(
            r#"select address as "address!", is_kms as "is_kms!", ledger_from as "ledger_from!",
                history_start
             from (
                select kms as address, true as is_kms, ledger_from, history_start
                from kms_contracts where chain_id = $1 and ledger_from is not null
                  and (history_start is null or ledger_from > history_start)
                union all
                select app, false, ledger_from, history_start
                from apps where chain_id = $1 and ledger_from is not null
                  and (history_start is null or ledger_from > history_start)
             ) as contracts
             order by ledger_from desc, is_kms desc, address limit $2"#,
            signed(chain.get()),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await
        .during("look for histories to read")?;
        rows.into_iter()
            .map(|row| {
                let number = |column, value| unsigned("apps", column, chain, value);
                let hex = alloy::hex::encode(&row.address);
                let address = row.address.as_slice().try_into();
                Ok(Unread {
                    address: address.map_err(|_| inconsistent("apps", "app", hex))?,
                    is_kms: row.is_kms,
                    known_from: number("ledger_from", row.ledger_from)?,
                    start: row
                        .history_start
                        .map(|start| number("history_start", start))
                        .transpose()?,
                })
            })
            .collect()
    }

    /// Whether the history of an app is read as far back as it can be.
    pub async fn history_is_read(&self, chain: ChainId, app: AppId) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"select exists (select 1 from apps where chain_id = $1 and app = $2
                and ledger_from <= history_start) as "is_read!""#,
            signed(chain.get()),
            app.0.as_slice(),
        )
        .fetch_one(&self.pool)
        .await
        .during("look how far a history is read")
    }

    /// Blocks that are still to be read for the contract that lacks most.
    pub async fn history_left(&self, chain: ChainId) -> Result<u64, StoreError> {
        let left = sqlx::query_scalar!(
            r#"select coalesce(max(ledger_from - coalesce(history_start, 0)), 0) as "left!" from (
                select ledger_from, history_start from apps where chain_id = $1
                union all
                select ledger_from, history_start from kms_contracts where chain_id = $1
             ) as contracts where ledger_from > coalesce(history_start, 0)"#,
            signed(chain.get())
        )
        .fetch_one(&self.pool)
        .await
        .during("count the blocks still to be read")?;
        unsigned("apps", "ledger_from", chain, left)
    }

    /// Notes where the history of contracts starts, and whether that is their deployment.
    pub async fn history_starts(
        &self,
        _proof: &Leadership,
        chain: ChainId,
        starts: &[(Address, u64, bool)],
    ) -> Result<(), StoreError> {
        let addresses: Vec<Vec<u8>> = starts.iter().map(|(one, ..)| one.to_vec()).collect();
        let blocks: Vec<i64> = starts.iter().map(|(_, start, _)| signed(*start)).collect();
        let whole: Vec<bool> = starts.iter().map(|(.., whole)| *whole).collect();
        sqlx::query!(
            "with found as (
                select * from unnest($2::bytea[], $3::bigint[], $4::boolean[])
                    as found (address, start, whole)
             ), apps_noted as (
                update apps set history_start = start, history_is_whole = whole
                from found where chain_id = $1 and app = address and history_start is null
             )
             update kms_contracts set history_start = start, history_is_whole = whole
             from found where chain_id = $1 and kms = address and history_start is null",
            signed(chain.get()),
            &addresses,
            &blocks,
            &whole,
        )
        .execute(&self.pool)
        .await
        .during("note where histories start")
        .map(|_| ())
    }

    /// Adds a stretch of history of some contracts, in one transaction with how far it reaches. A
    /// stretch that another chain than the followed one has is refused.
    pub async fn add_history(
        &self,
        _proof: &Leadership,
        stretch: &Stretch,
        contracts: &[Address],
        now: Time,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        check_seam(&mut tx, stretch).await?;
        insert_ledger(&mut tx, stretch.chain, &stretch.entries).await?;
        let contracts: Vec<Vec<u8>> = contracts.iter().map(|one| one.to_vec()).collect();
        sqlx::query!(
            "with apps_noted as (
                update apps set ledger_from = greatest($2, least(history_start, ledger_from))
                where chain_id = $1 and app = any($3) and ledger_from between $2 and $4
             )
             update kms_contracts
             set ledger_from = greatest($2, least(history_start, ledger_from))
             where chain_id = $1 and kms = any($3) and ledger_from between $2 and $4",
            signed(stretch.chain.get()),
            signed(stretch.from),
            &contracts,
            signed(stretch.to.number + 1),
        )
        .execute(&mut *tx)
        .await
        .during("note how far a history reaches")?;
        insert_discovered(&mut tx, stretch.chain, &stretch.discovered, now).await?;
        super::commit(tx).await
    }
}

/// The blocks of a stretch that are in the window must be those of the window. The head's row is
/// held meanwhile, so that a reorganisation comes before or after, and takes what it must.
async fn check_seam(tx: &mut PgConnection, stretch: &Stretch) -> Result<(), StoreError> {
    let chain = signed(stretch.chain.get());
    sqlx::query!("select number from chain_heads where chain_id = $1 for share", chain)
        .fetch_optional(&mut *tx)
        .await
        .during("read the head of a chain")?;
    let places = stretch.entries.iter().map(|entry| entry.block).chain([stretch.to]);
    let (numbers, hashes): (Vec<i64>, Vec<Vec<u8>>) = places
        .map(|block: BlockRef| {
            let BlockHash(hash) = block.hash;
            (signed(block.number), hash.to_vec())
        })
        .unzip();
    let foreign = sqlx::query_scalar!(
        r#"select count(*) as "foreign!"
         from unnest($2::bigint[], $3::bytea[]) as read (number, hash)
         left join chain_blocks b on b.chain_id = $1 and b.number = read.number
         where b.hash is distinct from read.hash
           and read.number >= (select min(number) from chain_blocks where chain_id = $1)"#,
        chain,
        &numbers,
        &hashes,
    )
    .fetch_one(tx)
    .await
    .during("compare history with the window")?;
    if foreign == 0 { Ok(()) } else { Err(StoreError::ChainMoved) }
}
