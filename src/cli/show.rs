//! `countersign show`: one request; and how a request looks in every command's answer.

use anyhow::Result;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Globals,
    client::Client,
    compose::told,
    page::{Cell, Page, Tone},
    payload::nested_owners,
    print::{Answer, Ending},
    signing::with_nested_owners,
};
use crate::{
    clock::{Clock, SystemClock, Time},
    request::{explain::Explanation, ids::RequestId, status::Status},
};

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

/// A request as an answer: it needs attention when the service says so.
pub fn answer(page: Page, request: Value) -> Answer {
    let attention = request["needs_attention"] == Value::Bool(true);
    Answer::new(page, request).ending(Ending::attention_if(attention))
}

/// A request in facts.
pub fn page_of(request: &Value, title: &str) -> Page {
    let now = SystemClock.now();
    let mut facts = vec![("Status", status(request))];
    facts.extend(explained(request, now));
    for (name, place) in [
        ("Id", "/id"),
        ("Kind", "/kind"),
        ("Chain", "/chain_id"),
        ("App", "/app"),
        ("Source CVM", "/source_cvm"),
        ("Node", "/node_id"),
        ("Compose hash", "/compose_hash"),
        ("Device id", "/device_id"),
    ] {
        facts.push((name, text(request, place).into()));
    }
    if request["compose_proof"].is_object() {
        let proof = &request["compose_proof"];
        facts.push(("Its document", Cell::toned(text(proof, "/words"), told::tone(proof))));
    }
    facts.extend(device(&request["device_meaning"]));
    facts.push(("Prepared", time(request, "/prepared_at").into()));
    facts.push(("Token expires", deadline(request, now)));
    for (name, place) in [
        ("Note", "/note"),
        ("Executed in", "/executed/transaction"),
        ("Registered at", "/registered/number"),
        (if request["kind"] == "update" { "Updated CVM" } else { "Replica" }, "/replica/id"),
    ] {
        if request.pointer(place).is_some_and(|value| !value.is_null()) {
            facts.push((name, text(request, place).into()));
        }
    }
    facts.extend(nonce(&request["nonce"]));
    facts.extend(mailbox(&request["safe_service"]));
    if request["relayer"].is_object() {
        facts.push(("Relayer", text(request, "/relayer/state").into()));
    }
    Page::default().title(title).facts(facts)
}

/// What its device id means, and what is odd about it.
fn device(told: &Value) -> Vec<(&'static str, Cell)> {
    if !told.is_object() {
        return vec![];
    }
    let mut facts = vec![("Its device", text(told, "/words").into())];
    let warnings = told["warnings"].as_array().into_iter().flatten();
    facts.extend(warnings.map(|one| ("Beware", Cell::toned(text(one, "/text"), Tone::Bad))));
    facts
}

/// The nonce of its transaction, and what to know of it.
pub fn nonce(told: &Value) -> Vec<(&'static str, Cell)> {
    if !told.is_object() {
        return vec![];
    }
    let chosen = if told["choice"] == "pinned" { ", chosen by a person" } else { "" };
    let place = if told["is_next"] == Value::Bool(true) {
        "the Safe's next".to_owned()
    } else {
        format!("the Safe is at {}", text(told, "/next"))
    };
    let mut facts = vec![("Nonce", format!("{}{chosen}: {place}", text(told, "/nonce")).into())];
    let warnings = told["warnings"].as_array().into_iter().flatten();
    let warned = |one| ("Beware", Cell::toned(text(one, "/text"), Tone::Waiting));
    facts.extend(warnings.map(warned));
    facts
}

/// How the proposal stands in Safe's mailbox, where there is one.
fn mailbox(told: &Value) -> Vec<(&'static str, Cell)> {
    if !told.is_object() {
        return vec![];
    }
    let posted = if told["posted_at"].is_string() {
        format!("posted, last read {}", time(told, "/read_at"))
    } else {
        "not posted yet".to_owned()
    };
    let mut facts = vec![("Safe's mailbox", posted.into())];
    for (name, place, tone) in
        [("It says", "/hint", Tone::Waiting), ("It fails", "/problem", Tone::Bad)]
    {
        if told.pointer(place).is_some_and(Value::is_string) {
            facts.push((name, Cell::toned(text(told, place), tone)));
        }
    }
    facts
}

/// Why it is there, what is next and when.
fn explained(request: &Value, now: Time) -> Vec<(&'static str, Cell)> {
    let attention = request["needs_attention"] == Value::Bool(true);
    let tone = if attention { Tone::Bad } else { Tone::Waiting };
    let mut facts = vec![];
    let told = Explanation::deserialize(&request["explanation"]);
    if let Ok(Explanation { why, next, when }) = told {
        facts.push(("Why", Cell::toned(why, tone)));
        facts.push(("Next", next.into()));
        facts.push(("When", when.words(now).into()));
        return facts;
    }
    // The service is of a version that explains less.
    if request["reason"].is_string() {
        facts.push(("Why", Cell::toned(text(request, "/reason"), tone)));
    }
    facts.push(("Next", text(request, "/next_step").into()));
    facts
}

/// What a request waits for, in one line.
pub fn explained_briefly(request: &Value) -> String {
    let why = text(request, "/explanation/why");
    format!("{}: {why}", text(request, "/status"))
}

/// The status in the colour of what it means.
pub fn status(request: &Value) -> Cell {
    let word = text(request, "/status");
    let attention = request["needs_attention"] == Value::Bool(true);
    let tone = match word.parse::<Status>() {
        _ if attention => Tone::Bad,
        Ok(Status::Running) => Tone::Good,
        Ok(Status::Rejected | Status::Withdrawn | Status::Expired | Status::Failed) => Tone::Bad,
        _ => Tone::Waiting,
    };
    let word = if attention { format!("{word}, needs attention") } else { word };
    Cell::toned(word, tone)
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

/// The body of a journal entry in a few words: its reason, or what it names.
pub fn details(body: &Value) -> String {
    let named = [
        "/reason",
        "/owner",
        "/tx",
        "/replica",
        "/route",
        "/depth",
        "/expires_at",
        "/evidence",
        "/compose_hash",
        "/text",
    ];
    let with = body["with"].as_array().filter(|with| !with.is_empty());
    if let Some(with) = with {
        let ids: Vec<_> = with.iter().filter_map(Value::as_str).collect();
        return format!("together with {}: {}", ids.join(", "), text(body, "/reason"));
    }
    let found = named.iter().find(|place| body.pointer(place).is_some_and(Value::is_string));
    match found {
        Some(&"/expires_at") => format!("token expires {}", time(body, "/expires_at")),
        Some(&"/evidence") => format!("with this as evidence: {}", text(body, "/evidence")),
        Some(place) => text(body, place),
        None => String::new(),
    }
}

/// What stands at a place, or a dash.
pub fn text(value: &Value, place: &str) -> String {
    match value.pointer(place) {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A moment, to the second.
pub fn time(value: &Value, place: &str) -> String {
    let text = text(value, place);
    match text.parse::<Time>() {
        Ok(time) => time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => text,
    }
}

/// When the token dies, and how soon that is. Once the replica is committed it is of no use.
fn deadline(request: &Value, now: Time) -> Cell {
    let shown = time(request, "/expires_at");
    let Ok(at) = text(request, "/expires_at").parse::<Time>() else { return shown.into() };
    let spent = text(request, "/status").parse::<Status>().is_ok_and(|it| !it.is_before_commit());
    let left = (at - now).num_hours();
    match left {
        _ if spent => shown.into(),
        ..0 => Cell::toned(format!("{shown} (over)"), Tone::Bad),
        0..48 => Cell::toned(format!("{shown} (in {left} h)"), Tone::Waiting),
        _ => format!("{shown} (in {} days)", left / 24).into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::page::Look;

    #[test]
    fn what_is_missing_is_a_dash() {
        let value = json!({"a": null, "b": "x", "c": 7, "at": "2026-11-21T09:30:00.123456Z"});
        assert_eq!(["/a", "/b", "/c", "/d"].map(|place| text(&value, place)), ["-", "x", "7", "-"]);
        assert_eq!(time(&value, "/at"), "2026-11-21 09:30:00 UTC");
        assert_eq!(time(&value, "/b"), "x");
    }

    #[test]
    fn the_first_lines_say_why_and_what_next_and_when() {
        let id = "019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11";
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let mut request = json!({
            "id": id, "status": "committing", "needs_attention": true,
            "reason": "2 new instances fit", "next_step": "a person must look",
            "explanation": {
                "why": "2 new instances fit",
                "next": "nothing is committed again",
                "when": {
                    "kind": "person", "at": "2026-11-21T12:04:10Z",
                    "commands": [format!("countersign retry {id}")],
                },
            },
        });
        let shown = |request: &Value| {
            let facts = explained(request, now);
            Page::default().facts(facts).render(Look::of_pipe())
        };
        insta::assert_snapshot!(shown(&request), @"
          Why   2 new instances fit
          Next  nothing is committed again
          When  after a person: `countersign retry 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11`; tried in 4 min all the same
        ");
        request["explanation"] = Value::Null;
        insta::assert_snapshot!(shown(&request), @"
          Why   2 new instances fit
          Next  a person must look
        ");
    }

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

    #[test]
    fn a_journal_entry_is_told_by_its_reason_first() {
        assert_eq!(details(&json!({"reason": "why", "owner": "0x1"})), "why");
        assert_eq!(details(&json!({"owner": "0x1", "threshold": 2})), "0x1");
        assert_eq!(details(&json!({"tx": null})), "");
        let together = json!({"with": ["01a1", "01a2"], "nonce": null, "reason": "in one go"});
        assert_eq!(details(&together), "together with 01a1, 01a2: in one go");
        assert_eq!(details(&json!({"with": [], "reason": "alone"})), "alone");
        let evidence = details(&json!({"evidence": "already-registered"}));
        assert_eq!(evidence, "with this as evidence: already-registered");
    }
}
