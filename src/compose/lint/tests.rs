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

/// What is told of one service, and of services that are calm.
fn assert_told(told_of: &[(&str, &str, Severity, &str)], calm: &[&str]) {
    for (yaml, rule, severity, place) in told_of {
        let found = told(&service(yaml), None);
        let place = format!("/docker_compose_file/services/web{place}");
        assert_eq!(found, [(*rule, *severity, place)], "{yaml}");
    }
    for yaml in calm {
        assert_eq!(told(&service(yaml), None), [], "{yaml}");
    }
}

#[test]
fn each_thing_in_a_service_has_its_reason() {
    use Severity::{Danger, Note, Warning};
    let told_of = [
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
        ("ports: ['80:80']", "ports", Note, "/ports"),
        ("env_file: .env", "outside", Warning, "/env_file"),
        ("label_file: labels", "outside", Warning, "/label_file"),
        ("use_api_socket: true", "socket", Danger, "/use_api_socket"),
        ("use_api_socket: '${S}'", "socket", Danger, "/use_api_socket"),
        ("runtime: sysbox", "runtime", Warning, "/runtime"),
        ("gpus: all", "devices", Warning, "/gpus"),
        (
            "deploy: {resources: {reservations: {devices: [{driver: nvidia}]}}}",
            "devices",
            Warning,
            "/deploy/resources/reservations/devices",
        ),
        ("device_cgroup_rules: ['c 1:3 mr']", "devices", Danger, "/device_cgroup_rules"),
        ("volumes_from: [other]", "shared", Warning, "/volumes_from"),
        ("network_mode: 'container:x'", "shared", Warning, "/network_mode"),
        ("network_mode: 'service:db'", "shared", Warning, "/network_mode"),
        ("network_mode: '${MODE}'", "host", Danger, "/network_mode"),
        ("network_mode: ' HOST'", "host", Danger, "/network_mode"),
        ("network_mode: other", "unknown", Warning, "/network_mode"),
        ("pid: 'container:x'", "shared", Warning, "/pid"),
        ("pid: [host]", "unknown", Warning, "/pid"),
        ("ipc: '${IPC}'", "host", Danger, "/ipc"),
        ("cgroup_parent: x", "security-options", Warning, "/cgroup_parent"),
        ("sysctls: {kernel.shmmax: 1}", "security-options", Warning, "/sysctls"),
        (
            "post_start: [{command: a}, {command: b, privileged: true}]",
            "privileged",
            Danger,
            "/post_start/1/privileged",
        ),
        (
            "pre_stop: [{command: a, privileged: '${P}'}]",
            "privileged",
            Danger,
            "/pre_stop/0/privileged",
        ),
        ("logging: {driver: syslog}", "logs", Warning, "/logging/driver"),
        ("logging: {driver: '${L}'}", "logs", Warning, "/logging/driver"),
        ("image: null", "no-image", Warning, ""),
        ("image: null\nprovider: {type: x}", "provider", Danger, "/provider"),
        ("build: .\nimage: null", "build", Warning, "/build"),
        ("Privileged: true", "unknown", Warning, "/Privileged"),
        ("' privileged': true", "unknown", Warning, "/ privileged"),
        ("annotations: {a: b}", "unknown", Warning, "/annotations"),
        ("new_power: true", "unknown", Warning, "/new_power"),
    ];
    let calm = [
        "restart: always",
        "privileged: false",
        "cap_add: []",
        "network_mode: bridge",
        "network_mode: none",
        "ipc: shareable",
        "cgroup: private",
        "runtime: runc",
        "security_opt: ['no-new-privileges:true']",
        "post_start: [{command: a, privileged: false}]",
        "deploy: {replicas: 2}",
        "logging: {driver: json-file, options: {max-size: 10m}}",
        "environment: ['A=${A}']",
        "x-mine: {privileged: true}",
    ];
    assert_told(&told_of, &calm);
    let found = told(&json!({ "docker_compose_file": "services: {a: null, b: [x]}\n" }), None);
    assert_eq!(found.iter().map(|one| one.0).collect::<Vec<_>>(), ["unknown", "unknown"]);
}

#[test]
fn what_only_some_readers_take_for_the_end_of_a_line_is_told() {
    let image = format!("image: i@sha256:{}", "a".repeat(64));
    for end in ['\u{85}', '\u{2028}', '\u{2029}'] {
        let file =
            format!("services:\n  a:\n    {image}\n    tty: true #c{end}    privileged: true\n");
        let found = told(&json!({ "docker_compose_file": file }), None);
        let place = "/docker_compose_file".to_owned();
        assert_eq!(found, [("line-ends", Severity::Danger, place)], "{end:?}");
    }
}

#[test]
fn each_mount_of_a_service_has_its_reason() {
    use Severity::{Danger, Note, Warning};
    let told_of = [
        ("volumes: ['/var/run/docker.sock:/s']", "socket", Danger, "/volumes/0"),
        ("volumes: ['/var/run/dstack.sock:/s']", "socket", Note, "/volumes/0"),
        ("volumes: ['/etc:/etc:ro']", "host-mount", Danger, "/volumes/0"),
        ("volumes: [a:/a, './b:/b']", "host-mount", Danger, "/volumes/1"),
        ("volumes: [{type: bind, source: x, target: /x}]", "host-mount", Danger, "/volumes/0"),
        ("volumes: ['${DIR}:/x']", "host-mount", Danger, "/volumes/0"),
        ("volumes: ['/run/podman.sock:/s']", "socket", Danger, "/volumes/0"),
        ("volumes: ['/x/dstack.sock:/s']", "host-mount", Danger, "/volumes/0"),
        ("volumes: [' /:/host']", "host-mount", Danger, "/volumes/0"),
        ("volumes: ['${MOUNT}']", "host-mount", Danger, "/volumes/0"),
        ("volumes: ['a${MOUNT}']", "host-mount", Danger, "/volumes/0"),
        ("volumes: ['${A:-/etc}:/x']", "host-mount", Danger, "/volumes/0"),
        ("volumes: [{source: /x, target: /x}]", "host-mount", Danger, "/volumes/0"),
        ("volumes: [{type: ' bind', source: x, target: /x}]", "host-mount", Danger, "/volumes/0"),
        ("volumes: [{type: '${T}', source: x, target: /x}]", "host-mount", Danger, "/volumes/0"),
        (
            "volumes: [{type: volume, source: '${S}', target: /x}]",
            "host-mount",
            Danger,
            "/volumes/0",
        ),
        ("volumes: [{type: volume, source: {}, target: /x}]", "host-mount", Danger, "/volumes/0"),
        ("volumes: [{type: npipe, source: x, target: /x}]", "unknown", Warning, "/volumes/0"),
        ("volumes: [[a]]", "unknown", Warning, "/volumes/0"),
        ("volumes: {a: {type: bind, source: /}}", "unknown", Danger, "/volumes"),
        ("volumes: '/:/x'", "unknown", Danger, "/volumes"),
    ];
    let calm = [
        "volumes: [data:/data]",
        "volumes: [/data]",
        "volumes: ['data:/x/${SUB}']",
        "volumes: [{type: volume, source: data, target: /x}, {type: tmpfs, target: /y}]",
    ];
    assert_told(&told_of, &calm);
}

#[test]
fn what_services_share_is_looked_at_as_they_are() {
    use Severity::{Danger, Warning};
    for (yaml, rule, severity, place) in [
        (
            "volumes: {d: {driver_opts: {type: none, o: bind, device: /}}}",
            "host-mount",
            Danger,
            "volumes/d/driver_opts/device",
        ),
        (
            "volumes: {d: {driver_opts: {type: none, o: 'rw,rbind', device: x}}}",
            "host-mount",
            Danger,
            "volumes/d/driver_opts/device",
        ),
        (
            "volumes: {d: {driver_opts: {device: ' /etc'}}}",
            "host-mount",
            Danger,
            "volumes/d/driver_opts/device",
        ),
        (
            "volumes: {d: {driver_opts: {type: tmpfs, device: '${D}'}}}",
            "host-mount",
            Danger,
            "volumes/d/driver_opts/device",
        ),
        ("volumes: {d: {driver_opts: {o: '${O}'}}}", "host-mount", Danger, "volumes/d/driver_opts"),
        (
            "volumes: {d: {driver_opts: {type: overlay, o: 'lowerdir=/', device: overlay}}}",
            "host-mount",
            Danger,
            "volumes/d/driver_opts/device",
        ),
        (
            "volumes: {d: {driver_opts: {type: nfs, o: addr=x, device: ':/x'}}}",
            "unknown",
            Warning,
            "volumes/d/driver_opts",
        ),
        ("volumes: {d: {driver: other}}", "unknown", Warning, "volumes/d/driver"),
        ("volumes: {d: {external: true}}", "outside", Warning, "volumes/d/external"),
        ("volumes: {d: {more: 1}}", "unknown", Warning, "volumes/d/more"),
        ("volumes: {d: x}", "unknown", Warning, "volumes/d"),
        ("volumes: [d]", "unknown", Warning, "volumes"),
        ("configs: {c: {file: /etc/shadow}}", "host-mount", Danger, "configs/c/file"),
        ("configs: {c: {file: ./x}}", "host-mount", Danger, "configs/c/file"),
        ("secrets: {c: {file: '${F}'}}", "host-mount", Danger, "secrets/c/file"),
        ("secrets: {c: {file: /var/run/docker.sock}}", "socket", Danger, "secrets/c/file"),
        ("secrets: {c: {external: true}}", "outside", Warning, "secrets/c/external"),
        ("secrets: {c: {driver: x}}", "unknown", Warning, "secrets/c/driver"),
        ("networks: {n: {driver: host}}", "host", Danger, "networks/n/driver"),
        ("networks: {n: {name: ' host'}}", "host", Danger, "networks/n/name"),
        ("networks: {n: {name: $N}}", "host", Danger, "networks/n/name"),
        ("networks: {n: {driver: '${N}'}}", "host", Danger, "networks/n/driver"),
        ("volumes: {d: {name: /}}", "host-mount", Danger, "volumes/d/name"),
        ("volumes: {d: {name: $V}}", "host-mount", Danger, "volumes/d/name"),
        ("x-a: &a {driver: host}\nnetworks: {n: {! <<: *a}}", "merge", Danger, "networks/n/<<"),
        ("networks: {n: {driver: macvlan}}", "unknown", Warning, "networks/n/driver"),
        ("include: [a.yml]", "outside", Warning, "include"),
        ("models: {m: {model: x}}", "unknown", Warning, "models"),
    ] {
        let mut document = service("restart: always");
        let file = document["docker_compose_file"].as_str().unwrap();
        document["docker_compose_file"] = format!("{file}{yaml}\n").into();
        let place = format!("/docker_compose_file/{place}");
        assert_eq!(told(&document, None), [(rule, severity, place)], "{yaml}");
    }
    for calm in [
        "version: '3'\nname: a",
        "volumes: {d: , e: {name: x}, f: {driver: local, driver_opts: {type: tmpfs, device: tmpfs}}}",
        "configs: {c: {content: a}}\nsecrets: {s: {environment: S}}",
        "networks: {n: , m: {driver: bridge, internal: true}}",
        "x-log: {file: /}",
    ] {
        let mut document = service("restart: always");
        let file = document["docker_compose_file"].as_str().unwrap();
        document["docker_compose_file"] = format!("{file}{calm}\n").into();
        assert_eq!(told(&document, None), [], "{calm}");
    }
}

#[test]
fn what_stands_beside_the_compose_file_is_looked_at() {
    use Severity::{Danger, Note, Warning};
    for (document, rule, severity, place) in [
        (json!({ "key_provider": "tpm" }), "key-provider", Danger, "/key_provider"),
        (json!({ "key_provider": "none" }), "key-provider", Danger, "/key_provider"),
        (json!({ "key_provider": "KMS" }), "key-provider", Danger, "/key_provider"),
        (json!({ "key_provider": 1 }), "key-provider", Danger, "/key_provider"),
        (json!({ "runner": "podman" }), "runner", Danger, "/runner"),
        (json!({ "runner": "Bash" }), "runner", Danger, "/runner"),
        (json!({ "init_script": "rm" }), "script", Warning, "/init_script"),
        (json!({ "init_script": ["a", "b"] }), "script", Warning, "/init_script"),
        (json!({ "pre_launch_script": "rm" }), "script", Warning, "/pre_launch_script"),
        (json!({ "runner": "bash", "bash_script": "rm" }), "script", Note, "/bash_script"),
        (json!({ "docker_config": { "registry": "r" } }), "registry", Warning, "/docker_config"),
        (json!({ "requirements": {} }), "unknown", Warning, "/requirements"),
        (json!({ "Pre_launch_script": "rm" }), "unknown", Warning, "/Pre_launch_script"),
    ] {
        assert_eq!(told(&document, None), [(rule, severity, place.to_owned())], "{document}");
    }
    for calm in [
        json!({ "key_provider": "kms" }),
        json!({ "key_provider": null, "init_script": null, "pre_launch_script": "" }),
        json!({ "docker_config": {} }),
        json!({ "init_script": [], "manifest_version": 2, "name": "a", "features": [] }),
    ] {
        assert_eq!(told(&calm, None), [], "{calm}");
    }
    let tpm = json!({ "key_provider": "tpm" });
    let found = [("key-provider", Danger, "/key_provider".to_owned())];
    assert_eq!(told(&tpm, Some(&tpm)), found, "it is told as long as it is so");
    let (old, new) = (json!({ "init_script": "a" }), json!({ "init_script": "b" }));
    let found = [("script-changed", Danger, "/init_script".to_owned())];
    assert_eq!(told(&new, Some(&old)), found);
}

#[test]
fn what_cannot_be_read_is_no_reason_to_be_calm() {
    for (file, rule) in [
        ("services: [", "unreadable-yaml"),
        ("services:\n  web: &a [*a]\n", "unreadable-yaml"),
        ("a: 1\na: 2\n", "unreadable-yaml"),
        ("version: 3\n", "no-services"),
        ("services: {}", "no-services"),
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
