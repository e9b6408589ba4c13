//! How a client of somebody's HTTP API talks: one request there, one whole answer back, within
//! limits and without redirects; and how often, see [`Throttle`].
//!
//! May not try again or decide: which answer means what is for the room of the API.

pub mod headers;
mod throttle;

use std::{error::Error, fmt, time::Duration};

use futures::future::BoxFuture;
use reqwest::{Client, Request, Response, header::HeaderMap, redirect};

pub use throttle::{Ended, Resting, Throttle};

const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer answers are not read.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Somebody else's words, fit to be kept: control characters would let them write log lines of their
/// own, and the rest of a long text is somebody's stack trace.
pub fn plain(text: &str, chars_max: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(chars_max).collect()
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

/// What carries a request there and its answer back, and nothing else: no retry, no
/// redirect. The world is replaced here when the service is simulated.
pub trait Wire: fmt::Debug + Send + Sync + 'static {
    fn carry(&self, request: Request) -> BoxFuture<'_, Result<WireAnswer, WireError>>;
}

/// HTTP. It follows no redirect: following one would hand a secret to whatever place the answer
/// names, and a `POST` that is followed becomes a `GET`.
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
