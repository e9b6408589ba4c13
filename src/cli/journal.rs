//! `countersign journal`: who changed what; and `countersign journal verify`: whether anybody
//! changed the journal.

use anyhow::Result;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{
    Globals,
    cells::{details, text, time},
    client::Client,
    database::{self, DatabaseArgs},
    page::{Cell, Page, Tone},
    print::{Answer, Ending},
};
use crate::{request::ids::RequestId, store::journal::Verdict};

/// Show who changed what and when, newest first; or check the journal.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  countersign journal --limit 20
  countersign journal --request 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 --json
  countersign journal verify"
)]
pub struct JournalArgs {
    #[command(subcommand)]
    command: Option<JournalCommand>,
    /// Only entries of this request.
    #[arg(long, value_name = "ID")]
    request: Option<RequestId>,
    /// Only entries before this one.
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    Verify(VerifyArgs),
}

/// Compute every hash of the journal again, straight from the database.
///
/// And hold what the entries tell against what every request has come to, so that entries that are
/// missing at the end, or all of them, are noticed by what they changed.
///
/// Exit code 1 when an entry was changed or is missing. To notice a whole journal being replaced, or
/// the last entries being taken away that changed nothing, such as comments, compare the head with one
/// noted elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  DATABASE_URL=postgres://… countersign journal verify --json | jq -r .head")]
struct VerifyArgs {
    #[command(flatten)]
    database: DatabaseArgs,
}

pub async fn run(args: JournalArgs, globals: &Globals) -> Result<Answer> {
    if let Some(JournalCommand::Verify(args)) = args.command {
        return verify(args).await;
    }
    let client = Client::new(&globals.service)?;
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.request.map(|id| ("request", id.to_string())));
    query.extend(args.before.map(|seq| ("before", seq.to_string())));
    let entries = client.get(&["v1", "journal"], &query).await?;
    let list = entries.as_array().map(Vec::as_slice).unwrap_or_default();
    let page = if list.is_empty() {
        Page::default().line("no entry fits")
    } else {
        let heads = vec!["number", "at", "who", "what", "request", "details"];
        Page::default().table(heads, list.iter().map(row).collect())
    };
    Ok(Answer::new(page, entries))
}

fn row(entry: &Value) -> Vec<Cell> {
    vec![
        text(entry, "/seq").into(),
        time(entry, "/at").into(),
        text(entry, "/actor").into(),
        text(entry, "/kind").replace('_', " ").into(),
        Cell::hash(text(entry, "/request")),
        details(&entry["body"]).into(),
    ]
}

async fn verify(args: VerifyArgs) -> Result<Answer> {
    let database = database::visit(&args.database).await?;
    let newest = database.store.journal_page(None, None, 1).await?;
    let bar = progress(newest.first().map_or(0, |entry| entry.seq));
    let verdict = database.store.verify_journal(|entries| bar.set_position(entries)).await;
    bar.finish_and_clear();
    database.close().await;
    Ok(told(&verdict?))
}

fn progress(entries: u64) -> ProgressBar {
    let template = "{bar:40} {pos} of {len} entries, {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is sound");
    ProgressBar::new(entries).with_style(style)
}

fn told(verdict: &Verdict) -> Answer {
    let (facts, ending) = match verdict {
        Verdict::Intact { entries, head } => {
            let facts = vec![
                ("Journal", Cell::toned("intact", Tone::Good)),
                ("Entries", entries.to_string().into()),
                ("Head", head.clone().into()),
            ];
            (facts, Ending::Done)
        }
        Verdict::Incomplete { entries, head, request, because } => {
            let facts = vec![
                ("Journal", Cell::toned("incomplete", Tone::Bad)),
                ("Entries", entries.to_string().into()),
                ("Head", head.clone().into()),
                ("Request", request.to_string().into()),
                ("Because", (*because).into()),
            ];
            (facts, Ending::Failed)
        }
        Verdict::Broken { seq, because } => {
            let facts = vec![
                ("Journal", Cell::toned("broken", Tone::Bad)),
                ("At entry", seq.to_string().into()),
                ("Because", (*because).into()),
            ];
            (facts, Ending::Failed)
        }
    };
    Answer::new(Page::default().facts(facts), verdict).ending(ending)
}
