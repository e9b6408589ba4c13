//! `countersign audit`: what an app allows, since when, by which transaction, who decided it, for
//! which request, and what uses it; whether ledger and chain agree; and the whole history.

mod allowlist;
mod ledger;
mod wait;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{
    Globals, apps,
    client::Client,
    page::Page,
    print::{self, Answer, Ending, spinner},
};
use crate::{
    owner::ActedBy,
    request::ids::{AppId, ChainId},
};
use allowlist::Drift;

/// Rows asked for at once.
const PAGE_ROWS: u32 = 1_000;

/// Show what an app allows: since when, by which transaction, decided by whom, asked for by which
/// request, used by which replica.
///
/// Without `--at` the ledger is also compared with the chain. While the history of the app is still
/// being read, the command waits for it. Exit code 3 when ledger and chain disagree, when the chain
/// cannot be read, or when the history is not known back to the deployment.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign audit 0x1111111111111111111111111111111111111111
  countersign audit 0x1111111111111111111111111111111111111111 --at 38000000 \\
    --format csv > allowlist.csv
  countersign audit 0x1111111111111111111111111111111111111111 --ledger \\
    --format json | jq '.[] | select(.changed)'")]
pub struct AuditArgs {
    /// The app: the address of its contract.
    app: AppId,
    /// Its chain; needed when it is watched on several.
    #[arg(long, value_name = "ID")]
    chain: Option<ChainId>,
    /// As of this block instead of now.
    #[arg(long, value_name = "BLOCK")]
    at: Option<u64>,
    /// List everything that happened instead of what is allowed.
    #[arg(long)]
    ledger: bool,
    /// Answer with what is known, even while the history is still being read.
    #[arg(long)]
    no_wait: bool,
    /// `json` is the same as `--json`; `csv` is the file that the service makes, with where it comes from.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

pub async fn run(args: &AuditArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let chain = match args.chain {
        Some(chain) => chain,
        None => apps::chain_of(&client, args.app).await?,
    };
    let app = wait::App { chain: chain.to_string(), app: args.app.to_string() };
    let is_whole = if args.no_wait {
        app.look(&client).await?["is_whole"] == Value::Bool(true)
    } else {
        app.until_read(&client).await?
    };
    let answer = match (args.format, args.ledger) {
        (Format::Csv, _) => file(args, &client, &app).await?,
        (_, true) => history(args, &client, &app).await?,
        (_, false) => allowed(args, &client, &app).await?,
    };
    if is_whole {
        return Ok(answer);
    }
    let note = "the history of this app is not known back to its deployment";
    Ok(answer.note(note).ending(Ending::Attention))
}

/// The same as a table for other programs: the file that the service makes, with what it says of itself.
async fn file(args: &AuditArgs, client: &Client, app: &wait::App) -> Result<Answer> {
    let (what, at) = if args.ledger { ("ledger", "to") } else { ("allowlist", "at") };
    let mut query = vec![("format", "csv".to_owned())];
    query.extend(args.at.map(|block| (at, block.to_string())));
    let path = [&app.path(what)[..], &["export"]].concat();
    client.copy(&path, &query, print::part).await?;
    if args.ledger || args.at.is_some() {
        return Ok(Answer::silent());
    }
    let drift = drift(client, app).await?;
    let answer = Answer::silent().ending(drift.ending());
    Ok(if drift.ending() == Ending::Done { answer } else { answer.note(drift.words()) })
}

async fn drift(client: &Client, app: &wait::App) -> Result<Drift> {
    Ok(Drift::of(client.reply(&app.path("drift"), &[]).await)?)
}

/// What the app allows.
async fn allowed(args: &AuditArgs, client: &Client, app: &wait::App) -> Result<Answer> {
    let spinner = spinner("reads ledger and chain");
    let at: Vec<_> = args.at.map(|at| ("at", at.to_string())).into_iter().collect();
    let list = client.get(&app.path("allowlist"), &at).await?;
    let drift = match args.at {
        Some(_) => Drift::NotAsked,
        None => drift(client, app).await?,
    };
    spinner.finish_and_clear();
    let needs_attention = drift.ending() != Ending::Done || !list["unreadable"].is_null();
    let json = allowlist::json(&list, &drift);
    let answer = formed(args.format, || allowlist::page(&list, &drift), json);
    Ok(answer.ending(Ending::attention_if(needs_attention)))
}

/// Everything that happened to the app's rules.
async fn history(args: &AuditArgs, client: &Client, app: &wait::App) -> Result<Answer> {
    let spinner = spinner("reads the ledger");
    let mut rows = client.pages(&app.path("ledger"), PAGE_ROWS).await?;
    spinner.finish_and_clear();
    let block = |row: &Value| row["block"]["number"].as_u64();
    rows.retain(|row| args.at.is_none_or(|at| block(row).is_some_and(|block| block <= at)));
    let json = Value::Array(rows.clone());
    Ok(formed(args.format, || ledger::page(&rows), json))
}

fn formed(format: Format, page: impl FnOnce() -> Page, json: Value) -> Answer {
    match format {
        Format::Json => Answer::raw(json.to_string()),
        _ => Answer::new(page(), json),
    }
}

/// Who acted, in words.
fn by(row: &Value) -> String {
    match serde_json::from_value::<Option<ActedBy>>(row["acted_by"].clone()) {
        Ok(Some(acted_by)) => acted_by.to_string(),
        Ok(None) => "not known yet".into(),
        // A newer service knows more ways than this program.
        Err(_) => row["acted_by"].to_string(),
    }
}
