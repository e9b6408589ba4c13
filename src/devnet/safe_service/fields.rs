//! The checks of single fields, with the words of the real service. Pure.

use alloy::primitives::{Address, B256, Bytes, U256};
use serde_json::{Map, Value, json};

use super::refusal::Refusal;
use crate::{
    owner::text::decimal,
    request::ids::SafeTxHash,
    safe::{Operation, SafeTx},
};

const SIGNATURE_DIGITS: &str =
    "Ensure this field has at least 65 hexadecimal chars (not counting 0x).";

/// A proposal whose fields read.
#[derive(Debug)]
pub(super) struct Proposal {
    pub tx: SafeTx,
    pub hash: SafeTxHash,
    pub sender: Address,
    pub signatures: Option<Bytes>,
    pub origin: Option<String>,
}

/// An address in EIP-55 mixed case and nothing else.
pub(super) fn checksummed(text: &str) -> Option<Address> {
    Address::parse_checksummed(text, None).ok()
}

/// Reads an object field by field; every complaint is collected.
pub(super) struct Reader<'a> {
    body: &'a Map<String, Value>,
    complaints: Map<String, Value>,
}

impl<'a> Reader<'a> {
    pub fn of(body: &'a Value) -> Result<Self, Refusal> {
        let body = body.as_object().ok_or_else(|| {
            Refusal::object("Invalid data. Expected a dictionary, but got something else.")
        })?;
        Ok(Self { body, complaints: Map::new() })
    }

    /// What was complained about, with the status the endpoint has for it.
    pub fn end(self, status: u16) -> Result<(), Refusal> {
        if self.complaints.is_empty() {
            Ok(())
        } else {
            Err(Refusal::json(status, self.complaints.into()))
        }
    }

    fn complain<T>(&mut self, name: &str, problem: &str) -> Option<T> {
        self.complaints.insert(name.into(), json!([problem]));
        None
    }

    fn given(&self, name: &str) -> Option<&'a Value> {
        self.body.get(name).filter(|value| !value.is_null())
    }

    fn required(&mut self, name: &str) -> Option<&'a Value> {
        match self.body.get(name) {
            None => self.complain(name, "This field is required."),
            Some(Value::Null) => self.complain(name, "This field may not be null."),
            Some(value) => Some(value),
        }
    }

    fn address_of(&mut self, name: &str, value: &Value) -> Option<Address> {
        let text = value.as_str().unwrap_or_default();
        match (checksummed(text), text.parse::<Address>()) {
            (Some(address), _) => Some(address),
            (None, Ok(_)) => self.complain(name, &format!("Address {text} is not checksumed")),
            (None, Err(_)) => self.complain(name, "Invalid ethereum address"),
        }
    }

    pub fn address(&mut self, name: &str) -> Option<Address> {
        let value = self.required(name)?;
        self.address_of(name, value)
    }

    /// Null and missing are none.
    pub fn optional_address(&mut self, name: &str) -> Option<Address> {
        let value = self.given(name)?;
        self.address_of(name, value)
    }

    fn integer(&mut self, name: &str) -> Option<U256> {
        let read = match self.required(name)? {
            Value::Number(number) => number.as_u64().map(U256::from),
            Value::String(text) => decimal::parse(text),
            _ => None,
        };
        read.or_else(|| self.complain(name, "A valid integer is required."))
    }

    fn operation(&mut self) -> Option<Operation> {
        let number = self.integer("operation")?;
        match u8::try_from(number) {
            Ok(2) => self.complain("operation", "Operation CREATE not supported for multisig txs"),
            Ok(number) if number < 2 => Operation::try_from(number).ok(),
            _ => self.complain("operation", "Unknown operation"),
        }
    }

    fn hex(&mut self, name: &str) -> Option<Bytes> {
        let text = self.given(name)?.as_str();
        match text.map(str::parse) {
            Some(Ok(bytes)) => Some(bytes),
            _ => self.complain(name, "Not a valid hexadecimal"),
        }
    }

    /// One or more signatures, one after the other.
    pub fn signatures(&mut self, name: &str) -> Option<Bytes> {
        let text = self.given(name)?.as_str();
        if matches!(text, Some("" | "0x")) {
            return self.complain(name, "This field may not be blank.");
        }
        let bytes = self.hex(name)?;
        if bytes.len() < 65 { self.complain(name, SIGNATURE_DIGITS) } else { Some(bytes) }
    }

    /// The same, of so many bytes at most.
    pub fn signatures_within(&mut self, name: &str, bytes_max: usize) -> Option<Bytes> {
        let bytes = self.signatures(name)?;
        if bytes.len() > bytes_max {
            let chars = "hexadecimal chars (not counting 0x)";
            let problem = format!("Ensure this field has no more than {bytes_max} {chars}.");
            return self.complain(name, &problem);
        }
        Some(bytes)
    }

    pub fn text(&mut self, name: &str, chars_max: usize) -> Option<String> {
        let text = self.given(name)?.as_str().unwrap_or_default();
        if text.chars().count() > chars_max {
            let problem = format!("Ensure this field has no more than {chars_max} characters.");
            return self.complain(name, &problem);
        }
        Some(text.to_owned())
    }

    fn hash(&mut self, name: &str) -> Option<SafeTxHash> {
        let hash = self.required(name)?.as_str().and_then(|text| text.parse::<B256>().ok());
        hash.map(SafeTxHash).or_else(|| self.complain(name, "Not a valid hexadecimal"))
    }

    /// A field that must be there; the end tells when it was not.
    pub fn demand(&mut self, name: &str) {
        let _ = self.required(name);
    }
}

/// Reads a proposal.
pub(super) fn proposal(body: &Value) -> Result<Proposal, Refusal> {
    let mut reader = Reader::of(body)?;
    let data = reader.hex("data").unwrap_or_default();
    let gas_token = reader.optional_address("gasToken").unwrap_or_default();
    let refund_receiver = reader.optional_address("refundReceiver").unwrap_or_default();
    let signatures = reader.signatures("signature");
    let origin = reader.text("origin", 200);
    let fields = (
        reader.address("to"),
        reader.integer("value"),
        reader.operation(),
        reader.integer("safeTxGas"),
        reader.integer("baseGas"),
        reader.integer("gasPrice"),
        reader.integer("nonce"),
        reader.hash("contractTransactionHash"),
        reader.address("sender"),
    );
    reader.end(422)?;
    let (
        Some(to),
        Some(value),
        Some(operation),
        Some(safe_tx_gas),
        Some(base_gas),
        Some(gas_price),
        Some(nonce),
        Some(hash),
        Some(sender),
    ) = fields
    else {
        return Err(Refusal::object("Invalid data."));
    };
    let tx = SafeTx {
        to,
        value,
        data,
        operation,
        safe_tx_gas,
        base_gas,
        gas_price,
        gas_token,
        refund_receiver,
        nonce,
    };
    Ok(Proposal { tx, hash, sender, signatures, origin })
}
