//! The shapes in which the service refuses.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::chain::Trouble;

pub(super) type Answer = Result<Response, Refusal>;

/// An answer that is not a success.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub status: u16,
    /// None: an empty body.
    pub body: Option<Value>,
}

impl Refusal {
    pub fn json(status: u16, body: Value) -> Self {
        Self { status, body: Some(body) }
    }

    pub fn detail(status: u16, detail: &str) -> Self {
        Self::json(status, json!({ "detail": detail }))
    }

    /// 422 of a whole object.
    pub fn object(problem: &str) -> Self {
        Self::json(422, json!({ "nonFieldErrors": [problem] }))
    }

    /// 400 of the one field of a confirmation.
    pub fn signature(problem: &str) -> Self {
        Self::json(400, json!({ "signature": [problem] }))
    }

    pub fn not_checksummed(address: &str) -> Self {
        let message = "Checksum address validation failed";
        Self::json(422, json!({ "code": 1, "message": message, "arguments": [address] }))
    }
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NoSafe => {
                Self::json(404, json!({ "exception": "Cannot get Safe info", "trace": "" }))
            }
            Trouble::NoNode => {
                let exception = "Problem connecting to Ethereum network";
                Self::json(503, json!({ "exception": exception, "trace": "" }))
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match self.body {
            Some(body) => (status, Json(body)).into_response(),
            None => status.into_response(),
        }
    }
}
