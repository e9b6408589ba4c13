//! The client of a Safe Transaction Service: a mailbox in which proposals and signatures lie for
//! everybody who uses Safe's own tools.
//!
//! ```text
//! propose, confirm ─► mailbox ─► transaction, confirmations, queue
//! ```
//!
//! The service judges nothing, and is not believed: every answer is recomputed ([`read`]) from the
//! chain, the Safe and its version as *we* know them. The chain is watched by us, so nothing here
//! polls. May not retry, wait or decide: it tells what came back.

mod calls;
mod delegate;
mod error;
mod key;
mod post;
mod read;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use reqwest::{
    Body, Method, Request,
    header::{self, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use url::Url;

pub use calls::Permission;
pub use delegate::{DelegateRequest, DeleteRequest, Hour};
pub use error::{Refusal, SafeServiceError, WhatToDo};
pub use key::{CannotSign, NoKey, ProposerKey};
pub use post::{Origin, Post};
pub use read::{
    Account, Confirmations, Delegate, Disbelief, Execution, MailTransaction, Queue, Queued,
    at_nonce, delegates, next_nonce, queue, signatures, transaction,
};

use crate::{
    request::ids::ChainId,
    safe::network,
    wire::{Ended, Http, Resting, Throttle, Wire, WireAnswer, WireError},
};

/// The hosted service, under which each chain has its short name.
const HOSTED: &str = "https://api.safe.global/tx-service";

/// The root of the hosted service for a chain, none where none is known here.
#[must_use]
pub fn hosted_root(chain: ChainId) -> Option<Url> {
    let name = match network::find(chain)?.short_name {
        // The one chain that it calls something else than links to Safe's web application do.
        "matic" => "pol",
        name => name,
    };
    Url::parse(&format!("{HOSTED}/{name}/api")).ok()
}

/// A connection to the Transaction Service of one chain.
#[derive(Clone, Debug)]
pub struct SafeService {
    http: Http,
    /// Ends in `/api`.
    root: Url,
    chain: ChainId,
    api_key: Option<SecretString>,
    throttle: Arc<Throttle>,
    /// Whether the service has said, since it was last out of reach, that it is of this chain.
    is_of_chain: Arc<AtomicBool>,
}

/// What is asked for, in one word for errors and rests, and how.
struct Ask<'a> {
    call: &'static str,
    method: Method,
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    body: Option<Value>,
}

impl SafeService {
    /// `url` is the root of the service, with or without its `/api`. What comes from one account
    /// shares a throttle: its quota is one.
    #[must_use]
    pub fn new(
        http: Http,
        url: &Url,
        chain: ChainId,
        api_key: Option<SecretString>,
        throttle: Arc<Throttle>,
    ) -> Self {
        Self { http, root: with_api(url), chain, api_key, throttle, is_of_chain: Arc::default() }
    }

    #[must_use]
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    #[must_use]
    pub fn root(&self) -> &Url {
        &self.root
    }

    /// Asks once, after it was made sure whom.
    async fn ask(&self, ask: Ask<'_>) -> Result<WireAnswer, SafeServiceError> {
        self.make_sure_of_the_chain().await?;
        self.exchange(ask).await
    }

    /// The service says which chain it serves, before its first answer counts and again after it
    /// was out of reach. A root with the wrong short name would take our proposals for another
    /// chain.
    async fn make_sure_of_the_chain(&self) -> Result<(), SafeServiceError> {
        if self.is_of_chain.load(Ordering::Acquire) {
            return Ok(());
        }
        let call = "read the chain of the service";
        let path = &["v1", "about", "ethereum-rpc", ""];
        let ask = Ask { call, method: Method::GET, path, query: &[], body: None };
        let answer = self.exchange(ask).await?;
        let found =
            json(call, &self.expect_success(call, answer)?)?.get("chain_id").and_then(number);
        if found != Some(self.chain.get()) {
            return Err(SafeServiceError::OtherChain { expected: self.chain, found });
        }
        self.is_of_chain.store(true, Ordering::Release);
        Ok(())
    }

    async fn exchange(&self, ask: Ask<'_>) -> Result<WireAnswer, SafeServiceError> {
        let call = ask.call;
        self.throttle
            .check(call)
            .map_err(|Resting { left }| SafeServiceError::Rests { call, left })?;
        let request = self.request(ask);
        self.throttle.turn().await;
        let answer = self.http.carry(request).await;
        self.note(call, answer.as_ref().ok());
        answer.map_err(|error| match error {
            WireError::NotSent(source) => SafeServiceError::NotSent { call, source },
            WireError::NoAnswer(source) => SafeServiceError::NoAnswer { call, source },
            WireError::TooLong => SafeServiceError::Malformed { call, reason: "too long".into() },
        })
    }

    /// Lets calls rest when the service says that they are too many, or are about to be.
    fn note(&self, call: &'static str, answer: Option<&WireAnswer>) {
        let Some(answer) = answer else {
            self.is_of_chain.store(false, Ordering::Release);
            return self.throttle.note(call, Ended::Broken);
        };
        let status = answer.status;
        if status >= 500 {
            // Somebody else may stand there when it comes back.
            self.is_of_chain.store(false, Ordering::Release);
        }
        let retry_after = error::patience(&answer.headers, status);
        self.throttle.note(call, Ended::Answered { status, retry_after });
        if let Some(pause) = error::used_up(&answer.headers) {
            self.throttle.rest(pause);
        }
    }

    fn expect_success(
        &self,
        call: &'static str,
        answer: WireAnswer,
    ) -> Result<Vec<u8>, SafeServiceError> {
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        let key = self.api_key.as_ref().map(ExposeSecret::expose_secret);
        Err(SafeServiceError::Refused(Box::new(Refusal::read(call, &answer, key))))
    }

    fn request(&self, ask: Ask<'_>) -> Request {
        let mut url = self.root.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(ask.path);
        }
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(ask.query);
        }
        let mut request = Request::new(ask.method, url);
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = self.api_key_header() {
            headers.insert(header::AUTHORIZATION, key);
        }
        *request.body_mut() = ask.body.map(|body| Body::from(body.to_string()));
        request
    }

    /// Marked as sensitive, so that nothing below prints it. A key no header can carry is no key,
    /// and the service will say so.
    fn api_key_header(&self) -> Option<HeaderValue> {
        let key = self.api_key.as_ref()?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// A root as its operator may give it: `…`, `…/`, `…/api` and `…/api/` are one.
fn with_api(url: &Url) -> Url {
    let mut root = url.clone();
    root.set_query(None);
    root.set_fragment(None);
    let ends_in_api = root.path().trim_end_matches('/').ends_with("/api");
    if let Ok(mut segments) = root.path_segments_mut() {
        segments.pop_if_empty();
        if !ends_in_api {
            segments.push("api");
        }
    }
    root
}

/// The chain id comes as a number, and is taken as text too.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn body(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("what is sent has text keys only")
}

fn json(call: &'static str, body: &[u8]) -> Result<Value, SafeServiceError> {
    // The parser's own message quotes nothing of the body, only where it stopped.
    serde_json::from_slice(body)
        .map_err(|error| SafeServiceError::Malformed { call, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_taken_with_and_without_api() {
        for root in [
            "https://safe.example/tx/base",
            "https://safe.example/tx/base/",
            "https://safe.example/tx/base/api",
            "https://safe.example/tx/base/api/?page=1#top",
        ] {
            let with = with_api(&root.parse().unwrap());
            assert_eq!(with.as_str(), "https://safe.example/tx/base/api", "{root}");
        }
        assert_eq!(with_api(&"http://127.0.0.1:8000".parse().unwrap()).path(), "/api");
    }

    #[test]
    fn the_hosted_service_has_a_root_for_each_chain_it_serves() {
        let root = |chain: u64| hosted_root(ChainId::new(chain).unwrap()).map(String::from);
        let base = "https://api.safe.global/tx-service/base/api";
        assert_eq!(root(8453).as_deref(), Some(base));
        assert!(root(137).unwrap().contains("/tx-service/pol/"));
        assert_eq!(root(31337), None);
    }
}
