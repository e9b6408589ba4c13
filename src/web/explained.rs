//! One request explained, for the API and the page: its facts, what its chain adds, and what stands
//! before it.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::timeout;

use super::standing::Standings;
use crate::{
    chain::ChainError,
    flow::Service,
    request::{
        Request,
        explain::{Around, Explanation, Signed, explain},
        ids::{ChainId, RequestId},
        status::Status,
    },
    store::{StoreError, proposals::Proposal, requests::Filter},
    watch::depth::Depth,
};

/// How long the nonce of a Safe is waited for.
const NONCE_PATIENCE: Duration = Duration::from_secs(2);
/// Most commits of one app that are looked through for one that is under way.
const COMMITS_MAX: u32 = 20;

/// Why a request is where it is.
pub struct Explained {
    /// How deep its execution lies.
    pub depth: Option<Depth>,
    pub explanation: Explanation,
}

/// Explains a request; its reason becomes what its chain says, where that is the reason.
pub async fn explained(
    service: &Service,
    request: &mut Request,
    proposal: Option<&Proposal>,
) -> Result<Explained, StoreError> {
    let standings = Standings::of(service, std::slice::from_ref(request)).await?;
    let depth = standings.explain(request);
    let now = service.clock.now();
    let seconds = depth.and_then(|depth| depth.seconds_left);
    let left = seconds.and_then(|seconds| TimeDelta::try_seconds(seconds.try_into().ok()?));
    let mut around = Around {
        halted: standings.is_halted(request.chain),
        deep_at: left.map(|left| now + left),
        relays: relays(service, request),
        needs_document: needs_document(service, request).await?,
        ..Around::only(service.means())
    };
    if request.status() == Status::Proposed {
        around.acts_itself = proposal.is_some_and(|proposal| proposal.safe.is_none());
        around.signed_before = service.store.signed_before(request.id).await?;
    }
    if matches!(request.status(), Status::Withdrawn | Status::Rejected) {
        around.seen = service.store.executions_for(request.id).await?;
        if let Some(signed) = around.seen.signed
            && is_past(service, request.chain, signed).await
        {
            around.seen.signed = None;
        }
    }
    if request.status() == Status::Registered {
        around.suspect = service.store.is_suspect(request).await?;
        around.behind = under_way(service, request).await?;
    }
    Ok(Explained { depth, explanation: explain(request, &around, now) })
}

/// Whether the Safe has used the nonce, by whatever: others' transactions are not known by their nonces. As
/// deep as executions count; what does not read in time leaves the signatures good.
async fn is_past(service: &Service, chain: ChainId, signed: Signed) -> bool {
    let next = async {
        let chain = service.chains.get(chain)?;
        let Some(deep) = chain.deep_block(chain.head().await?.block).await? else {
            return Ok(None);
        };
        chain.safe_nonce(signed.safe, deep.block).await.map(Some)
    };
    let next: Result<Option<u64>, ChainError> =
        timeout(NONCE_PATIENCE, next).await.unwrap_or(Ok(None));
    next.is_ok_and(|next| next.is_some_and(|next| next > signed.nonce))
}

/// Whether the policy keeps a request, or one that is to be proposed with it, from its owner.
async fn needs_document(service: &Service, request: &Request) -> Result<bool, StoreError> {
    let is_held = service.settings.require_compose_proof && request.status() == Status::Prepared;
    Ok(is_held && !service.store.unproved_of(request.id).await?.is_empty())
}

fn relays(service: &Service, request: &Request) -> bool {
    let chain = service.chains.get(request.chain);
    chain.is_ok_and(|chain| service.relayer_on(chain).is_some())
}

/// The request of the same app whose commit is under way. One that a person is asked about holds
/// nobody up.
async fn under_way(service: &Service, request: &Request) -> Result<Option<RequestId>, StoreError> {
    let filter =
        Filter { status: Some(Status::Committing), app: Some(request.app), ..Filter::default() };
    let others = service.store.requests(&filter, COMMITS_MAX).await?;
    let first = others
        .into_iter()
        .find(|other| other.chain == request.chain && other.facts.attention.is_none());
    Ok(first.map(|other| other.id))
}
