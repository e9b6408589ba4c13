//! Confirmations: read and given.

use alloy::primitives::Address;
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use serde_json::json;

use super::{
    Service,
    fields::Reader,
    json_body,
    refusal::{Answer, Refusal},
    signatures::{self, Signed, list},
    state::Confirmation,
    views,
};
use crate::{request::ids::SafeTxHash, safe::hashes};

/// Longest signature of a confirmation, in bytes. A proposal has no such limit.
const SIGNATURE_BYTES_MAX: usize = 5_000;

fn unknown(hash: &str) -> Refusal {
    Refusal::detail(404, &format!("Multisig transaction with safe-tx-hash={hash} was not found"))
}

pub(super) async fn list_all(State(service): State<Service>, Path(hash): Path<String>) -> Answer {
    let parsed: SafeTxHash = hash.parse().map_err(|_| unknown(&hash))?;
    let mut world = service.world();
    let lies = world.switches.lies.clone();
    // A transaction that is not there has no confirmations: an empty list, not an error.
    let rows = world.mail(parsed).map_or(vec![], |mail| views::confirmations(mail, &lies));
    let count = rows.len();
    let page = json!({ "count": count, "next": null, "previous": null, "results": rows });
    Ok(Json(page).into_response())
}

pub(super) async fn post(
    State(service): State<Service>,
    Path(hash): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let body = json_body(&headers, &body)?;
    let mut reader = Reader::of(&body)?;
    reader.demand("signature");
    let given = reader.signatures_within("signature", SIGNATURE_BYTES_MAX);
    reader.end(400)?;
    let parsed: SafeTxHash = hash.parse().map_err(|_| unknown(&hash))?;
    let mail = service.world().mail(parsed).map(|mail| (mail.safe, mail.tx.clone()));
    let (safe, tx) = mail.ok_or_else(|| unknown(&hash))?;
    let now = service.chain.safe(safe).await?;
    service.index(safe).await?;
    let is_executed = service.world().mail(parsed).is_some_and(|mail| mail.execution.is_some());
    if is_executed {
        let problem = format!("Transaction with safe-tx-hash={parsed} was already executed");
        return Err(Refusal::signature(&problem));
    }
    let given = given.ok_or_else(|| Refusal::signature("This field may not be null."))?;
    let chain = service.world().config.chain_id;
    let hashes = hashes(&tx, chain, safe, now.version);
    let signed = signatures::read(&service.chain, safe, &hashes, &given).await?;
    refuse(&signed, &now.owners)?;
    let mut world = service.world();
    let at = world.now();
    let mail = world.mail(parsed).ok_or_else(|| unknown(&hash))?;
    for Signed { owner, kind, bytes, .. } in signed {
        mail.confirm(Confirmation { owner, at, signature: bytes, kind, tx: None });
    }
    mail.trusted = true;
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

fn refuse(signed: &[Signed], owners: &[Address]) -> Result<(), Refusal> {
    let mut seen: Vec<Address> = vec![];
    for Signed { owner, is_valid, head, .. } in signed {
        if !owners.contains(owner) {
            return Err(Refusal::signature(&format!(
                "Signer={owner} is not an owner. Current owners={}",
                list(owners)
            )));
        }
        if !is_valid {
            let problem = format!("Signature={head} for owner={owner} is not valid");
            return Err(Refusal::signature(&problem));
        }
        if seen.contains(owner) {
            return Err(Refusal::signature(&format!("Signature for owner={owner} is duplicated")));
        }
        seen.push(*owner);
    }
    Ok(())
}
