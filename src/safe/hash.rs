//! The three hashes of a Safe transaction, and the EIP-712 document that wallets sign.
//!
//! Rules as in the Safe contracts 1.0.0 to 1.5.0:
//! `domain = keccak(typehash [‖ chain id] ‖ Safe)`, `message = keccak(typehash ‖ ten fields)`
//! with the data hashed, `safeTxHash = keccak(0x1901 ‖ domain ‖ message)`. A hardware wallet shows
//! the domain and message hash, not the last one, so a review shows all three.

use alloy::{
    primitives::{Address, B256, U256, b256, keccak256},
    sol_types::SolValue,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{SafeTx, SafeVersion};
use crate::request::ids::{ChainId, SafeTxHash};

/// `EIP712Domain(uint256 chainId,address verifyingContract)`
const DOMAIN_TYPEHASH: B256 =
    b256!("47e79534a245952e8b16893a336b85a3d9ea9fa8c573f3d803afb92a79469218");
/// `EIP712Domain(address verifyingContract)`, before 1.3.0
const DOMAIN_TYPEHASH_WITHOUT_CHAIN: B256 =
    b256!("035aff83d86937d35b32e04f0ddc6ff469290eef2f1b692d8a815c89404d4749");
/// `SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,
/// uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)`
const SAFE_TX_TYPEHASH: B256 =
    b256!("bb8310d486368db6bd6f849402fdd73ad53d316b5a4b2644ad6efe0f941286d8");

/// What identifies a Safe transaction to owners, wallets and the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SafeTxHashes {
    /// Of the Safe and its chain. Ledger devices show it as "Domain hash".
    #[schema(value_type = String)]
    pub domain_hash: B256,
    /// Of the ten fields alone. Ledger devices show it as "Message hash".
    #[schema(value_type = String)]
    pub message_hash: B256,
    /// What owners sign.
    pub safe_tx_hash: SafeTxHash,
}

/// What everything that a Safe's owners sign is bound to.
pub(super) fn domain_hash(chain: ChainId, safe: Address, version: SafeVersion) -> B256 {
    if version.domain_has_chain_id() {
        keccak256((DOMAIN_TYPEHASH, U256::from(chain.get()), safe).abi_encode())
    } else {
        keccak256((DOMAIN_TYPEHASH_WITHOUT_CHAIN, safe).abi_encode())
    }
}

/// Computes the hashes from nothing but what is approved.
#[must_use]
pub fn hashes(tx: &SafeTx, chain: ChainId, safe: Address, version: SafeVersion) -> SafeTxHashes {
    let domain_hash = domain_hash(chain, safe, version);
    let message_hash = keccak256(
        (
            SAFE_TX_TYPEHASH,
            tx.to,
            tx.value,
            keccak256(&tx.data),
            U256::from(tx.operation.number()),
            tx.safe_tx_gas,
            tx.base_gas,
            tx.gas_price,
            tx.gas_token,
            tx.refund_receiver,
            tx.nonce,
        )
            .abi_encode(),
    );
    let preimage = [&[0x19, 0x01], domain_hash.as_slice(), message_hash.as_slice()].concat();
    SafeTxHashes { domain_hash, message_hash, safe_tx_hash: SafeTxHash(keccak256(preimage)) }
}

/// A field of a type in a document that is to be signed.
pub(super) fn field(name: &str, kind: &str) -> Value {
    json!({"name": name, "type": kind})
}

/// The type and the value of the domain in every document of a Safe.
pub(super) fn document_domain(
    chain: ChainId,
    safe: Address,
    version: SafeVersion,
) -> (Vec<Value>, Value) {
    let mut domain_type = vec![field("verifyingContract", "address")];
    let mut domain = json!({"verifyingContract": safe.to_string()});
    if version.domain_has_chain_id() {
        domain_type.insert(0, field("chainId", "uint256"));
        domain["chainId"] = chain.get().into();
    }
    (domain_type, domain)
}

/// The document for `eth_signTypedData_v4`.
///
/// Every `uint256` of the message is a decimal string. The chain id and the operation are JSON
/// numbers: both are small, and some wallets compare the chain id with a number.
#[must_use]
pub fn eip712_document(tx: &SafeTx, chain: ChainId, safe: Address, version: SafeVersion) -> Value {
    let (domain_type, domain) = document_domain(chain, safe, version);
    json!({
        "types": {
            "EIP712Domain": domain_type,
            "SafeTx": [
                field("to", "address"), field("value", "uint256"), field("data", "bytes"),
                field("operation", "uint8"), field("safeTxGas", "uint256"),
                field("baseGas", "uint256"), field("gasPrice", "uint256"),
                field("gasToken", "address"), field("refundReceiver", "address"),
                field("nonce", "uint256"),
            ],
        },
        "primaryType": "SafeTx",
        "domain": domain,
        "message": {
            "to": tx.to.to_string(),
            "value": tx.value.to_string(),
            "data": tx.data.to_string(),
            "operation": tx.operation.number(),
            "safeTxGas": tx.safe_tx_gas.to_string(),
            "baseGas": tx.base_gas.to_string(),
            "gasPrice": tx.gas_price.to_string(),
            "gasToken": tx.gas_token.to_string(),
            "refundReceiver": tx.refund_receiver.to_string(),
            "nonce": tx.nonce.to_string(),
        },
    })
}

/// Why a document is not one that signs a Safe transaction.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("its {part} does not read")]
    Unreadable {
        part: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// Before 1.3.0 the chain is not part of what is signed.
    #[error("its domain names no chain: the Safe is older than 1.3.0, use --offline")]
    NoChain,
    #[error("it is laid out in another way: a wallet would sign another hash for it")]
    Differs,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Domain {
    chain_id: Option<ChainId>,
    verifying_contract: Address,
}

/// The ten fields by their names in the contract.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    to: Address,
    value: U256,
    data: alloy::primitives::Bytes,
    operation: super::Operation,
    safe_tx_gas: U256,
    base_gas: U256,
    gas_price: U256,
    gas_token: Address,
    refund_receiver: Address,
    nonce: U256,
}

/// Reads a document as [`eip712_document`] writes it, of a Safe of 1.3.0 or later.
///
/// # Errors
/// [`DocumentError`]; a document with anything more or less in it hashes to something else, so it
/// is refused.
pub fn read_eip712(document: &Value) -> Result<(ChainId, Address, SafeTx), DocumentError> {
    let unreadable = |part| move |source| DocumentError::Unreadable { part, source };
    let domain = Domain::deserialize(&document["domain"]).map_err(unreadable("domain"))?;
    let message = Message::deserialize(&document["message"]).map_err(unreadable("message"))?;
    let chain = domain.chain_id.ok_or(DocumentError::NoChain)?;
    let tx = SafeTx {
        to: message.to,
        value: message.value,
        data: message.data,
        operation: message.operation,
        safe_tx_gas: message.safe_tx_gas,
        base_gas: message.base_gas,
        gas_price: message.gas_price,
        gas_token: message.gas_token,
        refund_receiver: message.refund_receiver,
        nonce: message.nonce,
    };
    let safe = domain.verifying_contract;
    if eip712_document(&tx, chain, safe, SafeVersion::V1_3_0) == *document {
        Ok((chain, safe, tx))
    } else {
        Err(DocumentError::Differs)
    }
}

#[cfg(test)]
mod tests;
