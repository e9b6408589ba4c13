//! What of the machine is inside a container.

use serde_json::{Map, Value};

use super::{AT_RUN_TIME, Findings, Severity, below, has_variable, shown};
use crate::compose::places::short;

/// Sockets of what runs containers, and so of everything.
const RUNTIMES: [&str; 4] = ["docker.sock", "containerd.sock", "podman.sock", "crio.sock"];
/// Sockets that give what every app may ask for.
const GUEST_AGENT: [&str; 4] =
    ["/var/run/dstack.sock", "/run/dstack.sock", "/var/run/tappd.sock", "/run/tappd.sock"];

pub(super) fn lint(found: &mut Findings, place: &str, service: &Value) {
    let Some(volumes) = service.get("volumes").filter(|volumes| !volumes.is_null()) else { return };
    let place = below(place, "volumes");
    let Some(list) = volumes.as_array() else {
        let text = "`volumes` is no list: what is mounted was not looked at";
        return found.add("unknown", Severity::Danger, &place, text);
    };
    for (at, volume) in list.iter().enumerate() {
        let place = below(&place, &at.to_string());
        match volume {
            Value::String(text) => {
                let source = text.split(':').next().unwrap_or_default();
                let is_bare = source.len() == text.len();
                // A path alone is a volume without a name; a variable may be all of it.
                if has_variable(source) || (is_path(source) && !is_bare) {
                    host(found, &place, source);
                }
            }
            Value::Object(fields) => long(found, &place, fields),
            other => {
                let text = format!("{} is not known to this check", short(other));
                found.add("unknown", Severity::Warning, &place, text);
            }
        }
    }
}

/// A mount in fields.
fn long(found: &mut Findings, place: &str, fields: &Map<String, Value>) {
    let text = |key: &str| fields.get(key).map(|value| value.as_str().unwrap_or("$"));
    let source = text("source").or_else(|| text("src"));
    match text("type").map(str::trim) {
        Some("bind") => host(found, place, source.unwrap_or_default()),
        Some(kind) if has_variable(kind) => host(found, place, kind),
        _ if source.is_some_and(is_path) => host(found, place, source.unwrap_or_default()),
        Some("volume" | "tmpfs") | None => {}
        Some(kind) => {
            let text = format!("a mount of type {} is not known to this check", shown(kind));
            found.add("unknown", Severity::Warning, place, text);
        }
    }
}

/// Whether this is a path of the machine, or may be, and not the name of a volume.
pub(super) fn is_path(source: &str) -> bool {
    source.trim().starts_with(['/', '.', '~', '\\']) || has_variable(source)
}

/// Whether a path stands somewhere in it, or may.
pub(super) fn names_path(options: &str) -> bool {
    options.contains('/') || has_variable(options)
}

/// Tells of a path of the machine that a container has.
pub(super) fn host(found: &mut Findings, place: &str, source: &str) {
    let (source, told) = (source.trim(), shown(source));
    let (rule, severity, text) = if has_variable(source) {
        ("host-mount", Severity::Danger, format!("what of the machine {told} mounts {AT_RUN_TIME}"))
    } else if RUNTIMES.iter().any(|socket| source.ends_with(socket)) {
        ("socket", Severity::Danger, format!("{told} gives the container control over all others"))
    } else if GUEST_AGENT.contains(&source) {
        let text = format!("{told} lets the container ask for keys and attestations of the app");
        ("socket", Severity::Note, text)
    } else {
        ("host-mount", Severity::Danger, format!("{told} of the machine is inside the container"))
    };
    found.add(rule, severity, place, text);
}
