//! `countersign comment`: a person says something about a request.

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

/// Say something about a request, for whoever reads its timeline. It changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  countersign comment 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 \\
    'the image was built from the tag of today'")]
pub struct CommentArgs {
    /// Id of the request.
    id: RequestId,
    /// Up to 2000 characters; kept in the journal.
    text: String,
}

pub async fn run(args: &CommentArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let path = ["v1", "requests", &args.id.to_string(), "comments"];
    let reply = client.post(&path, &json!({ "text": args.text })).await?;
    Ok(request_page::answer(page_of(&reply.body, "Commented"), reply.body))
}
