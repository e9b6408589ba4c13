//! `countersign withdraw` and `countersign reject`: a person ends a request.

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

/// Take a request back; possible until its commit has begun.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  countersign withdraw 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 \\
    --reason 'not needed any more'")]
pub struct EndArgs {
    /// Id of the request.
    id: RequestId,
    /// Why; it is kept in the journal.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// `how` is the last part of the path.
pub async fn run(how: &'static str, args: &EndArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let path = ["v1", "requests", &args.id.to_string(), how];
    let reply = client.post(&path, &json!({ "reason": args.reason })).await?;
    let done = if how == "reject" { "Rejected" } else { "Withdrawn" };
    Ok(request_page::answer(page_of(&reply.body, done), reply.body))
}
