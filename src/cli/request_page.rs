//! How a request looks in the answer of every command that shows one.

use serde::Deserialize;
use serde_json::Value;

use super::{
    cells::{text, time},
    compose::told,
    page::{Cell, Page, Tone},
    print::{Answer, Ending},
};
use crate::{
    clock::{Clock, SystemClock, Time},
    request::{explain::Explanation, status::Status},
};

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
}
