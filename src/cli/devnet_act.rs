//! `countersign devnet sign` and `execute`: what owners and an executor do, with the well-known
//! test accounts. They own nothing anywhere but on a devnet.

use std::time::Duration;

use alloy::primitives::Address;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use url::Url;

use super::{cells::text, client::ServiceArgs, devnet::Devnet, page::Page, print::Answer};
use crate::{
    devnet::{LocalRpcError, Rpc, Wallet},
    flow::chain_of,
    owner::Call,
    request::{ids::SafeTxHash, status::Status},
    safe::failure::code_in_words,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign devnet sign 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11
  countersign devnet sign 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 --owner 2")]
pub struct SignArgs {
    /// The request.
    id: String,
    /// Which owner signs, counted from 0; as many as the Safe asks for unless given. May be given
    /// more than once.
    #[arg(long = "owner", value_name = "N")]
    owners: Vec<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  countersign devnet execute 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11")]
pub struct ExecuteArgs {
    /// The request.
    id: String,
    /// RPC endpoint of the devnet's chain; the devnet at --url tells its own.
    #[arg(long, env = "COUNTERSIGN_DEVNET_RPC", value_name = "URL")]
    rpc: Option<Url>,
}

/// Has Phala Cloud prepare a replica, through the gateway, and returns the request that it becomes once
/// it can be signed.
pub async fn prepare(devnet: &Devnet) -> Result<String> {
    const PATIENCE: Duration = Duration::from_mins(1);
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let (town, url) = (&devnet.town, devnet.url());
    let node: u64 = town.replica_node().as_str().parse()?;
    let answer = http
        .post(format!("{}/cvms/{}/replicas", devnet.gateway(), town.source))
        .header("X-API-Key", town.cloud.api_key())
        .header("X-Prepare-Only", "true")
        .json(&json!({ "node_id": node }))
        .send()
        .await?;
    ensure!(answer.status().as_u16() == 465, "Phala Cloud answered {}", answer.status());
    let ready = async {
        loop {
            let list: Value = http.get(format!("{url}/v1/requests")).send().await?.json().await?;
            let request = &list["requests"][0];
            if let (Some(id), Some("proposed")) =
                (request["id"].as_str(), request["status"].as_str())
            {
                break anyhow::Ok(id.to_owned());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.context("nothing was proposed")?
}

/// Where the chain of a running devnet is.
async fn rpc_of(http: &reqwest::Client, url: &str) -> Result<Url> {
    let told = async {
        let answer = http.get(format!("{url}/devnet/wallets")).send().await?.error_for_status()?;
        answer.json::<Value>().await
    };
    let told = told.await.ok();
    let rpc = told.as_ref().and_then(|told| told["rpc"].as_str()?.parse().ok());
    rpc.with_context(|| {
        format!("no devnet answers at {url}: set COUNTERSIGN_URL to what `countersign devnet` printed, or give --rpc")
    })
}

/// Reads a request; reads are open on a devnet.
async fn request(http: &reqwest::Client, url: &str, id: &str) -> Result<Value> {
    read(http, &format!("{url}/v1/requests/{id}"), "no such request").await
}

/// Reads the proposal of a request.
pub async fn proposal(http: &reqwest::Client, url: &str, id: &str) -> Result<Value> {
    read(http, &format!("{url}/v1/requests/{id}/proposal"), "no proposal").await
}

async fn read(http: &reqwest::Client, url: &str, otherwise: &'static str) -> Result<Value> {
    let answer = http.get(url).send().await?;
    let ok = answer.status().is_success();
    let body: Value = answer.json().await?;
    if ok { Ok(body) } else { bail!("{}", body["title"].as_str().unwrap_or(otherwise)) }
}

/// Signs a proposal as one owner and gives the signature over HTTP.
pub async fn confirm(
    http: &reqwest::Client,
    url: &str,
    id: &str,
    owner: &Wallet,
    hash: SafeTxHash,
) -> Result<Value> {
    let signature = alloy::hex::encode_prefixed(owner.sign(hash).to_bytes());
    let answer = http
        .post(format!("{url}/v1/requests/{id}/confirmations"))
        .json(&json!({ "signature": signature }))
        .send()
        .await?;
    let ok = answer.status().is_success();
    let body: Value = answer.json().await?;
    if ok { Ok(body) } else { bail!("{}", body["title"].as_str().unwrap_or("not taken")) }
}

/// The hash that a proposal asks its owners to sign.
pub fn safe_tx_hash(proposal: &Value) -> Result<SafeTxHash> {
    let text = proposal["safe_tx_hash"].as_str().context(
        "the owner is an account and no Safe, so nothing is signed: `countersign devnet execute ID` \
         makes its calls",
    )?;
    Ok(text.parse()?)
}

pub async fn sign(args: SignArgs, service: &ServiceArgs) -> Result<Answer> {
    let (http, url) = (service.http()?, service.base());
    let request = request(&http, url, &args.id).await?;
    if let Some(why) = why_past(&request, "signed") {
        bail!(why);
    }
    let proposal = proposal(&http, url, &args.id).await?;
    let hash = safe_tx_hash(&proposal)?;
    let threshold = proposal["threshold"].as_u64().unwrap_or(1);
    let owners = if args.owners.is_empty() {
        (0..usize::try_from(threshold)?).collect()
    } else {
        args.owners
    };
    let (mut page, mut signed) = (Page::default(), vec![]);
    for number in owners {
        let owner =
            Wallet::funded(number).with_context(|| format!("there is no owner {number}"))?;
        let request = confirm(&http, url, &args.id, &owner, hash).await?;
        page = page.line(format!("signed by {}: {}", owner.address(), text(&request, "/status")));
        signed.push(json!({ "owner": owner.address().to_string(), "status": request["status"] }));
    }
    Ok(Answer::new(page, signed))
}

/// Why nothing is to be done by a request's owners any more; none while there is.
fn why_past(request: &Value, done: &str) -> Option<String> {
    let status: Status = text(request, "/status").parse().ok()?;
    let of = format!("nothing is to be {done} for it any more");
    match status {
        Status::Prepared | Status::Proposed | Status::Approved => None,
        Status::Running => Some(format!("the request runs already: {of}")),
        status if status.is_end() => Some(format!("the request has ended ({status}): {of}")),
        status => Some(format!("the chain allows already what the request needs ({status}): {of}")),
    }
}

/// What a Safe says when it refuses, with what its code means.
fn in_words(error: LocalRpcError) -> anyhow::Error {
    let text = chain_of(&error);
    let words = |word| code_in_words(word).map(|words| (word, words));
    match text.split(|c: char| !c.is_ascii_alphanumeric()).find_map(words) {
        Some((code @ "GS026", words)) => anyhow::anyhow!(
            "the Safe refuses it ({code}: {words}). Its signatures are for one nonce: an earlier \
             transaction of the Safe may have to be executed first, or this one was executed already"
        ),
        Some((code, words)) => anyhow::anyhow!("the Safe refuses it ({code}: {words})"),
        None => error.into(),
    }
}

pub async fn execute(args: ExecuteArgs, service: &ServiceArgs) -> Result<Answer> {
    let (http, url) = (service.http()?, service.base());
    let rpc = match args.rpc {
        Some(rpc) => rpc,
        None => rpc_of(&http, url).await?,
    };
    let request = request(&http, url, &args.id).await?;
    let proposal = proposal(&http, url, &args.id).await?;
    if !proposal["safe_tx"].is_object() {
        return make_calls(&proposal, rpc).await;
    }
    // What was signed for a request that was taken back, or expired, can be executed all the same.
    let is_over = matches!(request["status"].as_str(), Some("withdrawn" | "rejected" | "expired"));
    if let Some(why) = why_past(&request, "executed").filter(|_| !is_over) {
        bail!(why);
    }
    let call = &proposal["execution"];
    let (Some(to), Some(data)) = (call["to"].as_str(), call["data"].as_str()) else {
        bail!(
            "not enough owners have signed yet ({} of {}): `countersign devnet sign {}`",
            proposal["confirmations"].as_array().map_or(0, Vec::len),
            proposal["threshold"],
            args.id
        );
    };
    let executor = Wallet::funded(Wallet::FUNDED - 1).context("a devnet funds an executor")?;
    let gas = call["gas_limit"].as_u64();
    let sent = Rpc::new(rpc).send_with(&executor, to.parse()?, data.parse()?, gas).await;
    let receipt = sent.map_err(in_words)?;
    let (tx, block) = (receipt.transaction_hash, receipt.block_number.unwrap_or_default());
    let page = Page::default().line(format!("executed in {tx}, block {block}"));
    Ok(Answer::new(page, json!({ "transaction": tx, "block": block })))
}

/// What an account does that owns the app: it makes each call by itself.
async fn make_calls(proposal: &Value, rpc: Url) -> Result<Answer> {
    let owner: Address = proposal["owner"].as_str().unwrap_or_default().parse()?;
    let mut wallets = (0..).map_while(Wallet::funded);
    let wallet = wallets.find(|one| one.address() == owner);
    let wallet =
        wallet.with_context(|| format!("the owner {owner} is no account of this devnet"))?;
    let calls: Vec<Call> = serde_json::from_value(proposal["bare_calls"].clone())?;
    let rpc = Rpc::new(rpc);
    let (mut page, mut made) = (Page::default(), vec![]);
    for call in calls {
        let receipt = rpc.send_with(&wallet, call.to, call.data, None).await?;
        let (tx, block) = (receipt.transaction_hash, receipt.block_number.unwrap_or_default());
        page = page.line(format!("made by {owner} in {tx}, block {block}"));
        made.push(json!({ "transaction": tx, "block": block }));
    }
    Ok(Answer::new(page, made))
}

#[cfg(test)]
mod tests {
    use alloy::transports::TransportErrorKind;

    use super::*;

    #[test]
    fn what_is_past_its_approval_is_signed_by_nobody() {
        let why = |status: &str| why_past(&json!({ "status": status }), "signed");
        for status in ["prepared", "proposed", "approved", "a new word"] {
            assert_eq!(why(status), None, "{status}");
        }
        for (status, words) in [
            ("running", "runs already"),
            ("registered", "the chain allows already what the request needs (registered)"),
            ("rejected", "has ended (rejected)"),
            ("failed", "has ended (failed)"),
        ] {
            assert!(why(status).unwrap().contains(words), "{status}");
        }
    }

    #[test]
    fn a_refusal_of_the_safe_is_told_in_words() {
        let told = |text: &str| {
            let source = TransportErrorKind::custom_str(text);
            let error = LocalRpcError::Request { operation: "the transaction", source };
            in_words(error).to_string()
        };
        assert!(told("execution reverted: GS026").contains("an earlier transaction of the Safe"));
        assert!(told("execution reverted: GS013").contains("the call that it makes failed"));
        assert!(told("no route").contains("refused the transaction"));
    }
}
