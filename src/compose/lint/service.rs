//! One service of a compose file.

use serde_json::Value;

use super::{Findings, Severity};
use crate::compose::places::{below, cut, short};
use crate::compose::visible;

/// What a container shares with the machine when it says `host`.
const SHARED: [&str; 7] =
    ["network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup", "cgroupns_mode"];
/// Sockets of what runs containers, and so of everything.
const SOCKETS: [&str; 4] = ["docker.sock", "containerd.sock", "dstack.sock", "tappd.sock"];

pub(super) fn lint(found: &mut Findings, place: &str, service: &Value, before: Option<&Value>) {
    image(found, place, service);
    power(found, place, service);
    mounts(found, place, service);
    ports(found, place, service, before);
    for key in ["extends", "env_file"] {
        if service.get(key).is_some_and(|value| !value.is_null()) {
            let text = format!("`{key}` brings in what stands outside of this document");
            found.add("outside", Severity::Warning, &below(place, key), text);
        }
    }
}

fn image(found: &mut Findings, place: &str, service: &Value) {
    if service.get("build").is_some() {
        let text = "it is built on the machine: what runs is not in this document";
        found.add("build", Severity::Warning, &below(place, "build"), text);
    }
    let Some(image) = service.get("image") else { return };
    let place = below(place, "image");
    match image.as_str() {
        Some(image) if is_pinned(image) => {}
        Some(image) => {
            let image = cut(&visible(image, false));
            let text = format!(
                "image {image} is not pinned by its digest: whoever controls the registry decides \
                 what runs"
            );
            found.add("unpinned-image", Severity::Warning, &place, text);
        }
        None => found.add("unpinned-image", Severity::Warning, &place, "image is not a text"),
    }
}

/// A digest written out. One that is a variable is decided by whoever sets it.
fn is_pinned(image: &str) -> bool {
    let Some((name, digest)) = image.split_once("@sha256:") else { return false };
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest && !name.contains('$')
}

fn power(found: &mut Findings, place: &str, service: &Value) {
    let is_on = |value: &Value| !matches!(value, Value::Bool(false) | Value::Null);
    if service.get("privileged").is_some_and(is_on) {
        let text = "privileged: the container can do everything the machine can";
        found.add("privileged", Severity::Danger, &below(place, "privileged"), text);
    }
    for (key, rule, what) in [
        ("cap_add", "capabilities", "more rights than a container has by itself"),
        ("devices", "devices", "devices of the machine"),
        ("security_opt", "security-options", "other limits than a container has by itself"),
    ] {
        if let Some(value) = service.get(key).filter(|value| !is_empty(value)) {
            let text = format!("{what}: {}", short(value));
            found.add(rule, Severity::Danger, &below(place, key), text);
        }
    }
    for key in SHARED {
        if service.get(key).and_then(Value::as_str) == Some("host") {
            let text = format!("{key} is that of the machine: nothing separates the container");
            found.add("host", Severity::Danger, &below(place, key), text);
        }
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn mounts(found: &mut Findings, place: &str, service: &Value) {
    let list = service.get("volumes").and_then(Value::as_array);
    let place = below(place, "volumes");
    for (at, volume) in list.into_iter().flatten().enumerate() {
        let Some(source) = host_path(volume) else { continue };
        let place = below(&place, &at.to_string());
        let shown = cut(&visible(source, false));
        if SOCKETS.iter().any(|socket| source.ends_with(socket)) {
            let text = if source.ends_with("docker.sock") || source.ends_with("containerd.sock") {
                format!("{shown} gives the container control over all others")
            } else {
                format!("{shown} lets the container ask for keys and attestations of the app")
            };
            let severity = if text.ends_with("others") { Severity::Danger } else { Severity::Note };
            found.add("socket", severity, &place, text);
        } else {
            let text = format!("{shown} of the machine is inside the container");
            found.add("host-mount", Severity::Danger, &place, text);
        }
    }
}

/// The path of the machine that a volume mounts; none for a volume with a name.
fn host_path(volume: &Value) -> Option<&str> {
    let source = match volume {
        Value::String(text) => text.split_once(':').map_or("", |(source, _)| source),
        Value::Object(fields) => {
            let source = fields.get("source").or_else(|| fields.get("src"))?.as_str()?;
            if fields.get("type").and_then(Value::as_str) == Some("bind") {
                return Some(source);
            }
            source
        }
        _ => return None,
    };
    source.starts_with(['/', '.', '~', '$']).then_some(source)
}

fn ports(found: &mut Findings, place: &str, service: &Value, before: Option<&Value>) {
    let list = |service: &Value| match service.get("ports") {
        Some(Value::Array(ports)) => ports.clone(),
        _ => vec![],
    };
    let known = before.map(list).unwrap_or_default();
    let new: Vec<Value> = list(service).into_iter().filter(|port| !known.contains(port)).collect();
    if new.is_empty() {
        return;
    }
    let (severity, what) = match before {
        Some(_) => (Severity::Warning, "new ports are open"),
        None => (Severity::Note, "ports are open"),
    };
    let told: Vec<String> = new.iter().take(20).map(short).collect();
    found.add("ports", severity, &below(place, "ports"), format!("{what}: {}", told.join(", ")));
}
