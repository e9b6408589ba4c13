//! An answer of Phala Cloud that is not a success: the reading of the error envelope. Pure. What it
//! means is in [`super::catalogue`].
//!
//! May not decide: whether to try again, and when, is the flow's business.

use std::{fmt, time::Duration};

use serde_json::Value;

use super::catalogue::{BROKEN_STATUSES, Meaning, meaning};
use crate::{request::step::Pace, wire::plain};

/// Characters of a message kept. The rest is somebody's stack trace.
const MESSAGE_CHARS_MAX: usize = 500;
const CODE_CHARS_MAX: usize = 64;
/// Characters of an answer that are kept for a person to read.
const BODY_CHARS_MAX: usize = 4_000;
/// Shorter pauses than this are not taken from a server; ours grow.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// An answer that is not a success, with everything secret or endless taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub call: &'static str,
    pub status: u16,
    pub code: Option<String>,
    pub message: String,
    pub retry_after: Option<Duration>,
    pub request_id: Option<String>,
    /// The whole answer, as far as it is kept.
    pub body: String,
}

impl ApiError {
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        meaning(self.status, self.code.as_deref())
    }

    /// When to try again: when the server asks for it, but one that says "now" again and again is not
    /// asked in a circle; else as its class has it.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let asked = self.retry_after.filter(|pause| *pause >= RETRY_AFTER_MIN);
        asked.map_or(self.meaning().class.pace(), Pace::After)
    }

    /// The answer, what it means and what to do.
    #[must_use]
    pub fn explained(&self) -> String {
        let Meaning { text, advice, .. } = self.meaning();
        format!("{self}. {text} {advice}")
    }

    /// Whether the call may have taken effect although this came back: a server or a proxy that
    /// broke after the work was handed over answers like this.
    #[must_use]
    pub fn may_have_acted(&self) -> bool {
        BROKEN_STATUSES.contains(&self.status)
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
    pub body: String,
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
            body: tidy(&String::from_utf8_lossy(body), BODY_CHARS_MAX, secret),
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
pub(super) fn tidy(text: &str, chars_max: usize, secret: Option<&str>) -> String {
    let mut text = text.to_owned();
    for secret in secret.filter(|secret| !secret.is_empty()).into_iter().flat_map(spellings) {
        text = text.replace(&secret, "[commit token]");
    }
    plain(&text, chars_max)
}

/// A secret as servers give it back: as it is, in JSON with `/` escaped or not, and in a URL.
fn spellings(secret: &str) -> Vec<String> {
    let quoted = Value::from(secret).to_string();
    let json = quoted.trim_matches('"').to_owned();
    let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let lower = encoded
        .split_inclusive('%')
        .enumerate()
        .map(|(place, part)| match part.split_at_checked(2) {
            Some((code, rest)) if place > 0 => format!("{}{rest}", code.to_lowercase()),
            _ => part.to_owned(),
        })
        .collect();
    let mut all = vec![secret.to_owned(), json.replace('/', "\\/"), json, encoded, lower];
    all.dedup();
    all
}

#[cfg(test)]
#[path = "codes_tests.rs"]
mod tests;
