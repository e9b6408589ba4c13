//! The document that a prepare asks for: that which runs, with what was sent in the place of its own.
//! A guess at what Phala Cloud makes of it; only a hash says whether it is right.

use serde_json::Value;

use super::{Compose, ComposeError, Form};
use crate::request::ids::ComposeHash;

/// What a prepare may change in a document, by the same names in both. Whatever else is sent is not in
/// the document: where to run, encrypted variables.
const FIELDS: [&str; 13] = [
    "allowed_envs",
    "bash_script",
    "docker_compose_file",
    "gateway_enabled",
    "kms_enabled",
    "local_key_provider_enabled",
    "no_instance_id",
    "pre_launch_script",
    "public_logs",
    "public_sysinfo",
    "public_tcbinfo",
    "secure_time",
    "storage_fs",
];

impl Compose {
    /// This document with what was sent; none when nothing was sent that a document has. Null counts as
    /// not sent.
    ///
    /// # Errors
    /// [`ComposeError`] when nobody could use what comes of it.
    pub fn with_sent(&self, sent: &Value) -> Result<Option<Self>, ComposeError> {
        let mut document = self.document.clone();
        let members = document.as_object_mut().ok_or(ComposeError::NotObject)?;
        let mut has_any = false;
        for name in FIELDS {
            if let Some(value) = sent.get(name).filter(|value| !value.is_null()) {
                members.insert(name.to_owned(), value.clone());
                has_any = true;
            }
        }
        if has_any { Self::parse(document.to_string().as_bytes()).map(Some) } else { Ok(None) }
    }

    /// The form that has this hash, and the document in it, of a document that nobody gave as bytes.
    #[must_use]
    pub fn as_written(&self, expected: ComposeHash) -> Option<(Form, String)> {
        let forms = self.forms();
        let written = Form::ALL.into_iter().filter(|form| *form != Form::Raw);
        let form = written.into_iter().find(|form| forms.of_form(*form) == Some(expected))?;
        Some((form, self.text(form)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RUNS: &str = r#"{"runner":"docker-compose","name":"app","docker_compose_file":"a: 1\n","allowed_envs":["A"],"public_logs":true}"#;

    fn runs() -> Compose {
        Compose::parse(RUNS.as_bytes()).unwrap()
    }

    #[test]
    fn what_was_sent_takes_the_place_of_what_runs_and_nothing_else_does() {
        let with = |change: &Value| {
            let mut document: Value = serde_json::from_str(RUNS).unwrap();
            let fields = change.as_object().unwrap().clone();
            document.as_object_mut().unwrap().extend(fields);
            Some(document)
        };
        let all = json!({ "docker_compose_file": "b: 2\n", "allowed_envs": ["C", "B"],
            "pre_launch_script": "echo", "public_logs": false, "public_sysinfo": true });
        let mut sent = all.clone();
        sent["encrypted_env"] = "00ff".into();
        sent["node_id"] = 5.into();
        sent["name"] = "other".into();
        for (sent, expected) in [
            (json!({}), None),
            (json!([]), None),
            (json!({ "node_id": 5, "compose_hash": "00", "encrypted_env": "ff" }), None),
            (json!({ "docker_compose_file": null }), None),
            (json!({ "public_logs": false }), with(&json!({ "public_logs": false }))),
            (json!({ "allowed_envs": [] }), with(&json!({ "allowed_envs": [] }))),
            (sent, with(&all)),
        ] {
            let derived = runs().with_sent(&sent).unwrap();
            assert_eq!(derived.map(|one| one.document), expected, "{sent}");
        }
    }

    #[test]
    fn what_nobody_could_use_is_refused() {
        for sent in [
            json!({ "docker_compose_file": 5 }),
            json!({ "allowed_envs": "A" }),
            json!({ "public_logs": "yes" }),
            json!({ "docker_compose_file": "x".repeat(201 * 1024) }),
            json!({ "storage_fs": 0.5 }),
        ] {
            assert!(runs().with_sent(&sent).is_err());
        }
    }

    #[test]
    fn it_is_known_by_its_hash_in_every_form_but_as_bytes_that_nobody_gave() {
        let sent = json!({ "docker_compose_file": "b: \"c\": 1\n", "pre_launch_script": "" });
        let derived = runs().with_sent(&sent).unwrap().unwrap();
        for form in [
            Form::Compact,
            Form::Pretty,
            Form::PrettyReplaced,
            Form::NormalizedCompact,
            Form::NormalizedPretty,
            Form::NormalizedPrettyReplaced,
        ] {
            let hash = derived.forms().of_form(form).unwrap();
            assert_eq!(derived.as_written(hash), Some((form, derived.text(form))));
        }
        assert_eq!(derived.as_written(runs().forms().raw), None);
    }
}
