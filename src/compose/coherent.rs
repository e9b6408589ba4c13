//! Whether a document says one thing about what runs. One that does not would be read in one way by
//! a reviewer and in another by the machine.

use serde_json::{Map, Value};

use super::{ComposeError, MAX_SCRIPT_BYTES};

/// How a document contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    #[error("the runner is bash, and there is no bash_script")]
    NoScript,
    #[error("the runner is for a compose file, and there is no docker_compose_file")]
    NoComposeFile,
    #[error("{0} is not a text")]
    NotText(&'static str),
    #[error("{0} is neither true nor false")]
    NotFlag(&'static str),
    #[error("{0} is not a list of texts")]
    NotTexts(&'static str),
}

/// What runs.
pub(super) const SCRIPTS: [&str; 3] = ["docker_compose_file", "pre_launch_script", "bash_script"];
const FLAGS: [&str; 9] = [
    "kms_enabled",
    "gateway_enabled",
    "tproxy_enabled",
    "local_key_provider_enabled",
    "no_instance_id",
    "public_logs",
    "public_sysinfo",
    "public_tcbinfo",
    "secure_time",
];
const TEXTS: [&str; 2] = ["allowed_envs", "features"];

/// Null counts as absent, as everywhere in these documents.
pub(super) fn check(members: &Map<String, Value>) -> Result<(), ComposeError> {
    let wrong = |contradiction| Err(ComposeError::Contradiction(contradiction));
    let value = |key: &str| members.get(key).filter(|value| !value.is_null());
    let mut bytes = 0;
    for key in SCRIPTS {
        match value(key) {
            None => {}
            Some(Value::String(text)) => bytes += text.len(),
            Some(_) => return wrong(Contradiction::NotText(key)),
        }
    }
    if bytes > MAX_SCRIPT_BYTES {
        return Err(ComposeError::ScriptsTooLarge(bytes));
    }
    if let Some(key) = FLAGS.into_iter().find(|key| value(key).is_some_and(|it| !it.is_boolean())) {
        return wrong(Contradiction::NotFlag(key));
    }
    let are_texts =
        |value: &Value| value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
    if let Some(key) = TEXTS.into_iter().find(|key| value(key).is_some_and(|it| !are_texts(it))) {
        return wrong(Contradiction::NotTexts(key));
    }
    match value("runner") {
        None => Ok(()),
        Some(Value::String(runner)) => match runner.as_str() {
            "bash" if value("bash_script").is_none() => wrong(Contradiction::NoScript),
            "docker-compose" | "nerdctl-compose" if value("docker_compose_file").is_none() => {
                wrong(Contradiction::NoComposeFile)
            }
            _ => Ok(()),
        },
        Some(_) => wrong(Contradiction::NotText("runner")),
    }
}
