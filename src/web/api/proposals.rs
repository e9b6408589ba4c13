//! `/v1/requests/{id}/proposal` and its confirmations.

use std::collections::HashSet;

use alloy::primitives::{Address, B256, Bytes as HexBytes};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::requests::{RequestView, parse_body, request_id};
use crate::{
    clock::Time,
    owner::{self, Call, Route},
    propose,
    request::{
        Request,
        ids::{AppId, ChainId, ComposeHash, DeviceId, RequestId, SafeTxHash},
    },
    safe::{
        self, Around, Exports, NestedOwner, SafeTx,
        decode::{Decoded, DecodedCall, Expected, Warning, decode},
        packed::{self, Part, pack},
        signature::SignatureKind,
    },
    store::{
        StoreError,
        confirmations::Confirmation,
        proposals::{Proposal, SafeProposal},
    },
    web::{
        WebState,
        compose_proof::{ComposeReview, ComposeView, compose, proofs},
        device_meaning::{DeviceMeaning, DeviceWarning, meaning},
        gate::Reader,
        problem::Problem,
    },
};

/// An owner's signature.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ConfirmationView {
    #[schema(value_type = String)]
    pub owner: Address,
    pub kind: SignatureKind,
    #[schema(value_type = String)]
    pub signature: HexBytes,
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Time,
}

/// What to send to the chain once enough owners have signed. Anyone may; until its nonce is the next of
/// the Safe (`nonce` of the request) it reverts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ExecutionCall {
    #[schema(value_type = String)]
    pub to: Address,
    #[schema(value_type = String)]
    pub data: HexBytes,
    /// For a Safe before 1.3.0: the gas limit to send it with. A node's estimate is too low there, and
    /// a call that runs out of gas spends the nonce.
    pub gas_limit: Option<u64>,
}

/// A request that a proposal is for, and what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ForRequest {
    #[schema(value_type = RequestId)]
    pub id: RequestId,
    pub app: AppId,
    pub compose_hash: ComposeHash,
    pub device_id: DeviceId,
}

impl From<&Request> for ForRequest {
    fn from(request: &Request) -> Self {
        let Request { id, app, compose, device, .. } = *request;
        Self { id, app, compose_hash: compose, device_id: device }
    }
}

/// What is put to the owner of an app.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProposalView {
    pub route: Route,
    pub chain_id: ChainId,
    #[schema(value_type = String)]
    pub owner: Address,
    /// The requests that it is for: several, where they were put together into one transaction.
    pub requests: Vec<ForRequest>,
    /// Each call in words.
    pub calls: Vec<DecodedCall>,
    pub warnings: Vec<Warning>,
    /// What is not known, or is odd, of what the calls allow: compose hashes whose document nobody knows,
    /// devices that no node has. It may change while the transaction stays the same.
    pub review_warnings: Vec<String>,
    /// What to look at in the documents of the compose hashes that the requests ask for, as far as they
    /// are known: findings, and what differs from what runs.
    pub compose_reviews: Vec<ComposeReview>,
    /// What signers should know of Safes of this version, whatever they sign.
    pub notes: Vec<&'static str>,
    /// The bare calls, for an owner that acts in its own way.
    pub bare_calls: Vec<Call>,
    pub safe_version: Option<String>,
    pub safe_tx: Option<SafeTx>,
    #[schema(value_type = Option<String>)]
    pub domain_hash: Option<B256>,
    #[schema(value_type = Option<String>)]
    pub message_hash: Option<B256>,
    pub safe_tx_hash: Option<SafeTxHash>,
    /// The document for `eth_signTypedData_v4`.
    #[schema(value_type = Option<Object>)]
    pub eip712: Option<Value>,
    /// Links, texts and a command line for checking and signing elsewhere.
    pub exports: Option<Exports>,
    #[schema(value_type = Vec<String>)]
    pub owners: Vec<Address>,
    pub threshold: Option<u32>,
    /// Who else acts for the Safe, and which of its owners are contracts, when it was last looked at.
    pub around: Option<Around>,
    /// What owners that are contracts are asked for: what their own owners sign, and the approval on
    /// chain that does instead.
    pub nested_owners: Vec<NestedOwner>,
    pub confirmations: Vec<ConfirmationView>,
    /// Present once the threshold is reached.
    pub execution: Option<ExecutionCall>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Time,
}

impl ProposalView {
    /// Puts a stored proposal into words. The hashes are computed again from the stored fields.
    pub fn of(
        proposal: &Proposal,
        confirmations: &[Confirmation],
        requests: Vec<ForRequest>,
    ) -> Self {
        let bare_calls: Vec<Call> = proposal.additions.iter().map(Call::from).collect();
        let safe = proposal.safe.as_ref();
        let additions = Some(proposal.additions.as_slice());
        let expected = Expected { safe: proposal.owner, app: None, additions };
        let decoded = safe
            .map_or_else(|| Self::bare(&bare_calls, expected), |safe| decode(&safe.tx, &expected));
        // What is wrong now, and what was wrong when it was made.
        let mut warnings = decoded.warnings;
        warnings.extend(
            proposal
                .warnings
                .iter()
                .filter(|known| !warnings.contains(known))
                .cloned()
                .collect::<Vec<_>>(),
        );
        let around = safe.and_then(|safe| safe.around.clone());
        warnings.extend(around.iter().flat_map(Around::warnings));
        let hashes =
            safe.map(|safe| safe::hashes(&safe.tx, proposal.chain, proposal.owner, safe.version));
        Self {
            route: proposal.route,
            chain_id: proposal.chain,
            owner: proposal.owner,
            requests,
            calls: decoded.calls,
            warnings,
            review_warnings: vec![],
            compose_reviews: vec![],
            notes: safe.map(|safe| safe.version.notes()).unwrap_or_default(),
            bare_calls,
            safe_version: safe.map(|safe| safe.version.to_string()),
            safe_tx: safe.map(|safe| safe.tx.clone()),
            domain_hash: hashes.map(|hashes| hashes.domain_hash),
            message_hash: hashes.map(|hashes| hashes.message_hash),
            safe_tx_hash: hashes.map(|hashes| hashes.safe_tx_hash),
            eip712: safe.map(|safe| {
                safe::eip712_document(&safe.tx, proposal.chain, proposal.owner, safe.version)
            }),
            exports: safe
                .map(|safe| Exports::of(&safe.tx, proposal.chain, proposal.owner, safe.version)),
            owners: safe.map(|safe| safe.owners.clone()).unwrap_or_default(),
            threshold: safe.map(|safe| safe.threshold),
            nested_owners: safe.map(|safe| nested_owners(proposal, safe)).unwrap_or_default(),
            around,
            confirmations: confirmations.iter().map(ConfirmationView::from).collect(),
            execution: safe.and_then(|safe| execution(proposal, safe, confirmations)),
            created_at: proposal.created_at,
        }
    }

    /// Without links to Safe{Wallet}, which knows nothing of a chain on this machine.
    #[must_use]
    pub fn without_wallet(mut self) -> Self {
        self.exports = self.exports.map(|exports| Exports { links: None, ..exports });
        self.nested_owners.iter_mut().for_each(|nested| nested.transaction_builder = None);
        self
    }

    /// Bare calls in words: each as a transaction of its own.
    pub fn bare(calls: &[Call], expected: Expected<'_>) -> Decoded {
        let calls = calls.iter().flat_map(|call| {
            let nonce = alloy::primitives::U256::ZERO;
            decode(&SafeTx::new(call.clone(), safe::Operation::Call, nonce), &expected).calls
        });
        Decoded { calls: calls.collect(), warnings: vec![] }
    }
}

impl From<&Confirmation> for ConfirmationView {
    fn from(confirmation: &Confirmation) -> Self {
        Self {
            owner: confirmation.owner,
            kind: confirmation.signature.kind(),
            signature: confirmation.signature.to_bytes(),
            received_at: confirmation.received_at,
        }
    }
}

/// What each owner of the Safe that is a contract is asked for.
fn nested_owners(proposal: &Proposal, safe: &SafeProposal) -> Vec<NestedOwner> {
    let (chain, address, version) = (proposal.chain, proposal.owner, safe.version);
    let hashes = safe::hashes(&safe.tx, chain, address, version);
    let owners = safe.around.iter().flat_map(|around| &around.contract_owners);
    owners.map(|owner| NestedOwner::of(owner, chain, address, version, &hashes)).collect()
}

fn execution(
    proposal: &Proposal,
    safe: &SafeProposal,
    confirmations: &[Confirmation],
) -> Option<ExecutionCall> {
    let given: Vec<(Address, Part)> = confirmations
        .iter()
        .filter(|one| safe.owners.contains(&one.owner))
        .map(|one| (one.owner, one.signature.clone()))
        .collect();
    if given.len() < safe.threshold as usize {
        return None;
    }
    let signatures = pack(&given).ok()?;
    let parts: Vec<Part> = given.into_iter().map(|(_, part)| part).collect();
    Some(ExecutionCall {
        to: proposal.owner,
        data: safe.tx.exec_calldata(&signatures),
        gas_limit: owner::safe::gas_limit(safe.version, proposal.additions.len(), &parts),
    })
}

/// What was found out about one of the requests of a proposal already.
pub struct Known<'a> {
    pub request: RequestId,
    pub compose: &'a ComposeView,
    pub device: &'a DeviceMeaning,
}

/// The live proposal of a request, in words and with its confirmations.
pub async fn view(state: &WebState, id: RequestId) -> Result<Option<ProposalView>, StoreError> {
    match state.service.store.proposal(id).await? {
        Some(proposal) => view_beside(state, &proposal, None).await.map(Some),
        None => Ok(None),
    }
}

/// A proposal in words and with its confirmations, beside what is known already.
pub async fn view_beside(
    state: &WebState,
    proposal: &Proposal,
    known: Option<&Known<'_>>,
) -> Result<ProposalView, StoreError> {
    let store = &state.service.store;
    let confirmations = store.confirmations(proposal.id).await?;
    let requests = store.requests_of(proposal.id).await?;
    let known = |id: RequestId| known.filter(|known| known.request == id);
    let ids = requests.iter().map(|request| request.id);
    let ids: Vec<RequestId> = ids.filter(|id| known(*id).is_none()).collect();
    let proofs = proofs(&state.service, &ids).await?;
    let (mut review_warnings, mut compose_reviews) = (vec![], vec![]);
    let mut reviewed = HashSet::new();
    for request in &requests {
        let known = known(request.id);
        let proof = known.map(|known| &known.compose.proof).or_else(|| proofs.get(&request.id));
        review_warnings.extend(proof.and_then(|proof| proof.warning(request.id)));
        let device = match known {
            Some(known) => known.device.clone(),
            None => meaning(&state.service, request.device).await?,
        };
        let told = |one: DeviceWarning| format!("Device {}: {}", request.device, one.text);
        review_warnings.extend(device.warnings.into_iter().map(told));
        // Once for each app, source and compose hash.
        if reviewed.insert((request.app, &request.source, request.compose)) {
            let compose = match known {
                Some(known) => known.compose.clone(),
                None => compose(&state.service, request).await?,
            };
            let review = compose.review();
            compose_reviews.extend(review.filter(|review| !compose_reviews.contains(review)));
        }
    }
    let mut told = HashSet::new();
    review_warnings.retain(|warning| told.insert(warning.clone()));
    let requests = requests.iter().map(ForRequest::from).collect();
    let view = ProposalView::of(proposal, &confirmations, requests);
    Ok(ProposalView { review_warnings, compose_reviews, ..view })
}

pub(super) fn none_yet() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-proposal",
        "there is no proposal for this request, or no longer: `countersign show` says why",
    )
}

/// What the owner of the app is asked to approve.
#[utoipa::path(
    get, path = "/v1/requests/{id}/proposal", operation_id = "show_proposal", tag = "proposals", params(("id" = RequestId, Path)),
    responses((status = 200, body = ProposalView), (status = 404, body = Problem)),
    security(("token" = []), ("session" = []))
)]
pub async fn show(
    _: Reader,
    State(state): State<WebState>,
    Path(id): Path<String>,
) -> Result<Json<ProposalView>, Problem> {
    view(&state, request_id(&id)?).await?.map(Json).ok_or_else(none_yet)
}

/// Signatures of owners over the safeTxHash.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body; it is read field by field to name what is wrong")]
pub struct NewConfirmation {
    /// In hexadecimal: the 65 bytes of one owner, or those of several as `execTransaction` takes them,
    /// with approvals on chain (`v` 1) and signatures of contracts (`v` 0, EIP-1271) among them. All
    /// are taken, or none.
    signature: String,
}

/// Gives an owner's signature. Needs no token: the signature is the proof.
#[utoipa::path(
    post, path = "/v1/requests/{id}/confirmations", operation_id = "confirm_proposal", tag = "proposals", params(("id" = RequestId, Path)), request_body = NewConfirmation,
    responses(
        (status = 201, description = "The signature was added", body = RequestView),
        (status = 200, description = "This owner's signature was here before", body = RequestView),
        (status = 409, body = Problem), (status = 422, body = Problem)
    )
)]
pub async fn confirm(
    State(state): State<WebState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<RequestView>), Problem> {
    let id = request_id(&id)?;
    let body = parse_body(&body)?;
    let signature = body.get("signature").and_then(Value::as_str);
    let signature = signature.ok_or_else(|| Problem::of_field("signature", "missing"))?;
    let parts = packed::parse(signature)
        .map_err(|error| Problem::of_field("signature", error.to_string()))?;
    let service = &state.service;
    let proposal = propose::to_sign(&service.store, id).await?;
    let chain = service.chains.get(proposal.chain)?;
    let now = service.clock.now();
    let confirmation = propose::confirm(&service.store, chain, id, &proposal, &parts, now).await?;
    service.wake_mailbox(id).await;
    let status = if confirmation.added { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(confirmation.request.into())))
}
