//! What a page asks of a wallet: read strictly, shown as wallets show it, and done with a key of the
//! local chain.

use std::fmt::Display;

use alloy::{
    dyn_abi::TypedData,
    hex,
    primitives::{Address, Bytes, U256},
    rpc::types::TransactionRequest,
    signers::SignerSync,
};
use axum::http::StatusCode;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    devnet::{LocalRpcError, Rpc, Wallet},
    flow::chain_of,
};

/// What of the chain is read through a wallet.
const READS: [&str; 4] =
    ["eth_blockNumber", "eth_call", "eth_getBalance", "eth_getTransactionReceipt"];

const TYPES_MAX: usize = 20;

/// One call of a page, and the account of the wallet that it goes to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    pub address: Address,
    method: String,
    #[serde(default)]
    params: Vec<Value>,
}

/// Why a wallet does not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("a test wallet works for pages of its own devnet")]
    Elsewhere,
    #[error("no test wallet has this account")]
    Unknown,
    #[error("a test wallet does not know {0}")]
    Method(String),
    #[error("the parameters of {0} do not read")]
    Parameters(String),
    #[error("this is for another account than the wallet's")]
    Account,
    #[error("{}", chain_of(.0))]
    Chain(#[from] LocalRpcError),
}

impl Refused {
    /// As EIP-1193 and JSON-RPC number them.
    pub fn code(&self) -> i32 {
        match self {
            Self::Elsewhere | Self::Unknown | Self::Account => 4100,
            Self::Method(_) => 4200,
            Self::Parameters(_) => -32602,
            Self::Chain(_) => -32603,
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::Elsewhere => StatusCode::FORBIDDEN,
            Self::Chain(_) => StatusCode::OK,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

/// What is asked.
pub enum Asked {
    /// To sign a text (`personal_sign`).
    Text(Bytes),
    /// To sign a document (EIP-712).
    Document(Box<TypedData>),
    Transaction(Box<TransactionRequest>),
    Read(&'static str, Vec<Value>),
}

impl Asked {
    pub fn read(call: &Call) -> Result<Self, Refused> {
        let Call { address, method, params } = call;
        let own =
            |account: Address| if account == *address { Ok(()) } else { Err(Refused::Account) };
        match method.as_str() {
            "personal_sign" => {
                own(parameter(call, 1)?)?;
                Ok(Self::Text(parameter(call, 0)?))
            }
            "eth_signTypedData_v4" => {
                own(parameter(call, 0)?)?;
                let document = document(call)?;
                // What has no hash cannot be shown either.
                let hashed = document.eip712_signing_hash().and_then(|_| document.hash_struct());
                hashed.map_err(|_| Refused::Parameters(method.clone()))?;
                Ok(Self::Document(Box::new(document)))
            }
            "eth_sendTransaction" => {
                let transaction: TransactionRequest = parameter(call, 0)?;
                own(transaction.from.unwrap_or_default())?;
                Ok(Self::Transaction(Box::new(transaction)))
            }
            _ => match READS.into_iter().find(|read| read == method) {
                Some(read) => Ok(Self::Read(read, params.clone())),
                None => Err(Refused::Method(method.clone())),
            },
        }
    }

    /// What a wallet shows before it does this: a question, names with values, and the word to agree by.
    pub fn shown(&self) -> Value {
        let (question, agree, lines) = match self {
            Self::Text(text) => {
                let text = String::from_utf8_lossy(text).into_owned();
                ("Sign this message?", "Sign", vec![line("Message", text)])
            }
            Self::Document(document) if document.primary_type == "SafeTx" => {
                ("Sign this Safe transaction?", "Sign", lines_of(document))
            }
            Self::Document(document) => ("Sign this?", "Sign", lines_of(document)),
            Self::Transaction(transaction) => {
                ("Send this transaction?", "Send", lines_of_transaction(transaction))
            }
            Self::Read(..) => return Value::Null,
        };
        json!({ "question": question, "agree": agree, "lines": lines })
    }

    pub async fn done_by(self, wallet: &Wallet, rpc: &Rpc) -> Result<Value, Refused> {
        let signer = wallet.signer();
        let signature = match self {
            Self::Text(text) => signer.sign_message_sync(&text),
            Self::Document(document) => {
                let hash = document.eip712_signing_hash().expect("it was hashed before");
                signer.sign_hash_sync(&hash)
            }
            Self::Transaction(transaction) => {
                return Ok(rpc.raw("eth_sendTransaction", (transaction,)).await?);
            }
            Self::Read(method, params) => return Ok(rpc.raw(method, params).await?),
        };
        let signature = signature.expect("a local key signs anything");
        Ok(json!(hex::encode_prefixed(signature.as_bytes())))
    }
}

fn parameter<T: DeserializeOwned>(call: &Call, index: usize) -> Result<T, Refused> {
    let given = call.params.get(index).cloned().unwrap_or_default();
    serde_json::from_value(given).map_err(|_| Refused::Parameters(call.method.clone()))
}

/// A document to sign. Its types are followed one inside the other, however many there are.
fn document(call: &Call) -> Result<TypedData, Refused> {
    let mut given: Value = parameter(call, 1)?;
    if let Some(text) = given.as_str() {
        given = serde_json::from_str(text).unwrap_or_default();
    }
    let is_small = |types: &Value| types.as_object().is_some_and(|types| types.len() <= TYPES_MAX);
    if given.get("types").is_some_and(is_small) {
        parameter(call, 1)
    } else {
        Err(Refused::Parameters(call.method.clone()))
    }
}

fn line(name: impl Into<String>, value: impl Display) -> (String, String) {
    (name.into(), value.to_string())
}

/// The hashes first, which are compared with what stands elsewhere; then every field.
fn lines_of(document: &TypedData) -> Vec<(String, String)> {
    let TypedData { domain, primary_type, message, .. } = document;
    let hash = document.eip712_signing_hash().unwrap_or_default();
    let signed = if primary_type == "SafeTx" { "safeTxHash" } else { "Hash" };
    let mut lines = vec![
        line(signed, hash),
        line("Domain hash", domain.separator()),
        line("Message hash", document.hash_struct().unwrap_or_default()),
        line("What", primary_type),
    ];
    lines.extend(domain.chain_id.map(|id| line("Chain", id)));
    lines.extend(domain.verifying_contract.map(|address| line("Contract", address)));
    let fields = message.as_object().into_iter().flatten();
    lines.extend(fields.map(|(name, value)| {
        let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        line(name, plain)
    }));
    lines
}

fn lines_of_transaction(transaction: &TransactionRequest) -> Vec<(String, String)> {
    let to = transaction.to.and_then(|to| to.to().copied());
    let mut lines = vec![
        line("From", transaction.from.unwrap_or_default()),
        line("To", to.map_or_else(|| "a new contract".into(), |to| to.to_string())),
        line("Ether", format!("{} wei", transaction.value.unwrap_or(U256::ZERO))),
    ];
    lines.extend(transaction.gas.map(|gas| line("Gas limit", gas)));
    lines.extend(transaction.input.input().map(|data| line("Data", data)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    const OTHER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

    fn code(method: &str, params: &Value) -> Result<(), i32> {
        let call = json!({ "address": OWN, "method": method, "params": params });
        let call: Call = serde_json::from_value(call).unwrap();
        Asked::read(&call).map(drop).map_err(|refused| refused.code())
    }

    #[test]
    fn a_wallet_does_what_the_page_needs_and_nothing_else() {
        for (method, params, expected) in [
            ("personal_sign", json!(["0x6869", OWN]), Ok(())),
            ("personal_sign", json!(["0x6869", OTHER]), Err(4100)),
            ("personal_sign", json!(["hi", OWN]), Err(-32602)),
            ("personal_sign", json!([]), Err(-32602)),
            ("eth_signTypedData_v4", json!([OWN, "{}"]), Err(-32602)),
            ("eth_sendTransaction", json!([{ "from": OWN, "to": OTHER }]), Ok(())),
            ("eth_sendTransaction", json!([{ "from": OTHER, "to": OWN }]), Err(4100)),
            ("eth_sendTransaction", json!([{ "to": OWN }]), Err(4100)),
            ("eth_blockNumber", json!([]), Ok(())),
            ("eth_sign", json!([OWN, "0x"]), Err(4200)),
            ("eth_sendRawTransaction", json!(["0x"]), Err(4200)),
            ("anvil_setCode", json!([OTHER, "0x"]), Err(4200)),
            ("anvil_impersonateAccount", json!([OTHER]), Err(4200)),
            ("debug_traceTransaction", json!(["0x"]), Err(4200)),
        ] {
            assert_eq!(code(method, &params), expected, "{method} {params}");
        }
    }
}
