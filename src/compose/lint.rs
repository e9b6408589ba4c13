//! What a reviewer should look at in a document, in plain words. It decides nothing: most of it is
//! what somebody wanted. Pure, and bounded whatever the document is.

mod document;
mod file;
mod mounts;
mod service;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Compose,
    places::{below, cut},
    visible,
};

/// Findings that are told; the rest is told as a number.
const FINDINGS_MAX: usize = 100;
/// Names of environment variables in one sentence.
const NAMES_MAX: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Can take control of the machine, or of the secrets.
    Danger,
    /// Others can see or change what they could not.
    Warning,
    /// Worth a look.
    Note,
}

impl Severity {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Danger => "danger",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Finding {
    /// A stable name.
    pub rule: &'static str,
    pub severity: Severity,
    /// A JSON pointer; what stands below `/docker_compose_file` is of the YAML in it.
    pub place: String,
    pub text: String,
}

/// What to look at in a document, the most important first. With what ran before, only what is new
/// there is told of names, ports, flags and scripts; without, all of it.
#[must_use]
pub fn lint(compose: &Compose, previous: Option<&Compose>) -> Vec<Finding> {
    let mut found = Findings::default();
    file::lint(&mut found, compose, previous);
    environment(&mut found, compose, previous);
    document::lint(&mut found, compose, previous);
    let mut all = found.0;
    all.sort_by_key(|finding| finding.severity);
    if all.len() > FINDINGS_MAX {
        let more = all.len() - FINDINGS_MAX;
        all.truncate(FINDINGS_MAX);
        let text = format!("{more} more findings are not listed");
        all.push(Finding { rule: "more", severity: Severity::Warning, place: String::new(), text });
    }
    all
}

#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(
        &mut self,
        rule: &'static str,
        severity: Severity,
        place: &str,
        text: impl Into<String>,
    ) {
        self.0.push(Finding { rule, severity, place: place.to_owned(), text: text.into() });
    }

    /// Tells what is neither harmless nor judged by a rule. Keys that begin with `x-` are for people.
    fn unknown(&mut self, place: &str, fields: &Map<String, Value>, known: &[&str]) {
        for key in fields.keys() {
            if key == "<<" {
                let text = "other readers may put here what stands elsewhere in the file: it was not \
                            looked at in this place";
                self.add("merge", Severity::Danger, &below(place, key), text);
            } else if !known.contains(&key.as_str()) && !key.starts_with("x-") {
                let text = format!("`{}` is not known to this check", shown(key));
                self.add("unknown", Severity::Warning, &below(place, key), text);
            }
        }
    }

    /// Tells of keys that bring in what a reviewer does not see.
    fn outside(&mut self, place: &str, fields: &Value, keys: &[&str]) {
        for key in keys {
            if fields.get(key).is_some_and(is_on) {
                let text = format!("`{key}` brings in what stands outside of this document");
                self.add("outside", Severity::Warning, &below(place, key), text);
            }
        }
    }
}

/// A value that does something. A variable may.
fn is_on(value: &Value) -> bool {
    !matches!(value, Value::Bool(false) | Value::Null)
}

/// Somebody's words in a sentence of ours.
fn shown(text: &str) -> String {
    cut(&visible(text, false))
}

/// What is told of a value with a variable in it.
const AT_RUN_TIME: &str = "is only known when it runs, to whoever sets the variable";

fn has_variable(text: &str) -> bool {
    text.contains('$')
}

fn names(compose: &Compose) -> BTreeSet<&str> {
    let list = compose.document().get("allowed_envs").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn environment(found: &mut Findings, compose: &Compose, previous: Option<&Compose>) {
    let before = previous.map(names).unwrap_or_default();
    let new: Vec<&str> = names(compose).difference(&before).copied().collect();
    if new.is_empty() {
        return;
    }
    let mut told: Vec<String> = new.iter().take(NAMES_MAX).map(|name| shown(name)).collect();
    if new.len() > NAMES_MAX {
        told.push(format!("and {} more", new.len() - NAMES_MAX));
    }
    let (severity, what) = match previous {
        Some(_) => (Severity::Warning, "can be set that could not before"),
        None => (Severity::Note, "can be set by whoever deploys"),
    };
    let text = format!("environment variables {what}: {}", told.join(", "));
    found.add("new-env", severity, "/allowed_envs", text);
}

#[cfg(test)]
mod tests;
