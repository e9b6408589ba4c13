//! What a device id means: which node has it, which others that node had before, and who uses it. All
//! of it is told by Phala Cloud, whose names are shown and believed for nothing.

use crate::{
    clock::Time,
    compose::visible,
    phala::{PhalaCloud, PhalaError},
    store::{
        Store, StoreError,
        devices::{ListedInstance, ListedNode, Seen},
    },
};

/// Nodes of one list, and device ids of one node, that are kept. Of instances all are: one that is left out
/// would count as gone.
const NODES_MAX: usize = 2_000;
const DEVICES_MAX: usize = 50;
/// Apps whose instances are listed in one go.
const APPS_MAX: u32 = 50;

/// Why nothing new is known; asked for again.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cloud(#[from] PhalaError),
}

/// Reads the list of nodes.
pub async fn list_nodes(store: &Store, cloud: &PhalaCloud, now: Time) -> Result<(), DevicesError> {
    let nodes = cloud.nodes().await?;
    let listed: Vec<ListedNode> = nodes
        .into_iter()
        .take(NODES_MAX)
        .map(|node| ListedNode {
            id: node.id,
            name: visible(&node.name, false),
            region: node.region.map(|region| visible(&region, false)),
            kms: node.kms.iter().map(|name| visible(name, false)).collect(),
            devices: node.device_ids.into_iter().take(DEVICES_MAX).collect(),
        })
        .collect();
    Ok(store.saw_nodes(&listed, now).await?)
}

/// Reads the instances of apps. One app that cannot be read keeps no other.
pub async fn list_instances(
    store: &Store,
    cloud: &PhalaCloud,
    now: Time,
) -> Result<(), DevicesError> {
    let mut problem = None;
    for app in store.apps_to_list(APPS_MAX).await? {
        let instances = match cloud.instances(app).await {
            Ok(instances) => instances,
            Err(error) => {
                problem = Some(error);
                continue;
            }
        };
        let mut listed = vec![];
        for one in instances {
            if let (Some(device), Some(node)) = (one.device_id, one.node_id.clone()) {
                let (name, answer) = (one.node_name.as_ref(), format!("the instance {}", one.id));
                let node_name = name.map(|name| visible(name, false));
                store.saw_device(&Seen { device, node, node_name, answer }, now).await?;
            }
            listed.push(ListedInstance {
                id: one.id,
                app,
                device: one.device_id,
                node: one.node_id,
                compose: one.compose_hash,
                status: visible(&one.status, false),
                seen_at: now,
            });
        }
        store.saw_instances(app, &listed, now).await?;
    }
    problem.map_or(Ok(()), |error| Err(error.into()))
}
