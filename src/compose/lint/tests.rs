use serde_json::json;

use super::*;

const DIGEST: &str = "4bf6f9d7cb3b3a9f0b6a1e5c8f3a2d1e0f9e8d7c6b5a49382716f5e4d3c2b1a0";

fn compose(document: &Value) -> Compose {
    Compose::parse(document.to_string().as_bytes()).unwrap()
}

/// A document with one service, which is pinned unless said otherwise.
fn service(yaml: &str) -> Value {
    let image = format!("image: nginx@sha256:{DIGEST}");
    let lines = yaml.lines().map(|line| format!("    {line}\n")).collect::<Vec<_>>().concat();
    let image = if yaml.contains("image:") { String::new() } else { format!("    {image}\n") };
    json!({ "docker_compose_file": format!("services:\n  web:\n{image}{lines}") })
}

fn told(document: &Value, previous: Option<&Value>) -> Vec<(&'static str, Severity, String)> {
    let previous = previous.map(compose);
    let found = lint(&compose(document), previous.as_ref());
    found.into_iter().map(|one| (one.rule, one.severity, one.place)).collect()
}

#[test]
fn each_thing_in_a_service_has_its_reason() {
    use Severity::{Danger, Note, Warning};
    let web = "/docker_compose_file/services/web";
    for (yaml, rule, severity, place) in [
        ("image: nginx", "unpinned-image", Warning, "/image"),
        ("image: nginx:1.27", "unpinned-image", Warning, "/image"),
        ("image: ${IMAGE}", "unpinned-image", Warning, "/image"),
        ("image: nginx@sha256:${DIGEST}", "unpinned-image", Warning, "/image"),
        ("image: nginx@sha256:abcd", "unpinned-image", Warning, "/image"),
        ("image: 7", "unpinned-image", Warning, "/image"),
        ("build: .", "build", Warning, "/build"),
        ("privileged: true", "privileged", Danger, "/privileged"),
        ("privileged: ${P}", "privileged", Danger, "/privileged"),
        ("cap_add: [SYS_ADMIN]", "capabilities", Danger, "/cap_add"),
        ("devices: ['/dev/kvm']", "devices", Danger, "/devices"),
        ("network_mode: host", "host", Danger, "/network_mode"),
        ("pid: host", "host", Danger, "/pid"),
        ("volumes: ['/var/run/docker.sock:/s']", "socket", Danger, "/volumes/0"),
        ("volumes: ['/var/run/dstack.sock:/s']", "socket", Note, "/volumes/0"),
        ("volumes: ['/etc:/etc:ro']", "host-mount", Danger, "/volumes/0"),
        ("volumes: [a:/a, './b:/b']", "host-mount", Danger, "/volumes/1"),
        ("volumes: [{type: bind, source: x, target: /x}]", "host-mount", Danger, "/volumes/0"),
        ("volumes: ['${DIR}:/x']", "host-mount", Danger, "/volumes/0"),
        ("ports: ['80:80']", "ports", Note, "/ports"),
        ("env_file: .env", "outside", Warning, "/env_file"),
    ] {
        let found = told(&service(yaml), None);
        assert_eq!(found, [(rule, severity, format!("{web}{place}"))], "{yaml}");
    }
    for calm in ["restart: always", "volumes: [data:/data]", "privileged: false", "cap_add: []"] {
        assert_eq!(told(&service(calm), None), [], "{calm}");
    }
}

#[test]
fn what_cannot_be_read_is_no_reason_to_be_calm() {
    for (file, rule) in [
        ("services: [", "unreadable-yaml"),
        ("services:\n  web: &a [*a]\n", "unreadable-yaml"),
        ("a: 1\na: 2\n", "unreadable-yaml"),
        ("version: 3\n", "no-services"),
        ("", "no-services"),
    ] {
        let found = told(&json!({ "docker_compose_file": file }), None);
        assert_eq!(found.first().map(|one| one.0), Some(rule), "{file}");
    }
}

#[test]
fn only_what_is_new_is_told_beside_what_ran_before() {
    use Severity::{Danger, Note, Warning};
    let full = json!({ "allowed_envs": ["A"], "public_logs": true, "pre_launch_script": "echo",
        "kms_enabled": true, "docker_compose_file": service("ports: [80]")["docker_compose_file"] });
    assert_eq!(told(&full, Some(&full)), []);
    let with = |key: &str, value: Value| {
        let mut changed = full.clone();
        changed[key] = value;
        changed
    };
    let ports = service("ports: [80, 22]")["docker_compose_file"].clone();
    for (changed, rule, severity, place) in [
        (with("allowed_envs", json!(["A", "B"])), "new-env", Warning, "/allowed_envs"),
        (with("public_sysinfo", json!(true)), "flag", Warning, "/public_sysinfo"),
        (with("public_tcbinfo", json!(true)), "flag", Note, "/public_tcbinfo"),
        (with("kms_enabled", json!(false)), "flag", Danger, "/kms_enabled"),
        (with("kms_enabled", json!(null)), "flag", Danger, "/kms_enabled"),
        (with("no_instance_id", json!(true)), "flag", Warning, "/no_instance_id"),
        (
            with("local_key_provider_enabled", json!(true)),
            "flag",
            Danger,
            "/local_key_provider_enabled",
        ),
        (with("key_provider", json!("none")), "key-provider", Danger, "/key_provider"),
        (with("pre_launch_script", json!("rm")), "script-changed", Danger, "/pre_launch_script"),
        (with("pre_launch_script", json!("")), "script-gone", Warning, "/pre_launch_script"),
        (
            with("docker_compose_file", ports),
            "ports",
            Warning,
            "/docker_compose_file/services/web/ports",
        ),
    ] {
        assert_eq!(told(&changed, Some(&full)), [(rule, severity, place.to_owned())]);
    }
    let found = told(&full, Some(&service("ports: [80]")));
    let rules: Vec<_> = found.iter().map(|one| one.0).collect();
    assert_eq!(rules, ["script-new", "new-env", "flag"]);
}

#[test]
fn hostile_names_are_shown_and_many_findings_are_counted() {
    let services: Vec<_> = (0..500).map(|at| format!("  s{at}: {{ image: x }}\n")).collect();
    let services = services.concat();
    let found =
        lint(&compose(&json!({ "docker_compose_file": format!("services:\n{services}") })), None);
    assert_eq!(found.len(), FINDINGS_MAX + 1);
    assert_eq!(found.last().unwrap().text, "400 more findings are not listed");
    let sly = json!({ "allowed_envs": ["A\u{202e}"],
        "docker_compose_file": "services:\n  \"w\\u202e\": { image: \"x\\u202e\" }\n" });
    let shown = serde_json::to_string(&lint(&compose(&sly), None)).unwrap();
    assert!(!shown.contains('\u{202e}') && shown.contains(r"\\u{202e}"), "{shown}");
}
