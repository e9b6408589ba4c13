//! Asks Phala Cloud to prepare a replica: the first time for a person, and again for a request
//! whose token died. Preparing changes nothing on a CVM, so it may be repeated; but on a source
//! that no chain governs it would create a replica at once, so that is looked at first.

use uuid::Uuid;

use crate::{
    clock::{Clock, Time},
    phala::{Class, PhalaCloud, PhalaError, Prepared, catalogue::ASK_AGAIN},
    planted::{Bug, planted},
    request::{
        Request, deadline,
        event::Event,
        ids::{ComposeHash, NodeId, RequestId, SourceCvm},
        step::{Pace, Step},
    },
    store::{
        Store, StoreError, attempts::LATE, intake::StorePreparationError, journal::Actor,
        lease::Lease,
    },
    vault::Vault,
};

use super::{accept::to_store, read::Submission};

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

/// What asking for a fresh token came to.
#[derive(Debug)]
pub enum Renewal {
    /// The request has it.
    Fresh(Box<Request>),
    /// It has not, and this is what follows.
    Settled(Step),
}

/// Gets a fresh token for a request. What was approved stays what is committed: a preparation of
/// anything else ends the request, and opens another one that needs an approval of its own.
pub async fn renew(
    store: &Store,
    cloud: &PhalaCloud,
    vault: &Vault,
    request: &Request,
    lease: &Lease,
    clock: &dyn Clock,
) -> Result<Renewal, PrepareError> {
    let (node, compose) = (request.node.as_ref(), Some(request.compose));
    let prepared = prepare(cloud, &request.source, node, compose).await;
    let now = clock.now();
    let prepared = match prepared {
        Ok((_, prepared)) => prepared,
        Err(error) => return refused(store, request, lease, error, now).await,
    };
    let id = request.id;
    let expires_at = match deadline::expiry(now, prepared.expires_at, now) {
        Ok(expires_at) => expires_at,
        Err(problem) => {
            let reason = format!("prepared again, but when the token expires {problem}");
            return Ok(Renewal::Settled(Step::wait(reason, Pace::Backoff)));
        }
    };
    let mut submission = Submission {
        chain: request.chain,
        app: request.app,
        source: request.source.clone(),
        node: request.node.clone(),
        compose: prepared.compose_hash,
        device: prepared.device_id,
        token: prepared.commit_token.clone(),
        prepared_at: now,
        expires_at,
        note: None,
    };
    let seal = |id: RequestId| vault.seal(id.0, submission.token.secret());
    let Some(difference) = difference(request, &prepared) else {
        let new = to_store(vault, &submission, id);
        let renewed = store.renew_preparation(lease, &new, &seal, &actor(), now).await?;
        return Ok(Renewal::Fresh(Box::new(renewed)));
    };
    let code = Some("preparation-differs".into());
    let late = if store.may_have_acted(id).await? { LATE } else { "" };
    if prepared.app != request.app {
        let reason = format!("prepared again, but {difference}; nothing of it was kept{late}");
        let event = Event::Failed { code, reason };
        store.record(id, Some(lease), &actor(), &event, now).await?;
        return Ok(Renewal::Settled(Step::Changed));
    }
    let other = RequestId(Uuid::now_v7());
    let reason = format!(
        "prepared again, but {difference}; request {other} has taken its place and needs an \
         approval of its own{late}"
    );
    submission.note = Some(match &request.note {
        Some(said) => format!("{said} (in the place of request {id})"),
        None => format!("in the place of request {id}"),
    });
    let new = to_store(vault, &submission, other);
    let seal = |id: RequestId| vault.seal(id.0, prepared.commit_token.secret());
    let event = Event::Failed { code, reason };
    store.open_instead(lease, &event, &new, &seal, &actor(), now).await?;
    Ok(Renewal::Settled(Step::Changed))
}

fn actor() -> Actor {
    Actor::service("intake")
}

/// A preparation that was not to be had. Nothing of a refusal ends the request: what was approved
/// stays good, and whoever can change what stands in the way may do so.
async fn refused(
    store: &Store,
    request: &Request,
    lease: &Lease,
    error: PrepareError,
    now: Time,
) -> Result<Renewal, PrepareError> {
    let (reason, pace, asks) = match &error {
        // The next try would make another one.
        PrepareError::Phala(PhalaError::CreatedWithoutApproval { .. }) => {
            let code = Some("created-without-approval".into());
            let event = Event::Failed { code, reason: error.to_string() };
            store.record(request.id, Some(lease), &actor(), &event, now).await?;
            return Ok(Renewal::Settled(Step::Changed));
        }
        PrepareError::NotGoverned => (error.to_string(), Pace::After(ASK_AGAIN), true),
        PrepareError::Phala(PhalaError::Api(answer)) => {
            let asks = matches!(answer.meaning().class, Class::Ask | Class::GiveUp);
            (answer.explained(), answer.pace(), asks)
        }
        _ => return Err(error),
    };
    if asks && request.facts.attention.as_ref() != Some(&reason) {
        let event = Event::AttentionNeeded { reason: reason.clone() };
        store.record(request.id, Some(lease), &actor(), &event, now).await?;
    }
    Ok(Renewal::Settled(Step::wait(reason, pace)))
}

fn difference(request: &Request, prepared: &Prepared) -> Option<&'static str> {
    if prepared.app != request.app {
        Some("for another app")
    } else if prepared.compose_hash != request.compose {
        Some("with another compose hash")
    } else if prepared.device_id != request.device && !planted(Bug::OtherDevice) {
        Some("for another device: the node's firmware may have changed")
    } else {
        None
    }
}
