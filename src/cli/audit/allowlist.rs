//! What an app allows, in facts and a table or as JSON; and whether the chain agrees.

use serde_json::{Value, json};

use super::by;
use crate::cli::{
    cells::{text, time},
    client::{ClientError, Reply},
    page::{Cell, Page, Tone},
    print::Ending,
};

/// What the comparison of ledger and chain said.
pub enum Drift {
    NotAsked,
    Found {
        found: Vec<Value>,
        /// Entries that were not compared, since there are too many.
        unchecked: u64,
    },
    /// The chain cannot be read, which is not the same as no drift.
    Unknown(String),
}

impl Drift {
    pub fn of(answer: Result<Reply, ClientError>) -> Result<Self, ClientError> {
        match answer {
            Ok(Reply { body: Value::Array(found), headers, .. }) => {
                let unchecked = headers.get("countersign-unchecked");
                let unchecked = unchecked.and_then(|count| count.to_str().ok()?.parse().ok());
                Ok(Self::Found { found, unchecked: unchecked.unwrap_or_default() })
            }
            Ok(_) => Ok(Self::Unknown("the answer does not read".into())),
            Err(error) if error.status() == Some(503) => Ok(Self::Unknown(error.to_string())),
            Err(error) => Err(error),
        }
    }

    pub fn ending(&self) -> Ending {
        match self {
            Self::NotAsked => Ending::Done,
            Self::Found { found, unchecked } => {
                Ending::attention_if(!found.is_empty() || *unchecked > 0)
            }
            Self::Unknown(_) => Ending::Attention,
        }
    }

    pub fn words(&self) -> String {
        match self {
            Self::NotAsked => "only compared as of now".into(),
            Self::Found { found, unchecked: 0 } if found.is_empty() => {
                "ledger and chain agree".into()
            }
            Self::Found { found, unchecked: 0 } => {
                format!("ledger and chain disagree on {} entries", found.len())
            }
            Self::Found { found, unchecked } => format!(
                "ledger and chain disagree on {} entries; {unchecked} older ones were not compared",
                found.len()
            ),
            Self::Unknown(why) => format!("the chain could not be compared: {why}"),
        }
    }
}

/// The rules beside the lists: their names in JSON, and for people.
const RULES: [(&str, &str); 6] = [
    ("owner", "Owner"),
    ("pending_owner", "Offered to"),
    ("allow_any_device", "Any device"),
    ("require_tcb_up_to_date", "TCB up to date"),
    ("upgrades_disabled", "Code frozen"),
    ("implementation", "Runs the code of"),
];

/// Words that are not self-evident.
const LEGEND: [(&str, &str); 7] = [
    ("TCB up to date", "the app lets in only machines with their firmware up to date"),
    ("Code frozen", "whether the contract's code can no longer be replaced"),
    ("Offered to", "who may take the ownership over"),
    ("Drift", "where the ledger, made from events, and the chain's state differ"),
    ("decided by", "who called the app: its Safe by owners or module, a timelock, a key"),
    ("requests", "those that had it allowed, also those taken back since"),
    ("needed by", "instances made here or on Phala Cloud's last list, and requests on their way"),
];

fn entries(list: &Value) -> &[Value] {
    list["entries"].as_array().map(Vec::as_slice).unwrap_or_default()
}

pub fn json(list: &Value, drift: &Drift) -> Value {
    let (found, unchecked) = match drift {
        Drift::Found { found, unchecked } => (json!(found), json!(unchecked)),
        _ => (Value::Null, Value::Null),
    };
    let problem = if let Drift::Unknown(why) = drift { json!(why) } else { Value::Null };
    let mut whole = list.clone();
    whole["drift"] = found;
    whole["drift_unchecked"] = unchecked;
    whole["drift_problem"] = problem;
    whole
}

pub fn page(list: &Value, drift: &Drift) -> Page {
    let at = match (list["at"].as_u64(), list["head"]["number"].as_u64()) {
        (Some(block), _) => format!("block {block}"),
        (None, Some(head)) => format!("now, block {head}"),
        (None, None) => "now".into(),
    };
    let known = match (list["ledger_from"].as_u64(), list["is_whole"] == Value::Bool(true)) {
        (Some(block), true) => format!("block {block}, the deployment").into(),
        (Some(block), false) => {
            Cell::toned(format!("block {block}; what is older is not known"), Tone::Waiting)
        }
        (None, _) => Cell::toned("not read yet: this list is not complete", Tone::Waiting),
    };
    let listed = list["instances_listed_at"].as_str();
    let listed_at = match listed {
        Some(_) => time(list, "/instances_listed_at").into(),
        None => Cell::toned("not yet: what runs and was not made here is not known", Tone::Waiting),
    };
    let tone = if drift.ending() == Ending::Done { Tone::Good } else { Tone::Bad };
    let mut facts = vec![
        ("App", text(list, "/app").into()),
        ("Chain", text(list, "/chain_id").into()),
        ("As of", at.into()),
        ("Events known from", known),
        ("Instances listed", listed_at),
    ];
    facts.extend(RULES.map(|(name, title)| (title, rule(list, name))));
    facts.push(("Drift", Cell::toned(drift.words(), tone)));
    for (name, title) in [("warning", "Careful"), ("unreadable", "Not read")] {
        if list[name].is_string() {
            facts.push((title, Cell::toned(text(list, &format!("/{name}")), Tone::Bad)));
        }
    }
    // Said once when it is why the list is not complete as well.
    if list["untold"].is_string() && list["untold"] != list["warning"] {
        facts.push(("Not known", Cell::toned(text(list, "/untold"), Tone::Waiting)));
    }
    let rows: Vec<Vec<Cell>> =
        entries(list).iter().map(|entry| row(entry, listed.is_some())).collect();
    let page = Page::default().title("Allowlist").facts(facts).title("Allowed");
    let page = if rows.is_empty() {
        page.line("nothing that the ledger knows of")
    } else {
        let heads = vec![
            "what",
            "value",
            "since block",
            "since",
            "by transaction",
            "decided by",
            "requests",
            "needed by",
        ];
        page.wide_table(heads, rows, &[])
    };
    differences(page, drift).legend(LEGEND.to_vec())
}

/// A rule in a word; `-` when it is not known, or does not exist.
fn rule(list: &Value, name: &str) -> Cell {
    match &list[name] {
        Value::Bool(true) if name == "allow_any_device" => Cell::toned("yes", Tone::Bad),
        Value::Bool(flag) => if *flag { "yes" } else { "no" }.into(),
        _ => text(list, &format!("/{name}")).into(),
    }
}

fn row(entry: &Value, is_listed: bool) -> Vec<Cell> {
    vec![
        text(entry, "/kind").replace('_', " ").into(),
        text(entry, "/value").into(),
        text(entry, "/since/number").into(),
        time(entry, "/since_time").into(),
        Cell::hash(text(entry, "/tx")),
        by(entry).into(),
        names(&entry["requests"]).unwrap_or_else(|| "-".into()).into(),
        needed_by(entry, is_listed),
    ]
}

/// Ids in a list, if there are any.
fn names(list: &Value) -> Option<String> {
    let ids: Vec<String> = list.as_array()?.iter().map(|id| text(id, "")).collect();
    (!ids.is_empty()).then(|| ids.join(" "))
}

/// Who a removal would hit. Before the instances were listed nobody can be said not to need it.
fn needed_by(entry: &Value, is_listed: bool) -> Cell {
    let removal = &entry["removal"];
    let requests = names(&removal["requests"]).map(|ids| format!("requests {ids}"));
    let needed: Vec<String> = names(&removal["instances"]).into_iter().chain(requests).collect();
    match (needed.is_empty(), is_listed) {
        (false, _) => needed.join(", ").into(),
        (true, true) => "nobody known here".into(),
        (true, false) => Cell::toned("not known", Tone::Waiting),
    }
}

fn differences(page: Page, drift: &Drift) -> Page {
    let Drift::Found { found, .. } = drift else { return page };
    if found.is_empty() {
        return page;
    }
    let row = |one: &Value| {
        vec![
            text(one, "/kind").replace('_', " ").into(),
            text(one, "/value").into(),
            text(one, "/in_ledger").into(),
            text(one, "/on_chain").into(),
        ]
    };
    let rows = found.iter().map(row).collect();
    page.title("Drift").table(vec!["what", "value", "in ledger", "on chain"], rows)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;
    use crate::cli::page::Look;

    #[test]
    fn why_a_rule_is_not_known_is_said_once() {
        let shown = |warning: Value| {
            let list = json!({ "at": 3, "untold": "no event tells it", "warning": warning });
            page(&list, &Drift::NotAsked).render(Look::of_pipe())
        };
        let told = shown(Value::Null);
        assert!(told.contains("Not known") && told.contains("no event tells it"), "{told}");
        assert!(!shown(json!("no event tells it")).contains("Not known"));
    }

    #[test]
    fn an_unreadable_chain_is_not_agreement_and_neither_is_half_a_comparison() {
        let refused = |status| {
            Err(ClientError::Refused {
                status,
                code: "chain-unreadable".into(),
                title: "no endpoint answers".into(),
                field: None,
            })
        };
        let found = |body, unchecked: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(count) = unchecked {
                headers.insert("countersign-unchecked", count.parse().unwrap());
            }
            Drift::of(Ok(Reply { status: 200, headers, body })).unwrap()
        };
        assert_eq!(found(json!([]), None).ending(), Ending::Done);
        assert_eq!(found(json!([{}]), None).ending(), Ending::Attention);
        let half = found(json!([]), Some("7"));
        assert_eq!(half.ending(), Ending::Attention);
        assert!(half.words().contains("7 older ones were not compared"));
        assert_eq!(Drift::of(refused(503)).unwrap().ending(), Ending::Attention);
        assert!(Drift::of(refused(404)).is_err());
    }
}
