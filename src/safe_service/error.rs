//! What a Transaction Service answers when it does not do as asked, and what to do then. Pure.

use std::{fmt, time::Duration};

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::read::Disbelief;
use crate::{
    request::ids::ChainId,
    wire::{WireAnswer, WireFault, headers, plain},
};

const MESSAGE_CHARS_MAX: usize = 500;
const BODY_CHARS_MAX: usize = 4_000;
/// An account's quota is by the month; there is no use in asking earlier again.
const QUOTA_REST: Duration = Duration::from_hours(1);

/// How a call to a Transaction Service can fail.
#[derive(Debug, thiserror::Error)]
pub enum SafeServiceError {
    #[error("{0}")]
    Refused(#[source] Box<Refusal>),
    #[error(
        "the Safe Transaction Service is of {}, not of chain {expected}: correct \
         chains.{expected}.safe_service",
        said(*.found)
    )]
    OtherChain { expected: ChainId, found: Option<u64> },
    #[error("{call}: the request never left")]
    NotSent { call: &'static str, source: WireFault },
    #[error("{call}: no whole answer came, so it may have been done")]
    NoAnswer { call: &'static str, source: WireFault },
    #[error("{call}: the answer could not be read ({reason})")]
    Malformed { call: &'static str, reason: String },
    #[error("{call}: left alone for {} s, since it keeps failing or was called too often", left.as_secs().max(1))]
    Rests { call: &'static str, left: Duration },
    #[error("{call}: the answer is not believed: {source}")]
    NotBelieved { call: &'static str, source: Disbelief },
    #[error(
        "a signature made with eth_sign is not posted: Safe's own web application refuses them. \
         Sign the EIP-712 document instead"
    )]
    EthSign,
}

fn said(chain: Option<u64>) -> String {
    chain.map_or_else(|| "no chain it names".into(), |id| format!("chain {id}"))
}

/// Who can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhatToDo {
    /// Nobody has to: the same call may go through later, not before this long when it says so.
    TryLater(Option<Duration>),
    /// The same call will be refused again until a person has done something.
    AskAPerson,
}

impl SafeServiceError {
    /// What is to be done about it.
    #[must_use]
    pub fn what_to_do(&self) -> WhatToDo {
        match self {
            Self::Refused(refusal) => refusal.what_to_do(),
            Self::Rests { left, .. } => WhatToDo::TryLater(Some(*left)),
            Self::NotSent { .. } | Self::NoAnswer { .. } | Self::Malformed { .. } => {
                WhatToDo::TryLater(None)
            }
            // It may be another instance next time.
            Self::NotBelieved { .. } => WhatToDo::TryLater(None),
            Self::OtherChain { .. } | Self::EthSign => WhatToDo::AskAPerson,
        }
    }
}

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub call: &'static str,
    pub status: u16,
    /// What the service says is wrong, in its own words.
    pub message: String,
    pub retry_after: Option<Duration>,
    /// The whole answer, as far as it is kept.
    pub body: String,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, status, message, .. } = self;
        write!(f, "{call}: the Safe Transaction Service answered {status}: {message}")?;
        self.advice().map_or(Ok(()), |advice| write!(f, ". {advice}"))
    }
}

impl Refusal {
    /// `secret` is cut out of everything kept.
    pub(super) fn read(call: &'static str, answer: &WireAnswer, secret: Option<&str>) -> Self {
        let mut body = String::from_utf8_lossy(&answer.body).into_owned();
        if let Some(secret) = secret.filter(|secret| !secret.is_empty()) {
            body = body.replace(secret, "[API key]");
        }
        let message = serde_json::from_str(&body).ok().and_then(|value: Value| complaint(&value));
        let message = message.unwrap_or_else(|| {
            let text = body.trim();
            if text.is_empty() { "nothing more" } else { text }.to_owned()
        });
        Self {
            call,
            status: answer.status,
            message: plain(&message, MESSAGE_CHARS_MAX),
            retry_after: patience(&answer.headers, answer.status),
            body: plain(&body, BODY_CHARS_MAX),
        }
    }

    fn what_to_do(&self) -> WhatToDo {
        match self.status {
            // 404: the service could not read the Safe, or does not know the transaction yet.
            404 | 408 | 425 | 429 | 500..=599 => WhatToDo::TryLater(self.retry_after),
            _ => WhatToDo::AskAPerson,
        }
    }

    /// What a person can do about it.
    fn advice(&self) -> Option<&'static str> {
        Some(match self.status {
            401 | 403 => "Check SAFE_API_KEY (a key is made at developer.safe.global)",
            429 => {
                "Too many calls for this API key, or for none: it is tried again later. A key \
                 (SAFE_API_KEY), a larger plan or a service of one's own allows more"
            }
            451 => "The service refuses this Safe for legal reasons: sign and execute without it",
            301 | 302 | 307 | 308 => {
                "The service redirects, which is not followed: set safe_service to the address it \
                 redirects to"
            }
            400 | 422 if self.message.contains("is not an owner or delegate") => {
                "Register the proposer key as a delegate: `countersign delegate add`"
            }
            400 | 422 if self.message.contains("is not valid") => {
                "A signature that was given here counts here and on the chain all the same; in Safe's \
                 own tools that owner is shown as missing"
            }
            500..=599 => "The service has trouble of its own: it is tried again",
            _ => return None,
        })
    }
}

/// The first complaint, wherever it stands: `{"detail": …}`, `{"message": …}`, `{"exception": …}`,
/// `{"nonFieldErrors": [… ]}`, `{"to": [… ]}` or `["…"]`.
fn complaint(value: &Value) -> Option<String> {
    let (name, inner) = match value {
        Value::String(text) => return Some(text.clone()),
        Value::Array(list) => return list.iter().find_map(complaint),
        Value::Object(fields) => {
            let known = ["detail", "message", "exception", "nonFieldErrors"];
            match known.iter().find_map(|name| fields.get(*name)) {
                Some(inner) => return complaint(inner),
                None => fields.iter().find(|(_, inner)| inner.is_array() || inner.is_string())?,
            }
        }
        _ => return None,
    };
    Some(format!("{name}: {}", complaint(inner)?))
}

/// How long the service wants to be left alone.
pub(super) fn patience(headers: &HeaderMap, status: u16) -> Option<Duration> {
    headers::retry_after_of(headers).or_else(|| {
        let reset = (status == 429).then(|| seconds(headers, "x-ratelimit-reset"))?;
        Some(reset.unwrap_or(Duration::from_secs(1)).min(QUOTA_REST))
    })
}

/// How long to wait although the call went through: it was the last one that was left.
pub(super) fn used_up(headers: &HeaderMap) -> Option<Duration> {
    let left = headers::text(headers, "x-ratelimit-remaining")?.trim().parse::<u64>().ok()?;
    (left == 0).then(|| seconds(headers, "x-ratelimit-reset"))?
}

fn seconds(headers: &HeaderMap, name: &str) -> Option<Duration> {
    headers::text(headers, name)?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    fn refusal(status: u16, body: &str, headers: &[(&'static str, &'static str)]) -> Refusal {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let answer = WireAnswer { status, headers: headers.collect(), body: body.into() };
        Refusal::read("propose", &answer, Some("eyJsecret"))
    }

    #[test]
    fn the_complaint_is_found_in_every_shape_the_service_has() {
        for (body, complaint) in [
            (
                json!({"nonFieldErrors": ["Signature=0x… is not valid"]}),
                "Signature=0x… is not valid",
            ),
            (json!({"to": ["Address 0x… is not checksumed"]}), "to: Address 0x… is not checksumed"),
            (
                json!({"code": 1, "message": "Checksum address validation failed", "arguments": ["0x"]}),
                "Checksum address validation failed",
            ),
            (json!({"detail": "Monthly quota exceeded."}), "Monthly quota exceeded."),
            (json!({"exception": "Problem connecting", "trace": "…"}), "Problem connecting"),
            (
                json!(["At least one query param must be provided"]),
                "At least one query param must be provided",
            ),
        ] {
            assert_eq!(refusal(422, &body.to_string(), &[]).message, complaint);
        }
        assert_eq!(refusal(404, "", &[]).message, "nothing more");
        assert_eq!(refusal(502, "<html>\n</html>", &[]).message, "<html> </html>");
    }

    #[test]
    fn who_can_mend_it_and_how() {
        use WhatToDo::{AskAPerson, TryLater};
        let day = &[("retry-after", "7"), ("x-ratelimit-reset", "40")];
        let reset = &[("x-ratelimit-reset", "40")];
        let seconds = |number| Some(Duration::from_secs(number));
        for (status, headers, what, says) in [
            (400, &[][..], AskAPerson, ""),
            (401, &[], AskAPerson, "SAFE_API_KEY"),
            (404, &[], TryLater(None), ""),
            (422, &[], AskAPerson, ""),
            (429, day, TryLater(seconds(7)), "Too many calls"),
            (429, reset, TryLater(seconds(40)), "Too many calls"),
            (429, &[], TryLater(seconds(1)), "Too many calls"),
            (451, &[], AskAPerson, "without it"),
            (301, &[], AskAPerson, "safe_service"),
            (503, &[], TryLater(None), "tried again"),
        ] {
            let refusal = refusal(status, "{}", headers);
            assert_eq!(refusal.what_to_do(), what, "{status} {headers:?}");
            assert!(refusal.to_string().contains(says), "{refusal}");
        }
        let sender = r#"{"nonFieldErrors":["Sender=0x… is not an owner or delegate. Current"]}"#;
        assert!(refusal(422, sender, &[]).to_string().contains("countersign delegate add"));
    }

    proptest! {
        #[test]
        fn nothing_makes_the_reader_of_refusals_panic(
            body in prop::collection::vec(any::<u8>(), 0..300),
            json in r#"[\[{"a-z:,0-9\]} ]{0,40}"#,
            status in any::<u16>(),
        ) {
            for body in [body, json.into_bytes()] {
                let answer = WireAnswer { status, headers: HeaderMap::new(), body };
                let refusal = Refusal::read("propose", &answer, Some("x"));
                prop_assert!(!refusal.to_string().chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn an_api_key_thrown_back_is_not_repeated() {
        let refusal = refusal(401, r#"{"detail":"Bearer eyJsecret is no key"}"#, &[]);
        assert!(!format!("{refusal:?}").contains("eyJsecret"));
        assert!(refusal.message.contains("[API key]"));
    }

    #[test]
    fn the_last_call_that_was_left_is_noticed() {
        let headers = |remaining: &'static str| {
            HeaderMap::from_iter([
                (
                    HeaderName::from_static("x-ratelimit-remaining"),
                    HeaderValue::from_static(remaining),
                ),
                (HeaderName::from_static("x-ratelimit-reset"), HeaderValue::from_static("3")),
            ])
        };
        assert_eq!(used_up(&headers("0")), Some(Duration::from_secs(3)));
        assert_eq!((used_up(&headers("1")), used_up(&HeaderMap::new())), (None, None));
    }
}
