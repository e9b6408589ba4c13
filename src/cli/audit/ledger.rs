//! The history of an app in a table.

use serde_json::Value;

use super::by;
use crate::cli::{
    cells::{text, time},
    page::{Cell, Page, Tone},
};

pub fn page(rows: &[Value]) -> Page {
    let page = Page::default().title("History");
    if rows.is_empty() {
        return page.line("nothing that the ledger knows of");
    }
    let heads = vec!["block", "at", "what happened", "changed", "by", "in transaction"];
    let page = page.wide_table(heads, rows.iter().map(row).collect(), &["in transaction"]);
    page.legend(vec![
        ("changed", "whether it changed anything: adding what is there already does not; not known while older events may be missing"),
        ("by", "who called the app: its Safe by owners or module, a timelock, a key"),
    ])
}

fn row(row: &Value) -> Vec<Cell> {
    vec![
        text(row, "/block/number").into(),
        time(row, "/block_time").into(),
        text(row, "/words").into(),
        changed(row),
        by(row).into(),
        Cell::hash(text(row, "/tx")),
    ]
}

fn changed(row: &Value) -> Cell {
    match row["changed"].as_bool() {
        Some(true) => "yes".into(),
        Some(false) => "no".into(),
        None => Cell::toned("not known", Tone::Waiting),
    }
}
