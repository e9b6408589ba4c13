//! The only map from errors to status codes: `application/problem+json` (RFC 9457) with a stable
//! `code`. What went wrong inside is logged here, once; the caller is told what to do.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    audit::AuditError,
    chain::ChainError,
    flow::chain_of,
    intake::{AcceptError, FieldProblem},
    propose::ConfirmError,
    review::{ArrangeError, ReviewError},
    store::StoreError,
    web::simulations::NoneNow,
};

/// What a caller without a token may send one with. At the second one a browser asks for a password by
/// itself, before anybody has read anything, so it is sent where programs call, and where it is asked for.
const BEARER: HeaderValue = HeaderValue::from_static("Bearer");
pub const BASIC: HeaderValue = HeaderValue::from_static(
    "Basic realm=\"Countersign: the API token is the password\", charset=\"UTF-8\"",
);

/// An error as callers see it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable name of the error.
    pub code: &'static str,
    /// What went wrong, for people.
    pub title: String,
    /// The field of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// After how many seconds it is worth another try; told in a header.
    #[serde(skip)]
    pub retry_after: Option<u64>,
    /// Whether a browser is not to ask for a password because of it.
    #[serde(skip)]
    pub is_quiet: bool,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, title: impl Into<String>) -> Self {
        let (status, title) = (status.as_u16(), title.into());
        Self { status, code, title, field: None, retry_after: None, is_quiet: false }
    }

    /// The same, where a browser must not ask for a password.
    #[must_use]
    pub fn quiet(self) -> Self {
        Self { is_quiet: true, ..self }
    }

    pub fn of_field(field: impl Into<String>, title: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", title);
        Self { field: Some(field.into()), ..problem }
    }

    pub fn too_many(title: &str, wait: Duration) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", title);
        Self { retry_after: Some(wait.as_secs() + 1), ..problem }
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is no such {what}"))
    }

    /// The same to whoever could see it only as an owner of its app: whether it is there is not theirs to know.
    pub(super) fn not_found_or_not_yours(what: &str) -> Self {
        let title = format!(
            "there is no such {what}, or it is none of yours: it takes a role here, or to own the Safe of the app"
        );
        Self { title, ..Self::not_found(what) }
    }

    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = chain_of(error), "a request could not be answered");
        let title = "Countersign could not do this; the log of the service says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title)
    }

    fn unavailable(error: &dyn std::error::Error) -> Self {
        tracing::warn!(error = chain_of(error), "a dependency is unavailable");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "chain-unreadable", chain_of(error))
    }

    /// The same where anybody may ask: they learn of no endpoint, and the log is not theirs to fill.
    pub(super) fn unread_for_anybody(error: &ChainError) -> Self {
        tracing::debug!(error = chain_of(error), "the chain did not read for somebody unknown");
        let title = "the chain cannot be read now, so a contract cannot be asked what it signed: try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "chain-unreadable", title)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let content_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            // Each challenge is a header of its own: browsers do not find the second one in a list.
            response.headers_mut().append(header::WWW_AUTHENTICATE, BEARER);
            if !self.is_quiet {
                response.headers_mut().append(header::WWW_AUTHENTICATE, BASIC);
            }
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => Self::not_found(what),
            StoreError::Illegal(illegal) => {
                Self::new(StatusCode::CONFLICT, "not-in-this-status", illegal.to_string())
            }
            StoreError::CommitOnItsWay => {
                Self::new(StatusCode::CONFLICT, "commit-on-its-way", error.to_string())
            }
            error if error.is_unusable() => {
                tracing::error!(error = chain_of(&error), "the database cannot be used");
                let title = "the database of Countersign cannot be used now: try again soon";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "database-unreachable", title)
            }
            error => Self::internal(&error),
        }
    }
}

impl From<ChainError> for Problem {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Unknown(_) => Self::not_found("chain"),
            error => Self::unavailable(&error),
        }
    }
}

impl From<NoneNow> for Problem {
    fn from(error: NoneNow) -> Self {
        match error {
            NoneNow::Store(error) => error.into(),
            error @ (NoneNow::Busy | NoneNow::Abandoned) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error.to_string())
            }
        }
    }
}

impl From<FieldProblem> for Problem {
    fn from(error: FieldProblem) -> Self {
        Self::of_field(error.field, error.problem)
    }
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::Store(error) => error.into(),
            error @ AcceptError::Seal(_) => Self::internal(&error),
        }
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Store(error) => error.into(),
            AuditError::Chain(error) => error.into(),
            error @ AuditError::BeyondHead { .. } => {
                Self { code: "beyond-head", ..Self::of_field("at", error.to_string()) }
            }
            error @ AuditError::AfterHead { .. } => {
                Self { code: "beyond-head", ..Self::of_field("time", error.to_string()) }
            }
        }
    }
}

impl From<ReviewError> for Problem {
    fn from(error: ReviewError) -> Self {
        match error {
            ReviewError::Store(error) => error.into(),
            error @ ReviewError::Reason => Self::of_field("reason", error.to_string()),
            error @ ReviewError::Comment => Self::of_field("text", error.to_string()),
            error @ ReviewError::TooManyComments => {
                Self::new(StatusCode::CONFLICT, "too-many-comments", error.to_string())
            }
            error @ (ReviewError::RetryOnItsWay | ReviewError::JustTried) => {
                Self::new(StatusCode::CONFLICT, "already-retried", error.to_string())
            }
            error @ (ReviewError::NothingToSettle(_) | ReviewError::NotAsked) => {
                Self::new(StatusCode::CONFLICT, "not-in-this-status", error.to_string())
            }
            error @ ReviewError::Cloud(_) => {
                tracing::warn!(error = chain_of(&error), "a dependency is unavailable");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "cloud-unreadable", chain_of(&error))
            }
            error @ (ReviewError::NoSuchInstance(_)
            | ReviewError::Claimed(_)
            | ReviewError::OlderThanCommit(_)
            | ReviewError::NotApproved(_)) => {
                Self { code: "not-the-replica", ..Self::of_field("replica", error.to_string()) }
            }
        }
    }
}

impl From<ArrangeError> for Problem {
    fn from(error: ArrangeError) -> Self {
        let text = error.to_string();
        match error {
            ArrangeError::Review(error) => error.into(),
            ArrangeError::Chain(error) => error.into(),
            ArrangeError::Requests | ArrangeError::OtherChain(_) => {
                Self::of_field("requests", text)
            }
            ArrangeError::OtherOwner { .. } => {
                Self { code: "another-owner", ..Self::of_field("requests", text) }
            }
            ArrangeError::NoSafe(_) => Self::new(StatusCode::CONFLICT, "not-a-safe", text),
            ArrangeError::Used { .. } => {
                Self { code: "nonce-used", ..Self::of_field("nonce", text) }
            }
            ArrangeError::Taken(_) => Self { code: "nonce-taken", ..Self::of_field("nonce", text) },
        }
    }
}

impl From<ConfirmError> for Problem {
    fn from(error: ConfirmError) -> Self {
        let text = error.to_string();
        match error {
            ConfirmError::InPart { source, .. } => Self { title: text, ..Self::from(*source) },
            ConfirmError::Store(error) => error.into(),
            ConfirmError::Chain(error) => Self::unread_for_anybody(&error),
            ConfirmError::Signature(_) | ConfirmError::EthSign(_) | ConfirmError::Duplicate(_) => {
                Self::of_field("signature", text)
            }
            ConfirmError::UnmarkedEthSign { .. } => {
                Self { code: "unmarked-eth-sign", ..Self::of_field("signature", text) }
            }
            ConfirmError::NotApproved { .. } => {
                Self { code: "not-approved-on-chain", ..Self::of_field("signature", text) }
            }
            ConfirmError::NotSigned { .. } => {
                Self { code: "not-signed-by-contract", ..Self::of_field("signature", text) }
            }
            ConfirmError::OfNested(_) => {
                Self { code: "of-an-owner-of-an-owner", ..Self::of_field("signature", text) }
            }
            ConfirmError::NotOwner { .. } => {
                Self { code: "not-an-owner", ..Self::of_field("signature", text) }
            }
            ConfirmError::NothingToSign(_) | ConfirmError::NoSafe => {
                Self::new(StatusCode::CONFLICT, "nothing-to-sign", text)
            }
            ConfirmError::Replaced | ConfirmError::OfReplaced { .. } => {
                Self::new(StatusCode::CONFLICT, "proposal-replaced", text)
            }
            error @ ConfirmError::HashDiffers => Self::internal(&error),
        }
    }
}
