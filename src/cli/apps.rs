//! `countersign apps`: the apps that are watched.

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::{Globals, cells::text, client::Client, page::Page, print::Answer};
use crate::request::ids::{AppId, ChainId};

/// List the apps that are watched.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign apps
  countersign apps --json | jq -r '.[] | select(.is_whole | not) | .app'")]
pub struct AppsArgs {}

pub async fn run(globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let apps = client.get(&["v1", "apps"], &[]).await?;
    let list = apps.as_array().map(Vec::as_slice).unwrap_or_default();
    let page = if list.is_empty() {
        Page::default().line("no app yet: the first request for one starts the watch")
    } else {
        let row = |app: &Value| {
            let mut row =
                ["/chain_id", "/app", "/ledger_from"].map(|place| text(app, place)).to_vec();
            row.push(history(app));
            row.into_iter().map(Into::into).collect()
        };
        let heads = vec!["chain", "app", "events known from block", "history"];
        Page::default().table(heads, list.iter().map(row).collect())
    };
    Ok(Answer::new(page, apps))
}

/// How much of its history is known.
fn history(app: &Value) -> String {
    match app["progress"].as_f64() {
        _ if app["is_whole"] == Value::Bool(true) => "whole".into(),
        Some(1.0..) => "cut off".into(),
        Some(done) => format!("{:.0} % read", (done * 100.0).floor()),
        None => "not read yet".into(),
    }
}

/// The chain of a watched app.
pub async fn chain_of(client: &Client, app: AppId) -> Result<ChainId> {
    let apps = client.get(&["v1", "apps"], &[]).await?;
    let list = apps.as_array().map(Vec::as_slice).unwrap_or_default();
    let chains: Vec<ChainId> = list
        .iter()
        .filter(|one| text(one, "/app").parse() == Ok(app))
        .filter_map(|one| text(one, "/chain_id").parse().ok())
        .collect();
    match chains.as_slice() {
        [chain] => Ok(*chain),
        [] => None.context("the service watches no such app (`countersign apps` lists them)"),
        _ => bail!("this app is watched on several chains: give --chain"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_history_is_whole_cut_off_or_being_read() {
        for (whole, progress, expected) in [
            (true, json!(1.0), "whole"),
            (false, json!(1.0), "cut off"),
            (false, json!(0.999), "99 % read"),
            (false, json!(null), "not read yet"),
        ] {
            assert_eq!(history(&json!({ "is_whole": whole, "progress": progress })), expected);
        }
    }
}
