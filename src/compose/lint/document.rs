//! What stands beside the compose file: flags, where keys come from, what else runs.

use super::{Compose, Findings, Severity, below, shown};
use crate::compose::places::short;

/// Fields of which nothing is told, or that have a rule.
const KNOWN: [&str; 28] = [
    "allowed_envs",
    "bash_script",
    "default_gateway_domain",
    "docker_compose_file",
    "docker_config",
    "event_log_version",
    "features",
    "gateway_enabled",
    "init_script",
    "key_provider",
    "key_provider_id",
    "kms_enabled",
    "local_key_provider_enabled",
    "manifest_version",
    "name",
    "no_instance_id",
    "pre_launch_script",
    "public_logs",
    "public_sysinfo",
    "public_tcbinfo",
    "runner",
    "salt",
    "secure_time",
    "snapshotter",
    "storage_fs",
    "swap_size",
    "tproxy_enabled",
    "version",
];
const RUNNERS: [&str; 3] = ["docker-compose", "nerdctl-compose", "bash"];

pub(super) fn lint(found: &mut Findings, compose: &Compose, previous: Option<&Compose>) {
    flags(found, compose, previous);
    key_provider(found, compose, previous);
    runner(found, compose);
    registry(found, compose, previous);
    scripts(found, compose, previous);
    if let Some(fields) = compose.document().as_object() {
        found.unknown("", fields, &KNOWN);
    }
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
}

fn key_provider(found: &mut Findings, compose: &Compose, previous: Option<&Compose>) {
    let provider = |compose: &Compose| {
        compose.document().get("key_provider").filter(|value| !value.is_null()).cloned()
    };
    let (now, before) = (provider(compose), previous.map(provider));
    let text = match &now {
        _ if before.as_ref().is_some_and(|before| *before != now) => {
            let now = now.as_ref().map_or_else(|| "nothing".into(), short);
            format!("keys come from elsewhere now: key_provider is {now}")
        }
        Some(now) if now != "kms" => format!(
            "key_provider is {}: keys do not depend on what the app's contract allows",
            short(now)
        ),
        _ => return,
    };
    found.add("key-provider", Severity::Danger, "/key_provider", text);
}

fn runner(found: &mut Findings, compose: &Compose) {
    let runner = compose.text_of("runner").filter(|runner| !RUNNERS.contains(runner));
    if let Some(runner) = runner {
        let text = format!(
            "the runner {} is not known to this check: something else may run than what was looked at",
            shown(runner)
        );
        found.add("runner", Severity::Danger, "/runner", text);
    }
}

/// Where images come from that are pinned by nothing else, and who pulls them.
fn registry(found: &mut Findings, compose: &Compose, previous: Option<&Compose>) {
    let of = |compose: &Compose| {
        let config = compose.document().get("docker_config").filter(|config| !config.is_null());
        config.filter(|config| config.as_object().is_none_or(|fields| !fields.is_empty())).cloned()
    };
    let now = of(compose);
    if let Some(now) = now.filter(|now| previous.and_then(of).as_ref() != Some(now)) {
        let text = format!("docker_config names where images come from: {}", short(&now));
        found.add("registry", Severity::Warning, "/docker_config", text);
    }
}

/// Scripts that run on the machine itself: when, and how much is told of one that was there before or has
/// nothing beside it.
const SCRIPTS: [(&str, &str, Severity); 3] = [
    ("init_script", " before anything else", Severity::Warning),
    ("pre_launch_script", " before the containers", Severity::Warning),
    ("bash_script", "", Severity::Note),
];

fn scripts(found: &mut Findings, compose: &Compose, previous: Option<&Compose>) {
    for (field, when, severity) in SCRIPTS {
        let script = |compose: &Compose| {
            let value = compose.document().get(field)?;
            let is_empty =
                value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty);
            (!is_empty).then(|| value.clone())
        };
        let (now, before) = (script(compose), previous.and_then(script));
        let place = below("", field);
        let as_root = format!("{field} runs as root{when}");
        match (now, before) {
            (Some(now), Some(before)) if now == before => {}
            (Some(_), Some(_)) => {
                let text = format!("{as_root}, and has changed");
                found.add("script-changed", Severity::Danger, &place, text);
            }
            (Some(_), None) if previous.is_some() => {
                found.add("script-new", Severity::Danger, &place, format!("{as_root}, and is new"));
            }
            (Some(_), None) => found.add("script", severity, &place, as_root),
            (None, Some(_)) => {
                let text = format!("{field} is there no longer");
                found.add("script-gone", Severity::Warning, &place, text);
            }
            (None, None) => {}
        }
    }
}
