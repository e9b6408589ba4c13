//! Compose documents: made by the server in a form of its own, and served whole or not.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{answers::Refusal, instance::Text, state::World};
use crate::{compose::Compose, request::ids::ComposeHash};

/// How the server writes documents that it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentForm {
    #[default]
    Compact,
    Pretty,
    /// With a blank after each comma and colon: no form that anybody knows of.
    Spaced,
}

/// How documents are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serving {
    /// In the bytes that were hashed.
    #[default]
    Exact,
    Withheld,
    /// With another image than the one that runs.
    Altered,
    /// The same document in another serialisation.
    Reformatted,
}

/// What of a document a prepare changes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct DocumentChange {
    pub docker_compose_file: Option<String>,
    pub pre_launch_script: Option<String>,
    pub allowed_envs: Option<Vec<String>>,
    pub public_logs: Option<bool>,
    pub public_sysinfo: Option<bool>,
    pub public_tcbinfo: Option<bool>,
}

/// Compose document and script together, as Phala Cloud limits them.
const PAYLOAD_BYTES_MAX: usize = 200 * 1024;

impl DocumentChange {
    fn fields(&self) -> Vec<(&'static str, Value)> {
        let text = |text: &String| Value::from(text.clone());
        let flag = |flag: bool| Value::from(flag);
        let fields = [
            ("docker_compose_file", self.docker_compose_file.as_ref().map(text)),
            ("pre_launch_script", self.pre_launch_script.as_ref().map(text)),
            ("allowed_envs", self.allowed_envs.clone().map(Value::from)),
            ("public_logs", self.public_logs.map(flag)),
            ("public_sysinfo", self.public_sysinfo.map(flag)),
            ("public_tcbinfo", self.public_tcbinfo.map(flag)),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

impl World {
    /// The document that runs now, changed, and its hash. Without a change it keeps its bytes; with
    /// one the server writes it anew, and adds what was missing.
    pub fn changed(
        &self,
        current: &Text,
        hash: ComposeHash,
        change: &DocumentChange,
    ) -> Result<(Text, ComposeHash), Refusal> {
        let fields = change.fields();
        if fields.is_empty() {
            return Ok((current.clone(), hash));
        }
        let size = [&change.docker_compose_file, &change.pre_launch_script];
        if size.into_iter().flatten().map(String::len).sum::<usize>() > PAYLOAD_BYTES_MAX {
            return Err(Refusal::coded(400, "ERR-01-003", "Compose payload exceeds 200 KiB"));
        }
        let mut document: Map<String, Value> = serde_json::from_str(current).unwrap_or_default();
        for (name, default) in [
            ("features", serde_json::json!(["kms", "tproxy-net"])),
            ("kms_enabled", true.into()),
            ("manifest_version", 2.into()),
            ("runner", "docker-compose".into()),
        ] {
            document.entry(name).or_insert(default);
        }
        document.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let text = write(&document.into(), self.switches.compose_form)?;
        let hash = hash_of(&text);
        Ok((text, hash))
    }

    /// The document as it is served; none when it is withheld.
    pub fn served(&self, document: &Text) -> Option<Text> {
        match self.switches.compose_serving {
            Serving::Exact => Some(document.clone()),
            Serving::Withheld => None,
            Serving::Altered => {
                let mut value: Value = serde_json::from_str(document).unwrap_or_default();
                value["docker_compose_file"] =
                    "services:\n  web:\n    image: somebody/else:latest\n".into();
                write(&value, DocumentForm::Compact).ok()
            }
            Serving::Reformatted => {
                let value = serde_json::from_str(document).unwrap_or_default();
                let compact = write(&value, DocumentForm::Compact).ok()?;
                let other = write(&value, DocumentForm::Pretty).ok()?;
                Some(if compact == *document { other } else { compact })
            }
        }
    }
}

pub(super) fn hash_of(text: &str) -> ComposeHash {
    ComposeHash(<[u8; 32]>::from(Sha256::digest(text)).into())
}

/// A document as JSON, for the answers that are no raw text.
pub(super) fn as_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn write(value: &Value, form: DocumentForm) -> Result<Text, Refusal> {
    let plain = value.to_string();
    let compose = Compose::parse(plain.as_bytes())
        .map_err(|_| Refusal::coded(400, "ERR-01-003", "Invalid compose document"))?;
    Ok(match form {
        DocumentForm::Compact => compose.compact().into(),
        DocumentForm::Pretty => compose.pretty().into(),
        DocumentForm::Spaced => {
            let compact = as_json(&compose.compact());
            spaced(&compact).into()
        }
    })
}

fn spaced(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let field =
                |(name, value)| format!("{}: {}", Value::from(String::clone(name)), spaced(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_another_text_of_the_same_document() {
        let value = serde_json::json!({ "b": ["x, y", 1], "a": { "c": "d: e" } });
        let texts = [DocumentForm::Compact, DocumentForm::Pretty, DocumentForm::Spaced]
            .map(|form| write(&value, form).unwrap());
        assert_eq!(&*texts[2], r#"{"a": {"c": "d: e"}, "b": ["x, y", 1]}"#);
        assert!(texts[0] != texts[1] && texts[1] != texts[2]);
        for text in texts {
            assert_eq!(as_json(&text), value);
        }
    }
}
