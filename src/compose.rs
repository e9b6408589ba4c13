//! The app-compose document: its hash in every form that is known to be used, what differs between
//! two of them, and what a reviewer should look at.
//!
//! A compose hash is SHA-256 over the bytes of `app-compose.json` as an instance boots with them
//! (dstack guest). Who holds those bytes hashes them as they are. Who holds only the document must
//! write it again, and its serialisation changed over time: compact in early 2025, pretty (four
//! spaces, no blank after the colon) since September 2025, both with sorted keys; both were checked
//! against published attestations. So all forms are tried, and the one that matches is named.
//!
//! A document that could be written in two ways, that a JavaScript reader would change, or that says
//! two things about what runs, is refused rather than guessed.

mod coherent;
mod derive;
mod diff;
mod forms;
mod lint;
mod places;
mod strict;
mod visible;
mod yaml;

use serde_json::Value;

pub use diff::{Change, ChangeKind, Diff, TextDiff};
pub use forms::{ComposeForms, Form, Rewritten};
pub use lint::{Finding, Severity, lint};
pub use visible::visible;

use crate::request::ids::ComposeHash;

/// Largest document, in bytes: twice the 200 KiB that Phala Cloud takes, since escaping may
/// lengthen it.
pub const MAX_BYTES: usize = 2 * MAX_SCRIPT_BYTES;
/// Phala Cloud's limit for the compose file and the pre-launch script together, as they are written.
pub const MAX_SCRIPT_BYTES: usize = 200 * 1024;
/// Deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 64;
/// Values in a document: with indentation, each may stand on a long line of its own.
pub const MAX_VALUES: usize = 10_000;

/// Why a document has no hash that everybody would agree on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    #[error("{0} bytes; a compose document has at most {MAX_BYTES}")]
    TooLarge(usize),
    #[error(
        "compose file and scripts have {0} bytes together; Phala Cloud takes at most {MAX_SCRIPT_BYTES}"
    )]
    ScriptsTooLarge(usize),
    #[error("not UTF-8 text, from byte {0} on")]
    NotUtf8(usize),
    #[error("not a JSON document: line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error("not a JSON object")]
    NotObject,
    #[error("{refusal}: line {line}, column {column}")]
    Refused { refusal: Refusal, line: usize, column: usize },
    #[error("it contradicts itself: {0}")]
    Contradiction(Contradiction),
}

/// What makes a JSON document ambiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a key that is there twice")]
    DuplicateKey,
    #[error("the key __proto__, which JavaScript loses")]
    Prototype,
    #[error("a number that is not written as a whole number")]
    Fraction,
    #[error("a whole number beyond 2^53")]
    Integer,
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("more than {MAX_VALUES} values")]
    TooMany,
}

pub use coherent::Contradiction;

/// A compose document that everybody reads alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Compose {
    raw: String,
    document: Value,
}

impl Compose {
    /// Reads `app-compose.json`.
    ///
    /// # Errors
    /// [`ComposeError`]. No message quotes the document, which may hold secrets.
    pub fn parse(bytes: &[u8]) -> Result<Self, ComposeError> {
        if bytes.len() > MAX_BYTES {
            return Err(ComposeError::TooLarge(bytes.len()));
        }
        let raw = std::str::from_utf8(bytes)
            .map_err(|error| ComposeError::NotUtf8(error.valid_up_to()))?;
        let document = strict::read(raw)?;
        let members = document.as_object().ok_or(ComposeError::NotObject)?;
        coherent::check(members)?;
        Ok(Self { raw: raw.into(), document: forms::sorted(document) })
    }

    /// The text as it was given.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The document, keys sorted.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Sorted keys, no white space, text beyond ASCII as it is.
    #[must_use]
    pub fn compact(&self) -> String {
        self.text(Form::Compact)
    }

    /// Sorted keys, four spaces, no blank after the colon, empty arrays and objects in line.
    #[must_use]
    pub fn pretty(&self) -> String {
        self.text(Form::Pretty)
    }

    /// The document in one form: the text that the hash of this form is of.
    #[must_use]
    pub fn text(&self, form: Form) -> String {
        forms::text(self, form)
    }

    /// The hash in every form.
    #[must_use]
    pub fn forms(&self) -> ComposeForms {
        ComposeForms::of(self)
    }

    /// The form that has this hash, and the document in it.
    #[must_use]
    pub fn as_hashed(&self, expected: ComposeHash) -> Option<(Form, String)> {
        let form = self.forms().matching(expected)?;
        Some((form, self.text(form)))
    }

    /// What differs from an earlier document.
    #[must_use]
    pub fn diff_from(&self, old: &Self) -> Diff {
        Diff::between(old, self)
    }

    fn text_of(&self, key: &str) -> Option<&str> {
        self.document.get(key).and_then(Value::as_str)
    }
}

#[cfg(test)]
mod tests;
