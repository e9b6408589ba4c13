//! One service of a compose file. Its keys are told unless they are known to give nothing away.

use serde_json::Value;

use super::{AT_RUN_TIME, Findings, Severity, below, has_variable, is_on, mounts, shown};
use crate::compose::places::short;

/// Keys that give a container nothing that it does not have by itself.
#[rustfmt::skip]
const HARMLESS: [&str; 59] = [
    "attach", "blkio_config", "cap_drop", "command", "configs", "container_name", "cpu_count",
    "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpus",
    "cpuset", "depends_on", "dns", "dns_opt", "dns_search", "domainname", "entrypoint", "environment",
    "expose", "external_links", "extra_hosts", "group_add", "healthcheck", "hostname", "init",
    "isolation", "labels", "links", "mac_address", "mem_limit", "mem_reservation",
    "mem_swappiness", "memswap_limit", "networks", "oom_kill_disable", "oom_score_adj", "pids_limit",
    "platform", "profiles", "pull_policy", "pull_refresh_after", "read_only", "restart", "scale",
    "secrets", "shm_size", "stdin_open", "stop_grace_period", "stop_signal", "storage_opt", "tmpfs",
    "tty", "ulimits", "user", "working_dir",
];
/// Keys that a rule below looks at.
#[rustfmt::skip]
const JUDGED: [&str; 30] = [
    "build", "cap_add", "cgroup", "cgroup_parent", "cgroupns_mode", "deploy", "device_cgroup_rules",
    "devices", "env_file", "extends", "gpus", "image", "ipc", "label_file", "logging", "network_mode", "pid",
    "ports", "post_start", "pre_stop", "privileged", "provider", "runtime", "security_opt", "sysctls",
    "use_api_socket", "userns_mode", "uts", "volumes", "volumes_from",
];

/// What a container can share with the machine, or with another container.
const SHARED: [&str; 7] =
    ["network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup", "cgroupns_mode"];
/// Ways to share nothing but what is shared anyway.
const APART: [&str; 6] = ["bridge", "default", "none", "private", "shareable", ""];

/// Where logs stay on the machine.
const LOGS: [&str; 4] = ["json-file", "local", "journald", "none"];

/// Keys that give power by being there: key, rule, severity, what they give.
const POWER: [(&str, &str, Severity, &str); 10] = [
    ("cap_add", "capabilities", Severity::Danger, "more rights than a container has by itself"),
    ("devices", "devices", Severity::Danger, "devices of the machine"),
    ("device_cgroup_rules", "devices", Severity::Danger, "devices of the machine"),
    ("gpus", "devices", Severity::Warning, "devices of the machine"),
    (
        "security_opt",
        "security-options",
        Severity::Danger,
        "other limits than a container has by itself",
    ),
    ("sysctls", "security-options", Severity::Warning, "settings of the kernel"),
    ("cgroup_parent", "security-options", Severity::Warning, "limits of something else"),
    ("runtime", "runtime", Severity::Warning, "another runtime than the usual one"),
    (
        "volumes_from",
        "shared",
        Severity::Warning,
        "everything that is mounted in another container",
    ),
    (
        "provider",
        "provider",
        Severity::Danger,
        "a program of the machine runs in the place of a container",
    ),
];

pub(super) fn lint(found: &mut Findings, place: &str, service: &Value, before: Option<&Value>) {
    let Some(fields) = service.as_object() else {
        let text = "it does not read as a service: nothing in it was looked at";
        return found.add("unknown", Severity::Warning, place, text);
    };
    found.unknown(place, fields, &[&HARMLESS[..], &JUDGED[..]].concat());
    image(found, place, service);
    power(found, place, service);
    shared(found, place, service);
    hooks(found, place, service);
    mounts::lint(found, place, service);
    ports(found, place, service, before);
    found.outside(place, service, &["extends", "env_file", "label_file"]);
}

fn image(found: &mut Findings, place: &str, service: &Value) {
    let is_built = service.get("build").is_some_and(is_on);
    if is_built {
        let text = "it is built on the machine: what runs is not in this document";
        found.add("build", Severity::Warning, &below(place, "build"), text);
    }
    let Some(image) = service.get("image").filter(|image| !image.is_null()) else {
        if !is_built && service.get("provider").is_none() {
            let text = "it names no image: what runs is not in this document";
            found.add("no-image", Severity::Warning, place, text);
        }
        return;
    };
    let place = below(place, "image");
    match image.as_str() {
        Some(image) if is_pinned(image) => {}
        Some(image) => {
            let text = format!(
                "image {} is not pinned by its digest: whoever controls the registry decides what \
                 runs",
                shown(image)
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
    if service.get("privileged").is_some_and(is_on) {
        let text = "privileged: the container can do everything the machine can";
        found.add("privileged", Severity::Danger, &below(place, "privileged"), text);
    }
    if service.get("use_api_socket").is_some_and(is_on) {
        let text = "use_api_socket gives the container control over all others";
        found.add("socket", Severity::Danger, &below(place, "use_api_socket"), text);
    }
    for (key, rule, severity, what) in POWER {
        let is_usual = |value: &Value| {
            is_empty(value) || (key == "runtime" && value == "runc") || is_stricter(value)
        };
        if let Some(value) = service.get(key).filter(|value| !is_usual(value)) {
            let text = format!("{what}: {}", short(value));
            found.add(rule, severity, &below(place, key), text);
        }
    }
    let driver = service.pointer("/logging/driver").filter(|driver| !driver.is_null());
    if let Some(driver) = driver.filter(|it| !it.as_str().is_some_and(|it| LOGS.contains(&it))) {
        let text = format!("logs go to {}, which may be elsewhere", short(driver));
        found.add("logs", Severity::Warning, &format!("{place}/logging/driver"), text);
    }
    let reserved = "/deploy/resources/reservations/devices";
    if let Some(devices) = service.pointer(reserved).filter(|devices| !is_empty(devices)) {
        let text = format!("devices of the machine: {}", short(devices));
        found.add("devices", Severity::Warning, &format!("{place}{reserved}"), text);
    }
}

/// Security options that only take something away.
fn is_stricter(value: &Value) -> bool {
    let stricter = ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"];
    let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
    !all.is_empty() && all.iter().all(|one| one.as_str().is_some_and(|one| stricter.contains(&one)))
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn shared(found: &mut Findings, place: &str, service: &Value) {
    for key in SHARED {
        let Some(value) = service.get(key).filter(|value| !value.is_null()) else { continue };
        let place = below(place, key);
        let name = value.as_str().map(|name| name.trim().to_lowercase());
        match name.as_deref() {
            Some("host") => {
                let text = format!("{key} is that of the machine: nothing separates the container");
                found.add("host", Severity::Danger, &place, text);
            }
            Some(name) if has_variable(name) => {
                let text = format!("{key} {} {AT_RUN_TIME}", short(value));
                found.add("host", Severity::Danger, &place, text);
            }
            Some(name) if APART.contains(&name) => {}
            Some(name) if name.starts_with("service:") || name.starts_with("container:") => {
                let text = format!("{key} is that of another container: {}", short(value));
                found.add("shared", Severity::Warning, &place, text);
            }
            _ => {
                let text = format!("{key} {} is not known to this check", short(value));
                found.add("unknown", Severity::Warning, &place, text);
            }
        }
    }
}

/// Commands that are run in the container beside its own.
fn hooks(found: &mut Findings, place: &str, service: &Value) {
    for key in ["post_start", "pre_stop"] {
        let hooks = service.get(key).and_then(Value::as_array);
        for (at, hook) in hooks.into_iter().flatten().enumerate() {
            if hook.get("privileged").is_some_and(is_on) {
                let place = below(&below(&below(place, key), &at.to_string()), "privileged");
                let text = format!("{key} is privileged: it can do everything the machine can");
                found.add("privileged", Severity::Danger, &place, text);
            }
        }
    }
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
