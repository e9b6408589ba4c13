//! Keeps what was prepared through the gateway as a request. Whoever prepares needs no token of ours, so
//! only what this workspace can see is kept, on chains that are followed, and not too much of it.

use std::time::Duration;

use axum::http::HeaderValue;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{WebState, calls::Watched};
use crate::{
    flow::chain_of,
    intake,
    phala::{PhalaError, Prepared},
    request::{
        ids::{AppId, ChainId, RequestId, SourceCvm},
        kind::Kind,
    },
    store::{intake::Stored, journal::Actor},
};

/// Longest that an answer waits for its request to be kept.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Why a preparation was not kept. Nothing here repeats what stood in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotKept {
    /// It is of a chain or a workspace that this service has nothing to do with.
    NotOurs(String),
    /// It should have been.
    Missed(String),
}

impl NotKept {
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::NotOurs(_) => "not_ours",
            Self::Missed(_) => "missed",
        }
    }
}

fn missed(error: &dyn std::error::Error) -> NotKept {
    NotKept::Missed(chain_of(error))
}

/// Keeps what the answer of a prepare tells, whether or not its caller waits for it.
pub async fn keep(
    state: &WebState,
    watched: &Watched,
    asked: Option<Value>,
    answer: &[u8],
    key: Option<HeaderValue>,
) -> Result<RequestId, NotKept> {
    let answer: Value = serde_json::from_slice(answer)
        .map_err(|_| NotKept::Missed("the answer is no JSON".into()))?;
    let kept =
        Prepare { state: state.clone(), watched: watched.clone(), asked, answer, key }.keep();
    // A task of its own: a caller who goes away now has a token all the same.
    match tokio::spawn(tokio::time::timeout(PATIENCE, kept)).await {
        Ok(Ok(kept)) => kept,
        Ok(Err(_)) => {
            Err(NotKept::Missed(format!("it took longer than {} seconds", PATIENCE.as_secs())))
        }
        Err(_) => Err(NotKept::Missed("it panicked, which is a defect of Countersign".into())),
    }
}

struct Prepare {
    state: WebState,
    watched: Watched,
    asked: Option<Value>,
    answer: Value,
    key: Option<HeaderValue>,
}

impl Prepare {
    async fn keep(self) -> Result<RequestId, NotKept> {
        let service = self.state.service.clone();
        let prepared =
            Prepared::from_prepare_response(&self.answer).map_err(|error| missed(&error))?;
        let chains: Vec<ChainId> = service.chains.iter().map(crate::chain::Chain::id).collect();
        let chain = match (prepared.chain_id, chains.as_slice()) {
            (Some(chain), chains) if chains.contains(&chain) => chain,
            (None, [only]) => *only,
            (Some(chain), _) => {
                return Err(NotKept::NotOurs(format!("chain {chain} is not configured here")));
            }
            (None, _) => {
                return Err(NotKept::Missed("the answer does not name its chain".into()));
            }
        };
        if !is_ours(&self.state, chain, prepared.app).await? {
            let reason = "the API key of this service does not see the app";
            return Err(NotKept::NotOurs(reason.into()));
        }
        // What strangers prepare is not counted, so they take nobody's place.
        if self.state.gateway.captures.check().is_err() {
            return Err(NotKept::Missed("too many were kept within a minute".into()));
        }
        let source = self.source(&prepared).await;
        let now = service.clock.now();
        let mut fields = self.submission(source);
        let submission = intake::read(&fields, &chains, now).or_else(|error| {
            // What was sent can do without; then it is prepared again from what is known of it.
            let body =
                fields.as_object_mut().and_then(|fields| fields.shift_remove("prepare_body"));
            body.filter(|_| error.field == "prepare_body").ok_or(error)?;
            intake::read(&fields, &chains, now)
        });
        let submission = submission.map_err(|error| missed(&error))?;
        let (id, actor) = (RequestId(Uuid::now_v7()), Actor::service("gateway"));
        let stored = intake::accept(&service.store, &service.vault, id, &submission, &actor, now);
        match stored.await.map_err(|error| missed(&error))? {
            Stored::Opened(request) | Stored::Known(request) | Stored::Renewed(request) => {
                Ok(request.id)
            }
            // It came by another way first, which did not tell the node.
            Stored::TokenReused(id) => Ok(id),
        }
    }

    /// What stands in the place of the source, in the spelling of all other calls. None when the answer
    /// itself names the CVM.
    async fn source(&self, prepared: &Prepared) -> Option<SourceCvm> {
        match &self.watched {
            Watched::Instance { .. } => Some(SourceCvm::of_app(prepared.app)),
            _ if prepared.source_cvm.is_some() => None,
            Watched::Replicate { source } | Watched::Update { source } => {
                uuid_of(&self.state, source, self.key.clone()).await
            }
            Watched::CommitReplica | Watched::CommitUpdate => None,
        }
    }

    fn submission(self, source: Option<SourceCvm>) -> Value {
        let (mut fields, asked) = (Map::new(), self.asked.as_ref());
        if let Watched::Update { .. } = self.watched {
            fields.insert("kind".into(), json!(Kind::Update));
        } else {
            let named = |name| asked.and_then(|asked| asked.get(name)).cloned();
            let node = named("node_id").or_else(|| named("teepod_id"));
            fields.extend(node.map(|node| ("node_id".into(), node)));
        }
        fields.extend(source.map(|source| ("source_cvm".into(), json!(source))));
        fields.extend(self.asked.map(|asked| ("prepare_body".into(), asked)));
        fields.insert("prepare_response".into(), self.answer);
        fields.insert("just_prepared".into(), json!(true));
        fields.into()
    }
}

/// A CVM by its UUID, whatever it is called in a path. Phala Cloud is asked in the name of the caller
/// when it is called by something else.
pub async fn uuid_of(state: &WebState, named: &str, key: Option<HeaderValue>) -> Option<SourceCvm> {
    let named: SourceCvm = named.parse().ok()?;
    if Uuid::try_parse(named.as_str()).is_ok() {
        return Some(named);
    }
    state.gateway.upstream.cvm(&named, key).await
}

/// Whether an app is one that this service has to do with: there was a request for it, or Phala Cloud
/// shows it to our own key, which is asked for so many unknown ones only. Without a key nothing can be
/// told, and nothing is committed either.
async fn is_ours(state: &WebState, chain: ChainId, app: AppId) -> Result<bool, NotKept> {
    let service = &state.service;
    let known = service.store.has_request_of(chain, app).await.map_err(|error| missed(&error))?;
    if known || !service.can_prepare {
        return Ok(true);
    }
    if state.gateway.strangers.check().is_err() {
        let reason = "too many apps of which nothing is known here were prepared within a minute";
        return Err(NotKept::Missed(reason.into()));
    }
    match service.cloud.instances(app).await {
        Ok(_) => Ok(true),
        Err(PhalaError::Api(answer)) if matches!(answer.status, 400 | 403 | 404) => Ok(false),
        Err(error) => Err(missed(&error)),
    }
}
