//! `GET /v1/operator`: the service itself, for whoever runs it. It says nothing that is secret; what it says
//! of settings and people is for those who may look at everything, however open reads are.

use axum::{Json, extract::State};
use serde::Serialize;

use super::chains::{self, ChainView};
use crate::{
    clock::Time,
    config::Told,
    flow::Service,
    roles::{Action, Role},
    store::{
        queues::{Connections, RequestQueue, WorkQueue},
        tokens::ApiToken,
    },
    web::{
        WebState,
        gate::{Caller, SESSION_IDLE},
        probes::{self, Check},
        problem::Problem,
    },
};

/// The service itself.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct OperatorView {
    pub version: &'static str,
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    /// What it depends on, as `/readyz` tells it.
    pub checks: Vec<Check>,
    pub chains: Vec<ChainView>,
    /// Requests under way, by status.
    pub requests: Vec<RequestQueue>,
    /// What else is to be done.
    pub queues: Vec<WorkQueue>,
    /// Who is at the database: every instance of the service, and commands while they run.
    pub connections: Vec<Connections>,
    pub tokens: Vec<TokenView>,
    /// How many people are signed in.
    pub sessions: u64,
    /// Every setting as it is in use. Of URLs only the host is told.
    pub settings: Vec<Told>,
    /// Which secrets this instance has, and nothing of what they are.
    pub secrets: Vec<SecretView>,
}

/// An API token, without the token.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TokenView {
    pub name: String,
    pub roles: Vec<Role>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Time>,
}

impl From<ApiToken> for TokenView {
    fn from(token: ApiToken) -> Self {
        let roles = Role::of_token(&token.scopes);
        let ApiToken { name, created_at, last_used_at, revoked_at, .. } = token;
        Self { name, roles, created_at, last_used_at, revoked_at }
    }
}

/// A secret that is used, or is not.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SecretView {
    pub name: &'static str,
    pub in_use: bool,
    /// What it is for, or which account it is the key of.
    pub detail: String,
}

/// Asked of types that cannot be printed, so that nothing of a secret can come out.
fn secrets(service: &Service) -> Vec<SecretView> {
    let secret = |name, in_use, detail: String| SecretView { name, in_use, detail };
    let relayer = service.relayer.as_ref().map(|key| format!("executes as {}", key.address()));
    let proposer = service.mailboxes.iter().find_map(|mailbox| mailbox.proposer.as_ref());
    let proposer_detail = proposer.map(|key| format!("posts proposals as {}", key.address()));
    let webhooks = service.webhook_secrets.len();
    vec![
        secret("seal key", true, "commit tokens are sealed with it".into()),
        secret(
            "API key of Phala Cloud",
            service.can_prepare,
            if service.can_prepare { "prepares and commits" } else { "nothing is committed" }
                .into(),
        ),
        secret(
            "secret of Phala Cloud's webhooks",
            webhooks > 0,
            match webhooks {
                0 => "no webhook is taken".into(),
                1 => "webhooks are checked with it".into(),
                several => format!("webhooks are checked with {several} of them"),
            },
        ),
        secret(
            "relayer key",
            relayer.is_some(),
            relayer.unwrap_or_else(|| "anyone else executes".into()),
        ),
        secret(
            "proposer key",
            proposer.is_some(),
            proposer_detail
                .unwrap_or_else(|| "owners who sign here post proposals, if anybody".into()),
        ),
    ]
}

/// Everything that page and API tell.
pub async fn view(state: &WebState) -> Result<OperatorView, Problem> {
    let (service, store) = (&state.service, &state.service.store);
    let now = service.clock.now();
    let tokens = store.tokens().await?;
    Ok(OperatorView {
        version: env!("CARGO_PKG_VERSION"),
        at: now,
        checks: probes::readiness(state).await.checks,
        chains: chains::views(state).await?,
        requests: store.request_queues(now).await?,
        queues: store.other_queues().await?,
        connections: store.connections().await?,
        tokens: tokens.into_iter().map(TokenView::from).collect(),
        sessions: store.session_count(now - SESSION_IDLE, now).await?,
        settings: service.settings.told(),
        secrets: secrets(service),
    })
}

/// The service itself, for auditors and admins: what it depends on, chains and endpoints, queues, who is
/// connected, API tokens without their secrets, and every setting with where its value comes from.
#[utoipa::path(
    get, path = "/v1/operator", operation_id = "show_operator", tag = "operator",
    responses((status = 200, body = OperatorView), (status = 403, body = Problem)),
    security(("token" = []), ("session" = []))
)]
pub async fn show(
    caller: Caller,
    State(state): State<WebState>,
) -> Result<Json<OperatorView>, Problem> {
    caller.may(Action::Audit)?;
    Ok(Json(view(&state).await?))
}
