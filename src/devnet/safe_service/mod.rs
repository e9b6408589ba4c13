//! A Safe Transaction Service that runs in this process: the part of its API that clients propose
//! and sign through, close enough that Safe's own api-kit cannot tell.
//!
//! It reads owners, threshold, nonce, version and executions from the chain it is pointed at,
//! recomputes hashes, and refuses what the real one refuses, in its words. What the real one does
//! now and then, and what a hostile one might do, is a switch at `POST {origin}/_control`.
//!
//! Not as the real one: it indexes when it is asked, and keeps everything in memory.

mod chain;
mod confirm;
mod control;
mod delegates;
mod fields;
mod mailbox;
mod propose;
mod refusal;
mod signatures;
mod state;
mod views;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alloy::primitives::Address;
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use url::Url;

pub use control::{Endpoint, MailboxChange, PlannedFailure, Planted, PlantedKind};
pub use state::WireRequest;

use super::{Rpc, cloud::cut_off};
use crate::{
    clock::Clock,
    request::ids::{ChainId, SafeTxHash},
};
use chain::Chain;
use control::Endpoint as At;
use refusal::{Answer, Refusal};
use state::World;

const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Requests that are remembered.
const REQUESTS_MAX: usize = 1_000;

/// What the emulator is told at the start.
#[derive(Clone)]
pub struct SafeServiceConfig {
    /// The chain it reads.
    pub rpc: Url,
    pub chain_id: ChainId,
    /// What delegates and deletions are dated by.
    pub clock: Arc<dyn Clock>,
}

/// It could not be started.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on a local port")]
pub struct SafeServiceError(#[source] io::Error);

/// The running emulator. Dropping it ends it.
pub struct SafeServiceEmulator {
    service: Service,
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl SafeServiceEmulator {
    pub async fn start(config: SafeServiceConfig) -> Result<Self, SafeServiceError> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(SafeServiceError)?;
        let address = listener.local_addr().map_err(SafeServiceError)?;
        let chain = Chain { rpc: Rpc::new(config.rpc.clone()) };
        let service = Service { world: Arc::new(Mutex::new(World::new(config))), chain };
        let (app, stop) = (router(service.clone()), CancellationToken::new());
        let stopped = stop.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
                tracing::warn!(%error, "the Safe Transaction Service emulator stopped");
            }
        });
        Ok(Self { service, address, stop, server })
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What clients call its URL.
    pub fn root(&self) -> String {
        format!("{}/api", self.origin())
    }

    /// What `POST /_control` does, without the detour.
    pub fn control(&self, change: MailboxChange) {
        self.service.world().apply(change);
    }

    /// Every request that came in since they were last forgotten, in order. Not those that were
    /// answered with a redirect: the client comes again.
    pub fn requests(&self) -> Vec<WireRequest> {
        self.service.world().requests.iter().cloned().collect()
    }

    pub fn forget_requests(&self) {
        self.service.world().requests.clear();
    }

    /// Every transaction in the mailbox and how many confirmations it has.
    pub fn mail(&self) -> Vec<(SafeTxHash, usize)> {
        let world = self.service.world();
        world.mail.iter().map(|mail| (mail.hash, mail.confirmations.len())).collect()
    }

    /// Ends it and waits until the port is free.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        // A panic of the server task has already been reported by the runtime.
        drop((&mut self.server).await);
    }
}

impl Drop for SafeServiceEmulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What every handler gets.
#[derive(Clone)]
struct Service {
    world: Arc<Mutex<World>>,
    chain: Chain,
}

impl Service {
    /// Never held across a wait.
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Safe that a path names.
    fn account(&self, text: &str) -> Result<Address, Refusal> {
        let safe = fields::checksummed(text).ok_or_else(|| Refusal::not_checksummed(text))?;
        if self.world().switches.banned.contains(&safe) {
            let body = json!({ "detail": "Unavailable for legal reasons" });
            return Err(Refusal::json(451, body));
        }
        Ok(safe)
    }

    /// Notices what a Safe has executed and its owners approved on chain, unless it is told not to.
    async fn index(&self, safe: Address) -> Result<(), Refusal> {
        if self.world().switches.stale_index {
            return Ok(());
        }
        let told = self.chain.told(safe).await?;
        self.world().index(safe, &told);
        Ok(())
    }
}

fn router(service: Service) -> Router {
    let transactions = "/api/v2/safes/{safe}/multisig-transactions/";
    let confirmations = "/api/v1/multisig-transactions/{hash}/confirmations/";
    let transaction = "/api/v2/multisig-transactions/{hash}/";
    Router::new()
        .route("/api/v1/about/", get(about))
        .route("/api/v1/about/ethereum-rpc/", get(ethereum_rpc))
        .route("/api/v1/safes/{safe}/", get(mailbox::safe))
        .route(transactions, get(mailbox::list).post(propose::post))
        .route(transaction, get(mailbox::show).delete(mailbox::delete))
        .route(confirmations, get(confirm::list_all).post(confirm::post))
        .route("/api/v2/delegates/", get(delegates::list).post(delegates::add))
        .route("/api/v2/delegates/{delegate}/", delete(delegates::remove))
        .fallback(slash_or_nothing)
        .layer(middleware::from_fn_with_state(service.clone(), on_the_wire))
        .route("/_control", get(control::show).post(control::change))
        .with_state(service)
}

/// A path without its slash is redirected to the one with it, whatever the method.
async fn slash_or_nothing(uri: Uri) -> Response {
    if uri.path().ends_with('/') {
        return Refusal::detail(404, "Not found.").into_response();
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let place = format!("{}/{query}", uri.path());
    match HeaderValue::from_str(&place) {
        Ok(place) => (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, place)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn endpoint(method: &Method, path: &str) -> Option<At> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').skip(2).collect();
    Some(match (method.as_str(), parts.as_slice()) {
        ("GET", ["about", ..]) => At::About,
        ("GET", ["safes", _]) => At::Safe,
        ("GET", ["safes", _, "multisig-transactions"]) => At::List,
        ("POST", ["safes", _, "multisig-transactions"]) => At::Propose,
        ("GET", ["multisig-transactions", _]) => At::Detail,
        ("DELETE", ["multisig-transactions", _]) => At::Delete,
        ("GET", ["multisig-transactions", _, "confirmations"]) => At::Confirmations,
        ("POST", ["multisig-transactions", _, "confirmations"]) => At::Confirm,
        (_, ["delegates", ..]) => At::Delegates,
        _ => return None,
    })
}

/// Around every call: remembers it, demands the key, fails and loses answers as planned.
async fn on_the_wire(State(service): State<Service>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let at = endpoint(&parts.method, parts.uri.path());
    let (method, uri, headers) = (parts.method.clone(), parts.uri.clone(), parts.headers.clone());
    let request = Request::from_parts(parts, Body::from(bytes.clone()));
    let response = answer(&service, at, &headers, request, next).await;
    remember(&service, &method, &uri, &bytes, response.status());
    if at.is_some_and(|at| service.world().is_swallowed(at)) { cut_off() } else { response }
}

async fn answer(
    service: &Service,
    at: Option<At>,
    headers: &HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let demanded = service.world().switches.api_key.clone();
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if demanded.is_some_and(|key| given != Some(format!("Bearer {key}").as_str())) {
        return Refusal::detail(401, "Invalid API key").into_response();
    }
    let failure = at.and_then(|at| service.world().failure(at));
    let Some(failure) = failure else { return next.run(request).await };
    let mut response = Refusal { status: failure.status, body: failure.body }.into_response();
    let mut add = |name: &'static str, value: Option<u64>| {
        if let Some(value) = value {
            response.headers_mut().insert(name, value.into());
        }
    };
    add("retry-after", failure.retry_after);
    add("x-ratelimit-limit", failure.rate_limit_reset.map(|_| 5));
    add("x-ratelimit-remaining", failure.rate_limit_reset.map(|_| 0));
    add("x-ratelimit-reset", failure.rate_limit_reset);
    response
}

fn remember(service: &Service, method: &Method, uri: &Uri, body: &Bytes, status: StatusCode) {
    if status == StatusCode::MOVED_PERMANENTLY {
        return;
    }
    let mut world = service.world();
    if world.requests.len() == REQUESTS_MAX {
        world.requests.pop_front();
    }
    world.requests.push_back(WireRequest {
        method: method.to_string(),
        path: uri.to_string(),
        body: serde_json::from_slice(body).unwrap_or_default(),
        status: status.as_u16(),
    });
}

/// The JSON of a body, or the framework's own refusals.
fn json_body(headers: &HeaderMap, body: &Bytes) -> Result<Value, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default();
    if !kind.starts_with("application/json") {
        let problem = format!("Unsupported media type \"{kind}\" in request.");
        return Err(Refusal::detail(415, &problem));
    }
    serde_json::from_slice(body)
        .map_err(|error| Refusal::detail(400, &format!("JSON parse error - {error}")))
}

async fn about(State(service): State<Service>) -> Answer {
    let l2 = service.world().config.chain_id != ChainId::ETHEREUM;
    Ok(Json(json!({
        "name": "Safe Transaction Service", "version": "6.10.1", "api_version": "v1",
        "secure": false, "settings": { "ETH_L2_NETWORK": l2, "ETH_REORG_BLOCKS": 200 },
    }))
    .into_response())
}

async fn ethereum_rpc(State(service): State<Service>) -> Answer {
    let block = service.chain.head().await?;
    let world = service.world();
    let chain = world.switches.chain_id.unwrap_or(world.config.chain_id.get());
    Ok(Json(json!({
        "version": "anvil", "block_number": block, "chain_id": chain, "chain": chain.to_string(),
        "syncing": false,
    }))
    .into_response())
}
