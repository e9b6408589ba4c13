//! Adds a link to the links of an error of Phala Cloud, and leaves every other byte of it alone. Pure.

use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};

/// The parts of an error that tell where its links are, as the text that they are written in.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "written")]
    details: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    links: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    detail: Option<&'a RawValue>,
}

/// What is written, `null` too.
fn written<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

impl<'a> Envelope<'a> {
    fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn has_details(&self) -> bool {
        self.details.is_some_and(|details| details.get().starts_with('['))
    }
}

/// The body with the link as the last one. None when it has no place for it: then it stays as it is.
pub fn add(body: &[u8], url: &str, label: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    let link = serde_json::json!({ "url": url, "label": label });
    let top = Envelope::read(text)?;
    let (envelope, whole, at) = if top.has_details() {
        (top, text.trim_end(), "/links")
    } else {
        let whole = top.detail?.get();
        (Envelope::read(whole).filter(Envelope::has_details)?, whole, "/detail/links")
    };
    let begin = whole.as_ptr().addr() - text.as_ptr().addr();
    let (place, replaced, written) = match envelope.links.map(RawValue::get) {
        // Before the brace that ends it; there are details before.
        None => (begin + whole.len() - 1, 0, format!(",\"links\":[{link}]")),
        Some(links) => {
            let place = links.as_ptr().addr() - text.as_ptr().addr();
            match links.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(rest) if rest.trim().is_empty() => {
                    (place + links.len() - 1, 0, link.to_string())
                }
                Some(_) => (place + links.len() - 1, 0, format!(",{link}")),
                None if links == "null" => (place, links.len(), format!("[{link}]")),
                None => return None,
            }
        }
    };
    let (before, after) = text.split_at_checked(place)?;
    let added = format!("{before}{written}{}", after.get(replaced..)?);
    is_only_added(text, &added, at, &link).then(|| added.into_bytes())
}

/// Whether the link at its place is all that is new.
fn is_only_added(before: &str, after: &str, at: &str, link: &Value) -> bool {
    let read = |text| serde_json::from_str::<Value>(text).ok();
    let (Some(before), Some(mut after)) = (read(before), read(after)) else { return false };
    let Some(links) = after.pointer_mut(at).and_then(Value::as_array_mut) else { return false };
    if links.pop().as_ref() != Some(link) {
        return false;
    }
    match before.pointer(at) {
        Some(Value::Array(_)) => before == after,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = r#"{"url":"https://c.example/requests/1","label":"Review"}"#;

    fn added(body: &str) -> Option<String> {
        add(body.as_bytes(), "https://c.example/requests/1", "Review")
            .map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn nothing_but_the_link_is_new() {
        for (body, expected) in [
            (r#"{"details":[],"links":[]}"#, format!(r#"{{"details":[],"links":[{LINK}]}}"#)),
            (
                "{ \"links\" : [ ] ,\t\"details\": [1.50, \"\\u00e9\"]}\n",
                format!("{{ \"links\" : [ {LINK}] ,\t\"details\": [1.50, \"\\u00e9\"]}}\n"),
            ),
            (
                r#"{"links":[{"url":"x]"}],"details":[]}"#,
                format!(r#"{{"links":[{{"url":"x]"}},{LINK}],"details":[]}}"#),
            ),
            (r#"{"details":[]}"#, format!(r#"{{"details":[],"links":[{LINK}]}}"#)),
            (r#"{"links":null,"details":[]}"#, format!(r#"{{"links":[{LINK}],"details":[]}}"#)),
            (
                r#"{"a":1,"detail":{"details":[],"links":[]},"links":[]}"#,
                format!(r#"{{"a":1,"detail":{{"details":[],"links":[{LINK}]}},"links":[]}}"#),
            ),
            (
                r#"{"detail":{"details":[]} }"#,
                format!(r#"{{"detail":{{"details":[],"links":[{LINK}]}} }}"#),
            ),
        ] {
            assert_eq!(added(body), Some(expected), "{body}");
        }
    }

    #[test]
    fn what_has_no_place_for_it_stays_as_it_is() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"detail":"text"}"#,
            r#"{"details":[],"links":{}}"#,
            r#"{"details":[],"links":"x"}"#,
            r#"{"details":[],"links":[],"links":[]}"#,
            r#"{"details":[],"links":[]}}"#,
            r#"{"detail":{"links":[]}}"#,
        ] {
            assert_eq!(added(body), None, "{body}");
        }
        assert_eq!(add(b"{\"details\":[],\"links\":[],\"a\":\"\xff\"}", "u", "l"), None);
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_the_writer_panic(body in ".{0,200}") {
            if let Some(added) = added(&body) {
                proptest::prop_assert!(added.len() > body.len());
            }
        }
    }
}
