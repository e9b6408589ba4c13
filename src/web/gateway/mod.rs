//! Phala Cloud's API as this service passes it on: `/phala/api/v1/…`, for the `phala` command line and
//! everything else that can be pointed at it.
//!
//! ```text
//! caller ─► headers, body as they come ─► Phala Cloud
//!        ◄─ status, headers, body as they come ◄─┘
//!              │
//!              └ 465 of a prepare: kept as a request, a link to it is added
//!                2xx of a commit:  its request is told
//! ```
//!
//! The caller's key goes through and is nobody's here. What else passes is not looked at.

mod calls;
mod capture;
mod link;
mod pace;
mod refusal;
mod settle;
mod tee;
mod turns;

use std::{any::Any, net::SocketAddr, num::NonZeroU32};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
    routing::any,
};
use futures::{StreamExt, TryStreamExt};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use super::{WebState, gate::our_token, site};
use crate::{
    config::Capture,
    flow::Service,
    phala::upstream::{self, Coming, Flow, Going, Upstream, UpstreamError, Whole},
    request::ids::RequestId,
};
use calls::Watched;
use pace::Patience;
use refusal::Refusal;
use settle::Committing;
use tee::Copy;
use turns::Turns;

pub const PREFIX: &str = "/phala/api/v1";
/// Preparations of ours that are kept within a minute. People prepare a few in an hour.
const CAPTURES_A_MINUTE: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// Apps of which nothing is known here that Phala Cloud is asked about with our own key within a minute.
/// Anybody can prepare through here, and our calls are counted too.
const STRANGERS_A_MINUTE: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// Bytes of a body that is looked at on its way. Longer ones pass, and nothing is known of them: what is
/// prepared with one is kept without what was sent, and an answer that is longer is not kept.
const LOOKED_AT_BYTES_MAX: usize = 256 * 1024;

/// The gateway of this instance.
#[derive(Debug)]
pub struct Gateway {
    upstream: Upstream,
    turns: Turns,
    captures: DefaultDirectRateLimiter,
    strangers: DefaultDirectRateLimiter,
}

/// The client for the way to Phala Cloud could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS or name resolution")]
pub struct GatewayError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Gateway {
    pub fn new(service: &Service) -> Result<Self, GatewayError> {
        let upstream = Upstream::new(&service.settings.phala_api_prefix);
        Ok(Self {
            upstream: upstream.map_err(|error| GatewayError(error.into()))?,
            turns: Turns::default(),
            captures: RateLimiter::direct(Quota::per_minute(CAPTURES_A_MINUTE)),
            strangers: RateLimiter::direct(Quota::per_minute(STRANGERS_A_MINUTE)),
        })
    }
}

/// The routes, which nothing of the site is wrapped around: what passes here is not ours to limit,
/// to complete or to put headers on.
pub fn routes() -> Router<WebState> {
    Router::new()
        .route(PREFIX, any(pass))
        .route(&format!("{PREFIX}/"), any(pass))
        .route(&format!("{PREFIX}/{{*path}}"), any(pass))
        .layer(CatchPanicLayer::custom(panicked))
}

fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    defect().into_response()
}

fn defect() -> Refusal {
    tracing::error!("the gateway panicked, which is a defect of Countersign");
    Refusal::panicked()
}

/// Phala Cloud's API, passed on. Any method and any path below it goes to Phala Cloud with its headers
/// and its body, and the answer comes back as it is. The answer to a prepare (465) is kept as a request,
/// and gains a link to it. It needs no token of Countersign: Phala Cloud checks the caller's own key.
#[utoipa::path(
    get, path = "/phala/api/v1/{path}", operation_id = "phala_gateway", tag = "phala",
    params(("path" = String, Path, description = "A path of Phala Cloud's API")),
    responses(
        (status = "default", description = "The answer of Phala Cloud", content_type = "application/json"),
        (status = 400, description = "The path leads out of the API, or is another spelling of a call that is watched"),
        (status = 408, description = "The body came too slowly"),
        (status = 502, description = "Phala Cloud cannot be reached; in the form of its own errors"),
        (status = 503, description = "Too many calls are under way, or what was prepared could not be kept and has to be"),
    )
)]
pub async fn pass(
    State(state): State<WebState>,
    ConnectInfo(caller): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let passed = if request.method().is_safe() {
        pass_on(&state, caller, request).await
    } else {
        // What may take effect is followed to its answer, although its caller has gone: otherwise nobody
        // would know what was prepared or committed.
        let followed = tokio::spawn(async move { pass_on(&state, caller, request).await });
        followed.await.unwrap_or_else(|_| Err(defect()))
    };
    let answer = passed.unwrap_or_else(Refusal::into_response);
    let class = match answer.status().as_u16() {
        status @ 465..=468 => status.to_string(),
        status => format!("{}xx", status / 100),
    };
    metrics::counter!("countersign_gateway_calls_total", "answer" => class).increment(1);
    answer
}

async fn pass_on(
    state: &WebState,
    caller: SocketAddr,
    request: Request,
) -> Result<Response, Refusal> {
    let settings = &state.service.settings.gateway;
    if !settings.is_on {
        return Err(Refusal::off());
    }
    let (parts, body) = request.into_parts();
    if is_shown_by_browser(&parts.headers) {
        return Err(Refusal::browser());
    }
    let turn = state.gateway.turns.take(caller.ip()).ok_or_else(Refusal::busy)?;
    let path = parts.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let watched = Watched::read(&parts.method, path).map_err(|_| Refusal::disguised())?;
    let (patience, late) = (Patience::of(settings.patience), CancellationToken::new());
    let body = (!body.is_end_stream()).then(|| {
        let body = body.into_data_stream().map_err(std::io::Error::other).boxed();
        pace::sent(body, patience, late.clone())
    });
    let (going, copy) = going(&parts, path, body, watched.is_some());
    let coming = tokio::select! {
        // First: the call breaks off as well then, and this is why.
        biased;
        () = late.cancelled() => return Err(Refusal::slow()),
        coming = state.gateway.upstream.send(going) => coming.map_err(|error| refusal(&error))?,
    };
    let coming = match watched.zip(copy) {
        Some((watched, copy)) => {
            Passing { state, parts: &parts, watched, copy }.look(coming).await?
        }
        None => coming,
    };
    let Coming { status, mut headers, body } = coming;
    site::keep_session(&mut headers);
    let mut response = Response::new(match pace::at_once(body, &headers) {
        Ok(whole) => whole.into(),
        // The call is on its way for as long as its answer flows.
        Err(body) => Body::from_stream(pace::taken(body, patience, turn)),
    });
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    Ok(response)
}

fn refusal(error: &UpstreamError) -> Refusal {
    if !matches!(error, UpstreamError::Address) {
        tracing::warn!(error = crate::flow::chain_of(error), "a call was not passed on");
    }
    Refusal::from(error)
}

/// The call as it goes on, and the copy of its body if that is looked at.
fn going(parts: &Parts, path: &str, body: Option<Flow>, is_watched: bool) -> (Going, Option<Copy>) {
    let mut headers = upstream::of_caller(parts.headers.clone());
    if our_token(&headers).is_some() {
        // A browser adds it by itself, and it is none of Phala Cloud's business.
        headers.remove(header::AUTHORIZATION);
    }
    site::drop_session(&mut headers);
    if is_watched {
        // The answer is read here, so it comes as it is.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let rest = format!("{path}{query}");
    let (body, copy) = match body {
        Some(body) if is_watched => {
            let (body, copy) = Copy::of(body, LOOKED_AT_BYTES_MAX);
            (Some(body), Some(copy))
        }
        body => (body, is_watched.then(Copy::empty)),
    };
    (Going { method: parts.method.clone(), rest, headers, body }, copy)
}

/// Whether a browser is about to show the answer, or run it: then whatever stands in it would act in our
/// name. What a program fetches says `empty` here, or nothing. Without TLS a browser does not say it, and
/// asks for a page by its kind all the same.
fn is_shown_by_browser(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let is_page = |kinds: &str| {
        let kinds = kinds.to_ascii_lowercase();
        kinds.contains("text/html") || kinds.contains("application/xhtml")
    };
    if accepts.into_iter().any(is_page) {
        return true;
    }
    let navigates = headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    navigates || headers.get("sec-fetch-dest").is_some_and(|what| what != "empty")
}

fn count_capture(outcome: &'static str) {
    metrics::counter!("countersign_gateway_captures_total", "outcome" => outcome).increment(1);
}

/// A call that is looked at, and what passed of it.
struct Passing<'a> {
    state: &'a WebState,
    parts: &'a Parts,
    watched: Watched,
    copy: Copy,
}

impl Passing<'_> {
    /// Looks at the answer, if it says that something was prepared or committed.
    async fn look(self, mut coming: Coming) -> Result<Coming, Refusal> {
        let asked = self.copy.object();
        let commit = Committing::read(&self.watched, self.parts, asked.as_ref());
        let is_prepared = coming.status.as_u16() == 465 && commit.is_none();
        let is_committed = coming.status.is_success() && commit.is_some();
        if !is_prepared && !is_committed {
            return Ok(coming);
        }
        let body = match upstream::whole(coming.body, LOOKED_AT_BYTES_MAX).await {
            Ok(Whole::Read(body)) => body,
            Ok(Whole::TooLong(body)) => {
                coming.body = body;
                return self.unread(commit, "the answer is too long").map(|()| coming);
            }
            Err(error) => {
                // It breaks off for the caller too.
                coming.body = futures::stream::iter([Err(error)]).boxed();
                return self.unread(commit, "the answer broke off").map(|()| coming);
            }
        };
        let body = match commit {
            Some(commit) => {
                settle::tell(self.state, &self.watched, commit, &body);
                body
            }
            None => self.keep(asked, body, &mut coming.headers).await?,
        };
        coming.body = futures::stream::iter([Ok(body.into())]).boxed();
        Ok(coming)
    }

    /// What was prepared is missed. That something was committed is known by its status alone.
    fn unread(&self, commit: Option<Committing>, reason: &str) -> Result<(), Refusal> {
        let Some(commit) = commit else {
            count_capture("missed");
            return self.missed(reason);
        };
        tracing::warn!(route = self.watched.route(), reason, "what a commit made is not known");
        settle::tell(self.state, &self.watched, commit, b"");
        Ok(())
    }

    /// Keeps what was prepared, and gives the answer with a link to it.
    async fn keep(
        &self,
        asked: Option<serde_json::Value>,
        body: Vec<u8>,
        headers: &mut HeaderMap,
    ) -> Result<Vec<u8>, Refusal> {
        let key = self.parts.headers.get("x-api-key").cloned();
        let kept = capture::keep(self.state, &self.watched, asked, &body, key).await;
        let route = self.watched.route();
        let outcome = kept.as_ref().map_or_else(capture::NotKept::outcome, |_| "kept");
        count_capture(outcome);
        match kept {
            Ok(request) => {
                tracing::info!(request.id = %request, route, "kept what was prepared through the gateway");
                let url = self.page(request);
                let linked = link::add(&body, &url, "Review and approve in Countersign");
                Ok(linked.map_or(body, |linked| {
                    if headers.contains_key(header::CONTENT_LENGTH) {
                        headers.insert(header::CONTENT_LENGTH, linked.len().into());
                    }
                    linked
                }))
            }
            Err(capture::NotKept::NotOurs(reason)) => {
                tracing::info!(
                    route,
                    reason,
                    "what was prepared through the gateway is not for here"
                );
                Ok(body)
            }
            Err(capture::NotKept::Missed(reason)) => self.missed(&reason).map(|()| body),
        }
    }

    /// What was prepared was not kept: that is said, and by setting its caller does not get it either.
    fn missed(&self, reason: &str) -> Result<(), Refusal> {
        tracing::warn!(route = self.watched.route(), reason, "gateway capture missed");
        match self.state.service.settings.gateway.capture {
            Capture::BestEffort => Ok(()),
            Capture::Required => Err(Refusal::not_kept()),
        }
    }

    /// Where people look at a request: by setting, else where the caller reached us.
    fn page(&self, id: RequestId) -> String {
        let settings = &self.state.service.settings;
        let root = settings.public_url.as_ref().map_or_else(
            || {
                let host = self.parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
                let host = host.filter(|host| host.parse::<axum::http::uri::Authority>().is_ok());
                host.map_or_else(
                    || format!("http://{}", settings.listen),
                    |host| format!("http://{host}"),
                )
            },
            |url| url.as_str().trim_end_matches('/').to_owned(),
        );
        format!("{root}/requests/{id}")
    }
}
