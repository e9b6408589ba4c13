//! Reads a submission: our own fields, Phala's 465 answer, or what the `phala` CLI printed. Pure.
//!
//! Every refusal names the field, and never repeats what stood in it.

use alloy::primitives::{B256, b256};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use crate::{
    clock::Time,
    phala::{CommitToken, Prepared},
    request::{
        deadline::{self, DatesError},
        ids::{AppId, ChainId, ComposeHash, DeviceId, NodeId, SourceCvm},
    },
};

/// SHA-256 of nothing, seen as the device id of machines whose PPID could not be read.
const SHA256_OF_NOTHING: B256 =
    b256!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

const NOTE_CHARS_MAX: usize = 2_000;

const FIELDS: [&str; 11] = [
    "chain_id",
    "app",
    "source_cvm",
    "node_id",
    "compose_hash",
    "device_id",
    "commit_token",
    "prepared_at",
    "expires_at",
    "note",
    "prepare_response",
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
    pub chain: ChainId,
    pub app: AppId,
    pub source: SourceCvm,
    pub node: Option<NodeId>,
    pub compose: ComposeHash,
    pub device: DeviceId,
    pub token: CommitToken,
    pub prepared_at: Time,
    pub expires_at: Time,
    pub note: Option<String>,
}

#[expect(clippy::needless_pass_by_value, reason = "callers hand over errors and literals alike")]
fn problem(field: &str, problem: impl ToString) -> FieldProblem {
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
    let source = one(fields, "source_cvm", prepared.and_then(|one| one.source_cvm.clone()))?;
    let compose = required(fields, "compose_hash", prepared.map(|one| one.compose_hash))?;
    let device = required(fields, "device_id", prepared.map(|one| one.device_id))?;
    let token = read_token(fields, prepared)?;
    refuse_token_elsewhere(fields, &token)?;
    let said = prepared.and_then(|one| one.expires_at);
    let (prepared_at, expires_at) = read_dates(fields, said, now)?;
    check_compose(compose)?;
    check_device(device)?;
    Ok(Submission {
        chain: check_chain(chain, chains)?,
        app: check_app(required(fields, "app", prepared.map(|one| one.app))?)?,
        source: source
            .ok_or_else(|| {
                problem("source_cvm", "missing: name the CVM that the replica is made from")
            })?
            .canonical(),
        node: one(fields, "node_id", None)?,
        compose,
        device,
        token,
        prepared_at,
        expires_at,
        note: read_note(fields)?,
    })
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
    let plain = |text: &str| text.replace('-', "").to_lowercase();
    let secret = plain(token.secret().expose_secret());
    for field in ["source_cvm", "node_id", "note"] {
        let text = fields.get(field).and_then(Value::as_str).unwrap_or_default();
        if plain(text).contains(&secret) {
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
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Time {
        "2026-11-21T09:00:00Z".parse().unwrap()
    }

    fn good() -> Value {
        json!({
            "chain_id": 8453,
            "app": "11".repeat(20),
            "source_cvm": "0b7c4a52-6d7e-4f0a-9c1d-2f3a4b5c6d7e",
            "node_id": 5,
            "compose_hash": "AA".repeat(32),
            "device_id": format!("0x{}", "bb".repeat(32)),
            "commit_token": "f3b0c6f2-0000-4000-8000-000000000001",
        })
    }

    fn try_read(body: &Value) -> Result<Submission, FieldProblem> {
        read(body, &[ChainId::BASE], now())
    }

    #[test]
    fn prefixes_and_case_are_normalised_and_the_expiry_is_computed() {
        let submission = try_read(&good()).unwrap();
        assert_eq!(submission.compose.to_string(), format!("0x{}", "aa".repeat(32)));
        assert_eq!(submission.source.as_str(), "0b7c4a526d7e4f0a9c1d2f3a4b5c6d7e");
        assert_eq!(submission.expires_at.to_rfc3339(), "2026-12-05T09:00:00+00:00");
    }

    #[test]
    fn what_is_said_about_the_expiry_counts() {
        let mut body = good();
        body["expires_at"] = json!("2026-11-28T09:00:00Z");
        assert_eq!(try_read(&body).unwrap().expires_at.to_rfc3339(), "2026-11-28T09:00:00+00:00");
        for wrong in
            [json!("soon"), json!(7), json!("2026-11-21T08:59:59Z"), json!("2036-01-01T00:00:00Z")]
        {
            body["expires_at"] = wrong;
            assert_eq!(try_read(&body).unwrap_err().field, "expires_at");
        }
    }

    #[test]
    fn the_only_configured_chain_is_the_default() {
        let mut body = good();
        body.as_object_mut().unwrap().remove("chain_id");
        assert_eq!(try_read(&body).unwrap().chain, ChainId::BASE);
        let two = [ChainId::BASE, ChainId::ETHEREUM];
        assert_eq!(read(&body, &two, now()).unwrap_err().field, "chain_id");
    }

    #[test]
    fn a_465_body_is_taken_as_it_came_wherever_its_details_stand() {
        let details = json!([
            { "field": "compose_hash", "value": "aa".repeat(32) },
            { "field": "app_id", "value": "11".repeat(20) },
            { "field": "device_id", "value": "bb".repeat(32) },
            { "field": "commit_token", "value": "token-1" },
            { "field": "kms_info", "value": { "chain_id": 8453 } },
        ]);
        let flat = json!({ "error_code": "ERR-01-005", "message": "m", "details": details });
        for body in [flat.clone(), json!({ "detail": flat }), json!(flat.to_string())] {
            let body = json!({ "prepare_response": body, "source_cvm": "cvm_1", "node_id": "5" });
            let submission = try_read(&body).unwrap();
            assert_eq!(submission.device.to_string(), format!("0x{}", "bb".repeat(32)));
        }
    }

    #[test]
    fn every_refusal_names_its_field() {
        let cases = [
            ("chain_id", json!(1)),
            ("chain_id", json!("x")),
            ("app", json!("0x12")),
            ("app", json!("00".repeat(20))),
            ("app", json!(null)),
            ("source_cvm", json!("a/b")),
            ("source_cvm", json!(null)),
            ("node_id", json!([5])),
            ("compose_hash", json!("zz".repeat(32))),
            ("compose_hash", json!("00".repeat(32))),
            ("device_id", json!("")),
            ("device_id", json!("00".repeat(32))),
            ("device_id", json!(SHA256_OF_NOTHING.to_string())),
            ("commit_token", json!("two words")),
            ("commit_token", json!("")),
            ("commit_token", json!(7)),
            ("prepared_at", json!("yesterday")),
            ("prepared_at", json!("2026-11-01T00:00:00Z")),
            ("prepared_at", json!("2026-12-01T00:00:00Z")),
            ("note", json!("x".repeat(2001))),
            ("commit_tokn", json!("x")),
        ];
        for (field, value) in cases {
            let mut body = good();
            body[field] = value.clone();
            let error = try_read(&body).expect_err(&format!("{field} = {value}"));
            assert_eq!(error.field, field, "{error}");
            assert!(!error.problem.contains("f3b0c6f2"), "the token is not repeated");
        }
        assert_eq!(try_read(&json!([])).unwrap_err().field, "body");
    }

    #[test]
    fn the_token_may_stand_nowhere_else() {
        for field in ["source_cvm", "node_id", "note"] {
            for text in ["f3b0c6f2-0000-4000-8000-000000000001", "F3B0C6F2000040008000000000000001"]
            {
                let mut body = good();
                body[field] = json!(text);
                assert_eq!(try_read(&body).unwrap_err().field, field);
            }
        }
    }

    #[test]
    fn a_field_that_contradicts_the_preparation_is_refused() {
        let mut body = good();
        body.as_object_mut().unwrap().remove("commit_token");
        body["prepare_response"] = json!({
            "composeHash": "cc".repeat(32), "appId": "11".repeat(20),
            "deviceId": "bb".repeat(32), "commitToken": "token-1",
        });
        assert_eq!(try_read(&body).unwrap_err().field, "compose_hash");
    }
}
