//! What Phala Cloud tells about CVMs and nodes, read from every shape it is known to answer in.
//! Unknown fields are passed over; ids and hashes are checked.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::fields::{FieldError, Fields};
use crate::request::{
    Request,
    ids::{AppId, ChainId, ComposeHash, DeviceId, NodeId, ReplicaId, SourceCvm, TxHash},
};

/// The bearer secret that lets anybody commit a prepared replica. It prints as nothing and cannot
/// be serialized; whoever needs the text has to ask for it by name.
#[derive(Clone, Debug)]
pub struct CommitToken(SecretString);

/// Why a text cannot be a commit token. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a commit token is 1 to {max} printable characters without blanks", max = CommitToken::LENGTH_MAX)]
pub struct CommitTokenError;

impl CommitToken {
    pub const LENGTH_MAX: usize = 512;

    pub fn parse(text: &str) -> Result<Self, CommitTokenError> {
        let text = text.trim();
        let fits = (1..=Self::LENGTH_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(SecretString::from(text))) } else { Err(CommitTokenError) }
    }

    /// The sealed-up text, for the vault and nobody else.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.0
    }

    /// Whether the token stands in a text, in whatever spelling: a UUID goes with dashes and without.
    #[must_use]
    pub fn stands_in(&self, text: &str) -> bool {
        let folded = |text: &str| text.replace('-', "").to_lowercase();
        folded(text).contains(&folded(self.expose()))
    }

    /// The text itself, for the commit call.
    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl FromStr for CommitToken {
    type Err = CommitTokenError;
    fn from_str(text: &str) -> Result<Self, CommitTokenError> {
        Self::parse(text)
    }
}

/// What a commit names as the reason why the chain allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitEvidence {
    /// The transaction that emitted `ComposeHashAdded` for this very hash.
    Transaction(TxHash),
    /// Nothing but the registered state.
    AlreadyRegistered,
}

impl CommitEvidence {
    pub(super) fn wire(self) -> String {
        match self {
            Self::Transaction(hash) => hash.to_string(),
            Self::AlreadyRegistered => "already-registered".into(),
        }
    }
}

/// A CVM as its own page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cvm {
    pub vm_uuid: SourceCvm,
    pub app: AppId,
    pub name: String,
    pub status: String,
    /// None when Phala Cloud itself keeps the keys. Preparing on such a source **creates** a
    /// replica at once, so look here first.
    pub chain_id: Option<ChainId>,
    pub compose_hash: Option<ComposeHash>,
    pub node_id: Option<NodeId>,
    pub node_name: Option<String>,
    pub device_id: Option<DeviceId>,
    pub boot_error: Option<String>,
}

impl Cvm {
    pub(super) fn read(value: &Value) -> Result<Self, FieldError> {
        let fields = Fields(value);
        Ok(Self {
            vm_uuid: fields.cvm("vm_uuid", VM_UUID)?,
            app: fields.app(&["/app_id", "/hosted/app_id"])?,
            name: fields.text(&["/name"]).unwrap_or_default(),
            status: fields.text(STATUS).unwrap_or_default(),
            chain_id: fields.chain(&["/kms_info/chain_id"])?,
            compose_hash: fields.id("compose_hash", &["/compose_hash"])?,
            node_id: fields.id("node_id", NODE_ID)?,
            node_name: fields.text(NODE_NAME),
            device_id: fields.id("device_id", DEVICE_ID)?,
            boot_error: fields.text(BOOT_ERROR),
        })
    }
}

/// An instance of an app, as the list shows it and as a commit answers with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub id: ReplicaId,
    pub name: String,
    pub status: String,
    pub node_id: Option<NodeId>,
    pub node_name: Option<String>,
    pub compose_hash: Option<ComposeHash>,
    pub device_id: Option<DeviceId>,
    pub created_at: Option<DateTime<Utc>>,
    pub boot_error: Option<String>,
}

impl Instance {
    /// Whether nothing that is shown of it speaks against its being the replica of a request. What is
    /// not shown cannot rule it out.
    #[must_use]
    pub fn may_be_of(&self, request: &Request) -> bool {
        self.runs_what_was_approved(request)
            && match (&request.node, &self.node_id) {
                (Some(asked), Some(shown)) => asked == shown,
                _ => true,
            }
            && self.id != request.source.as_instance()
    }

    /// Whether neither the compose hash nor the device that is shown is another than was approved.
    #[must_use]
    pub fn runs_what_was_approved(&self, request: &Request) -> bool {
        self.compose_hash.is_none_or(|hash| hash == request.compose)
            && self.device_id.is_none_or(|device| device == request.device)
    }

    pub(super) fn read(value: &Value) -> Result<Self, FieldError> {
        let fields = Fields(value);
        Ok(Self {
            id: fields.cvm("vm_uuid", VM_UUID)?,
            name: fields.text(&["/name"]).unwrap_or_default(),
            status: fields.text(STATUS).unwrap_or_default(),
            node_id: fields.id("node_id", NODE_ID)?,
            node_name: fields.text(NODE_NAME),
            compose_hash: fields.id("compose_hash", &["/compose_hash"])?,
            device_id: fields.id("device_id", DEVICE_ID)?,
            created_at: fields.time("created_at", &["/created_at"])?,
            boot_error: fields.text(BOOT_ERROR),
        })
    }

    /// A list of instances decides whether a commit took effect, so one that cannot be read whole
    /// is not a list.
    pub(super) fn read_list(value: &Value) -> Result<Vec<Self>, FieldError> {
        let list = value.as_array().ok_or_else(|| FieldError::new("cvms", "not a list"))?;
        list.iter().map(Self::read).collect()
    }
}

/// How far the boot of a CVM has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    pub status: String,
    pub in_progress: bool,
    pub progress: Option<String>,
    pub error: Option<String>,
}

impl Boot {
    /// Reads the map that the batch endpoint answers with.
    pub(super) fn read(value: &Value, id: &ReplicaId) -> Result<Self, FieldError> {
        let same = |key: &str| same_cvm(key, id.as_str());
        let entries = value.as_object().ok_or_else(|| FieldError::new("status", "not a map"))?;
        let (_, entry) = entries
            .iter()
            .find(|(key, _)| same(key))
            .ok_or_else(|| FieldError::new("vm_uuid", "the CVM asked for is not in the answer"))?;
        let fields = Fields(entry);
        Ok(Self {
            status: fields.text(STATUS).unwrap_or_default(),
            in_progress: fields.flag(&["/in_progress"]).unwrap_or_default(),
            progress: fields.text(&["/boot_progress"]),
            error: fields.text(BOOT_ERROR),
        })
    }
}

pub(super) fn same_cvm(a: &str, b: &str) -> bool {
    let canonical = |text: &str| text.parse::<SourceCvm>().map(|id| id.canonical()).ok();
    canonical(a).is_some_and(|a| Some(a) == canonical(b))
}

/// A machine that instances can be put on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: NodeId,
    pub name: String,
    pub region: Option<String>,
    /// A node may have several, one for each kind of OS image. The one that counts for a replica
    /// is the one its preparation names.
    pub device_ids: Vec<DeviceId>,
    /// The KMS it works with, as the list names them.
    pub kms: Vec<String>,
}

impl Node {
    pub(super) fn read_list(value: &Value) -> Result<Vec<Self>, FieldError> {
        let list = value.get("nodes").and_then(Value::as_array);
        list.ok_or_else(|| FieldError::new("nodes", "not a list"))?.iter().map(Self::read).collect()
    }

    fn read(value: &Value) -> Result<Self, FieldError> {
        let fields = Fields(value);
        let mut device_ids: Vec<DeviceId> =
            fields.id("device_id", &["/device_id"])?.into_iter().collect();
        for other in value.get("device_ids").and_then(Value::as_array).into_iter().flatten() {
            if let Some(device) = Fields(other).id("device_ids", &["/device_id"])?
                && !device_ids.contains(&device)
            {
                device_ids.push(device);
            }
        }
        Ok(Self {
            id: fields.required("teepod_id", &["/teepod_id", "/node_id", "/id"])?,
            name: fields.text(&["/name"]).unwrap_or_default(),
            region: fields.text(&["/region_identifier", "/region"]),
            device_ids,
            kms: kms_names(value),
        })
    }
}

/// Names, or objects with a slug.
fn kms_names(value: &Value) -> Vec<String> {
    let list = value.get("kms_list").and_then(Value::as_array).into_iter().flatten();
    let name = |one: &Value| match one {
        Value::String(_) => Fields(one).text(&[""]),
        _ => Fields(one).text(&["/slug", "/id"]),
    };
    list.filter_map(name).take(KMS_MAX).collect()
}

/// Of one node.
const KMS_MAX: usize = 20;

// The 2026-01-21 shape first, then the flat VM of a create or commit, then the 2025-10-28 list.
pub(super) const VM_UUID: &[&str] = &["/vm_uuid", "/hosted/id"];
const STATUS: &[&str] = &["/status", "/hosted/status"];
const NODE_ID: &[&str] =
    &["/node_info/id", "/node_info/node_id", "/teepod_id", "/teepod/id", "/node/id"];
const NODE_NAME: &[&str] = &["/node_info/name", "/teepod/name", "/teepod_name", "/node/name"];
const DEVICE_ID: &[&str] = &["/node_info/device_id", "/device_id"];
const BOOT_ERROR: &[&str] = &["/boot_error", "/hosted/boot_error"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const UUID: &str = "9f8e7d6c-5b4a-4938-8271-605f4e3d2c1b";

    #[test]
    fn an_instance_is_read_from_all_three_shapes() {
        let shapes = [
            json!({ "id": "cvm_x", "vm_uuid": UUID, "name": "a", "status": "running",
                "node_info": { "object_type": "node", "id": 5, "name": "prod5" } }),
            json!({ "id": 7, "vm_uuid": UUID, "name": "a", "status": "running", "teepod_id": 5,
                "teepod": { "id": 5, "name": "prod5" } }),
            json!({ "hosted": { "id": UUID.replace('-', ""), "status": "running" }, "name": "a",
                "node": { "id": 5, "name": "prod5" } }),
        ];
        for shape in shapes {
            let read = Instance::read(&shape).unwrap();
            assert_eq!(read.id.as_str(), UUID);
            assert_eq!((read.name.as_str(), read.status.as_str()), ("a", "running"));
            assert_eq!(read.node_id.unwrap().as_str(), "5");
            assert_eq!(read.node_name.as_deref(), Some("prod5"));
        }
    }

    #[test]
    fn one_unreadable_instance_spoils_the_list() {
        let good = json!({ "vm_uuid": UUID });
        assert_eq!(Instance::read_list(&json!([good])).unwrap().len(), 1);
        for bad in [json!({ "vm_uuid": null }), json!(3), json!({ "vm_uuid": "a b" })] {
            assert!(Instance::read_list(&json!([good, bad])).is_err(), "{bad}");
        }
        assert!(Instance::read_list(&json!({ "items": [] })).is_err());
    }

    #[test]
    fn a_token_is_printable_and_never_printed() {
        for text in ["", "  ", "a b", "ä", "a\u{7f}", &"x".repeat(513)] {
            assert!(CommitToken::parse(text).is_err(), "{text:?}");
        }
        let token = CommitToken::parse(" prep_token_xyz\n").unwrap();
        assert_eq!(token.expose(), "prep_token_xyz");
        assert!(!format!("{token:?}").contains("xyz"));
    }

    #[test]
    fn a_token_is_found_in_every_spelling() {
        let token = CommitToken::parse("f3b0c6f2-0000-4000-8000-00000000000a").unwrap();
        let plain = "F3B0C6F200004000800000000000000A";
        for text in ["f3b0c6f2-0000-4000-8000-00000000000a", plain, &format!("?token={plain}&x")] {
            assert!(token.stands_in(text), "{text}");
        }
        assert!(!token.stands_in("") && !token.stands_in(&plain[1..]));
    }

    #[test]
    fn a_node_may_have_several_devices() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let value = json!({ "nodes": [{ "teepod_id": 5, "name": "prod5", "device_id": a,
            "device_ids": [{ "device_id": a }, { "device_id": b, "enabled": true }] }] });
        let nodes = Node::read_list(&value).unwrap();
        assert_eq!(nodes[0].device_ids.len(), 2);
    }

    #[test]
    fn the_boot_asked_for_is_found_in_either_spelling() {
        let value = json!({ UUID.replace('-', ""): { "status": "error", "boot_error": "no" } });
        let boot = Boot::read(&value, &UUID.parse().unwrap()).unwrap();
        assert_eq!(boot.error.as_deref(), Some("no"));
        assert!(Boot::read(&json!({}), &UUID.parse().unwrap()).is_err());
    }
}
