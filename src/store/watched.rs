//! What is watched on a chain: apps, the KMS that announce apps, and the Safes that anything was proposed to.

use alloy::primitives::Address;
use sqlx::PgConnection;

use super::{During, Store, StoreError, inconsistent, signed};
use crate::{
    clock::Time,
    request::{
        facts::BlockRef,
        ids::{AppId, ChainId},
    },
};

/// Everything whose logs matter on a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchSet {
    pub apps: Vec<AppId>,
    pub kms: Vec<Address>,
    pub safes: Vec<Address>,
}

pub(super) fn address(
    table: &'static str,
    column: &'static str,
    bytes: &[u8],
) -> Result<Address, StoreError> {
    let hex = alloy::hex::encode(bytes);
    bytes.try_into().map_err(|_| inconsistent(table, column, hex))
}

impl Store {
    /// Everything that is watched on a chain from block `head` on. Contracts that are new here are
    /// noted as read from the next block on, in the same transaction, so that what is older is
    /// history and nothing falls between.
    pub async fn watch_set(&self, chain: ChainId, head: BlockRef) -> Result<WatchSet, StoreError> {
        let chain_id = signed(chain.get());
        let mut tx = self.begin().await?;
        let stands = sqlx::query!(
            "select number from chain_heads
             where chain_id = $1 and number = $2 and hash = $3 for share",
            chain_id,
            signed(head.number),
            head.hash.0.as_slice(),
        )
        .fetch_optional(&mut *tx)
        .await
        .during("read the head of a chain")?;
        if stands.is_none() {
            return Err(StoreError::ChainMoved);
        }
        let apps = sqlx::query_scalar!("select app from apps where chain_id = $1", chain_id)
            .fetch_all(&mut *tx)
            .await
            .during("list the apps of a chain")?;
        let kms =
            sqlx::query_scalar!("select kms from kms_contracts where chain_id = $1", chain_id)
                .fetch_all(&mut *tx)
                .await
                .during("list the KMS contracts of a chain")?;
        let safes = sqlx::query_scalar!(
            "select distinct owner from proposals
             where chain_id = $1 and route = 'safe'",
            chain_id
        )
        .fetch_all(&mut *tx)
        .await
        .during("list the Safes of a chain")?;
        sqlx::query!(
            "with apps_noted as (
                update apps set ledger_from = $2
                where chain_id = $1 and ledger_from is null and app = any($3)
             )
             update kms_contracts set ledger_from = $2
             where chain_id = $1 and ledger_from is null and kms = any($4)",
            chain_id,
            signed(head.number + 1),
            &apps,
            &kms,
        )
        .execute(&mut *tx)
        .await
        .during("note from where on contracts are read")?;
        super::commit(tx).await?;
        let addresses = |table, column, rows: &[Vec<u8>]| {
            rows.iter().map(|row| address(table, column, row)).collect::<Result<Vec<_>, _>>()
        };
        Ok(WatchSet {
            apps: addresses("apps", "app", &apps)?.into_iter().map(AppId).collect(),
            kms: addresses("kms_contracts", "kms", &kms)?,
            safes: addresses("proposals", "owner", &safes)?,
        })
    }

    /// Watches apps and KMS contracts that the settings name.
    pub async fn watch(
        &self,
        chain: ChainId,
        apps: &[AppId],
        kms: &[Address],
        now: Time,
    ) -> Result<(), StoreError> {
        let apps: Vec<Vec<u8>> = apps.iter().map(|app| app.0.to_vec()).collect();
        let kms: Vec<Vec<u8>> = kms.iter().map(|kms| kms.to_vec()).collect();
        let mut tx = self.begin().await?;
        let added = sqlx::query!(
            "with apps_added as (
                insert into apps (chain_id, app, first_seen_at, discovered)
                select $1, app, $4, 'configuration' from unnest($2::bytea[]) app
                on conflict do nothing returning 1
             ), kms_added as (
                insert into kms_contracts (chain_id, kms)
                select $1, kms from unnest($3::bytea[]) kms on conflict do nothing returning 1
             )
             select 1 as one from apps_added union all select 1 from kms_added",
            signed(chain.get()),
            &apps,
            &kms,
            now,
        )
        .fetch_all(&mut *tx)
        .await
        .during("watch the contracts that are configured")?;
        if !added.is_empty() {
            watch_changed(&mut tx, chain).await?;
        }
        super::commit(tx).await
    }
}

/// Tells the follower of a chain that something else is to be watched.
pub(super) async fn watch_changed(tx: &mut PgConnection, chain: ChainId) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into watch_versions (chain_id, version) values ($1, 1)
         on conflict (chain_id) do update set version = watch_versions.version + 1",
        signed(chain.get())
    )
    .execute(tx)
    .await
    .during("tell that something else is watched")
    .map(|_| ())
}

/// Watches apps that a KMS deployed. What is known of an app already stays, but its history now
/// starts where it was deployed.
pub(super) async fn insert_discovered(
    tx: &mut PgConnection,
    chain: ChainId,
    discovered: &[(AppId, u64)],
    now: Time,
) -> Result<(), StoreError> {
    if discovered.is_empty() {
        return Ok(());
    }
    let (apps, blocks): (Vec<Vec<u8>>, Vec<i64>) =
        discovered.iter().map(|(app, block)| (app.0.to_vec(), signed(*block))).unzip();
    sqlx::query!(
        "insert into apps (chain_id, app, first_seen_at, discovered, history_start, history_is_whole)
         select distinct on (app) $1, app, $4, 'kms', block, true
         from unnest($2::bytea[], $3::bigint[]) as found (app, block) order by app, block
         on conflict (chain_id, app) do update
            set history_start = excluded.history_start, history_is_whole = true",
        signed(chain.get()),
        &apps,
        &blocks,
        now,
    )
    .execute(&mut *tx)
    .await
    .during("watch apps that a KMS deployed")?;
    watch_changed(tx, chain).await
}
