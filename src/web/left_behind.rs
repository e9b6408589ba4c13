//! Which instances of an app an update has left on what its CVM ran before. Read from Phala Cloud when
//! somebody looks, so that it is true then; seldom enough that nobody can use up its patience.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;
use tokio::sync::Mutex;

use super::{WebState, candidates::Candidate};
use crate::{
    clock::Time,
    flow::chain_of,
    phala::Instance,
    request::{
        Request,
        ids::{ComposeHash, RequestId},
        kind::Kind,
        status::Status,
    },
    store::StoreError,
};

/// Whoever shows a request does not wait longer for Phala Cloud than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Phala Cloud is asked no more often than this for one request.
const ASKED_EVERY: Duration = Duration::from_secs(10);

/// The instances of the app that still run what the updated CVM ran before.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct LeftBehind {
    /// What that is.
    pub compose_hash: ComposeHash,
    pub instances: Vec<Candidate>,
    /// Why they could not be read, when that is so.
    pub problem: Option<String>,
}

/// What was read lately, by request.
#[derive(Debug, Default)]
pub struct Lately(Mutex<HashMap<RequestId, (Time, LeftBehind)>>);

/// What an update that is done has left behind; none for anything else, and when it is not known what
/// its CVM ran before, as when somebody else committed it.
pub async fn left_behind(
    state: &WebState,
    request: &Request,
) -> Result<Option<LeftBehind>, StoreError> {
    if request.kind != Kind::Update || request.status() != Status::Running {
        return Ok(None);
    }
    let baseline = state.service.store.baseline(request.id).await?;
    let before = baseline.and_then(|baseline| baseline.compose);
    let Some(before) = before.filter(|before| *before != request.compose) else { return Ok(None) };
    // Held while the cloud is asked: who looks meanwhile gets the same answer.
    let mut lately = state.left_behind.0.lock().await;
    let now = state.service.clock.now();
    lately.retain(|_, (at, _)| (now - *at).to_std().is_ok_and(|age| age < ASKED_EVERY));
    if let Some((_, known)) = lately.get(&request.id) {
        return Ok(Some(known.clone()));
    }
    let read = tokio::time::timeout(PATIENCE, state.service.cloud.instances(request.app)).await;
    let (instances, problem) = match read {
        Ok(Ok(instances)) => (instances, None),
        Ok(Err(error)) => (vec![], Some(chain_of(&error))),
        Err(_) => (vec![], Some("Phala Cloud does not answer in time".to_owned())),
    };
    let is_behind = |instance: &Instance| instance.compose_hash == Some(before);
    let instances = instances.into_iter().filter(is_behind).map(Candidate::from).collect();
    let read = LeftBehind { compose_hash: before, instances, problem };
    lately.insert(request.id, (now, read.clone()));
    Ok(Some(read))
}
