//! What a reviewer should look at in a document, in plain words. It decides nothing: most of it is
//! what somebody wanted. Pure, and bounded whatever the document is.

mod service;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::{
    Compose,
    places::{below, cut, short},
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
    compose_file(&mut found, compose, previous);
    environment(&mut found, compose, previous);
    flags(&mut found, compose, previous);
    script(&mut found, compose, previous);
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
}

const FILE: &str = "/docker_compose_file";

fn compose_file(found: &mut Findings, compose: &Compose, previous: Option<&Compose>) {
    let file = match compose.compose_file() {
        None => return,
        Some(Ok(file)) => file,
        Some(Err(line)) => {
            let line = line.map(|line| format!(" at line {line}")).unwrap_or_default();
            let text = format!(
                "the compose file does not read as YAML{line}, or is too large: nothing in it was \
                 looked at"
            );
            return found.add("unreadable-yaml", Severity::Danger, FILE, text);
        }
    };
    let Some(services) = file.get("services").and_then(Value::as_object) else {
        let text = "the compose file names no services: nothing in it was looked at";
        return found.add("no-services", Severity::Warning, FILE, text);
    };
    let before = previous.and_then(Compose::compose_file).and_then(Result::ok);
    let place = below(FILE, "services");
    for (name, service) in services {
        let known = before.as_ref().and_then(|file| file.get("services")?.get(name));
        service::lint(found, &below(&place, name), service, known);
    }
    for key in ["include", "extends"] {
        if file.get(key).is_some() {
            let text = format!("`{key}` brings in what stands outside of this document");
            found.add("outside", Severity::Warning, &below(FILE, key), text);
        }
    }
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
    let mut told: Vec<String> =
        new.iter().take(NAMES_MAX).map(|name| cut(&visible(name, false))).collect();
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

/// Flags whose loss or gain matters: name, the value to look at, severity, what it means.
const FLAGS: [(&str, bool, Severity, &str); 8] = [
    ("public_logs", true, Severity::Warning, "everybody can read the logs"),
    ("public_sysinfo", true, Severity::Warning, "everybody can read how the machine is used"),
    ("public_tcbinfo", true, Severity::Note, "everybody can read the attestation"),
    (
        "kms_enabled",
        false,
        Severity::Danger,
        "no KMS: keys do not depend on what the app's contract allows",
    ),
    (
        "local_key_provider_enabled",
        true,
        Severity::Danger,
        "keys come from the machine, whatever the app's contract allows",
    ),
    ("no_instance_id", true, Severity::Warning, "instances are not told apart"),
    ("gateway_enabled", false, Severity::Note, "no gateway: the app is not reached through it"),
    ("tproxy_enabled", false, Severity::Note, "no gateway: the app is not reached through it"),
];

fn flags(found: &mut Findings, compose: &Compose, previous: Option<&Compose>) {
    let flag = |compose: &Compose, name: &str| compose.document().get(name)?.as_bool();
    for (name, value, severity, meaning) in FLAGS {
        let now = flag(compose, name);
        let place = below("", name);
        if now == Some(value) && previous.is_none_or(|before| flag(before, name) != now) {
            let changed = if previous.is_some() { " now" } else { "" };
            found.add("flag", severity, &place, format!("{name} is {value}{changed}: {meaning}"));
        } else if now.is_none()
            && !value
            && previous.is_some_and(|before| flag(before, name) == Some(true))
        {
            found.add("flag", severity, &place, format!("{name} is no longer set: {meaning}"));
        }
    }
    let provider = |compose: &Compose| compose.document().get("key_provider").cloned();
    if let Some(before) = previous
        && provider(before) != provider(compose)
    {
        let now = provider(compose).map_or_else(|| "nothing".into(), |value| short(&value));
        let text = format!("keys come from elsewhere now: key_provider is {now}");
        found.add("key-provider", Severity::Danger, "/key_provider", text);
    }
}

fn script(found: &mut Findings, compose: &Compose, previous: Option<&Compose>) {
    for (field, what) in [("pre_launch_script", "before anything else"), ("bash_script", "")] {
        let now = compose.text_of(field).filter(|text| !text.is_empty());
        let before = previous.and_then(|it| it.text_of(field)).filter(|text| !text.is_empty());
        let place = below("", field);
        let as_root = format!("{field} runs as root {what}").trim_end().to_owned();
        match (now, before) {
            (Some(now), Some(before)) if now == before => {}
            (Some(_), Some(_)) => {
                let text = format!("{as_root}, and has changed");
                found.add("script-changed", Severity::Danger, &place, text);
            }
            (Some(_), None) if previous.is_some() => {
                found.add("script-new", Severity::Danger, &place, format!("{as_root}, and is new"));
            }
            (Some(_), None) => found.add("script", Severity::Note, &place, as_root),
            (None, Some(_)) => {
                let text = format!("{field} is there no longer");
                found.add("script-gone", Severity::Warning, &place, text);
            }
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests;
