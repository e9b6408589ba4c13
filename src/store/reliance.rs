//! Who relies on what an app allows: requests on their way, what they made, and what Phala Cloud listed.

use alloy::primitives::B256;
use chrono::TimeDelta;
use uuid::Uuid;

use super::{During, Store, StoreError, hash_of, inconsistent, signed};
use crate::request::ids::{AppId, ChainId, ComposeHash, DeviceId, NodeId, ReplicaId, RequestId};

/// Most of each kind that are looked at, the newest.
const ROWS_MAX: i64 = 10_000;
/// What runs is on a list that was read so long afterwards. Phala Cloud may list a moment late.
const LISTED_AFTER: TimeDelta = TimeDelta::minutes(5);

/// Somebody who needs a compose hash and a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reliance {
    /// None when a list did not say, here and below.
    pub compose: Option<ComposeHash>,
    pub device: Option<DeviceId>,
    pub node: Option<NodeId>,
    /// The request, while it is on its way.
    pub request: Option<RequestId>,
    /// The instance, when there is one.
    pub instance: Option<ReplicaId>,
}

impl Store {
    /// Who needs one of these compose hashes or devices at this app.
    pub async fn relying(
        &self,
        chain: ChainId,
        app: AppId,
        values: &[B256],
    ) -> Result<Vec<Reliance>, StoreError> {
        let values: Vec<Vec<u8>> = values.iter().map(|value| value.to_vec()).collect();
        let mut relying = self.relying_requests(chain, app, &values).await?;
        relying.extend(self.relying_instances(app, &values).await?);
        Ok(relying)
    }

    /// What a request made relies on what it was made with, also when it failed, until a later update of it
    /// runs, or a list shows what it runs and on which device, or does not show it any more.
    async fn relying_requests(
        &self,
        chain: ChainId,
        app: AppId,
        values: &[Vec<u8>],
    ) -> Result<Vec<Reliance>, StoreError> {
        let rows = sqlx::query!(
            r#"select id, compose_hash, device_id, node_id, replica_id
             from requests r
             where chain_id = $1 and app = $2 and (compose_hash = any($3) or device_id = any($3))
               and (ended_at is null or replica_id is not null)
               and not exists (
                    select from requests later
                    where later.replica_id = r.replica_id
                        and later.running_at > coalesce(r.ended_at, r.running_at)
               )
               and not exists (
                    select from apps a
                    left join device_instances i on i.app = a.app and i.instance_id = r.replica_id
                    where a.chain_id = r.chain_id and a.app = r.app
                        and a.instances_listed_at > coalesce(r.ended_at, r.running_at) + $5
                        and (i.instance_id is null
                            or i.compose_hash is not null and i.device_id is not null)
               )
             order by created_at desc, id desc limit $4"#,
            signed(chain.get()),
            app.0.as_slice(),
            values,
            ROWS_MAX,
            LISTED_AFTER as _,
        )
        .fetch_all(&self.pool)
        .await
        .during("look whose requests need what an app allows")?;
        let wrong = |column, id: Uuid| inconsistent("requests", column, id);
        rows.into_iter()
            .map(|row| {
                let hash = |bytes: &[u8]| hash_of(bytes, "requests", row.id);
                let node = row.node_id.map(|node| node.parse()).transpose();
                let is_open = row.replica_id.is_none();
                let instance = row.replica_id.map(|id| id.parse()).transpose();
                Ok(Reliance {
                    compose: Some(ComposeHash(hash(&row.compose_hash)?)),
                    device: Some(DeviceId(hash(&row.device_id)?)),
                    node: node.map_err(|_| wrong("node_id", row.id))?,
                    request: is_open.then_some(RequestId(row.id)),
                    instance: instance.map_err(|_| wrong("replica_id", row.id))?,
                })
            })
            .collect()
    }

    async fn relying_instances(
        &self,
        app: AppId,
        values: &[Vec<u8>],
    ) -> Result<Vec<Reliance>, StoreError> {
        let rows = sqlx::query!(
            r#"select i.instance_id, coalesce(i.device_id, s.device_id) as device_id, i.node_id,
                i.compose_hash
             from device_instances i
             left join device_sightings s
                on i.device_id is null and s.node_id = i.node_id and s.gone_at is null
             where i.app = $1
                and (i.compose_hash = any($2) or coalesce(i.device_id, s.device_id) = any($2))
             order by i.seen_at desc, i.instance_id limit $3"#,
            app.0.as_slice(),
            values,
            ROWS_MAX,
        )
        .fetch_all(&self.pool)
        .await
        .during("look which instances need what an app allows")?;
        let table = "device_instances";
        rows.into_iter()
            .map(|row| {
                let wrong = |column| inconsistent(table, column, &row.instance_id);
                let hash = |bytes: &[u8]| hash_of(bytes, table, &row.instance_id);
                let node = row.node_id.as_ref().map(|node| node.parse()).transpose();
                Ok(Reliance {
                    compose: row.compose_hash.as_deref().map(hash).transpose()?.map(ComposeHash),
                    device: row.device_id.as_deref().map(hash).transpose()?.map(DeviceId),
                    node: node.map_err(|_| wrong("node_id"))?,
                    request: None,
                    instance: Some(row.instance_id.parse().map_err(|_| wrong("instance_id"))?),
                })
            })
            .collect()
    }
}
