//! Phala Cloud, but where it keeps documents somebody else sits: what CVMs, revisions and attestations
//! show is what a story says. Everything else goes through to the emulator.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::world::{Api, World};

/// What the office shows. What it does not have is not found.
#[derive(Debug, Clone, Default)]
pub struct Papers {
    /// The document of every CVM.
    pub of_cvms: Option<Vec<u8>>,
    /// The compose hash that CVMs say they run, instead of their own.
    pub runs: Option<String>,
    /// Revisions: compose hash, and document as it stands in the answer.
    pub revisions: Vec<(String, Value)>,
    pub attested: Option<String>,
    /// The status of every answer, instead of an answer.
    pub broken: Option<u16>,
}

#[derive(Clone)]
struct Desk {
    papers: Arc<Mutex<Papers>>,
    emulator: String,
    http: reqwest::Client,
}

/// The office, until it is dropped.
pub struct Office {
    desk: Desk,
    task: JoinHandle<()>,
}

impl Drop for Office {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Office {
    /// Sits down before the cloud of a world.
    pub async fn before(world: &mut World, papers: Papers) -> Self {
        let emulator = world.town.cloud.origin();
        let desk = Desk { papers: Arc::new(Mutex::new(papers)), emulator, http: Api::bare() };
        let router = Router::new()
            .route("/api/v1/cvms/{id}", get(cvm))
            .route("/api/v1/cvms/{id}/compose_file", get(compose_file))
            .route("/api/v1/cvms/{id}/attestation", get(attestation))
            .route("/api/v1/apps/{app}/revisions", get(revisions))
            .route("/api/v1/apps/{app}/revisions/{revision}", get(revision))
            .fallback(pass_on)
            .with_state(desk.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let prefix = format!("http://{}/api/v1", listener.local_addr().unwrap());
        world.settings.phala_api_prefix = prefix.parse().unwrap();
        let task = tokio::spawn(async { axum::serve(listener, router).await.expect("it serves") });
        Self { desk, task }
    }

    pub fn put(&self, papers: Papers) {
        *self.desk.papers.lock().unwrap() = papers;
    }
}

impl Desk {
    fn shown(&self) -> Result<Papers, StatusCode> {
        let papers = self.papers.lock().unwrap().clone();
        let status = papers.broken.map(|status| StatusCode::from_u16(status).unwrap());
        status.map_or(Ok(papers), Err)
    }

    async fn forward(&self, request: Request) -> (StatusCode, Bytes) {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut forward = self.http.request(parts.method, format!("{}{path}", self.emulator));
        for name in ["x-api-key", "x-prepare-only", "x-phala-version", "content-type"] {
            if let Some(value) = parts.headers.get(name) {
                forward = forward.header(name, value);
            }
        }
        let body = to_bytes(body, usize::MAX).await.expect("bodies here are whole");
        let answer = forward.body(body).send().await.expect("the emulator answers");
        (answer.status(), answer.bytes().await.expect("answers here are whole"))
    }
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, axum::Json(json!({ "detail": "Not Found" }))).into_response()
}

async fn pass_on(State(desk): State<Desk>, request: Request) -> Response {
    desk.forward(request).await.into_response()
}

async fn cvm(State(desk): State<Desk>, request: Request) -> Response {
    let runs = desk.papers.lock().unwrap().runs.clone();
    let (status, body) = desk.forward(request).await;
    let Some(runs) = runs else { return (status, body).into_response() };
    let mut value: Value = serde_json::from_slice(&body).expect("a CVM is JSON");
    value["compose_hash"] = json!(runs);
    (status, axum::Json(value)).into_response()
}

async fn compose_file(State(desk): State<Desk>) -> Response {
    match desk.shown() {
        Ok(papers) => papers.of_cvms.map_or_else(not_found, IntoResponse::into_response),
        Err(broken) => broken.into_response(),
    }
}

async fn attestation(State(desk): State<Desk>) -> Response {
    match desk.shown() {
        Ok(papers) => {
            let tcb = papers.attested.map(|text| json!({ "app_compose": text }));
            axum::Json(json!({ "is_online": true, "tcb_info": tcb })).into_response()
        }
        Err(broken) => broken.into_response(),
    }
}

async fn revisions(State(desk): State<Desk>) -> Response {
    match desk.shown() {
        Ok(papers) => {
            let list: Vec<Value> = papers
                .revisions
                .iter()
                .enumerate()
                .map(|(at, (hash, _))| json!({ "revision_id": format!("rev_{at}"), "compose_hash": hash }))
                .collect();
            axum::Json(json!({ "revisions": list, "total": list.len() })).into_response()
        }
        Err(broken) => broken.into_response(),
    }
}

async fn revision(State(desk): State<Desk>, Path((_, id)): Path<(String, String)>) -> Response {
    let papers = desk.papers.lock().unwrap().clone();
    let at: Option<usize> = id.strip_prefix("rev_").and_then(|at| at.parse().ok());
    match at.and_then(|at| papers.revisions.get(at)) {
        Some((hash, file)) => {
            axum::Json(json!({ "compose_hash": hash, "compose_file": file })).into_response()
        }
        None => not_found(),
    }
}
