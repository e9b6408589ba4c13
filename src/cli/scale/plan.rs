//! What scaling an app takes: what is made where, what its owner must approve, what is deleted. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::{
    phala::{Instance, Node},
    request::ids::{ComposeHash, DeviceId, NodeId, ReplicaId, RequestId, SourceCvm},
    review::TOGETHER_MAX,
};

/// An app as it is.
#[derive(Debug, Clone)]
pub struct Present {
    pub instances: Vec<Instance>,
    /// What is under way: a replica that is not there yet, or not known to run.
    pub open: Vec<Open>,
    /// The instance that replicas are made from.
    pub source: SourceCvm,
    /// What a replica would run, if that is known.
    pub compose: Option<ComposeHash>,
    pub allowed: Allowed,
}

impl Present {
    /// The requests that will make an instance, and have not yet.
    pub fn coming(&self) -> impl Iterator<Item = &Open> {
        self.open.iter().filter(|open| open.replica.is_none())
    }
}

/// A request that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    pub id: RequestId,
    pub node: Option<NodeId>,
    /// Its instance, if it is there.
    pub replica: Option<ReplicaId>,
}

/// What the app allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// No chain governs it.
    NotGoverned,
    /// Nobody could say, and why.
    Unknown(String),
    Known {
        composes: Vec<ComposeHash>,
        devices: Vec<DeviceId>,
        any_device: bool,
    },
}

/// Whether something must be added to the allowlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Allowed,
    New,
    /// Nobody knows before it is prepared.
    Unknown,
}

/// One replica to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    pub node: Node,
    pub device: Entry,
}

/// What it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// There are as many, or as many are under way.
    Nothing,
    Create {
        creations: Vec<Creation>,
        compose: Entry,
        cost: Cost,
    },
    /// The newest first.
    Delete(Vec<Instance>),
}

/// What it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub requests: usize,
    /// Transactions that the owner approves, at most where something is not known.
    pub approvals: usize,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    #[error(
        "--replicas: an app keeps one instance at least; the last one is deleted in Phala Cloud"
    )]
    Last,
    #[error("--on: name the nodes for the new replicas")]
    NoNodes,
    #[error(
        "{} under way; withdraw what is not wanted first: {}", requests(.0.len()),
        .0.iter().map(|id| format!("countersign withdraw {id} --reason TEXT")).collect::<Vec<_>>().join(", ")
    )]
    UnderWay(Vec<RequestId>),
    #[error(
        "Phala Cloud does not say since when instance {0} exists, so which one is the newest is not known"
    )]
    Undated(ReplicaId),
    #[error("only {found} of {wanted} can be deleted{}", if *.on_nodes { " on these nodes" } else { "" })]
    TooFew { found: usize, wanted: usize, on_nodes: bool },
}

fn requests(count: usize) -> String {
    if count == 1 { "a request is".into() } else { format!("{count} requests are") }
}

/// What it takes to have `wanted` instances, new ones on these nodes. Requests that are under way
/// count as what they will make, so that the same again plans nothing more.
///
/// # Errors
/// [`NoPlan`]
pub fn plan(present: &Present, wanted: usize, on: &[Node]) -> Result<Plan, NoPlan> {
    if wanted == 0 {
        return Err(NoPlan::Last);
    }
    let there = present.instances.len();
    let coming: Vec<&Open> = present.coming().collect();
    let all = there + coming.len();
    if wanted > all {
        return create(present, &coming, wanted - all, on);
    }
    if wanted >= there {
        if wanted < all {
            return Err(NoPlan::UnderWay(coming.iter().map(|open| open.id).collect()));
        }
        return Ok(Plan::Nothing);
    }
    if !coming.is_empty() {
        return Err(NoPlan::UnderWay(coming.iter().map(|open| open.id).collect()));
    }
    delete(present, there - wanted, on).map(Plan::Delete)
}

/// Each new replica goes to the node that has the fewest of the app; of several, to the one named
/// first.
fn create(present: &Present, coming: &[&Open], count: usize, on: &[Node]) -> Result<Plan, NoPlan> {
    if on.is_empty() {
        return Err(NoPlan::NoNodes);
    }
    let nodes = present.instances.iter().map(|one| one.node_id.as_ref());
    let nodes = nodes.chain(coming.iter().map(|open| open.node.as_ref())).flatten();
    let mut load = BTreeMap::<&str, usize>::new();
    nodes.for_each(|node| *load.entry(node.as_str()).or_default() += 1);
    let mut creations = vec![];
    for _ in 0..count {
        let of = |node: &&Node| load.get(node.id.as_str()).copied().unwrap_or_default();
        let Some(node) = on.iter().min_by_key(of) else { return Err(NoPlan::NoNodes) };
        *load.entry(node.id.as_str()).or_default() += 1;
        creations.push(Creation { node: node.clone(), device: device(&present.allowed, node) });
    }
    let compose = compose(present);
    let cost = cost(present, &creations, compose);
    Ok(Plan::Create { creations, compose, cost })
}

fn compose(present: &Present) -> Entry {
    match (&present.allowed, present.compose) {
        (Allowed::NotGoverned, _) => Entry::Allowed,
        (Allowed::Unknown(_), _) | (_, None) => Entry::Unknown,
        (Allowed::Known { composes, .. }, Some(compose)) if composes.contains(&compose) => {
            Entry::Allowed
        }
        _ => Entry::New,
    }
}

/// A node may have several devices; which one a replica gets, only its preparation tells.
fn device(allowed: &Allowed, node: &Node) -> Entry {
    match allowed {
        Allowed::NotGoverned | Allowed::Known { any_device: true, .. } => Entry::Allowed,
        Allowed::Unknown(_) => Entry::Unknown,
        Allowed::Known { devices, .. } => {
            let known = node.device_ids.iter().filter(|device| devices.contains(device)).count();
            match (known, node.device_ids.len()) {
                (_, 0) => Entry::Unknown,
                (0, _) => Entry::New,
                (known, all) if known == all => Entry::Allowed,
                _ => Entry::Unknown,
            }
        }
    }
}

fn cost(present: &Present, creations: &[Creation], compose: Entry) -> Cost {
    if present.allowed == Allowed::NotGoverned {
        return Cost { requests: 0, approvals: 0 };
    }
    let needs =
        |creation: &&Creation| compose != Entry::Allowed || creation.device != Entry::Allowed;
    let approvals = creations.iter().filter(needs).count().div_ceil(TOGETHER_MAX);
    Cost { requests: creations.len(), approvals }
}

/// The newest, but never the source, and none that a request still follows.
fn delete(present: &Present, count: usize, on: &[Node]) -> Result<Vec<Instance>, NoPlan> {
    let same = |id: &ReplicaId, source: &SourceCvm| {
        id.as_str().parse::<SourceCvm>().is_ok_and(|id| id.canonical() == source.canonical())
    };
    let may_go = |one: &&Instance| {
        let is_followed = present.open.iter().any(|open| open.replica.as_ref() == Some(&one.id));
        let is_there = |node: &Node| one.node_id.as_ref() == Some(&node.id);
        !same(&one.id, &present.source)
            && !is_followed
            && (on.is_empty() || on.iter().any(is_there))
    };
    let mut dated: Vec<(DateTime<Utc>, &Instance)> = vec![];
    for one in present.instances.iter().filter(may_go) {
        dated.push((one.created_at.ok_or_else(|| NoPlan::Undated(one.id.clone()))?, one));
    }
    if dated.len() < count {
        return Err(NoPlan::TooFew { found: dated.len(), wanted: count, on_nodes: !on.is_empty() });
    }
    dated.sort_by(|(one, a), (other, b)| other.cmp(one).then_with(|| b.id.cmp(&a.id)));
    Ok(dated.into_iter().take(count).map(|(_, one)| one.clone()).collect())
}

#[cfg(test)]
mod tests;
