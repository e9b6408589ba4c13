//! `/v1/apps`: what is governed, its allowlist with provenance, its history, and drift.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};

use crate::{
    audit::{self, AllowedEntry, Drift},
    request::ids::{AppId, ChainId},
    store::ledger::LedgerEntry,
    web::{WebState, gate::Reader, problem::Problem},
};

/// An app that is watched.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AppView {
    pub chain_id: ChainId,
    pub app: AppId,
    /// First block whose events are known; earlier history is not in the ledger.
    pub ledger_from: Option<u64>,
}

/// The allowlist of an app.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AllowlistView {
    pub chain_id: ChainId,
    pub app: AppId,
    pub ledger_from: Option<u64>,
    /// The block it was asked for; none means now.
    pub at: Option<u64>,
    pub entries: Vec<AllowedEntry>,
}

/// Which block to look at.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AtQuery {
    /// The allowlist as of this block.
    pub at: Option<u64>,
}

/// Every app that is watched.
#[utoipa::path(
    get, path = "/v1/apps", operation_id = "list_apps", tag = "apps",
    responses((status = 200, body = Vec<AppView>)), security(("token" = []))
)]
pub async fn list(_: Reader, State(state): State<WebState>) -> Result<Json<Vec<AppView>>, Problem> {
    let mut apps = vec![];
    for chain in state.service.chains.iter() {
        for (app, ledger_from) in state.service.store.apps(chain.id()).await? {
            apps.push(AppView { chain_id: chain.id(), app, ledger_from });
        }
    }
    Ok(Json(apps))
}

/// Finds a watched app by what stands in the path.
pub async fn find(state: &WebState, chain: &str, app: &str) -> Result<AppView, Problem> {
    let missing = || Problem::not_found("app");
    let chain_id: ChainId = chain.parse().map_err(|_| missing())?;
    let app: AppId = app.parse().map_err(|_| missing())?;
    let apps = state.service.store.apps(chain_id).await?;
    let (app, ledger_from) =
        apps.into_iter().find(|(known, _)| *known == app).ok_or_else(missing)?;
    Ok(AppView { chain_id, app, ledger_from })
}

/// One app.
#[utoipa::path(
    get, path = "/v1/apps/{chain_id}/{app}", operation_id = "show_app", tag = "apps", params(("chain_id" = u64, Path), ("app" = AppId, Path)),
    responses((status = 200, body = AppView), (status = 404, body = Problem)), security(("token" = []))
)]
pub async fn show(
    _: Reader,
    State(state): State<WebState>,
    Path((chain, app)): Path<(String, String)>,
) -> Result<Json<AppView>, Problem> {
    find(&state, &chain, &app).await.map(Json)
}

/// The compose hashes and devices that an app allows, now or as of a block.
#[utoipa::path(
    get, path = "/v1/apps/{chain_id}/{app}/allowlist", operation_id = "show_allowlist", tag = "apps", params(("chain_id" = u64, Path), ("app" = AppId, Path), AtQuery),
    responses((status = 200, body = AllowlistView), (status = 404, body = Problem)), security(("token" = []))
)]
pub async fn allowlist(
    _: Reader,
    State(state): State<WebState>,
    Path((chain, app)): Path<(String, String)>,
    Query(query): Query<AtQuery>,
) -> Result<Json<AllowlistView>, Problem> {
    let AppView { chain_id, app, ledger_from } = find(&state, &chain, &app).await?;
    let ledger = state.service.store.ledger(chain_id, app).await?;
    let entries = audit::allowlist(&ledger, query.at);
    Ok(Json(AllowlistView { chain_id, app, ledger_from, at: query.at, entries }))
}

/// Every policy event of an app, oldest first.
#[utoipa::path(
    get, path = "/v1/apps/{chain_id}/{app}/ledger", operation_id = "show_ledger", tag = "apps", params(("chain_id" = u64, Path), ("app" = AppId, Path)),
    responses((status = 200, body = Vec<LedgerEntry>), (status = 404, body = Problem)), security(("token" = []))
)]
pub async fn ledger(
    _: Reader,
    State(state): State<WebState>,
    Path((chain, app)): Path<(String, String)>,
) -> Result<Json<Vec<LedgerEntry>>, Problem> {
    let found = find(&state, &chain, &app).await?;
    Ok(Json(state.service.store.ledger(found.chain_id, found.app).await?))
}

/// Entries on which ledger and chain disagree.
#[utoipa::path(
    get, path = "/v1/apps/{chain_id}/{app}/drift", operation_id = "show_drift", tag = "apps", params(("chain_id" = u64, Path), ("app" = AppId, Path)),
    responses((status = 200, body = Vec<Drift>), (status = 404, body = Problem), (status = 503, body = Problem)), security(("token" = []))
)]
pub async fn drift(
    _: Reader,
    State(state): State<WebState>,
    Path((chain, app)): Path<(String, String)>,
) -> Result<Json<Vec<Drift>>, Problem> {
    let found = find(&state, &chain, &app).await?;
    let chain = state.service.chains.get(found.chain_id)?;
    Ok(Json(audit::drift(&state.service.store, chain, found.app).await?))
}
