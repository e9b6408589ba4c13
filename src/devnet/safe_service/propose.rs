//! A proposal: every check of the real service, in its order and in its words.

use alloy::primitives::Address;
use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};

use super::{
    Service,
    chain::SafeNow,
    fields::{self, Proposal},
    json_body,
    refusal::{Answer, Refusal},
    signatures::{self, Signed, list},
    state::{Confirmation, Mail},
};
use crate::{
    request::ids::SafeTxHash,
    safe::{Operation, deployments, hashes},
};

pub(super) async fn post(
    State(service): State<Service>,
    Path(safe): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let safe = service.account(&safe)?;
    let proposal = fields::proposal(&json_body(&headers, &body)?)?;
    refuse_delegatecall(&service, &proposal)?;
    let now = service.chain.safe(safe).await?;
    let chain = service.world().config.chain_id;
    let hashes = hashes(&proposal.tx, chain, safe, now.version);
    let computed = hashes.safe_tx_hash;
    if computed != proposal.hash {
        return Err(Refusal::object(&format!(
            "Contract-transaction-hash={computed} does not match provided contract-tx-hash={}",
            proposal.hash
        )));
    }
    service.index(safe).await?;
    refuse_executed(&service, safe, &proposal)?;
    let delegates = service.world().delegates(safe, &now.owners);
    refuse_sender(proposal.sender, &now, &delegates)?;
    let signed = match &proposal.signatures {
        Some(bytes) => signatures::read(&service.chain, safe, &hashes, bytes).await?,
        None => vec![],
    };
    refuse_signatures(&service, &signed, &proposal, &now, &delegates)?;
    keep(&service, safe, proposal, computed, &signed, &now);
    Ok(StatusCode::CREATED.into_response())
}

fn refuse_delegatecall(service: &Service, proposal: &Proposal) -> Result<(), Refusal> {
    let world = service.world();
    let tx = &proposal.tx;
    if !world.switches.listed_delegatecalls_only || tx.operation == Operation::Call {
        return Ok(());
    }
    let listed = crate::safe::SafeVersion::ALL.into_iter().any(|version| {
        deployments::multi_send_call_only(version, world.config.chain_id)
            .into_iter()
            .any(|deployment| deployment.address == tx.to)
    });
    if listed { Ok(()) } else { Err(Refusal::object("Operation DELEGATE_CALL is not allowed")) }
}

fn refuse_executed(service: &Service, safe: Address, proposal: &Proposal) -> Result<(), Refusal> {
    let world = service.world();
    let executed = world.mail.iter().filter(|mail| mail.safe == safe).find_map(|mail| {
        let execution = mail.execution.as_ref()?;
        let this = mail.hash == proposal.hash;
        (this || mail.tx.nonce == proposal.tx.nonce).then_some((this, execution))
    });
    let Some((this, execution)) = executed else { return Ok(()) };
    let tx = execution.tx_hash;
    Err(Refusal::object(&if this {
        let hash = proposal.hash;
        format!("Tx with safe-tx-hash={hash} for safe={safe} was already executed in tx-hash={tx}")
    } else {
        let nonce = proposal.tx.nonce;
        format!("Tx with nonce={nonce} for safe={safe} already executed in tx-hash={tx}")
    }))
}

fn refuse_sender(sender: Address, now: &SafeNow, delegates: &[Address]) -> Result<(), Refusal> {
    if now.owners.contains(&sender) || delegates.contains(&sender) {
        return Ok(());
    }
    let (owners, delegates) = (list(&now.owners), list(delegates));
    Err(Refusal::object(&format!(
        "Sender={sender} is not an owner or delegate. Current owners={owners}. \
         Delegates={delegates}"
    )))
}

fn refuse_signatures(
    service: &Service,
    signed: &[Signed],
    proposal: &Proposal,
    now: &SafeNow,
    delegates: &[Address],
) -> Result<(), Refusal> {
    let mut seen: Vec<Address> = vec![];
    for Signed { owner, is_valid, head, .. } in signed {
        if !is_valid {
            let problem = format!("Signature={head} for owner={owner} is not valid");
            return Err(Refusal::object(&problem));
        }
        if service.world().switches.banned.contains(owner) {
            return Err(Refusal::object(&format!(
                "Signer={owner} is not authorized to interact with the service"
            )));
        }
        let is_owner = now.owners.contains(owner);
        if !is_owner && delegates.contains(owner) && signed.len() > 1 {
            return Err(Refusal::object("Just one signature is expected if using delegates"));
        }
        if !is_owner && !delegates.contains(owner) {
            return Err(Refusal::object(&format!(
                "Signer={owner} is not an owner or delegate. Current owners={}. Delegates={}",
                list(&now.owners),
                list(delegates)
            )));
        }
        if seen.contains(owner) {
            return Err(Refusal::object(&format!("Signature for owner={owner} is duplicated")));
        }
        seen.push(*owner);
    }
    if !signed.is_empty() && !seen.contains(&proposal.sender) {
        return Err(Refusal::object(&format!(
            "Signature does not match sender={}. Calculated owners={}",
            proposal.sender,
            list(&seen)
        )));
    }
    Ok(())
}

/// Keeps it, or adds to what is kept of it.
fn keep(
    service: &Service,
    safe: Address,
    proposal: Proposal,
    hash: SafeTxHash,
    signed: &[Signed],
    now: &SafeNow,
) {
    let mut world = service.world();
    let at = world.now();
    if world.mail(hash).is_none() {
        let by_delegate = !now.owners.contains(&proposal.sender);
        let permission = world.permission(safe, proposal.sender, &now.owners);
        let delegator = permission.map(|permission| permission.delegator);
        let mail = Mail {
            safe,
            tx: proposal.tx,
            hash,
            origin: proposal.origin,
            proposer: if by_delegate { delegator } else { Some(proposal.sender) },
            proposed_by_delegate: by_delegate.then_some(proposal.sender),
            trusted: false,
            submitted: at,
            modified: at,
            confirmations: vec![],
            execution: None,
        };
        world.mail.push(mail);
    }
    let Some(mail) = world.mail(hash) else { return };
    mail.trusted |= !signed.is_empty();
    for Signed { owner, kind, bytes, .. } in signed {
        if now.owners.contains(owner) {
            let (owner, signature) = (*owner, bytes.clone());
            mail.confirm(Confirmation { owner, at, signature, kind, tx: None });
        }
    }
}
