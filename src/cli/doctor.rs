//! `countersign doctor`: whether everything is there that a replica needs on its way.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{
    Globals,
    cells::text,
    client::Client,
    page::{Cell, Page, Tone},
    prepare::CloudArgs,
    print::{Answer, Ending, spinner},
};
use crate::flow::chain_of;

/// Check the service, the API token and, when a key is given, Phala Cloud.
///
/// Exit code 1 when something fails.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  COUNTERSIGN_URL=https://countersign.example COUNTERSIGN_TOKEN=… \\
    countersign doctor")]
pub struct DoctorArgs {
    #[command(flatten)]
    cloud: CloudArgs,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    /// None when there was nothing to check.
    ok: Option<bool>,
    detail: String,
}

impl Check {
    fn new(name: impl Into<String>, ok: Option<bool>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), ok, detail: detail.into() }
    }
}

pub async fn run(args: DoctorArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let spinner = spinner("looks around");
    let mut checks = service(&client).await;
    if checks[0].ok == Some(true) {
        checks.push(token(&client).await);
    }
    checks.push(cloud(&args.cloud).await);
    spinner.finish_and_clear();
    let ok = checks.iter().all(|check| check.ok != Some(false));
    let page =
        Page::default().table(vec!["what", "state", "details"], checks.iter().map(row).collect());
    let ending = if ok { Ending::Done } else { Ending::Failed };
    Ok(Answer::new(page, json!({ "ok": ok, "checks": checks })).ending(ending))
}

/// That the service answers, and what it says about what it depends on.
async fn service(client: &Client) -> Vec<Check> {
    let name = format!("service at {}", client.place());
    let readiness = match client.readiness().await {
        Ok(readiness) => readiness,
        Err(error) => {
            return vec![Check::new(name, Some(false), chain_of(&error))];
        }
    };
    let inner = readiness["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let inner = inner.iter().map(|check| {
        let name = format!("service: {}", text(check, "/name"));
        Check::new(name, Some(check["ok"] == true), text(check, "/detail"))
    });
    std::iter::once(Check::new(name, Some(true), "answers")).chain(inner).collect()
}

/// What the API token may do.
async fn token(client: &Client) -> Check {
    const NAME: &str = "API token";
    if !client.has_token() {
        let reads = client.get(&["v1", "requests"], &[("limit", "1".into())]).await;
        return match reads {
            Ok(_) => Check::new(NAME, None, "none given; this service lets everybody read"),
            Err(error) => Check::new(NAME, Some(false), format!("none given: {error}")),
        };
    }
    match client.may_write().await {
        Ok(()) => Check::new(NAME, Some(true), "may read and write"),
        Err(error) if error.status() == Some(403) => Check::new(NAME, Some(true), "may only read"),
        Err(error) => Check::new(NAME, Some(false), chain_of(&error)),
    }
}

async fn cloud(args: &CloudArgs) -> Check {
    const NAME: &str = "Phala Cloud, from here";
    if !args.has_key() {
        return Check::new(
            NAME,
            None,
            "no PHALA_CLOUD_API_KEY here; `prepare`, `scale` and `replicas` need one",
        );
    }
    let answer = match args.client() {
        Ok(cloud) => cloud.ping().await.map_err(anyhow::Error::new),
        Err(error) => Err(error),
    };
    match answer {
        Ok(()) => Check::new(NAME, Some(true), "answers, and accepts the key"),
        Err(error) => Check::new(NAME, Some(false), chain_of(error.as_ref())),
    }
}

fn row(check: &Check) -> Vec<Cell> {
    let state = match check.ok {
        Some(true) => Cell::toned("ok", Tone::Good),
        Some(false) => Cell::toned("FAILS", Tone::Bad),
        None => Cell::toned("-", Tone::Waiting),
    };
    vec![check.name.clone().into(), state, check.detail.clone().into()]
}
