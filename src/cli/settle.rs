//! `countersign settle`: a person tells how a commit ended that Countersign cannot make out.

use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{
    Globals,
    client::Client,
    print::Answer,
    request_page::{self, page_of},
};
use crate::request::ids::{ParseIdError, ReplicaId, RequestId};

/// Tell which instance a commit made, or that it made none.
///
/// Only for a request that asks for it: `countersign show` lists the instances that fit. An instance
/// of another app or request, one that was there before, or one that runs something else is refused.
/// With `none`, the replica is committed again: be sure that none of them is this request's.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign settle 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 \\
    --as 9f8e7d6c-5b4a-4938-8271-605f4e3d2c1b \\
    --reason 'the other one is of team B'
  countersign settle 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 --as none \\
    --reason 'both are of team B'")]
pub struct SettleArgs {
    /// Id of the request.
    id: RequestId,
    /// The instance that is its replica, or `none`.
    #[arg(long = "as", value_name = "REPLICA_UUID|none")]
    told: Told,
    /// How you know; it is kept in the journal.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// What a person found out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Replica(ReplicaId),
    None,
}

impl FromStr for Told {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.eq_ignore_ascii_case("none") {
            Ok(Self::None)
        } else {
            text.parse().map(Self::Replica)
        }
    }
}

pub async fn run(args: &SettleArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let path = ["v1", "requests", &args.id.to_string(), "settle"];
    let replica = match &args.told {
        Told::Replica(replica) => Some(replica),
        Told::None => None,
    };
    let body = json!({ "replica": replica, "reason": args.reason });
    let reply = client.post(&path, &body).await?;
    Ok(request_page::answer(page_of(&reply.body, "Settled"), reply.body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_a_word_and_everything_else_an_instance() {
        for text in ["none", "NONE"] {
            assert_eq!(text.parse::<Told>(), Ok(Told::None));
        }
        assert_eq!("9f8e".parse::<Told>(), Ok(Told::Replica("9f8e".parse().unwrap())));
        assert!("".parse::<Told>().is_err() && "../x".parse::<Told>().is_err());
    }
}
