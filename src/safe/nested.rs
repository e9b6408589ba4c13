//! What an owner that is a contract does so that it counts: what the owners of a nested Safe sign, as
//! their devices show it, or the approval on chain that takes its place.
//!
//! A Safe until 1.4.1 asks such an owner about the 66 bytes that its hash is made of, since 1.5.0
//! about the hash; the nested Safe's own owners sign `SafeMessage` over just that, in the domain of
//! the nested Safe. The other of the two forms is good for nothing on chain, though Safe's service
//! takes it. An approval is a transaction of the nested Safe, and works in every version.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::SolCall,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    BatchFile, SafeTxHashes, SafeVersion,
    around::{ContractOwner, ContractOwnerKind, NestedSafe},
    contract_signature::{self, can_sign_for, safe_message_hashes},
    exports::builder_link,
    hash::{document_domain, field},
    network,
    tx::Safe,
};
use crate::{
    owner::{Call, text},
    request::ids::ChainId,
};

/// What a Safe asks an owner that is a contract about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuestionForm {
    /// The 66 bytes `0x1901 ‖ domain hash ‖ message hash`, until 1.4.1.
    Preimage,
    /// The safeTxHash, since 1.5.0.
    Hash,
}

/// What the owners of a nested Safe sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SafeMessage {
    /// Of the nested Safe and its chain. Ledger devices show it as "Domain hash".
    #[schema(value_type = String)]
    pub domain_hash: B256,
    /// Of the message alone. Ledger devices show it as "Message hash".
    #[schema(value_type = String)]
    pub message_hash: B256,
    /// What they sign.
    #[schema(value_type = String)]
    pub safe_message_hash: B256,
    /// The document for `eth_signTypedData_v4`.
    #[schema(value_type = Object)]
    pub eip712: Value,
}

/// What one owner that is a contract is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NestedOwner {
    #[serde(with = "text::address")]
    #[schema(value_type = String)]
    pub owner: Address,
    /// What it is, for people.
    pub words: String,
    /// What the Safe asks it about.
    pub form: QuestionForm,
    #[schema(value_type = String)]
    pub message: Bytes,
    /// What its own owners sign. Absent when it cannot sign, or when it is no Safe that is known here.
    pub safe_message: Option<SafeMessage>,
    /// Its own owners, and how many of them it needs.
    #[schema(value_type = Vec<String>)]
    pub owners: Vec<Address>,
    pub threshold: Option<u32>,
    /// The transaction of this owner that approves instead of signing.
    pub approval: Call,
    /// Prints the hashes of that transaction as a hardware wallet shows them; `NONCE` is the owner's
    /// next one.
    pub approval_command: Option<String>,
    /// Where the approval's batch file is imported. Absent on a chain that Safe{Wallet} does not serve.
    pub transaction_builder: Option<String>,
    /// What is to be known beside it: why it cannot sign, what is not followed.
    pub notes: Vec<String>,
}

impl NestedOwner {
    /// What this owner of `safe` is asked for.
    #[must_use]
    pub fn of(
        owner: &ContractOwner,
        chain: ChainId,
        safe: Address,
        version: SafeVersion,
        hashes: &SafeTxHashes,
    ) -> Self {
        let message = contract_signature::message(version, hashes);
        let approve = Safe::approveHashCall { hashToApprove: hashes.safe_tx_hash.0 };
        let approval = Call { to: safe, value: U256::ZERO, data: approve.abi_encode().into() };
        let nested = match &owner.kind {
            ContractOwnerKind::Safe(nested) => Some(nested),
            _ => None,
        };
        let problem = cannot_sign(&owner.kind, version);
        let signs = nested.filter(|_| problem.is_none());
        let mut notes: Vec<String> = problem.into_iter().collect();
        notes.extend(nested.and_then(deeper));
        Self {
            owner: owner.owner,
            words: words(&owner.kind),
            form: if version.asks_contracts_about_hash() {
                QuestionForm::Hash
            } else {
                QuestionForm::Preimage
            },
            safe_message: signs
                .map(|nested| safe_message(&message, chain, owner.owner, nested.version)),
            message,
            owners: nested.map(|nested| nested.owners.clone()).unwrap_or_default(),
            threshold: nested.map(|nested| nested.threshold),
            approval_command: nested.map(|nested| {
                format!(
                    "countersign verify --offline --chain-id {chain} --safe {} --safe-version {} \
                     --to {} --data {} --nonce NONCE",
                    owner.owner, nested.version, approval.to, approval.data
                )
            }),
            transaction_builder: nested
                .and_then(|_| network::find(chain))
                .map(|one| builder_link(one.short_name, owner.owner)),
            approval,
            notes,
        }
    }

    /// The approval as a file for Safe's Transaction Builder.
    #[must_use]
    pub fn batch_file(&self, chain: ChainId, description: &str, created_at_ms: u64) -> Value {
        let (name, calls) = ("Countersign: approve as an owner", [self.approval.clone()]);
        BatchFile { chain, safe: self.owner, name, description, created_at_ms, calls: &calls }
            .to_json()
    }
}

fn words(kind: &ContractOwnerKind) -> String {
    match kind {
        ContractOwnerKind::Safe(safe) => {
            let NestedSafe { version, threshold, owners, .. } = safe;
            format!("a Safe of version {version}, {threshold} of {} owners", owners.len())
        }
        ContractOwnerKind::UnknownSafe { version } => {
            format!("says it is a Safe of version {version}, which is not known here")
        }
        ContractOwnerKind::Other => "a contract that is no Safe".into(),
        ContractOwnerKind::Unreadable => "a contract that does not answer".into(),
        ContractOwnerKind::NotLookedAt => "a contract; there are too many to look at each".into(),
    }
}

/// Why nothing can be told that its owners would sign.
fn cannot_sign(kind: &ContractOwnerKind, parent: SafeVersion) -> Option<String> {
    match kind {
        ContractOwnerKind::Safe(child) if !can_sign_for(child.version, parent) => Some(format!(
            "a Safe of {} cannot sign for one of {parent}: it must approve on chain",
            child.version
        )),
        ContractOwnerKind::Safe(child)
            if child.version >= SafeVersion::V1_3_0 && child.fallback_handler.is_none() =>
        {
            Some("it has no fallback handler, so it cannot sign: it must approve on chain".into())
        }
        ContractOwnerKind::Safe(_) => None,
        _ => Some(
            "what its own owners sign is its own matter: it is asked `isValidSignature` about the \
             message; or it approves on chain"
                .into(),
        ),
    }
}

/// What is not followed.
fn deeper(safe: &NestedSafe) -> Option<String> {
    match &safe.contract_owners {
        None => Some("it has too many owners to look whether they are contracts themselves".into()),
        Some(owners) if owners.is_empty() => None,
        Some(owners) => {
            let named: Vec<String> = owners.iter().map(ToString::to_string).collect();
            Some(format!(
                "owners of it are contracts themselves, and what theirs sign is not shown here: {}",
                named.join(", ")
            ))
        }
    }
}

fn safe_message(
    message: &Bytes,
    chain: ChainId,
    safe: Address,
    version: SafeVersion,
) -> SafeMessage {
    let (domain_hash, message_hash, safe_message_hash) =
        safe_message_hashes(message, chain, safe, version);
    SafeMessage {
        domain_hash,
        message_hash,
        safe_message_hash,
        eip712: document(message, chain, safe, version),
    }
}

fn document(message: &Bytes, chain: ChainId, safe: Address, version: SafeVersion) -> Value {
    let (domain_type, domain) = document_domain(chain, safe, version);
    json!({
        "types": { "EIP712Domain": domain_type, "SafeMessage": [field("message", "bytes")] },
        "primaryType": "SafeMessage",
        "domain": domain,
        "message": { "message": message.to_string() },
    })
}

#[cfg(test)]
mod tests {
    use alloy::dyn_abi::TypedData;

    use super::*;
    use crate::{request::ids::SafeTxHash, safe::contract_signature::safe_message_hash};

    const PARENT: Address = Address::repeat_byte(0x5a);

    fn hashes() -> SafeTxHashes {
        let [domain_hash, message_hash] = [1, 2].map(B256::repeat_byte);
        let preimage = [&[0x19, 0x01], domain_hash.as_slice(), message_hash.as_slice()].concat();
        let safe_tx_hash = SafeTxHash(alloy::primitives::keccak256(preimage));
        SafeTxHashes { domain_hash, message_hash, safe_tx_hash }
    }

    fn nested(version: SafeVersion) -> NestedSafe {
        NestedSafe {
            version,
            owners: vec![Address::repeat_byte(1), Address::repeat_byte(2)],
            threshold: 2,
            fallback_handler: Some(Address::repeat_byte(9)),
            contract_owners: Some(vec![]),
        }
    }

    fn of(kind: ContractOwnerKind, parent: SafeVersion) -> NestedOwner {
        let owner = ContractOwner { owner: Address::repeat_byte(0xc), kind };
        NestedOwner::of(&owner, ChainId::BASE, PARENT, parent, &hashes())
    }

    #[test]
    fn its_owners_sign_what_the_parent_will_ask_about() {
        for parent in SafeVersion::ALL {
            for child in SafeVersion::ALL {
                let told = of(ContractOwnerKind::Safe(nested(child)), parent);
                let length = if parent == SafeVersion::V1_5_0 { 32 } else { 66 };
                assert_eq!(told.message.len(), length, "{parent}");
                assert_eq!(told.safe_message.is_some(), can_sign_for(child, parent));
                let Some(message) = told.safe_message else {
                    assert!(told.notes[0].contains("must approve"), "{:?}", told.notes);
                    continue;
                };
                let hash = safe_message_hash(&told.message, ChainId::BASE, told.owner, child);
                assert_eq!(message.safe_message_hash, hash);
                // What a wallet makes of the document.
                let document: TypedData = serde_json::from_value(message.eip712).unwrap();
                assert_eq!(document.eip712_signing_hash().unwrap(), hash, "{child} for {parent}");
                assert_eq!(document.domain.separator(), message.domain_hash);
                assert_eq!(document.hash_struct().unwrap(), message.message_hash);
            }
        }
    }

    #[test]
    fn every_kind_may_approve_on_chain() {
        let version = "9.9".into();
        for kind in [
            ContractOwnerKind::Safe(nested(SafeVersion::V1_5_0)),
            ContractOwnerKind::UnknownSafe { version },
            ContractOwnerKind::Other,
            ContractOwnerKind::Unreadable,
            ContractOwnerKind::NotLookedAt,
        ] {
            let is_safe = matches!(kind, ContractOwnerKind::Safe(_));
            let told = of(kind, SafeVersion::V1_4_1);
            assert_eq!((told.approval.to, told.approval.value), (PARENT, U256::ZERO));
            let call = Safe::approveHashCall::abi_decode(&told.approval.data).unwrap();
            assert_eq!(call.hashToApprove, hashes().safe_tx_hash.0);
            assert!(told.safe_message.is_none() && !told.notes.is_empty());
            assert_eq!(told.transaction_builder.is_some(), is_safe);
            let file = told.batch_file(ChainId::BASE, "", 1).to_string();
            let read = crate::safe::batch_file::read(&file).unwrap();
            assert_eq!((read.safe, read.calls), (Some(told.owner), vec![told.approval]));
        }
    }

    #[test]
    fn a_safe_without_a_handler_cannot_sign_since_1_3_0() {
        for (version, can) in [(SafeVersion::V1_2_0, true), (SafeVersion::V1_3_0, false)] {
            let bare = NestedSafe { fallback_handler: None, ..nested(version) };
            let told = of(ContractOwnerKind::Safe(bare), SafeVersion::V1_4_1);
            assert_eq!(told.safe_message.is_some(), can, "{version}");
        }
    }

    #[test]
    fn a_level_that_is_not_followed_is_named() {
        let deep = Address::repeat_byte(0xd);
        for (contract_owners, words) in
            [(Some(vec![deep]), deep.to_string()), (None, "too many owners".to_owned())]
        {
            let safe = NestedSafe { contract_owners, ..nested(SafeVersion::V1_4_1) };
            let told = of(ContractOwnerKind::Safe(safe), SafeVersion::V1_4_1);
            assert!(told.notes.iter().any(|note| note.contains(&words)), "{:?}", told.notes);
        }
    }
}
