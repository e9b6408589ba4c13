//! Reading the mailbox: a Safe, its transactions, one transaction; and taking one out.

use std::collections::HashMap;

use alloy::primitives::{Address, B256, U256, b256};
use alloy::providers::Provider;
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, Uri},
    response::IntoResponse,
};
use serde_json::{Value, json};

use super::{
    Service,
    delegates::{hours, signer},
    fields::Reader,
    json_body,
    refusal::{Answer, Refusal},
    state::Mail,
    views,
};
use crate::{
    request::ids::SafeTxHash,
    safe::{
        deployments::{self, Contract},
        tx::Safe,
    },
    safe_service::DeleteRequest,
};

const LIMIT: usize = 100;
const LIMIT_MAX: usize = 200;
const FALLBACK_HANDLER_SLOT: B256 =
    b256!("6c9a6c4a39284e37ed1cf53d337577d14212a4870fb976a4366c693b939918d5");
const GUARD_SLOT: B256 = b256!("4a204f620c8c5ccdca3fd54d003badd85ba500436a431f0cbda4f558c93c34c8");
/// Where a Safe's list of modules begins.
const FIRST_MODULE: Address = Address::with_last_byte(1);

fn not_found() -> Refusal {
    Refusal::detail(404, "No MultisigTransaction matches the given query.")
}

/// A Safe, straight from the chain.
pub(super) async fn safe(State(service): State<Service>, Path(safe): Path<String>) -> Answer {
    let address = service.account(&safe)?;
    let Ok(now) = service.chain.safe(address).await else {
        return Err(Refusal { status: 404, body: None });
    };
    let slot = async |slot: B256| {
        let read = service.chain.rpc.provider().get_storage_at(address, slot.into()).await;
        Address::from_word(B256::from(read.unwrap_or_default())).to_string()
    };
    let modules = Safe::getModulesPaginatedCall { start: FIRST_MODULE, pageSize: U256::from(50) };
    let modules = service.chain.rpc.ask(address, &modules).await;
    let modules = modules.map(|page| page.modules).unwrap_or_default();
    let texts = |all: &[Address]| all.iter().map(Address::to_string).collect::<Vec<_>>();
    let singleton = deployments::find_singleton(now.singleton);
    let is_l2 = singleton.is_some_and(|known| known.contract == Contract::SafeL2);
    let layer = if is_l2 { "+L2" } else { "" };
    Ok(Json(json!({
        "address": address.to_string(), "nonce": now.nonce.to_string(),
        "threshold": now.threshold.saturating_to::<u64>(), "owners": texts(&now.owners),
        "masterCopy": now.singleton.to_string(), "modules": texts(&modules),
        "fallbackHandler": slot(FALLBACK_HANDLER_SLOT).await,
        "guard": slot(GUARD_SLOT).await, "moduleGuard": Address::ZERO.to_string(),
        "version": format!("{}{layer}", now.version),
    }))
    .into_response())
}

/// Whether a transaction is in the list that the query asks for.
fn is_asked_for(mail: &Mail, query: &HashMap<String, String>) -> bool {
    let flag =
        |name: &str| query.get(name).map(|text| matches!(text.as_str(), "true" | "True" | "1"));
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<U256>().ok());
    let nonce = mail.tx.nonce;
    flag("trusted").unwrap_or(true) == mail.trusted
        && flag("executed").is_none_or(|asked| asked == mail.execution.is_some())
        && flag("has_confirmations").is_none_or(|asked| asked != mail.confirmations.is_empty())
        && number("nonce").is_none_or(|asked| nonce == asked)
        && number("nonce__gte").is_none_or(|asked| nonce >= asked)
        && number("nonce__gt").is_none_or(|asked| nonce > asked)
        && number("nonce__lte").is_none_or(|asked| nonce <= asked)
        && number("nonce__lt").is_none_or(|asked| nonce < asked)
        && query.get("safe_tx_hash").is_none_or(|asked| *asked == mail.hash.to_string())
        && query.get("to").is_none_or(|asked| *asked == mail.tx.to.to_string())
}

/// The transactions of a Safe, the newest nonce first unless asked otherwise.
pub(super) async fn list(
    State(service): State<Service>,
    Path(safe): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    uri: Uri,
) -> Answer {
    let address = service.account(&safe)?;
    let threshold = service.chain.safe(address).await?.threshold;
    service.index(address).await?;
    let world = service.world();
    let of_safe = world.mail.iter().filter(|mail| mail.safe == address);
    let mut asked: Vec<&Mail> = of_safe.filter(|mail| is_asked_for(mail, &query)).collect();
    match query.get("ordering").map(String::as_str) {
        Some("nonce") => asked.sort_by_key(|mail| (mail.tx.nonce, mail.submitted)),
        Some("created") => asked.sort_by_key(|mail| mail.submitted),
        Some("-created") => asked.sort_by_key(|mail| std::cmp::Reverse(mail.submitted)),
        Some("modified") => asked.sort_by_key(|mail| mail.modified),
        Some("-modified") => asked.sort_by_key(|mail| std::cmp::Reverse(mail.modified)),
        _ => asked.sort_by_key(|mail| std::cmp::Reverse((mail.tx.nonce, mail.submitted))),
    }
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let limit = number("limit").unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let offset = number("offset").unwrap_or(0);
    let page = asked.iter().skip(offset).take(limit);
    let rows: Vec<Value> =
        page.map(|mail| views::transaction(mail, threshold, &world.switches.lies)).collect();
    let more = offset.saturating_add(rows.len()) < asked.len();
    let next = more.then(|| format!("{}?limit={limit}&offset={}", uri.path(), offset + limit));
    let mut nonces: Vec<U256> = asked.iter().map(|mail| mail.tx.nonce).collect();
    nonces.sort_unstable();
    nonces.dedup();
    Ok(Json(json!({
        "count": asked.len(), "next": next, "previous": null, "results": rows,
        "countUniqueNonce": nonces.len(),
    }))
    .into_response())
}

pub(super) async fn show(State(service): State<Service>, Path(hash): Path<String>) -> Answer {
    let hash: SafeTxHash = hash.parse().map_err(|_| not_found())?;
    let safe = service.world().mail(hash).map(|mail| mail.safe).ok_or_else(not_found)?;
    let threshold = service.chain.safe(safe).await?.threshold;
    service.index(safe).await?;
    let mut world = service.world();
    let lies = world.switches.lies.clone();
    let mail = world.mail(hash).ok_or_else(not_found)?;
    Ok(Json(views::transaction(mail, threshold, &lies)).into_response())
}

/// Takes a transaction out that is not executed: for its proposer, or the delegate that proposed it.
pub(super) async fn delete(
    State(service): State<Service>,
    Path(hash): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let body = json_body(&headers, &body)?;
    let mut reader = Reader::of(&body)?;
    reader.demand("safeTxHash");
    reader.demand("signature");
    let signature = reader.signatures("signature");
    reader.end(400)?;
    let hash: SafeTxHash = hash.parse().map_err(|_| not_found())?;
    let safe = service.world().mail(hash).map(|mail| mail.safe).ok_or_else(not_found)?;
    service.index(safe).await?;
    let mut world = service.world();
    let (chain, hours) = (world.config.chain_id, hours(world.now()));
    let mail = world.mail(hash).ok_or_else(not_found)?;
    if mail.execution.is_some() {
        let problem = "Executed transactions cannot be deleted";
        return Err(Refusal::json(400, json!({ "nonFieldErrors": [problem] })));
    }
    let allowed = [mail.proposer, mail.proposed_by_delegate];
    let signature = signature.unwrap_or_default();
    let is_allowed = hours.into_iter().any(|hour| {
        let request = DeleteRequest { chain, safe, hash, hour };
        let signer = signer(&signature, request.signing_hash());
        signer.is_some() && allowed.contains(&signer)
    });
    if !is_allowed {
        let problem =
            "Provided signer is not the proposer or the delegate user who proposed the transaction";
        return Err(Refusal::json(400, json!({ "nonFieldErrors": [problem] })));
    }
    world.mail.retain(|mail| mail.hash != hash);
    Ok(StatusCode::NO_CONTENT.into_response())
}
