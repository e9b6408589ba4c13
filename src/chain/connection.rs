//! How an endpoint is reached: over HTTP, or over one websocket connection at a time.
//!
//! Transport, keepalive and retries of rate-limited calls are alloy's. alloy would also reconnect
//! a websocket by itself and repeat what was under way; here every connection is a new one whose
//! chain id is checked before anything it says counts.

use std::{num::NonZeroU32, time::Duration};

use alloy::{
    providers::{DynProvider, Provider, ProviderBuilder},
    pubsub::{ConnectionHandle, PubSubConnect},
    rpc::client::{ClientBuilder, RpcClient},
    transports::{
        TransportError, TransportErrorKind, TransportResult,
        http::Http,
        layers::{RateLimitRetryPolicy, RetryBackoffLayer, RetryPolicy, ThrottleLayer},
        ws::WsConnect,
    },
};
use tokio::sync::Mutex;
use url::Url;

/// A call that the endpoint refuses for its rate is repeated this often.
const RATE_LIMIT_RETRIES: u32 = 3;
/// First pause before such a repetition, in milliseconds.
const RATE_LIMIT_PAUSE: u64 = 250;
/// alloy spreads calls by this budget of compute units a second; ours are few.
const COMPUTE_UNITS: u64 = 100_000;
const KEEPALIVE: Duration = Duration::from_secs(5);

/// The wire to one endpoint.
#[derive(Debug)]
pub enum Connection {
    /// Each call stands for itself.
    Calls(DynProvider),
    /// A websocket, connected when first needed and again after it broke.
    Socket { url: Url, rate: NonZeroU32, open: Mutex<Option<DynProvider>> },
}

impl Connection {
    /// Carries so many calls a second at most.
    pub fn to(url: Url, http: &reqwest::Client, rate: NonZeroU32) -> Self {
        if matches!(url.scheme(), "ws" | "wss") {
            return Self::Socket { url, rate, open: Mutex::default() };
        }
        let client = ClientBuilder::default()
            .layer(retries())
            .layer(throttle(rate))
            .transport(Http::with_client(http.clone(), url), false);
        Self::over(client)
    }

    /// Over a transport that somebody else made.
    pub fn over(client: RpcClient) -> Self {
        Self::Calls(ProviderBuilder::default().connect_client(client).erased())
    }

    pub fn announces_heads(&self) -> bool {
        matches!(self, Self::Socket { .. })
    }

    /// The open connection, and whether it is a new one.
    pub async fn get(&self) -> TransportResult<(DynProvider, bool)> {
        let (url, rate, open) = match self {
            Self::Calls(provider) => return Ok((provider.clone(), false)),
            Self::Socket { url, rate, open } => (url, *rate, open),
        };
        let mut open = open.lock().await;
        if let Some(provider) = &*open {
            return Ok((provider.clone(), false));
        }
        let connect = WsConnect::new(url.as_str()).with_keepalive_interval(KEEPALIVE);
        let layers = ClientBuilder::default().layer(retries()).layer(throttle(rate));
        let client = layers.pubsub(OneConnection(connect)).await?;
        let provider = ProviderBuilder::default().connect_client(client).erased();
        *open = Some(provider.clone());
        Ok((provider, true))
    }

    /// Gives a broken connection up; the next call connects anew.
    pub async fn drop_open(&self) {
        if let Self::Socket { open, .. } = self {
            *open.lock().await = None;
        }
    }
}

/// A second's worth of calls may come at once.
fn throttle(rate: NonZeroU32) -> ThrottleLayer {
    ThrottleLayer::new_with_burst(rate.get(), rate)
}

fn retries() -> RetryBackoffLayer<PlainRateLimits> {
    RetryBackoffLayer::new_with_policy(
        RATE_LIMIT_RETRIES,
        RATE_LIMIT_PAUSE,
        COMPUTE_UNITS,
        PlainRateLimits,
    )
}

/// alloy's own idea of a rate limit, without the refusals of long answers that some providers give
/// the same code: asking for them again gives the same.
#[derive(Debug, Clone, Copy)]
struct PlainRateLimits;

impl RetryPolicy for PlainRateLimits {
    fn should_retry(&self, error: &TransportError) -> bool {
        let is_about_length = error.as_error_resp().is_some_and(|refusal| {
            let message = refusal.message.to_ascii_lowercase();
            ["results", "range", "response size"].iter().any(|word| message.contains(word))
        });
        !is_about_length && RateLimitRetryPolicy::default().should_retry(error)
    }

    fn backoff_hint(&self, error: &TransportError) -> Option<Duration> {
        RateLimitRetryPolicy::default().backoff_hint(error)
    }
}

/// Connects once. What comes after may be another node, so nothing is carried over.
#[derive(Debug, Clone)]
struct OneConnection(WsConnect);

impl PubSubConnect for OneConnection {
    fn is_local(&self) -> bool {
        self.0.is_local()
    }

    async fn connect(&self) -> TransportResult<ConnectionHandle> {
        self.0.connect().await
    }

    async fn try_reconnect(&self) -> TransportResult<ConnectionHandle> {
        Err(TransportErrorKind::non_retryable_str("the connection broke"))
    }
}

#[cfg(test)]
mod tests {
    use alloy::rpc::json_rpc::ErrorPayload;

    use super::*;

    #[test]
    fn a_long_answer_that_is_refused_is_not_asked_for_again() {
        for (message, again) in [
            ("rate limited", true),
            ("daily request count exceeded, request rate limited", true),
            ("query returned more than 10000 results", false),
            ("block range is too wide", false),
            ("Log response size exceeded", false),
        ] {
            let refusal = ErrorPayload { code: -32005, message: message.into(), data: None };
            let error = TransportError::ErrorResp(refusal);
            assert_eq!(PlainRateLimits.should_retry(&error), again, "{message}");
        }
    }
}
