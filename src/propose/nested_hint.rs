//! What to do with a signature that is of no owner of the Safe, but of an owner of a Safe that owns
//! it. Pure.

use std::fmt;

use alloy::primitives::Address;

use crate::{
    request::ids::SafeTxHash,
    safe::{NestedOwner, OwnerSignature, packed::Part},
    store::proposals::{Proposal, SafeProposal},
};

/// A signature by an owner of a nested Safe alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestedSignature {
    pub signer: Address,
    /// The Safe that is an owner.
    pub nested: Address,
    /// How many of its own owners it needs, when what they sign was signed; none when this was the
    /// transaction itself, which nobody asks them to sign.
    pub needs: Option<u32>,
    /// What to give instead, when this signature alone is enough.
    pub instead: Option<Part>,
}

impl NestedSignature {
    /// None when the signature is of nobody who owns an owner, as far as those are known.
    pub fn of(
        signature: &OwnerSignature,
        proposal: &Proposal,
        content: &SafeProposal,
    ) -> Option<Self> {
        let around = content.around.as_ref()?;
        let told = around.contract_owners.iter().map(|owner| {
            let (chain, safe) = (proposal.chain, proposal.owner);
            NestedOwner::of(owner, chain, safe, content.version, &content.hashes)
        });
        let mut found = None;
        for told in told.filter(|told| !told.owners.is_empty()) {
            let signer_of = |hash: SafeTxHash| {
                let forms = [*signature, signature.as_eth_sign()];
                let signers =
                    forms.into_iter().filter_map(|form| Some((form.recover(hash).ok()?, form)));
                signers.into_iter().find(|(signer, _)| told.owners.contains(signer))
            };
            let nested = told.owner;
            let message = told.safe_message.as_ref().map(|one| SafeTxHash(one.safe_message_hash));
            if let Some((signer, form)) = message.and_then(signer_of) {
                let data = form.to_bytes().into();
                let instead =
                    (told.threshold == Some(1)).then(|| Part::Contract { owner: nested, data });
                return Some(Self { signer, nested, needs: told.threshold, instead });
            }
            if let Some((signer, _)) = signer_of(content.hashes.safe_tx_hash) {
                found = Some(Self { signer, nested, needs: None, instead: None });
            }
        }
        found
    }
}

impl fmt::Display for NestedSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signer, nested, needs, instead } = self;
        write!(f, "{signer} is no owner of the Safe, but of {nested}, a Safe that is one")?;
        match (needs, instead) {
            (_, Some(part)) => {
                write!(
                    f,
                    ": give its signature as that of the contract {nested}: {}",
                    part.to_bytes()
                )
            }
            (Some(needs), None) => write!(
                f,
                " and needs {needs} signatures of its own owners: collect them over the same \
                 message, join them in the order of the signers' addresses, and give them as the \
                 signature of the contract {nested} (`v` 0); or let it approve on chain"
            ),
            (None, None) => write!(
                f,
                ": its owners do not sign this transaction, but the message for {nested} that \
                 `countersign show` lists; or it approves on chain"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_is_said() {
        let [signer, nested] = [1, 2].map(Address::repeat_byte);
        let hint = |needs, instead| NestedSignature { signer, nested, needs, instead }.to_string();
        let part = Part::Contract { owner: nested, data: vec![7; 65].into() };
        let enough = hint(Some(1), Some(part.clone()));
        assert!(enough.ends_with(&part.to_bytes().to_string()), "{enough}");
        assert!(hint(Some(2), None).contains("needs 2 signatures of its own owners"));
        assert!(hint(None, None).contains("do not sign this transaction"));
    }
}
