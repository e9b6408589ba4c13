//! Reads named fields out of answers whose shape depends on the API version. A field that is
//! missing, null or empty is none; a field that is there but cannot be read is an error, since a
//! guess would be worse. Errors name the field and never repeat what stood in it.

use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::codes::tidy;
use crate::request::ids::{AppId, ChainId, ParseIdError};

const TEXT_CHARS_MAX: usize = 500;

/// Which field of an answer could not be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    pub field: &'static str,
    pub reason: String,
}

impl FieldError {
    pub(super) fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }

    pub(super) fn missing(field: &'static str) -> Self {
        Self::new(field, "missing")
    }
}

/// A JSON object and the places, as JSON pointers, where a field may stand in it.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub &'a Value);

impl<'a> Fields<'a> {
    /// The first place that holds something.
    pub fn value(self, places: &[&str]) -> Option<&'a Value> {
        let held = |value: &&Value| !value.is_null() && value.as_str() != Some("");
        places.iter().filter_map(|place| self.0.pointer(place)).find(held)
    }

    /// A text for people to read, cut to a sane length.
    pub fn text(self, places: &[&str]) -> Option<String> {
        Some(tidy(self.value(places)?.as_str()?, TEXT_CHARS_MAX, None))
    }

    pub fn flag(self, places: &[&str]) -> Option<bool> {
        self.value(places)?.as_bool()
    }

    /// An identifier, which may come as a text or as a number.
    pub fn id<T: FromStr<Err = ParseIdError>>(
        self,
        field: &'static str,
        places: &[&str],
    ) -> Result<Option<T>, FieldError> {
        self.value(places).map(|value| id(field, value)).transpose()
    }

    pub fn required<T: FromStr<Err = ParseIdError>>(
        self,
        field: &'static str,
        places: &[&str],
    ) -> Result<T, FieldError> {
        self.id(field, places)?.ok_or_else(|| FieldError::missing(field))
    }

    /// The id of a CVM. A UUID is brought to one spelling: endpoints differ in their dashes, and
    /// two spellings of one instance would count as two instances.
    pub fn cvm<T: FromStr<Err = ParseIdError>>(
        self,
        field: &'static str,
        places: &[&str],
    ) -> Result<T, FieldError> {
        let value = self.value(places).ok_or_else(|| FieldError::missing(field))?;
        match value.as_str().map(Uuid::try_parse) {
            Some(Ok(uuid)) => id(field, &Value::String(uuid.hyphenated().to_string())),
            Some(Err(_)) | None => id(field, value),
        }
    }

    pub fn app(self, places: &[&str]) -> Result<AppId, FieldError> {
        let value = self.value(places).ok_or_else(|| FieldError::missing("app_id"))?;
        let text = value.as_str().ok_or_else(|| FieldError::new("app_id", "not a text"))?;
        app("app_id", text)
    }

    pub fn chain(self, places: &[&str]) -> Result<Option<ChainId>, FieldError> {
        self.id("chain_id", places)
    }

    pub fn time(
        self,
        field: &'static str,
        places: &[&str],
    ) -> Result<Option<DateTime<Utc>>, FieldError> {
        let Some(value) = self.value(places) else { return Ok(None) };
        let text = value.as_str().unwrap_or_default();
        let read = DateTime::parse_from_rfc3339(text).map(|time| time.with_timezone(&Utc)).or_else(
            // The backend leaves the zone away in places; it means UTC.
            |_| text.parse::<NaiveDateTime>().map(|time| time.and_utc()),
        );
        read.map(Some).map_err(|_| FieldError::new(field, "not a date and time"))
    }
}

fn id<T: FromStr<Err = ParseIdError>>(field: &'static str, value: &Value) -> Result<T, FieldError> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(FieldError::new(field, "neither text nor number")),
    };
    text.parse().map_err(|error: ParseIdError| FieldError::new(field, error.to_string()))
}

/// An app id, also in its spelling with `app_` in front.
pub(super) fn app(field: &'static str, text: &str) -> Result<AppId, FieldError> {
    let text = text.trim();
    let bare = text.strip_prefix("app_").unwrap_or(text);
    bare.parse().map_err(|error: ParseIdError| FieldError::new(field, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::ids::{NodeId, ReplicaId};
    use serde_json::json;

    #[test]
    fn nothing_missing_and_empty_are_none_but_nonsense_is_an_error() {
        let value = json!({ "a": null, "b": "", "c": 5, "d": {}, "e": "x y" });
        let fields = Fields(&value);
        for place in ["/a", "/b", "/z", "/c/d"] {
            assert_eq!(fields.id::<NodeId>("node_id", &[place]), Ok(None), "{place}");
        }
        assert_eq!(fields.id("node_id", &["/a", "/c"]), Ok(Some("5".parse::<NodeId>().unwrap())));
        for place in ["/d", "/e"] {
            assert!(fields.id::<NodeId>("node_id", &[place]).is_err(), "{place}");
        }
    }

    #[test]
    fn one_instance_has_one_spelling() {
        let value = json!({ "a": "9F8E7D6C5B4A49388271605F4E3D2C1B", "b": "cvm_9f8e" });
        let fields = Fields(&value);
        let a: ReplicaId = fields.cvm("vm_uuid", &["/a"]).unwrap();
        assert_eq!(a.as_str(), "9f8e7d6c-5b4a-4938-8271-605f4e3d2c1b");
        assert_eq!(fields.cvm::<ReplicaId>("vm_uuid", &["/b"]).unwrap().as_str(), "cvm_9f8e");
    }

    #[test]
    fn times_without_zone_are_utc() {
        let value =
            json!({ "a": "2026-01-02T03:04:05.5", "b": "2026-01-02T04:04:05.5+01:00", "c": 7 });
        let fields = Fields(&value);
        assert_eq!(fields.time("t", &["/a"]), fields.time("t", &["/b"]));
        assert!(fields.time("t", &["/a"]).unwrap().is_some());
        assert!(fields.time("t", &["/c"]).is_err());
    }
}
