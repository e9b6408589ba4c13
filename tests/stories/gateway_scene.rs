//! A server in the place of Phala Cloud that tells what reached it, for what the emulator never does.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use futures::StreamExt;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::world::{Running, World};

/// A call as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
}

/// The server. Dropping it ends it.
pub struct Stub {
    pub prefix: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// The key of the service, which asks for itself beside its callers.
    service_key: OnceLock<String>,
    events: mpsc::UnboundedSender<Bytes>,
    /// Cancelled when nobody is answered by `/flood` any more.
    pub flood_is_over: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    seen: Arc<Mutex<Vec<Seen>>>,
    events: Arc<Mutex<Option<mpsc::UnboundedReceiver<Bytes>>>>,
    flood_is_over: CancellationToken,
}

impl Stub {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let prefix = format!("http://{}/api/v1", listener.local_addr().unwrap());
        let (events, told) = mpsc::unbounded_channel();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let flood_is_over = CancellationToken::new();
        let shared = Shared {
            seen: seen.clone(),
            events: Arc::new(Mutex::new(Some(told))),
            flood_is_over: flood_is_over.clone(),
        };
        let app = Router::new()
            .route("/api/v1/echo", any(echo))
            .route("/api/v1/events", any(events_of))
            .route("/api/v1/flood", any(flood))
            .route("/api/v1/whole", any(async |body: Bytes| body.len().to_string()))
            .route("/api/v1/status/{status}", any(status))
            .route("/api/v1/cvms/breaks/replicas", any(async || breaking(465)))
            .route("/api/v1/cvms/breaks/commit-replica", any(async || breaking(200)))
            .route("/api/v1/cvms/waits/commit-replica", any(after_an_event))
            .fallback(async || "here".into_response())
            .layer(axum::middleware::from_fn_with_state(shared.clone(), note))
            .with_state(shared);
        let task =
            tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        let (prefix, service_key) = (prefix.parse().unwrap(), OnceLock::new());
        Self { prefix, seen, service_key, events, flood_is_over, task }
    }

    /// Everything that has arrived of callers.
    pub fn seen(&self) -> Vec<Seen> {
        let key = self.service_key.get().map(String::as_bytes);
        let of_service =
            |seen: &Seen| seen.headers.get("x-api-key").map(HeaderValue::as_bytes) == key;
        let mut seen = self.seen.lock().unwrap().clone();
        seen.retain(|seen| key.is_none() || !of_service(seen));
        seen
    }

    pub fn last_seen(&self) -> Seen {
        self.seen().pop().expect("something arrived")
    }

    /// Tells those who listen to `/events`, or whoever waits.
    pub fn tell(&self, event: &'static str) {
        self.events.send(Bytes::from_static(event.as_bytes())).expect("somebody listens");
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn note(
    State(shared): State<Shared>,
    request: Request,
    next: axum::middleware::Next,
) -> Response {
    let seen = Seen {
        method: request.method().to_string(),
        target: request.uri().to_string(),
        headers: request.headers().clone(),
    };
    shared.seen.lock().unwrap().push(seen);
    next.run(request).await
}

/// Gives back what comes, while it comes.
async fn echo(request: Request) -> Response {
    Response::new(Body::from_stream(request.into_body().into_data_stream()))
}

async fn events_of(State(shared): State<Shared>) -> Response {
    let told = shared.events.lock().unwrap().take().expect("one listens");
    let told = UnboundedReceiverStream::new(told).map(Ok::<_, std::io::Error>);
    let head = [(header::CONTENT_TYPE, "text/event-stream")];
    (head, Body::from_stream(told)).into_response()
}

/// Answers when an event is told.
async fn after_an_event(State(shared): State<Shared>) -> &'static str {
    let mut told = shared.events.lock().unwrap().take().expect("one listens");
    told.recv().await.expect("it is told");
    "{}"
}

/// An answer without an end.
async fn flood(State(shared): State<Shared>) -> Response {
    let until_gone = shared.flood_is_over.drop_guard();
    let parts = futures::stream::repeat_with(move || {
        let _held = &until_gone;
        Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 64 * 1024]))
    });
    Response::new(Body::from_stream(parts))
}

/// Any status, with headers that have to arrive and a body that only looks compressed.
async fn status(axum::extract::Path(status): axum::extract::Path<u16>) -> Response {
    let head = [
        ("x-request-id", "rid-1"),
        ("retry-after", "7"),
        ("location", "https://elsewhere.example/x"),
        ("content-encoding", "gzip"),
        ("cache-control", "private, max-age=3"),
        ("connection", "x-of-this-one"),
        ("x-of-this-one", "1"),
    ];
    let mut response =
        (StatusCode::from_u16(status).unwrap(), head, "no gzip at all").into_response();
    response.headers_mut().append("x-twice", "a".parse().unwrap());
    response.headers_mut().append("x-twice", "b".parse().unwrap());
    response
}

/// An answer that breaks off.
fn breaking(status: u16) -> Response {
    let half = futures::stream::iter([Ok(Bytes::from_static(b"{\"half"))]);
    let parts = half.chain(futures::stream::once(async {
        // Head and half go out before.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("it breaks off"))
    }));
    (StatusCode::from_u16(status).unwrap(), Body::from_stream(parts)).into_response()
}

/// A service whose Phala Cloud is the server.
pub async fn behind(stub: &Stub) -> (World, Running) {
    with_patience(stub, Duration::from_mins(1)).await
}

/// The same, for callers who may keep a call waiting for so long.
pub async fn with_patience(stub: &Stub, patience: Duration) -> (World, Running) {
    let mut world = World::new().await;
    world.settings.gateway.patience = patience;
    world.settings.phala_api_prefix = stub.prefix.clone();
    stub.service_key.set(world.town.cloud.api_key()).expect("it serves one service");
    let running = world.start().await;
    (world, running)
}

/// Where the gateway of a service is.
pub fn gateway_of(api: &crate::world::Api) -> String {
    format!("{}/phala/api/v1", api.base())
}
