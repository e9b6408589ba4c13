//! Takes owners' signatures over a proposal, of every kind that a Safe takes.

use alloy::primitives::Address;

use super::nested_hint::NestedSignature;
use crate::{
    chain::{Chain, ChainError, Signers},
    clock::Time,
    request::{Request, facts::BlockRef, ids::RequestId},
    safe::{
        self, SafeVersion,
        packed::{DuplicateOwner, Part},
        signature::{OwnerSignature, SignatureError, SignatureKind},
    },
    store::{
        Store, StoreError,
        confirmations::{Confirmed, Earlier},
        proposals::{Proposal, SafeProposal},
    },
};

/// Why signatures were not taken.
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
    #[error(
        "this is a signature that the owner {owner} made with eth_sign, and its v says EIP-712: send it \
         again with {v} ({v:#04x}) as its last byte, in place of {given} ({given:#04x}), or sign the \
         EIP-712 document"
    )]
    UnmarkedEthSign { owner: Address, given: u8, v: u8 },
    #[error("{0}")]
    OfNested(Box<NestedSignature>),
    #[error(
        "{owner} has not approved this transaction on chain, as far as the newest block tells: an \
         approval counts once `approveHash` is in a block"
    )]
    NotApproved { owner: Address },
    #[error(
        "the contract {owner} does not say that this is its signature over this transaction: it says \
         something else, refuses, or uses up the gas it has to answer with"
    )]
    NotSigned { owner: Address },
    #[error(transparent)]
    Duplicate(#[from] DuplicateOwner),
    /// One of several; none of them was taken.
    #[error("signature {number}, and so none was taken: {source}")]
    InPart { number: usize, source: Box<ConfirmError> },
    #[error("the proposal was replaced meanwhile: read the new one before signing again")]
    Replaced,
    #[error(
        "{owner} signed an earlier transaction of this request, at nonce {nonce}, and another one has \
         taken its place: {reason}; read the present one and sign that"
    )]
    OfReplaced { owner: Address, nonce: i64, reason: String },
}

/// What became of signatures.
#[derive(Debug)]
pub struct Confirmation {
    pub request: Request,
    /// False when each of these owners' signatures was here before.
    pub added: bool,
}

/// What signatures are checked against.
struct Scene<'a> {
    chain: &'a Chain,
    proposal: &'a Proposal,
    content: &'a SafeProposal,
    signers: &'a Signers,
    at: BlockRef,
}

/// What is to be signed for a request.
pub async fn to_sign(store: &Store, request: RequestId) -> Result<Proposal, ConfirmError> {
    match store.proposal(request).await? {
        Some(proposal) => Ok(proposal),
        None => Err(ConfirmError::NothingToSign(store.request(request).await?.status())),
    }
}

/// Checks signatures against the chain as it is now, and keeps them: all of them or none. The
/// proposal must still be the live one of the request by then.
pub async fn confirm(
    store: &Store,
    chain: &Chain,
    request: RequestId,
    proposal: &Proposal,
    parts: &[Part],
    now: Time,
) -> Result<Confirmation, ConfirmError> {
    let content = proposal.safe.as_ref().ok_or(ConfirmError::NoSafe)?;
    // The hash is computed again from the stored fields: what is stored is not trusted either.
    let hashes = safe::hashes(&content.tx, proposal.chain, proposal.owner, content.version);
    if hashes != content.hashes {
        return Err(ConfirmError::HashDiffers);
    }
    let at = chain.head().await?.block;
    let signers = chain.signers(proposal.owner, at).await?.ok_or(ConfirmError::NoSafe)?;
    let scene = Scene { chain, proposal, content, signers: &signers, at };
    let mut given: Vec<(Address, Part)> = vec![];
    for (index, part) in parts.iter().enumerate() {
        let owner = scene.owner_of(part).await.and_then(|owner| {
            let is_new = given.iter().all(|(one, _)| *one != owner);
            if is_new { Ok(owner) } else { Err(DuplicateOwner(owner).into()) }
        });
        let in_part = |source| match (parts.len(), source) {
            (1, error) | (_, error @ (ConfirmError::Store(_) | ConfirmError::Chain(_))) => error,
            (_, error) => ConfirmError::InPart { number: index + 1, source: Box::new(error) },
        };
        let owner = match (owner, part) {
            (Err(ConfirmError::NotOwner { signer }), Part::Key(signature)) => {
                Err(late(store, request, &signers, *signature)
                    .await?
                    .unwrap_or(ConfirmError::NotOwner { signer }))
            }
            (owner, _) => owner,
        };
        given.push((owner.map_err(in_part)?, part.clone()));
    }
    match store.confirm(request, proposal, signers.threshold, &signers.owners, &given, now).await? {
        Confirmed::Added(request) => Ok(Confirmation { request: *request, added: true }),
        Confirmed::Known(request) => Ok(Confirmation { request: *request, added: false }),
        Confirmed::Replaced => Err(ConfirmError::Replaced),
    }
}

/// What is to be said of an owner's signature over what was proposed before: as one over the present
/// transaction it is a stranger's.
async fn late(
    store: &Store,
    request: RequestId,
    signers: &Signers,
    signature: OwnerSignature,
) -> Result<Option<ConfirmError>, StoreError> {
    let earlier = store.replaced_transactions(request).await?;
    Ok(earlier.into_iter().find_map(|Earlier { hash, nonce, reason }| {
        let owner = signature.recover(hash).ok().filter(|it| signers.owners.contains(it))?;
        Some(ConfirmError::OfReplaced { owner, nonce, reason })
    }))
}

impl Scene<'_> {
    /// Who is no owner. Many tools write 27 or 28 for `eth_sign` too: then an owner did sign, and what
    /// was sent says that somebody else did. It is not put right here: what is kept is what was sent.
    fn stranger(&self, part: &Part, signer: Address) -> ConfirmError {
        let Part::Key(signature) = part else { return ConfirmError::NotOwner { signer } };
        let other = signature.as_eth_sign();
        match other.recover(self.content.hashes.safe_tx_hash) {
            Ok(owner) if other != *signature && self.signers.owners.contains(&owner) => {
                if !self.content.version.takes_eth_sign() {
                    return ConfirmError::EthSign(self.content.version);
                }
                ConfirmError::UnmarkedEthSign { owner, given: signature.v(), v: other.v() }
            }
            _ => match NestedSignature::of(signature, self.proposal, self.content) {
                Some(of_nested) => ConfirmError::OfNested(Box::new(of_nested)),
                None => ConfirmError::NotOwner { signer },
            },
        }
    }

    /// The owner whose signature this is. Who is no owner is not even asked.
    async fn owner_of(&self, part: &Part) -> Result<Address, ConfirmError> {
        let (content, hash) = (self.content, self.content.hashes.safe_tx_hash);
        let owner = match part {
            Part::Key(signature) => {
                if signature.kind() == SignatureKind::EthSign && !content.version.takes_eth_sign() {
                    return Err(ConfirmError::EthSign(content.version));
                }
                signature.recover(hash)?
            }
            Part::ApprovedHash(owner) | Part::Contract { owner, .. } => *owner,
        };
        if !self.signers.owners.contains(&owner) {
            return Err(self.stranger(part, owner));
        }
        match part {
            Part::Key(_) => {}
            Part::ApprovedHash(_) => {
                let safe = self.proposal.owner;
                if self.chain.approved(safe, hash, &[owner], self.at).await? != [true] {
                    return Err(ConfirmError::NotApproved { owner });
                }
            }
            Part::Contract { data, .. } => {
                let (asks, version, hashes) =
                    (self.proposal.owner, content.version, &content.hashes);
                let signed =
                    self.chain.contract_signed(asks, owner, version, hashes, data, self.at);
                if !signed.await? {
                    return Err(ConfirmError::NotSigned { owner });
                }
            }
        }
        Ok(owner)
    }
}
