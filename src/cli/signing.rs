//! How a transaction looks that owners are asked to sign: its calls in words, its ten fields, its
//! three hashes, and everything about it that is not expected.

use super::page::{Cell, Page, Tone};
use crate::owner::Call;
use crate::safe::{
    Exports, NestedOwner, SafeTx, SafeTxHashes, SafeVersion,
    decode::{Contract, DecodedCall},
    exports::as_on_a_ledger,
};

/// The warnings, loudly; or that there are none.
pub fn with_warnings(page: Page, warnings: &[&str]) -> Page {
    if warnings.is_empty() {
        return page.line(Cell::toned("no warnings about the calls", Tone::Good));
    }
    let line = |warning: &&str| Cell::toned(format!("! {warning}"), Tone::Bad);
    page.title(format!("WARNINGS ({})", warnings.len())).lines(warnings.iter().map(line).collect())
}

/// What is to be known of Safes of this version, calmly.
pub fn with_notes(page: Page, version: SafeVersion) -> Page {
    version.notes().into_iter().fold(page, |page, note| page.line(format!("note: {note}")))
}

/// The calls, one by one.
pub fn with_calls(page: Page, calls: &[DecodedCall]) -> Page {
    let page = page.title("Calls");
    if calls.is_empty() {
        return page.line(Cell::toned("none", Tone::Bad));
    }
    let lines = calls.iter().enumerate().flat_map(|(index, call)| {
        let place = match call.contract {
            Some(Contract::App) => " (the app)",
            Some(Contract::MultiSendCallOnly) => " (MultiSendCallOnly)",
            Some(Contract::ThisSafe) => " (this Safe)",
            None => "",
        };
        let value =
            if call.value.is_zero() { String::new() } else { format!(", {} wei", call.value) };
        [
            format!("{}. {}", index + 1, call.words).into(),
            format!("   to {}{place}{value}", call.to).into(),
        ]
    });
    page.lines(lines.collect())
}

/// The ten fields that are signed. The gas fields stand in one line as long as they are zero.
pub fn with_fields(page: Page, tx: &SafeTx) -> Page {
    let operation = match tx.operation.number() {
        0 => "0 (call)",
        _ => "1 (delegate call)",
    };
    let mut facts: Vec<(&'static str, Cell)> = vec![
        ("to", tx.to.to_string().into()),
        ("value", tx.value.to_string().into()),
        ("data", tx.data.to_string().into()),
        ("operation", operation.into()),
        ("nonce", tx.nonce.to_string().into()),
    ];
    if tx.gas_fields_are_zero() {
        facts.push(("gas and refund", "all five are zero".into()));
    } else {
        facts.extend([
            ("safeTxGas", tx.safe_tx_gas.to_string().into()),
            ("baseGas", tx.base_gas.to_string().into()),
            ("gasPrice", tx.gas_price.to_string().into()),
            ("gasToken", tx.gas_token.to_string().into()),
            ("refundReceiver", tx.refund_receiver.to_string().into()),
        ]);
    }
    page.title("Safe transaction").facts(facts)
}

/// The three hashes; a hardware wallet shows the first two.
pub fn with_hashes(page: Page, hashes: &SafeTxHashes) -> Page {
    page.title("Hashes, computed on this machine").facts(vec![
        ("Domain hash", hashes.domain_hash.to_string().into()),
        ("Message hash", hashes.message_hash.to_string().into()),
        ("safeTxHash", hashes.safe_tx_hash.to_string().into()),
    ])
}

/// Where to sign or check it with other programs; nothing on a chain that they do not know.
pub fn with_exports(page: Page, exports: &Exports) -> Page {
    let Some(links) = &exports.links else { return page };
    let mut facts: Vec<(&'static str, Cell)> = vec![
        ("Queue", links.queue.as_str().into()),
        ("Transaction", links.transaction.as_str().into()),
        ("Builder", links.transaction_builder.as_str().into()),
    ];
    facts.extend(exports.hashes_command.as_deref().map(|command| ("Hashes", command.into())));
    page.title("Elsewhere, once Safe's service knows the transaction").facts(facts)
}

/// What owners that are contracts are asked for, each in a few lines: what their own owners sign, as a
/// Ledger shows it, and what they send instead.
pub fn with_nested_owners(page: Page, owners: &[NestedOwner]) -> Page {
    owners.iter().fold(page, |page, one| {
        let mut facts: Vec<(&'static str, Cell)> = vec![];
        if let (Some(message), Some(threshold)) = (&one.safe_message, one.threshold) {
            let hash =
                format!("{} (SafeMessage, {threshold} must sign)", message.safe_message_hash);
            facts.extend([
                ("Sign", hash.into()),
                ("Domain hash", as_on_a_ledger(message.domain_hash).into()),
                ("Message hash", as_on_a_ledger(message.message_hash).into()),
            ]);
        }
        let Call { to, data, .. } = &one.approval;
        let approve = if facts.is_empty() { "Approve" } else { "or approve" };
        facts.push((approve, format!("call to {to}, data {data}").into()));
        facts.extend(one.approval_command.as_deref().map(|line| ("its hashes", line.into())));
        let notes = one.notes.iter().map(|note| format!("note: {note}").into()).collect();
        page.title(format!("Owner {}: {}", one.owner, one.words)).facts(facts).lines(notes)
    })
}
