//! Answers of Phala Cloud that are no success: the error envelope, and the 465 of a prepare.

use axum::{
    Json,
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    chain::{Registration, Unreadable},
    shapes::kms,
    state::World,
    tokens::IssuedToken,
};
use crate::request::kind::Kind;

pub(super) type Answer = Result<Response, Refusal>;

/// An answer that is not a success. It travels as a response extension until its request id is
/// known.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub status: u16,
    pub code: Option<String>,
    message: String,
    details: Vec<Value>,
    nested: bool,
    pub retry_after: Option<String>,
}

impl Refusal {
    /// An unstructured error: just `detail`.
    pub fn plain(status: u16, message: &str) -> Self {
        let (message, details) = (message.to_owned(), Vec::new());
        Self { status, code: None, message, details, nested: false, retry_after: None }
    }

    pub fn coded(status: u16, code: &str, message: &str) -> Self {
        Self { code: Some(code.to_owned()), ..Self::plain(status, message) }
    }

    /// The answer of a successful prepare, and of anything the chain does not allow yet.
    pub fn approval_needed(world: &World, token: &IssuedToken, chain: Registration) -> Self {
        let mut refusal =
            Self::coded(465, "ERR-01-005", "Compose hash registration required on-chain");
        refusal.nested = world.switches.nest_details;
        let prefix = if world.switches.prefix_hashes { "0x" } else { "" };
        let (origin, config) = (&world.origin, &world.config);
        let commit = match token.kind {
            Kind::Replica => "commit-replica",
            Kind::Update => "commit-update",
        };
        let hex = |bytes: &[u8]| format!("{prefix}{}", alloy::hex::encode(bytes));
        let fields = [
            ("compose_hash", json!(hex(token.compose_hash.0.as_slice()))),
            ("app_id", json!(hex(token.app.0.as_slice()))),
            ("device_id", json!(hex(token.device_id.0.as_slice()))),
            ("kms_info", kms(world)),
            ("commit_token", json!(token.token)),
            (
                "commit_url",
                json!(format!("{origin}/{}/{commit}?token={}", config.workspace, token.token)),
            ),
            (
                "api_commit_url",
                json!(format!(
                    "{origin}/api/v1/cvms/{}/{commit}?token={}",
                    token.source, token.token
                )),
            ),
            (
                "onchain_status",
                json!({
                    "compose_hash_allowed": chain.compose,
                    "device_id_allowed": chain.device_allowed(),
                    "is_allowed": chain.is_allowed(),
                }),
            ),
        ];
        let expiry = world.switches.tell_expiry.then(|| ("expires_at", json!(token.expires_at)));
        refusal.details = fields
            .into_iter()
            .chain(expiry)
            .map(|(field, value)| json!({ "field": field, "value": value, "message": null }))
            .collect();
        refusal
    }

    pub fn render(self, request_id: &str) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = match self.code {
            None => json!({ "detail": self.message }),
            Some(code) => {
                let body = json!({
                    "error_code": code, "message": self.message, "request_id": request_id,
                    "details": self.details, "suggestions": [], "links": [],
                });
                if self.nested { json!({ "detail": body }) } else { body }
            }
        };
        let mut response = (status, Json(body)).into_response();
        if let Some(wait) = self.retry_after.and_then(|text| HeaderValue::from_str(&text).ok()) {
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Unreadable> for Refusal {
    fn from(_: Unreadable) -> Self {
        Self::plain(503, "The chain cannot be read")
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the last word of handlers, which all can refuse")]
pub(super) fn ok(body: Value) -> Answer {
    Ok(Json(body).into_response())
}

/// An answer whose body breaks off, which ends the connection.
pub(in crate::devnet) fn cut_off() -> Response {
    let broken = futures::stream::iter([Err::<&[u8], _>(std::io::ErrorKind::ConnectionReset)]);
    let broken = futures::StreamExt::map(broken, |part| part.map_err(std::io::Error::from));
    Response::new(Body::from_stream(broken))
}

/// The command line tool speaks two API versions, one for each of its halves.
pub(super) fn is_old_version(headers: &HeaderMap) -> bool {
    headers.get("X-Phala-Version").is_some_and(|version| version == "2025-10-28")
}
