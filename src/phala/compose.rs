//! Where Phala Cloud keeps compose documents. What comes back is a claim: whoever asks computes its
//! hash.

use reqwest::Method;
use serde_json::Value;

use super::{
    PhalaCloud, PhalaError, expect_success,
    fields::{FieldError, Fields},
    wire,
};
use crate::request::ids::{AppId, ComposeHash, ReplicaId, RevisionId, SourceCvm};

/// Revisions of an app that are asked for, the newest.
const REVISIONS: &str = "page=1&page_size=200";

/// A revision of what an app runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub id: RevisionId,
    pub compose_hash: ComposeHash,
}

/// An update that Phala Cloud lists as not yet applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingUpdate {
    pub cvm: ReplicaId,
    pub compose_hash: ComposeHash,
}

impl PhalaCloud {
    /// The `app-compose.json` of a CVM, in the bytes that were hashed when the server knows them.
    pub async fn compose_file(&self, id: &SourceCvm) -> Result<Vec<u8>, PhalaError> {
        let path = ["cvms", id.as_str(), "compose_file"];
        let mut request = self.request(Method::GET, &path);
        request.url_mut().set_query(Some("raw=true"));
        let answer = self.exchange("read compose file", request).await?;
        if answer.is_success() { Ok(unquoted(answer.body)) } else { Err(answer.refused(None)) }
    }

    /// The newest revisions of an app. One that does not read is passed over: nothing follows from a
    /// revision that is not there.
    pub async fn revisions(&self, app: AppId) -> Result<Vec<Revision>, PhalaError> {
        const CALL: &str = "list revisions";
        let app = alloy::hex::encode(app.0);
        let mut request = self.request(Method::GET, &["apps", &app, "revisions"]);
        request.url_mut().set_query(Some(REVISIONS));
        let value = expect_success(&self.exchange(CALL, request).await?)?;
        let list = value.get("revisions").and_then(Value::as_array).ok_or_else(|| {
            PhalaError::malformed(CALL, &FieldError::new("revisions", "not a list"))
        })?;
        Ok(list.iter().filter_map(Revision::read).collect())
    }

    /// The document of a revision; none when the answer has none.
    pub async fn revision_document(
        &self,
        app: AppId,
        revision: &RevisionId,
    ) -> Result<Option<Vec<u8>>, PhalaError> {
        let app = alloy::hex::encode(app.0);
        let path = ["apps", &app, "revisions", revision.as_str()];
        let mut request = self.request(Method::GET, &path);
        request.url_mut().set_query(Some("raw_compose_file=true"));
        let value = expect_success(&self.exchange("read revision", request).await?)?;
        Ok(document(value.get("compose_file")))
    }

    /// The document that a CVM says it booted with; none when it says nothing.
    pub async fn attested_document(&self, id: &SourceCvm) -> Result<Option<Vec<u8>>, PhalaError> {
        let path = ["cvms", id.as_str(), "attestation"];
        let value = self.get("read attestation", &path).await?;
        Ok(document(value.pointer("/tcb_info/app_compose")))
    }

    /// Updates that were prepared and are not applied.
    pub async fn pending_updates(&self, app: AppId) -> Result<Vec<PendingUpdate>, PhalaError> {
        let app = alloy::hex::encode(app.0);
        let value = self.get("list pending updates", &["apps", &app, "pending-updates"]).await?;
        let items = value.get("items").and_then(Value::as_array);
        Ok(items.into_iter().flatten().filter_map(PendingUpdate::read).collect())
    }
}

impl Revision {
    fn read(value: &Value) -> Option<Self> {
        let fields = Fields(value);
        Some(Self {
            id: fields.required("revision_id", &["/revision_id", "/id"]).ok()?,
            compose_hash: fields.required("compose_hash", &["/compose_hash"]).ok()?,
        })
    }
}

impl PendingUpdate {
    fn read(value: &Value) -> Option<Self> {
        let fields = Fields(value);
        Some(Self {
            cvm: fields.cvm("vm_uuid", wire::VM_UUID).ok()?,
            compose_hash: fields.required("compose_hash", &["/compose_hash"]).ok()?,
        })
    }
}

/// A document in an answer: a text, as it was hashed, or an object, which must be written again.
fn document(value: Option<&Value>) -> Option<Vec<u8>> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone().into_bytes()),
        object @ Value::Object(_) => Some(object.to_string().into_bytes()),
        _ => None,
    }
}

/// Where a server wraps the text once more, as a JSON text, that is taken off. A document is an object,
/// so the two cannot be taken for each other.
fn unquoted(body: Vec<u8>) -> Vec<u8> {
    if body.first() != Some(&b'"') {
        return body;
    }
    serde_json::from_slice::<String>(&body).map_or(body, String::into_bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_comes_as_text_or_as_object() {
        for (value, expected) in [
            (json!("{\"a\": 1}"), Some("{\"a\": 1}")),
            (json!({ "b": 1, "a": 2 }), Some("{\"b\":1,\"a\":2}")),
            (json!(""), None),
            (json!(null), None),
            (json!(7), None),
        ] {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert_eq!(document(Some(&value)), expected, "{value}");
        }
        assert_eq!(unquoted(b"{\"a\":1}".to_vec()), b"{\"a\":1}");
        assert_eq!(unquoted(b"\"{\\\"a\\\":1}\"".to_vec()), b"{\"a\":1}");
        assert_eq!(unquoted(b"\"broken".to_vec()), b"\"broken");
    }

    #[test]
    fn what_does_not_read_is_no_revision() {
        let hash = "ab".repeat(32);
        let read = |value: Value| Revision::read(&value).map(|it| it.id.to_string());
        assert_eq!(read(json!({ "revision_id": "r1", "compose_hash": hash })), Some("r1".into()));
        assert_eq!(read(json!({ "revision_id": "../x", "compose_hash": hash })), None);
        assert_eq!(read(json!({ "revision_id": "r1", "compose_hash": "no" })), None);
        assert_eq!(PendingUpdate::read(&json!({ "vm_uuid": "x" })), None);
    }
}
