//! What the chain says of owners who do not sign with a key: approved hashes, and contracts that
//! answer for themselves.

use alloy::{
    primitives::{Address, B256, Bytes},
    sol_types::SolCall,
};

use super::{CallAnswer, Chain, ChainError, SafeState, words::Question};
use crate::{
    request::{facts::BlockRef, ids::SafeTxHash},
    safe::{
        SafeTxHashes, SafeVersion, contract_signature, packed::Part, signature::SignatureKind,
        tx::Safe,
    },
};

impl Chain {
    /// Which of these owners approved a transaction of the Safe on chain, in their order, by one
    /// call.
    pub async fn approved(
        &self,
        safe: Address,
        hash: SafeTxHash,
        owners: &[Address],
        at: BlockRef,
    ) -> Result<Vec<bool>, ChainError> {
        let question = |owner: &Address| Question {
            to: safe,
            calldata: Safe::approvedHashesCall { owner: *owner, hash: hash.0 }.abi_encode().into(),
        };
        let questions: Vec<Question> = owners.iter().map(question).collect();
        if questions.is_empty() {
            return Ok(vec![]);
        }
        let read = |answer: &CallAnswer| match answer {
            CallAnswer::Returned(word) if word.len() == 32 => Ok(!B256::from_slice(word).is_zero()),
            _ => Err(ChainError::Unreadable {
                what: format!("what owners of Safe {safe} approved"),
                problem: "the contract does not answer with a word".into(),
            }),
        };
        self.words(&questions, at).await?.iter().map(read).collect()
    }

    /// Those of the given signatures over a transaction that the Safe would take now: of its present
    /// owners, and still holding.
    pub async fn standing_signatures(
        &self,
        safe: &SafeState,
        hashes: &SafeTxHashes,
        given: &[(Address, Part)],
        at: BlockRef,
    ) -> Result<Vec<(Address, Part)>, ChainError> {
        let mut standing = vec![];
        for (owner, part) in given.iter().filter(|(owner, _)| safe.owners.contains(owner)) {
            let (hash, version) = (hashes.safe_tx_hash, safe.version);
            let stands = match part {
                Part::Key(signature) => {
                    let is_taken =
                        signature.kind() != SignatureKind::EthSign || version.takes_eth_sign();
                    is_taken && signature.recover(hash) == Ok(*owner)
                }
                Part::ApprovedHash(approver) => {
                    approver == owner
                        && self.approved(safe.address, hash, &[*owner], at).await? == [true]
                }
                Part::Contract { owner: contract, data } => {
                    let signed =
                        self.contract_signed(safe.address, *owner, version, hashes, data, at);
                    contract == owner && signed.await?
                }
            };
            if stands {
                standing.push((*owner, part.clone()));
            }
        }
        Ok(standing)
    }

    /// Whether a contract that owns a Safe of this version says to it that `data` is its signature over
    /// a transaction. A contract that cannot be asked is an error; one that refuses, or uses up its gas, has not signed.
    pub async fn contract_signed(
        &self,
        safe: Address,
        owner: Address,
        version: SafeVersion,
        hashes: &SafeTxHashes,
        data: &Bytes,
        at: BlockRef,
    ) -> Result<bool, ChainError> {
        let what = format!("whether contract {owner} signed");
        let calldata = contract_signature::question(version, hashes, data);
        Ok(match self.call_stranger(&what, safe, owner, &calldata, at).await? {
            CallAnswer::Returned(answer) => contract_signature::is_yes(version, &answer),
            CallAnswer::Reverted => false,
        })
    }

    /// Whether a contract says that `signature` is its own over a hash (EIP-1271). An account without
    /// code has said nothing, and neither has one that uses up its gas; a contract that cannot be asked is an error.
    pub async fn contract_signed_hash(
        &self,
        contract: Address,
        hash: B256,
        signature: Bytes,
        at: BlockRef,
    ) -> Result<bool, ChainError> {
        if self.code(contract, at).await?.is_empty() {
            return Ok(false);
        }
        let what = format!("whether contract {contract} signed");
        let calldata = contract_signature::question_of_hash(hash, signature);
        Ok(match self.call_stranger(&what, Address::ZERO, contract, &calldata, at).await? {
            CallAnswer::Returned(answer) => contract_signature::is_yes_of_hash(&answer),
            CallAnswer::Reverted => false,
        })
    }
}
