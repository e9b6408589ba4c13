//! The forms in which a document is or was written, and the hash of each.

use serde::Serialize;
use serde_json::{Map, Value, ser::Formatter};
use sha2::{Digest, Sha256};

use super::Compose;
use crate::request::ids::ComposeHash;

/// A form of the document whose hash is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The bytes as given.
    Raw,
    /// Sorted keys, no white space.
    Compact,
    /// Compact as JavaScript makes it: keys that are whole numbers come first, by their value.
    CompactScript,
    /// Sorted keys, four spaces, no blank after the colon.
    Pretty,
    /// Pretty as the JavaScript SDK makes it, with whole numbers first, and by replacing text, which also
    /// changes string contents that look like a key.
    PrettyReplaced,
    NormalizedCompact,
    NormalizedCompactScript,
    NormalizedPretty,
    NormalizedPrettyReplaced,
}

impl Form {
    /// The surest first: the bytes themselves, then the document whole, then without what its runner
    /// does not use.
    pub const ALL: [Self; 9] = [
        Self::Raw,
        Self::Compact,
        Self::Pretty,
        Self::CompactScript,
        Self::PrettyReplaced,
        Self::NormalizedCompact,
        Self::NormalizedPretty,
        Self::NormalizedCompactScript,
        Self::NormalizedPrettyReplaced,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Compact => "compact",
            Self::CompactScript => "compact_script",
            Self::Pretty => "pretty",
            Self::PrettyReplaced => "pretty_replaced",
            Self::NormalizedCompact => "normalized_compact",
            Self::NormalizedCompactScript => "normalized_compact_script",
            Self::NormalizedPretty => "normalized_pretty",
            Self::NormalizedPrettyReplaced => "normalized_pretty_replaced",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.as_str() == text)
    }

    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Raw => "its bytes as they are",
            Self::Compact => "written again without white space",
            Self::CompactScript => "written again without white space, as JavaScript does",
            Self::Pretty => "written again with indentation",
            Self::PrettyReplaced => "written again with indentation, as Phala's SDK does",
            Self::NormalizedCompact => {
                "written again without white space and without what its runner does not use"
            }
            Self::NormalizedCompactScript => {
                "written again without white space, as JavaScript does, and without what its runner \
                 does not use"
            }
            Self::NormalizedPretty => {
                "written again with indentation and without what its runner does not use"
            }
            Self::NormalizedPrettyReplaced => {
                "written again with indentation, as Phala's SDK does, and without what its runner does \
                 not use"
            }
        }
    }
}

/// The hash of one document in every form. One that would say the same as another is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ComposeForms {
    pub raw: ComposeHash,
    pub compact: ComposeHash,
    pub pretty: ComposeHash,
    /// Only when it differs from `compact`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compact_script: Option<ComposeHash>,
    /// Only when it differs from `pretty`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretty_replaced: Option<ComposeHash>,
    /// Without what its runner does not use; only when there is such a thing in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalized: Option<Rewritten>,
}

/// The hashes of a document that is written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Rewritten {
    pub compact: ComposeHash,
    pub pretty: ComposeHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compact_script: Option<ComposeHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretty_replaced: Option<ComposeHash>,
}

impl Rewritten {
    fn of(document: &Value) -> Self {
        let (compact, pretty) = (hash(&compact(document)), hash(&pretty(document)));
        let differs = |form: String, from| Some(hash(&form)).filter(|hash| *hash != from);
        Self {
            compact,
            pretty,
            compact_script: differs(compact_script(document), compact),
            pretty_replaced: differs(pretty_replaced(document), pretty),
        }
    }
}

impl ComposeForms {
    pub(super) fn of(compose: &Compose) -> Self {
        let whole = Rewritten::of(&compose.document);
        let normalized = normalized(&compose.document);
        Self {
            raw: hash(&compose.raw),
            compact: whole.compact,
            pretty: whole.pretty,
            compact_script: whole.compact_script,
            pretty_replaced: whole.pretty_replaced,
            normalized: normalized.as_ref().map(Rewritten::of),
        }
    }

    /// The hash in one form, if it is a form of its own.
    #[must_use]
    pub fn of_form(&self, form: Form) -> Option<ComposeHash> {
        match form {
            Form::Raw => Some(self.raw),
            Form::Compact => Some(self.compact),
            Form::CompactScript => self.compact_script,
            Form::Pretty => Some(self.pretty),
            Form::PrettyReplaced => self.pretty_replaced,
            Form::NormalizedCompact => self.normalized.map(|it| it.compact),
            Form::NormalizedCompactScript => self.normalized.and_then(|it| it.compact_script),
            Form::NormalizedPretty => self.normalized.map(|it| it.pretty),
            Form::NormalizedPrettyReplaced => self.normalized.and_then(|it| it.pretty_replaced),
        }
    }

    /// The form that has this hash, the surest first. `None` means the document is another one.
    #[must_use]
    pub fn matching(&self, expected: ComposeHash) -> Option<Form> {
        Form::ALL.into_iter().find(|form| self.of_form(*form) == Some(expected))
    }
}

/// The text of a document in one form; the very bytes that its hash is of.
pub(super) fn text(compose: &Compose, form: Form) -> String {
    let document = &compose.document;
    let without = || normalized(document).unwrap_or_else(|| document.clone());
    match form {
        Form::Raw => compose.raw.clone(),
        Form::Compact => compact(document),
        Form::CompactScript => compact_script(document),
        Form::Pretty => pretty(document),
        Form::PrettyReplaced => pretty_replaced(document),
        Form::NormalizedCompact => compact(&without()),
        Form::NormalizedCompactScript => compact_script(&without()),
        Form::NormalizedPretty => pretty(&without()),
        Form::NormalizedPrettyReplaced => pretty_replaced(&without()),
    }
}

/// What Phala's clients leave out before they hash; none when nothing is to be left out.
fn normalized(document: &Value) -> Option<Value> {
    let members = document.as_object()?;
    let unused = match members.get("runner").and_then(Value::as_str) {
        Some("bash") => "docker_compose_file",
        Some("docker-compose" | "nerdctl-compose") => "bash_script",
        _ => "",
    };
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(is_set) => !is_set,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    };
    let goes =
        |key: &str, value: &Value| key == unused || (key == "pre_launch_script" && is_empty(value));
    let kept: Map<String, Value> = members
        .iter()
        .filter(|(key, value)| !goes(key, value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    (kept.len() < members.len()).then_some(Value::Object(kept))
}

fn hash(text: &str) -> ComposeHash {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    ComposeHash(digest.into())
}

fn compact(document: &Value) -> String {
    document.to_string()
}

fn compact_script(document: &Value) -> String {
    numbers_first(document).to_string()
}

pub(super) fn pretty(document: &Value) -> String {
    indented(document, b":")
}

/// What the JavaScript SDK makes: a blank after each colon, then `": ` replaced everywhere.
pub(super) fn pretty_replaced(document: &Value) -> String {
    indented(&numbers_first(document), b": ").replace("\": ", "\":")
}

fn indented(document: &Value, colon: &'static [u8]) -> String {
    let mut bytes = Vec::new();
    let inner = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut bytes, Indented { inner, colon });
    document.serialize(&mut serializer).expect("a JSON value is written to memory");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Keys in the order of their UTF-16 code units, as JavaScript sorts them. Nesting is bounded by
/// `MAX_DEPTH`, so recursion is too.
pub(super) fn sorted(value: Value) -> Value {
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

/// The same in the order in which a JavaScript object keeps its keys: array indices come first.
fn numbers_first(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(numbers_first).collect(),
        Value::Object(members) => {
            let mut members: Vec<(Option<u32>, &String, &Value)> =
                members.iter().map(|(key, value)| (array_index(key), key, value)).collect();
            // The sort keeps the order of the rest.
            members.sort_by_key(|(index, ..)| (index.is_none(), *index));
            members.into_iter().map(|(_, key, value)| (key.clone(), numbers_first(value))).collect()
        }
        scalar => scalar.clone(),
    }
}

/// A key that is the index of an array: `0` to 2^32 - 2, without leading zeros.
fn array_index(key: &str) -> Option<u32> {
    let index: u32 = key.parse().ok()?;
    (index < u32::MAX && index.to_string() == key).then_some(index)
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
