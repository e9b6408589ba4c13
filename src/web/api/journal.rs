//! `/v1/journal`: who changed what, when.

use axum::{
    Json,
    extract::{Query, State},
};
use serde::Deserialize;

use crate::{
    store::journal::Entry,
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
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::of_field("limit", format!("expected 1 to {LIMIT_MAX}")));
    }
    Ok(Json(state.service.store.journal_page(request, query.before, limit).await?))
}
