//! `GET /v1/requests`: list them, a page at a time.

use axum::{
    Json,
    extract::{Query, State},
    response::{AppendHeaders, IntoResponse},
};
use serde::{Deserialize, Serialize};

use super::requests::RequestView;
use crate::{
    clock::Time,
    request::{Request, ids::RequestId},
    store::requests::Filter,
    web::{WebState, compose_proof::proofs, problem::Problem, sight::Sight, standing::Standings},
};

/// Requests on a page unless asked for otherwise, and at most.
const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 200;

/// What a list is narrowed to.
#[derive(Debug, Default, Clone, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    pub status: Option<String>,
    pub app: Option<String>,
    /// A part of the id, the source CVM, the note, a hash or the replica.
    pub q: Option<String>,
    /// 1 to 200; 50 unless given.
    pub limit: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// One page of requests, newest first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RequestPage {
    pub requests: Vec<RequestView>,
    /// Give it as `cursor` to get the next page; absent on the last one.
    pub next_cursor: Option<String>,
}

impl ListQuery {
    /// The filter and page size that the query asks for.
    pub fn read(&self) -> Result<(Filter, u32), Problem> {
        fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
            name: &str,
            text: Option<&String>,
        ) -> Result<Option<T>, Problem> {
            text.filter(|text| !text.is_empty())
                .map(|text| {
                    text.parse().map_err(|error: T::Err| Problem::of_field(name, error.to_string()))
                })
                .transpose()
        }
        let limit = match parse::<u32>("limit", self.limit.as_ref())? {
            None => LIMIT_DEFAULT,
            Some(limit @ 1..=LIMIT_MAX) => limit,
            Some(_) => {
                return Err(Problem::of_field("limit", format!("expected 1 to {LIMIT_MAX}")));
            }
        };
        let text = self.q.as_ref().map(|text| text.trim().trim_start_matches("0x").to_owned());
        if text.as_ref().is_some_and(|text| text.contains('\0') || text.len() > 200) {
            return Err(Problem::of_field("q", "expected up to 200 ordinary characters"));
        }
        let filter = Filter {
            status: parse("status", self.status.as_ref())?,
            app: parse("app", self.app.as_ref())?,
            apps: None,
            text: text.filter(|text| !text.is_empty()),
            after: self
                .cursor
                .as_deref()
                .filter(|text| !text.is_empty())
                .map(read_cursor)
                .transpose()?,
        };
        Ok((filter, limit))
    }
}

fn read_cursor(text: &str) -> Result<(Time, RequestId), Problem> {
    let wrong = || Problem::of_field("cursor", "expected `next_cursor` of the page before");
    let (micros, id) = text.split_once('_').ok_or_else(wrong)?;
    let micros: i64 = micros.parse().map_err(|_| wrong())?;
    // From 1970 to 9999, which the database can keep.
    let at = Some(micros).filter(|micros| (0..253_402_300_800_000_000).contains(micros));
    let at = at.and_then(Time::from_timestamp_micros).ok_or_else(wrong)?;
    Ok((at, id.parse().map_err(|_| wrong())?))
}

/// The cursor of the page after `last`, when the page was full.
pub fn next_cursor(requests: &[Request], limit: u32) -> Option<String> {
    let last = requests.last().filter(|_| requests.len() >= limit as usize)?;
    Some(format!("{}_{}", last.created_at.timestamp_micros(), last.id))
}

/// Lists requests, newest first; to a signer those of their apps. `Countersign-Unread-Chains` names chains
/// of which it cannot be read now what is theirs.
#[utoipa::path(
    get, path = "/v1/requests", operation_id = "list_requests", tag = "requests", params(ListQuery),
    responses((status = 200, body = RequestPage), (status = 422, body = Problem)),
    security(("token" = []), ("session" = []))
)]
pub async fn list(
    sight: Sight,
    State(state): State<WebState>,
    Query(query): Query<ListQuery>,
) -> Result<impl IntoResponse, Problem> {
    let (filter, limit) = query.read()?;
    let filter = Filter { apps: sight.apps().map(<[_]>::to_vec), ..filter };
    let requests = state.service.store.requests(&filter, limit).await?;
    let next_cursor = next_cursor(&requests, limit);
    let standings = Standings::of(&state.service, &requests).await?;
    let ids: Vec<RequestId> = requests.iter().map(|request| request.id).collect();
    let mut proofs = proofs(&state.service, &ids).await?;
    let mut together = state.service.store.together_with(&ids).await?;
    let view = |mut request: Request| {
        let depth = standings.explain(&mut request);
        let compose_proof = proofs.remove(&request.id);
        let together_with = together.remove(&request.id).unwrap_or_default();
        RequestView { compose_proof, together_with, depth, ..request.into() }
    };
    let requests = requests.into_iter().map(view).collect();
    let unread = AppendHeaders(sight.header());
    Ok((unread, Json(RequestPage { requests, next_cursor })))
}
