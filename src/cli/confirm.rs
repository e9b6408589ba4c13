//! `countersign confirm`: hand in an owner's signature.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{
    Globals,
    client::Client,
    print::Answer,
    show::{self, page_of},
};
use crate::{request::ids::RequestId, safe::OwnerSignature};

/// Hand in an owner's signature over the safeTxHash. Needs no API token.
#[derive(Debug, Args)]
#[command(after_help = "Example (sign on a hardware wallet, then hand in what it prints):
  countersign payload ID --eip712 > payload.json
  cast wallet sign --ledger --data --from-file payload.json
  countersign confirm ID --signature 0x…")]
pub struct ConfirmArgs {
    /// Id of the request.
    id: RequestId,
    /// 65 bytes in hexadecimal.
    #[arg(long, value_name = "0x…")]
    signature: OwnerSignature,
}

pub async fn run(args: &ConfirmArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let path = ["v1", "requests", &args.id.to_string(), "confirmations"];
    let signature = alloy::hex::encode_prefixed(args.signature.to_bytes());
    let reply = client.post(&path, &json!({ "signature": signature })).await?;
    let title = if reply.status == 201 {
        "Signature added"
    } else {
        "This owner's signature was here before"
    };
    Ok(show::answer(page_of(&reply.body, title), reply.body))
}
