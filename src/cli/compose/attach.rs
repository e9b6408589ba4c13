//! `countersign compose attach`: hand in the document of a request.

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;
use std::path::PathBuf;

use super::{
    super::{Globals, client::Client, page::Page, print::Answer},
    read, told,
};
use crate::request::ids::RequestId;

/// Hand in the document that a request's compose hash is of.
///
/// It counts as proof like one from Phala Cloud, since the hash is the proof: the service takes no
/// document that does not have it.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  countersign compose attach 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 \\
    app-compose.json")]
pub struct AttachArgs {
    /// Id of the request.
    id: RequestId,
    /// The document; `-` is standard input.
    file: PathBuf,
}

pub async fn run(args: &AttachArgs, globals: &Globals) -> Result<Answer> {
    let bytes = read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let client = Client::new(&globals.service)?;
    let path = ["v1", "requests", &args.id.to_string(), "compose"];
    let told: Value = client.post_bytes(&path, bytes).await?.body;
    let page = Page::default().title("What the compose hash means");
    Ok(Answer::new(told::proof(page, &told["proof"]), told))
}
