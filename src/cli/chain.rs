//! `countersign chain`: how the chains are followed, and how to go on after one was given up.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Globals,
    cells::{text, time},
    client::Client,
    database::{self, DatabaseArgs},
    page::{Cell, Page, Tone},
    print::{Answer, Ending},
};
use crate::{
    clock::{Clock, SystemClock},
    request::ids::ChainId,
};

/// Show how chains are followed, or start again with one that was given up.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign chain list
  countersign chain restart 8453")]
pub struct ChainArgs {
    #[command(subcommand)]
    command: ChainCommand,
}

#[derive(Debug, Subcommand)]
enum ChainCommand {
    /// List the chains, how far they are read, and how their endpoints do. Exit code 3 when one of
    /// them cannot be followed.
    #[command(after_help = "Example:
  countersign chain list")]
    List,
    /// Forget everything that was read of a chain and read it again from the start. Requests that
    /// were executed or registered wait for the chain to show it again; signatures and commits
    /// stay. For a chain that reorganised too deep, or that was read from a wrong node. Works
    /// straight in the database.
    #[command(after_help = "Example:
  DATABASE_URL=postgres://… countersign chain restart 8453")]
    Restart {
        /// The chain's id.
        chain: ChainId,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

pub async fn run(args: ChainArgs, globals: &Globals) -> Result<Answer> {
    match args.command {
        ChainCommand::List => list(globals).await,
        ChainCommand::Restart { chain, database } => restart(chain, &database).await,
    }
}

async fn list(globals: &Globals) -> Result<Answer> {
    let chains = Client::new(&globals.service)?.get(&["v1", "chains"], &[]).await?;
    let all: &[Value] = chains.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut page = Page::default().title("Chains").table(
        vec!["chain", "read up to", "looked at", "deep enough", "depth", "history left", "state"],
        all.iter().map(row).collect(),
    );
    let endpoints: Vec<Vec<Cell>> = all
        .iter()
        .flat_map(|chain| {
            let endpoints = chain["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default();
            endpoints.iter().map(move |endpoint| endpoint_row(chain, endpoint))
        })
        .collect();
    page = page
        .title("Endpoints")
        .table(vec!["chain", "endpoint", "head", "behind", "announces heads", "state"], endpoints);
    let is_troubled = all.iter().any(|chain| !chain["trouble"].is_null());
    Ok(Answer::new(page, chains).ending(Ending::attention_if(is_troubled)))
}

fn row(chain: &Value) -> Vec<Cell> {
    let state = match chain["trouble"]["problem"].as_str() {
        Some(problem) if chain["trouble"]["halted"] == true => {
            let remedy = format!("countersign chain restart {}", text(chain, "/chain_id"));
            Cell::toned(format!("given up: {problem} (see {remedy})"), Tone::Bad)
        }
        Some(problem) => Cell::toned(problem, Tone::Bad),
        None => Cell::toned("followed", Tone::Good),
    };
    vec![
        format!("{} ({})", text(chain, "/name"), text(chain, "/chain_id")).into(),
        text(chain, "/head/number").into(),
        time(chain, "/seen_at").into(),
        text(chain, "/deep/number").into(),
        text(chain, "/depth").into(),
        text(chain, "/history_blocks_left").into(),
        state,
    ]
}

fn endpoint_row(chain: &Value, endpoint: &Value) -> Vec<Cell> {
    let state = match endpoint["problem"].as_str() {
        Some(problem) => Cell::toned(problem, Tone::Bad),
        None => text(endpoint, "/state").into(),
    };
    let announces = if endpoint["announces"].as_bool() == Some(true) { "yes" } else { "no" };
    vec![
        text(chain, "/name").into(),
        text(endpoint, "/name").into(),
        text(endpoint, "/head").into(),
        text(endpoint, "/lag").into(),
        announces.into(),
        state,
    ]
}

async fn restart(chain: ChainId, database: &DatabaseArgs) -> Result<Answer> {
    let database = database::visit(database).await?;
    let restarted = database.store.restart_chain(chain, SystemClock.now()).await;
    database.close().await;
    let Some(taken_back) = restarted? else {
        bail!("nothing has been read of {}: there is nothing to forget", chain.label());
    };
    let page = Page::default().line(format!(
        "{} is read again from the start; requests that wait to see their execution there: {taken_back}",
        chain.label()
    ));
    Ok(Answer::new(page, json!({ "chain_id": chain, "requests_taken_back": taken_back })))
}
