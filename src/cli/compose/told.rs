//! Findings, differences and proofs, as the service or this program tells them, for a terminal.

use serde_json::Value;

use super::super::page::{Cell, Page, Tone};

fn text(value: &Value, place: &str) -> String {
    match value.pointer(place) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// What to look at in a document.
pub fn findings(page: Page, found: &Value) -> Page {
    found_or(page, found, "nothing to look at was found in the document")
}

fn found_or(page: Page, found: &Value, otherwise: &str) -> Page {
    let rows: Vec<Vec<Cell>> = found.as_array().into_iter().flatten().map(finding).collect();
    if rows.is_empty() {
        return page.line(otherwise);
    }
    page.table(vec!["severity", "what", "where"], rows)
}

/// What to look at in a document, in short, as the service tells it beside a request.
pub fn review(page: Page, review: &Value, id: &str) -> Page {
    if !review.is_object() {
        return page;
    }
    let page = page.title(format!("To look at in the document {}", text(review, "/compose_hash")));
    let beside = text(review, "/beside");
    let mut page = if beside.is_empty() {
        findings(page, &review["findings"])
    } else {
        let otherwise = format!("nothing that is not in {beside} too: `compose lint` tells all");
        found_or(page, &review["findings"], &otherwise)
    };
    let changes: Vec<Vec<Cell>> =
        review["changes"].as_array().into_iter().flatten().map(change).collect();
    if !changes.is_empty() {
        page = page.line(format!("Beside {beside}:"));
        page = page.table(vec!["", "where", "before", "after"], changes);
    }
    match review["more"].as_u64() {
        None | Some(0) => page,
        Some(more) => page.line(format!("and {more} more: the page /requests/{id} has them")),
    }
}

fn finding(one: &Value) -> Vec<Cell> {
    let severity = text(one, "/severity");
    let tone = match severity.as_str() {
        "danger" => Tone::Bad,
        _ => Tone::Waiting,
    };
    vec![Cell::toned(severity, tone), text(one, "/text").into(), text(one, "/place").into()]
}

/// What differs.
pub fn diff(page: Page, diff: &Value) -> Page {
    let changes: Vec<Vec<Cell>> =
        diff["changes"].as_array().into_iter().flatten().map(change).collect();
    let texts = diff["texts"].as_array().cloned().unwrap_or_default();
    if changes.is_empty() && texts.is_empty() {
        return page.line("nothing differs");
    }
    let mut page = page.table(vec!["", "where", "before", "after"], changes);
    page = more(page, &diff["more"], "more changes");
    for one in &texts {
        page = page.title(text(one, "/field"));
        for line in one["lines"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            page = page.line(match line.chars().next() {
                Some('+') => Cell::toned(line, Tone::Good),
                Some('-') => Cell::toned(line, Tone::Bad),
                _ => line.into(),
            });
        }
        page = more(page, &one["more"], "more lines");
    }
    page
}

fn more(page: Page, count: &Value, of_what: &str) -> Page {
    match count.as_u64() {
        None | Some(0) => page,
        Some(count) => page.line(format!("and {count} {of_what}: --json has as many as are kept")),
    }
}

fn change(one: &Value) -> Vec<Cell> {
    let (sign, tone) = match one["kind"].as_str() {
        Some("added") => ("+", Tone::Good),
        Some("removed") => ("-", Tone::Bad),
        _ => ("~", Tone::Waiting),
    };
    let place = text(one, "/place").into();
    vec![Cell::toned(sign, tone), place, text(one, "/before").into(), text(one, "/after").into()]
}

/// What is known of the document behind a hash.
pub fn proof(page: Page, proof: &Value) -> Page {
    let words = text(proof, "/words");
    let page = page.line(Cell::toned(words, tone(proof)));
    let tried: Vec<Vec<Cell>> = proof["tried"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| vec![text(one, "/place").into(), text(one, "/outcome").into()])
        .collect();
    if tried.is_empty() { page } else { page.table(vec!["tried", "what came of it"], tried) }
}

/// How loud a proof is.
pub fn tone(proof: &Value) -> Tone {
    match proof["state"].as_str() {
        Some("proved") => Tone::Good,
        _ => Tone::Bad,
    }
}
