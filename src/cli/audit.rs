//! `countersign audit`: what an app allows, since when and by which transaction, and whether ledger
//! and chain agree.

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    Globals, apps,
    client::{Client, ClientError},
    page::{Cell, Page, Tone},
    print::{Answer, Ending, spinner},
    show::{text, time},
};
use crate::request::ids::{AppId, ChainId};

/// Show which compose hashes and devices an app allows, since when, and by which transaction.
///
/// Without `--at` the ledger is also compared with the chain; exit code 3 when they disagree, or
/// when the chain cannot be read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign audit 0x1111111111111111111111111111111111111111
  countersign audit 0x1111111111111111111111111111111111111111 --at 38000000 --format csv > allowlist.csv")]
pub struct AuditArgs {
    /// The app: the address of its contract.
    app: AppId,
    /// Its chain; needed when it is watched on several.
    #[arg(long, value_name = "ID")]
    chain: Option<ChainId>,
    /// As of this block instead of now.
    #[arg(long, value_name = "BLOCK")]
    at: Option<u64>,
    /// `json` is the same as `--json`.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

pub async fn run(args: &AuditArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let spinner = spinner("reads ledger and chain");
    let chain = match args.chain {
        Some(chain) => chain,
        None => apps::chain_of(&client, args.app).await?,
    };
    let (chain, app) = (chain.to_string(), args.app.to_string());
    let at: Vec<_> = args.at.map(|at| ("at", at.to_string())).into_iter().collect();
    let allowlist = client.get(&["v1", "apps", &chain, &app, "allowlist"], &at).await?;
    let drift = match args.at {
        Some(_) => Drift::NotAsked,
        None => Drift::of(client.get(&["v1", "apps", &chain, &app, "drift"], &[]).await)?,
    };
    spinner.finish_and_clear();
    let ending = drift.ending();
    let answer = match args.format {
        Format::Csv => {
            let answer = Answer::raw(csv(entries(&allowlist))?);
            if ending == Ending::Done { answer } else { answer.note(drift.words()) }
        }
        Format::Json => Answer::raw(json(&allowlist, &drift).to_string()),
        Format::Table => Answer::new(page(&allowlist, &drift), json(&allowlist, &drift)),
    };
    Ok(answer.ending(ending))
}

/// What the comparison of ledger and chain said.
enum Drift {
    NotAsked,
    Found(Vec<Value>),
    /// The chain cannot be read, which is not the same as no drift.
    Unknown(String),
}

impl Drift {
    fn of(answer: Result<Value, ClientError>) -> Result<Self, ClientError> {
        match answer {
            Ok(Value::Array(found)) => Ok(Self::Found(found)),
            Ok(_) => Ok(Self::Unknown("the answer does not read".into())),
            Err(error) if error.status() == Some(503) => Ok(Self::Unknown(error.to_string())),
            Err(error) => Err(error),
        }
    }

    fn ending(&self) -> Ending {
        match self {
            Self::NotAsked => Ending::Done,
            Self::Found(found) => Ending::attention_if(!found.is_empty()),
            Self::Unknown(_) => Ending::Attention,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::NotAsked => "only compared as of now".into(),
            Self::Found(found) if found.is_empty() => "ledger and chain agree".into(),
            Self::Found(found) => {
                format!("ledger and chain disagree on {} entries", found.len())
            }
            Self::Unknown(why) => format!("the chain could not be compared: {why}"),
        }
    }
}

fn entries(allowlist: &Value) -> &[Value] {
    allowlist["entries"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn json(allowlist: &Value, drift: &Drift) -> Value {
    let found = if let Drift::Found(found) = drift { json!(found) } else { Value::Null };
    let problem = if let Drift::Unknown(why) = drift { json!(why) } else { Value::Null };
    let mut whole = allowlist.clone();
    whole["drift"] = found;
    whole["drift_problem"] = problem;
    whole
}

fn page(allowlist: &Value, drift: &Drift) -> Page {
    let at = match allowlist["at"].as_u64() {
        Some(block) => format!("block {block}"),
        None => "now".into(),
    };
    let known = match allowlist["ledger_from"].as_u64() {
        Some(block) => format!("block {block}; what is older is not in this list"),
        None => "not read yet: this list is not complete".into(),
    };
    let tone = if drift.ending() == Ending::Done { Tone::Good } else { Tone::Bad };
    let facts = vec![
        ("App", text(allowlist, "/app").into()),
        ("Chain", text(allowlist, "/chain_id").into()),
        ("As of", at.into()),
        ("Events known from", known.into()),
        ("Drift", Cell::toned(drift.words(), tone)),
    ];
    let rows: Vec<Vec<Cell>> = entries(allowlist).iter().map(row).collect();
    let page = Page::default().title("Allowlist").facts(facts).title("Allowed");
    let page = if rows.is_empty() {
        page.line("nothing that the ledger knows of")
    } else {
        page.table(vec!["what", "value", "since block", "since", "by transaction"], rows)
    };
    let Drift::Found(found) = drift else { return page };
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

fn row(entry: &Value) -> Vec<Cell> {
    vec![
        text(entry, "/kind").replace('_', " ").into(),
        text(entry, "/value").into(),
        text(entry, "/since/number").into(),
        time(entry, "/since_time").into(),
        Cell::hash(text(entry, "/tx")),
    ]
}

fn csv(entries: &[Value]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(vec![]);
    csv.write_record(["kind", "value", "since_block", "since_time", "transaction"])?;
    for entry in entries {
        let places = ["/kind", "/value", "/since/number", "/since_time", "/tx"];
        csv.write_record(places.map(|place| text(entry, place)))?;
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_a_head_and_a_line_per_entry() {
        let entry = json!({
            "kind": "device", "value": "0xbb", "since": {"number": 7, "hash": "0x01"},
            "since_time": "2026-11-21T09:30:00Z", "tx": "0xcc, \"odd\"",
        });
        let expected = "kind,value,since_block,since_time,transaction\n\
                        device,0xbb,7,2026-11-21T09:30:00Z,\"0xcc, \"\"odd\"\"\"\n";
        assert_eq!(csv(&[entry]).unwrap(), expected);
    }

    #[test]
    fn an_unreadable_chain_is_not_agreement() {
        let refused = |status| {
            Err(ClientError::Refused {
                status,
                code: "chain-unreadable".into(),
                title: "no endpoint answers".into(),
                field: None,
            })
        };
        assert_eq!(Drift::of(Ok(json!([]))).unwrap().ending(), Ending::Done);
        assert_eq!(Drift::of(Ok(json!([{}]))).unwrap().ending(), Ending::Attention);
        assert_eq!(Drift::of(refused(503)).unwrap().ending(), Ending::Attention);
        assert!(Drift::of(refused(404)).is_err());
    }
}
