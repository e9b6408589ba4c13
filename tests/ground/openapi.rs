//! The API that is described is the API that is committed: a change of it shows in review.

use std::{collections::BTreeSet, fs, path::PathBuf};

use countersign::web;
use serde_json::{Map, Value};

fn snapshot() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("openapi.json")
}

fn document() -> Value {
    serde_json::to_value(web::openapi()).expect("the document is JSON")
}

/// Every operation with its method and path.
fn operations(document: &Value) -> Vec<(String, &Map<String, Value>)> {
    let paths = document["paths"].as_object().expect("there are paths");
    let each = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("a path has operations").iter();
        methods.map(move |(method, one)| (format!("{method} {path}"), one.as_object().unwrap()))
    });
    each.collect()
}

#[test]
fn the_document_is_the_committed_one() {
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(snapshot(), text).unwrap();
        return;
    }
    let committed = fs::read_to_string(snapshot()).expect("openapi.json is committed");
    assert!(
        text == committed,
        "the API changed: run `make fixtures` and review the change of openapi.json"
    );
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_what_it_answers() {
    let document = document();
    let (mut names, mut wrong) = (BTreeSet::new(), vec![]);
    for (place, operation) in operations(&document) {
        let name = operation.get("operationId").and_then(Value::as_str).unwrap_or_default();
        let responses = operation.get("responses").and_then(Value::as_object);
        if name.is_empty() || !names.insert(name.to_owned()) {
            wrong.push(format!("{place}: the operation id {name:?} is missing or taken"));
        }
        if responses.is_none_or(Map::is_empty) {
            wrong.push(format!("{place}: no answers"));
        }
        let writes = place.starts_with("post ");
        let guarded = operation.contains_key("security") || place.ends_with("/confirmations");
        if writes && !guarded {
            wrong.push(format!("{place}: it does not say that it needs a token"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(names.len() >= 17, "{names:?}");
}

#[test]
fn every_schema_that_is_named_is_there() {
    let document = document();
    let text = document.to_string();
    let named = text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap());
    for pointer in named {
        assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
    }
}
