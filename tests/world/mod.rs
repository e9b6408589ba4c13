//! The world of the stories: a real chain with a real Safe, an emulated Phala Cloud, a real
//! PostgreSQL, and the service, reached over HTTP as anybody would.

pub mod api;
pub mod browser;
mod clock;
pub mod crowd;
pub mod hostile_bytes;
pub mod hostile_reads;
pub mod line;
pub mod node;
pub mod paper_chain;
mod postgres;
pub mod process;
pub mod tamper;
pub mod visitor;

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use alloy::primitives::{Address, Bytes, U256};
use countersign::{
    chain::RelayerKey,
    config::{AccessLists, DepthPolicy, Overrides, Settings},
    devnet::{
        Town, TownOptions, Wallet,
        cloud::{MovedDevice, SwitchChange},
    },
    dstack::Write,
    flow::{SafeAccess, Service},
    owner::Call,
    request::ids::{DeviceId, SourceCvm},
    store::Store,
    vault::Vault,
    web,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use api::{Answer, Api};
pub use clock::TravellingClock;
pub use postgres::{Database, database};
pub use visitor::Visitor;

/// How long anything in a story may take before it counts as stuck.
pub const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Blocks on top of an execution before it counts, in stories.
pub const DEPTH: u64 = 2;

/// Waits until `look` finds something.
pub async fn eventually<T>(what: impl fmt::Display, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(PATIENCE, async {
        let mut clock = tokio::time::interval(LOOK_EVERY);
        loop {
            clock.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

/// Installs the TLS provider that the real program installs in `main`.
pub fn install_tls() {
    // A second test of this process finds it installed.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Chain, cloud and database, and how the service is told about them.
pub struct World {
    pub town: Town,
    pub database: Database,
    pub settings: Settings,
    pub seal_key: SecretString,
    pub clock: Arc<TravellingClock>,
    /// What Safe's mailbox is used with, where the settings name one.
    pub safe_access: SafeAccess,
    /// Who executes what the owners have signed, if anybody does by itself.
    pub relayer: Option<Wallet>,
}

/// The service, running in this process.
pub struct Running {
    pub api: Api,
    pub service: Arc<Service>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A world whose town somebody has changed first.
    pub async fn with(change: impl FnOnce(&mut TownOptions)) -> Self {
        install_tls();
        let clock = Arc::<TravellingClock>::default();
        let mut options = TownOptions::new(clock.clone());
        change(&mut options);
        let town = Town::build(options).await.expect("the town is built");
        let mut settings = Settings::read("", Overrides::default()).expect("defaults are settings");
        settings.listen = "127.0.0.1:0".parse().unwrap();
        settings.phala_api_prefix = town.cloud.api_prefix().parse().unwrap();
        settings.chains =
            vec![town.chain_settings(DepthPolicy::Blocks(DEPTH), Duration::from_millis(50))];
        settings.settle = Duration::from_secs(1);
        settings.boot_poll = Duration::from_millis(50);
        settings.phala_rate = NonZeroU32::new(10_000).unwrap();
        let seal_key = Vault::generate_key().expect("the system has random numbers");
        let safe_access = SafeAccess::default();
        let (database, relayer) = (database().await, None);
        Self { town, database, settings, seal_key, clock, safe_access, relayer }
    }

    /// Gives roles to wallets, as the settings do.
    pub fn set_access(&mut self, change: impl FnOnce(&mut AccessLists)) {
        let mut overrides = Overrides::default();
        change(&mut overrides.access);
        self.settings.access = Settings::read("", overrides).expect("they are settings").access;
    }

    /// The service, which nothing drives yet.
    pub async fn service(&self) -> Service {
        let store = Store::open(self.database.options()).await.expect("the database opens");
        let vault = Vault::from_hex(&self.seal_key).expect("a generated key is a key");
        let api_key = Some(self.town.cloud.api_key().into());
        Service::new(self.settings.clone(), store, vault, api_key, self.clock.clone())
            .and_then(|service| service.with_mailboxes(&self.safe_access))
            .expect("the service is put together")
            .with_relayer(self.relayer.as_ref().map(|relayer| {
                RelayerKey::from_hex(&relayer.private_key()).expect("a wallet has a key")
            }))
    }

    /// Starts the service on this world.
    pub async fn start(&self) -> Running {
        self.start_with(|_| {}).await
    }

    pub async fn start_with(&self, change: impl FnOnce(&mut Service)) -> Running {
        let mut service = self.service().await;
        change(&mut service);
        let service = Arc::new(service);
        let listener = TcpListener::bind(self.settings.listen).await.expect("a free port");
        let address = listener.local_addr().unwrap();
        let now = service.clock.now();
        let token = api::make_token(&service.store, &["read", "write"], now).await;
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (service, stop) = (service.clone(), stop.clone());
            async move { web::serve(listener, service, stop).await.expect("it serves") }
        });
        let api = Api::new(&format!("http://{address}"), &token);
        Running { api, service, stop, task }
    }

    /// Phala's own 465 answer to a prepare of a replica on the other node.
    pub async fn prepare(&self) -> Value {
        self.prepare_on(self.replica_node()).await
    }

    pub async fn prepare_on(&self, node: u64) -> Value {
        self.prepare_from(&self.town.source, node).await
    }

    pub async fn prepare_from(&self, source: &SourceCvm, node: u64) -> Value {
        let answer = Api::bare()
            .post(format!("{}/cvms/{source}/replicas", self.town.cloud.api_prefix()))
            .header("X-API-Key", self.town.cloud.api_key())
            .header("X-Prepare-Only", "true")
            .json(&json!({ "node_id": node }))
            .send()
            .await
            .expect("the emulator answers");
        assert_eq!(answer.status().as_u16(), 465);
        answer.json().await.expect("the answer is JSON")
    }

    fn replica_node(&self) -> u64 {
        self.town.replica_node().as_str().parse().expect("nodes have numbers here")
    }

    /// The body that submits such an answer.
    pub fn submission(&self, prepared: &Value) -> Value {
        self.submission_on(prepared, self.replica_node())
    }

    pub fn submission_on(&self, prepared: &Value, node: u64) -> Value {
        Self::submission_from(&self.town.source, node, prepared)
    }

    pub fn submission_from(source: &SourceCvm, node: u64, prepared: &Value) -> Value {
        json!({ "prepare_response": prepared, "source_cvm": source, "node_id": node })
    }

    /// The commit token of a 465 answer, to look for where it must not be.
    pub fn token_of(prepared: &Value) -> String {
        let details = prepared["details"].as_array().expect("details is a list");
        let entry = details.iter().find(|entry| entry["field"] == "commit_token");
        entry.expect("there is a token")["value"].as_str().unwrap().to_owned()
    }

    /// Lets blocks pass, one by one as a chain makes them.
    pub async fn mine(&self, blocks: u64) {
        self.town.chain.rpc.mine(blocks).await.expect("anvil mines");
    }

    /// Lets one owner sign over HTTP.
    pub async fn sign_by(&self, api: &Api, id: &str, owner: usize) {
        let answer = api.confirm(id, &self.signature(api, id, owner).await).await;
        let told = if answer.status == 201 { Value::Null } else { api.request(id).await };
        assert_eq!(answer.status, 201, "{}: {told:#}", answer.body);
    }

    /// An owner's signature over what is proposed now.
    pub async fn signature(&self, api: &Api, id: &str, owner: usize) -> String {
        let proposal = api.proposal(id).await;
        let hash = proposal["safe_tx_hash"].as_str().unwrap().parse().unwrap();
        alloy::hex::encode_prefixed(self.town.chain.owners[owner].sign(hash).to_bytes())
    }

    /// Lets the owners sign over HTTP until the request is approved.
    pub async fn sign(&self, api: &Api, id: &str) {
        for owner in 0..self.town.chain.threshold {
            self.sign_by(api, id, owner).await;
        }
        api.wait_for(id, "approved").await;
    }

    /// Sends the execution that the service offers, as anybody may.
    pub async fn execute(&self, api: &Api, id: &str) {
        self.send(&api.proposal(id).await["execution"]).await;
    }

    /// Sends a call that the service described.
    pub async fn send(&self, call: &Value) {
        let to = call["to"].as_str().expect("an execution is offered").parse().unwrap();
        let data = call["data"].as_str().unwrap().parse().unwrap();
        let chain = &self.town.chain;
        let gas = call["gas_limit"].as_u64();
        chain.rpc.send_with(&chain.executor, to, data, gas).await.expect("it is executed");
    }

    /// The Safe acts without a signature, as through a module.
    pub async fn as_the_safe(&self, to: Address, data: Bytes) {
        let chain = &self.town.chain;
        let ether = U256::from(1_000_000_000_000_000_000_u64);
        chain.rpc.set_balance(chain.safe, ether).await.expect("anvil gives ether");
        chain.rpc.impersonate(chain.safe).await.expect("anvil impersonates");
        self.again_as_the_safe(to, data).await;
    }

    /// The same for one that has acted so before, in one call.
    pub async fn again_as_the_safe(&self, to: Address, data: Bytes) {
        let chain = &self.town.chain;
        chain.rpc.send_as(chain.safe, to, data).await.expect("the Safe acts");
    }

    /// The app comes to allow a device, and the compose hash of its instances.
    pub async fn allow(&self, device: DeviceId) {
        let app = self.town.chain.app;
        for write in [Write::AddComposeHash(self.town.compose_hash), Write::AddDevice(device)] {
            self.as_the_safe(app.0, Call::of_write(app, &write).data).await;
        }
    }

    /// Everything from a submission to the last block that is needed.
    pub async fn carry(&self, api: &Api, submission: &Value) -> String {
        let id = api.submit(submission).await;
        self.sign(api, &id).await;
        self.execute(api, &id).await;
        self.mine(DEPTH).await;
        id
    }

    /// Lets the leases of workers that were killed run out, for a program whose clock cannot be
    /// set.
    pub async fn leases_run_out(&self) {
        let now = "update requests set lease_until = now(), next_try_at = now()
                   where lease_until is not null";
        self.database.execute(now).await;
    }

    /// Lets every request be looked at now, instead of when it is due. One that is being looked at
    /// is looked at again.
    pub async fn look_again(&self) {
        self.database.execute("update requests set next_try_at = '2001-01-01'").await;
    }

    /// Turns switches of the emulated cloud, which docs/emulator.md names.
    pub fn switch(&self, change: Value) {
        self.town.cloud.control(serde_json::from_value(change).expect("there are such switches"));
    }

    /// Another device on a node, as after a firmware update.
    pub fn set_device(&self, node: u64, device: DeviceId) {
        let moved = MovedDevice { id: node, device_id: device };
        self.town.cloud.control(SwitchChange { node_device: Some(moved), ..Default::default() });
    }

    /// Waits until so many commits came in.
    pub async fn commits_arrived(&self, count: usize) {
        eventually("a commit to arrive", async || {
            (self.town.cloud.commit_log().len() >= count).then_some(())
        })
        .await;
    }

    /// How many instances there are beside the source.
    pub fn replicas(&self) -> usize {
        self.town.cloud.instances().len() - 1
    }

    /// Commits that created something.
    pub fn effective_commits(&self) -> usize {
        self.town.cloud.commit_log().iter().filter(|call| call.created.is_some()).count()
    }
}

impl Running {
    /// Stops as on SIGTERM: what is under way is finished.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("the service ends without a panic");
        self.service.store.close().await;
    }

    /// Ends at whatever point it has reached.
    pub async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
        self.service.store.close().await;
    }
}
