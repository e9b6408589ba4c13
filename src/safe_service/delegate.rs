//! What is signed for a mailbox: that a key may propose, that it may not any more, that a
//! transaction is to be deleted. Pure.
//!
//! Each is good for an hour: it holds the number of hours since 1970, and the service takes the
//! present and the last one. Source: `safe-transaction-service`, `delegate_signature_helper`.

use alloy::{
    primitives::{Address, B256, U256},
    sol_types::{Eip712Domain, SolStruct, eip712_domain},
};
use serde_json::{Value, json};

use crate::{
    clock::Time,
    request::ids::{ChainId, SafeTxHash},
};

const NAME: &str = "Safe Transaction Service";
const VERSION: &str = "1.0";

/// The types as the service names them.
mod message {
    alloy::sol! {
        struct Delegate {
            address delegateAddress;
            uint256 totp;
        }

        struct DeleteRequest {
            bytes32 safeTxHash;
            uint256 totp;
        }
    }
}

/// An hour, counted from 1970: the one-time part of what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hour(pub u64);

impl Hour {
    #[must_use]
    pub fn of(now: Time) -> Self {
        Self(u64::try_from(now.timestamp().div_euclid(3_600)).unwrap_or_default())
    }
}

/// Lets a key propose, or lets it no longer: what an owner signs is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelegateRequest {
    pub chain: ChainId,
    pub delegate: Address,
    pub hour: Hour,
}

/// Takes a transaction that is not executed out of the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteRequest {
    pub chain: ChainId,
    pub safe: Address,
    pub hash: SafeTxHash,
    pub hour: Hour,
}

fn kind(name: &str, kind: &str) -> Value {
    json!({ "name": name, "type": kind })
}

impl DelegateRequest {
    fn domain(&self) -> Eip712Domain {
        eip712_domain! { name: NAME, version: VERSION, chain_id: self.chain.get(), }
    }

    /// What is signed.
    #[must_use]
    pub fn signing_hash(&self) -> B256 {
        message::Delegate { delegateAddress: self.delegate, totp: U256::from(self.hour.0) }
            .eip712_signing_hash(&self.domain())
    }

    /// The document for `eth_signTypedData_v4`.
    #[must_use]
    pub fn document(&self) -> Value {
        json!({
            "types": {
                "EIP712Domain": [
                    kind("name", "string"), kind("version", "string"), kind("chainId", "uint256"),
                ],
                "Delegate": [kind("delegateAddress", "address"), kind("totp", "uint256")],
            },
            "primaryType": "Delegate",
            "domain": { "name": NAME, "version": VERSION, "chainId": self.chain.get() },
            "message": {
                "delegateAddress": self.delegate.to_string(), "totp": self.hour.0.to_string(),
            },
        })
    }
}

impl DeleteRequest {
    /// What the proposer, or the delegate that proposed, signs.
    #[must_use]
    pub fn signing_hash(&self) -> B256 {
        let domain = eip712_domain! {
            name: NAME,
            version: VERSION,
            chain_id: self.chain.get(),
            verifying_contract: self.safe,
        };
        message::DeleteRequest { safeTxHash: self.hash.0, totp: U256::from(self.hour.0) }
            .eip712_signing_hash(&domain)
    }
}

#[cfg(test)]
mod tests {
    use alloy::{dyn_abi::TypedData, primitives::address};

    use super::*;

    const DELEGATE: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");

    #[test]
    fn the_document_says_what_is_signed() {
        let hour = Hour::of("2026-11-26T08:59:59Z".parse().unwrap());
        let request = DelegateRequest { chain: ChainId::BASE, delegate: DELEGATE, hour };
        let document: TypedData = serde_json::from_value(request.document()).unwrap();
        assert_eq!(document.eip712_signing_hash().unwrap(), request.signing_hash());
        let later = DelegateRequest { hour: Hour(hour.0 + 1), ..request };
        assert_ne!(later.signing_hash(), request.signing_hash());
        let elsewhere = DelegateRequest { chain: ChainId::ETHEREUM, ..request };
        assert_ne!(elsewhere.signing_hash(), request.signing_hash());
    }

    #[test]
    fn hours_are_counted_from_1970() {
        for (time, hour) in
            [("1970-01-01T00:59:59Z", 0), ("1970-01-01T01:00:00Z", 1), ("1969-12-31T23:00:00Z", 0)]
        {
            assert_eq!(Hour::of(time.parse().unwrap()), Hour(hour), "{time}");
        }
    }

    #[test]
    fn a_deletion_is_of_one_transaction_of_one_safe() {
        let (hash, hour) = (SafeTxHash(B256::repeat_byte(1)), Hour(497_000));
        let request = DeleteRequest { chain: ChainId::BASE, safe: DELEGATE, hash, hour };
        let other = DeleteRequest { safe: Address::repeat_byte(2), ..request };
        let another = DeleteRequest { hash: SafeTxHash(B256::repeat_byte(2)), ..request };
        assert_ne!(request.signing_hash(), other.signing_hash());
        assert_ne!(request.signing_hash(), another.signing_hash());
    }
}
