//! Which instances a person may choose from who is asked how a commit ended. Read from Phala Cloud
//! when somebody looks, seldom enough that nobody can use up its patience by looking.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;
use tokio::sync::Mutex;

use super::WebState;
use crate::{
    clock::Time,
    flow::chain_of,
    phala::Instance,
    request::{
        Request,
        ids::{NodeId, ReplicaId, RequestId},
        status::Status,
    },
    review::{self, ReviewError},
    store::StoreError,
};

/// Whoever shows a request does not wait longer for Phala Cloud than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Phala Cloud is asked no more often than this for one request.
const ASKED_EVERY: Duration = Duration::from_secs(10);

/// The instances that may be a request's replica.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Candidates {
    /// New since the commit, of no other request, and not contradicting what was approved.
    pub instances: Vec<Candidate>,
    /// Why they could not be read, when that is so.
    pub problem: Option<String>,
}

/// An instance that may be a request's replica.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Candidate {
    pub id: ReplicaId,
    pub name: String,
    pub status: String,
    pub node_id: Option<NodeId>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created_at: Option<Time>,
}

impl From<Instance> for Candidate {
    fn from(instance: Instance) -> Self {
        let Instance { id, name, status, node_id, created_at, .. } = instance;
        Self { id, name, status, node_id, created_at }
    }
}

/// What was read lately, by request.
#[derive(Debug, Default)]
pub struct Lately(Mutex<HashMap<RequestId, (Time, Candidates)>>);

/// The candidates of a request that asks which instance is its own; none for any other.
pub async fn candidates(
    state: &WebState,
    request: &Request,
) -> Result<Option<Candidates>, StoreError> {
    let asks = request.status() == Status::Committing && request.facts.attention.is_some();
    if !asks {
        return Ok(None);
    }
    // Held while the cloud is asked: who looks meanwhile gets the same answer.
    let mut lately = state.candidates.0.lock().await;
    let now = state.service.clock.now();
    lately.retain(|_, (at, _)| (now - *at).to_std().is_ok_and(|age| age < ASKED_EVERY));
    if let Some((_, known)) = lately.get(&request.id) {
        return Ok(Some(known.clone()));
    }
    let (store, cloud) = (&state.service.store, &state.service.cloud);
    let read = tokio::time::timeout(PATIENCE, review::candidates(store, cloud, request, now)).await;
    let (instances, problem) = match read {
        Ok(Ok(instances)) => (instances, None),
        Ok(Err(ReviewError::Store(error))) => return Err(error),
        Ok(Err(error)) => (vec![], Some(chain_of(&error))),
        Err(_) => (vec![], Some("Phala Cloud does not answer in time".to_owned())),
    };
    let instances = instances.into_iter().map(Candidate::from).collect();
    let read = Candidates { instances, problem };
    lately.insert(request.id, (now, read.clone()));
    Ok(Some(read))
}
