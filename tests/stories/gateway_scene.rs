//! A server in the place of Phala Cloud that tells what reached it, for what the emulator never does.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, OnceLock},
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
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    seen: Arc<Mutex<Vec<Seen>>>,
    events: Arc<Mutex<Option<mpsc::UnboundedReceiver<Bytes>>>>,
}

impl Stub {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let prefix = format!("http://{}/api/v1", listener.local_addr().unwrap());
        let (events, told) = mpsc::unbounded_channel();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let shared = Shared { seen: seen.clone(), events: Arc::new(Mutex::new(Some(told))) };
        let app = Router::new()
            .route("/api/v1/echo", any(echo))
            .route("/api/v1/events", any(events_of))
            .route("/api/v1/status/{status}", any(status))
            .fallback(async || "here".into_response())
            .layer(axum::middleware::from_fn_with_state(shared.clone(), note))
            .with_state(shared);
        let task =
            tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { prefix: prefix.parse().unwrap(), seen, service_key: OnceLock::new(), events, task }
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

    /// Tells those who listen to `/events`.
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

/// A service whose Phala Cloud is the server.
pub async fn behind(stub: &Stub) -> (World, Running) {
    let mut world = World::new().await;
    world.settings.phala_api_prefix = stub.prefix.clone();
    stub.service_key.set(world.town.cloud.api_key()).expect("it serves one service");
    let running = world.start().await;
    (world, running)
}

/// Where the gateway of a service is.
pub fn gateway_of(api: &crate::world::Api) -> String {
    format!("{}/phala/api/v1", api.base())
}
