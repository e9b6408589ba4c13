//! Reads a document as everybody reads it, or not at all.

use std::{cell::Cell, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{ComposeError, MAX_DEPTH, MAX_VALUES, Refusal};

/// Integers up to here are the same in every language.
const MAX_INTEGER: u64 = 1 << 53;

/// The one value that stands in a text.
pub(super) fn read(text: &str) -> Result<Value, ComposeError> {
    let refusal = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Strict { depth: 0, refusal: &refusal, values: &Cell::new(0) }
        .deserialize(&mut deserializer)
        .and_then(|document| deserializer.end().map(|()| document))
        .map_err(|error| {
            let (line, column) = (error.line(), error.column());
            match refusal.get() {
                Some(refusal) => ComposeError::Refused { refusal, line, column },
                None => ComposeError::NotJson { line, column },
            }
        })
}

/// Reads any JSON value and refuses what is ambiguous. The reason is left in `refusal`, because
/// the reader's own error carries only text and a position.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    refusal: &'a Cell<Option<Refusal>>,
    /// Read so far.
    values: &'a Cell<usize>,
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
        self.values.set(self.values.get() + 1);
        if self.values.get() > MAX_VALUES {
            return Err(self.refuse(Refusal::TooMany));
        }
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
            // In JavaScript it is no key like others, and is lost when the document is written again.
            if key == "__proto__" {
                return Err(self.refuse(Refusal::Prototype));
            }
            found.insert(key, members.next_value_seed(inside)?);
        }
        Ok(found.into())
    }
}
