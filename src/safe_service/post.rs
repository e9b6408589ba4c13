//! What is put into the mailbox. Pure.

use alloy::primitives::{Address, Bytes, U256};
use serde::Serialize;
use serde_json::{Value, json};

use super::read::Account;
use crate::{
    request::ids::SafeTxHash,
    safe::{Operation, OwnerSignature, SafeTx, hashes, packed::Part},
};

/// The longest `origin` the service takes.
const ORIGIN_CHARS_MAX: usize = 200;
/// What Safe's web application shows of a note is about this much.
const NOTE_CHARS_MAX: usize = 80;

/// Where a transaction comes from. It is not signed. Safe's web application shows the note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub url: Option<String>,
    pub name: String,
    pub note: String,
}

impl Origin {
    /// JSON in a text, within what the service takes: the address gives way first.
    #[must_use]
    pub fn to_text(&self) -> String {
        let note: String = self.note.chars().take(NOTE_CHARS_MAX).collect();
        if let Some(url) = &self.url {
            let whole = json!({ "url": url, "name": self.name, "note": note }).to_string();
            if whole.chars().count() <= ORIGIN_CHARS_MAX {
                return whole;
            }
        }
        let without_url = json!({ "name": self.name, "note": note }).to_string();
        if without_url.chars().count() <= ORIGIN_CHARS_MAX {
            return without_url;
        }
        json!({ "name": "Countersign" }).to_string()
    }
}

/// A transaction as it is proposed. Addresses go out in EIP-55 mixed case: the service refuses any
/// other spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    pub tx: SafeTx,
    pub hash: SafeTxHash,
    pub sender: Address,
    /// The sender's, by a key or by a contract.
    pub signature: Part,
    pub origin: Origin,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(with = "crate::owner::text::address")]
    to: Address,
    #[serde(with = "crate::owner::text::decimal")]
    value: U256,
    data: &'a Bytes,
    operation: Operation,
    #[serde(with = "crate::owner::text::decimal")]
    safe_tx_gas: U256,
    #[serde(with = "crate::owner::text::decimal")]
    base_gas: U256,
    #[serde(with = "crate::owner::text::decimal")]
    gas_price: U256,
    #[serde(with = "crate::owner::text::address")]
    gas_token: Address,
    #[serde(with = "crate::owner::text::address")]
    refund_receiver: Address,
    /// A JSON number, as Safe's own tools send it.
    nonce: u64,
    contract_transaction_hash: SafeTxHash,
    #[serde(with = "crate::owner::text::address")]
    sender: Address,
    signature: Bytes,
    origin: String,
}

impl Post {
    /// A transaction of this Safe, hashed here.
    #[must_use]
    pub fn new(
        account: &Account,
        tx: SafeTx,
        sender: Address,
        sign: impl FnOnce(SafeTxHash) -> OwnerSignature,
        origin: Origin,
    ) -> Self {
        let hash = hashes(&tx, account.chain, account.safe, account.version).safe_tx_hash;
        Self { tx, hash, sender, signature: sign(hash).into(), origin }
    }

    pub(super) fn body(&self) -> Value {
        let SafeTx { to, value, ref data, operation, .. } = self.tx;
        let body = Body {
            to,
            value,
            data,
            operation,
            safe_tx_gas: self.tx.safe_tx_gas,
            base_gas: self.tx.base_gas,
            gas_price: self.tx.gas_price,
            gas_token: self.tx.gas_token,
            refund_receiver: self.tx.refund_receiver,
            nonce: self.tx.nonce.saturating_to(),
            contract_transaction_hash: self.hash,
            sender: self.sender,
            signature: self.signature.to_bytes(),
            origin: self.origin.to_text(),
        };
        serde_json::to_value(body).expect("what is sent has text keys only")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_fits_and_keeps_its_note() {
        let origin = |url: &str, note: &str| Origin {
            url: Some(url.into()),
            name: "Countersign".into(),
            note: note.into(),
        };
        let short = origin("https://approve.example", "request 7").to_text();
        assert_eq!(
            short,
            r#"{"url":"https://approve.example","name":"Countersign","note":"request 7"}"#
        );
        let long = origin(&"u".repeat(300), "request 7").to_text();
        assert_eq!(long, r#"{"name":"Countersign","note":"request 7"}"#);
        for note in ["\"".repeat(300), "é".repeat(300), "\u{1}".repeat(300)] {
            let text = origin("https://approve.example", &note).to_text();
            assert!(text.chars().count() <= ORIGIN_CHARS_MAX, "{text}");
            assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
        }
    }
}
