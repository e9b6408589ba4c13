//! Reading a batch file: the calls that Safe's web application would make of it.
//!
//! Stricter than the application. It warns of a wrong checksum for five seconds and goes on, takes
//! missing arguments for empty ones, and lets raw data win over the function that it shows beside;
//! here each of these is an error, so that what is read can only mean what it says.

use alloy::{
    dyn_abi::{DynSolType, DynSolValue},
    primitives::{Address, B256, Bytes, U256, keccak256},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::checksum;
use crate::{
    owner::{Call, text::decimal},
    request::ids::ChainId,
    safe::multisend::MAX_CALLS,
};

/// What a batch file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub chain: ChainId,
    /// The Safe it was made for. Nothing binds the file to it.
    pub safe: Option<Address>,
    pub calls: Vec<Call>,
}

/// Why a text is not a batch file that means one thing only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchFileError {
    #[error("not the JSON of a batch file for Safe's Transaction Builder: {0}")]
    Form(String),
    #[error("version {0:?} of the format; expected \"1.0\"")]
    Version(String),
    #[error("the chain id {0:?} is not a chain's number as text")]
    Chain(String),
    #[error("the checksum is not that of the content: the file was changed after it was made")]
    Checksum,
    #[error("the Safe it names is not an address with its EIP-55 checksum")]
    Safe,
    #[error("there are no transactions in it, or more than {MAX_CALLS}")]
    Count,
    #[error("transaction {index}: {problem}")]
    Transaction { index: usize, problem: CallProblem },
}

/// What is wrong with one transaction of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallProblem {
    #[error("`to` is not an address with its EIP-55 checksum")]
    To,
    #[error("it goes to the zero address, which Safe 1.5.0 takes for the Safe itself")]
    ZeroTarget,
    #[error("`value` is not a whole number in decimal digits")]
    Value,
    #[error("`data` is not hexadecimal with 0x")]
    Data,
    #[error("`contractMethod` is not a function that can be called by its name")]
    Method,
    #[error("`contractInputsValues` does not hold exactly the function's arguments")]
    Arguments,
    #[error("an argument is not what its type wants, or of a type that is not read here")]
    Argument,
    #[error("`data` is not what the function beside it amounts to")]
    DataDiffers,
}

/// A file as it stands. What the application does not read is not looked at either, except within
/// a transaction.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    version: String,
    chain_id: String,
    meta: Meta,
    transactions: Vec<Transaction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    created_from_safe_address: String,
    checksum: B256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Transaction {
    to: String,
    value: String,
    data: Option<String>,
    contract_method: Option<Method>,
    contract_inputs_values: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Method {
    inputs: Vec<Input>,
    name: String,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Reads a batch file.
///
/// # Errors
/// [`BatchFileError`]
pub fn read(text: &str) -> Result<Batch, BatchFileError> {
    let form = |error: serde_json::Error| BatchFileError::Form(error.to_string());
    let value: Value = serde_json::from_str(text).map_err(form)?;
    let file = File::deserialize(&value).map_err(form)?;
    if file.version != "1.0" {
        return Err(BatchFileError::Version(file.version));
    }
    if checksum(&value) != file.meta.checksum {
        return Err(BatchFileError::Checksum);
    }
    let chain = file.chain_id.parse::<ChainId>().ok();
    let chain = chain.filter(|chain| chain.to_string() == file.chain_id);
    let chain = chain.ok_or(BatchFileError::Chain(file.chain_id))?;
    let safe = match file.meta.created_from_safe_address.as_str() {
        "" => None,
        text => Some(address(text).ok_or(BatchFileError::Safe)?),
    };
    if !(1..=MAX_CALLS).contains(&file.transactions.len()) {
        return Err(BatchFileError::Count);
    }
    let calls = file.transactions.iter().enumerate().map(|(index, transaction)| {
        transaction.call().map_err(|problem| BatchFileError::Transaction { index, problem })
    });
    Ok(Batch { chain, safe, calls: calls.collect::<Result<_, _>>()? })
}

fn address(text: &str) -> Option<Address> {
    Address::parse_checksummed(text, None).ok()
}

/// The number that this text is the usual spelling of.
fn number(text: &str) -> Option<U256> {
    decimal::parse(text).filter(|number| number.to_string() == text)
}

fn bytes(text: &str) -> Option<Bytes> {
    text.starts_with("0x").then(|| text.parse().ok())?
}

impl Transaction {
    fn call(&self) -> Result<Call, CallProblem> {
        let to = address(&self.to).ok_or(CallProblem::To)?;
        if to.is_zero() {
            return Err(CallProblem::ZeroTarget);
        }
        let value = number(&self.value).ok_or(CallProblem::Value)?;
        let data = self.data.as_deref().map(|text| bytes(text).ok_or(CallProblem::Data));
        let data = data.transpose()?.filter(|data| !data.is_empty());
        let none = Map::new();
        let values = self.contract_inputs_values.as_ref().unwrap_or(&none);
        let encoded = self.contract_method.as_ref().map(|method| method.calldata(values));
        let data = match (data, encoded.transpose()?) {
            (Some(data), Some(encoded)) if data != encoded => {
                return Err(CallProblem::DataDiffers);
            }
            (None, None) if !values.is_empty() => return Err(CallProblem::Arguments),
            (data, encoded) => data.or(encoded).unwrap_or_default(),
        };
        Ok(Call { to, value, data })
    }
}

impl Method {
    /// Selector and arguments, as the application encodes them.
    fn calldata(&self, values: &Map<String, Value>) -> Result<Bytes, CallProblem> {
        // Under these two names the application sends no data at all.
        if !is_identifier(&self.name) || ["fallback", "receive"].contains(&self.name.as_str()) {
            return Err(CallProblem::Method);
        }
        let mut arguments = Vec::new();
        for (index, input) in self.inputs.iter().enumerate() {
            let twice = self.inputs[..index].iter().any(|other| other.name == input.name);
            let text = values.get(&input.name).and_then(Value::as_str);
            let text = text.filter(|_| !twice).ok_or(CallProblem::Arguments)?;
            arguments.push(argument(&input.kind, text).ok_or(CallProblem::Argument)?);
        }
        if values.len() != self.inputs.len() {
            return Err(CallProblem::Arguments);
        }
        let kinds: Vec<&str> = self.inputs.iter().map(|input| input.kind.as_str()).collect();
        let signature = format!("{}({})", self.name, kinds.join(","));
        let selector = &keccak256(signature)[..4];
        let arguments = DynSolValue::Tuple(arguments).abi_encode_params();
        Ok([selector, &arguments].concat().into())
    }
}

fn is_identifier(name: &str) -> bool {
    let mut characters = name.chars();
    let starts = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || "_$".contains(c));
    starts && characters.all(|c| c.is_ascii_alphanumeric() || "_$".contains(c))
}

/// An argument of one of the types whose text means one thing in every tool: addresses, flags,
/// natural numbers and bytes. Arrays, tuples, texts and negative numbers are not read.
fn argument(kind: &str, text: &str) -> Option<DynSolValue> {
    let parsed: DynSolType = kind.parse().ok()?;
    // `uint` would be hashed into another selector than `uint256`.
    if parsed.sol_type_name() != kind {
        return None;
    }
    match parsed {
        DynSolType::Address => address(text).map(DynSolValue::Address),
        DynSolType::Bool => match text {
            "true" => Some(DynSolValue::Bool(true)),
            "false" => Some(DynSolValue::Bool(false)),
            _ => None,
        },
        DynSolType::Uint(bits) => {
            let number = number(text).filter(|number| number.bit_len() <= bits)?;
            Some(DynSolValue::Uint(number, bits))
        }
        DynSolType::FixedBytes(length) => {
            let bytes = bytes(text).filter(|bytes| bytes.len() == length)?;
            Some(DynSolValue::FixedBytes(B256::right_padding_from(&bytes), length))
        }
        DynSolType::Bytes => bytes(text).map(|bytes| DynSolValue::Bytes(bytes.to_vec())),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
