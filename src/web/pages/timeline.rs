//! Journal entries in words: what happened, and who did it.

use super::parts::When;
use crate::{
    request::{event::Event, ids::RequestId},
    store::journal::Entry,
};

/// One entry as a page shows it.
pub struct Line {
    pub seq: u64,
    /// None when somebody wrote a time there that is none.
    pub at: Option<When>,
    pub request: Option<uuid::Uuid>,
    pub words: String,
    pub actor: String,
    /// Whether a person should not miss it.
    pub alarming: bool,
}

impl From<Entry> for Line {
    fn from(entry: Entry) -> Self {
        let event = serde_json::from_value::<Event>(entry.body).ok();
        Self {
            seq: entry.seq,
            at: entry.at.map(When),
            request: entry.request,
            // An entry of another version still says its name.
            words: event.as_ref().map_or_else(|| entry.kind.replace('_', " "), words),
            actor: actor(&entry.actor),
            alarming: matches!(
                event,
                Some(
                    Event::AttentionNeeded { .. }
                        | Event::CommitRefused { asks: true, .. }
                        | Event::Failed { .. }
                        | Event::Expired { .. }
                        | Event::Retracted { .. }
                )
            ),
        }
    }
}

/// Who did it, in words.
pub fn actor(name: &str) -> String {
    match name.split_once(':') {
        Some(("service", room)) => format!("Countersign ({room})"),
        Some(("token", name)) => format!("API token {name}"),
        Some(("owner", address)) => format!("owner {address}"),
        Some(("wallet", address)) => format!("wallet {address}"),
        _ => name.to_owned(),
    }
}

fn words(event: &Event) -> String {
    use Event as E;
    match event {
        E::Opened { expires_at, .. } => {
            format!("Opened; its commit token works until {}", minute(*expires_at))
        }
        E::Renewed { expires_at, .. } => {
            format!(
                "A new commit token took the old one's place; it works until {}",
                minute(*expires_at)
            )
        }
        E::TokenSuperseded { by } => format!(
            "Request {by}, a newer prepare for the same source and node, voided the commit token"
        ),
        E::Arranged { with, nonce, reason } => arranged(with, *nonce, reason),
        E::DocumentAttached { compose_hash, form } => {
            format!("Somebody handed in the document of compose hash {compose_hash} ({form})")
        }
        E::Proposed { route, nonce, safe_tx_hash, calls, .. } => {
            let hash = safe_tx_hash.map(|hash| format!(", safeTxHash {hash}")).unwrap_or_default();
            let nonce = nonce.map(|nonce| format!(", nonce {nonce}")).unwrap_or_default();
            format!("Put to the owner (route {route}{nonce}{hash}): {}", calls.join("; "))
        }
        E::ProposalReplaced { reason, .. } => format!("The proposal was given up: {reason}"),
        E::Confirmed { confirmations, threshold, .. } => {
            format!("Signed: {confirmations} of {threshold} signatures")
        }
        E::Executed { block, tx } => {
            let tx = tx.map(|tx| format!(", by transaction {tx}")).unwrap_or_default();
            format!("The chain allows compose hash and device as of block {}{tx}", block.number)
        }
        E::Retracted { reason } => format!("What the chain showed is gone: {reason}"),
        E::Registered { block, depth } => format!(
            "Registered: both entries read true at block {}, deep enough by the policy ({depth})",
            block.number
        ),
        E::CommitStarted { evidence, .. } => format!("Commit started, with {evidence}"),
        E::CommitRefused { code, reason, asks: true, .. } => {
            format!("The commit was refused ({code}), and a person must look: {reason}")
        }
        E::CommitRefused { code, reason, .. } => {
            format!("The commit had no effect ({code}): {reason}")
        }
        E::Settled { replica: Some(replica), reason, .. } => {
            format!("Settled by a person: the CVM is {replica}: {reason}")
        }
        E::Settled { replica: None, reason, .. } => {
            format!("Settled by a person: the commit had no effect: {reason}")
        }
        E::Retried { reason } => format!("To be tried now: {reason}"),
        E::Commented { text } => format!("Comment: {text}"),
        E::Committed { replica, how, .. } => {
            format!("Committed: the CVM is {replica} (known from {how})")
        }
        E::CommittedElsewhere { replica, how, .. } => {
            format!("Committed by somebody else: the CVM is {replica} (known from {how})")
        }
        E::Running { device_shown: true } => {
            "Running, with the approved compose hash on the approved device".into()
        }
        E::Running { device_shown: false } => {
            "Running, with the approved compose hash; Phala Cloud did not say on which device"
                .into()
        }
        E::AttentionNeeded { reason, .. } => format!("A person must look: {reason}"),
        E::Rejected { reason } => format!("Refused in review: {reason}"),
        E::Withdrawn { reason } => format!("Taken back: {reason}"),
        E::Expired { reason } => format!("Expired: {reason}"),
        E::Failed { code: Some(code), reason } => format!("Failed ({code}): {reason}"),
        E::Failed { code: None, reason } => format!("Failed: {reason}"),
    }
}

fn arranged(with: &[RequestId], nonce: Option<u64>, reason: &str) -> String {
    let with: Vec<String> = with.iter().map(ToString::to_string).collect();
    let together = match with.as_slice() {
        [] => "alone".to_owned(),
        _ => format!("together with {}", with.join(", ")),
    };
    let nonce = nonce.map(|nonce| format!(", at nonce {nonce}")).unwrap_or_default();
    format!("To be proposed {together}{nonce}: {reason}")
}

fn minute(time: crate::clock::Time) -> impl std::fmt::Display {
    time.format("%Y-%m-%d %H:%M")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(kind: &str, body: serde_json::Value) -> Line {
        Line::from(Entry {
            seq: 1,
            at: "2026-11-03T14:05:09Z".parse().ok(),
            request: None,
            actor: "service:watch".into(),
            kind: kind.into(),
            body,
            hash: String::new(),
        })
    }

    #[test]
    fn entries_read_as_sentences() {
        let signed = json!({
            "event": "confirmed", "owner": "0x01", "confirmations": 1, "threshold": 2
        });
        assert_eq!(line("confirmed", signed).words, "Signed: 1 of 2 signatures");
        let failed = line("failed", json!({"event": "failed", "code": "ERR-1", "reason": "gone"}));
        assert_eq!((failed.words.as_str(), failed.alarming), ("Failed (ERR-1): gone", true));
        let opened = json!({
            "event": "opened", "preparation": "00000000-0000-0000-0000-000000000000",
            "expires_at": "2026-11-17T14:05:09Z"
        });
        let words = "Opened; its commit token works until 2026-11-17 14:05";
        assert_eq!(line("opened", opened).words, words);
    }

    #[test]
    fn an_entry_of_another_version_still_says_its_name() {
        let unknown = line("moon_landed", json!({"event": "moon_landed"}));
        assert_eq!((unknown.words.as_str(), unknown.alarming), ("moon landed", false));
    }

    #[test]
    fn actors_have_names() {
        assert_eq!(actor("service:watch"), "Countersign (watch)");
        assert_eq!(actor("token:ci:nightly"), "API token ci:nightly");
        assert_eq!(actor("owner:0x5A"), "owner 0x5A");
        assert_eq!(actor("wallet:0x5A"), "wallet 0x5A");
        assert_eq!(actor("somebody"), "somebody");
    }
}
