//! Where two JSON documents differ.

use serde::Serialize;
use serde_json::Value;

/// One place where what is shown is not what this machine makes of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// A JSON pointer.
    pub field: String,
    pub shown: Value,
    pub here: Value,
}

/// The differences, and the fields that are only shown: another version may know them.
pub fn find(shown: &Value, here: &Value) -> (Vec<Difference>, Vec<String>) {
    let (mut differences, mut unknown) = (vec![], vec![]);
    walk(String::new(), shown, here, &mut differences, &mut unknown);
    // Words about what was read elsewhere, which nobody signs and this machine does not know.
    let is_review = |field: &str| {
        ["/review_warnings", "/compose_reviews"].iter().any(|words| field.starts_with(words))
    };
    differences.retain(|one: &Difference| !is_review(&one.field));
    unknown.retain(|field: &String| !is_review(field));
    // They follow from the rest, and would hide it.
    let follows = |one: &Difference| one.field.starts_with("/exports/");
    if !differences.iter().all(follows) {
        differences.retain(|one| !follows(one));
    }
    (differences, unknown)
}

fn walk(
    field: String,
    shown: &Value,
    here: &Value,
    differences: &mut Vec<Difference>,
    unknown: &mut Vec<String>,
) {
    match (shown, here) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, ours) in ours {
                let theirs = theirs.get(name).unwrap_or(&Value::Null);
                walk(format!("{field}/{name}"), theirs, ours, differences, unknown);
            }
            let only_theirs = theirs.keys().filter(|name| !ours.contains_key(*name));
            unknown.extend(only_theirs.map(|name| format!("{field}/{name}")));
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() != ours.len() => {
            differences.push(Difference { field, shown: shown.clone(), here: here.clone() });
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            for (place, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                walk(format!("{field}/{place}"), theirs, ours, differences, unknown);
            }
        }
        _ if shown == here => {}
        _ => differences.push(Difference { field, shown: shown.clone(), here: here.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(shown: &Value, here: &Value) -> (Vec<String>, Vec<String>) {
        let (differences, unknown) = find(shown, here);
        (differences.into_iter().map(|one| one.field).collect(), unknown)
    }

    #[test]
    fn every_difference_has_its_place() {
        let here = json!({ "a": 1, "b": [{ "c": "x" }, 2], "d": null });
        assert_eq!(found(&here, &here), (vec![], vec![]));
        for (shown, expected) in [
            (json!({ "a": 2, "b": [{ "c": "x" }, 2] }), "/a"),
            (json!({ "a": 1, "b": [{ "c": "X" }, 2] }), "/b/0/c"),
            (json!({ "a": 1, "b": [{ "c": "x" }] }), "/b"),
            (json!({ "a": 1, "b": [{ "c": "x" }, 2, null] }), "/b"),
            (json!({ "a": 1, "b": [{ "c": "x" }, 2], "d": 0 }), "/d"),
            (json!({ "a": 1 }), "/b"),
            (json!([]), ""),
        ] {
            assert_eq!(found(&shown, &here).0, [expected], "{shown}");
        }
        for words in [json!(["unproved"]), json!([]), json!(null)] {
            let shown = json!({ "a": 1, "review_warnings": words, "compose_reviews": words });
            let empty = json!({ "a": 1, "review_warnings": [], "compose_reviews": [] });
            for here in [empty, json!({ "a": 1 })] {
                assert_eq!(found(&shown, &here), (vec![], vec![]), "{shown} {here}");
            }
        }
        let more = json!({ "a": 1, "b": [{ "c": "x", "e": 1 }, 2], "d": null });
        assert_eq!(found(&more, &here), (vec![], vec!["/b/0/e".to_owned()]));
    }
}
