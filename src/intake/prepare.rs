//! Asks Phala Cloud to prepare a replica: the first time for a person, and again for a request
//! whose token died. Preparing changes nothing on a CVM, so it may be repeated; but on a source
//! that no chain governs it would create a replica at once, so that is looked at first.

use std::time::Duration;

use chrono::TimeDelta;

use crate::{
    clock::Time,
    phala::{PhalaCloud, PhalaError, Prepared},
    request::{
        Request, deadline,
        event::Event,
        ids::{ComposeHash, NodeId, SourceCvm},
        step::{Pace, Step},
    },
    store::{Store, StoreError, intake::StorePreparationError, journal::Actor, lease::Lease},
    vault::Vault,
};

use super::{accept::to_store, read::Submission};

/// A token that is to be used at once is left alone for this long: preparing another replica of
/// the same source voids it, and two requests could do so to each other for ever.
const LEFT_ALONE: TimeDelta = TimeDelta::seconds(30);
const SOURCE_BUSY_PAUSE: Duration = Duration::from_secs(1);

/// Why nothing was prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Phala(#[from] PhalaError),
    #[error(
        "no chain governs this CVM (Phala Cloud keeps its keys), so preparing would create the \
         replica at once; nothing was sent"
    )]
    NotGoverned,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot keep the new token")]
    Keep(#[from] StorePreparationError),
}

/// Prepares a replica of `source`, after making sure that its keys are governed by a chain.
pub async fn prepare(
    cloud: &PhalaCloud,
    source: &SourceCvm,
    node: Option<&NodeId>,
    compose: Option<ComposeHash>,
) -> Result<(SourceCvm, Prepared), PrepareError> {
    let cvm = cloud.cvm(source).await?;
    if cvm.chain_id.is_none() {
        return Err(PrepareError::NotGoverned);
    }
    let prepared = cloud.prepare_replica(&cvm.vm_uuid, node, compose).await?;
    Ok((cvm.vm_uuid, prepared))
}

/// Gets a fresh token for a registered request whose token is dead. What was approved stays what
/// is committed: a preparation of anything else ends the request.
pub async fn renew(
    store: &Store,
    cloud: &PhalaCloud,
    vault: &Vault,
    request: &Request,
    lease: &Lease,
    now: Time,
) -> Result<Step, PrepareError> {
    let actor = Actor::service("intake");
    if store.source_is_committing(request, now - LEFT_ALONE).await? {
        let reason = "another replica of the same source CVM is being committed, and a new token \
                      would void its token";
        return Ok(Step::wait(reason, Pace::After(SOURCE_BUSY_PAUSE)));
    }
    let (node, compose) = (request.node.as_ref(), Some(request.compose));
    let (_, prepared) = match prepare(cloud, &request.source, node, compose).await {
        Ok(prepared) => prepared,
        // The next try would make another one.
        Err(error @ PrepareError::Phala(PhalaError::CreatedWithoutApproval { .. })) => {
            let code = Some("created-without-approval".into());
            let event = Event::Failed { code, reason: error.to_string() };
            store.record(request.id, Some(lease), &actor, &event, now).await?;
            return Ok(Step::Changed);
        }
        Err(error @ PrepareError::NotGoverned) => {
            let reason = error.to_string();
            if request.facts.attention.as_ref() != Some(&reason) {
                let event = Event::AttentionNeeded { reason: reason.clone() };
                store.record(request.id, Some(lease), &actor, &event, now).await?;
            }
            return Ok(Step::wait(reason, Pace::Woken));
        }
        Err(error) => return Err(error),
    };
    if let Some(difference) = difference(request, &prepared) {
        let reason = format!("prepared again, but {difference}; it needs an approval of its own");
        let event = Event::Failed { code: Some("preparation-differs".into()), reason };
        store.record(request.id, Some(lease), &actor, &event, now).await?;
        return Ok(Step::Changed);
    }
    let submission = Submission {
        chain: request.chain,
        app: request.app,
        source: request.source.clone(),
        node: request.node.clone(),
        compose: request.compose,
        device: request.device,
        token: prepared.commit_token,
        prepared_at: now,
        expires_at: now + deadline::TOKEN_LIFETIME,
        note: None,
    };
    let new = to_store(vault, &submission, request.id);
    let seal = |id: crate::request::ids::RequestId| vault.seal(id.0, submission.token.secret());
    store.renew_preparation(lease, &new, &seal, &actor, now).await?;
    Ok(Step::Changed)
}

fn difference(request: &Request, prepared: &Prepared) -> Option<&'static str> {
    if prepared.app != request.app {
        Some("for another app")
    } else if prepared.compose_hash != request.compose {
        Some("with another compose hash")
    } else if prepared.device_id != request.device {
        Some("for another device: the node's firmware may have changed")
    } else {
        None
    }
}
