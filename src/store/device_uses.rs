//! Who uses a device: requests, instances, and apps that name it; of all apps, or of some.

use uuid::Uuid;

use super::{
    During, Store, StoreError,
    apps::columns,
    devices::{ListedInstance, ROWS_MAX, node_of},
    hash_of, inconsistent, unsigned,
};
use crate::request::ids::{AppId, ChainId, ComposeHash, DeviceId, RequestId};

/// A request for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedBy {
    pub request: RequestId,
    pub chain: ChainId,
    pub app: AppId,
    pub status: String,
    pub replica: Option<String>,
}

impl Store {
    pub(super) async fn requests_on(
        &self,
        device: DeviceId,
        apps: Option<&[(ChainId, AppId)]>,
    ) -> Result<Vec<UsedBy>, StoreError> {
        let (chains, apps) = columns(apps);
        let rows = sqlx::query!(
            r#"select id, chain_id, app, status as "status!", replica_id from requests
             where device_id = $1
               and ($3::bigint[] is null
                    or (chain_id, app) in (select * from unnest($3::bigint[], $4::bytea[])))
             order by created_at desc limit $2"#,
            device.0.as_slice(),
            ROWS_MAX,
            chains.as_deref(),
            apps.as_deref(),
        )
        .fetch_all(&self.pool)
        .await
        .during("read the requests for a device")?;
        rows.into_iter()
            .map(|row| {
                Ok(UsedBy {
                    request: RequestId(row.id),
                    chain: chain_of(row.chain_id, row.id)?,
                    app: app_of(&row.app, "requests")?,
                    status: row.status,
                    replica: row.replica_id,
                })
            })
            .collect()
    }

    pub(super) async fn instances_on(
        &self,
        device: DeviceId,
        apps: Option<&[(ChainId, AppId)]>,
    ) -> Result<Vec<ListedInstance>, StoreError> {
        let (chains, apps) = columns(apps);
        let rows = sqlx::query!(
            "select instance_id, app, node_id, compose_hash, status, seen_at from device_instances
             where (device_id = $1 or device_id is null and node_id in
                (select node_id from device_sightings where device_id = $1 and gone_at is null))
               and ($3::bigint[] is null or app in (select unnest($4::bytea[])))
             order by instance_id limit $2",
            device.0.as_slice(),
            ROWS_MAX,
            chains.as_deref(),
            apps.as_deref(),
        )
        .fetch_all(&self.pool)
        .await
        .during("read the instances on a device")?;
        rows.into_iter()
            .map(|row| {
                let table = "device_instances";
                let compose = row.compose_hash.map(|hash| hash_of(&hash, table, &row.instance_id));
                Ok(ListedInstance {
                    id: (row.instance_id.parse())
                        .map_err(|_| inconsistent(table, "instance_id", &row.instance_id))?,
                    app: app_of(&row.app, table)?,
                    device: Some(device),
                    node: row.node_id.map(|node| node_of(&node, table)).transpose()?,
                    compose: compose.transpose()?.map(ComposeHash),
                    status: row.status,
                    seen_at: row.seen_at,
                })
            })
            .collect()
    }

    pub(super) async fn apps_naming(
        &self,
        device: DeviceId,
        apps: Option<&[(ChainId, AppId)]>,
    ) -> Result<Vec<(ChainId, AppId)>, StoreError> {
        let (chains, apps) = columns(apps);
        let rows = sqlx::query!(
            "select distinct chain_id, app from ledger where value = $1
               and ($3::bigint[] is null
                    or (chain_id, app) in (select * from unnest($3::bigint[], $4::bytea[])))
             limit $2",
            device.0.as_slice(),
            ROWS_MAX,
            chains.as_deref(),
            apps.as_deref(),
        )
        .fetch_all(&self.pool)
        .await
        .during("look for apps that name a device")?;
        rows.iter()
            .map(|row| Ok((chain_of(row.chain_id, Uuid::nil())?, app_of(&row.app, "ledger")?)))
            .collect()
    }
}

pub(super) fn app_of(bytes: &[u8], table: &'static str) -> Result<AppId, StoreError> {
    bytes.try_into().map(AppId).map_err(|_| inconsistent(table, "app", "?"))
}

fn chain_of(id: i64, row: Uuid) -> Result<ChainId, StoreError> {
    ChainId::new(unsigned("requests", "chain_id", row, id)?)
        .map_err(|_| inconsistent("requests", "chain_id", row))
}
