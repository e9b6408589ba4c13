//! What the gateway itself has to say, in the form of Phala Cloud's own errors, so that its clients
//! print it as they print those.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::phala::upstream::UpstreamError;

/// Why a call, or its answer, was not passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// What to do about it.
    suggestion: &'static str,
    retry_after: Option<&'static str>,
}

impl Refusal {
    fn new(
        status: StatusCode,
        code: &'static str,
        message: &str,
        suggestion: &'static str,
    ) -> Self {
        Self { status, code, message: message.to_owned(), suggestion, retry_after: None }
    }

    /// It is switched off by setting.
    pub fn off() -> Self {
        let suggestion =
            "Set PHALA_CLOUD_API_PREFIX to Phala Cloud itself, or turn the gateway on.";
        let message = "The gateway of this Countersign is switched off";
        Self::new(StatusCode::NOT_FOUND, "COUNTERSIGN-OFF", message, suggestion)
    }

    /// Too many calls are under way.
    pub fn busy() -> Self {
        let message = "Too many calls are on their way through this gateway";
        let suggestion = "Try again in a moment.";
        Self {
            retry_after: Some("1"),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "COUNTERSIGN-BUSY", message, suggestion)
        }
    }

    /// Its caller sends it too slowly.
    pub fn slow() -> Self {
        let message = "The call came too slowly, and was given up before it was sent whole";
        let suggestion = "Send it again.";
        Self::new(StatusCode::REQUEST_TIMEOUT, "COUNTERSIGN-SLOW", message, suggestion)
    }

    /// A server might take it for a call that is watched, which it is not written as.
    pub fn disguised() -> Self {
        let message = "This is another spelling of a call that Countersign keeps, and is not sent";
        let suggestion =
            "Write its path plainly: each slash once, none at the end, no percent signs.";
        Self::new(StatusCode::BAD_REQUEST, "COUNTERSIGN-ADDRESS", message, suggestion)
    }

    /// A browser is about to show the answer as a page of ours, or run it.
    pub fn browser() -> Self {
        let message = "The gateway answers programs, and shows nothing in a browser";
        let suggestion = "Open Phala Cloud's own pages instead.";
        Self::new(StatusCode::FORBIDDEN, "COUNTERSIGN-BROWSER", message, suggestion)
    }

    /// A preparation could not be kept, and by setting none goes on without.
    pub fn not_kept() -> Self {
        let message =
            "This was prepared, but Countersign could not keep it, so its token is held back";
        let suggestion = "No replica was made, but earlier tokens of this source may be superseded. \
             Prepare it again in a moment.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "COUNTERSIGN-CAPTURE", message, suggestion)
    }

    pub fn panicked() -> Self {
        let message = "Countersign could not do this; the log of the service says why";
        let suggestion = "It may have taken effect: look before you try again.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "COUNTERSIGN-INTERNAL", message, suggestion)
    }
}

impl From<&UpstreamError> for Refusal {
    fn from(error: &UpstreamError) -> Self {
        let look = "It may have taken effect: look before you try again.";
        let (status, code, suggestion) = match error {
            UpstreamError::Address => {
                (StatusCode::BAD_REQUEST, "COUNTERSIGN-ADDRESS", "Check the ids in the command.")
            }
            UpstreamError::Unreachable(_) => (
                StatusCode::BAD_GATEWAY,
                "COUNTERSIGN-UPSTREAM",
                "It was not sent. Try again later.",
            ),
            UpstreamError::Broken(_) | UpstreamError::Switched => {
                (StatusCode::BAD_GATEWAY, "COUNTERSIGN-UPSTREAM", look)
            }
            UpstreamError::Silent => (StatusCode::GATEWAY_TIMEOUT, "COUNTERSIGN-UPSTREAM", look),
        };
        let mut message = error.to_string();
        message[..1].make_ascii_uppercase();
        Self::new(status, code, &message, suggestion)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({
            "error_code": self.code, "message": self.message, "details": [],
            "suggestions": [self.suggestion], "links": [],
        });
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        response
    }
}
