//! `countersign propose`: a person says how requests are put to their Safe.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::{
    Globals,
    cells::text,
    client::Client,
    page::{Cell, Page, Tone},
    print::Answer,
};
use crate::request::ids::RequestId;

/// Have requests put to their Safe in one transaction, or at a nonce of your choice.
///
/// Several requests become one transaction that adds what all of them need; each is followed by
/// itself afterwards. Their apps must belong to the same Safe. What was proposed before is replaced,
/// and signatures over it do not count any more; where a nonce is used again, only one of the two
/// transactions can be executed. With one request and no nonce it is proposed alone again, at the next
/// free nonce. Possible until the entries are on the chain.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign propose ID1 ID2 --reason 'one signing round'
  countersign propose ID --nonce 12 --reason 'instead of the old rollout'
  countersign propose ID --reason 'alone again, at the next free nonce'")]
pub struct ProposeArgs {
    /// Ids of the requests.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<RequestId>,
    /// The nonce of the Safe to use. It may be one that waits elsewhere, or leave a gap: signers are
    /// told.
    #[arg(long, value_name = "N")]
    nonce: Option<u64>,
    /// Why; it is kept in the journal.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub async fn run(args: &ProposeArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let body = json!({ "requests": args.ids, "nonce": args.nonce, "reason": args.reason });
    let reply = client.post(&["v1", "proposals"], &body).await?;
    let requests = reply.body["requests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |request: &Value| -> Vec<Cell> {
        let hashes = ["/app", "/compose_hash", "/device_id"];
        let hashes = hashes.map(|place| Cell::hash(text(request, place)));
        [Cell::from(text(request, "/id"))].into_iter().chain(hashes).collect()
    };
    let title = if requests.len() > 1 { "To be proposed together" } else { "To be proposed" };
    let page = Page::default()
        .title(title)
        .table(vec!["request", "app", "compose hash", "device"], requests.iter().map(row).collect())
        .line(dropped(reply.body["dropped_signatures"].as_u64().unwrap_or_default()))
        .line("what is to be signed, in a moment: countersign payload ID");
    Ok(Answer::new(page, reply.body))
}

/// What became of the signatures over what was proposed before.
fn dropped(count: u64) -> Cell {
    match count {
        0 => "no signature is lost".into(),
        1 => Cell::toned("1 signature does not count any more: its owner signs again", Tone::Bad),
        _ => {
            let told = format!("{count} signatures do not count any more: their owners sign again");
            Cell::toned(told, Tone::Bad)
        }
    }
}
