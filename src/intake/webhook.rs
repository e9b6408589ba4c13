//! Reads what Phala Cloud tells by webhook: is it signed, what happened, and what was prepared. Pure.
//!
//! Of a body nothing is kept but what [`Told`] names. Its link carries the token, its calldata is none,
//! and its method is the same whatever is missing: the chain is asked instead.

use chrono::TimeDelta;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::{
    clock::Time,
    phala::Prepared,
    request::ids::{AppId, ComposeHash, SourceCvm},
};

/// How far a signature's time may be from now.
const TOLERANCE: TimeDelta = TimeDelta::seconds(300);
const ID_BYTES_MAX: usize = 128;

/// Events that say how a CVM does.
const OF_A_CVM: [&str; 7] = [
    "cvm.created",
    "cvm.started",
    "cvm.create_failed",
    "cvm.restarted",
    "cvm.updated",
    "cvm.stopped",
    "cvm.deleted",
];

/// Why a call is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    #[error("it is not signed: X-Webhook-Timestamp and X-Webhook-Signature (sha256=…) are needed")]
    Unsigned,
    #[error(
        "it was signed more than 300 seconds ago or ahead; have it sent again, and check the clock"
    )]
    Late,
    #[error("the signature is of none of the secrets that are configured")]
    Signature,
    #[error("the body is no event: a JSON object with the texts `id` and `event`, and `data`")]
    Body,
}

/// Whether a body was signed with one of the secrets, and just now. Every secret is tried, and each
/// comparison takes as long whatever it compares.
pub fn verify(
    secrets: &[SecretString],
    timestamp: Option<&str>,
    signature: Option<&str>,
    body: &[u8],
    now: Time,
) -> Result<(), WebhookError> {
    let timestamp = timestamp.ok_or(WebhookError::Unsigned)?;
    let signature = signature.and_then(|text| text.strip_prefix("sha256="));
    let signature = signature.and_then(|hex| alloy::hex::decode(hex).ok());
    let signature = signature.ok_or(WebhookError::Unsigned)?;
    let seconds = timestamp.parse().map_err(|_| WebhookError::Unsigned)?;
    let signed_at = Time::from_timestamp(seconds, 0).ok_or(WebhookError::Unsigned)?;
    let is_ours = secrets.iter().fold(false, |is_ours, secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        is_ours | mac.verify_slice(&signature).is_ok()
    });
    if !is_ours {
        Err(WebhookError::Signature)
    } else if (now - signed_at).abs() > TOLERANCE {
        Err(WebhookError::Late)
    } else {
        Ok(())
    }
}

/// What an event is about.
#[derive(Debug)]
pub enum News {
    /// Something was prepared; a submission of it, with its token.
    Prepared(Value),
    /// A CVM did something, so its requests are looked at.
    OfCvm,
    /// The workspace tries whether anybody listens.
    Test,
    /// Nothing that is known.
    Other,
}

/// An event, read.
#[derive(Debug)]
pub struct Told {
    pub id: String,
    /// Its name, when it is a known one.
    pub event: &'static str,
    pub at: Option<Time>,
    pub cvm: Option<SourceCvm>,
    pub app: Option<AppId>,
    pub compose: Option<ComposeHash>,
    pub news: News,
}

/// Reads a signed body.
pub fn read_event(body: &[u8]) -> Result<Told, WebhookError> {
    let envelope: Value = serde_json::from_slice(body).map_err(|_| WebhookError::Body)?;
    let text = |name: &str| envelope.get(name).and_then(Value::as_str);
    let id = text("id").ok_or(WebhookError::Body)?;
    let name = text("event").ok_or(WebhookError::Body)?;
    let readable = id.bytes().all(|byte| byte.is_ascii_graphic());
    if !readable || id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(WebhookError::Body);
    }
    let empty = Map::new();
    let data = envelope.get("data").and_then(Value::as_object).unwrap_or(&empty);
    let at: Option<Time> = text("created_at").and_then(|at| at.parse().ok());
    let (event, news) = match name {
        "cvm.update.pending_approval" => {
            ("cvm.update.pending_approval", News::Prepared(submission(data, "update", at)))
        }
        "cvm.replica.pending_approval" => {
            ("cvm.replica.pending_approval", News::Prepared(submission(data, "replica", at)))
        }
        "webhook.test" => ("webhook.test", News::Test),
        name => match OF_A_CVM.iter().find(|known| **known == name) {
            Some(known) => (*known, News::OfCvm),
            None => ("other", News::Other),
        },
    };
    let parsed = |names: [&str; 2]| names.iter().find_map(|name| data.get(*name)?.as_str());
    Ok(Told {
        id: id.to_owned(),
        event,
        at,
        cvm: parsed(["vm_uuid", "cvm_id"]).and_then(|id| id.parse().ok()),
        app: data
            .get("app_id")
            .and_then(Value::as_str)
            .and_then(|id| id.strip_prefix("app_").unwrap_or(id).parse().ok()),
        compose: data.get("compose_hash").and_then(Value::as_str).and_then(|id| id.parse().ok()),
        news,
    })
}

/// The submission of what was prepared. The CVM is taken from the link that commits it, where it stands
/// in the spelling of all other calls, else as it is named. It was prepared when the event was made,
/// however late that is told.
fn submission(data: &Map<String, Value>, kind: &str, at: Option<Time>) -> Value {
    let of = |name: &str| data.get(name).cloned().unwrap_or_default();
    let chain = data.get("kms").and_then(|kms| kms.get("chain_id")).cloned().unwrap_or_default();
    let prepared = json!({
        "app_id": of("app_id"), "compose_hash": of("compose_hash"), "device_id": of("device_id"),
        "commit_token": of("commit_token"), "kms_info": { "chain_id": chain },
        "expires_at": of("expires_at"), "api_commit_url": of("api_commit_url"),
        "commit_url": of("commit_url"),
    });
    let linked = Prepared::from_prepare_response(&prepared).is_ok_and(|it| it.source_cvm.is_some());
    let named = if linked { Value::Null } else { of("cvm_id") };
    json!({
        "kind": kind, "prepare_response": prepared, "source_cvm": named, "prepared_at": at,
    })
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
