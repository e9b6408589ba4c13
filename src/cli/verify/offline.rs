//! `--offline`: what a Safe transaction says and hashes to, from nothing but its fields. Asks nobody.

use alloy::primitives::{Address, Bytes, U256};
use clap::Args;
use serde::Serialize;

use crate::{
    cli::{
        page::Page,
        print::{Answer, Ending},
        signing::{with_calls, with_fields, with_hashes, with_notes, with_warnings},
    },
    owner::{Call, text::decimal},
    request::ids::{AppId, ChainId},
    safe::{self, Decoded, Expected, Operation, SafeTx, SafeTxHashes, SafeVersion},
};

const UNCHECKED: &str = "not checked: whether this is the app that you mean; give it with --app";

/// `--offline` asks for those without a default.
#[derive(Debug, Args)]
#[group(requires = "offline")]
pub struct TxArgs {
    /// Chain of the Safe.
    #[arg(long, required = false, value_name = "ID")]
    chain_id: ChainId,
    /// The Safe.
    #[arg(long, required = false, value_name = "ADDRESS", value_parser = address)]
    safe: Address,
    /// Its version, as `VERSION()` says it.
    #[arg(long, required = false, value_name = "VERSION")]
    safe_version: SafeVersion,
    /// Target of the transaction.
    #[arg(long, required = false, value_name = "ADDRESS", value_parser = address)]
    to: Address,
    /// In wei [default: 0].
    #[arg(long, value_name = "NUMBER", value_parser = number)]
    value: Option<U256>,
    /// Calldata in hexadecimal [default: 0x].
    #[arg(long, value_name = "HEX")]
    data: Option<Bytes>,
    /// 0 (call) or 1 (delegate call) [default: 0].
    #[arg(long, value_name = "0|1", value_parser = operation)]
    operation: Option<Operation>,
    /// Nonce of the transaction.
    #[arg(long, required = false, value_name = "NUMBER", value_parser = number)]
    nonce: U256,
    /// [default: 0]
    #[arg(long, value_name = "NUMBER", value_parser = number)]
    safe_tx_gas: Option<U256>,
    /// [default: 0]
    #[arg(long, value_name = "NUMBER", value_parser = number)]
    base_gas: Option<U256>,
    /// [default: 0]
    #[arg(long, value_name = "NUMBER", value_parser = number)]
    gas_price: Option<U256>,
    /// [default: the zero address]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    gas_token: Option<Address>,
    /// [default: the zero address]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    refund_receiver: Option<Address>,
}

/// An address. One in mixed case carries a checksum, which must be right.
fn address(text: &str) -> Result<Address, &'static str> {
    let digits = text.strip_prefix("0x").ok_or("expected 0x and 40 hexadecimal digits")?;
    let address = text.parse().map_err(|_| "expected 0x and 40 hexadecimal digits")?;
    let mixed = digits.bytes().any(|c| c.is_ascii_lowercase())
        && digits.bytes().any(|c| c.is_ascii_uppercase());
    if mixed && Address::parse_checksummed(text, None).is_err() {
        return Err("the checksum in its upper and lower case is wrong: a digit may be mistyped");
    }
    Ok(address)
}

fn number(text: &str) -> Result<U256, &'static str> {
    let hexadecimal = text.strip_prefix("0x").filter(|digits| {
        (1..=64).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_hexdigit())
    });
    hexadecimal
        .map_or_else(|| decimal::parse(text), |digits| U256::from_str_radix(digits, 16).ok())
        .ok_or("expected a whole number below 2^256, in decimal digits or as 0x…")
}

fn operation(text: &str) -> Result<Operation, String> {
    let number: Result<u8, _> = text.parse();
    number
        .map_err(|_| safe::tx::UnknownOperation)
        .and_then(Operation::try_from)
        .map_err(|error| error.to_string())
}

/// What the fields amount to.
#[derive(Serialize)]
struct Verified {
    #[serde(flatten)]
    hashes: SafeTxHashes,
    #[serde(flatten)]
    decoded: Decoded,
    notes: Vec<&'static str>,
    /// What could not be checked.
    unchecked: Option<&'static str>,
}

impl TxArgs {
    fn tx(&self) -> SafeTx {
        let call = Call {
            to: self.to,
            value: self.value.unwrap_or_default(),
            data: self.data.clone().unwrap_or_default(),
        };
        SafeTx {
            safe_tx_gas: self.safe_tx_gas.unwrap_or_default(),
            base_gas: self.base_gas.unwrap_or_default(),
            gas_price: self.gas_price.unwrap_or_default(),
            gas_token: self.gas_token.unwrap_or_default(),
            refund_receiver: self.refund_receiver.unwrap_or_default(),
            ..SafeTx::new(call, self.operation.unwrap_or(Operation::Call), self.nonce)
        }
    }
}

/// Without an app, it is the first contract that something is added to, and whether that is the one that
/// is meant is left to the reader.
pub fn run(args: &TxArgs, app: Option<AppId>) -> Answer {
    let tx = args.tx();
    let hashes = safe::hashes(&tx, args.chain_id, args.safe, args.safe_version);
    let expected = Expected { safe: args.safe, app, additions: None };
    let decoded = safe::decode(&tx, &expected);
    let facts = vec![
        ("Chain", args.chain_id.label().into()),
        ("Safe", args.safe.to_string().into()),
        ("Version", args.safe_version.to_string().into()),
    ];
    let page = Page::default().title("Safe").facts(facts);
    let page = with_calls(page, &decoded.calls);
    let unchecked = app.is_none().then_some(UNCHECKED);
    let warnings = decoded.warnings.iter().map(|one| one.text.as_str());
    let warnings: Vec<&str> = warnings.chain(unchecked).collect();
    let page = with_notes(with_warnings(page, &warnings), args.safe_version);
    let page = with_hashes(with_fields(page, &tx), &hashes);
    let ending = Ending::attention_if(!warnings.is_empty());
    let notes = args.safe_version.notes();
    Answer::new(page, Verified { hashes, decoded, notes, unchecked }).ending(ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_address_is_noticed() {
        let good = "0x9641d764fc13c8B624c04430C7356C1C7C8102e2";
        assert!(address(good).is_ok() && address(&good.to_lowercase()).is_ok());
        assert!(address(&good.replace('B', "b")).is_err());
        assert!(address(good.trim_start_matches("0x")).is_err());
    }

    #[test]
    fn numbers_come_in_two_ways() {
        assert_eq!(number("16"), Ok(U256::from(16)));
        assert_eq!(number("0x10"), Ok(U256::from(16)));
        for text in ["", "0x", "-1", "1.0", "0xg", &format!("0x{}", "1".repeat(65))] {
            assert!(number(text).is_err(), "{text:?}");
        }
    }
}
