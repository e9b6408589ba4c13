//! A Phala Cloud that runs in this process: the part of the API that carries a replica from
//! prepared to running, close enough that the real `phala` command line tool cannot tell.
//!
//! ```text
//! prepare ─► 465 with a token ··· chain says yes ··· ─► commit ─► provisioning ─► starting ─► running
//! ```
//!
//! It believes only the chain it is pointed at. What the real backend is known or feared to do
//! wrong is a switch at `POST {origin}/_control`. May not be used for anything real: its tokens can
//! be guessed.

mod answers;
mod apps;
mod chain;
mod commit;
mod control;
mod cvms;
mod documents;
mod instance;
mod kms;
mod nodes;
mod operations;
mod replicas;
mod revisions;
mod shapes;
mod state;
mod tokens;
mod updates;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alloy::primitives::Address;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{net::TcpListener, sync::broadcast, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

pub(super) use answers::cut_off;
pub use control::{Endpoint, MovedDevice, PlannedFailure, Stranger, SwitchChange};
pub use documents::{DocumentForm, Serving};
pub use instance::EmulatedCvm;
pub use operations::EmulatedOperation;
pub use state::CommitCall;
pub use tokens::IssuedToken;

use crate::{
    clock::Clock,
    request::ids::{AppId, ChainId, ComposeHash, DeviceId},
};
use answers::Refusal;
use chain::Chain;
use state::World;

/// The scene the emulator starts with.
#[derive(Clone)]
pub struct CloudConfig {
    /// The chain it believes.
    pub rpc: Url,
    /// What it says the chain is. The real command line tool only knows 1, 8453 and 31337.
    pub chain_id: ChainId,
    pub kms_contract: Address,
    pub app: AppId,
    pub workspace: String,
    pub api_key: String,
    pub nodes: Vec<EmulatedNode>,
    pub source: EmulatedSource,
    /// How many looks at a new instance it takes until it runs.
    pub boot_polls: u32,
    pub clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmulatedNode {
    pub id: u64,
    pub name: String,
    pub device_id: DeviceId,
    pub region: String,
}

/// The instance that is already there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmulatedSource {
    /// A version 4 UUID: the real command line tool treats no other as one.
    pub id: Uuid,
    pub name: String,
    pub node: u64,
    /// `app-compose.json`, in the bytes that `compose_hash` is the hash of.
    pub compose_file: String,
    pub compose_hash: ComposeHash,
}

#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    #[error("could not listen on a local port")]
    Listen(#[source] io::Error),
    #[error("the source stands on node {0}, which is not in the list")]
    NoSuchNode(u64),
}

/// The running emulator. Dropping it ends it.
pub struct CloudEmulator {
    cloud: Cloud,
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl CloudEmulator {
    pub async fn start(config: CloudConfig) -> Result<Self, CloudError> {
        let source_node = config.source.node;
        if !config.nodes.iter().any(|node| node.id == source_node) {
            return Err(CloudError::NoSuchNode(source_node));
        }
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(CloudError::Listen)?;
        let address = listener.local_addr().map_err(CloudError::Listen)?;
        let chain = Chain::new(config.rpc.clone());
        let world = World::new(config, format!("http://{address}"));
        let cloud = Cloud { world: Arc::new(Mutex::new(world)), chain };
        let (app, stop) = (router(cloud.clone()), CancellationToken::new());
        let stopped = stop.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
                tracing::warn!(%error, "the Phala Cloud emulator stopped");
            }
        });
        Ok(Self { cloud, address, stop, server })
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What `PHALA_CLOUD_API_PREFIX` is set to.
    pub fn api_prefix(&self) -> String {
        format!("{}/api/v1", self.origin())
    }

    pub fn api_key(&self) -> String {
        self.cloud.world().config.api_key.clone()
    }

    /// Puts up another node.
    pub fn add_node(&self, node: EmulatedNode) {
        self.cloud.world().config.nodes.push(node);
    }

    /// Lets another instance run, of this app or another one: nobody had to ask for it, and it runs
    /// what the first one runs.
    pub fn add_source(&self, app: AppId, node: u64) -> Uuid {
        self.cloud.world().add_source(app, node)
    }

    /// Tells of each call from now on as it comes in, before it is looked at.
    pub fn arrivals(&self) -> broadcast::Receiver<Endpoint> {
        self.cloud.world().arrivals.subscribe()
    }

    /// Every instance there is, the source first.
    pub fn instances(&self) -> Vec<EmulatedCvm> {
        self.cloud.world().cvms.clone()
    }

    /// Every commit that came in, in order, with what became of it.
    pub fn commit_log(&self) -> Vec<CommitCall> {
        self.cloud.world().commits.clone()
    }

    /// Every operation that was ordered, in order.
    pub fn operations(&self) -> Vec<EmulatedOperation> {
        self.cloud.world().operations.clone()
    }

    /// The X25519 secret that opens what was encrypted for an app.
    pub fn env_secret(&self, app: AppId) -> [u8; 32] {
        kms::env_secret(app).to_bytes()
    }

    /// Every token given out, in order.
    pub fn issued(&self) -> Vec<IssuedToken> {
        self.cloud.world().tokens.clone()
    }

    /// What `POST /_control` does, without the detour.
    pub fn control(&self, change: SwitchChange) {
        self.cloud.world().apply(change);
    }

    /// Lets every instance boot that has failed to.
    pub fn mend_boots(&self) {
        let mut world = self.cloud.world();
        world.switches.boot_error = None;
        for cvm in &mut world.cvms {
            cvm.boot_error = None;
        }
    }

    /// Ends it and waits until the port is free.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        // A panic of the server task has already been reported by the runtime.
        drop((&mut self.server).await);
    }
}

impl Drop for CloudEmulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What every handler gets.
#[derive(Clone)]
struct Cloud {
    world: Arc<Mutex<World>>,
    chain: Chain,
}

impl Cloud {
    /// Never held across a wait.
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn router(cloud: Cloud) -> Router {
    let with_key = Router::new()
        .route("/auth/me", get(nodes::me))
        .route("/teepods/available", get(nodes::available))
        .route("/workspaces/{slug}/nodes", get(nodes::of_workspace))
        .route("/cvms/paginated", get(cvms::paginated))
        .route("/cvms/{id}", get(cvms::show).patch(updates::patch).delete(cvms::delete))
        .route("/cvms/{id}/attestation", get(revisions::attestation))
        .route("/cvms/{id}/operations", get(operations::list))
        .route("/cvms/{id}/start", post(cvms::start))
        .route("/cvms/{id}/restart", post(cvms::start))
        .route("/cvms/{id}/stop", post(cvms::stop))
        .route("/cvms/{id}/compose_file", get(cvms::compose_file))
        .route("/cvms/{id}/state", get(cvms::state))
        .route("/cvms/{id}/replicas", post(replicas::of_cvm))
        .route("/status/batch", post(cvms::batch))
        .route("/apps", get(apps::list))
        .route("/apps/{app}", get(apps::show))
        .route("/apps/{app}/cvms", get(apps::cvms))
        .route("/apps/{app}/cvms/{id}/replicas", post(replicas::of_app_cvm))
        .route("/apps/{app}/instances", post(replicas::instances))
        .route("/apps/{app}/device-allowlist", get(apps::device_allowlist))
        .route("/apps/{app}/is-allowed", post(apps::is_allowed))
        .route("/apps/{app}/kms-info", get(apps::kms_info))
        .route("/apps/{app}/revisions", get(revisions::list))
        .route("/apps/{app}/revisions/{revision}", get(revisions::show))
        .route("/apps/{app}/pending-updates", get(revisions::pending_updates))
        .route("/apps/{app}/pending-updates/{cvm}/{hash}/preview", get(revisions::preview))
        .route("/kms", get(kms::list))
        .route("/kms/{kms}", get(kms::show))
        .route("/kms/{kms}/pubkey/{app}", get(kms::pubkey))
        .route("/kms/on-chain/{chain}", get(kms::on_chain))
        .route_layer(middleware::from_fn_with_state(cloud.clone(), require_key));
    // The token is what authorises a commit.
    let with_token = Router::new()
        .route("/cvms/{id}/commit-replica", post(commit::replica))
        .route("/cvms/{id}/commit-update", post(updates::commit).get(updates::lookup));
    Router::new()
        .nest("/api/v1", with_key.merge(with_token))
        .route("/_control", get(control::show).post(control::change))
        .fallback(|| async { Refusal::plain(404, "Not Found") })
        .layer(middleware::from_fn_with_state(cloud.clone(), number_answers))
        .with_state(cloud)
}

async fn require_key(State(cloud): State<Cloud>, request: Request, next: Next) -> Response {
    let given = request.headers().get("X-API-Key").and_then(|key| key.to_str().ok());
    if given == Some(cloud.world().config.api_key.as_str()) {
        next.run(request).await
    } else {
        Refusal::plain(401, "Not authenticated").into_response()
    }
}

/// Gives every answer its request id, in the header and, when it is a refusal, in the body too; and the
/// date by the clock by which everything here is dated.
async fn number_answers(State(cloud): State<Cloud>, request: Request, next: Next) -> Response {
    let id = format!("rid-{:08x}", cloud.world().mint());
    let mut response = next.run(request).await;
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        response = refusal.render(&id);
    }
    let date = cloud.world().now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    match (HeaderValue::from_str(&id), HeaderValue::from_str(&date)) {
        (Ok(id), Ok(date)) => {
            response.headers_mut().insert("X-Request-ID", id);
            response.headers_mut().insert(header::DATE, date);
            response
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
