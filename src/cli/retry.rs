//! `countersign retry`: a person wants a request tried now.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{
    Globals,
    client::Client,
    print::Answer,
    request_page::{self, page_of},
};
use crate::request::ids::RequestId;

/// Have a request tried now, whatever it waits for.
///
/// What a person was asked counts as answered; when it still stands in the way, it is asked again.
/// Possible until the request has ended. Exit code 3 when a person must look.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign retry 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 \\
    --reason 'credit was added'
  countersign list --json \\
    | jq -r '.requests[] | select(.needs_attention) | .id' \\
    | xargs -n1 countersign retry")]
pub struct RetryArgs {
    /// Id of the request.
    id: RequestId,
    /// Why; it is kept in the journal.
    #[arg(long, value_name = "TEXT", default_value = "asked for on the command line")]
    reason: String,
}

pub async fn run(args: &RetryArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let path = ["v1", "requests", &args.id.to_string(), "retry"];
    let reply = client.post(&path, &json!({ "reason": args.reason })).await?;
    Ok(request_page::answer(page_of(&reply.body, "To be tried now"), reply.body))
}
