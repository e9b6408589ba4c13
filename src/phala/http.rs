//! One exchange with Phala Cloud: headers, limits, and which of the four ends it came to. It never
//! tries again; that is for the flow to decide, which knows whether the effect may be there.

use std::time::Duration;

use reqwest::{Request, header::HeaderMap};

use super::{
    codes::{ApiError, Envelope},
    fields::FieldError,
};
use crate::{
    clock::Time,
    request::ids::ReplicaId,
    wire::{ANSWER_BYTES_MAX, Ended, Wire, WireAnswer, WireError, WireFault, headers},
};

/// How a call to Phala Cloud can fail. Which variant it is answers the question that matters after
/// a commit: can the effect be there?
#[derive(Debug, thiserror::Error)]
pub enum PhalaError {
    #[error(transparent)]
    Api(Box<ApiError>),
    #[error("{call}: no whole answer came, so the effect may have happened")]
    NoAnswer { call: &'static str, source: WireFault },
    #[error("{call}: the request never left")]
    NotSent { call: &'static str, source: WireFault },
    #[error("{call}: the answer could not be read ({reason})")]
    Malformed { call: &'static str, reason: String },
    #[error("{call}: left alone for {} s, since it keeps failing or was called too often", left.as_secs().max(1))]
    Rests { call: &'static str, left: Duration },
    #[error("prepare: a replica was created without approval ({})", name(.replica.as_ref()))]
    CreatedWithoutApproval { replica: Option<ReplicaId> },
    #[error("prepare: the update was made at once, without approval")]
    UpdatedWithoutApproval,
}

fn name(replica: Option<&ReplicaId>) -> &str {
    replica.map_or("its id could not be read", ReplicaId::as_str)
}

impl PhalaError {
    /// Whether the world may have changed although the call failed.
    #[must_use]
    pub fn may_have_acted(&self) -> bool {
        match self {
            Self::Api(answer) => answer.may_have_acted(),
            Self::NotSent { .. } | Self::Rests { .. } => false,
            Self::NoAnswer { .. }
            | Self::Malformed { .. }
            | Self::CreatedWithoutApproval { .. }
            | Self::UpdatedWithoutApproval => true,
        }
    }

    /// How long the server wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api(answer) => answer.retry_after,
            Self::Rests { left, .. } => Some(*left),
            _ => None,
        }
    }

    pub(super) fn malformed(call: &'static str, error: &FieldError) -> Self {
        Self::Malformed { call, reason: error.to_string() }
    }
}

/// A whole answer of any status.
pub(super) struct Answer {
    pub call: &'static str,
    pub status: u16,
    headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub fn json(&self) -> Result<serde_json::Value, PhalaError> {
        // The parser's own message quotes nothing of the body, only where it stopped.
        serde_json::from_slice(&self.body)
            .map_err(|error| PhalaError::Malformed { call: self.call, reason: error.to_string() })
    }

    /// What their clock said.
    pub fn date(&self) -> Option<Time> {
        headers::date(&self.headers)
    }

    fn retry_after(&self) -> Option<Duration> {
        headers::retry_after_of(&self.headers)
    }

    /// What it says about the endpoint.
    pub fn ended(&self) -> Ended {
        Ended::Answered { status: self.status, retry_after: self.retry_after() }
    }

    /// The answer as an error, with `secret` cut out.
    pub fn refused(&self, secret: Option<&str>) -> PhalaError {
        let envelope = Envelope::read(&self.body, secret);
        let request_id = headers::text(&self.headers, "x-request-id")
            .map(|id| super::codes::tidy(id, 64, secret))
            .or(envelope.request_id);
        PhalaError::Api(Box::new(ApiError {
            call: self.call,
            status: self.status,
            code: envelope.code,
            message: envelope.message,
            retry_after: self.retry_after(),
            request_id,
            body: envelope.body,
        }))
    }
}

pub(super) async fn exchange(
    call: &'static str,
    wire: &dyn Wire,
    request: Request,
) -> Result<Answer, PhalaError> {
    match wire.carry(request).await {
        Ok(WireAnswer { status, headers, body }) => Ok(Answer { call, status, headers, body }),
        Err(WireError::NotSent(source)) => Err(PhalaError::NotSent { call, source }),
        Err(WireError::NoAnswer(source)) => Err(PhalaError::NoAnswer { call, source }),
        Err(WireError::TooLong) => {
            let reason = format!("longer than {ANSWER_BYTES_MAX} bytes");
            Err(PhalaError::Malformed { call, reason })
        }
    }
}
