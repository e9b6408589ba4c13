//! `/v1/apps/{chain_id}/{app}/…/export`: allowlist and ledger as files to keep, whole and in one piece,
//! with where they come from. `format` chooses between two forms of one thing, so that both take the
//! same filters and stand under the same right.

use std::fmt::Write;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::apps::{AllowlistView, LedgerView, as_of, find, read, sought};
use crate::{
    audit::{self, Sought, sheet},
    owner::ActedBy,
    request::ids::AppId,
    store::apps::AppHistory,
    web::{WebState, gate::Reader, problem::Problem, statement::Statement},
};

/// The form of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    #[default]
    Json,
    Csv,
}

/// As of when, and in which form.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AllowlistExportQuery {
    /// `json` unless given.
    #[param(inline)]
    pub format: Format,
    /// The allowlist as of this block.
    pub at: Option<u64>,
    /// Instead of a block, a moment: RFC 3339, or a day, which means its end in UTC.
    pub time: Option<String>,
}

/// Which entries, and in which form.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LedgerExportQuery {
    /// `json` unless given.
    #[param(inline)]
    pub format: Format,
    /// Only events of this kind, such as `device_added`.
    pub kind: Option<String>,
    /// Only events with this in what happened, in the transaction, or in who acted.
    pub q: Option<String>,
    /// Only events in this block or later.
    pub from: Option<u64>,
    /// Only events in this block or earlier.
    pub to: Option<u64>,
}

/// An allowlist with where it comes from.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AllowlistExport {
    pub statement: Statement,
    pub allowlist: AllowlistView,
}

/// A ledger, or a part of it, with where it comes from.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LedgerExport {
    pub statement: Statement,
    /// What was looked for; all null when everything is here.
    pub sought: Sought,
    pub ledger: Vec<LedgerView>,
}

/// The allowlist as a file: JSON, or CSV with a line per entry, per rule that is known, and per fact of
/// the statement. In CSV no cell is a formula to a spreadsheet: one that would be begins with `'`.
#[utoipa::path(
    get, path = "/v1/apps/{chain_id}/{app}/allowlist/export", operation_id = "export_allowlist", tag = "apps",
    params(("chain_id" = u64, Path), ("app" = AppId, Path), AllowlistExportQuery),
    responses(
        (status = 200, content((AllowlistExport = "application/json"), (String = "text/csv"))),
        (status = 404, body = Problem),
        (status = 422, body = Problem),
    ),
    security(("token" = []), ("session" = []))
)]
pub async fn allowlist(
    _: Reader,
    State(state): State<WebState>,
    Path((chain, app)): Path<(String, String)>,
    Query(query): Query<AllowlistExportQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let history = find(&state, &chain, &app).await?;
    let list = read(&state, &history, as_of(query.at, query.time.as_deref())?).await?;
    let (at, head) = (list.at, list.head);
    let statement = Statement::of(&state, &headers, &history, at, head.as_ref()).await?;
    let list = AllowlistExport { statement, allowlist: AllowlistView::new(&history, list) };
    let place = list.statement.as_of_block;
    match query.format {
        Format::Json => Ok(file(&history, "allowlist", place, "json", Json(list))),
        Format::Csv => {
            let text = list.csv().map_err(|error| Problem::internal(&error))?;
            Ok(file(&history, "allowlist", place, "csv", text))
        }
    }
}

/// The ledger as a file: JSON, or CSV with a line per event and per fact of the statement. In CSV no cell
/// is a formula to a spreadsheet: one that would be begins with `'`.
#[utoipa::path(
    get, path = "/v1/apps/{chain_id}/{app}/ledger/export", operation_id = "export_ledger", tag = "apps",
    params(("chain_id" = u64, Path), ("app" = AppId, Path), LedgerExportQuery),
    responses(
        (status = 200, content((LedgerExport = "application/json"), (String = "text/csv"))),
        (status = 404, body = Problem),
        (status = 422, body = Problem),
    ),
    security(("token" = []), ("session" = []))
)]
pub async fn ledger(
    _: Reader,
    State(state): State<WebState>,
    Path((chain, app)): Path<(String, String)>,
    Query(query): Query<LedgerExportQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let LedgerExportQuery { format, kind, q, from, to } = query;
    let sought = sought(Sought { kind, q, from, to })?;
    let history = find(&state, &chain, &app).await?;
    let head = state.service.store.head(history.chain).await?;
    let ledger = state.service.store.recorded(history.chain, history.app).await?;
    let statement = Statement::of(&state, &headers, &history, to, head.as_ref()).await?;
    // The follower may have read on meanwhile.
    let known = statement.as_of_block;
    let changes = audit::changes(&ledger, history.is_whole());
    let ledger = ledger.into_iter().zip(changes).filter(|(one, _)| {
        sought.finds(one) && known.is_none_or(|known| one.entry.block.number <= known)
    });
    let ledger = ledger.map(|(one, changed)| LedgerView::new(one, changed)).collect();
    let export = LedgerExport { statement, sought, ledger };
    match format {
        Format::Json => Ok(file(&history, "ledger", known, "json", Json(export))),
        Format::Csv => {
            let text = export.csv().map_err(|error| Problem::internal(&error))?;
            Ok(file(&history, "ledger", known, "csv", text))
        }
    }
}

/// A file to be saved, by a name that says what it is.
fn file(
    history: &AppHistory,
    what: &str,
    block: Option<u64>,
    form: &str,
    body: impl IntoResponse,
) -> Response {
    let mut name = format!("{what}-{}-{}", history.chain, history.app);
    if let Some(block) = block {
        let _ = write!(name, "-{block}");
    }
    let disposition = format!("attachment; filename=\"{name}.{form}\"");
    let kind = match form {
        "csv" => "text/csv; charset=utf-8; header=present",
        _ => "application/json",
    };
    let headers = [(header::CONTENT_DISPOSITION, disposition), (header::CONTENT_TYPE, kind.into())];
    (headers, body).into_response()
}

impl AllowlistExport {
    fn csv(&self) -> Result<String, csv::Error> {
        let columns = [
            "kind",
            "value",
            "since_block",
            "since_time",
            "transaction",
            "acted_by",
            "requests",
            "replicas",
            "removal_instances",
            "removal_requests",
            "removal_nodes",
        ];
        let list = &self.allowlist;
        let entries = list.entries.iter().map(|entry| {
            vec![
                name(entry.kind),
                entry.value.to_string(),
                entry.since.number.to_string(),
                entry.since_time.to_rfc3339(),
                entry.tx.to_string(),
                by(entry.acted_by.as_ref()),
                all(&entry.requests),
                all(&entry.replicas),
                all(&entry.removal.instances),
                all(&entry.removal.requests),
                all(&entry.removal.nodes),
            ]
        });
        let flag = |flag: Option<bool>| flag.map(|flag| flag.to_string());
        let account = |account: Option<crate::owner::Account>| account.map(|one| one.to_string());
        let rules = [
            // Before that an empty cell of who needs an entry says nothing.
            (
                "instances_listed_at",
                Some(list.instances_listed_at.map_or("never".into(), |at| at.to_rfc3339())),
            ),
            ("owner", account(list.owner)),
            ("pending_owner", account(list.pending_owner)),
            ("allow_any_device", flag(list.allow_any_device)),
            ("require_tcb_up_to_date", flag(list.require_tcb_up_to_date)),
            ("upgrades_disabled", flag(list.upgrades_disabled)),
            ("implementation", account(list.implementation)),
        ];
        let rules = rules.into_iter().filter_map(|(name, value)| Some(vec![name.into(), value?]));
        let facts = self.statement.facts();
        let facts = facts.into_iter().map(|(name, value)| vec![name.into(), value]);
        sheet(&columns, entries.chain(rules).chain(facts))
    }
}

impl LedgerExport {
    fn csv(&self) -> Result<String, csv::Error> {
        let columns = [
            "kind",
            "value",
            "block",
            "time",
            "log_index",
            "transaction",
            "changed",
            "sender",
            "acted_by",
            "words",
        ];
        let events = self.ledger.iter().map(|one| {
            let entry = &one.entry;
            vec![
                entry.kind.clone(),
                alloy::hex::encode_prefixed(&entry.value),
                entry.block.number.to_string(),
                entry.block_time.to_rfc3339(),
                entry.log_index.to_string(),
                entry.tx.to_string(),
                one.changed.map(|changed| changed.to_string()).unwrap_or_default(),
                one.sender.map(|sender| sender.to_string()).unwrap_or_default(),
                by(one.acted_by.as_ref()),
                one.words.clone(),
            ]
        });
        let Sought { kind, q, from, to } = &self.sought;
        let number = |number: &Option<u64>| number.map(|number| number.to_string());
        let sought = [
            ("only_kind", kind.clone()),
            ("only_q", q.clone()),
            ("only_from", number(from)),
            ("only_to", number(to)),
        ];
        let sought = sought.into_iter().filter_map(|(name, value)| Some(vec![name.into(), value?]));
        let facts = self.statement.facts();
        let facts = facts.into_iter().map(|(name, value)| vec![name.into(), value]);
        sheet(&columns, events.chain(sought).chain(facts))
    }
}

/// As JSON names it.
fn name(kind: audit::EntryKind) -> String {
    match kind {
        audit::EntryKind::ComposeHash => "compose_hash".into(),
        audit::EntryKind::Device => "device".into(),
    }
}

/// Who acted, in words; empty until that is found out.
fn by(acted_by: Option<&ActedBy>) -> String {
    acted_by.map(ToString::to_string).unwrap_or_default()
}

/// Ids in one cell.
fn all(ids: &[impl ToString]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
