//! Asks Phala Cloud to prepare again, for a request whose token died. Preparing changes nothing on a
//! CVM, so it may be repeated; but on a source that no chain governs it would create a replica at
//! once, so that is looked at first.

use uuid::Uuid;

use crate::{
    clock::{Clock, Time},
    phala::{Class, PhalaCloud, PhalaError, Prepared, catalogue::ASK_AGAIN, replica_body},
    planted::{Bug, planted},
    request::{
        Request, deadline,
        event::Event,
        ids::RequestId,
        kind::Target,
        step::{Pace, Step},
    },
    store::{
        Store, StoreError, attempts::LATE, commit_tokens::Issued, intake::StorePreparationError,
        journal::Actor, lease::Lease,
    },
    vault::{Vault, VaultError},
};

use super::{
    accept::{seal, to_store},
    asked::PrepareBody,
    read::Submission,
};

/// Why nothing was prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Phala(#[from] PhalaError),
    #[error(
        "no chain governs this CVM (Phala Cloud keeps its keys), so preparing would act at once; \
         nothing was sent"
    )]
    NotGoverned,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot keep the new token")]
    Keep(#[from] StorePreparationError),
    #[error("cannot open what was sent to prepare it")]
    Vault(#[from] VaultError),
}

/// Prepares once more what a request is for, with what was sent the first time.
async fn again(
    cloud: &PhalaCloud,
    request: &Request,
    body: Option<&PrepareBody>,
) -> Result<Prepared, PrepareError> {
    let body = match body {
        Some(body) => body.value().ok_or(VaultError::Damaged)?,
        None => replica_body(request.node.as_ref(), Some(request.compose)),
    };
    let (target, chain) = match request.target() {
        Target::Instance(app) => (Target::Instance(app), cloud.chain_of(app).await?),
        Target::Replica(source) => {
            let cvm = cloud.cvm(&source).await?;
            (Target::Replica(cvm.vm_uuid), cvm.chain_id)
        }
        Target::Update(source) => {
            let cvm = cloud.cvm(&source).await?;
            (Target::Update(cvm.vm_uuid), cvm.chain_id)
        }
    };
    if chain.is_none() {
        return Err(PrepareError::NotGoverned);
    }
    Ok(cloud.prepare(&target, &body).await?)
}

/// What was sent the first time, opened to be sent again.
async fn open_body(
    store: &Store,
    vault: &Vault,
    request: &Request,
) -> Result<Option<PrepareBody>, PrepareError> {
    let Some(sealed) = store.prepare_body(request.id).await? else { return Ok(None) };
    Ok(Some(PrepareBody::of_opened(vault.open_body(request.id.0, &sealed)?)))
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
    let body = open_body(store, vault, request).await?;
    let prepared = again(cloud, request, body.as_ref()).await;
    let now = clock.now();
    let prepared = match prepared {
        Ok(prepared) => prepared,
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
        kind: request.kind,
        chain: request.chain,
        app: request.app,
        source: request.source.clone(),
        node: request.node.clone(),
        compose: prepared.compose_hash,
        device: prepared.device_id,
        copy: None,
        token: prepared.commit_token.clone(),
        prepared_at: now,
        issued: Issued::ForUs,
        expires_at,
        note: None,
        body,
    };
    let Some(difference) = difference(request, &prepared) else {
        let new = to_store(vault, &submission, id);
        let seal = |id: RequestId| seal(vault, &submission, id);
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
    let seal = |id: RequestId| seal(vault, &submission, id);
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
    let not_approved = async |code: &str| {
        let event = Event::Failed { code: Some(code.into()), reason: error.to_string() };
        store.record(request.id, Some(lease), &actor(), &event, now).await?;
        Ok(Renewal::Settled(Step::Changed))
    };
    let (reason, pace, asks) = match &error {
        // The next try would make another one.
        PrepareError::Phala(PhalaError::CreatedWithoutApproval { .. }) => {
            return not_approved("created-without-approval").await;
        }
        PrepareError::Phala(PhalaError::UpdatedWithoutApproval) => {
            return not_approved("updated-without-approval").await;
        }
        PrepareError::NotGoverned => (error.to_string(), Pace::After(ASK_AGAIN), true),
        PrepareError::Phala(PhalaError::Api(answer)) => {
            let asks = matches!(answer.meaning().class, Class::Ask | Class::GiveUp);
            (answer.explained(), answer.pace(), asks)
        }
        _ => return Err(error),
    };
    if asks && request.facts.attention.as_ref() != Some(&reason) {
        let event = Event::AttentionNeeded { reason: reason.clone(), about: vec![] };
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
