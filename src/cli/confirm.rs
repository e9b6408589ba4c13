//! `countersign confirm`: hand in an owner's signature.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{
    Globals,
    client::Client,
    print::Answer,
    request_page::{self, page_of},
};
use crate::{request::ids::RequestId, safe::packed};

/// Hand in an owner's signature over the safeTxHash. Needs no API token.
#[derive(Debug, Args)]
#[command(after_help = "Example (sign on a hardware wallet, then hand in what it prints):
  countersign payload ID --eip712 > payload.json
  cast wallet sign --ledger --data --from-file payload.json
  countersign confirm ID --signature 0x…")]
pub struct ConfirmArgs {
    /// Id of the request.
    id: RequestId,
    /// In hexadecimal: 65 bytes, or several signatures as `execTransaction` takes them. `v` 1 says that
    /// the owner approved the hash on chain, `v` 0 that a contract answers for the bytes behind.
    #[arg(long, value_name = "0x…", value_parser = packed)]
    signature: String,
}

/// What does not read is not sent.
fn packed(text: &str) -> Result<String, packed::UnpackError> {
    packed::parse(text).map(|_| text.trim().to_owned())
}

pub async fn run(args: &ConfirmArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let path = ["v1", "requests", &args.id.to_string(), "confirmations"];
    let reply = client.post(&path, &json!({ "signature": args.signature })).await?;
    let title = if reply.status == 201 {
        "Signature added"
    } else {
        "This owner's signature was here before"
    };
    Ok(request_page::answer(page_of(&reply.body, title), reply.body))
}
