//! The Phala Cloud client: prepare a replica or an update, commit it, and look at what exists.
//!
//! ```text
//! prepare ─► Prepared (465) ··· approval on chain ··· ─► commit ─► Made
//! instances, cvm, boot: what the world looks like, asked when an answer was lost
//! ```
//!
//! May not retry, wait or decide: it tells what came back, and whether the effect may be there.

mod act;
pub mod catalogue;
mod codes;
mod compose;
mod create;
mod dotenv;
mod env;
mod fields;
mod http;
mod prepared;
mod seen_commit;
mod update;
pub mod upstream;
mod wire;

use std::sync::Arc;

use reqwest::{
    Body, Method, Request,
    header::{self, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

pub use act::{Made, replica_body};
pub use catalogue::{Class, Meaning, meaning};
pub use codes::ApiError;
pub use compose::{PendingUpdate, Revision};
pub use create::{Created, Surroundings};
pub use dotenv::{EnvProblem, parse_env};
pub use env::{CannotEncrypt, EnvKey, EnvVar, Signer};
pub use fields::FieldError;
use fields::Fields;
pub use http::PhalaError;
pub use prepared::{PrepareResponseError, Prepared};
pub use seen_commit::seen_commit;
pub use update::{Operation, OperationState};
pub use wire::{Boot, CommitEvidence, CommitToken, CommitTokenError, Cvm, Instance, Node};

use crate::{
    clock::Time,
    request::ids::{AppId, ChainId, ReplicaId, SourceCvm},
    wire::{Ended, Resting, Throttle, Wire},
};
use act::COMMIT;
use http::{Answer, exchange};

/// Later versions turn ids into other ids. Held here until somebody has looked at what changed.
const API_VERSION: &str = "2026-01-21";

/// A connection to one Phala Cloud workspace.
#[derive(Clone, Debug)]
pub struct PhalaCloud {
    wire: Arc<dyn Wire>,
    base: Url,
    api_key: Option<SecretString>,
    throttle: Option<Arc<Throttle>>,
}

/// The instances of an app, as they were at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub instances: Vec<Instance>,
    /// By Phala Cloud's clock, if it told.
    pub at: Option<Time>,
}

impl PhalaCloud {
    /// `base` includes `/api/v1`. Without a key only a commit can be expected to work.
    #[must_use]
    pub fn new(wire: impl Wire, base: Url, api_key: Option<SecretString>) -> Self {
        Self { wire: Arc::new(wire), base, api_key, throttle: None }
    }

    /// The same, asked no more than this lets through.
    #[must_use]
    pub fn throttled(self, throttle: Throttle) -> Self {
        Self { throttle: Some(Arc::new(throttle)), ..self }
    }

    /// Whether a commit would be sent now, so that none is begun that would not.
    ///
    /// # Errors
    /// [`PhalaError::Rests`].
    pub fn may_commit(&self) -> Result<(), PhalaError> {
        self.throttle.as_ref().map_or(Ok(()), |throttle| rested(throttle, COMMIT))
    }

    /// One CVM: where it runs, what it runs, which chain governs it.
    pub async fn cvm(&self, id: &SourceCvm) -> Result<Cvm, PhalaError> {
        let value = self.get("read CVM", &["cvms", id.canonical().as_str()]).await?;
        Cvm::read(&value).map_err(|error| PhalaError::malformed("read CVM", &error))
    }

    /// How far a boot has come. Only this endpoint tells why one failed.
    pub async fn boot(&self, id: &ReplicaId) -> Result<Boot, PhalaError> {
        const CALL: &str = "read boot status";
        let body = json!({ "vm_uuids": [id] });
        let request = self.post(&["status", "batch"], &body);
        let value = expect_success(&self.exchange(CALL, request).await?)?;
        Boot::read(&value, id).map_err(|error| PhalaError::malformed(CALL, &error))
    }

    /// All instances of an app, or an error: never a part of them.
    pub async fn instances(&self, app: AppId) -> Result<Vec<Instance>, PhalaError> {
        Ok(self.list_instances(app).await?.instances)
    }

    /// The same, with what Phala Cloud's clock said.
    pub async fn list_instances(&self, app: AppId) -> Result<Listing, PhalaError> {
        const CALL: &str = "list instances";
        let request = self.request(Method::GET, &["apps", &act::bare(app), "cvms"]);
        let answer = self.exchange(CALL, request).await?;
        let value = expect_success(&answer)?;
        let instances = Instance::read_list(&value);
        let instances = instances.map_err(|error| PhalaError::malformed(CALL, &error))?;
        Ok(Listing { instances, at: answer.date() })
    }

    /// The chain that governs an app; none when Phala Cloud itself keeps its keys.
    pub async fn chain_of(&self, app: AppId) -> Result<Option<ChainId>, PhalaError> {
        const CALL: &str = "read the KMS of an app";
        let value = self.get(CALL, &["apps", &act::bare(app), "kms-info"]).await?;
        let fields = Fields(&value);
        let chain = fields.chain(&["/chain_id"]);
        let chain = chain.map_err(|error| PhalaError::malformed(CALL, &error))?;
        Ok(chain.filter(|_| fields.flag(&["/is_onchain_kms"]) != Some(false)))
    }

    /// The nodes this workspace can put instances on.
    pub async fn nodes(&self) -> Result<Vec<Node>, PhalaError> {
        const CALL: &str = "list nodes";
        let value = self.get(CALL, &["teepods", "available"]).await?;
        Node::read_list(&value).map_err(|error| PhalaError::malformed(CALL, &error))
    }

    /// Whether Phala Cloud is there and, when there is a key, accepts it.
    pub async fn ping(&self) -> Result<(), PhalaError> {
        let answer = self.exchange("ping", self.request(Method::GET, &["auth", "me"])).await?;
        let refused_as_it_must_be = self.api_key.is_none() && answer.status == 401;
        if answer.is_success() || refused_as_it_must_be {
            Ok(())
        } else {
            Err(answer.refused(None))
        }
    }

    async fn get(&self, call: &'static str, path: &[&str]) -> Result<Value, PhalaError> {
        expect_success(&self.exchange(call, self.request(Method::GET, path)).await?)
    }

    async fn exchange(&self, call: &'static str, request: Request) -> Result<Answer, PhalaError> {
        if let Some(throttle) = &self.throttle {
            rested(throttle, call)?;
        }
        self.send(call, request).await
    }

    async fn send(&self, call: &'static str, request: Request) -> Result<Answer, PhalaError> {
        let Some(throttle) = &self.throttle else {
            return exchange(call, self.wire.as_ref(), request).await;
        };
        throttle.turn().await;
        let answer = exchange(call, self.wire.as_ref(), request).await;
        throttle.note(call, answer.as_ref().map_or(Ended::Broken, Answer::ended));
        answer
    }

    fn post(&self, path: &[&str], body: &Value) -> Request {
        let mut request = self.request(Method::POST, path);
        *request.body_mut() = Some(Body::from(body.to_string()));
        request
    }

    fn request(&self, method: Method, path: &[&str]) -> Request {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = Request::new(method, url);
        let headers = request.headers_mut();
        headers.insert("X-Phala-Version", HeaderValue::from_static(API_VERSION));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = self.api_key_header() {
            headers.insert("X-API-Key", key);
        }
        request
    }

    /// Marked as sensitive, so that nothing below prints it. A key no header can carry is no key,
    /// and the server will say so.
    fn api_key_header(&self) -> Option<HeaderValue> {
        let key = self.api_key.as_ref()?;
        let mut value = HeaderValue::from_str(key.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

fn rested(throttle: &Throttle, call: &'static str) -> Result<(), PhalaError> {
    throttle.check(call).map_err(|Resting { left }| PhalaError::Rests { call, left })
}

fn expect_success(answer: &Answer) -> Result<Value, PhalaError> {
    if answer.is_success() { answer.json() } else { Err(answer.refused(None)) }
}
