//! One exchange with Phala Cloud: headers, limits, and which of the four ends it came to. It never
//! tries again; that is for the flow to decide, which knows whether the effect may be there.

use std::{error::Error, fmt, time::Duration};

use futures::future::BoxFuture;
use reqwest::{Client, Request, Response, header::HeaderMap, redirect};

use super::{
    codes::{ApiError, Envelope, http_date, retry_after},
    fields::FieldError,
    throttle::Ended,
};
use crate::{clock::Time, request::ids::ReplicaId};

const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a call to Phala Cloud can fail. Which variant it is answers the question that matters after
/// a commit: can the effect be there?
#[derive(Debug, thiserror::Error)]
pub enum PhalaError {
    #[error("{0}")]
    Api(#[source] Box<ApiError>),
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
            | Self::CreatedWithoutApproval { .. } => true,
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

/// What broke on the way, without the URL.
pub type WireFault = Box<dyn Error + Send + Sync>;

/// How an exchange ended without a whole answer.
#[derive(Debug)]
pub enum WireError {
    /// Nothing can have arrived.
    NotSent(WireFault),
    /// It may have arrived, and have had its effect.
    NoAnswer(WireFault),
    /// The answer is longer than is read; the effect may be there.
    TooLong,
}

/// A whole answer of any status.
#[derive(Debug, Clone)]
pub struct WireAnswer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// What carries a request to Phala Cloud and its answer back, and nothing else: no retry, no
/// redirect. The world is replaced here when the service is simulated.
pub trait Wire: fmt::Debug + Send + Sync + 'static {
    fn carry(&self, request: Request) -> BoxFuture<'_, Result<WireAnswer, WireError>>;
}

/// HTTP, as this room needs it. It follows no redirect: following one would hand a commit token to
/// whatever place the answer names.
#[derive(Debug, Clone)]
pub struct Http(Client);

impl Http {
    /// # Errors
    /// When the TLS backend or the resolver cannot be set up.
    pub fn new() -> reqwest::Result<Self> {
        Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .map(Self)
    }
}

impl Wire for Http {
    fn carry(&self, request: Request) -> BoxFuture<'_, Result<WireAnswer, WireError>> {
        Box::pin(async move {
            let response = self.0.execute(request).await.map_err(|error| {
                let error = error.without_url();
                if error.is_connect() || error.is_builder() {
                    WireError::NotSent(error.into())
                } else {
                    WireError::NoAnswer(error.into())
                }
            })?;
            read(response).await
        })
    }
}

async fn read(mut response: Response) -> Result<WireAnswer, WireError> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > ANSWER_BYTES_MAX => {
                return Err(WireError::TooLong);
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(WireAnswer { status, headers, body }),
            Err(error) => return Err(WireError::NoAnswer(error.without_url().into())),
        }
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

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What their clock said.
    pub fn date(&self) -> Option<Time> {
        self.header("date").and_then(http_date)
    }

    fn retry_after(&self) -> Option<Duration> {
        // Their clock, not ours: the date they name and the date they think it is belong together.
        self.header("retry-after").and_then(|text| retry_after(text, self.date()))
    }

    /// What it says about the endpoint.
    pub fn ended(&self) -> Ended {
        Ended::Answered { status: self.status, retry_after: self.retry_after() }
    }

    /// The answer as an error, with `secret` cut out.
    pub fn refused(&self, secret: Option<&str>) -> PhalaError {
        let envelope = Envelope::read(&self.body, secret);
        let request_id = self
            .header("x-request-id")
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
