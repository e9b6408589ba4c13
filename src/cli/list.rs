//! `countersign list`: requests, newest first.

use anyhow::Result;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use serde_json::{Value, json};

use super::{
    Globals,
    cells::text,
    client::Client,
    page::{Cell, Page},
    print::{Answer, spinner},
    request_page::status,
};
use crate::{
    clock::{Clock, SystemClock, Time},
    request::{ids::AppId, status::Status},
};

/// Most requests on one page of the API.
const PAGE_MAX: usize = 200;

/// List requests, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign list
  countersign list --status approved --json | jq -r '.requests[].id'
  countersign list -q my-cvm --limit 500")]
pub struct ListArgs {
    /// Only requests in this status.
    #[arg(long, value_parser = statuses())]
    status: Option<Status>,
    /// Only requests for this app.
    #[arg(long)]
    app: Option<AppId>,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// A part of the id, the source CVM, the note, a hash or the replica.
    #[arg(short, long = "query", value_name = "TEXT")]
    query: Option<String>,
}

/// Every status by its name, so that a shell can complete them.
fn statuses() -> impl TypedValueParser<Value = Status> {
    let names = PossibleValuesParser::new(Status::ALL.map(Status::as_str));
    names.try_map(|name| name.parse::<Status>())
}

pub async fn run(args: ListArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let limit = args.limit as usize;
    let mut filter = vec![];
    filter.extend(args.status.map(|status| ("status", status.to_string())));
    filter.extend(args.app.map(|app| ("app", app.to_string())));
    filter.extend(args.query.map(|query| ("q", query)));
    let spinner = spinner("reads requests");
    let (mut found, mut cursor): (Vec<Value>, Option<String>) = (vec![], None);
    loop {
        let mut query = filter.clone();
        query.push(("limit", (limit - found.len()).min(PAGE_MAX).to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let mut page = client.get(&["v1", "requests"], &query).await?;
        if let Value::Array(requests) = page["requests"].take() {
            found.extend(requests);
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || found.len() >= limit {
            break;
        }
    }
    spinner.finish_and_clear();
    Ok(answer(&found, cursor.as_deref()))
}

fn answer(found: &[Value], cursor: Option<&str>) -> Answer {
    let page = if found.is_empty() {
        Page::default().line("no request fits")
    } else {
        let now = SystemClock.now();
        let heads = vec!["id", "status", "kind", "app", "node", "age", "next"];
        let rows = found.iter().map(|request| row(request, now)).collect();
        Page::default().wide_table(heads, rows, &["kind", "app", "node", "age"])
    };
    let more = cursor.is_some();
    let answer = Answer::new(page, json!({ "requests": found, "next_cursor": cursor }));
    if more { answer.note("there are more: raise --limit") } else { answer }
}

fn row(request: &Value, now: Time) -> Vec<Cell> {
    let next = if request["reason"].is_string() { "/reason" } else { "/next_step" };
    let next = text(request, next);
    let next = match request["compose_proof"]["state"].as_str() {
        Some(state @ ("unproved" | "contradicted")) => format!("compose hash {state}; {next}"),
        _ => next,
    };
    let next = match request["together_with"].as_array().map_or(0, Vec::len) {
        0 => next,
        1 => format!("one transaction with 1 other; {next}"),
        others => format!("one transaction with {others} others; {next}"),
    };
    vec![
        text(request, "/id").into(),
        status(request),
        text(request, "/kind").into(),
        Cell::hash(text(request, "/app")),
        text(request, "/node_id").into(),
        age(&text(request, "/created_at"), now).into(),
        next.into(),
    ]
}

/// How long ago something was, roughly.
fn age(at: &str, now: Time) -> String {
    let Ok(at) = at.parse::<Time>() else { return at.to_owned() };
    let minutes = (now - at).num_minutes().max(0);
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2_880 => format!("{} h", minutes / 60),
        _ => format!("{} d", minutes / 1_440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_completes_every_status() {
        use clap::{CommandFactory, Parser};
        let mut script = vec![];
        let mut command = crate::cli::Cli::command();
        clap_complete::generate(
            clap_complete::Shell::Bash,
            &mut command,
            "countersign",
            &mut script,
        );
        let script = String::from_utf8(script).unwrap();
        let all = Status::ALL.map(Status::as_str).join(" ");
        assert!(script.contains(&all), "{all} is missing");
        let parse =
            |status| crate::cli::Cli::try_parse_from(["countersign", "list", "--status", status]);
        assert!(parse("approved").is_ok() && parse("done").is_err());
    }

    #[test]
    fn ages_are_rough() {
        let now: Time = "2026-11-21T12:00:00Z".parse().unwrap();
        let ages = [
            "2026-11-21T12:00:05Z",
            "2026-11-21T10:01:00Z",
            "2026-11-21T10:00:00Z",
            "2026-11-18T13:00:00Z",
            "x",
        ];
        assert_eq!(ages.map(|at| age(at, now)), ["0 min", "119 min", "2 h", "2 d", "x"]);
    }
}
