//! Prepare and commit: replicas, instances of an app, updates. The only calls that change something.
//!
//! ```text
//! replica    POST  /cvms/{id}/replicas      POST /cvms/{id}/commit-replica   200, the CVM
//! instance   POST  /apps/{app}/instances    the same, with a token           200, the CVM
//! update     PATCH /cvms/{id}               POST /cvms/{id}/commit-update    202, an operation
//! ```

use reqwest::{Body, Method, Request, header::HeaderValue};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    CommitEvidence, CommitToken, Instance, PhalaCloud, PhalaError, Prepared, fields::Fields,
    http::Answer, wire,
};
use crate::{
    planted::{Bug, planted},
    request::{
        ids::{AppId, ComposeHash, NodeId, SourceCvm},
        kind::Target,
    },
};

pub(super) const COMMIT: &str = "commit";
const PREPARE: &str = "prepare";
/// What an operation is called is as long as a UUID.
const OPERATION_BYTES_MAX: usize = 128;

/// What a commit was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    Instance(Instance),
    /// An update is under way, and called this, if the answer told.
    Accepted {
        operation: Option<String>,
    },
}

impl PhalaCloud {
    /// Asks for a replica without creating it: [`Self::prepare`] with no more than this.
    pub async fn prepare_replica(
        &self,
        source: &SourceCvm,
        node: Option<&NodeId>,
        compose: Option<ComposeHash>,
    ) -> Result<Prepared, PhalaError> {
        self.prepare(&Target::Replica(source.clone()), &replica_body(node, compose)).await
    }

    /// Prepares, sending `body`. Changes nothing but this: an earlier token of the same source may
    /// die.
    ///
    /// # Errors
    /// [`PhalaError::CreatedWithoutApproval`] and [`PhalaError::UpdatedWithoutApproval`] when the
    /// server did it all the same, as it does for a source that no chain governs.
    pub async fn prepare(&self, target: &Target, body: &Value) -> Result<Prepared, PhalaError> {
        let mut request = match target {
            Target::Replica(source) => self.post(&["cvms", &dashed(source), "replicas"], body),
            Target::Instance(app) => self.post(&["apps", &bare(*app), "instances"], body),
            Target::Update(source) => self.patch(&["cvms", &dashed(source)], body),
        };
        request.headers_mut().insert("X-Prepare-Only", HeaderValue::from_static("true"));
        let answer = self.exchange(PREPARE, request).await?;
        if answer.is_success() {
            // What is no JSON is the page of something in between, and says nothing.
            let value = answer.json()?;
            return Err(match target {
                Target::Update(_) => PhalaError::UpdatedWithoutApproval,
                Target::Replica(_) | Target::Instance(_) => {
                    let replica = Instance::read(&value).ok().map(|instance| instance.id);
                    PhalaError::CreatedWithoutApproval { replica }
                }
            });
        }
        if answer.status != 465 {
            return Err(answer.refused(None));
        }
        Prepared::from_prepare_response(&answer.json()?)
            .map_err(|error| PhalaError::malformed(PREPARE, &error))
    }

    /// Makes what was prepared. Every error but a clear refusal leaves open whether it happened: ask
    /// [`PhalaError::may_have_acted`], and look before trying again.
    pub async fn commit(
        &self,
        target: &Target,
        token: &CommitToken,
        compose: ComposeHash,
        evidence: &CommitEvidence,
    ) -> Result<Made, PhalaError> {
        // In the body, never in the query: proxies and servers log the latter.
        let body = json!({
            "token": token.expose(),
            "compose_hash": compose,
            "transaction_hash": evidence.wire(),
        });
        let request = match target {
            Target::Replica(source) => {
                self.post(&["cvms", &dashed(source), "commit-replica"], &body)
            }
            Target::Instance(app) => self.post(&["apps", &bare(*app), "instances"], &body),
            Target::Update(source) => self.post(&["cvms", &dashed(source), "commit-update"], &body),
        };
        // Whoever begins a commit has asked whether it may be made.
        let answer = self.send(COMMIT, request).await?;
        if !answer.is_success() {
            let secret = Some(token.expose()).filter(|_| !planted(Bug::TokenInError));
            return Err(answer.refused(secret));
        }
        match target {
            Target::Update(_) => read_accepted(&answer, token),
            Target::Replica(_) | Target::Instance(_) => read_made(&answer, token),
        }
    }

    /// Creates the prepared replica: [`Self::commit`].
    pub async fn commit_replica(
        &self,
        source: &SourceCvm,
        token: &CommitToken,
        compose: ComposeHash,
        evidence: &CommitEvidence,
    ) -> Result<Instance, PhalaError> {
        match self.commit(&Target::Replica(source.clone()), token, compose, evidence).await? {
            Made::Instance(instance) => Ok(instance),
            Made::Accepted { .. } => unreachable!("only an update is accepted"),
        }
    }

    fn patch(&self, path: &[&str], body: &Value) -> Request {
        let mut request = self.request(Method::PATCH, path);
        *request.body_mut() = Some(Body::from(body.to_string()));
        request
    }
}

/// What is sent to prepare a replica, when nothing else is known of it.
#[must_use]
pub fn replica_body(node: Option<&NodeId>, compose: Option<ComposeHash>) -> Value {
    let mut body = Map::new();
    if let Some(node) = node {
        body.insert("node_id".into(), number_or_text(node.as_str()));
    }
    if let Some(compose) = compose {
        body.insert("compose_hash".into(), json!(compose));
    }
    body.into()
}

fn read_made(answer: &Answer, token: &CommitToken) -> Result<Made, PhalaError> {
    let made = Instance::read(&answer.json()?);
    let made = made.map_err(|error| PhalaError::malformed(COMMIT, &error))?;
    // In whatever spelling: a UUID is kept in one.
    if wire::same_cvm(made.id.as_str(), token.expose()) {
        // It would be kept and shown as the replica's id.
        return Err(PhalaError::Malformed {
            call: COMMIT,
            reason: "the answer names the commit token as the instance".into(),
        });
    }
    Ok(Made::Instance(made))
}

/// An update that is not called anything can be followed all the same.
fn read_accepted(answer: &Answer, token: &CommitToken) -> Result<Made, PhalaError> {
    let value = answer.json()?;
    let operation = Fields(&value).value(&["/correlation_id"]).and_then(Value::as_str);
    Ok(Made::Accepted { operation: operation.and_then(|text| operation_name(text, token)) })
}

/// What an operation is called, if that can be kept and shown.
pub(super) fn operation_name(text: &str, token: &CommitToken) -> Option<String> {
    short_name(text).filter(|name| !token.stands_in(name))
}

/// A name as servers give them.
pub(super) fn short_name(text: &str) -> Option<String> {
    let fits = (1..=OPERATION_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

/// The spelling of a UUID that real clients use in calls which change something.
pub(super) fn dashed(source: &SourceCvm) -> String {
    match Uuid::try_parse(source.as_str()) {
        Ok(uuid) => uuid.hyphenated().to_string(),
        Err(_) => source.to_string(),
    }
}

pub(super) fn bare(app: AppId) -> String {
    alloy::hex::encode(app.0)
}

fn number_or_text(id: &str) -> Value {
    id.parse::<u64>().map_or_else(|_| json!(id), |number| json!(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_kept_by_a_name_that_is_no_secret() {
        let token = "f3b0c6f2-0000-4000-8000-000000000001".parse().unwrap();
        let name = |text: &str| operation_name(text, &token);
        assert_eq!(name("c0ffee00-0000-4000-8000-000000000001").unwrap().len(), 36);
        for bad in ["", "a b", "F3B0C6F2000040008000000000000001", &"x".repeat(129), "ä"] {
            assert_eq!(name(bad), None, "{bad:?}");
        }
    }
}
