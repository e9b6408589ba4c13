//! Takes an owner's signature over a proposal.

use alloy::primitives::Address;

use crate::{
    chain::{Chain, ChainError, OwnerKind},
    clock::Time,
    request::Request,
    safe::{
        self, OwnerSignature, SafeVersion,
        signature::{SignatureError, SignatureKind},
    },
    store::{Store, StoreError, proposals::Confirmed},
};

/// Why a signature was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("there is no proposal to sign: the request is {0}")]
    NothingToSign(crate::request::status::Status),
    #[error("the owner of this app is no Safe, so there is nothing to sign here")]
    NoSafe,
    #[error("the stored transaction does not hash to what was shown; nothing may be signed")]
    HashDiffers,
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error(
        "Safe {0} takes no signature that was made with eth_sign: sign the EIP-712 document instead"
    )]
    EthSign(SafeVersion),
    #[error(
        "the signature is of {signer}, who is not an owner of the Safe: either another account \
         signed, or something else than this transaction was signed"
    )]
    NotOwner { signer: Address },
    #[error("the proposal was replaced meanwhile: read the new one before signing again")]
    Replaced,
}

/// What became of a signature.
#[derive(Debug)]
pub struct Confirmation {
    pub request: Request,
    pub owner: Address,
    /// False when this owner's signature was here before.
    pub added: bool,
}

/// Checks a signature against the chain as it is now, and keeps it.
pub async fn confirm(
    store: &Store,
    chain: &Chain,
    request: &Request,
    signature: &OwnerSignature,
    now: Time,
) -> Result<Confirmation, ConfirmError> {
    let proposal = store.proposal(request.id).await?;
    let proposal = proposal.ok_or(ConfirmError::NothingToSign(request.status()))?;
    let content = proposal.safe.as_ref().ok_or(ConfirmError::NoSafe)?;
    // The hash is computed again from the stored fields: what is stored is not trusted either.
    let hashes = safe::hashes(&content.tx, proposal.chain, proposal.owner, content.version);
    if hashes != content.hashes {
        return Err(ConfirmError::HashDiffers);
    }
    if signature.kind() == SignatureKind::EthSign && !content.version.takes_eth_sign() {
        return Err(ConfirmError::EthSign(content.version));
    }
    let owner = signature.recover(hashes.safe_tx_hash)?;
    let head = chain.head().await?;
    let OwnerKind::Safe(state) = chain.owner_kind(proposal.owner, head.block).await? else {
        return Err(ConfirmError::NoSafe);
    };
    if !state.owners.contains(&owner) {
        return Err(ConfirmError::NotOwner { signer: owner });
    }
    let confirmed =
        store.confirm(&proposal, state.threshold, &state.owners, owner, signature, now).await?;
    match confirmed {
        Confirmed::Added(request) => Ok(Confirmation { request: *request, owner, added: true }),
        Confirmed::Known(request) => Ok(Confirmation { request: *request, owner, added: false }),
        Confirmed::Replaced => Err(ConfirmError::Replaced),
    }
}
