//! The compose file as a whole: what its services share.

use serde_json::{Map, Value};

use super::{
    AT_RUN_TIME, Compose, Findings, Severity, below, has_variable, is_on, mounts, service, shown,
};
use crate::compose::places::short;

const FILE: &str = "/docker_compose_file";
const KNOWN: [&str; 9] = [
    "configs", "extends", "include", "name", "networks", "secrets", "services", "version",
    "volumes",
];

pub(super) fn lint(found: &mut Findings, compose: &Compose, previous: Option<&Compose>) {
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
    if compose.text_of("docker_compose_file").is_some_and(has_doubtful_ends) {
        let text = "it holds characters that some readers take for the end of a line and others do \
                    not: what runs may be something else than what stands here";
        found.add("line-ends", Severity::Danger, FILE, text);
    }
    let services = file.get("services").and_then(Value::as_object);
    let Some(services) = services.filter(|services| !services.is_empty()) else {
        let text = "the compose file names no services: nothing in it was looked at";
        return found.add("no-services", Severity::Warning, FILE, text);
    };
    let before = previous.and_then(Compose::compose_file).and_then(Result::ok);
    let place = below(FILE, "services");
    for (name, service) in services {
        let known = before.as_ref().and_then(|file| file.get("services")?.get(name));
        service::lint(found, &below(&place, name), service, known);
    }
    found.outside(FILE, &file, &["include", "extends"]);
    if let Some(fields) = file.as_object() {
        found.unknown(FILE, fields, &KNOWN);
    }
    each(found, &file, "volumes", volume);
    each(found, &file, "networks", network);
    for key in ["configs", "secrets"] {
        each(found, &file, key, given);
    }
}

/// Ends of lines in YAML 1.1, which Docker's reader follows, and none in YAML 1.2: next line, line separator,
/// paragraph separator.
fn has_doubtful_ends(text: &str) -> bool {
    text.contains(['\u{85}', '\u{2028}', '\u{2029}'])
}

/// What is declared under a key, one by one. What says nothing is as it is by itself.
fn each(
    found: &mut Findings,
    file: &Value,
    key: &str,
    judge: fn(&mut Findings, &str, &Map<String, Value>),
) {
    let Some(all) = file.get(key).filter(|all| !all.is_null()) else { return };
    let place = below(FILE, key);
    let Some(all) = all.as_object() else {
        return found.add("unknown", Severity::Warning, &place, format!("`{key}` is no map"));
    };
    for (name, one) in all {
        let place = below(&place, name);
        match one {
            Value::Null => {}
            Value::Object(fields) => judge(found, &place, fields),
            _ => found.add("unknown", Severity::Warning, &place, "it does not read as fields"),
        }
        found.outside(&place, one, &["external"]);
    }
}

/// A volume with a name can be a directory of the machine all the same.
fn volume(found: &mut Findings, place: &str, fields: &Map<String, Value>) {
    found.unknown(place, fields, &["driver", "driver_opts", "external", "labels", "name"]);
    driver(found, place, fields, &["local"]);
    // A name that is a path is mounted as that path, where the volume is not made first.
    if let Some(path) = fields.get("name").and_then(Value::as_str).filter(|it| mounts::is_path(it))
    {
        mounts::host(found, &below(place, "name"), path);
    }
    let Some(options) = fields.get("driver_opts").filter(|options| is_on(options)) else { return };
    let place = below(place, "driver_opts");
    let option = |name: &str| options.get(name).map(|value| value.as_str().unwrap_or_default());
    let binds = option("o").is_some_and(|o| o.contains("bind") || mounts::names_path(o))
        || option("type").is_some_and(has_variable);
    if let Some(device) = option("device").filter(|device| binds || mounts::is_path(device)) {
        return mounts::host(found, &below(&place, "device"), device);
    }
    if binds || !options.is_object() {
        let text = format!("a directory of the machine may be this volume: {}", short(options));
        return found.add("host-mount", Severity::Danger, &place, text);
    }
    let is_memory = option("type") == Some("tmpfs");
    if !is_memory && options.as_object().is_some_and(|options| !options.is_empty()) {
        let text = "the volume is made in a way that this check does not know";
        found.add("unknown", Severity::Warning, &place, text);
    }
}

/// The network of the machine can be had under another name.
fn network(found: &mut Findings, place: &str, fields: &Map<String, Value>) {
    const KNOWN: [&str; 10] = [
        "attachable",
        "driver",
        "driver_opts",
        "enable_ipv4",
        "enable_ipv6",
        "external",
        "internal",
        "ipam",
        "labels",
        "name",
    ];
    found.unknown(place, fields, &KNOWN);
    let is_host = |key: &str| {
        let value = fields.get(key).and_then(Value::as_str).map(str::trim);
        value.is_some_and(|value| value.eq_ignore_ascii_case("host"))
    };
    if let Some(key) = ["name", "driver"].into_iter().find(|key| is_host(key)) {
        let text = "it is the network of the machine: nothing separates the containers on it";
        return found.add("host", Severity::Danger, &below(place, key), text);
    }
    if variable(found, place, fields, "name") || variable(found, place, fields, "driver") {
        return;
    }
    driver(found, place, fields, &["bridge", "default", "overlay"]);
}

fn driver(found: &mut Findings, place: &str, fields: &Map<String, Value>, known: &[&str]) {
    let driver = fields.get("driver").filter(|driver| !driver.is_null());
    if let Some(driver) = driver.filter(|it| !it.as_str().is_some_and(|it| known.contains(&it))) {
        let text = format!("the driver {} is not known to this check", short(driver));
        found.add("unknown", Severity::Warning, &below(place, "driver"), text);
    }
}

/// Tells of a value that may become the network of the machine; whether it may.
fn variable(found: &mut Findings, place: &str, fields: &Map<String, Value>, key: &str) -> bool {
    let value = fields.get(key).and_then(Value::as_str).filter(|value| has_variable(value));
    if let Some(value) = value {
        let text = format!("{key} {} {AT_RUN_TIME}", shown(value));
        found.add("host", Severity::Danger, &below(place, key), text);
    }
    value.is_some()
}

/// A config or a secret. One from a file is a mount of that file.
fn given(found: &mut Findings, place: &str, fields: &Map<String, Value>) {
    const KNOWN: [&str; 6] = ["content", "environment", "external", "file", "labels", "name"];
    found.unknown(place, fields, &KNOWN);
    if let Some(file) = fields.get("file").filter(|file| !file.is_null()) {
        mounts::host(found, &below(place, "file"), file.as_str().unwrap_or_default());
    }
}
