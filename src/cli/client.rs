//! The client of Countersign's own API. It follows no redirect, since that would hand the API token
//! and a commit token to whatever place the answer names, and no error repeats what was sent.

use std::{io, net::IpAddr, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use reqwest::{
    Method, RequestBuilder, Response,
    header::{self, HeaderMap},
    redirect,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::{Host, Url};

use super::print;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_mins(1);
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where the service is, and who asks.
#[derive(Debug, Clone, Args)]
pub struct ServiceArgs {
    /// Where the service listens.
    #[arg(
        long,
        global = true,
        env = "COUNTERSIGN_URL",
        default_value = "http://127.0.0.1:8465",
        help_heading = "Everywhere"
    )]
    url: Url,
    /// API token. Better given in the environment, since other users see arguments.
    #[arg(
        long,
        global = true,
        env = "COUNTERSIGN_TOKEN",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    token: Option<SecretString>,
}

impl ServiceArgs {
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The service at another address, which is told the token only if it is the same server.
    #[must_use]
    pub fn at(&self, root: Url) -> Self {
        let token = self.token.clone().filter(|_| self.url.origin() == root.origin());
        Self { url: root, token }
    }

    /// The service's address, without a slash at its end.
    #[cfg(feature = "devnet")]
    pub fn base(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// A client that carries the token, if there is one.
    #[cfg(feature = "devnet")]
    pub fn http(&self) -> Result<reqwest::Client> {
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            let bearer = format!("Bearer {}", token.expose_secret());
            let mut bearer =
                header::HeaderValue::from_str(&bearer).context("that is no API token")?;
            bearer.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, bearer);
        }
        Ok(reqwest::Client::builder().default_headers(headers).build()?)
    }
}

/// Why the service did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It said no, and why.
    #[error(
        "{}{title}{}", field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default(),
        if *status == 401 { ": --token or COUNTERSIGN_TOKEN (`countersign token create NAME`, where `serve` has its database)" } else { "" }
    )]
    Refused { status: u16, code: String, title: String, field: Option<String> },
    #[error("cannot reach the service at {place}; is it running? (`countersign serve`, --url)")]
    Unreachable { place: String, source: reqwest::Error },
    #[error("the service at {place} did not finish its answer, so it may have acted")]
    NoAnswer { place: String, source: reqwest::Error },
    #[error("what answers at {place} is not Countersign (HTTP {status})")]
    NotCountersign { place: String, status: u16 },
    #[error("the answer of {place} is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong { place: String },
    #[error("cannot write the answer")]
    NotWritten(#[source] io::Error),
}

impl ClientError {
    /// The stable name and the field, when the service gave them.
    pub fn code_and_field(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Refused { code, field, .. } => (Some(code), field.as_deref()),
            _ => (None, None),
        }
    }

    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// An answer that is no error.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

/// A service to ask.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<SecretString>,
}

impl Client {
    pub fn new(args: &ServiceArgs) -> Result<Self> {
        let here = is_loopback(&args.url);
        let mut http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT);
        if here {
            // A proxy cannot reach what only this machine can.
            http = http.no_proxy();
        } else if args.url.scheme() == "http" {
            print::note_to_stderr(
                "warning: the service is reached without encryption (http), tokens included",
            );
        }
        let http = http.build().context("cannot set up the HTTP client")?;
        Ok(Self { http, base: args.url.clone(), token: args.token.clone() })
    }

    /// Where it asks, without a password that may stand in the URL.
    pub fn place(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, ClientError> {
        Ok(self.reply(path, query).await?.body)
    }

    /// The same, with what the headers say beside the body.
    pub async fn reply(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Reply, ClientError> {
        self.send(self.request(Method::GET, path).query(query)).await
    }

    /// A list with all its pages. Of the address that names the next page only the cursor is used.
    pub async fn pages(&self, path: &[&str], limit: u32) -> Result<Vec<Value>, ClientError> {
        let (mut rows, mut cursor) = (vec![], None);
        loop {
            let mut query = vec![("limit", limit.to_string())];
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let reply = self.reply(path, &query).await?;
            let Value::Array(page) = reply.body else {
                return Err(ClientError::NotCountersign {
                    place: self.place(),
                    status: reply.status,
                });
            };
            let is_empty = page.is_empty();
            rows.extend(page);
            cursor = reply.headers.get(header::LINK).and_then(|link| next(link.to_str().ok()?));
            if cursor.is_none() || is_empty {
                return Ok(rows);
            }
        }
    }

    /// Passes an answer on as it comes, however long it is, until nobody wants more of it.
    pub async fn copy(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        mut to: impl FnMut(&[u8]) -> io::Result<bool>,
    ) -> Result<(), ClientError> {
        let request = self.request(Method::GET, path).query(query);
        let mut response = request.send().await.map_err(|error| self.cut_off(error))?;
        if !response.status().is_success() {
            let (status, _, body) = self.whole(response).await?;
            return Err(self.refused(status, &body));
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| self.cut_off(error))? {
            if !to(&chunk).map_err(ClientError::NotWritten)? {
                break;
            }
        }
        Ok(())
    }

    pub async fn post(&self, path: &[&str], body: &Value) -> Result<Reply, ClientError> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Posts bytes as they are.
    pub async fn post_bytes(&self, path: &[&str], body: Vec<u8>) -> Result<Reply, ClientError> {
        let request = self.request(Method::POST, path).body(body);
        self.send(request.header(header::CONTENT_TYPE, "application/octet-stream")).await
    }

    /// Whether the token may write. An empty submission finds out without changing anything: it is
    /// refused for what it lacks only after the token was accepted.
    pub async fn may_write(&self) -> Result<(), ClientError> {
        match self.post(&["v1", "requests"], &json!({})).await {
            Err(ClientError::Refused { status: 422, .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(Reply { status, .. }) => {
                Err(ClientError::NotCountersign { place: self.place(), status })
            }
        }
    }

    /// The readiness, which is an answer in both states.
    pub async fn readiness(&self) -> Result<Value, ClientError> {
        let (status, _, body) = self.exchange(self.request(Method::GET, &["readyz"])).await?;
        let body: Option<Value> = serde_json::from_slice(&body).ok();
        body.filter(|body| body["checks"].is_array())
            .ok_or_else(|| ClientError::NotCountersign { place: self.place(), status })
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.http.request(method, url);
        let bearer = self.token.as_ref().and_then(|token| {
            let value = format!("Bearer {}", token.expose_secret().trim());
            header::HeaderValue::from_str(&value).ok()
        });
        match bearer {
            Some(mut bearer) => {
                bearer.set_sensitive(true);
                request.header(header::AUTHORIZATION, bearer)
            }
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Reply, ClientError> {
        let (status, headers, body) = self.exchange(request).await?;
        if (200..300).contains(&status) {
            let not_ours = |_| ClientError::NotCountersign { place: self.place(), status };
            let body = serde_json::from_slice(&body).map_err(not_ours)?;
            return Ok(Reply { status, headers, body });
        }
        Err(self.refused(status, &body))
    }

    fn refused(&self, status: u16, body: &[u8]) -> ClientError {
        match serde_json::from_slice(body) {
            Ok(Problem { code, title, field }) => {
                ClientError::Refused { status, code, title, field }
            }
            Err(_) => ClientError::NotCountersign { place: self.place(), status },
        }
    }

    fn cut_off(&self, error: reqwest::Error) -> ClientError {
        let (place, source) = (self.place(), error.without_url());
        if source.is_connect() || source.is_builder() {
            ClientError::Unreachable { place, source }
        } else {
            ClientError::NoAnswer { place, source }
        }
    }

    async fn exchange(
        &self,
        request: RequestBuilder,
    ) -> Result<(u16, HeaderMap, Vec<u8>), ClientError> {
        self.whole(request.send().await.map_err(|error| self.cut_off(error))?).await
    }

    async fn whole(
        &self,
        mut response: Response,
    ) -> Result<(u16, HeaderMap, Vec<u8>), ClientError> {
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.cut_off(error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ClientError::TooLong { place: self.place() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, headers, body))
    }
}

/// The cursor of the next page in a `Link` header.
fn next(link: &str) -> Option<String> {
    let (address, parameters) = link.split_once('>')?;
    let query = address.split_once('?')?.1;
    let cursor = query.split('&').find_map(|pair| pair.strip_prefix("cursor="))?;
    parameters.contains("rel=\"next\"").then(|| cursor.to_owned())
}

/// What the service says when it refuses.
#[derive(Deserialize)]
struct Problem {
    code: String,
    title: String,
    field: Option<String>,
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_field() {
        let refused = |field: Option<&str>| ClientError::Refused {
            status: 422,
            code: "invalid-field".into(),
            title: "missing".into(),
            field: field.map(str::to_owned),
        };
        assert_eq!(refused(Some("source_cvm")).to_string(), "source_cvm: missing");
        assert_eq!(refused(None).to_string(), "missing");
    }

    #[test]
    fn a_link_names_the_next_page() {
        let link = "</v1/apps/1/0x11/ledger?limit=2&cursor=30_4>; rel=\"next\"";
        assert_eq!(next(link).as_deref(), Some("30_4"));
        assert_eq!(next("</v1/x?limit=2>; rel=\"next\""), None);
        assert_eq!(next("</v1/x?cursor=1_2>; rel=\"prev\""), None);
        assert_eq!(next(""), None);
    }

    #[test]
    fn only_this_machine_is_near() {
        let near = |url: &str| is_loopback(&url.parse().unwrap());
        assert!(near("http://127.0.0.1:8465") && near("http://localhost") && near("http://[::1]"));
        assert!(!near("http://10.0.0.1") && !near("https://countersign.example"));
    }
}
