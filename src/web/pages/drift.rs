//! Where ledger and chain differ, as the page of an app shows it.

use std::time::Duration;

use crate::{
    audit::{self, AuditError, Compared, Drift, DriftKind},
    store::apps::AppHistory,
    web::WebState,
};

/// A page does not wait longer for the chain.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the comparison says.
pub struct Panel {
    pub words: String,
    pub is_alarming: bool,
    pub rows: Vec<Row>,
}

/// One difference.
pub struct Row {
    pub kind: &'static str,
    pub value: String,
    pub ledger: &'static str,
    pub chain: &'static str,
}

impl Panel {
    /// Compares now.
    pub async fn of(state: &WebState, history: &AppHistory) -> Self {
        let Ok(chain) = state.service.chains.get(history.chain) else {
            return Self::unknown("this chain is not configured any more");
        };
        let compared = audit::drift(&state.service.store, chain, history);
        match tokio::time::timeout(PATIENCE, compared).await {
            Ok(compared) => Self::new(compared),
            Err(_) => Self::unknown("the chain took too long to answer"),
        }
    }

    fn new(compared: Result<Compared, AuditError>) -> Self {
        let compared = match compared {
            Ok(compared) => compared,
            Err(error) => return Self::unknown(&error.to_string()),
        };
        let Some(at) = compared.at else {
            return Self::unknown("the chain has not been read yet");
        };
        let rest = match compared.unchecked {
            0 => String::new(),
            unchecked => format!(" {unchecked} older entries were not compared."),
        };
        let words = match compared.drift.len() {
            0 => format!("At block {} the contract says what the ledger says.{rest}", at.number),
            count => format!(
                "At block {} the contract and the ledger differ ({count}).{rest}",
                at.number
            ),
        };
        Self {
            words,
            is_alarming: !compared.drift.is_empty(),
            rows: compared.drift.iter().map(Row::new).collect(),
        }
    }

    /// What could not be compared does not agree.
    fn unknown(why: &str) -> Self {
        let words = format!("Ledger and contract could not be compared: {why}.");
        Self { words, is_alarming: true, rows: vec![] }
    }
}

impl Row {
    fn new(drift: &Drift) -> Self {
        use DriftKind as K;
        let is_value = drift.value.is_some();
        let says = |says: bool| match (is_value, says) {
            (true, true) => "has it",
            (true, false) => "does not have it",
            (false, true) => "yes",
            (false, false) => "no",
        };
        Self {
            kind: match drift.kind {
                K::ComposeHash => "compose hash",
                K::Device => "device",
                K::AllowAnyDevice => "any device is allowed",
                K::RequireTcbUpToDate => "the TCB must be up to date",
                K::UpgradesDisabled => "the code is frozen",
                K::Owner => "owner",
                K::PendingOwner => "offered to",
                K::Implementation => "runs the code of",
            },
            value: drift.value.clone().unwrap_or_default(),
            ledger: says(drift.in_ledger),
            chain: says(drift.on_chain),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;
    use crate::request::{facts::BlockRef, ids::BlockHash};

    #[test]
    fn only_what_was_compared_and_is_the_same_is_no_alarm() {
        let at = Some(BlockRef { number: 7, hash: BlockHash(B256::ZERO) });
        let kind = DriftKind::AllowAnyDevice;
        let flag = Drift { kind, value: None, in_ledger: false, on_chain: true };
        let compared = |at, drift, unchecked| Ok(Compared { at, drift, unchecked });
        for (compared, is_alarming, words) in [
            (compared(at, vec![], 0), false, "says what the ledger says"),
            (compared(at, vec![], 9), false, "9 older entries were not compared"),
            (compared(at, vec![flag], 0), true, "the ledger differ (1)"),
            (compared(None, vec![], 0), true, "has not been read yet"),
            (Err(AuditError::BeyondHead { at: 1, head: None }), true, "could not be compared"),
        ] {
            let panel = Panel::new(compared);
            assert_eq!(panel.is_alarming, is_alarming, "{}", panel.words);
            assert!(panel.words.contains(words), "{}", panel.words);
        }
    }
}
