//! `countersign show`: one request, with everything that happened to it.

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::{
    Globals,
    cells::{details, text, time},
    client::Client,
    compose::told,
    page::{Cell, Page, Tone},
    payload::nested_owners,
    print::Answer,
    request_page::{answer, page_of},
    signing::with_nested_owners,
};
use crate::request::ids::RequestId;

/// Entries of the timeline that are shown, the newest: a request fits on one screen.
const TIMELINE_MAX: usize = 30;

/// Show one request: where it stands and why, what happens next and when, and what happened so far.
///
/// When it asks which instance its commit made, the instances that it can be are listed.
/// Exit code 3 when a person must look.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign show 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11
  countersign show 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 --json | jq -r .status")]
pub struct ShowArgs {
    /// Id of the request.
    id: RequestId,
}

pub async fn run(args: &ShowArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let request = client.get(&["v1", "requests", &args.id.to_string()], &[]).await?;
    let mut page = page_of(&request, &format!("Request {}", args.id));
    if request["candidates"].is_object() {
        page = choice(page, &request["candidates"], args.id);
    }
    if request["left_behind"].is_object() {
        page = left_behind(page, &request["left_behind"]);
    }
    if request["compose_proof"]["state"] != "proved" && request["compose_proof"].is_object() {
        page = told::proof(page.title("What its compose hash means"), &request["compose_proof"]);
    }
    page = told::review(page, &request["compose_review"], &args.id.to_string());
    if let Some(tries) = request.pointer("/relayer/tries").and_then(Value::as_array)
        && !tries.is_empty()
    {
        let rows = tries.iter().map(tried).collect();
        page = page.title("Tries of the relayer");
        page = page.table(vec!["at", "outcome", "transaction", "nonce"], rows);
    }
    // Whoever signs is told what; the owners of an owner sign something else.
    if matches!(request["status"].as_str(), Some("proposed" | "approved")) {
        let id = args.id.to_string();
        let proposal = client.get(&["v1", "requests", &id, "proposal"], &[]).await?;
        let others = proposal["requests"].as_array().into_iter().flatten();
        let others = others.map(|one| text(one, "/id")).filter(|other| *other != id);
        page = others.fold(page, |page, other| {
            page.line(format!("the same signatures are for request {other} as well"))
        });
        page = with_nested_owners(page, &nested_owners(&request, &proposal)?);
    }
    if let Some(timeline) = request["timeline"].as_array() {
        let earlier = timeline.len().saturating_sub(TIMELINE_MAX);
        page = page.title("Timeline");
        if earlier > 0 {
            page =
                page.line(format!("{earlier} earlier: countersign journal --request {}", args.id));
        }
        let rows = timeline.iter().skip(earlier).map(entry).collect();
        page = page.table(vec!["at", "who", "what", "details"], rows);
    }
    Ok(answer(page, request))
}

/// The instances that a person may choose from.
fn choice(page: Page, candidates: &Value, id: RequestId) -> Page {
    let page = page.title("Which instance is its replica?");
    if candidates["problem"].is_string() {
        let told = format!("they cannot be read now: {}", text(candidates, "/problem"));
        return page.line(Cell::toned(told, Tone::Bad));
    }
    let rows: Vec<_> = candidates["instances"].as_array().into_iter().flatten().map(one).collect();
    let page = if rows.is_empty() {
        page.line("the app has no instance that fits any more")
    } else {
        page.table(vec!["instance", "name", "status", "node", "created"], rows)
    };
    page.line(format!(
        "if none of them is, so that it is committed again: countersign settle {id} --as none \
         --reason TEXT"
    ))
}

/// The instances of the app that still run what the updated one ran before.
fn left_behind(page: Page, told: &Value) -> Page {
    let page = page.title(format!("Still on {}", text(told, "/compose_hash")));
    if told["problem"].is_string() {
        let told = format!("they cannot be read now: {}", text(told, "/problem"));
        return page.line(Cell::toned(told, Tone::Bad));
    }
    let rows: Vec<_> = told["instances"].as_array().into_iter().flatten().map(one).collect();
    if rows.is_empty() {
        return page.line("no instance of the app");
    }
    page.table(vec!["instance", "name", "status", "node", "created"], rows)
}

fn one(candidate: &Value) -> Vec<Cell> {
    let mut row: Vec<Cell> =
        ["/id", "/name", "/status", "/node_id"].map(|place| text(candidate, place).into()).into();
    row.push(time(candidate, "/created_at").into());
    row
}

/// A try of the relayer as a row. While it is under way, what is sent is its last transaction.
fn tried(one: &Value) -> Vec<Cell> {
    let last = one["transactions"].as_array().and_then(|all| all.last()).unwrap_or(&Value::Null);
    let (outcome, tone) = match one["outcome"].as_str() {
        None => ("under way", Tone::Waiting),
        Some("executed") => ("executed", Tone::Good),
        Some("failed_inside") => ("failed inside", Tone::Bad),
        Some("nonce_taken") => ("nonce taken", Tone::Bad),
        Some("cancelled") => ("cancelled", Tone::Waiting),
        Some(_) => ("reverted", Tone::Bad),
    };
    let tx = if one["transaction"].is_string() {
        text(one, "/transaction")
    } else {
        text(last, "/hash")
    };
    let nonce = text(one, "/relayer_nonce").into();
    vec![time(one, "/at").into(), Cell::toned(outcome, tone), tx.into(), nonce]
}

/// One entry of the journal as a row.
fn entry(entry: &Value) -> Vec<Cell> {
    vec![
        time(entry, "/at").into(),
        text(entry, "/actor").into(),
        text(entry, "/kind").replace('_', " ").into(),
        details(&entry["body"]).into(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::page::Look;

    #[test]
    fn what_a_person_may_choose_from_is_listed_or_said_to_be_unknown() {
        let id = RequestId(uuid::Uuid::nil());
        let shown =
            |candidates: Value| choice(Page::default(), &candidates, id).render(Look::of_pipe());
        let one = json!({
            "id": "9f8e", "name": "app-2", "status": "starting", "node_id": "6",
            "created_at": "2026-11-21T12:00:00Z",
        });
        insta::assert_snapshot!(shown(json!({ "instances": [one], "problem": null })), @"
        Which instance is its replica?
        INSTANCE  NAME   STATUS    NODE  CREATED
        9f8e      app-2  starting  6     2026-11-21 12:00:00 UTC
          if none of them is, so that it is committed again: countersign settle 00000000-0000-0000-0000-000000000000 --as none --reason TEXT
        ");
        let unread = shown(json!({ "instances": [], "problem": "no answer \u{1b}[31m" }));
        assert!(unread.contains("they cannot be read now: no answer ?[31m"), "{unread}");
        assert!(!unread.contains("settle"), "nobody settles unseen: {unread}");
    }
}
