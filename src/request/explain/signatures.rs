//! What signatures can still do: they do not go away with the request that they were asked for, and are
//! for a transaction, whichever request that was.

use alloy::primitives::Address;

use crate::request::{
    facts::Facts,
    ids::{SafeTxHash, TxHash},
};

/// What became of what was put to owners for a request that was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Executions {
    /// One by which it was allowed, of this proposal or of an earlier one.
    pub allowed_by: Option<TxHash>,
    /// One that failed inside, of the last proposal: its nonce is spent.
    pub failed_in: Option<TxHash>,
    /// What is signed and may still be executed.
    pub signed: Option<Signed>,
}

/// Signatures for Safe transactions that were not executed. They are good for as long as the Safe has not
/// used the nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    pub safe: Address,
    /// The highest of them.
    pub nonce: u64,
    /// One of them has all the signatures that it needs. A Safe counts its sender as one.
    pub is_by_all: bool,
}

/// What owners signed at the nonce of a transaction that waits for signatures, and not for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SignedBefore {
    /// Owners who signed the very transaction for another request, or an earlier proposal, and not yet here.
    pub same: u64,
    /// Another transaction, that of those with most owners.
    pub other: Option<Rival>,
}

/// A transaction that can be executed instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rival {
    pub hash: SafeTxHash,
    /// Owners who signed it.
    pub owners: u64,
    /// They are as many as it needs.
    pub is_by_all: bool,
}

/// Signatures do not go away with the request.
pub fn taken_back(facts: &Facts, seen: Executions) -> String {
    if facts.execution.is_some() {
        return "nothing: it has ended".into();
    }
    let allowed = seen.allowed_by.map(|tx| {
        format!(
            "what its owners signed was executed all the same, in {tx}, and allowed what it was for: the \
             page of the app has what is allowed now"
        )
    });
    let open = seen.signed.map(|Signed { nonce, is_by_all, .. }| {
        let who = if is_by_all {
            "whoever has the signatures can still execute the signed transaction"
        } else {
            "the signatures that its owners gave stay good: with those that are missing, of which an owner \
             who executes it needs to give none, they can still execute the transaction"
        };
        format!(
            "{who}, with all that it was for, until the Safe makes another one at nonce {nonce}: to rule \
             that out, its owners sign and execute something else there, such as the rejection that \
             Safe{{Wallet}} offers. The same request, made again, is the same transaction"
        )
    });
    let failed = seen.failed_in.map(|tx| {
        format!(
            "what its owners signed was executed all the same, in {tx}, failed inside, and cannot be \
             executed again"
        )
    });
    let told: Vec<String> = [allowed, open, failed].into_iter().flatten().collect();
    match told.as_slice() {
        [] => "nothing: it has ended".into(),
        told => format!("nothing by itself; but {}", told.join("; and ")),
    }
}

impl SignedBefore {
    /// That more counts on chain than is counted for the proposal that stands.
    pub fn words(self) -> String {
        let same = match self.same {
            0 => None,
            1 => Some("one more owner".to_owned()),
            more => Some(format!("{more} more owners")),
        };
        let same = same.map(|who| {
            format!(
                "; {who} signed this very transaction before, for what was taken back or proposed again, which \
                 counts on chain for whoever has it"
            )
        });
        let other = self.other.map(|Rival { hash, owners, is_by_all }| {
            let who = if owners == 1 { "an owner".to_owned() } else { format!("{owners} owners") };
            let when = if is_by_all { "now" } else { "as soon as all that are needed have signed" };
            format!(
                "; {who} signed another transaction at this nonce before, {hash}: whoever has the signatures \
                 can execute that one instead, {when}"
            )
        });
        [same, other].into_iter().flatten().collect()
    }
}
