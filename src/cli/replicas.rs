//! `countersign replicas`: the instances of an app, by node, as Phala Cloud lists them.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{
    Globals,
    cells::text,
    client::Client,
    page::{Cell, Page, Tone},
    prepare::{CloudArgs, advised},
    print::{Answer, Ending, spinner},
};
use crate::{
    clock::Time,
    phala::{Instance, PhalaCloud},
    request::ids::{AppId, SourceCvm},
};

/// Requests asked for at once.
const PAGE: &str = "200";
/// More pages than any app has.
const PAGES_MAX: usize = 50;

/// Show the instances of an app by node: status, compose hash, device, and the request that each of
/// them was made for.
///
/// Phala Cloud is asked, with your key. Exit code 3 when an instance does not run, or when they do
/// not all run the same.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  PHALA_CLOUD_API_KEY=… countersign replicas my-cvm
  countersign replicas 0x1111111111111111111111111111111111111111 --json")]
pub struct ReplicasArgs {
    /// The app, or one of its CVMs: an address, an id or a name.
    #[arg(value_name = "APP|CVM")]
    app: SourceCvm,
    #[command(flatten)]
    cloud: CloudArgs,
}

pub async fn run(args: &ReplicasArgs, globals: &Globals) -> Result<Answer> {
    let cloud = args.cloud.client()?;
    if !args.cloud.has_key() {
        bail!("no API key of the Phala Cloud workspace: give it as PHALA_CLOUD_API_KEY");
    }
    let spinner = spinner("Phala Cloud lists the instances");
    let listed = async {
        let app = app_of(&cloud, &args.app).await?;
        let listed = cloud.instances(app).await;
        Ok::<_, anyhow::Error>((app, listed.map_err(|error| advised(error, NOT_LISTED))?))
    };
    let listed = listed.await;
    spinner.finish_and_clear();
    let (app, instances) = listed?;
    // Without the service everything else is still told.
    let requests = match Client::new(&globals.service) {
        Ok(client) => requests_of(&client, app).await,
        Err(error) => Err(format!("{error:#}")),
    };
    let (made_for, note) = match requests {
        Ok(requests) => (made_for(&requests), None),
        Err(note) => (BTreeMap::new(), Some(note)),
    };
    let answer = view(app, &instances, &made_for);
    Ok(note.into_iter().fold(answer, Answer::note))
}

const NOT_LISTED: &str = "cannot list the instances";

/// The app that is named, or the one of the CVM that is.
pub async fn app_of(cloud: &PhalaCloud, named: &SourceCvm) -> Result<AppId> {
    let text = named.as_str();
    let bare = text.strip_prefix("app_").unwrap_or(text);
    if let Ok(app) = bare.parse::<AppId>() {
        return Ok(app);
    }
    let cvm = cloud.cvm(named).await.map_err(|error| advised(error, "cannot read the CVM"))?;
    Ok(cvm.app)
}

/// Every request of an app, or why they are not known.
pub async fn requests_of(client: &Client, app: AppId) -> Result<Vec<Value>, String> {
    let (mut all, mut cursor) = (vec![], None);
    for _ in 0..PAGES_MAX {
        let mut query = vec![("app", app.to_string()), ("limit", PAGE.to_owned())];
        query.extend(cursor.map(|cursor: String| ("cursor", cursor)));
        let page = client.get(&["v1", "requests"], &query).await;
        let page =
            page.map_err(|error| format!("which request made them is not known: {error}"))?;
        all.extend(page["requests"].as_array().into_iter().flatten().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(all),
        }
    }
    Err("which request made them is not known: the service does not come to an end".into())
}

/// The request of each replica.
fn made_for(requests: &[Value]) -> BTreeMap<String, String> {
    let replica = |request: &Value| {
        Some((request.pointer("/replica/id")?.as_str()?.to_owned(), text(request, "/id")))
    };
    requests.iter().filter_map(replica).collect()
}

fn view(app: AppId, instances: &[Instance], made_for: &BTreeMap<String, String>) -> Answer {
    let mut sorted: Vec<&Instance> = instances.iter().collect();
    sorted.sort_by_key(|one| (node(one), one.created_at, one.id.clone()));
    let row = |one: &&Instance| -> Vec<Cell> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let made_for = made_for.get(one.id.as_str()).cloned();
        vec![
            node(one).into(),
            one.id.to_string().into(),
            status(one),
            Cell::hash(or_dash(one.compose_hash.map(|hash| hash.to_string()))),
            Cell::hash(or_dash(one.device_id.map(|device| device.to_string()))),
            or_dash(one.created_at.map(day)).into(),
            or_dash(made_for).into(),
        ]
    };
    let heads = vec!["node", "instance", "status", "compose hash", "device", "created", "request"];
    let first_to_go = &["created", "device", "request", "compose hash"];
    let mut page = Page::default().title(format!("Instances of app {app}"));
    page = if sorted.is_empty() {
        page.line("none")
    } else {
        page.wide_table(heads, sorted.iter().map(row).collect(), first_to_go)
    };
    let hashes: std::collections::BTreeSet<_> =
        instances.iter().map(|one| one.compose_hash).collect();
    if hashes.len() > 1 {
        let told = format!("they do not all run the same: {} compose hashes", hashes.len());
        page = page.line(Cell::toned(told, Tone::Waiting));
    }
    let attention = hashes.len() > 1 || instances.iter().any(|one| one.status != "running");
    let instances = sorted.iter().map(|one| json_of(one, made_for)).collect::<Vec<_>>();
    let json = json!({ "app": app, "instances": instances });
    Answer::new(page, json).ending(Ending::attention_if(attention))
}

fn json_of(one: &Instance, made_for: &BTreeMap<String, String>) -> Value {
    json!({
        "id": one.id, "name": one.name, "status": one.status, "node_id": one.node_id,
        "node": one.node_name, "compose_hash": one.compose_hash, "device_id": one.device_id,
        "created_at": one.created_at, "boot_error": one.boot_error,
        "request": made_for.get(one.id.as_str()),
    })
}

/// A node by name and id.
pub fn node(one: &Instance) -> String {
    match (&one.node_name, &one.node_id) {
        (Some(name), Some(id)) => format!("{name} ({id})"),
        (Some(name), None) => name.clone(),
        (None, Some(id)) => id.to_string(),
        (None, None) => "-".into(),
    }
}

pub fn day(at: Time) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

fn status(one: &Instance) -> Cell {
    match (&one.boot_error, one.status.as_str()) {
        (Some(error), status) => Cell::toned(format!("{status}: {error}"), Tone::Bad),
        (None, "running") => Cell::toned("running", Tone::Good),
        (None, "") => "-".into(),
        (None, status) => Cell::toned(status, Tone::Waiting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_named_after_the_requests_that_made_them() {
        let requests = [
            json!({ "id": "r1", "replica": { "id": "a" } }),
            json!({ "id": "r2", "replica": null }),
        ];
        let known = made_for(&requests);
        assert_eq!(known.get("a").map(String::as_str), Some("r1"));
        assert_eq!(known.len(), 1);
    }
}
