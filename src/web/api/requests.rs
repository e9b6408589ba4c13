//! `/v1/requests`: submit, show; and how a request looks in every answer.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::submission::NewRequest;
use crate::{
    clock::Time,
    flow::Service,
    intake,
    request::{
        Request,
        explain::Explanation,
        facts::{BlockRef, Execution},
        ids::{
            AppId, ChainId, ComposeHash, DeviceId, NodeId, ReplicaId, RequestId, SourceCvm, TxHash,
        },
        kind::Kind,
        status::Status,
    },
    roles::Action,
    store::{StoreError, intake::Stored, journal::Entry},
    watch::depth::Depth,
    web::{
        WebState,
        candidates::{Candidates, candidates},
        compose_proof::{ComposeProofView, ComposeReview, compose, proof},
        device_meaning::{DeviceMeaning, meaning},
        explained::{Explained, explained},
        gate::{Caller, Reader},
        left_behind::{LeftBehind, left_behind},
        mailbox::{MailboxView, mailbox},
        problem::Problem,
        queue::{NonceView, nonce},
        relayer::{RelayerView, relayer},
    },
};

/// Entries of a request's timeline that are shown.
const TIMELINE_MAX: u32 = 500;

/// The execution that the chain showed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ExecutionView {
    pub block: BlockRef,
    pub transaction: Option<TxHash>,
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
}

/// The replica of a request, or the CVM that is updated.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ReplicaView {
    pub id: ReplicaId,
    #[schema(value_type = String, format = DateTime)]
    pub committed_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub running_at: Option<Time>,
    /// What Phala Cloud calls the work that an update set off, if it told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

/// A request. Its commit token is not part of it, here or anywhere.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RequestView {
    pub id: RequestId,
    pub kind: Kind,
    pub status: Status,
    /// Why it waits, why it ended, or what a person must look at.
    pub reason: Option<String>,
    /// Whether a person must look.
    pub needs_attention: bool,
    pub next_step: &'static str,
    /// Why it is where it is, what happens next and when; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// The instances that a person may choose from with `settle`; only when one request is read
    /// whose commit ended nobody knows how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Candidates>,
    /// What an update has left on the compose hash its CVM ran before; only when one request is read
    /// that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_behind: Option<LeftBehind>,
    /// How its proposal stands in Safe's mailbox; only when one request is read, and the chain has
    /// such a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safe_service: Option<MailboxView>,
    /// The place of its proposal among the transactions of the Safe; only when one request is read that
    /// waits for signatures or its execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<NonceView>,
    /// What the relayer does about it; only when one request is read, and there is a relayer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relayer: Option<RelayerView>,
    /// Whether it is known what its compose hash stands for; when requests are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compose_proof: Option<ComposeProofView>,
    /// What to look at in its document; only when one request is read that is not committed yet, and
    /// whose document is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compose_review: Option<ComposeReview>,
    /// Those that one transaction of their Safe is for together with it, or is to be; when requests are read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<RequestId>)]
    pub together_with: Vec<RequestId>,
    /// What its device id means; only when one request is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_meaning: Option<DeviceMeaning>,
    /// Looks in a row that led to nothing, which the pauses grow with.
    pub attempts: u32,
    /// When it is looked at again, unless something wakes it earlier; absent when it has ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_try_at: Option<Time>,
    pub chain_id: ChainId,
    pub app: AppId,
    pub source_cvm: SourceCvm,
    pub node_id: Option<NodeId>,
    pub compose_hash: ComposeHash,
    pub device_id: DeviceId,
    pub note: Option<String>,
    pub created_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Time,
    #[schema(value_type = String, format = DateTime)]
    pub prepared_at: Time,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Time,
    pub executed: Option<ExecutionView>,
    /// How deep the execution lies, while that is what the request waits for.
    pub depth: Option<Depth>,
    /// The block at which both entries read true at the depth of the policy.
    pub registered: Option<BlockRef>,
    pub replica: Option<ReplicaView>,
    /// What happened, oldest first; only when one request is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Vec<Entry>>,
}

impl From<Request> for RequestView {
    fn from(request: Request) -> Self {
        let status = request.status();
        let facts = request.facts;
        let needs_attention = facts.needs_attention();
        let reason = facts.end.map(|end| end.reason).or(facts.attention).or(request.reason);
        Self {
            id: request.id,
            kind: request.kind,
            status,
            reason,
            needs_attention,
            next_step: if needs_attention { "a person must look" } else { status.next_step() },
            explanation: None,
            candidates: None,
            left_behind: None,
            safe_service: None,
            nonce: None,
            relayer: None,
            compose_proof: None,
            compose_review: None,
            together_with: vec![],
            device_meaning: None,
            attempts: request.attempts,
            next_try_at: (!status.is_end()).then_some(request.next_try_at),
            chain_id: request.chain,
            app: request.app,
            source_cvm: request.source,
            node_id: request.node,
            compose_hash: request.compose,
            device_id: request.device,
            note: request.note,
            created_by: request.created_by,
            created_at: request.created_at,
            prepared_at: request.prepared_at,
            expires_at: request.expires_at,
            executed: facts.execution.map(|Execution { at, block, tx }| ExecutionView {
                block,
                transaction: tx,
                at,
            }),
            depth: None,
            registered: facts.registration.map(|registration| registration.block),
            replica: facts.replica.map(|replica| ReplicaView {
                id: replica.id,
                committed_at: replica.committed_at,
                running_at: facts.running_at,
                operation: replica.operation,
            }),
            timeline: None,
        }
    }
}

/// Parses a JSON body without repeating any of it in the error.
pub(super) fn parse_body(body: &Bytes) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Problem::of_field("body", format!("expected JSON; it stops making sense at {place}"))
    })
}

/// Submits a preparation. The same one again is answered with the same request.
#[utoipa::path(
    post, path = "/v1/requests", operation_id = "submit_request", tag = "requests", request_body = NewRequest,
    responses(
        (status = 201, description = "A request was opened", body = RequestView),
        (status = 200, description = "The preparation was known, or renewed an open request", body = RequestView),
        (status = 409, description = "The token came before with other content", body = Problem),
        (status = 422, description = "A field is wrong; nothing was stored", body = Problem),
    ),
    security(("token" = []), ("session" = []))
)]
pub async fn submit(
    caller: Caller,
    State(state): State<WebState>,
    body: Bytes,
) -> Result<(StatusCode, Json<RequestView>), Problem> {
    let actor = caller.may(Action::Submit)?;
    let service = &state.service;
    let now = service.clock.now();
    let chains: Vec<ChainId> = service.chains.iter().map(crate::chain::Chain::id).collect();
    let submission = intake::read(&parse_body(&body)?, &chains, now)?;
    let id = RequestId(Uuid::now_v7());
    let stored =
        intake::accept(&service.store, &service.vault, id, &submission, &actor, now).await?;
    match stored {
        Stored::Opened(request) => {
            Ok((StatusCode::CREATED, Json(changed(service, request).await?)))
        }
        Stored::Known(request) | Stored::Renewed(request) => {
            Ok((StatusCode::OK, Json(changed(service, request).await?)))
        }
        Stored::TokenReused(id) => Err(Problem {
            field: Some("commit_token".into()),
            ..Problem::new(
                StatusCode::CONFLICT,
                "token-reused",
                format!("request {id} came with the same commit token and other content"),
            )
        }),
    }
}

/// A request that was changed just now, explained as whoever looks at it next is told.
pub(super) async fn changed(
    service: &Service,
    mut request: Request,
) -> Result<RequestView, StoreError> {
    let proposal = service.store.proposal(request.id).await?;
    let Explained { depth, explanation } =
        explained(service, &mut request, proposal.as_ref()).await?;
    Ok(RequestView { depth, explanation: Some(explanation), ..request.into() })
}

/// Reads an id in a path; a malformed one is no request that exists.
pub fn request_id(text: &str) -> Result<RequestId, Problem> {
    text.parse().map_err(|_| Problem::not_found("request"))
}

/// One request with its timeline.
#[utoipa::path(
    get, path = "/v1/requests/{id}", operation_id = "show_request", tag = "requests", params(("id" = RequestId, Path)),
    responses((status = 200, body = RequestView), (status = 404, body = Problem)),
    security(("token" = []), ("session" = []))
)]
pub async fn show(
    _: Reader,
    State(state): State<WebState>,
    Path(id): Path<String>,
) -> Result<Json<RequestView>, Problem> {
    let id = request_id(&id)?;
    let store = &state.service.store;
    let mut request = store.request(id).await?;
    let proposal = store.proposal(id).await?;
    let Explained { depth, explanation } =
        explained(&state.service, &mut request, proposal.as_ref()).await?;
    let candidates = candidates(&state, &request).await?;
    let left_behind = left_behind(&state, &request).await?;
    let safe_service = mailbox(&state.service, &request).await?;
    let nonce = nonce(&request, proposal.as_ref());
    let relayer = relayer(&state.service, &request).await?;
    let (compose_proof, compose_review) = if request.status().is_before_commit() {
        let known = compose(&state.service, &request).await?;
        (known.proof.clone(), known.review())
    } else {
        (proof(&state.service, id).await?, None)
    };
    let device_meaning = Some(meaning(&state.service, request.device).await?);
    let together_with = store.together_with(&[id]).await?.remove(&id).unwrap_or_default();
    let mut timeline = store.journal_page(Some(id), None, TIMELINE_MAX).await?;
    timeline.reverse();
    Ok(Json(RequestView {
        depth,
        explanation: Some(explanation),
        candidates,
        left_behind,
        safe_service,
        nonce,
        relayer,
        compose_proof: Some(compose_proof),
        compose_review,
        together_with,
        device_meaning,
        timeline: Some(timeline),
        ..request.into()
    }))
}
