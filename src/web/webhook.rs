//! `POST /phala/webhook`: what Phala Cloud tells by itself. It is verified, kept and passed on to the
//! workers; nothing here waits for the network.

use std::time::Duration;

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Serialize;
use uuid::Uuid;

use super::{WebState, problem::Problem};
use crate::{
    flow::Service,
    intake::{
        self, AcceptError,
        webhook::{News, Told, WebhookError, read_event, verify},
    },
    request::ids::{ChainId, RequestId},
    store::{StoreError, gateway::WebhookEvent, intake::Stored, journal::Actor},
};

/// Phala Cloud waits ten seconds, and tells again after a minute.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of an event.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Taken {
    /// `opened` a request, `known` before, `woken` requests of the CVM, `ignored`.
    pub outcome: &'static str,
    /// The request that was prepared for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Body => Self::of_field("body", error.to_string()),
            error => Self::new(StatusCode::UNAUTHORIZED, "not-signed", error.to_string()),
        }
    }
}

/// Takes an event of Phala Cloud's webhooks, each once by its id. `cvm.update.pending_approval` and
/// `cvm.replica.pending_approval` open a request; what else is told of a CVM has its requests looked at.
#[utoipa::path(
    post, path = "/phala/webhook", operation_id = "phala_webhook", tag = "phala", request_body = Object,
    params(
        ("X-Webhook-Timestamp" = i64, Header, description = "When it was signed, in seconds since 1970; 300 seconds off at most"),
        ("X-Webhook-Signature" = String, Header, description = "`sha256=` and, in hexadecimal, the HMAC-SHA256 of the timestamp as it stands, a full stop and the body as it is sent; the key is the secret, `whsec_` and all"),
    ),
    responses(
        (status = 200, description = "It was taken, now or before", body = Taken),
        (status = 401, description = "It is not signed with a secret of this service, or not just now", body = Problem),
        (status = 404, description = "No secret is configured, so none is taken", body = Problem),
        (status = 422, description = "It does not read, or what was prepared is not for here", body = Problem),
        (status = 503, description = "It could not be kept in time; tell it again", body = Problem),
    ),
    security(("webhook" = []))
)]
pub async fn take(
    State(state): State<WebState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Taken>, Problem> {
    let service = state.service.clone();
    if service.webhook_secrets.is_empty() {
        let title = "no webhook is taken: start with COUNTERSIGN_PHALA_WEBHOOK_SECRET";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-webhook-secret", title));
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (timestamp, signature) = (text("x-webhook-timestamp"), text("x-webhook-signature"));
    let now = service.clock.now();
    verify(&service.webhook_secrets, timestamp, signature, &body, now)?;
    let told = read_event(&body)?;
    let event = told.event;
    metrics::counter!("countersign_webhook_events_total", "event" => event).increment(1);
    let kept = tokio::time::timeout(PATIENCE, keep(&service, told));
    let taken = kept.await.unwrap_or_else(|_| Err(not_now(event, "the database is slow")))?;
    tracing::info!(event, outcome = taken.outcome, "took a webhook");
    Ok(Json(taken))
}

fn not_now(event: &str, reason: &str) -> Problem {
    tracing::warn!(event, reason, "a webhook was not taken");
    let title = "it could not be kept now: tell it again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-kept", title)
}

/// It is kept after what it led to: one that breaks off in between is told again.
async fn keep(service: &Service, told: Told) -> Result<Taken, Problem> {
    let Told { id, event, at, cvm, app, compose, news } = told;
    let unstored = |error: &StoreError| not_now(event, &crate::flow::chain_of(error));
    let store = &service.store;
    if store.knows_webhook_event(&id).await.map_err(|error| unstored(&error))? {
        return Ok(Taken { outcome: "known", request: None });
    }
    let now = service.clock.now();
    let chains: Vec<ChainId> = service.chains.iter().map(crate::chain::Chain::id).collect();
    let taken = match news {
        News::Prepared(submission) => {
            let submission = intake::read(&submission, &chains, now)?;
            let (id, actor) = (RequestId(Uuid::now_v7()), Actor::service("webhook"));
            let stored = intake::accept(store, &service.vault, id, &submission, &actor, now).await;
            let (outcome, id) = match stored {
                Ok(Stored::Opened(request)) => ("opened", request.id),
                Ok(Stored::Known(request) | Stored::Renewed(request)) => ("known", request.id),
                // It came by another way first, which told the node too.
                Ok(Stored::TokenReused(id)) => ("known", id),
                Err(AcceptError::Store(error)) => return Err(unstored(&error)),
                Err(error) => return Err(error.into()),
            };
            Taken { outcome, request: Some(id) }
        }
        News::OfCvm => {
            let woken = store.wake_of_cvm(cvm.as_ref(), app, &chains, now).await;
            let woken = woken.map_err(|error| unstored(&error))?;
            Taken { outcome: if woken > 0 { "woken" } else { "ignored" }, request: None }
        }
        News::Test | News::Other => Taken { outcome: "ignored", request: None },
    };
    let kept = WebhookEvent { id, event: event.into(), told_at: at, cvm, app, compose };
    store.keep_webhook_event(&kept, taken.request, now).await.map_err(|error| unstored(&error))?;
    Ok(taken)
}
