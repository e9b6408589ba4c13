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
        let found = compose.lint.iter().flatten().map(|finding| finding.severity).min();
        let runs_already = compose.running.as_ref().is_some_and(|runs| runs.is_same);
        checks.extend(document(found, runs_already));
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

/// What speaks against a document whose worst finding this is. What the source runs is what Phala Cloud
/// says, so it makes nothing less of a danger.
fn document(worst: Option<Severity>, runs_already: bool) -> Option<Check> {
    let (mark, words) = match worst? {
        Severity::Note => return None,
        Severity::Warning if runs_already => (
            Mark::Known,
            "something in the document is to be looked at; the source is said to run the same",
        ),
        Severity::Warning | Severity::Danger => {
            (Mark::Bad, "something in the document is to be looked at")
        }
    };
    Some(Check { mark, words, place: "compose" })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_of_what_runs_already_is_no_alarm_and_a_danger_always_is() {
        for (worst, runs_already, expected) in [
            (None, false, None),
            (Some(Severity::Note), false, None),
            (Some(Severity::Warning), false, Some(Mark::Bad)),
            (Some(Severity::Warning), true, Some(Mark::Known)),
            (Some(Severity::Danger), false, Some(Mark::Bad)),
            (Some(Severity::Danger), true, Some(Mark::Bad)),
        ] {
            let mark = document(worst, runs_already).map(|check| check.mark);
            assert_eq!(mark, expected, "{worst:?}, {runs_already}");
        }
    }
}
