//! Whether a request is what it says: what must be allowed for it to run, and what speaks for it or
//! against it.

use super::{ledger::any_device, review::Review};
use crate::{
    audit::{AllowedEntry, EntryKind, allowlist},
    compose::Severity,
    dstack::Write,
    request::Request,
    store::ledger::LedgerEntry,
    web::{compose_proof::ComposeView, device_meaning::DeviceMeaning},
};

/// An entry that must be allowed, and whether it is.
pub struct Wanted {
    pub name: &'static str,
    pub value: String,
    pub state: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Good,
    /// To be looked at, and nothing new.
    Known,
    Bad,
}

/// Something that speaks for a request being what it says, or against it.
pub struct Check {
    pub mark: Mark,
    pub words: &'static str,
    /// The part of the page that tells more.
    pub place: &'static str,
}

/// What speaks for it, or against it, in a word each.
pub fn checks(
    review: Option<&Review>,
    compose: Option<&ComposeView>,
    device: Option<&DeviceMeaning>,
) -> Vec<Check> {
    let check = |place, is_good, yes, no| {
        let (mark, words) = if is_good { (Mark::Good, yes) } else { (Mark::Bad, no) };
        Check { mark, words, place }
    };
    let mut checks = vec![];
    if let Some(review) = review {
        let known = review.calls.iter().all(|call| call.wanted || call.other.is_some());
        let words = ("every call is asked for here", "a call that nothing here asks for");
        checks.push(check("calls", known, words.0, words.1));
    }
    if let Some(compose) = compose {
        let words = ("the compose hash is proved", "the compose hash is not proved");
        checks.push(check("compose", compose.proof.is_proved(), words.0, words.1));
        let found = compose.lint.iter().flatten();
        if found.into_iter().any(|one| one.severity != Severity::Note) {
            let runs_already = compose.running.as_ref().is_some_and(|runs| runs.is_same);
            let (mark, words) = if runs_already {
                (
                    Mark::Known,
                    "something in the document is to be looked at; the source runs the same",
                )
            } else {
                (Mark::Bad, "something in the document is to be looked at")
            };
            checks.push(Check { mark, words, place: "compose" });
        }
    }
    if let Some(device) = device {
        let words = ("nothing odd about the device", "something odd about the device");
        checks.push(check("about", device.warnings.is_empty(), words.0, words.1));
    }
    let warnings = review.map_or(0, |review| review.proposal.warnings.len());
    if warnings > 0 {
        checks.push(check("warnings", false, "", "the transaction has warnings"));
    }
    checks
}

/// The two entries a request needs. What the proposal was built from is what the chain said then;
/// the ledger adds since when.
pub fn wanted(request: &Request, review: Option<&Review>, ledger: &[LedgerEntry]) -> Vec<Wanted> {
    let allowed = allowlist(ledger, None);
    let since = |kind, value| allowed.iter().find(|one| (one.kind, one.value) == (kind, value));
    let state = |write: Write, known: Option<&AllowedEntry>| {
        let asked = review.map(|review| review.makes(write));
        match (known, asked) {
            (Some(entry), _) => format!("allowed since block {}", entry.since.number),
            (None, Some(true)) => "not allowed before; this proposal allows it".into(),
            (None, Some(false)) => "not part of this proposal: nothing to sign for it".into(),
            (None, None) => "not seen as allowed so far".to_owned(),
        }
    };
    let (compose, device) = (request.compose, request.device);
    let compose_state =
        state(Write::AddComposeHash(compose), since(EntryKind::ComposeHash, compose.0));
    let device_state = if any_device(ledger, None) {
        "the app lets every device in, whatever its list says".into()
    } else {
        state(Write::AddDevice(device), since(EntryKind::Device, device.0))
    };
    vec![
        Wanted { name: "Compose hash", value: compose.to_string(), state: compose_state },
        Wanted { name: "Device", value: device.to_string(), state: device_state },
    ]
}
