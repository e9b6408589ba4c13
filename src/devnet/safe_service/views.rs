//! What the service says about what it holds, and the lies it is told to say.

use alloy::primitives::{Address, Bytes, U256};
use serde_json::{Value, json};

use super::{control::Lies, state::Mail};
use crate::devnet::Wallet;

fn time(at: crate::clock::Time) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A transaction as version 2 of the API gives it.
pub(super) fn transaction(mail: &Mail, threshold: U256, lies: &Lies) -> Value {
    let (tx, execution) = (&mail.tx, mail.execution.as_ref());
    let mut view = json!({
        "safe": mail.safe.to_string(),
        "to": tx.to.to_string(),
        "value": tx.value.to_string(),
        "data": (!tx.data.is_empty()).then(|| tx.data.to_string()),
        "operation": tx.operation,
        "gasToken": tx.gas_token.to_string(),
        "safeTxGas": tx.safe_tx_gas.to_string(),
        "baseGas": tx.base_gas.to_string(),
        "gasPrice": tx.gas_price.to_string(),
        "refundReceiver": tx.refund_receiver.to_string(),
        "nonce": tx.nonce.to_string(),
        "executionDate": execution.map(|seen| time(seen.at)),
        "submissionDate": time(mail.submitted),
        "modified": time(mail.modified),
        "blockNumber": execution.map(|seen| seen.block),
        "transactionHash": execution.map(|seen| seen.tx_hash),
        "safeTxHash": mail.hash,
        "proposer": mail.proposer.map(|proposer| proposer.to_string()),
        "proposedByDelegate": mail.proposed_by_delegate.map(|delegate| delegate.to_string()),
        "executor": execution.map(|seen| seen.executor.to_string()),
        "isExecuted": execution.is_some(),
        "isSuccessful": execution.map(|seen| seen.success),
        "ethGasPrice": null, "maxFeePerGas": null, "maxPriorityFeePerGas": null,
        "gasUsed": null, "fee": null, "payment": null,
        "origin": origin(mail.origin.as_deref()),
        "dataDecoded": null,
        "confirmationsRequired": threshold.saturating_to::<u64>(),
        "confirmations": confirmations(mail, lies),
        "trusted": mail.trusted,
        "signatures": execution.and_then(|seen| Some(seen.content.as_ref()?.1.to_string())),
    });
    if lies.wrong_hash {
        view["safeTxHash"] = json!(alloy::primitives::keccak256(mail.hash.0));
    }
    if lies.swap_call {
        view["to"] = json!(Address::repeat_byte(0x66).to_string());
    }
    view
}

/// JSON comes back as JSON, with the spacing that Python gives it.
fn origin(text: Option<&str>) -> String {
    let Some(text) = text else { return "{}".into() };
    match serde_json::from_str::<Value>(text) {
        Ok(value) => spaced(&value),
        Err(_) => text.to_owned(),
    }
}

fn spaced(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), spaced(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(spaced).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

pub(super) fn confirmations(mail: &Mail, lies: &Lies) -> Vec<Value> {
    let mut rows: Vec<Value> = mail
        .confirmations
        .iter()
        .map(|given| {
            json!({
                "owner": given.owner.to_string(), "submissionDate": time(given.at),
                "transactionHash": given.tx, "signature": given.signature,
                "signatureType": given.kind,
            })
        })
        .collect();
    if lies.foreign_signature {
        // Said to be of an owner who signed, made by somebody who is none.
        let stranger = Wallet::funded(Wallet::FUNDED - 1).expect("it is one of them");
        let signature = Bytes::copy_from_slice(&stranger.sign(mail.hash).to_bytes());
        for row in &mut rows {
            row["signature"] = json!(signature);
        }
    }
    rows
}
