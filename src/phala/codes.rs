//! What an answer of Phala Cloud that is not a success means, in plain words and as a class the
//! flow can act on. Pure: one table, and the reading of the error envelope.
//!
//! May not decide: whether to try again, and when, is the flow's business.

use std::{fmt, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::Value;

/// Characters of a message kept. The rest is somebody's stack trace.
const MESSAGE_CHARS_MAX: usize = 500;
const CODE_CHARS_MAX: usize = 64;
/// A server that asks for more patience than this is wrong or hostile.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// What to do about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Nothing is wrong with the call itself: try again in seconds.
    RetrySoon,
    /// Room or hardware is missing: try again in minutes.
    RetryLater,
    /// The chain does not allow it yet, as Phala Cloud sees it.
    WaitForChain,
    /// The commit token is unknown, expired, used or superseded: prepare again.
    TokenDead,
    /// The transaction named as evidence could not be verified.
    Verification,
    /// Can succeed once somebody has changed something.
    AskHuman,
    /// Cannot succeed as asked.
    GiveUp,
}

/// A row of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    pub class: Class,
    pub text: &'static str,
    pub advice: &'static str,
}

const fn row(class: Class, text: &'static str, advice: &'static str) -> Meaning {
    Meaning { class, text, advice }
}

const FIX_INPUT: &str = "Prepare again with corrected input.";
const OTHER_NODE: &str = "Prepare on another node; its device needs its own approval.";
const NO_ROOM: &str =
    "Wait for room, or prepare on another node, whose device needs its own approval.";
const ASK_ACCESS: &str = "Check the API key and the workspace it belongs to.";

/// The structured codes, in the order of the published catalogue.
const BY_CODE: &[(&str, Meaning)] = &[
    ("ERR-01-001", row(Class::GiveUp, "The node does not exist.", FIX_INPUT)),
    ("ERR-01-002", row(Class::GiveUp, "The compose file is missing.", FIX_INPUT)),
    ("ERR-01-003", row(Class::GiveUp, "The compose file is invalid.", FIX_INPUT)),
    ("ERR-01-004", row(Class::GiveUp, "The name is taken.", FIX_INPUT)),
    ("ERR-01-005", WAIT_FOR_CHAIN),
    ("ERR-01-006", TOKEN_DEAD),
    ("ERR-01-007", VERIFICATION),
    ("ERR-01-008", NOT_ALLOWED),
    ("ERR-02-001", row(Class::GiveUp, "The instance type is not valid.", FIX_INPUT)),
    ("ERR-02-002", row(Class::RetryLater, "The node has no room.", NO_ROOM)),
    ("ERR-02-003", row(Class::RetryLater, "The node has too few free vCPUs.", NO_ROOM)),
    ("ERR-02-004", row(Class::RetryLater, "The node has too little free memory.", NO_ROOM)),
    ("ERR-02-005", row(Class::RetryLater, "The node has no free slot.", NO_ROOM)),
    ("ERR-02-006", row(Class::RetryLater, "No GPU is free.", NO_ROOM)),
    ("ERR-02-007", row(Class::RetryLater, "The GPU asked for is not free.", NO_ROOM)),
    ("ERR-02-008", row(Class::GiveUp, "The request is not valid.", FIX_INPUT)),
    ("ERR-02-009", row(Class::GiveUp, "The combination asked for is not valid.", FIX_INPUT)),
    ("ERR-02-010", row(Class::GiveUp, "The OS image is not valid.", FIX_INPUT)),
    ("ERR-02-011", row(Class::GiveUp, "The node does not know this KMS.", OTHER_NODE)),
    ("ERR-02-012", row(Class::GiveUp, "The node is closed to this workspace.", OTHER_NODE)),
    ("ERR-02-013", row(Class::GiveUp, "The OS image is not available.", FIX_INPUT)),
    ("ERR-02-014", row(Class::GiveUp, "The node has no capacity configured.", OTHER_NODE)),
    (
        "ERR-02-015",
        row(
            Class::AskHuman,
            "The workspace's quota is used up.",
            "Raise the quota or free some of it.",
        ),
    ),
    ("ERR-02-016", row(Class::RetryLater, "The GPU is busy.", NO_ROOM)),
    ("ERR-03-001", row(Class::GiveUp, "The CVM does not exist, or not for this key.", ASK_ACCESS)),
    (
        "ERR-03-002",
        row(Class::GiveUp, "The name matches several CVMs.", "Name the CVM by its UUID."),
    ),
    ("ERR-03-003", row(Class::GiveUp, "The CVM does not exist, or not for this key.", ASK_ACCESS)),
    ("ERR-03-004", row(Class::GiveUp, "The CVM does not exist, or not for this key.", ASK_ACCESS)),
    ("ERR-03-005", row(Class::GiveUp, "The CVM does not exist, or not for this key.", ASK_ACCESS)),
    ("ERR-03-006", row(Class::GiveUp, "The node lacks the source's OS image.", OTHER_NODE)),
    (
        "ERR-03-007",
        row(Class::GiveUp, "The app id belongs to something else.", "Check which app was meant."),
    ),
    ("ERR-03-008", row(Class::GiveUp, "The source CVM cannot be reached by this key.", ASK_ACCESS)),
    (
        "ERR-03-009",
        row(
            Class::GiveUp,
            "Several instances run, so the compose hash must be named.",
            "Prepare again and name the compose hash.",
        ),
    ),
    ("ERR-03-010", row(Class::GiveUp, "The id matches several CVMs.", "Name the CVM by its UUID.")),
    ("ERR-04-001", row(Class::AskHuman, "The workspace's balance is too low.", "Add credit.")),
    (
        "ERR-04-002",
        row(
            Class::AskHuman,
            "The workspace has its full number of CVMs.",
            "Raise the limit or remove a CVM.",
        ),
    ),
    (
        "ERR-04-003",
        row(
            Class::AskHuman,
            "The workspace's resource limit is reached.",
            "Raise the limit or free some of it.",
        ),
    ),
    (
        "ERR-05-001",
        row(Class::AskHuman, "The workspace has too many API keys.", "Remove unused keys."),
    ),
    (
        "ERR-05-002",
        row(Class::AskHuman, "API keys are created too fast.", "Wait, then create the key."),
    ),
];

const WAIT_FOR_CHAIN: Meaning = row(
    Class::WaitForChain,
    "Phala Cloud does not see the compose hash or the device on chain yet.",
    "Wait until its view of the chain has caught up.",
);
const TOKEN_DEAD: Meaning = row(
    Class::TokenDead,
    "The commit token is unknown, expired, used or superseded, or belongs to another hash.",
    "Look whether the replica exists; when it does not, prepare again and compare the hashes.",
);
const VERIFICATION: Meaning = row(
    Class::Verification,
    "Phala Cloud could not verify the transaction named as evidence.",
    "Try again shortly; then rely on the registered state instead of the transaction.",
);
const NOT_ALLOWED: Meaning = row(
    Class::AskHuman,
    "The transaction is there, but the chain does not allow this compose hash.",
    "Check that the executed transaction called the right contract and did not revert inside.",
);
const BUSY: Meaning =
    row(Class::RetrySoon, "Another operation is in progress.", "Try again in a moment.");
const SLOW_DOWN: Meaning =
    row(Class::RetrySoon, "Too many calls.", "Try again when the server says so.");
const AWAY: Meaning =
    row(Class::RetrySoon, "Phala Cloud is not available.", "Try again when the server says so.");
const BROKEN: Meaning = row(
    Class::RetrySoon,
    "Phala Cloud failed inside; whether it acted is not known.",
    "Look at what exists before asking for it again.",
);
const NOT_ALLOWED_IN: Meaning = row(
    Class::AskHuman,
    "The API key is not accepted, or its workspace is suspended.",
    "Check the API key and the workspace it belongs to.",
);
const NOT_THERE: Meaning =
    row(Class::GiveUp, "Phala Cloud knows no such thing, or not for this key.", ASK_ACCESS);
const UNKNOWN: Meaning = row(
    Class::AskHuman,
    "Phala Cloud gave an answer that is not in its catalogue.",
    "Read its message and decide whether to try again.",
);

/// What an answer means. A known code says more than the status; of the statuses, those with one
/// meaning hold even beside an unknown code; all else is for a human.
#[must_use]
pub fn meaning(status: u16, code: Option<&str>) -> Meaning {
    if let Some((_, known)) = BY_CODE.iter().find(|(name, _)| Some(*name) == code) {
        return *known;
    }
    match (status, code) {
        (465, _) => WAIT_FOR_CHAIN,
        (466, _) => TOKEN_DEAD,
        (467, _) => VERIFICATION,
        (468, _) => NOT_ALLOWED,
        (429, _) => SLOW_DOWN,
        (503, _) => AWAY,
        (408 | 500 | 502 | 504 | 520..=527, _) => BROKEN,
        (425 | 409, None) => BUSY,
        (401 | 403, _) => NOT_ALLOWED_IN,
        (404, None) => NOT_THERE,
        _ => UNKNOWN,
    }
}

/// An answer that is not a success, with everything secret or endless taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub call: &'static str,
    pub status: u16,
    pub code: Option<String>,
    pub message: String,
    pub retry_after: Option<Duration>,
    pub request_id: Option<String>,
}

impl ApiError {
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        meaning(self.status, self.code.as_deref())
    }

    /// Whether the call may have taken effect although this came back: a server or a proxy that
    /// broke after the work was handed over answers like this.
    #[must_use]
    pub fn may_have_acted(&self) -> bool {
        matches!(self.status, 408 | 500 | 502 | 504 | 520..=527)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: Phala Cloud answered {}", self.call, self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(id) = &self.request_id {
            write!(f, " (their request {id})")?;
        }
        Ok(())
    }
}

impl std::error::Error for ApiError {}

/// The parts of the error envelope, wherever they stand: at the top, or once more under `detail`.
pub(super) struct Envelope {
    pub code: Option<String>,
    pub message: String,
    pub request_id: Option<String>,
}

impl Envelope {
    /// Reads a body of any shape; `secret` is cut out of everything kept.
    pub fn read(body: &[u8], secret: Option<&str>) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let inner = value.get("detail").filter(|detail| detail.get("error_code").is_some());
        let root = inner.unwrap_or(&value);
        let text = |name: &str| root.get(name).and_then(Value::as_str);
        let message = text("message")
            .or_else(|| text("detail"))
            .map(str::to_owned)
            .or_else(|| root.get("detail").and_then(first_validation_message));
        let message = message.as_deref().unwrap_or("no message");
        Self {
            code: text("error_code").map(|code| tidy(code, CODE_CHARS_MAX, secret)),
            message: tidy(message, MESSAGE_CHARS_MAX, secret),
            request_id: text("request_id").map(|id| tidy(id, CODE_CHARS_MAX, secret)),
        }
    }
}

/// The first complaint of a `422`. The offending input, which may stand beside it, is left out.
fn first_validation_message(detail: &Value) -> Option<String> {
    let first = detail.as_array()?.first()?;
    let message = first.get("msg")?.as_str()?;
    let place: Vec<String> = first
        .get("loc")
        .and_then(Value::as_array)
        .map(|loc| loc.iter().map(|part| part.to_string().replace('"', "")).collect())
        .unwrap_or_default();
    Some(format!("{}: {message}", place.join(".")))
}

/// Cuts the secret out first and the length after, so that no half of a secret survives the cut.
/// Control characters would let a message write its own log lines.
pub(super) fn tidy(text: &str, chars_max: usize, secret: Option<&str>) -> String {
    let text = match secret {
        Some(secret) if !secret.is_empty() => text.replace(secret, "[commit token]"),
        _ => text.to_owned(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(chars_max).collect()
}

/// Both forms of `Retry-After`: seconds, or a date, which counts from `now`.
#[must_use]
pub fn retry_after(header: &str, now: Option<DateTime<Utc>>) -> Option<Duration> {
    let header = header.trim();
    let wait = match header.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (http_date(header)? - now?).to_std().unwrap_or(Duration::ZERO),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The one date form HTTP still allows to be sent.
pub(super) fn http_date(header: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(header).ok().map(|date| date.with_timezone(&Utc))
}

#[cfg(test)]
#[path = "codes_tests.rs"]
mod tests;
