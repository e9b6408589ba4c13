//! Delegates: who may propose for an owner. An owner's signature is good for this hour and the next.

use std::collections::HashMap;

use alloy::primitives::{Address, B256, Signature};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use serde_json::{Value, json};

use super::{
    Service,
    fields::{Reader, checksummed},
    json_body,
    refusal::{Answer, Refusal},
    state::Permission,
};
use crate::{
    clock::Time,
    safe_service::{DelegateRequest, Hour},
};

/// The hours whose signatures are taken.
pub(super) fn hours(now: Time) -> [Hour; 2] {
    let Hour(hour) = Hour::of(now);
    [Hour(hour), Hour(hour.saturating_sub(1))]
}

/// Who made a signature over a hash.
pub(super) fn signer(signature: &[u8], hash: B256) -> Option<Address> {
    Signature::from_raw(signature).ok()?.recover_address_from_prehash(&hash).ok()
}

fn refused(problem: &str) -> Refusal {
    Refusal::json(400, json!({ "nonFieldErrors": [problem] }))
}

fn row(permission: &Permission) -> Value {
    json!({
        "safe": permission.safe.map(|safe| safe.to_string()),
        "delegate": permission.delegate.to_string(),
        "delegator": permission.delegator.to_string(),
        "label": permission.label, "expiryDate": permission.expires,
    })
}

pub(super) async fn list(
    State(service): State<Service>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    if !["safe", "delegate", "delegator", "label"].iter().any(|name| query.contains_key(*name)) {
        return Err(Refusal::json(400, json!(["At least one query param must be provided"])));
    }
    let safe = match query.get("safe") {
        Some(text) => {
            let safe = checksummed(text).ok_or_else(|| {
                Refusal::json(400, json!({ "safe": [format!("Address {text} is not checksumed")] }))
            })?;
            Some((safe, service.chain.safe(safe).await?.owners))
        }
        None => None,
    };
    let world = service.world();
    let is_asked_for = |permission: &&Permission| {
        let text = |name: &str, value: &str| query.get(name).is_none_or(|asked| asked == value);
        let of_safe = safe.as_ref().is_none_or(|(safe, owners)| {
            permission.safe.is_none_or(|of| of == *safe) && owners.contains(&permission.delegator)
        });
        of_safe
            && text("delegate", &permission.delegate.to_string())
            && text("delegator", &permission.delegator.to_string())
            && text("label", &permission.label)
    };
    let rows: Vec<Value> = world.permissions.iter().filter(is_asked_for).map(row).collect();
    let count = rows.len();
    let page = json!({ "count": count, "next": null, "previous": null, "results": rows });
    Ok(Json(page).into_response())
}

pub(super) async fn add(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Answer {
    let mut body = json_body(&headers, &body)?;
    let mut reader = Reader::of(&body)?;
    for name in ["label", "signature"] {
        reader.demand(name);
    }
    let safe = reader.optional_address("safe");
    let delegate = reader.address("delegate");
    let delegator = reader.address("delegator");
    let signature = reader.signatures("signature").unwrap_or_default();
    let label = reader.text("label", 50).unwrap_or_default();
    reader.end(400)?;
    let (Some(delegate), Some(delegator)) = (delegate, delegator) else {
        return Err(refused("Invalid data."));
    };
    if let Some(safe) = safe {
        let now = service.chain.safe(safe).await.map_err(|_| {
            refused(&format!("Safe={safe} does not exist or it's still not indexed"))
        })?;
        if !now.owners.contains(&delegator) {
            let problem = format!("Provided delegator={delegator} is not an owner of Safe={safe}");
            return Err(refused(&problem));
        }
    }
    let mut world = service.world();
    if !is_signed_by(&[delegator], &world, delegate, &signature) {
        let problem = format!("Signature does not match provided delegator={delegator}");
        return Err(refused(&problem));
    }
    let expires = body.get("expiryDate").filter(|date| !date.is_null()).cloned();
    body["expiryDate"] = expires.clone().unwrap_or_default();
    let is_same = |known: &Permission| {
        (known.safe, known.delegate, known.delegator) == (safe, delegate, delegator)
    };
    world.permissions.retain(|known| !is_same(known));
    world.permissions.push(Permission { safe, delegate, delegator, label, expires });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

pub(super) async fn remove(
    State(service): State<Service>,
    Path(delegate): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let delegate = checksummed(&delegate).ok_or_else(|| Refusal::not_checksummed(&delegate))?;
    let body = json_body(&headers, &body)?;
    let mut reader = Reader::of(&body)?;
    reader.demand("signature");
    let safe = reader.optional_address("safe");
    let delegator = reader.address("delegator");
    let signature = reader.signatures("signature").unwrap_or_default();
    reader.end(400)?;
    let delegator = delegator.unwrap_or_default();
    let mut world = service.world();
    if !is_signed_by(&[delegator, delegate], &world, delegate, &signature) {
        return Err(refused("Signature does not match provided delegate or delegator"));
    }
    let count = world.permissions.len();
    world.permissions.retain(|known| {
        (known.delegate, known.delegator) != (delegate, delegator)
            || safe.is_some_and(|safe| known.safe != Some(safe))
    });
    if world.permissions.len() == count {
        return Err(Refusal::detail(404, "Delegate not found"));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn is_signed_by(
    allowed: &[Address],
    world: &super::state::World,
    delegate: Address,
    signature: &[u8],
) -> bool {
    let chain = world.config.chain_id;
    hours(world.now()).into_iter().any(|hour| {
        let hash = DelegateRequest { chain, delegate, hour }.signing_hash();
        signer(signature, hash).is_some_and(|signer| allowed.contains(&signer))
    })
}
