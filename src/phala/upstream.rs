//! The way through to Phala Cloud for calls of others: method, address, headers and body go as they
//! came, and the answer comes back as it is, both while they are still being read.
//!
//! It knows no key and no throttle, reads nothing of what passes, and never tries again.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use percent_encoding::percent_decode_str;
use reqwest::{
    Body, Client, Method, Request, Response, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use tokio::sync::Notify;
use url::Url;

use super::{API_VERSION, wire::Cvm};
use crate::request::ids::SourceCvm;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A call on which nothing moves for so long is given up. One that flows may take as long as it takes.
const IDLE: Duration = Duration::from_mins(5);
/// Kept open for the next call; shorter than servers keep theirs, so that none is used that is gone.
const KEPT_OPEN: Duration = Duration::from_secs(30);
/// Rounds in which an address may be hidden in percent signs.
const DECODINGS: usize = 3;
/// Longest description of a CVM that is read.
const CVM_BYTES_MAX: usize = 256 * 1024;

/// What concerns one connection and not the next one (RFC 9110, 7.6.1), and what is said anew for
/// each: the host, and whether to wait before the body.
const OF_ONE_CONNECTION: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
];
/// No log below shows these.
const SECRET: [&str; 3] = ["x-api-key", "authorization", "cookie"];

/// A body, in the parts that it comes in.
pub type Flow = BoxStream<'static, io::Result<Bytes>>;

/// A call on its way to Phala Cloud.
pub struct Going {
    pub method: Method,
    /// What follows the prefix: nothing, or `/…` and `?…` as they came.
    pub rest: String,
    pub headers: HeaderMap,
    pub body: Option<Flow>,
}

/// What came back.
pub struct Coming {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Flow,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("this address leads out of Phala Cloud's API, or is not written as an address is")]
    Address,
    #[error("Phala Cloud cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the connection to Phala Cloud broke before an answer came")]
    Broken(#[source] reqwest::Error),
    /// Nobody here asks for one (RFC 9110, 7.8).
    #[error("Phala Cloud switched to another protocol")]
    Switched,
    #[error("nothing came from Phala Cloud for {} minutes", IDLE.as_secs() / 60)]
    Silent,
}

/// Where calls of others go.
#[derive(Debug, Clone)]
pub struct Upstream {
    client: Client,
    /// Without a slash at its end.
    base: String,
}

impl Upstream {
    /// `base` includes `/api/v1`.
    ///
    /// # Errors
    /// When the TLS backend or the resolver cannot be set up.
    pub fn new(base: &Url) -> reqwest::Result<Self> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(KEPT_OPEN)
            .build()?;
        Ok(Self { client, base: base.as_str().trim_end_matches('/').to_owned() })
    }

    /// Sends a call, and gives the answer as soon as its head is there.
    pub async fn send(&self, going: Going) -> Result<Coming, UpstreamError> {
        // A tunnel has no address below the prefix (RFC 9110, 9.3.6).
        if going.method == Method::CONNECT {
            return Err(UpstreamError::Address);
        }
        let mut request = Request::new(going.method, address(&self.base, &going.rest)?);
        *request.headers_mut() = going.headers;
        let moved = Arc::new(Notify::new());
        if let Some(body) = going.body {
            let moved = moved.clone();
            let body = body.inspect(move |_| moved.notify_one());
            *request.body_mut() = Some(Body::wrap_stream(body));
        }
        let mut answer = std::pin::pin!(self.client.execute(request));
        loop {
            tokio::select! {
                answer = &mut answer => {
                    let answer = answer.map_err(fault)?;
                    let is_switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
                    return if is_switched { Err(UpstreamError::Switched) } else { Ok(Coming::of(answer)) };
                }
                () = moved.notified() => {}
                () = tokio::time::sleep(IDLE) => return Err(UpstreamError::Silent),
            }
        }
    }

    /// Which CVM a name means, asked in the name of whoever holds this key.
    pub async fn cvm(&self, name: &SourceCvm, key: Option<HeaderValue>) -> Option<SourceCvm> {
        let mut headers = HeaderMap::new();
        headers.insert("x-phala-version", HeaderValue::from_static(API_VERSION));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(key.map(|key| (HeaderName::from_static("x-api-key"), key)));
        let rest = format!("/cvms/{name}");
        let going = Going { method: Method::GET, rest, headers, body: None };
        let coming = self.send(going).await.ok()?;
        let Whole::Read(body) = whole(coming.body, CVM_BYTES_MAX).await.ok()? else { return None };
        let cvm = serde_json::from_slice(&body).ok().filter(|_| coming.status.is_success())?;
        Cvm::read(&cvm).ok().map(|cvm| cvm.vm_uuid)
    }
}

impl Coming {
    fn of(mut response: Response) -> Self {
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let parts = tokio_stream::StreamExt::timeout(response.bytes_stream(), IDLE);
        let parts = parts.map(|part| match part {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(io::Error::other(error.without_url())),
            Err(late) => Err(io::Error::new(io::ErrorKind::TimedOut, late)),
        });
        Self { status, headers: end_to_end(headers), body: parts.boxed() }
    }
}

fn fault(error: reqwest::Error) -> UpstreamError {
    let error = error.without_url();
    if error.is_connect() || error.is_builder() {
        UpstreamError::Unreachable(error)
    } else {
        UpstreamError::Broken(error)
    }
}

/// The headers that go on to the other side.
pub fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        named.flat_map(|list| list.split(',')).filter_map(|one| one.trim().parse().ok()).collect();
    // A length beside chunks says nothing, and one that is said twice or is no number cannot be passed on
    // (RFC 9112, 6.3): whoever sends the body on says where it ends.
    if headers.contains_key(header::TRANSFER_ENCODING) || !is_one_length(&headers) {
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in named.iter().chain(&OF_ONE_CONNECTION) {
        headers.remove(name);
    }
    headers
}

fn is_one_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let is_number = |length: &HeaderValue| length.as_bytes().iter().all(u8::is_ascii_digit);
    lengths.next().is_none_or(is_number) && lengths.next().is_none()
}

/// The headers of a caller as they go on: its host is ours, and its keys are nobody's to print.
pub fn of_caller(headers: HeaderMap) -> HeaderMap {
    let mut headers = end_to_end(headers);
    headers.remove(header::HOST);
    for (name, value) in &mut headers {
        value.set_sensitive(SECRET.contains(&name.as_str()));
    }
    headers
}

/// The address below `base`. What would be read as another one on the way is refused: a path is sent
/// in the bytes that it came in, or not at all.
fn address(base: &str, rest: &str) -> Result<Url, UpstreamError> {
    let path = rest.split('?').next().unwrap_or_default();
    let begins = rest.is_empty() || rest.starts_with(['/', '?']);
    if !begins || leads_out(path) {
        return Err(UpstreamError::Address);
    }
    let url = Url::parse(&format!("{base}{rest}")).map_err(|_| UpstreamError::Address)?;
    let sent = format!("{}{}", url.origin().ascii_serialization(), url.path());
    if sent.trim_end_matches('/') == format!("{base}{path}").trim_end_matches('/') {
        Ok(url)
    } else {
        Err(UpstreamError::Address)
    }
}

/// Whether somebody between here and there might resolve a path to one above it.
fn leads_out(path: &str) -> bool {
    let mut path = path.to_owned();
    for _ in 0..=DECODINGS {
        let mut steps = path.split(['/', '\\']).map(|step| step.split(';').next());
        if steps.any(|step| matches!(step, Some("." | ".."))) || path.contains(char::is_control) {
            return true;
        }
        path = percent_decode_str(&path).decode_utf8_lossy().into_owned();
    }
    false
}

/// A body that was read as far as a limit.
pub enum Whole {
    Read(Vec<u8>),
    /// Longer: what was read of it, and the rest.
    TooLong(Flow),
}

/// Reads a body whole unless it is longer.
///
/// # Errors
/// It breaks off.
pub async fn whole(mut body: Flow, bytes_max: usize) -> io::Result<Whole> {
    let mut read = vec![];
    while let Some(part) = body.next().await {
        read.extend_from_slice(&part?);
        if read.len() > bytes_max {
            let read = futures::stream::iter([Ok(Bytes::from(read))]);
            return Ok(Whole::TooLong(read.chain(body).boxed()));
        }
    }
    Ok(Whole::Read(read))
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
