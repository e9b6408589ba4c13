//! `/v1/journal`: who changed what, when.

use axum::{
    Json,
    extract::{Query, State},
};
use serde::Deserialize;

use crate::{
    store::journal::{Chained, Entry},
    web::{WebState, gate::Auditor, problem::Problem},
};

const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 500;

/// Which part of the journal.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JournalQuery {
    /// Only entries of this request.
    pub request: Option<String>,
    /// Only entries before this one.
    pub before: Option<u64>,
    /// 1 to 500; 100 unless given.
    pub limit: Option<u32>,
}

/// Which stretch of the chain.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChainQuery {
    /// Only entries after this one; 0 unless given.
    pub after: Option<u64>,
    /// 1 to 500; 500 unless given.
    pub limit: Option<u32>,
}

/// A page of the journal, newest first.
#[utoipa::path(
    get, path = "/v1/journal", operation_id = "list_journal", tag = "journal", params(JournalQuery),
    responses((status = 200, body = Vec<Entry>), (status = 422, body = Problem)), security(("token" = []), ("session" = []))
)]
pub async fn page(
    _: Auditor,
    State(state): State<WebState>,
    Query(query): Query<JournalQuery>,
) -> Result<Json<Vec<Entry>>, Problem> {
    let wrong =
        |error: crate::request::ids::ParseIdError| Problem::of_field("request", error.to_string());
    let request = query.request.map(|id| id.parse().map_err(wrong)).transpose()?;
    let limit = bounded(query.limit.unwrap_or(LIMIT_DEFAULT))?;
    Ok(Json(state.service.store.journal_page(request, query.before, limit).await?))
}

/// The journal as a chain, oldest entry first, with the very texts that its hashes are made of:
/// `hash = sha256(prev_hash ‖ seq ‖ at_micros ‖ len request ‖ request ‖ len actor ‖ actor ‖ len kind ‖
/// kind ‖ body)`, numbers as 8 bytes big endian, `request` as the 16 bytes of the UUID or none. Enough
/// to check it without the database and without believing this service.
#[utoipa::path(
    get, path = "/v1/journal/chain", operation_id = "show_journal_chain", tag = "journal", params(ChainQuery),
    responses((status = 200, body = Vec<Chained>), (status = 422, body = Problem)), security(("token" = []), ("session" = []))
)]
pub async fn chain(
    _: Auditor,
    State(state): State<WebState>,
    Query(query): Query<ChainQuery>,
) -> Result<Json<Vec<Chained>>, Problem> {
    let limit = bounded(query.limit.unwrap_or(LIMIT_MAX))?;
    let after = query.after.unwrap_or_default();
    Ok(Json(state.service.store.journal_chain(after, limit).await?))
}

fn bounded(limit: u32) -> Result<u32, Problem> {
    if (1..=LIMIT_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::of_field("limit", format!("expected 1 to {LIMIT_MAX}")))
    }
}
