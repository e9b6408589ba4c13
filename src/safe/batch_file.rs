//! The file that the Transaction Builder of Safe's web application imports.
//!
//! Format and checksum as in tx-builder 2.0.1 (safe-wallet-monorepo). The file binds neither a
//! nonce nor a Safe: the application picks the nonce and wraps several calls itself, so the
//! safeTxHash is not known from the file. [`read()`] takes a file apart again.

mod read;

use alloy::primitives::{Address, B256, keccak256};
use serde_json::{Value, json};

pub use read::{Batch, BatchFileError, CallProblem, read};

use crate::{dstack::Write, owner::Call, request::ids::ChainId};

/// What goes into a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchFile<'a> {
    pub chain: ChainId,
    pub safe: Address,
    /// Shown as the title; not part of the checksum.
    pub name: &'a str,
    pub description: &'a str,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    pub calls: &'a [Call],
}

impl BatchFile<'_> {
    /// The file, with its checksum.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut file = json!({
            "version": "1.0",
            "chainId": self.chain.to_string(),
            "createdAt": self.created_at_ms,
            "meta": {
                "name": self.name,
                "description": self.description,
                "txBuilderVersion": "2.0.1",
                "createdFromSafeAddress": self.safe.to_string(),
                "createdFromOwnerAddress": "",
            },
            "transactions": self.calls.iter().map(transaction).collect::<Vec<_>>(),
        });
        file["meta"]["checksum"] = checksum(&file).to_string().into();
        file
    }
}

/// One transaction. Additions are given as function and argument with `data` null, because the
/// application shows raw data undecoded; anything else is raw.
fn transaction(call: &Call) -> Value {
    let Some(write) = Write::from_calldata(&call.data) else {
        return json!({
            "to": call.to.to_string(),
            "value": call.value.to_string(),
            "data": call.data.to_string(),
            "contractMethod": null,
            "contractInputsValues": null,
        });
    };
    let argument = write.argument();
    json!({
        "to": call.to.to_string(),
        "value": call.value.to_string(),
        "data": null,
        "contractMethod": {
            "inputs": [{"internalType": "bytes32", "name": argument, "type": "bytes32"}],
            "name": write.function(),
            "payable": false,
        },
        "contractInputsValues": { argument: write.value().to_string() },
    })
}

/// keccak256 of the file as the application serialises it, without its checksum and with a null
/// name.
#[must_use]
pub fn checksum(file: &Value) -> B256 {
    let mut file = file.clone();
    if let Some(meta) = file.get_mut("meta").and_then(Value::as_object_mut) {
        meta.shift_remove("checksum");
        meta.insert("name".into(), Value::Null);
    }
    let mut text = String::new();
    serialise(&file, &mut text);
    keccak256(text)
}

/// Sorted keys as one JSON array, then the values in that order, each followed by a comma.
fn serialise(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                serialise(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut keys: Vec<&String> = members.keys().collect();
            keys.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
            text.push('{');
            text.push_str(&json!(keys).to_string());
            for key in keys {
                serialise(&members[key], text);
                text.push(',');
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{U256, address, b256};

    use super::*;
    use crate::request::ids::{AppId, ComposeHash, DeviceId};

    const SAFE: Address = address!("F71902B32C9854DB8d6f70Afa6Dcf685F7df8d79");

    fn calls() -> [Call; 2] {
        let app = AppId(Address::repeat_byte(0x11));
        [
            Write::AddComposeHash(ComposeHash(B256::repeat_byte(0xaa))),
            Write::AddDevice(DeviceId(B256::repeat_byte(0xbb))),
        ]
        .map(|write| Call::of_write(app, &write))
    }

    fn file(calls: &[Call]) -> Value {
        BatchFile {
            chain: ChainId::BASE,
            safe: SAFE,
            name: "replica approval",
            description: "",
            created_at_ms: 1_700_000_000_000,
            calls,
        }
        .to_json()
    }

    /// Recorded from the application's own code, over a file with one call of each form.
    #[test]
    fn the_checksum_is_the_applications() {
        let [compose, device] = calls();
        let mut recorded = file(&[compose]);
        recorded["transactions"].as_array_mut().unwrap().push(json!({
            "to": device.to.to_string(), "value": "0", "data": device.data.to_string(),
            "contractMethod": null, "contractInputsValues": null,
        }));
        let expected = b256!("6778a34f09f59fbccf0c0a16f66f305d656b9c18aaa9d6a2aa8743e687730a7f");
        assert_eq!(checksum(&recorded), expected);
    }

    #[test]
    fn the_name_may_change_and_nothing_else() {
        let original = file(&calls());
        assert_eq!(original["meta"]["checksum"], checksum(&original).to_string());
        let mut renamed = original.clone();
        renamed["meta"]["name"] = "other".into();
        assert_eq!(checksum(&renamed), checksum(&original));
        let mut redirected = original.clone();
        redirected["transactions"][0]["to"] = SAFE.to_string().into();
        assert_ne!(checksum(&redirected), checksum(&original));
    }

    #[test]
    fn additions_are_readable_and_other_calls_are_raw() {
        let [compose, _] = calls();
        let raw = Call { value: U256::from(5), data: vec![1, 2].into(), ..compose.clone() };
        let file = file(&[compose, raw]);
        assert_eq!(file["chainId"], "8453");
        let [readable, raw] = &file["transactions"].as_array().unwrap()[..] else {
            panic!("two transactions")
        };
        assert_eq!(readable["data"], Value::Null);
        assert_eq!(readable["contractMethod"]["name"], "addComposeHash");
        let value = format!("0x{}", "aa".repeat(32));
        assert_eq!(readable["contractInputsValues"]["composeHash"], value);
        assert_eq!((&raw["data"], &raw["value"]), (&json!("0x0102"), &json!("5")));
        assert_eq!(raw["contractMethod"], Value::Null);
    }
}
