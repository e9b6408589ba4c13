//! What was sent to Phala Cloud to prepare: read and bounded here, sealed for its request, and opened
//! only to prepare again with the same and to prove what it asks for. It may hold what the owners of an app keep secret.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::read::{FieldProblem, problem};
use crate::phala::CommitToken;

/// Bytes of a kept body. Phala Cloud takes compose document and script up to 200 KiB together.
pub const PREPARE_BODY_BYTES_MAX: usize = 240 * 1024;

const FIELD: &str = "prepare_body";
/// What turns a prepare into something else: sent with these, it commits.
const COMMITS: [&str; 3] = ["token", "commit_token", "transaction_hash"];

/// The JSON object that was sent to prepare. It prints as nothing.
#[derive(Debug, Clone)]
pub struct PrepareBody(SecretString);

impl PrepareBody {
    /// Reads the field of a submission. The token stands nowhere in it: what was sent was sent before
    /// there was one.
    pub(super) fn read(
        value: Option<&Value>,
        token: &CommitToken,
    ) -> Result<Option<Self>, FieldProblem> {
        let object = match value {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(object)) => object,
            Some(_) => return Err(problem(FIELD, "expected the JSON object that was sent")),
        };
        if let Some(name) = COMMITS.iter().find(|name| object.contains_key(**name)) {
            let text = format!("has a field {name}, and so would commit instead of prepare");
            return Err(problem(FIELD, text));
        }
        let text = serde_json::to_string(object).expect("JSON that was read can be written");
        if text.len() > PREPARE_BODY_BYTES_MAX {
            return Err(problem(
                FIELD,
                format!("longer than {} KiB", PREPARE_BODY_BYTES_MAX >> 10),
            ));
        }
        if object.iter().any(|(name, value)| token.stands_in(name) || holds(value, token)) {
            return Err(problem(FIELD, "contains the commit token, which is sealed on its own"));
        }
        Ok(Some(Self(text.into())))
    }

    /// The body of a request that is there, as it was opened.
    pub(super) fn of_opened(text: SecretString) -> Self {
        Self(text)
    }

    /// The text, to be sealed.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.0
    }

    /// The object, to be sent; none when what was kept is damaged.
    pub(super) fn value(&self) -> Option<Value> {
        serde_json::from_str(self.0.expose_secret()).ok().filter(Value::is_object)
    }
}

fn holds(value: &Value, token: &CommitToken) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(number) => token.stands_in(&number.to_string()),
        Value::String(text) => token.stands_in(text),
        Value::Array(list) => list.iter().any(|one| holds(one, token)),
        Value::Object(fields) => {
            fields.iter().any(|(name, one)| token.stands_in(name) || holds(one, token))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOKEN: &str = "f3b0c6f2-0000-4000-8000-000000000001";

    fn read(value: &Value) -> Result<Option<PrepareBody>, FieldProblem> {
        PrepareBody::read(Some(value), &TOKEN.parse().unwrap())
    }

    #[test]
    fn what_was_sent_is_kept_as_it_was() {
        let sent =
            json!({ "node_id": 5, "encrypted_env": "00ff", "docker_compose_file": "a: \"ä\"" });
        let body = read(&sent).unwrap().unwrap();
        assert_eq!(body.value(), Some(sent));
        assert!(!format!("{body:?}").contains("00ff"));
        assert!(read(&json!({})).unwrap().is_some());
        assert!(read(&Value::Null).unwrap().is_none());
    }

    #[test]
    fn what_holds_the_token_or_would_commit_or_is_too_long_is_refused() {
        let plain = "F3B0C6F2000040008000000000000001";
        let long = "x".repeat(PREPARE_BODY_BYTES_MAX);
        for wrong in [
            json!([]),
            json!("{}"),
            json!({ "token": "other" }),
            json!({ "transaction_hash": "" }),
            json!({ "a": { "b": [1, { "c": format!("see {TOKEN}") }] } }),
            json!({ "a": [plain] }),
            json!({ plain: 1 }),
            json!({ "a": { plain: null } }),
            json!({ "a": long }),
        ] {
            let error = read(&wrong).unwrap_err();
            assert_eq!(error.field, "prepare_body");
            assert!(!error.problem.to_lowercase().contains("f3b0c6f2"), "{error}");
        }
    }
}
