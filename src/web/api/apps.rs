//! `/v1/apps`: what is governed, its allowlist with provenance, its history, and drift.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{AppendHeaders, IntoResponse},
};
use serde::{Deserialize, Serialize};

use crate::{
    audit::{self, AllowedEntry, Allowlist, Arguments, AsOf, Drift, KINDS, Sought},
    chain::Chain,
    clock::Time,
    dstack::Generation,
    owner::{Account, ActedBy},
    request::{
        facts::BlockRef,
        ids::{AppId, ChainId},
    },
    store::{apps::AppHistory, ledger::LedgerEntry, paths::Recorded},
    web::{WebState, gate::Reader, problem::Problem, sight::Sight},
};

/// Entries of a ledger on a page unless asked for otherwise, and at most.
const LIMIT_DEFAULT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;
/// Characters of a text that is looked for.
const Q_MAX: usize = 200;
/// How many entries a comparison left out.
const UNCHECKED: HeaderName = HeaderName::from_static("countersign-unchecked");

/// An app that is watched.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AppView {
    pub chain_id: ChainId,
    pub app: AppId,
    /// First block whose events are known; earlier history is not in the ledger.
    pub ledger_from: Option<u64>,
    /// First block of the history that can be read; null until that is found out.
    pub history_start: Option<u64>,
    /// Whether the ledger has every event since the deployment.
    pub is_whole: bool,
    /// What made the app known: `request`, `configuration` or `kms`.
    pub discovered: String,
    /// The share of the history that was read, 0 to 1; null while that cannot be told.
    pub progress: Option<f64>,
}

impl AppView {
    fn new(history: &AppHistory, head: Option<u64>) -> Self {
        Self {
            chain_id: history.chain,
            app: history.app,
            ledger_from: history.ledger_from,
            history_start: history.history_start,
            is_whole: history.is_whole(),
            discovered: history.discovered.clone(),
            progress: head.and_then(|head| history.progress(head)),
        }
    }
}

/// The allowlist of an app. What is null is not known: events do not tell it, or, as of now, the
/// contract does not either.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AllowlistView {
    pub chain_id: ChainId,
    pub app: AppId,
    pub ledger_from: Option<u64>,
    /// First block of the history that can be read.
    pub history_start: Option<u64>,
    /// Whether the ledger has every event since the deployment.
    pub is_whole: bool,
    /// The block it was asked for; none means now.
    pub at: Option<u64>,
    /// The newest block that was read: what `now` means here.
    pub head: Option<BlockRef>,
    /// When Phala Cloud's list of the app's instances was read last. As long as that is null nobody can be
    /// said not to need an entry: `removal` knows only of what was made here.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub instances_listed_at: Option<Time>,
    /// What this list cannot show, and why.
    pub warning: Option<String>,
    /// Why something that the events do not tell could not be read from the contract.
    pub unreadable: Option<String>,
    /// As of an earlier block, why the rules that are null are not known.
    pub untold: Option<String>,
    /// Which interface the contract answers to; only told for now.
    pub generation: Option<Generation>,
    /// The zero address when nobody can change the app any more.
    pub owner: Option<Account>,
    /// To whom the app is offered, if to anybody.
    pub pending_owner: Option<Account>,
    /// Every device may run it, whatever the list says.
    pub allow_any_device: Option<bool>,
    /// Only machines with an up-to-date TCB may run it. Always null before generation 2.
    pub require_tcb_up_to_date: Option<bool>,
    /// The code can never be replaced.
    pub upgrades_disabled: Option<bool>,
    /// The contract whose code the app runs.
    pub implementation: Option<Account>,
    pub entries: Vec<AllowedEntry>,
}

impl AllowlistView {
    pub fn new(history: &AppHistory, list: Allowlist) -> Self {
        let pending_owner = list.pending_owner();
        let policy = list.policy;
        Self {
            chain_id: history.chain,
            app: history.app,
            ledger_from: history.ledger_from,
            history_start: history.history_start,
            is_whole: history.is_whole(),
            at: list.at,
            head: list.head.map(|head| head.block),
            instances_listed_at: list.instances_listed_at,
            warning: list.warning,
            unreadable: list.unreadable,
            untold: list.untold,
            generation: list.generation,
            owner: policy.owner,
            pending_owner,
            allow_any_device: policy.allow_any_device,
            require_tcb_up_to_date: policy.require_tcb_up_to_date,
            upgrades_disabled: policy.upgrades_disabled,
            implementation: policy.implementation,
            entries: policy.entries,
        }
    }
}

/// One policy event of an app, and what is known of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LedgerView {
    #[serde(flatten)]
    pub entry: LedgerEntry,
    /// The argument by name; null when it does not read.
    pub decoded: Option<Arguments>,
    /// What happened, as a sentence.
    pub words: String,
    /// Who sent the transaction; null until that is found out.
    pub sender: Option<Account>,
    /// Who called the app, and how; null until that is found out.
    pub acted_by: Option<ActedBy>,
    /// Whether anything was different afterwards; null when that cannot be known.
    pub changed: Option<bool>,
}

impl LedgerView {
    pub fn new(recorded: Recorded, changed: Option<bool>) -> Self {
        let Recorded { entry, sender, acted_by } = recorded;
        let (decoded, words) = (audit::decoded(&entry), audit::words(&entry));
        Self { entry, decoded, words, sender, acted_by, changed }
    }
}

/// As of when.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AtQuery {
    /// The allowlist as of this block.
    pub at: Option<u64>,
    /// Instead of a block, a moment: RFC 3339, or a day, which means its end in UTC.
    pub time: Option<String>,
}

/// As of the block or the moment that was asked for.
pub fn as_of(at: Option<u64>, time: Option<&str>) -> Result<AsOf, Problem> {
    match (at, time.map(str::trim).filter(|time| !time.is_empty())) {
        (None, None) => Ok(AsOf::Now),
        (Some(block), None) => Ok(AsOf::Block(block)),
        (None, Some(time)) => audit::moment(time).map(AsOf::Moment).ok_or_else(|| {
            let text = "expected a day such as 2026-11-03, or a moment such as 2026-11-03 14:05";
            Problem::of_field("time", text)
        }),
        (Some(_), Some(_)) => Err(Problem::of_field("time", "a block or a moment, not both")),
    }
}

/// What is looked for, if it can be.
pub fn sought(sought: Sought) -> Result<Sought, Problem> {
    let trimmed = |text: Option<String>| {
        text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let sought = Sought { kind: trimmed(sought.kind), q: trimmed(sought.q), ..sought };
    if sought.kind.as_deref().is_some_and(|kind| !KINDS.contains(&kind)) {
        return Err(Problem::of_field("kind", format!("expected one of {}", KINDS.join(", "))));
    }
    if sought.q.as_ref().is_some_and(|q| q.chars().count() > Q_MAX) {
        return Err(Problem::of_field("q", format!("expected at most {Q_MAX} characters")));
    }
    Ok(sought)
}

/// Which page of a ledger.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LedgerQuery {
    /// 1 to 10000; 1000 unless given.
    pub limit: Option<usize>,
    /// From the `Link` of the page before.
    pub cursor: Option<String>,
    /// Only events of this kind, such as `device_added`.
    pub kind: Option<String>,
    /// Only events with this in what happened, in the transaction, or in who acted.
    pub q: Option<String>,
    /// Only events in this block or later.
    pub from: Option<u64>,
    /// Only events in this block or earlier.
    pub to: Option<u64>,
}

/// Every app that is watched; to a signer those of their Safes.
#[utoipa::path(
    get, path = "/v1/apps", operation_id = "list_apps", tag = "apps",
    responses((status = 200, body = Vec<AppView>)), security(("token" = []), ("session" = []))
)]
pub async fn list(
    sight: Sight,
    State(state): State<WebState>,
) -> Result<impl IntoResponse, Problem> {
    let store = &state.service.store;
    let mut apps = vec![];
    for chain in state.service.chains.iter() {
        let head = store.head(chain.id()).await?.map(|head| head.block.number);
        let histories = store.app_histories(chain.id()).await?;
        let seen = histories.iter().filter(|history| sight.has(history.chain, history.app));
        apps.extend(seen.map(|history| AppView::new(history, head)));
    }
    Ok((AppendHeaders(sight.header()), Json(apps)))
}

/// Finds a watched app by what stands in the path.
pub async fn find(state: &WebState, chain: &str, app: &str) -> Result<AppHistory, Problem> {
    let missing = || Problem::not_found("app");
    let chain: ChainId = chain.parse().map_err(|_| missing())?;
    let app: AppId = app.parse().map_err(|_| missing())?;
    state.service.store.app_history(chain, app).await?.ok_or_else(missing)
}

/// One app.
#[utoipa::path(
    get, path = "/v1/apps/{chain_id}/{app}", operation_id = "show_app", tag = "apps", params(("chain_id" = u64, Path), ("app" = AppId, Path)),
    responses((status = 200, body = AppView), (status = 404, body = Problem)), security(("token" = []), ("session" = []))
)]
pub async fn show(
    _: Reader,
    State(state): State<WebState>,
    Path((chain, app)): Path<(String, String)>,
) -> Result<Json<AppView>, Problem> {
    let history = find(&state, &chain, &app).await?;
    let head = state.service.store.head(history.chain).await?.map(|head| head.block.number);
    Ok(Json(AppView::new(&history, head)))
}

/// The compose hashes and devices that an app allows, and its other rules, now or as of a block or a moment.
#[utoipa::path(
    get, path = "/v1/apps/{chain_id}/{app}/allowlist", operation_id = "show_allowlist", tag = "apps", params(("chain_id" = u64, Path), ("app" = AppId, Path), AtQuery),
    responses(
        (status = 200, body = AllowlistView),
        (status = 404, body = Problem),
        (status = 422, description = "`beyond-head`: the chain is not read up to that block yet", body = Problem),
    ),
    security(("token" = []), ("session" = []))
)]
pub async fn allowlist(
    _: Reader,
    State(state): State<WebState>,
    Path((chain, app)): Path<(String, String)>,
    Query(query): Query<AtQuery>,
) -> Result<Json<AllowlistView>, Problem> {
    let history = find(&state, &chain, &app).await?;
    let list = read(&state, &history, as_of(query.at, query.time.as_deref())?).await?;
    Ok(Json(AllowlistView::new(&history, list)))
}

/// The allowlist as of a block or a moment, or now.
pub async fn read(
    state: &WebState,
    history: &AppHistory,
    as_of: AsOf,
) -> Result<Allowlist, Problem> {
    let chain: Option<&Chain> = state.service.chains.get(history.chain).ok();
    Ok(audit::allowlist_at(&state.service.store, chain, history, as_of).await?)
}

/// Every policy event of an app, oldest first, with who acted and whether it changed anything. A
/// further page is named by a `Link` with `rel="next"`.
#[utoipa::path(
    get, path = "/v1/apps/{chain_id}/{app}/ledger", operation_id = "show_ledger", tag = "apps", params(("chain_id" = u64, Path), ("app" = AppId, Path), LedgerQuery),
    responses(
        (status = 200, body = Vec<LedgerView>, headers(("Link" = String, description = "The next page"))),
        (status = 404, body = Problem),
        (status = 422, body = Problem),
    ),
    security(("token" = []), ("session" = []))
)]
pub async fn ledger(
    _: Reader,
    State(state): State<WebState>,
    Path((chain, app)): Path<(String, String)>,
    Query(query): Query<LedgerQuery>,
) -> Result<(HeaderMap, Json<Vec<LedgerView>>), Problem> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::of_field("limit", format!("expected 1 to {LIMIT_MAX}")));
    }
    let after = query.cursor.as_deref().map(read_cursor).transpose()?;
    let LedgerQuery { kind, q, from, to, .. } = query;
    let sought = sought(Sought { kind, q, from, to })?;
    let history = find(&state, &chain, &app).await?;
    let ledger = state.service.store.recorded(history.chain, history.app).await?;
    // Whether an event changed anything depends on all before it.
    let changes = audit::changes(&ledger, history.is_whole());
    let place = |one: &Recorded| (one.entry.block.number, one.entry.log_index);
    let mut rest = ledger
        .into_iter()
        .zip(changes)
        .filter(|(one, _)| after.is_none_or(|after| place(one) > after) && sought.finds(one));
    let page: Vec<LedgerView> =
        rest.by_ref().take(limit).map(|(one, changed)| LedgerView::new(one, changed)).collect();
    let mut headers = HeaderMap::new();
    if let (Some(last), Some(_)) = (page.last(), rest.next()) {
        let (block, index) = (last.entry.block.number, last.entry.log_index);
        let path = format!("/v1/apps/{}/{}/ledger", history.chain, history.app);
        let more = asked_for(&sought);
        let link = format!("<{path}?limit={limit}&cursor={block}_{index}{more}>; rel=\"next\"");
        headers.extend(HeaderValue::try_from(link).map(|link| (header::LINK, link)));
    }
    Ok((headers, Json(page)))
}

/// What is looked for, as it stands in an address after other things.
pub fn asked_for(sought: &Sought) -> String {
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let Sought { kind, q, from, to } = sought.clone();
    for (name, value) in [("kind", kind), ("q", q), ("from", number(from)), ("to", number(to))] {
        query.extend_pairs(value.map(|value| (name, value)));
    }
    let query = query.finish();
    if query.is_empty() { query } else { format!("&{query}") }
}

fn read_cursor(text: &str) -> Result<(u64, u64), Problem> {
    let parts = text.split_once('_');
    let cursor = parts.and_then(|(block, index)| Some((block.parse().ok()?, index.parse().ok()?)));
    cursor.ok_or_else(|| Problem::of_field("cursor", "expected the cursor of a `Link`"))
}

/// Where ledger and chain disagree. When a ledger names too many entries to compare them all, the
/// header `Countersign-Unchecked` says how many were left out.
#[utoipa::path(
    get, path = "/v1/apps/{chain_id}/{app}/drift", operation_id = "show_drift", tag = "apps", params(("chain_id" = u64, Path), ("app" = AppId, Path)),
    responses(
        (status = 200, body = Vec<Drift>, headers(("Countersign-Unchecked" = u64, description = "Entries that were not compared"))),
        (status = 404, body = Problem),
        (status = 503, body = Problem),
    ),
    security(("token" = []), ("session" = []))
)]
pub async fn drift(
    _: Reader,
    State(state): State<WebState>,
    Path((chain, app)): Path<(String, String)>,
) -> Result<(HeaderMap, Json<Vec<Drift>>), Problem> {
    let history = find(&state, &chain, &app).await?;
    let chain = state.service.chains.get(history.chain)?;
    let compared = audit::drift(&state.service.store, chain, &history).await?;
    let mut headers = HeaderMap::new();
    if compared.unchecked > 0 {
        headers.insert(UNCHECKED, compared.unchecked.into());
    }
    Ok((headers, Json(compared.drift)))
}
