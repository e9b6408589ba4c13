//! The app-compose document: its hash in every form that is known to be used.
//!
//! A compose hash is SHA-256 over the bytes of `app-compose.json` as an instance boots with them
//! (dstack guest). Who holds those bytes hashes them as they are. Who holds only the document must
//! write it again, and its serialisation changed over time: compact in early 2025, pretty (four
//! spaces, no blank after the colon) since September 2025, both with sorted keys; both were checked
//! against published attestations. So all forms are tried, and the one that matches is named.
//!
//! A document that could be written in two ways, or that a JavaScript reader would change, is
//! refused rather than guessed: duplicate keys, fractions, integers beyond 2^53.

use std::{cell::Cell, fmt};

use serde::{
    Deserializer, Serialize,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, ser::Formatter};
use sha2::{Digest, Sha256};

use crate::request::ids::ComposeHash;

/// Largest document, in bytes: twice the 200 KiB that Phala Cloud takes, since escaping may
/// lengthen it.
pub const MAX_BYTES: usize = 2 * 200 * 1024;
/// Deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 64;
/// Integers up to here are the same in every language.
const MAX_INTEGER: u64 = 1 << 53;

/// Why a document has no hash that everybody would agree on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    #[error("{0} bytes; a compose document has at most {MAX_BYTES}")]
    TooLarge(usize),
    #[error("not UTF-8 text, from byte {0} on")]
    NotUtf8(usize),
    #[error("not a JSON document: line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error("not a JSON object")]
    NotObject,
    #[error("{refusal}: line {line}, column {column}")]
    Refused { refusal: Refusal, line: usize, column: usize },
}

/// What makes a JSON document ambiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a key that is there twice")]
    DuplicateKey,
    #[error("a number that is not written as a whole number")]
    Fraction,
    #[error("a whole number beyond 2^53")]
    Integer,
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// A form of the document whose hash is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The bytes as given.
    Raw,
    /// Sorted keys, no white space.
    Compact,
    /// Sorted keys, four spaces, no blank after the colon.
    Pretty,
    /// Pretty as the JavaScript SDK makes it, by replacing text, which also changes string
    /// contents that look like a key.
    PrettyReplaced,
}

/// The hash of one document in every form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ComposeForms {
    pub raw: ComposeHash,
    pub compact: ComposeHash,
    pub pretty: ComposeHash,
    /// Only when it differs from `pretty`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretty_replaced: Option<ComposeHash>,
}

impl ComposeForms {
    /// The form that has this hash, the surest first. `None` means the document is another one.
    #[must_use]
    pub fn matching(&self, expected: ComposeHash) -> Option<Form> {
        [
            (Some(self.raw), Form::Raw),
            (Some(self.compact), Form::Compact),
            (Some(self.pretty), Form::Pretty),
            (self.pretty_replaced, Form::PrettyReplaced),
        ]
        .into_iter()
        .find_map(|(hash, form)| (hash == Some(expected)).then_some(form))
    }
}

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
        let refusal = Cell::new(None);
        let mut deserializer = serde_json::Deserializer::from_str(raw);
        let document = Strict { depth: 0, refusal: &refusal }
            .deserialize(&mut deserializer)
            .and_then(|document| deserializer.end().map(|()| document))
            .map_err(|error| {
                let (line, column) = (error.line(), error.column());
                match refusal.get() {
                    Some(refusal) => ComposeError::Refused { refusal, line, column },
                    None => ComposeError::NotJson { line, column },
                }
            })?;
        if !document.is_object() {
            return Err(ComposeError::NotObject);
        }
        Ok(Self { raw: raw.into(), document: sorted(document) })
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
        self.document.to_string()
    }

    /// Sorted keys, four spaces, no blank after the colon, empty arrays and objects in line.
    #[must_use]
    pub fn pretty(&self) -> String {
        self.indented(b":")
    }

    /// What the JavaScript SDK makes: a blank after each colon, then `": ` replaced everywhere.
    fn pretty_replaced(&self) -> String {
        self.indented(b": ").replace("\": ", "\":")
    }

    fn indented(&self, colon: &'static [u8]) -> String {
        let mut bytes = Vec::new();
        let inner = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer =
            serde_json::Serializer::with_formatter(&mut bytes, Indented { inner, colon });
        self.document.serialize(&mut serializer).expect("a JSON value is written to memory");
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }

    /// The hash in every form.
    #[must_use]
    pub fn forms(&self) -> ComposeForms {
        let pretty = hash(&self.pretty());
        let replaced = hash(&self.pretty_replaced());
        ComposeForms {
            raw: hash(&self.raw),
            compact: hash(&self.compact()),
            pretty,
            pretty_replaced: (replaced != pretty).then_some(replaced),
        }
    }
}

fn hash(text: &str) -> ComposeHash {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    ComposeHash(digest.into())
}

/// Keys in the order of their UTF-16 code units, as JavaScript sorts them. Nesting is bounded by
/// [`MAX_DEPTH`], so recursion is too.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members.into_iter().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            members.into_iter().map(|(key, value)| (key, sorted(value))).collect()
        }
        scalar => scalar,
    }
}

/// The pretty formatter of `serde_json` with another colon.
struct Indented {
    inner: serde_json::ser::PrettyFormatter<'static>,
    colon: &'static [u8],
}

impl Formatter for Indented {
    fn begin_array<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.inner.begin_array(writer)
    }
    fn end_array<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.inner.end_array(writer)
    }
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        self.inner.begin_array_value(writer, first)
    }
    fn end_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        self.inner.end_array_value(writer)
    }
    fn begin_object<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.inner.begin_object(writer)
    }
    fn end_object<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.inner.end_object(writer)
    }
    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        self.inner.begin_object_key(writer, first)
    }
    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(self.colon)
    }
    fn end_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        self.inner.end_object_value(writer)
    }
}

/// Reads any JSON value and refuses what is ambiguous. The reason is left in `refusal`, because
/// the reader's own error carries only text and a position.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    refusal: &'a Cell<Option<Refusal>>,
}

impl Strict<'_> {
    fn refuse<E: serde::de::Error>(self, refusal: Refusal) -> E {
        self.refusal.set(Some(refusal));
        E::custom(refusal)
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.refuse(Refusal::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        if value > MAX_INTEGER { Err(self.refuse(Refusal::Integer)) } else { Ok(value.into()) }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > MAX_INTEGER {
            return Err(self.refuse(Refusal::Integer));
        }
        Ok(value.into())
    }

    /// Also what looks whole, such as `1.0`, `1e2`, `-0` and integers beyond 64 bits: each
    /// language writes them back in its own way.
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Value, E> {
        Err(self.refuse(Refusal::Fraction))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut found = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            found.push(item);
        }
        Ok(found.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut found = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if found.contains_key(&key) {
                return Err(self.refuse(Refusal::DuplicateKey));
            }
            found.insert(key, members.next_value_seed(inside)?);
        }
        Ok(found.into())
    }
}

#[cfg(test)]
mod tests;
