//! Which node has which device id, as Phala Cloud's answers showed it, and who uses a device.

use sqlx::PgConnection;

use super::{
    During, Store, StoreError,
    device_uses::{UsedBy, app_of},
    hash_of, inconsistent, signed,
};
use crate::{
    clock::Time,
    request::ids::{AppId, ChainId, ComposeHash, DeviceId, NodeId, ReplicaId},
};

/// Rows of each kind that are read for one device: what people can look through.
pub(super) const ROWS_MAX: i64 = 100;
const TEXT_MAX: usize = 200;
/// The answer that is the same for whoever asks.
pub const NODES_LISTED: &str = "the list of nodes";

/// A node as the list of nodes shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedNode {
    pub id: NodeId,
    pub name: String,
    pub region: Option<String>,
    pub kms: Vec<String>,
    pub devices: Vec<DeviceId>,
}

/// A node as it was last listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNode {
    pub id: NodeId,
    pub name: String,
    pub region: Option<String>,
    pub kms: Vec<String>,
    pub first_seen_at: Time,
    pub last_seen_at: Time,
}

/// A device id that a node was seen with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    pub device: DeviceId,
    pub node: NodeId,
    pub node_name: Option<String>,
    pub first_seen_at: Time,
    pub first_seen_in: String,
    pub last_seen_at: Time,
    pub last_seen_in: String,
    /// When the list of nodes last showed the node with it.
    pub listed_at: Option<Time>,
    /// When the list of nodes first showed the node without it.
    pub gone_at: Option<Time>,
}

/// An answer that names a device and its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub device: DeviceId,
    pub node: NodeId,
    pub node_name: Option<String>,
    /// Which answer it was.
    pub answer: String,
}

/// An instance that a list showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedInstance {
    pub id: ReplicaId,
    pub app: AppId,
    /// None when the list does not show it: then it is on one that its node has.
    pub device: Option<DeviceId>,
    pub node: Option<NodeId>,
    pub compose: Option<ComposeHash>,
    pub status: String,
    pub seen_at: Time,
}

/// What is known of some device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownDevice {
    /// Of the nodes that were seen with it.
    pub nodes: Vec<KnownNode>,
    /// All device ids of those nodes, the newest first.
    pub sightings: Vec<Sighting>,
    /// Whether any list of nodes has been read.
    pub is_list_known: bool,
    pub requests: Vec<UsedBy>,
    pub instances: Vec<ListedInstance>,
    /// Apps in whose history it stands.
    pub apps: Vec<(ChainId, AppId)>,
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

impl Store {
    /// Notes what a list of nodes shows: who is there, with which device ids, and which ids are gone.
    pub async fn saw_nodes(&self, nodes: &[ListedNode], now: Time) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for node in nodes {
            let kms: Vec<String> = node.kms.iter().take(20).map(|name| cut(name)).collect();
            sqlx::query!(
                "insert into nodes (node_id, name, region, kms, first_seen_at, last_seen_at)
                 values ($1, $2, $3, $4, $5, $5)
                 on conflict (node_id) do update set name = $2, region = $3, kms = $4,
                    last_seen_at = greatest(nodes.last_seen_at, $5)",
                node.id.as_str(),
                cut(&node.name),
                node.region.as_deref().map(cut),
                &kms,
                now,
            )
            .execute(&mut *tx)
            .await
            .during("note a node")?;
            for device in &node.devices {
                let seen = Seen {
                    device: *device,
                    node: node.id.clone(),
                    node_name: Some(node.name.clone()),
                    answer: NODES_LISTED.into(),
                };
                note(&mut tx, &seen, Some(now), now).await?;
            }
            let here: Vec<Vec<u8>> = node.devices.iter().map(|it| it.0.to_vec()).collect();
            sqlx::query!(
                "update device_sightings set gone_at = coalesce(gone_at, $3)
                 where node_id = $1 and device_id <> all($2) and cardinality($2) > 0",
                node.id.as_str(),
                &here,
                now,
            )
            .execute(&mut *tx)
            .await
            .during("note what a node has no longer")?;
        }
        super::commit(tx).await
    }

    /// Whether a request that was made since then names a device that no list of nodes shows.
    pub async fn names_unlisted_device(&self, since: Time) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"select exists (
                select from requests r where r.created_at > $1 and not exists (
                    select from device_sightings s
                    where s.device_id = r.device_id and s.listed_at is not null and s.gone_at is null
                )
            ) as "is!""#,
            since
        )
        .fetch_one(&self.pool)
        .await
        .during("look for devices of new requests")
    }

    /// Notes an answer that names a device and its node.
    pub async fn saw_device(&self, seen: &Seen, now: Time) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await.during("connect")?;
        note(&mut connection, seen, None, now).await
    }

    /// Notes the instances of an app that a list shows; those that it does not show are gone.
    pub async fn saw_instances(
        &self,
        app: AppId,
        instances: &[ListedInstance],
        now: Time,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            "update apps set instances_listed_at = $2 where app = $1",
            app.0.as_slice(),
            now
        )
        .execute(&mut *tx)
        .await
        .during("note that the instances of an app were listed")?;
        sqlx::query!("delete from device_instances where app = $1", app.0.as_slice())
            .execute(&mut *tx)
            .await
            .during("forget instances")?;
        for one in instances {
            sqlx::query!(
                "insert into device_instances (instance_id, app, device_id, node_id, compose_hash,
                    status, seen_at)
                 values ($1, $2, $3, $4, $5, $6, $7)
                 on conflict (instance_id) do update set app = $2, device_id = $3, node_id = $4,
                    compose_hash = $5, status = $6, seen_at = $7",
                one.id.as_str(),
                app.0.as_slice(),
                one.device.map(|device| device.0.to_vec()),
                one.node.as_ref().map(NodeId::as_str),
                one.compose.map(|hash| hash.0.to_vec()),
                cut(&one.status),
                one.seen_at,
            )
            .execute(&mut *tx)
            .await
            .during("note an instance")?;
        }
        super::commit(tx).await
    }

    /// Apps that people made requests for, whose instances are worth asking for: those with open requests
    /// first, then those whose instances were listed longest ago.
    pub async fn apps_to_list(&self, limit: u32) -> Result<Vec<AppId>, StoreError> {
        let rows = sqlx::query_scalar!(
            "select a.app from apps a join requests r on r.chain_id = a.chain_id and r.app = a.app
             group by a.app
             order by bool_or(r.ended_as is null and r.running_at is null) desc,
                min(a.instances_listed_at) nulls first, a.app
             limit $1",
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await
        .during("look for apps whose instances are to be listed")?;
        rows.iter().map(|app| app_of(app, "apps")).collect()
    }

    /// When Phala Cloud's list of an app's instances was read last.
    pub async fn instances_listed_at(
        &self,
        chain: ChainId,
        app: AppId,
    ) -> Result<Option<Time>, StoreError> {
        let at = sqlx::query_scalar!(
            "select instances_listed_at from apps where chain_id = $1 and app = $2",
            signed(chain.get()),
            app.0.as_slice()
        )
        .fetch_optional(&self.pool)
        .await
        .during("look when instances were listed")?;
        Ok(at.flatten())
    }

    /// What is known of a device; who uses it, of all apps or of these.
    pub async fn device(
        &self,
        device: DeviceId,
        apps: Option<&[(ChainId, AppId)]>,
    ) -> Result<KnownDevice, StoreError> {
        Ok(KnownDevice {
            requests: self.requests_on(device, apps).await?,
            instances: self.instances_on(device, apps).await?,
            apps: self.apps_naming(device, apps).await?,
            ..self.nodes_of_device(device).await?
        })
    }

    /// Which nodes a device was seen on, and nothing about who uses it.
    pub async fn nodes_of_device(&self, device: DeviceId) -> Result<KnownDevice, StoreError> {
        let sightings = self.sightings(device).await?;
        let ids: Vec<String> = sightings.iter().map(|one| one.node.to_string()).collect();
        let nodes = self.nodes(&ids).await?;
        let is_list_known = !nodes.is_empty()
            || sqlx::query_scalar!(r#"select exists (select from nodes) as "is!""#)
                .fetch_one(&self.pool)
                .await
                .during("look for nodes")?;
        Ok(KnownDevice { nodes, sightings, is_list_known, ..KnownDevice::default() })
    }

    /// Every device id of the nodes that were seen with this one.
    async fn sightings(&self, device: DeviceId) -> Result<Vec<Sighting>, StoreError> {
        let rows = sqlx::query!(
            "select device_id, node_id, node_name, first_seen_at, first_seen_in, last_seen_at,
                last_seen_in, listed_at, gone_at
             from device_sightings
             where node_id in (select node_id from device_sightings where device_id = $1)
             order by device_id = $1 desc, last_seen_at desc limit $2",
            device.0.as_slice(),
            ROWS_MAX,
        )
        .fetch_all(&self.pool)
        .await
        .during("read where a device was seen")?;
        rows.into_iter()
            .map(|row| {
                Ok(Sighting {
                    device: DeviceId(hash_of(&row.device_id, "device_sightings", &row.node_id)?),
                    node: node_of(&row.node_id, "device_sightings")?,
                    node_name: row.node_name,
                    first_seen_at: row.first_seen_at,
                    first_seen_in: row.first_seen_in,
                    last_seen_at: row.last_seen_at,
                    last_seen_in: row.last_seen_in,
                    listed_at: row.listed_at,
                    gone_at: row.gone_at,
                })
            })
            .collect()
    }

    async fn nodes(&self, ids: &[String]) -> Result<Vec<KnownNode>, StoreError> {
        if ids.is_empty() {
            return Ok(vec![]);
        }
        let rows = sqlx::query!(
            "select node_id, name, region, kms, first_seen_at, last_seen_at from nodes
             where node_id = any($1) order by node_id",
            ids
        )
        .fetch_all(&self.pool)
        .await
        .during("read nodes")?;
        rows.into_iter()
            .map(|row| {
                Ok(KnownNode {
                    id: node_of(&row.node_id, "nodes")?,
                    name: row.name,
                    region: row.region,
                    kms: row.kms,
                    first_seen_at: row.first_seen_at,
                    last_seen_at: row.last_seen_at,
                })
            })
            .collect()
    }
}

async fn note(
    connection: &mut PgConnection,
    seen: &Seen,
    listed_at: Option<Time>,
    now: Time,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into device_sightings (device_id, node_id, node_name, first_seen_at, first_seen_in,
            last_seen_at, last_seen_in, listed_at)
         values ($1, $2, $3, $4, $5, $4, $5, $6)
         on conflict (device_id, node_id) do update set
            node_name = coalesce($3, device_sightings.node_name), last_seen_at = $4,
            last_seen_in = $5, listed_at = coalesce($6, device_sightings.listed_at),
            gone_at = case when $6::timestamptz is null then device_sightings.gone_at end",
        seen.device.0.as_slice(),
        seen.node.as_str(),
        seen.node_name.as_deref().map(cut),
        now,
        cut(&seen.answer),
        listed_at,
    )
    .execute(connection)
    .await
    .during("note where a device was seen")
    .map(|_| ())
}

pub(super) fn node_of(text: &str, table: &'static str) -> Result<NodeId, StoreError> {
    text.parse().map_err(|_| inconsistent(table, "node_id", text))
}
