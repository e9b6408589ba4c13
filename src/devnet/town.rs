//! Chain and cloud together: an app that a Safe owns, one instance of it that runs on one node, and
//! other nodes that a replica could run on but may not yet.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use alloy::primitives::B256;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    ChainScene, LocalRpcError, SceneError, SceneOptions,
    cloud::{CloudConfig, CloudEmulator, CloudError, EmulatedNode, EmulatedSource},
};
use crate::{
    clock::Clock,
    config::{ChainSettings, DepthPolicy, RelayerCaps},
    dstack::Generation,
    request::ids::{AppId, ComposeHash, DeviceId, NodeId, SourceCvm},
    safe::SafeVersion,
};

/// The document that the instances boot with.
const COMPOSE_FILE: &str = r#"{"allowed_envs":["API_KEY","LOG_LEVEL"],"docker_compose_file":"services:\n  web:\n    image: nginx@sha256:0000000000000000000000000000000000000000000000000000000000000000\n","features":["kms","tproxy-net"],"kms_enabled":true,"manifest_version":2,"name":"payments","public_logs":true,"public_sysinfo":true,"runner":"docker-compose"}"#;

const SOURCE_NODE: u64 = 5;
const REPLICA_NODE: u64 = 6;

/// Why the town cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum TownError {
    #[error(transparent)]
    Scene(#[from] SceneError),
    #[error(transparent)]
    Cloud(#[from] CloudError),
}

/// What the town looks like.
#[derive(Clone)]
pub struct TownOptions {
    pub safe_version: SafeVersion,
    /// The Safe runs the singleton that emits no event for indexers.
    pub l1_singleton: bool,
    pub threshold: usize,
    pub owners: usize,
    /// The app belongs to the first owner's account, and not to the Safe.
    pub account_owns: bool,
    pub generation: Generation,
    /// A block this often; without it, one for each transaction.
    pub block_time: Option<Duration>,
    /// What the chain calls `safe` lies this many blocks below its head, `finalized` twice as many.
    pub epoch_blocks: u64,
    /// Whether the compose hash needs an approval too, or the device alone.
    pub missing_compose: bool,
    /// Looks at a new instance until it runs.
    pub boot_polls: u32,
    pub clock: Arc<dyn Clock>,
}

impl TownOptions {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            safe_version: SafeVersion::V1_4_1,
            l1_singleton: false,
            threshold: 2,
            owners: 3,
            account_owns: false,
            generation: Generation::G2,
            block_time: None,
            epoch_blocks: 1,
            missing_compose: true,
            boot_polls: 3,
            clock,
        }
    }
}

/// The town. Dropping it ends chain and cloud.
pub struct Town {
    pub chain: ChainScene,
    pub cloud: CloudEmulator,
    pub nodes: Vec<EmulatedNode>,
    pub source: SourceCvm,
    pub compose_hash: ComposeHash,
    missing_compose: bool,
}

impl Town {
    pub async fn build(options: TownOptions) -> Result<Self, TownError> {
        let compose_hash = ComposeHash(B256::new(Sha256::digest(COMPOSE_FILE).into()));
        let nodes = nodes();
        let chain = ChainScene::start(SceneOptions {
            safe_version: options.safe_version,
            l1_singleton: options.l1_singleton,
            threshold: options.threshold,
            owners: options.owners,
            account_owns: options.account_owns,
            generation: options.generation,
            block_time: options.block_time,
            epoch_blocks: options.epoch_blocks,
            compose_hash,
            source_device: nodes[0].device_id,
            missing_compose: options.missing_compose,
            ..SceneOptions::default()
        })
        .await?;
        let source = Uuid::new_v4();
        let cloud = CloudEmulator::start(CloudConfig {
            rpc: chain.rpc_url().clone(),
            chain_id: chain.chain_id,
            kms_contract: chain.kms.address,
            app: chain.app,
            workspace: "acme".into(),
            api_key: format!("phak_{}", Uuid::new_v4().simple()),
            nodes: nodes.clone(),
            source: EmulatedSource {
                id: source,
                name: "payments".into(),
                node: SOURCE_NODE,
                compose_file: COMPOSE_FILE.into(),
                compose_hash,
            },
            boot_polls: options.boot_polls,
            clock: options.clock,
        })
        .await?;
        let source = source.to_string().parse().expect("a UUID is a name");
        let missing_compose = options.missing_compose;
        Ok(Self { chain, cloud, nodes, source, compose_hash, missing_compose })
    }

    /// Another app of the same owner, which allows what the first one allows. Nothing runs on it
    /// yet.
    pub async fn add_app(&self) -> Result<AppId, LocalRpcError> {
        let ChainScene { kms, rpc, executor, safe, .. } = &self.chain;
        let source_device = self.nodes[0].device_id;
        kms.new_app(rpc, executor, *safe, self.compose_hash, source_device).await
    }

    /// Another instance that replicas can be made of, on the node of the first.
    pub fn add_source(&self, app: AppId) -> SourceCvm {
        let source = self.cloud.add_source(app, SOURCE_NODE);
        source.to_string().parse().expect("a UUID is a name")
    }

    /// Another node that a replica could run on but may not yet.
    pub fn add_node(&self, id: u64) {
        self.cloud.add_node(node(id, &format!("prod{id}"), "eu-central"));
    }

    /// Whether a commit named what it should as evidence: the execution when that registered the
    /// compose hash, and never an execution that did not.
    pub fn is_evidence(&self, named: &str, execution: &str) -> bool {
        (named == execution) == self.missing_compose
    }

    /// The node that a replica is to run on.
    pub fn replica_node(&self) -> NodeId {
        REPLICA_NODE.to_string().parse().expect("a number is a name")
    }

    /// How the service is told about this chain.
    pub fn chain_settings(&self, depth: DepthPolicy, poll: Duration) -> ChainSettings {
        ChainSettings {
            id: self.chain.chain_id,
            rpc: vec![self.chain.rpc_url().clone()],
            quorum: 1,
            depth,
            poll,
            rate: NonZeroU32::new(10_000).expect("not zero"),
            backfill_blocks: 10_000,
            apps: vec![],
            kms: vec![],
            explorer: None,
            safe_service: crate::config::SafeServiceSetting::Off,
            relayer: RelayerCaps::default_for(self.chain.chain_id),
        }
    }
}

fn node(id: u64, name: &str, region: &str) -> EmulatedNode {
    let device_id = DeviceId(B256::new(Sha256::digest(format!("PPID of {name}")).into()));
    EmulatedNode { id, name: name.into(), device_id, region: region.into() }
}

fn nodes() -> Vec<EmulatedNode> {
    vec![
        node(SOURCE_NODE, "prod5", "us-west"),
        node(REPLICA_NODE, "prod6", "us-west"),
        node(7, "prod7", "eu-central"),
    ]
}
