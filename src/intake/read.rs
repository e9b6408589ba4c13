//! Reads a submission: our own fields, Phala's 465 answer, or what the `phala` CLI printed. Pure.
//!
//! Every refusal names the field, and never repeats what stood in it.

use alloy::primitives::{B256, b256};
use serde_json::{Map, Value};

use super::asked::PrepareBody;
use crate::{
    clock::Time,
    phala::{CommitToken, Prepared},
    request::{
        deadline::{self, DatesError},
        ids::{AppId, ChainId, ComposeHash, DeviceId, NodeId, SourceCvm},
        kind::Kind,
    },
    store::commit_tokens::Issued,
};

/// SHA-256 of nothing, seen as the device id of machines whose PPID could not be read.
const SHA256_OF_NOTHING: B256 =
    b256!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

const NOTE_CHARS_MAX: usize = 2_000;
/// Most replicas of the same content that can be wanted at the same time.
const COPIES_MAX: u32 = 100;

const FIELDS: [&str; 15] = [
    "kind",
    "chain_id",
    "app",
    "source_cvm",
    "node_id",
    "compose_hash",
    "device_id",
    "commit_token",
    "prepared_at",
    "just_prepared",
    "expires_at",
    "note",
    "prepare_response",
    "prepare_body",
    "copy",
];

/// The field that is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldProblem {
    pub field: String,
    pub problem: String,
}

/// A checked preparation with its open token.
#[derive(Debug)]
pub struct Submission {
    pub kind: Kind,
    pub chain: ChainId,
    pub app: AppId,
    pub source: SourceCvm,
    pub node: Option<NodeId>,
    pub compose: ComposeHash,
    pub device: DeviceId,
    /// Which one of several that are wanted of the same content, from 1.
    pub copy: Option<u32>,
    pub token: CommitToken,
    /// Now, unless it was told.
    pub prepared_at: Time,
    pub issued: Issued,
    pub expires_at: Time,
    pub note: Option<String>,
    /// What was sent to Phala Cloud to prepare it.
    pub body: Option<PrepareBody>,
}

#[expect(clippy::needless_pass_by_value, reason = "callers hand over errors and literals alike")]
pub(super) fn problem(field: &str, problem: impl ToString) -> FieldProblem {
    FieldProblem { field: field.into(), problem: problem.to_string() }
}

/// Reads a submission. `chains` are the configured chains: the only one is the default, and no
/// other is accepted.
pub fn read(body: &Value, chains: &[ChainId], now: Time) -> Result<Submission, FieldProblem> {
    let fields = body.as_object().ok_or_else(|| problem("body", "expected a JSON object"))?;
    if let Some(unknown) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        let text = format!("no such field; the fields are {}", FIELDS.join(", "));
        return Err(problem(repeatable(unknown), text));
    }
    let prepared = fields.get("prepare_response").map(read_prepared).transpose()?;
    let prepared = prepared.as_ref();
    let chain = one(fields, "chain_id", prepared.and_then(|one| one.chain_id))?;
    let kind = one(fields, "kind", prepared.and_then(|one| one.kind))?.unwrap_or_default();
    let compose = required(fields, "compose_hash", prepared.map(|one| one.compose_hash))?;
    let device = required(fields, "device_id", prepared.map(|one| one.device_id))?;
    let token = read_token(fields, prepared)?;
    refuse_token_elsewhere(fields, &token)?;
    let body = PrepareBody::read(fields.get("prepare_body"), &token)?;
    let said = prepared.and_then(|one| one.expires_at);
    let (prepared_at, expires_at) = read_dates(fields, said, now)?;
    check_compose(compose)?;
    check_device(device)?;
    let app = check_app(required(fields, "app", prepared.map(|one| one.app))?)?;
    Ok(Submission {
        kind,
        chain: check_chain(chain, chains)?,
        app,
        source: read_source(fields, prepared, kind, app)?,
        node: read_node(fields, kind)?,
        compose,
        device,
        copy: read_copy(fields, kind)?,
        token,
        prepared_at,
        issued: read_issued(fields)?,
        expires_at,
        note: read_note(fields)?,
        body,
    })
}

/// The CVM that is updated or made another one of, or the app that stands in its place.
fn read_source(
    fields: &Map<String, Value>,
    prepared: Option<&Prepared>,
    kind: Kind,
    app: AppId,
) -> Result<SourceCvm, FieldProblem> {
    const NAME: &str = "source_cvm";
    let given = one::<SourceCvm>(fields, NAME, None)?.map(|source| source.canonical());
    let linked = prepared.and_then(|one| Some(one.source_cvm.as_ref()?.canonical()));
    match (given.as_ref().and_then(SourceCvm::app), kind) {
        (Some(_), Kind::Update) => {
            return Err(problem(NAME, "an app has several CVMs: name the one that is updated"));
        }
        (Some(other), Kind::Replica) if other != app => {
            return Err(problem(NAME, "names another app than `app`"));
        }
        // What links lead to is a CVM of the app.
        (Some(_), Kind::Replica) => return Ok(SourceCvm::of_app(app)),
        (None, _) => {}
    }
    match (given, linked, kind) {
        (Some(given), Some(linked), _) if given != linked => {
            Err(problem(NAME, "differs from the one in prepare_response"))
        }
        (Some(source), ..) | (None, Some(source), _) => Ok(source),
        (None, None, Kind::Update) => Err(problem(NAME, "missing: name the CVM that is updated")),
        (None, None, Kind::Replica) => {
            Err(problem(NAME, "missing: name the CVM that the replica is made from"))
        }
    }
}

fn read_copy(fields: &Map<String, Value>, kind: Kind) -> Result<Option<u32>, FieldProblem> {
    const NAME: &str = "copy";
    let copy = match fields.get(NAME) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_u64().and_then(|copy| u32::try_from(copy).ok()),
    };
    match copy.filter(|copy| (1..=COPIES_MAX).contains(copy)) {
        Some(copy) if kind == Kind::Replica => Ok(Some(copy)),
        Some(_) => Err(problem(NAME, "an update is wanted once: leave it away")),
        None => Err(problem(NAME, format!("expected a whole number from 1 to {COPIES_MAX}"))),
    }
}

fn read_node(fields: &Map<String, Value>, kind: Kind) -> Result<Option<NodeId>, FieldProblem> {
    let node = one(fields, "node_id", None)?;
    if node.is_some() && kind == Kind::Update {
        return Err(problem("node_id", "an update happens where its CVM is: leave it away"));
    }
    Ok(node)
}

/// The name of a field, if it looks like one: whatever else stands in its place may be a token.
fn repeatable(name: &str) -> &str {
    let looks_like_one = (1..=40).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if looks_like_one { name } else { "body" }
}

/// A 465 answer, the CLI's JSON, or the CLI's text.
fn read_prepared(value: &Value) -> Result<Prepared, FieldProblem> {
    match value {
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(json) if json.is_object() => Prepared::from_prepare_response(&json),
            _ => Prepared::from_cli_text(text),
        },
        object => Prepared::from_prepare_response(object),
    }
    .map_err(|error| problem(&format!("prepare_response.{}", error.field), error.reason))
}

/// One field, from our own fields or from the preparation; both must say the same.
fn one<T>(
    fields: &Map<String, Value>,
    name: &str,
    prepared: Option<T>,
) -> Result<Option<T>, FieldProblem>
where
    T: std::str::FromStr + PartialEq,
    T::Err: std::fmt::Display,
{
    let given = match fields.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(_) => return Err(problem(name, "expected text")),
    };
    let given: Option<T> =
        given.map(|text| text.parse().map_err(|error: T::Err| problem(name, error))).transpose()?;
    match (given, prepared) {
        (Some(given), Some(prepared)) if given != prepared => {
            Err(problem(name, "differs from the one in prepare_response"))
        }
        (given, prepared) => Ok(given.or(prepared)),
    }
}

fn required<T>(
    fields: &Map<String, Value>,
    name: &str,
    prepared: Option<T>,
) -> Result<T, FieldProblem>
where
    T: std::str::FromStr + PartialEq,
    T::Err: std::fmt::Display,
{
    one(fields, name, prepared)?.ok_or_else(|| problem(name, "missing"))
}

fn check_chain(chain: Option<ChainId>, chains: &[ChainId]) -> Result<ChainId, FieldProblem> {
    match (chain, chains) {
        (Some(chain), chains) if chains.contains(&chain) => Ok(chain),
        (Some(chain), _) => {
            Err(problem("chain_id", format!("chain {chain} is not configured here")))
        }
        (None, [only]) => Ok(*only),
        (None, _) => Err(problem("chain_id", "missing: several chains are configured")),
    }
}

fn check_app(app: AppId) -> Result<AppId, FieldProblem> {
    if app.0.is_zero() { Err(problem("app", "the zero address is no app")) } else { Ok(app) }
}

fn check_compose(compose: ComposeHash) -> Result<(), FieldProblem> {
    if compose.0.is_zero() {
        return Err(problem("compose_hash", "zero is no compose hash"));
    }
    Ok(())
}

fn check_device(device: DeviceId) -> Result<(), FieldProblem> {
    if device.0.is_zero() {
        return Err(problem("device_id", "zero is no device"));
    }
    if device.0 == SHA256_OF_NOTHING {
        let text = "this is the SHA-256 of nothing: the machine's PPID could not be read";
        return Err(problem("device_id", text));
    }
    Ok(())
}

fn read_token(
    fields: &Map<String, Value>,
    prepared: Option<&Prepared>,
) -> Result<CommitToken, FieldProblem> {
    match (fields.get("commit_token"), prepared) {
        (None | Some(Value::Null), Some(prepared)) => Ok(prepared.commit_token.clone()),
        (None | Some(Value::Null), None) => Err(problem("commit_token", "missing")),
        (Some(_), Some(_)) => {
            Err(problem("commit_token", "given twice: it is in prepare_response already"))
        }
        (Some(Value::String(text)), None) => {
            CommitToken::parse(text).map_err(|error| problem("commit_token", error))
        }
        (Some(_), None) => Err(problem("commit_token", "expected text")),
    }
}

/// Fields that are kept and shown as they come must not hold the token.
fn refuse_token_elsewhere(
    fields: &Map<String, Value>,
    token: &CommitToken,
) -> Result<(), FieldProblem> {
    for field in ["source_cvm", "node_id", "note"] {
        let text = fields.get(field).and_then(Value::as_str).unwrap_or_default();
        if token.stands_in(text) {
            return Err(problem(field, "contains the commit token, which is kept sealed only"));
        }
    }
    Ok(())
}

/// When it was prepared and when the token dies. `said` is what Phala Cloud's answer tells of that.
fn read_dates(
    fields: &Map<String, Value>,
    said: Option<Time>,
    now: Time,
) -> Result<(Time, Time), FieldProblem> {
    let prepared_at = read_time(fields, "prepared_at")?.unwrap_or(now);
    let said = match (read_time(fields, "expires_at")?, said) {
        (Some(given), Some(said)) if given != said => {
            return Err(problem("expires_at", "differs from the one in prepare_response"));
        }
        (given, said) => given.or(said),
    };
    let field = if said.is_some() { "expires_at" } else { "prepared_at" };
    let expires_at = deadline::expiry(prepared_at, said, now).map_err(|error| match error {
        DatesError::Future => problem("prepared_at", error),
        DatesError::Expired | DatesError::Unlikely => problem(field, error),
    })?;
    Ok((prepared_at, expires_at))
}

/// How it is known when the token was issued. What takes its date for granted may be told of a token that
/// was used days ago.
fn read_issued(fields: &Map<String, Value>) -> Result<Issued, FieldProblem> {
    const NAME: &str = "just_prepared";
    let is_dated = !matches!(fields.get("prepared_at"), None | Some(Value::Null));
    match (fields.get(NAME), is_dated) {
        (None | Some(Value::Null | Value::Bool(false)), false) => Ok(Issued::Unknown),
        (None | Some(Value::Null | Value::Bool(false)), true) => Ok(Issued::Told),
        (Some(Value::Bool(true)), false) => Ok(Issued::JustNow),
        (Some(Value::Bool(true)), true) => {
            Err(problem(NAME, "says that it was now: leave it away, or `prepared_at`"))
        }
        (Some(_), _) => Err(problem(NAME, "expected true or false")),
    }
}

fn read_time(fields: &Map<String, Value>, name: &str) -> Result<Option<Time>, FieldProblem> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text
            .parse()
            .map(Some)
            .map_err(|_| problem(name, "expected a date and time such as 2026-11-21T09:30:00Z")),
        Some(_) => Err(problem(name, "expected text")),
    }
}

fn read_note(fields: &Map<String, Value>) -> Result<Option<String>, FieldProblem> {
    match fields.get("note") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.chars().count() > NOTE_CHARS_MAX => {
            Err(problem("note", format!("longer than {NOTE_CHARS_MAX} characters")))
        }
        Some(Value::String(text)) if text.contains('\0') => {
            Err(problem("note", "contains a NUL character"))
        }
        Some(Value::String(text)) => {
            Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
        }
        Some(_) => Err(problem("note", "expected text")),
    }
}

#[cfg(test)]
mod tests;
