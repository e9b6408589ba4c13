//! What signers take elsewhere: links into Safe{Wallet}, a command line for another program that
//! computes the hashes, a text to compare or to sign, and a short text for a QR code.
//!
//! All of it follows from the transaction, its chain, its Safe and the Safe's version, so two people
//! who look at the same proposal hold the same bytes.

use std::fmt::Write as _;

use alloy::{
    hex,
    primitives::{Address, B256},
};
use serde::{Deserialize, Serialize};
use url::form_urlencoded::byte_serialize;

use super::{
    Expected, Operation, SafeTx, SafeTxHashes, SafeVersion,
    decode::{Contract, DecodedCall, decode},
    hashes, network,
};
use crate::request::ids::{ChainId, SafeTxHash};

const WALLET: &str = "https://app.safe.global";
const TRANSACTION_BUILDER: &str = "https://apps-portal.safe.global/tx-builder";

/// Pages of Safe{Wallet}.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WalletLinks {
    /// What waits for signatures.
    pub queue: String,
    /// This transaction. Safe{Wallet} finds it once Safe's service has been told of it.
    pub transaction: String,
    /// Where the batch file is imported.
    pub transaction_builder: String,
}

/// A proposal in the forms that other programs and other people take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Exports {
    /// Absent on a chain that Safe{Wallet} does not serve.
    pub links: Option<WalletLinks>,
    /// For safe-tx-hashes-util, which asks Safe's service for the transaction and computes its
    /// hashes. Absent on a chain that it does not know.
    pub hashes_command: Option<String>,
    /// The whole transaction in lines, to be compared or signed as a text.
    pub summary: String,
    /// What a QR code of the hashes holds, for a device without a network.
    pub qr_text: String,
}

impl Exports {
    #[must_use]
    pub fn of(tx: &SafeTx, chain: ChainId, safe: Address, version: SafeVersion) -> Self {
        let hashes = hashes(tx, chain, safe, version);
        let network = network::find(chain);
        Self {
            links: network.map(|one| links(one.short_name, safe, hashes.safe_tx_hash)),
            hashes_command: network.map(|one| {
                let (network, nonce) = (one.hashes_name, tx.nonce);
                format!("./safe_hashes.sh --network {network} --address {safe} --nonce {nonce}")
            }),
            summary: summary(tx, chain, safe, version, &hashes),
            qr_text: qr_text(tx, chain, safe, &hashes),
        }
    }
}

/// Paths and queries as Safe{Wallet} reads them: the Safe as an EIP-3770 address, checksummed.
fn links(short_name: &str, safe: Address, hash: SafeTxHash) -> WalletLinks {
    let safe_of = format!("safe={short_name}:{safe}");
    WalletLinks {
        queue: format!("{WALLET}/transactions/queue?{safe_of}"),
        transaction: format!("{WALLET}/transactions/tx?{safe_of}&id=multisig_{safe}_{hash}"),
        transaction_builder: builder_link(short_name, safe),
    }
}

/// Where a batch file is imported for a Safe.
pub(super) fn builder_link(short_name: &str, safe: Address) -> String {
    let builder: String = byte_serialize(TRANSACTION_BUILDER.as_bytes()).collect();
    format!("{WALLET}/apps/open?safe={short_name}:{safe}&appUrl={builder}")
}

/// A hash as a Ledger and safe-tx-hashes-util show it: digits in upper case.
#[must_use]
pub fn as_on_a_ledger(hash: B256) -> String {
    format!("0x{}", hex::encode_upper(hash))
}

/// The three hashes, each spelled as the programs spell it that show it.
fn hash_lines(hashes: &SafeTxHashes) -> String {
    format!(
        "Domain hash: {}\nMessage hash: {}\nsafeTxHash: {}\n",
        as_on_a_ledger(hashes.domain_hash),
        as_on_a_ledger(hashes.message_hash),
        hashes.safe_tx_hash
    )
}

fn qr_text(tx: &SafeTx, chain: ChainId, safe: Address, hashes: &SafeTxHashes) -> String {
    let lines = hash_lines(hashes);
    format!("Chain: {chain}\nSafe: {safe}\nNonce: {}\n{}", tx.nonce, lines.trim_end())
}

fn summary(
    tx: &SafeTx,
    chain: ChainId,
    safe: Address,
    version: SafeVersion,
    hashes: &SafeTxHashes,
) -> String {
    let decoded = decode(tx, &Expected { safe, app: None, additions: None });
    let operation = match tx.operation {
        Operation::Call => "0 (call)",
        Operation::DelegateCall => "1 (delegate call)",
    };
    let mut text = format!(
        "Safe transaction\n\nChain: {} ({chain})\nSafe: {safe}\nSafe version: {version}\n\
         Nonce: {}\n\nCalls: {}\n",
        chain.label(),
        tx.nonce,
        decoded.calls.len()
    );
    for (index, call) in decoded.calls.iter().enumerate() {
        text.push_str(&call_lines(index + 1, call));
    }
    let warnings = decoded.warnings.len();
    line(&mut text, format_args!("Warnings: {warnings}"));
    for warning in &decoded.warnings {
        line(&mut text, format_args!("! {}", warning.text));
    }
    text.push('\n');
    for (name, value) in [
        ("to", tx.to.to_string()),
        ("value", tx.value.to_string()),
        ("data", tx.data.to_string()),
        ("operation", operation.to_owned()),
        ("safeTxGas", tx.safe_tx_gas.to_string()),
        ("baseGas", tx.base_gas.to_string()),
        ("gasPrice", tx.gas_price.to_string()),
        ("gasToken", tx.gas_token.to_string()),
        ("refundReceiver", tx.refund_receiver.to_string()),
    ] {
        line(&mut text, format_args!("{name}: {value}"));
    }
    text + "\n" + &hash_lines(hashes)
}

fn call_lines(number: usize, call: &DecodedCall) -> String {
    let place = match call.contract {
        Some(Contract::App) => " (the app)",
        Some(Contract::MultiSendCallOnly) => " (MultiSendCallOnly)",
        Some(Contract::ThisSafe) => " (this Safe)",
        None => "",
    };
    let delegate = match call.operation {
        Operation::Call => "",
        Operation::DelegateCall => ", delegate call",
    };
    let (words, to, value) = (&call.words, call.to, call.value);
    format!("{number}. {words}\n   to {to}{place}, {value} wei{delegate}\n")
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes everything");
}

#[cfg(test)]
mod tests;
