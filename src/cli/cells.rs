//! What stands in an answer of the service, as a cell shows it.

use serde_json::Value;

use crate::clock::Time;

/// The body of a journal entry in a few words: its reason, or what it names.
pub fn details(body: &Value) -> String {
    let named = [
        "/reason",
        "/owner",
        "/tx",
        "/replica",
        "/route",
        "/depth",
        "/expires_at",
        "/evidence",
        "/compose_hash",
        "/text",
    ];
    let with = body["with"].as_array().filter(|with| !with.is_empty());
    if let Some(with) = with {
        let ids: Vec<_> = with.iter().filter_map(Value::as_str).collect();
        return format!("together with {}: {}", ids.join(", "), text(body, "/reason"));
    }
    let found = named.iter().find(|place| body.pointer(place).is_some_and(Value::is_string));
    match found {
        Some(&"/expires_at") => format!("token expires {}", time(body, "/expires_at")),
        Some(&"/evidence") => format!("with this as evidence: {}", text(body, "/evidence")),
        Some(place) => text(body, place),
        None => String::new(),
    }
}

/// What stands at a place, or a dash.
pub fn text(value: &Value, place: &str) -> String {
    match value.pointer(place) {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A moment, to the second.
pub fn time(value: &Value, place: &str) -> String {
    let text = text(value, place);
    match text.parse::<Time>() {
        Ok(time) => time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_a_dash() {
        let value = json!({"a": null, "b": "x", "c": 7, "at": "2026-11-21T09:30:00.123456Z"});
        assert_eq!(["/a", "/b", "/c", "/d"].map(|place| text(&value, place)), ["-", "x", "7", "-"]);
        assert_eq!(time(&value, "/at"), "2026-11-21 09:30:00 UTC");
        assert_eq!(time(&value, "/b"), "x");
    }

    #[test]
    fn a_journal_entry_is_told_by_its_reason_first() {
        assert_eq!(details(&json!({"reason": "why", "owner": "0x1"})), "why");
        assert_eq!(details(&json!({"owner": "0x1", "threshold": 2})), "0x1");
        assert_eq!(details(&json!({"tx": null})), "");
        let together = json!({"with": ["01a1", "01a2"], "nonce": null, "reason": "in one go"});
        assert_eq!(details(&together), "together with 01a1, 01a2: in one go");
        assert_eq!(details(&json!({"with": [], "reason": "alone"})), "alone");
        let evidence = details(&json!({"evidence": "already-registered"}));
        assert_eq!(evidence, "with this as evidence: already-registered");
    }
}
