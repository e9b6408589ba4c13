//! The history of an app in a table or as CSV.

use anyhow::Result;
use serde_json::Value;

use super::{by, cell};
use crate::{
    audit::sheet,
    cli::{
        cells::{text, time},
        page::{Cell, Page, Tone},
    },
};

pub fn page(rows: &[Value]) -> Page {
    let page = Page::default().title("History");
    if rows.is_empty() {
        return page.line("nothing that the ledger knows of");
    }
    let heads = vec!["block", "at", "what happened", "changed", "by", "in transaction"];
    let page = page.wide_table(heads, rows.iter().map(row).collect(), &["in transaction"]);
    page.legend(vec![
        ("changed", "whether it changed anything: adding what is there already does not"),
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

pub fn csv(rows: &[Value]) -> Result<String> {
    let columns = [
        "block",
        "time",
        "log_index",
        "transaction",
        "kind",
        "value",
        "changed",
        "sender",
        "acted_by",
        "words",
    ];
    let rows = rows.iter().map(|row| {
        let places = ["/block/number", "/block_time", "/log_index", "/tx", "/kind", "/value"];
        let mut record: Vec<String> = places.iter().map(|place| text(row, place)).collect();
        record.extend(["/changed", "/sender"].map(|place| text(row, place)));
        record.extend([by(row), text(row, "/words")]);
        record.into_iter().map(cell).collect()
    });
    Ok(sheet(&columns, rows)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn csv_has_a_head_and_a_line_per_event() {
        let entry = json!({
            "block": {"number": 7, "hash": "0x01"}, "block_time": "2026-11-21T09:30:00Z",
            "log_index": 3, "tx": "0xcc", "kind": "device_added", "value": "0xbb",
            "changed": null, "sender": "0x11", "acted_by": {"kind": "deployment"},
            "words": "Device 0xbb allowed",
        });
        let expected = "block,time,log_index,transaction,kind,value,changed,sender,acted_by,words\n\
                        7,2026-11-21T09:30:00Z,3,0xcc,device_added,0xbb,,0x11,deployment,Device 0xbb allowed\n";
        assert_eq!(csv(&[entry]).unwrap(), expected);
    }
}
