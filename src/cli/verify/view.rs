//! How a verification looks: the verdict first, and all of it on one screen.

use serde_json::{Value, json};

use super::{
    compare::{Check, Difference, Report, Verdict},
    foreseen::with_foreseen,
    said::Said,
    seen::Seen,
};
use crate::cli::{
    page::{Cell, Page, Tone},
    print::{Answer, Ending},
    signing::{with_calls, with_nested_owners, with_warnings},
};
use crate::safe::exports::as_on_a_ledger;

/// Longest part of a differing value that is shown in a line.
const SHOWN_MAX: usize = 70;

pub fn answer(said: &Said, seen: Option<&Seen>, report: &Report) -> Answer {
    let page = verdict(said, report);
    let mut facts: Vec<(&'static str, Cell)> = vec![
        ("Chain", said.claimed.chain.label().into()),
        ("Owner", said.claimed.owner.to_string().into()),
    ];
    facts.extend(said.wanted.map(|wanted| ("App", wanted.app.to_string().into())));
    facts.extend(seen.map(|seen| ("Read at", format!("block {}", seen.block.number).into())));
    let page = with_calls(page.facts(facts), &report.calls);
    let warnings: Vec<&str> = report.warnings.iter().map(|one| one.text.as_str()).collect();
    let mut page = with_warnings(page, &warnings);
    page = report.notes.iter().fold(page, |page, note| page.line(format!("note: {note}")));
    if !report.differences.is_empty() {
        let title = format!("DIFFERENCES ({})", report.differences.len());
        page = page.title(title).lines(report.differences.iter().map(difference).collect());
    }
    if let Some(foreseen) = &report.foreseen {
        page = with_foreseen(page, foreseen);
    }
    page = page.title("Checks").lines(report.checks.iter().map(check).collect());
    if let Some(hashes) = &report.hashes {
        page = page.title("Compare with what your wallet shows").facts(vec![
            ("Domain hash", as_on_a_ledger(hashes.domain_hash).into()),
            ("Message hash", as_on_a_ledger(hashes.message_hash).into()),
            ("safeTxHash", hashes.safe_tx_hash.to_string().into()),
        ]);
    }
    let page = with_nested_owners(page, &report.nested_owners);
    let mut json = json!(report);
    json["shown_by"] = said.by.clone().into();
    json["block"] = seen.map_or(Value::Null, |seen| json!(seen.block));
    Answer::new(page, json).ending(Ending::attention_if(report.needs_attention()))
}

fn verdict(said: &Said, report: &Report) -> Page {
    let by = &said.by;
    let is_odd = !report.matches || report.is_unexpected();
    let (words, tone) = if !report.differences.is_empty() {
        (format!("DOES NOT MATCH what {by} shows: do not sign"), Tone::Bad)
    } else if is_odd {
        (format!("IS NOT WHAT IS EXPECTED, though it is what {by} shows: do not sign"), Tone::Bad)
    } else if report.is_past() {
        (format!("is what {by} shows, and past: nothing is to be signed any more"), Tone::Waiting)
    } else if report.is_open() {
        (format!("fits together as {by} shows it, and is not checked"), Tone::Waiting)
    } else {
        (format!("matches what {by} shows"), Tone::Good)
    };
    Page::default().line(Cell::toned(words, tone))
}

fn difference(difference: &Difference) -> Cell {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (shown, here) = (text(&difference.shown), text(&difference.here));
    let same = shown.chars().zip(here.chars()).take_while(|(one, other)| one == other).count();
    // Both from a little before the place where they begin to differ.
    let from = if same > SHOWN_MAX / 2 { same - SHOWN_MAX / 4 } else { 0 };
    let part = |text: &str| {
        let before = if from > 0 { "…" } else { "" };
        let after = if text.chars().count() > from + SHOWN_MAX { "…" } else { "" };
        let part: String = text.chars().skip(from).take(SHOWN_MAX).collect();
        format!("{before}{part}{after}")
    };
    let (shown, here) = (part(&shown), part(&here));
    Cell::toned(format!("! {}: shown {shown}, in truth {here}", difference.field), Tone::Bad)
}

fn check(check: &Check) -> Cell {
    let (mark, tone) = match check.verdict {
        Verdict::Good => ("ok", Tone::Good),
        Verdict::Note => ("- ", Tone::Plain),
        Verdict::Bad => ("! ", Tone::Bad),
        Verdict::Open => ("? ", Tone::Waiting),
        Verdict::Past => ("! ", Tone::Waiting),
    };
    Cell::toned(format!("{mark}  {}", check.words), tone)
}
