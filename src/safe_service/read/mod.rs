//! Reads answers of a Transaction Service, and believes nothing in them that it cannot recompute.
//! Pure.
//!
//! The hash is computed from the ten fields, for the chain, the Safe and the version that *we* know;
//! a signature counts for the owner it recovers to, if that is the owner it is said to be of. Whether a
//! contract signed, only the contract tells: its bytes are handed on, and prove nothing here. What
//! else an answer says (executed, deleted, trusted) is a hint. Fields that are not known are
//! ignored, and those that are not needed may be missing: the service has dropped fields before.

use alloy::primitives::{Address, B256, Bytes, U256};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    request::ids::{ChainId, SafeTxHash, TxHash},
    safe::{
        Operation, OwnerSignature, SafeTx, SafeVersion, hashes,
        packed::{self, Part},
    },
    wire::plain,
};

/// Confirmations that are read of one transaction. A Safe has not so many owners.
const CONFIRMATIONS_MAX: usize = 512;
/// Rows of a list that are read; the service gives 200 at most.
const ROWS_MAX: usize = 200;
const PROBLEM_CHARS_MAX: usize = 200;

/// Whose mailbox it is: what goes into the hash besides the ten fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub chain: ChainId,
    pub safe: Address,
    pub version: SafeVersion,
}

/// Why an answer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    #[error("{what} does not read ({problem})")]
    Unreadable { what: &'static str, problem: String },
    #[error("it is of the Safe {found}, not of {expected}")]
    OtherSafe { expected: Address, found: Address },
    #[error("it says its hash is {claimed}, but its fields hash to {computed}")]
    WrongHash { claimed: SafeTxHash, computed: SafeTxHash },
    #[error("it is the transaction {found}, not {asked}")]
    OtherTransaction { asked: SafeTxHash, found: SafeTxHash },
    #[error("it has {0} confirmations, more than a Safe has owners")]
    TooMany(usize),
}

fn unreadable(what: &'static str, problem: &impl ToString) -> Disbelief {
    Disbelief::Unreadable { what, problem: plain(&problem.to_string(), PROBLEM_CHARS_MAX) }
}

/// What the service says became of a transaction. The chain decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    pub tx: Option<TxHash>,
    /// The nonce is used up, and nothing was done, when this is false.
    pub success: Option<bool>,
}

/// A transaction in the mailbox; its fields hash to what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailTransaction {
    pub hash: SafeTxHash,
    pub tx: SafeTx,
    pub execution: Option<Execution>,
    /// Whether an owner or a delegate vouched for it. What nobody did is not shown to owners.
    pub trusted: Option<bool>,
    pub confirmations: Confirmations,
}

/// What owners are said to have given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confirmations {
    /// Each recovers to the owner it is said to be of. Whether that is an owner, the chain says.
    pub signed: Vec<(Address, OwnerSignature)>,
    /// Said to be of contracts that answer for these bytes. Whether they do, only they tell.
    pub of_contracts: Vec<(Address, Bytes)>,
    /// Said to have approved on chain. Whether they did, the chain says.
    pub approved: Vec<Address>,
    /// Refused, and why.
    pub refused: Vec<String>,
}

impl Confirmations {
    /// Everything that reads, of whatever kind.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let by_key = self.signed.iter().map(|(_, signature)| Part::Key(*signature));
        let of_contracts = self
            .of_contracts
            .iter()
            .map(|(owner, data)| Part::Contract { owner: *owner, data: data.clone() });
        let approved = self.approved.iter().copied().map(Part::ApprovedHash);
        by_key.chain(of_contracts).chain(approved).collect()
    }
}

/// A transaction that waits; its fields hash to its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    pub hash: SafeTxHash,
    pub nonce: u64,
    pub tx: SafeTx,
    /// Who signed it, recovered. Whether they are owners, the chain says.
    pub signers: Vec<Address>,
}

/// What waits at a Safe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    pub transactions: Vec<Queued>,
    /// Rows that are not believed, and why.
    pub refused: Vec<Disbelief>,
    /// Whether the service has more than it gave.
    pub more: bool,
}

/// A key that may propose for an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegate {
    /// None: for every Safe of the owner.
    pub safe: Option<Address>,
    pub delegate: Address,
    pub delegator: Address,
    pub label: String,
}

/// The ten fields, as both versions of the API spell them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    safe: Address,
    to: Address,
    #[serde(with = "crate::owner::text::decimal")]
    value: U256,
    #[serde(default)]
    data: Option<Bytes>,
    operation: Operation,
    #[serde(with = "crate::owner::text::decimal")]
    safe_tx_gas: U256,
    #[serde(with = "crate::owner::text::decimal")]
    base_gas: U256,
    #[serde(with = "crate::owner::text::decimal")]
    gas_price: U256,
    #[serde(default)]
    gas_token: Option<Address>,
    #[serde(default)]
    refund_receiver: Option<Address>,
    #[serde(with = "crate::owner::text::decimal")]
    nonce: U256,
    safe_tx_hash: B256,
}

/// The transaction of a row, and its hash, computed.
fn content(row: &Value, account: &Account) -> Result<(SafeTx, SafeTxHash), Disbelief> {
    let fields = Fields::deserialize(row).map_err(|error| unreadable("a transaction", &error))?;
    if fields.safe != account.safe {
        return Err(Disbelief::OtherSafe { expected: account.safe, found: fields.safe });
    }
    let tx = SafeTx {
        to: fields.to,
        value: fields.value,
        data: fields.data.unwrap_or_default(),
        operation: fields.operation,
        safe_tx_gas: fields.safe_tx_gas,
        base_gas: fields.base_gas,
        gas_price: fields.gas_price,
        gas_token: fields.gas_token.unwrap_or_default(),
        refund_receiver: fields.refund_receiver.unwrap_or_default(),
        nonce: fields.nonce,
    };
    let computed = hashes(&tx, account.chain, account.safe, account.version).safe_tx_hash;
    let claimed = SafeTxHash(fields.safe_tx_hash);
    if claimed == computed {
        Ok((tx, computed))
    } else {
        Err(Disbelief::WrongHash { claimed, computed })
    }
}

/// Reads the answer to "what is this transaction?".
///
/// # Errors
/// [`Disbelief`], when it is not the transaction that was asked for.
pub fn transaction(
    answer: &Value,
    account: &Account,
    asked: SafeTxHash,
) -> Result<MailTransaction, Disbelief> {
    let (tx, hash) = content(answer, account)?;
    if hash != asked {
        return Err(Disbelief::OtherTransaction { asked, found: hash });
    }
    let none = Vec::new();
    let rows = answer.get("confirmations").and_then(Value::as_array).unwrap_or(&none);
    Ok(MailTransaction {
        hash,
        tx,
        execution: execution(answer),
        trusted: answer.get("trusted").and_then(Value::as_bool),
        confirmations: confirmations(rows, hash)?,
    })
}

fn execution(answer: &Value) -> Option<Execution> {
    let is_executed = answer.get("isExecuted").and_then(Value::as_bool).unwrap_or(false);
    let hash = answer.get("transactionHash").and_then(Value::as_str);
    is_executed.then(|| Execution {
        tx: hash.and_then(|hash| hash.parse().ok()),
        success: answer.get("isSuccessful").and_then(Value::as_bool),
    })
}

/// Reads the answer to "who signed this transaction?".
///
/// # Errors
/// [`Disbelief`], when it is no list of confirmations.
pub fn signatures(answer: &Value, hash: SafeTxHash) -> Result<Confirmations, Disbelief> {
    confirmations(rows("the list of confirmations", answer)?, hash)
}

fn confirmations(rows: &[Value], hash: SafeTxHash) -> Result<Confirmations, Disbelief> {
    if rows.len() > CONFIRMATIONS_MAX {
        return Err(Disbelief::TooMany(rows.len()));
    }
    let mut read = Confirmations::default();
    for row in rows {
        match confirmation(row, hash) {
            Ok((owner, Part::Key(signature))) => read.signed.push((owner, signature)),
            Ok((owner, Part::Contract { data, .. })) => read.of_contracts.push((owner, data)),
            Ok((owner, Part::ApprovedHash(_))) => read.approved.push(owner),
            Err(problem) => read.refused.push(problem),
        }
    }
    // One owner twice would be stored once; the first is as good as the second.
    read.signed.sort_by_key(|(owner, _)| *owner);
    read.signed.dedup_by_key(|(owner, _)| *owner);
    read.of_contracts.sort_by_key(|(owner, _)| *owner);
    read.of_contracts.dedup_by_key(|(owner, _)| *owner);
    Ok(read)
}

/// Who is said to have signed, and what. A signature by a key is by that owner; the other kinds name
/// it, which proves nothing yet.
fn confirmation(row: &Value, hash: SafeTxHash) -> Result<(Address, Part), String> {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let owner: Address =
        text("owner").and_then(|owner| owner.parse().ok()).ok_or("a confirmation says no owner")?;
    let given = text("signature").ok_or_else(|| format!("no signature of {owner} is given"))?;
    let mut parts = packed::parse(given)
        .map_err(|problem| format!("the signature of {owner} does not read: {problem}"))?;
    let (Some(part), true) = (parts.pop(), parts.is_empty()) else {
        return Err(format!("what is said to be the signature of {owner} is several"));
    };
    let signer = match &part {
        Part::Key(signature) => signature
            .recover(hash)
            .map_err(|problem| format!("the signature of {owner}: {problem}"))?,
        Part::ApprovedHash(signer) | Part::Contract { owner: signer, .. } => *signer,
    };
    if signer == owner {
        return Ok((owner, part));
    }
    Err(format!(
        "what is said to be the signature of {owner} is one of {signer}, or is over something else"
    ))
}

/// Reads the answer to "what waits at this Safe, from nonce `from` on?".
///
/// # Errors
/// [`Disbelief`], when it is no list. A row that is not believed is told of, and does not hide the
/// others.
pub fn queue(answer: &Value, account: &Account, from: u64) -> Result<Queue, Disbelief> {
    let all = rows("the queue", answer)?;
    let more = answer.get("next").is_some_and(|next| !next.is_null());
    let mut read = Queue { more: more || all.len() > ROWS_MAX, ..Queue::default() };
    for row in all.iter().take(ROWS_MAX) {
        match content(row, account) {
            Ok((tx, hash)) => match u64::try_from(tx.nonce) {
                Ok(nonce) if nonce >= from && execution(row).is_none() => {
                    let signers = signers(row, hash);
                    read.transactions.push(Queued { hash, nonce, tx, signers });
                }
                // Not what was asked for: it is past, or so far ahead that it never comes.
                _ => {}
            },
            Err(disbelief) => read.refused.push(disbelief),
        }
    }
    read.transactions.sort_by_key(|queued| (queued.nonce, queued.hash.0));
    read.transactions.dedup_by_key(|queued| queued.hash);
    Ok(read)
}

/// Who signed what a row shows; nobody, when that does not read.
fn signers(row: &Value, hash: SafeTxHash) -> Vec<Address> {
    let rows = row.get("confirmations").and_then(Value::as_array);
    let read = rows.and_then(|rows| confirmations(rows, hash).ok()).unwrap_or_default();
    read.signed.into_iter().map(|(owner, _)| owner).collect()
}

/// Reads the answer to "what has this nonce?": every transaction that is or was proposed with it, of
/// which at most one can be executed. `asked` is the one that matters.
///
/// # Errors
/// [`Disbelief`], when it is no list, or when what it says of `asked` is not believed. Other rows
/// that are not believed are left out.
pub fn at_nonce(
    answer: &Value,
    account: &Account,
    nonce: u64,
    asked: SafeTxHash,
) -> Result<Vec<MailTransaction>, Disbelief> {
    let mut read = vec![];
    for row in rows("the transactions of a nonce", answer)?.iter().take(ROWS_MAX) {
        let claimed = row.get("safeTxHash").and_then(Value::as_str);
        let is_asked = claimed.and_then(|hash| hash.parse().ok()) == Some(asked);
        let hash = content(row, account).map(|(_, hash)| hash);
        match hash.and_then(|hash| transaction(row, account, hash)) {
            Ok(mail) if mail.tx.nonce == U256::from(nonce) => read.push(mail),
            Ok(_) => {}
            Err(disbelief) if is_asked => return Err(disbelief),
            Err(_) => {}
        }
    }
    Ok(read)
}

/// The first nonce after everything that waits, as Safe's own tools choose it.
#[must_use]
pub fn next_nonce(queue: &Queue, on_chain: u64) -> u64 {
    let last = queue.transactions.iter().map(|queued| queued.nonce).max();
    last.map_or(on_chain, |last| last.saturating_add(1).max(on_chain))
}

/// Reads the answer to "who may propose for this Safe?". Rows that do not read are left out.
///
/// # Errors
/// [`Disbelief`], when it is no list.
pub fn delegates(answer: &Value) -> Result<Vec<Delegate>, Disbelief> {
    let read = |row: &Value| {
        let address = |name: &str| row.get(name)?.as_str()?.parse().ok();
        let label = row.get("label").and_then(Value::as_str).unwrap_or_default();
        Some(Delegate {
            safe: address("safe"),
            delegate: address("delegate")?,
            delegator: address("delegator")?,
            label: plain(label, PROBLEM_CHARS_MAX),
        })
    };
    Ok(rows("the list of delegates", answer)?.iter().take(ROWS_MAX).filter_map(read).collect())
}

fn rows<'a>(what: &'static str, answer: &'a Value) -> Result<&'a [Value], Disbelief> {
    let rows = answer.get("results").and_then(Value::as_array).map(Vec::as_slice);
    rows.ok_or_else(|| unreadable(what, &"there are no results"))
}

#[cfg(test)]
mod tests;
