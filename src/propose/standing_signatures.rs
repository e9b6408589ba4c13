//! The signatures that only the chain knows: approvals that came, approvals and contracts'
//! signatures that no longer hold.

use alloy::primitives::Address;

use super::build::ProposeError;
use crate::{
    chain::{Chain, SafeState},
    clock::Time,
    request::{facts::BlockRef, ids::RequestId},
    safe::packed::Part,
    store::{
        Store,
        confirmations::{Confirmation, Confirmed},
        proposals::{Proposal, SafeProposal},
    },
};

/// What the chain tells of a proposal's signatures.
pub enum Told {
    /// Nothing that is not known.
    Nothing,
    /// Owners approved it; that is noted now.
    Approvals,
    /// A signature that counted does not hold any more, and why.
    Gone(String),
}

/// Reads what owners approved on chain, those who are missing and those who are said to have, by one
/// call, and asks contracts again. While nobody is missing, newcomers are not looked for.
pub async fn look(
    store: &Store,
    chain: &Chain,
    (request, proposal): (RequestId, &Proposal),
    safe: &SafeProposal,
    state: &SafeState,
    at: BlockRef,
    now: Time,
) -> Result<Told, ProposeError> {
    let given = store.confirmations(proposal.id).await?;
    let counted = |owner: &Address| given.iter().find(|one| one.owner == *owner);
    let is_missing = given.len() < safe.threshold as usize;
    let asked: Vec<Address> = state
        .owners
        .iter()
        .filter(|owner| match counted(owner).map(|one| &one.signature) {
            None => is_missing,
            Some(signature) => matches!(signature, Part::ApprovedHash(_)),
        })
        .copied()
        .collect();
    let approved = chain.approved(state.address, safe.hashes.safe_tx_hash, &asked, at).await?;
    let (mut news, mut doubted) = (vec![], vec![]);
    for (owner, approved) in asked.into_iter().zip(approved) {
        match (counted(&owner), approved) {
            (Some(known), false) => doubted.push(known),
            (None, true) => news.push((owner, Part::ApprovedHash(owner))),
            _ => {}
        }
    }
    let contracts = given.iter().filter(|one| matches!(one.signature, Part::Contract { .. }));
    doubted.extend(contracts);
    if let Some(gone) = gone(chain, proposal, safe, &doubted, at).await? {
        return Ok(Told::Gone(gone));
    }
    if news.is_empty() {
        return Ok(Told::Nothing);
    }
    let confirmed =
        store.confirm(request, proposal, state.threshold, &state.owners, &news, now).await?;
    Ok(if matches!(confirmed, Confirmed::Added(_)) { Told::Approvals } else { Told::Nothing })
}

/// Which of these does not hold, and why. A signature may have been taken at a newer block than
/// `at`, so the newest one decides.
async fn gone(
    chain: &Chain,
    proposal: &Proposal,
    safe: &SafeProposal,
    doubted: &[&Confirmation],
    at: BlockRef,
) -> Result<Option<String>, ProposeError> {
    let hash = safe.hashes.safe_tx_hash;
    for one in doubted {
        let owner = one.owner;
        match &one.signature {
            Part::Key(_) => {}
            Part::ApprovedHash(_) => {
                let newest = chain.head().await?.block;
                if chain.approved(proposal.owner, hash, &[owner], newest).await? != [true] {
                    let why = format!("the chain does not show any more that {owner} approved it");
                    return Ok(Some(why));
                }
            }
            Part::Contract { data, .. } => {
                let (asks, version) = (proposal.owner, safe.version);
                let signed =
                    |at| chain.contract_signed(asks, owner, version, &safe.hashes, data, at);
                if !signed(at).await? && !signed(chain.head().await?.block).await? {
                    return Ok(Some(format!("the contract {owner} takes its signature back")));
                }
            }
        }
    }
    Ok(None)
}
