//! What the emulated cloud knows, behind one lock: instances, tokens, commits, switches.

use alloy::primitives::keccak256;
use chrono::TimeDelta;
use serde::Serialize;
use tokio::sync::broadcast;
use uuid::{Builder, Uuid};

use super::{
    CloudConfig, EmulatedNode,
    answers::Refusal,
    control::{Endpoint, PlannedFailure, Stranger, SwitchChange, Switches},
    instance::{EmulatedCvm, Text, instance_id},
    operations::{EmulatedOperation, Revision},
    tokens::{IssuedToken, Plan},
};
use crate::{
    clock::Time,
    request::{
        ids::{AppId, DeviceId},
        kind::Kind,
    },
};

/// Calls that a listener may be behind before it misses some.
const ARRIVALS_KEPT: usize = 1_024;

/// A commit that came in.
#[derive(Debug, Clone, Serialize)]
pub struct CommitCall {
    /// When it came in.
    pub at: Time,
    /// How many commits were under way then, this one included.
    pub under_way: usize,
    pub source: String,
    /// Which of the tokens given out it named, counted from zero.
    pub token: Option<usize>,
    pub compose_hash: String,
    pub transaction_hash: String,
    pub kind: Kind,
    pub status: u16,
    pub code: Option<String>,
    pub created: Option<Uuid>,
    /// The operation that an update set off.
    pub operation: Option<Uuid>,
    /// Whether it took effect and nobody was told.
    pub swallowed: bool,
}

pub(super) struct World {
    pub config: CloudConfig,
    pub origin: String,
    pub switches: Switches,
    pub cvms: Vec<EmulatedCvm>,
    pub tokens: Vec<IssuedToken>,
    pub commits: Vec<CommitCall>,
    pub operations: Vec<EmulatedOperation>,
    pub revisions: Vec<Revision>,
    pub commits_under_way: usize,
    /// Tells of each call as it comes in.
    pub arrivals: broadcast::Sender<Endpoint>,
    offset: TimeDelta,
    minted: u64,
}

impl World {
    pub fn new(config: CloudConfig, origin: String) -> Self {
        let (app, source) = (config.app, config.source.clone());
        let mut world = Self {
            config,
            origin,
            switches: Switches::default(),
            cvms: Vec::new(),
            tokens: Vec::new(),
            commits: Vec::new(),
            operations: Vec::new(),
            revisions: Vec::new(),
            commits_under_way: 0,
            arrivals: broadcast::Sender::new(ARRIVALS_KEPT),
            offset: TimeDelta::zero(),
            minted: 0,
        };
        let serial = world.mint();
        world.put(serial, source.id, app, source.name, source.node);
        world
    }

    /// Lets an instance of any app run that nobody had to ask for. It runs what the first one runs.
    pub fn add_source(&mut self, app: AppId, node: u64) -> Uuid {
        let (serial, id) = (self.mint(), self.mint_uuid());
        let name = format!("{}-{serial}", self.config.source.name);
        self.put(serial, id, app, name, node);
        id
    }

    fn put(&mut self, serial: u64, id: Uuid, app: AppId, name: String, node: u64) {
        let device_id = self.node(node).map_or(DeviceId([0; 32].into()), |n| n.device_id);
        self.cvms.push(EmulatedCvm {
            serial,
            id,
            app,
            name,
            node,
            device_id,
            compose_hash: self.config.source.compose_hash,
            created_at: self.now(),
            source: None,
            boot_error: None,
            document: self.config.source.compose_file.as_str().into(),
            encrypted_env: String::new(),
            instance_id: instance_id(id),
            polls_left: 0,
            boot_polls: 0,
            stopped: false,
            update: None,
        });
        self.note_revision(self.cvms.len() - 1, "create");
    }

    pub fn now(&self) -> Time {
        self.config.clock.now() + self.offset
    }

    /// A number never given out before.
    pub fn mint(&mut self) -> u64 {
        self.minted += 1;
        self.minted
    }

    /// A version 4 UUID that the same story gets again when it is told again.
    pub fn mint_uuid(&mut self) -> Uuid {
        let serial = self.mint().to_be_bytes();
        let seed = keccak256([self.config.source.id.as_bytes(), serial.as_slice()].concat());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&seed[..16]);
        Builder::from_random_bytes(bytes).into_uuid()
    }

    pub fn node(&self, id: u64) -> Option<&EmulatedNode> {
        self.config.nodes.iter().find(|node| node.id == id)
    }

    /// The apps that have instances, the oldest first.
    pub fn apps(&self) -> Vec<AppId> {
        let mut apps = Vec::new();
        for cvm in &self.cvms {
            if !apps.contains(&cvm.app) {
                apps.push(cvm.app);
            }
        }
        apps
    }

    pub fn apply(&mut self, change: SwitchChange) {
        if let Some(seconds) = change.advance_seconds {
            self.offset += TimeDelta::try_seconds(seconds).unwrap_or_default();
        }
        if let Some(moved) = &change.node_device
            && let Some(node) = self.config.nodes.iter_mut().find(|node| node.id == moved.id)
        {
            node.device_id = moved.device_id;
        }
        if let Some(stranger) = change.add_instance {
            self.add_stranger(stranger);
        }
        self.switches.apply(change);
    }

    /// Makes the instances that were ordered for the time of a commit.
    pub fn add_with_commit(&mut self) {
        for stranger in std::mem::take(&mut self.switches.add_with_commit) {
            self.add_stranger(stranger);
        }
    }

    /// Somebody else's instance; none on a node that does not exist.
    fn add_stranger(&mut self, stranger: Stranger) {
        let device = self.node(stranger.node).map(|node| node.device_id);
        let Some(device) = device else { return };
        let source = &self.config.source;
        let document: Text = source.compose_file.as_str().into();
        let (id, hash) = (source.id, stranger.compose_hash.unwrap_or(source.compose_hash));
        self.create(Plan {
            kind: Kind::Replica,
            app: self.config.app,
            source: id,
            node: stranger.node,
            device_id: device,
            compose_hash: hash,
            document,
            encrypted_env: None,
        });
    }

    /// Tells that a call has come in.
    pub fn arrive(&self, endpoint: Endpoint) {
        // Mostly nobody listens.
        drop(self.arrivals.send(endpoint));
    }

    /// The failure ordered for the next call of this kind, if any.
    pub fn planned_failure(&mut self, endpoint: Endpoint) -> Result<(), Refusal> {
        let planned = self.switches.fail_next.iter_mut().find(|it| it.endpoint == endpoint);
        let Some(PlannedFailure { status, code, retry_after, times, .. }) = planned else {
            return Ok(());
        };
        let mut refusal = match code.as_deref() {
            Some(code) => Refusal::coded(*status, code, "failed as ordered"),
            None => Refusal::plain(*status, "failed as ordered"),
        };
        refusal.retry_after = retry_after.as_ref().map(|wait| wait.to_string().replace('"', ""));
        *times = times.saturating_sub(1);
        self.switches.fail_next.retain(|it| it.times > 0);
        Err(refusal)
    }

    /// The app that is meant, if there is one of that id.
    pub fn app(&self, text: &str) -> Option<AppId> {
        let app = text.strip_prefix("app_").unwrap_or(text).parse().ok()?;
        self.cvms.iter().any(|cvm| cvm.app == app).then_some(app)
    }

    /// The places of an app's instances, the oldest first.
    pub fn of_app(&self, app: AppId) -> Vec<usize> {
        (0..self.cvms.len()).filter(|at| self.cvms[*at].app == app).collect()
    }

    /// Finds a CVM by any of the names the API takes.
    pub fn find(&self, name: &str) -> Result<usize, Refusal> {
        if let Some(app) = self.app(name) {
            return match self.of_app(app)[..] {
                [only] => Ok(only),
                _ => Err(Refusal::coded(400, "ERR-03-010", "The app has several instances")),
            };
        }
        let uuid = Uuid::try_parse(name).ok();
        let instance = name.strip_prefix("instance_").unwrap_or(name);
        let is_meant = |cvm: &EmulatedCvm| {
            Some(cvm.id) == uuid
                || cvm.name == name
                || cvm.hashed_id() == name
                || cvm.instance_id() == instance
        };
        let mut found = (0..self.cvms.len()).filter(|at| is_meant(&self.cvms[*at]));
        match (found.next(), found.next()) {
            (Some(at), None) => Ok(at),
            (Some(_), Some(_)) => Err(Refusal::coded(400, "ERR-03-002", "Several CVMs match")),
            (None, _) => Err(Refusal::coded(404, "ERR-03-001", "CVM not found")),
        }
    }

    pub fn look_at(&mut self, name: &str) -> Result<EmulatedCvm, Refusal> {
        let at = self.find(name)?;
        Ok(self.look(at))
    }

    pub fn look_at_all(&mut self, app: AppId) -> Vec<EmulatedCvm> {
        self.of_app(app).into_iter().map(|at| self.look(at)).collect()
    }

    /// Whether there is room for one more.
    pub fn room(&self) -> Result<(), Refusal> {
        match self.switches.capacity {
            Some(0) => Err(Refusal::coded(400, "ERR-02-002", "No resources available on the node")),
            _ => Ok(()),
        }
    }

    /// Makes a replica, and uses up room for it.
    pub fn create(&mut self, plan: Plan) -> EmulatedCvm {
        if let Some(left) = &mut self.switches.capacity {
            *left = left.saturating_sub(1);
        }
        let serial = self.mint();
        let boot_polls = self.config.boot_polls;
        let id = self.mint_uuid();
        let env =
            || self.cvms.iter().find(|cvm| cvm.id == plan.source)?.encrypted_env.clone().into();
        let encrypted_env = plan.encrypted_env.or_else(env).unwrap_or_default();
        let cvm = EmulatedCvm {
            serial,
            id,
            app: plan.app,
            name: format!("{}-{serial}", self.config.source.name),
            node: plan.node,
            device_id: self.switches.boot_device_id.unwrap_or(plan.device_id),
            compose_hash: self.switches.boot_compose_hash.unwrap_or(plan.compose_hash),
            created_at: self.now(),
            source: Some(plan.source),
            boot_error: self.switches.boot_error.clone(),
            document: plan.document,
            encrypted_env,
            instance_id: instance_id(id),
            polls_left: boot_polls,
            boot_polls,
            stopped: false,
            update: None,
        };
        self.cvms.push(cvm.clone());
        self.note_revision(self.cvms.len() - 1, "create");
        cvm
    }
}
