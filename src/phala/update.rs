//! How the update of a CVM is going: what was ordered for it.

use serde_json::Value;

use super::{
    Cvm, PhalaCloud, PhalaError, act, expect_success,
    fields::{FieldError, Fields},
};
use crate::{
    clock::Time,
    request::ids::{ComposeHash, SourceCvm},
};

/// Operations read in one look. Newer ones come first.
const OPERATIONS_MAX: &str = "limit=50";

/// How an operation stands. Words that nobody knows are taken for one that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationState {
    InProgress,
    Completed,
    Failed,
}

/// Something that was ordered for a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub id: String,
    pub state: OperationState,
    pub compose_hash: Option<ComposeHash>,
    pub started_at: Option<Time>,
    pub error: Option<String>,
}

impl Operation {
    fn read(value: &Value) -> Result<Self, FieldError> {
        let fields = Fields(value);
        let id = fields.value(&["/correlation_id"]).and_then(Value::as_str);
        let id =
            id.and_then(act::short_name).ok_or_else(|| FieldError::missing("correlation_id"))?;
        let state = match fields.value(&["/status"]).and_then(Value::as_str) {
            Some("completed" | "succeeded" | "success") => OperationState::Completed,
            Some("failed" | "error" | "cancelled" | "timeout") => OperationState::Failed,
            _ => OperationState::InProgress,
        };
        Ok(Self {
            id,
            state,
            compose_hash: fields.id("compose_hash", &["/compose_hash"])?,
            started_at: fields.time("started_at", &["/started_at"])?,
            error: fields.text(&["/error_message"]),
        })
    }

    /// What is ordered decides whether a commit took effect, so a list that cannot be read whole is
    /// none.
    fn read_list(value: &Value) -> Result<Vec<Self>, FieldError> {
        let items = value.get("items").and_then(Value::as_array);
        items
            .ok_or_else(|| FieldError::new("items", "not a list"))?
            .iter()
            .map(Self::read)
            .collect()
    }
}

impl PhalaCloud {
    /// What was ordered for a CVM lately, or an error: never a part of it.
    pub async fn operations(&self, cvm: &SourceCvm) -> Result<Vec<Operation>, PhalaError> {
        const CALL: &str = "list operations";
        let cvm = cvm.canonical();
        let path = ["cvms", cvm.as_str(), "operations"];
        let mut request = self.request(reqwest::Method::GET, &path);
        request.url_mut().set_query(Some(OPERATIONS_MAX));
        let value = expect_success(&self.exchange(CALL, request).await?)?;
        Operation::read_list(&value).map_err(|error| PhalaError::malformed(CALL, &error))
    }

    /// A CVM, with what Phala Cloud's clock said.
    pub async fn cvm_dated(&self, id: &SourceCvm) -> Result<(Cvm, Option<Time>), PhalaError> {
        const CALL: &str = "read CVM";
        let request = self.request(reqwest::Method::GET, &["cvms", id.canonical().as_str()]);
        let answer = self.exchange(CALL, request).await?;
        let cvm = Cvm::read(&expect_success(&answer)?);
        Ok((cvm.map_err(|error| PhalaError::malformed(CALL, &error))?, answer.date()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_ordered_is_read_whole_or_not_at_all() {
        let hash = "AB".repeat(32);
        let good = json!({ "correlation_id": "c-1", "status": "completed", "compose_hash": hash,
            "started_at": "2026-11-21T12:00:00", "error_message": null, "more": 1 });
        let read = |items| Operation::read_list(&json!({ "items": items, "total": 1 }));
        let one = &read(json!([good])).unwrap()[0];
        assert_eq!((one.id.as_str(), one.state), ("c-1", OperationState::Completed));
        assert_eq!(one.compose_hash.unwrap().to_string(), format!("0x{}", "ab".repeat(32)));
        for (word, state) in [
            (json!("failed"), OperationState::Failed),
            (json!("in_progress"), OperationState::InProgress),
            (json!("queued"), OperationState::InProgress),
            (json!(null), OperationState::InProgress),
        ] {
            let mut other = good.clone();
            other["status"] = word;
            assert_eq!(read(json!([other])).unwrap()[0].state, state);
        }
        for bad in [
            json!({ "correlation_id": null }),
            json!({ "correlation_id": "c", "compose_hash": "zz" }),
            json!({ "correlation_id": "c", "started_at": 5 }),
            json!(7),
        ] {
            assert!(read(json!([good, bad])).is_err(), "{bad}");
        }
        assert!(Operation::read_list(&json!([])).is_err());
    }
}
