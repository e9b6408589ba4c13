//! What a device id means, for the API and the page: which node has it, which ids that node had before
//! and how that is known, and who uses it.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    audit::{EntryKind, allowlist},
    clock::Time,
    flow::Service,
    request::ids::{AppId, ChainId, ComposeHash, DeviceId, NodeId, ReplicaId, RequestId},
    store::{
        StoreError,
        devices::{KnownDevice, KnownNode, NODES_LISTED, Sighting},
    },
};

/// What is odd about a device id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceWarningCode {
    /// It is all zeros.
    Zero,
    /// It is the SHA-256 of nothing.
    OfNothing,
    /// No node of the workspace has it.
    Unknown,
    /// Its node shows another one now.
    Stale,
}

/// Something to know before a device is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeviceWarning {
    pub code: DeviceWarningCode,
    pub text: String,
}

/// A device id of a node, and how it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeviceIdView {
    pub device_id: DeviceId,
    #[schema(value_type = String, format = DateTime)]
    pub first_seen_at: Time,
    /// The answer that showed it first.
    pub first_seen_in: String,
    #[schema(value_type = String, format = DateTime)]
    pub last_seen_at: Time,
    pub last_seen_in: String,
    /// Whether the list of nodes shows the node with it now.
    pub is_listed: bool,
    /// When the list of nodes first showed the node without it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub gone_at: Option<Time>,
}

/// A node that was seen with the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeviceNode {
    pub node_id: NodeId,
    pub name: Option<String>,
    pub region: Option<String>,
    /// The KMS it works with.
    pub kms: Vec<String>,
    /// When the list of nodes last showed it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub listed_at: Option<Time>,
    /// Every device id it was seen with, this one first, then the newest.
    pub device_ids: Vec<DeviceIdView>,
}

/// A request for the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeviceRequest {
    #[schema(value_type = RequestId)]
    pub id: RequestId,
    pub chain_id: ChainId,
    pub app: AppId,
    pub status: String,
    pub replica: Option<String>,
}

/// An instance that was listed on the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeviceInstance {
    pub id: ReplicaId,
    pub app: AppId,
    pub compose_hash: Option<ComposeHash>,
    pub status: String,
    #[schema(value_type = String, format = DateTime)]
    pub seen_at: Time,
}

/// An app in whose history the device stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeviceApp {
    pub chain_id: ChainId,
    pub app: AppId,
    /// Whether its events allow the device now.
    pub is_allowed: bool,
}

/// What a device id means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeviceView {
    pub device_id: DeviceId,
    /// In a sentence.
    pub words: String,
    pub warnings: Vec<DeviceWarning>,
    pub nodes: Vec<DeviceNode>,
    pub apps: Vec<DeviceApp>,
    pub requests: Vec<DeviceRequest>,
    pub instances: Vec<DeviceInstance>,
}

/// What a device id means, in short, for a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeviceMeaning {
    pub words: String,
    pub warnings: Vec<DeviceWarning>,
}

/// Everything that is known of a device; who uses it, of all apps or of these.
pub async fn device(
    service: &Service,
    device: DeviceId,
    of: Option<&[(ChainId, AppId)]>,
) -> Result<DeviceView, StoreError> {
    let known = service.store.device(device, of).await?;
    let mut apps = vec![];
    for (chain, app) in &known.apps {
        let ledger = service.store.ledger(*chain, *app).await?;
        let is_allowed = allowlist(&ledger, None)
            .iter()
            .any(|one| one.kind == EntryKind::Device && one.value == device.0);
        apps.push(DeviceApp { chain_id: *chain, app: *app, is_allowed });
    }
    let mut view = view(device, known);
    if of.is_some() {
        view.nodes.iter_mut().for_each(DeviceNode::leave_others_out);
    }
    Ok(DeviceView { apps, ..view })
}

/// The same in short.
pub async fn meaning(service: &Service, id: DeviceId) -> Result<DeviceMeaning, StoreError> {
    let DeviceView { words, warnings, .. } = view(id, service.store.nodes_of_device(id).await?);
    Ok(DeviceMeaning { words, warnings })
}

fn view(device: DeviceId, known: KnownDevice) -> DeviceView {
    let nodes = nodes(device, &known);
    let warnings = warnings(device, &nodes, known.is_list_known);
    DeviceView {
        device_id: device,
        words: words(&nodes, known.is_list_known),
        warnings,
        nodes,
        apps: vec![],
        requests: known
            .requests
            .into_iter()
            .map(|one| DeviceRequest {
                id: one.request,
                chain_id: one.chain,
                app: one.app,
                status: one.status,
                replica: one.replica,
            })
            .collect(),
        instances: known
            .instances
            .into_iter()
            .map(|one| DeviceInstance {
                id: one.id,
                app: one.app,
                compose_hash: one.compose,
                status: one.status,
                seen_at: one.seen_at,
            })
            .collect(),
    }
}

fn nodes(device: DeviceId, known: &KnownDevice) -> Vec<DeviceNode> {
    let with_it = known.sightings.iter().filter(|one| one.device == device);
    with_it
        .map(|sighting| {
            let of_node = known.sightings.iter().filter(|one| one.node == sighting.node);
            let listed: Option<&KnownNode> =
                known.nodes.iter().find(|node| node.id == sighting.node);
            DeviceNode {
                node_id: sighting.node.clone(),
                name: listed.map(|node| node.name.clone()).or(sighting.node_name.clone()),
                region: listed.and_then(|node| node.region.clone()),
                kms: listed.map(|node| node.kms.clone()).unwrap_or_default(),
                listed_at: listed.map(|node| node.last_seen_at),
                device_ids: of_node.map(|one| DeviceIdView::of(one, listed)).collect(),
            }
        })
        .collect()
}

impl DeviceIdView {
    fn of(sighting: &Sighting, node: Option<&KnownNode>) -> Self {
        let listed = node.map(|node| node.last_seen_at);
        Self {
            device_id: sighting.device,
            first_seen_at: sighting.first_seen_at,
            first_seen_in: sighting.first_seen_in.clone(),
            last_seen_at: sighting.last_seen_at,
            last_seen_in: sighting.last_seen_in.clone(),
            is_listed: sighting.listed_at.is_some() && sighting.listed_at == listed,
            gone_at: sighting.gone_at,
        }
    }
}

impl DeviceNode {
    /// Leaves out what other people's requests and instances told: the list of nodes is the same for
    /// everybody.
    fn leave_others_out(&mut self) {
        let mut place = 0..;
        self.device_ids.retain(|one| place.next() == Some(0) || one.first_seen_in == NODES_LISTED);
        for one in &mut self.device_ids {
            for told in [&mut one.first_seen_in, &mut one.last_seen_in] {
                if told != NODES_LISTED {
                    "another answer".clone_into(told);
                }
            }
        }
    }

    fn name(&self) -> String {
        match &self.name {
            Some(name) if !name.is_empty() => format!("{name} ({})", self.node_id),
            _ => self.node_id.to_string(),
        }
    }

    fn is_here(&self) -> bool {
        self.device_ids.first().is_some_and(|own| own.is_listed)
    }
}

fn words(nodes: &[DeviceNode], is_list_known: bool) -> String {
    let region = |node: &DeviceNode| {
        node.region.as_ref().map(|region| format!(", {region}")).unwrap_or_default()
    };
    let here: Vec<_> = nodes.iter().filter(|node| node.is_here()).collect();
    match (here.as_slice(), nodes) {
        ([], []) if is_list_known => "no node is known to have it".into(),
        ([], []) => "the nodes have not been listed yet".into(),
        ([], [node, ..]) => format!("named for node {}{}", node.name(), region(node)),
        ([node], _) => format!("node {}{}", node.name(), region(node)),
        (several, _) => {
            let names: Vec<_> = several.iter().map(|node| node.name()).collect();
            format!("several nodes: {}", names.join(", "))
        }
    }
}

fn warnings(device: DeviceId, nodes: &[DeviceNode], is_list_known: bool) -> Vec<DeviceWarning> {
    let warning = |code, text: String| DeviceWarning { code, text };
    if device.0.is_zero() {
        let text = "the device id is zero, which is no device".into();
        return vec![warning(DeviceWarningCode::Zero, text)];
    }
    let of_nothing: [u8; 32] = Sha256::digest([]).into();
    if device.0 == of_nothing {
        let text =
            "the device id is the SHA-256 of nothing: whoever's machine could not be read has it";
        return vec![warning(DeviceWarningCode::OfNothing, text.into())];
    }
    if !is_list_known || nodes.iter().any(DeviceNode::is_here) {
        return vec![];
    }
    let moved = nodes.iter().find_map(|node| {
        let now = node.device_ids.iter().find(|one| one.is_listed)?;
        let own = node.device_ids.first()?;
        // An instance may show it later than the list of nodes does, which is behind then.
        let is_newer = own.gone_at.is_none() && own.last_seen_at > now.last_seen_at;
        Some((node, now, is_newer))
    });
    match moved {
        Some((_, _, true)) => vec![],
        Some((node, now, false)) => vec![warning(
            DeviceWarningCode::Stale,
            format!(
                "node {} has another device id now, {} (since {}): firmware may have changed, and a \
                 replica there would not boot with this one",
                node.name(),
                now.device_id,
                now.first_seen_at.format("%Y-%m-%d %H:%M"),
            ),
        )],
        None => vec![warning(
            DeviceWarningCode::Unknown,
            "no node that this workspace can use has this device id".into(),
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-21T12:00:00Z";

    fn id(byte: u8) -> DeviceId {
        DeviceId([byte; 32].into())
    }

    fn sighting(device: u8, node: &str, is_listed: bool) -> Sighting {
        let at: Time = NOW.parse().unwrap();
        Sighting {
            device: id(device),
            node: node.parse().unwrap(),
            node_name: None,
            first_seen_at: at,
            first_seen_in: NODES_LISTED.into(),
            last_seen_at: at,
            last_seen_in: NODES_LISTED.into(),
            listed_at: is_listed.then_some(at),
            gone_at: (!is_listed).then_some(at),
        }
    }

    /// What a preparation named so many minutes after the nodes were listed.
    fn prepared(device: u8, minutes: i64) -> Sighting {
        let last_seen_at = NOW.parse::<Time>().unwrap() + chrono::TimeDelta::minutes(minutes);
        Sighting { last_seen_at, gone_at: None, ..sighting(device, "5", false) }
    }

    fn known(sightings: Vec<Sighting>, listed: &[&str]) -> KnownDevice {
        let node = |name: &&str| KnownNode {
            id: name.parse().unwrap(),
            name: format!("prod{name}"),
            region: Some("us-west".into()),
            kms: vec![],
            first_seen_at: NOW.parse().unwrap(),
            last_seen_at: NOW.parse().unwrap(),
        };
        let nodes = listed.iter().map(node).collect();
        KnownDevice { sightings, nodes, is_list_known: true, ..KnownDevice::default() }
    }

    #[test]
    fn each_odd_device_has_its_warning() {
        use DeviceWarningCode::{OfNothing, Stale, Unknown, Zero};
        let of_nothing: [u8; 32] = Sha256::digest([]).into();
        let none = || known(vec![], &[]);
        for (device, known, expected) in [
            (id(0), none(), Some(Zero)),
            (DeviceId(of_nothing.into()), none(), Some(OfNothing)),
            (id(1), none(), Some(Unknown)),
            (id(1), KnownDevice::default(), None),
            (id(1), known(vec![sighting(1, "5", true)], &["5"]), None),
            (
                id(1),
                known(vec![sighting(1, "5", false), sighting(2, "5", true)], &["5"]),
                Some(Stale),
            ),
            (id(1), known(vec![sighting(1, "5", false)], &[]), Some(Unknown)),
            (id(1), known(vec![prepared(1, 1), sighting(2, "5", true)], &["5"]), None),
            (id(1), known(vec![prepared(1, -1), sighting(2, "5", true)], &["5"]), Some(Stale)),
        ] {
            let codes: Vec<_> = view(device, known).warnings.iter().map(|it| it.code).collect();
            assert_eq!(codes, Vec::from_iter(expected), "{device}");
        }
    }

    #[test]
    fn a_device_is_told_by_its_node() {
        let told = |known| view(id(1), known).words;
        let here = known(vec![sighting(1, "5", true)], &["5"]);
        assert_eq!(told(here), "node prod5 (5), us-west");
        assert_eq!(told(known(vec![sighting(1, "7", false)], &[])), "named for node 7");
        assert_eq!(told(KnownDevice::default()), "the nodes have not been listed yet");
        let two = known(vec![sighting(1, "5", true), sighting(1, "6", true)], &["5", "6"]);
        assert_eq!(told(two), "several nodes: prod5 (5), prod6 (6)");
    }
}
