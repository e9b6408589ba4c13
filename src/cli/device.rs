//! `countersign device`: what a device id means.

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::{
    Globals,
    cells::{text, time},
    client::Client,
    page::{Cell, Page, Tone},
    print::{Answer, Ending},
};
use crate::request::ids::DeviceId;

/// Tell what a device id means: which node has it, which ids that node had before and how that is known,
/// and who uses it.
///
/// Exit code 3 when something is odd about it.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  countersign device \\
    0x7a1e5c0f6b2d4e8f9a0b1c2d3e4f5061728394a5b6c7d8e9f0a1b2c3d4e5f607")]
pub struct DeviceArgs {
    /// The device id: 64 hexadecimal digits.
    #[arg(value_parser = device_id_of)]
    id: DeviceId,
}

/// Nodes are named by people, and are not what is asked about.
fn device_id_of(text: &str) -> Result<DeviceId, String> {
    text.parse().map_err(|error| {
        format!(
            "{error}. A node is not named here, by name or number: `countersign show ID` and \
             `countersign replicas APP` tell the device ids that are in use"
        )
    })
}

pub async fn run(args: &DeviceArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let told = client.get(&["v1", "devices", &args.id.to_string()], &[]).await?;
    let warnings = list(&told["warnings"]);
    let mut page = Page::default()
        .title(format!("Device {}", args.id))
        .line(text(&told, "/words"))
        .lines(warnings.iter().map(|one| Cell::toned(text(one, "/text"), Tone::Bad)).collect());
    for node in list(&told["nodes"]) {
        page = page.title(format!("Node {} {}", text(&node, "/node_id"), text(&node, "/name")));
        page = page.facts(vec![
            ("Region", text(&node, "/region").into()),
            ("KMS", names(&node["kms"]).into()),
            ("Last listed", time(&node, "/listed_at").into()),
        ]);
        let rows = list(&node["device_ids"]).iter().map(device_id).collect();
        let heads = vec!["device id", "listed", "first seen", "in", "last seen", "in"];
        page = page.table(heads, rows);
    }
    for (name, heads, places) in [
        ("Apps", ["chain", "app", "allowed"], ["/chain_id", "/app", "/is_allowed"]),
        ("Requests", ["id", "status", "replica"], ["/id", "/status", "/replica"]),
        ("Instances", ["instance", "app", "status"], ["/id", "/app", "/status"]),
    ] {
        let rows: Vec<Vec<Cell>> = list(&told[name.to_lowercase()])
            .iter()
            .map(|one| places.map(|place| text(one, place).into()).into())
            .collect();
        if !rows.is_empty() {
            page = page.title(name).table(heads.into(), rows);
        }
    }
    let ending = Ending::attention_if(!warnings.is_empty());
    Ok(Answer::new(page, told).ending(ending))
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn names(value: &Value) -> String {
    let all = list(value);
    let names: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
    names.join(", ")
}

fn device_id(one: &Value) -> Vec<Cell> {
    let listed = if one["is_listed"] == Value::Bool(true) {
        Cell::toned("now", Tone::Good)
    } else if one["gone_at"].is_string() {
        Cell::toned(format!("until {}", time(one, "/gone_at")), Tone::Bad)
    } else {
        Cell::toned("no", Tone::Waiting)
    };
    vec![
        Cell::hash(text(one, "/device_id")),
        listed,
        time(one, "/first_seen_at").into(),
        text(one, "/first_seen_in").into(),
        time(one, "/last_seen_at").into(),
        text(one, "/last_seen_in").into(),
    ]
}
