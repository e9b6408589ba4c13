//! The hash of compose documents, as both functions of `@phala/cloud` compute it.

use std::{collections::BTreeMap, env};

use countersign::{
    compose::{Compose, ComposeForms, Form},
    request::ids::ComposeHash,
};
use serde_json::{Map, Value, json};

use super::peer::Peer;
use crate::world::tamper::{Choices, choices};

const DOCUMENTS: u64 = 1_000;
const BYTES: usize = 2 * 1024;

/// Names and texts that are written in several ways, sorted in several ways, or look like something
/// else.
const TEXTS: [&str; 18] = [
    "",
    "a",
    "B",
    "services:\n  web:\n    image: nginx\n",
    "{\"key\": \"value\"}",
    "say \": \" twice: \": ",
    "back\\slash \"quoted\"",
    "tab\t, bell \u{7}, escape \u{1b}, delete \u{7f}",
    "ünïcödé",
    "日本語",
    "\u{1f600}",
    "\u{ff5e}",
    "\u{2028} and \u{2029}",
    "<script>&amp;</script>",
    "10",
    "9",
    "01",
    "4294967295",
];
const FIELDS: [&str; 10] = [
    "manifest_version",
    "name",
    "features",
    "salt",
    "default_gateway_domain",
    "swap_size",
    "10",
    "9",
    "storage_fs",
    "port_policy",
];
const RUNNERS: [&str; 4] = ["docker-compose", "bash", "nerdctl-compose", "other"];

fn seeds() -> impl Iterator<Item = u64> {
    let first = env::var("PEERS_SEED").map_or(1, |text| text.parse().expect("it is a number"));
    println!("PEERS_SEED={first}");
    first..first + DOCUMENTS
}

fn text(choices: &mut Choices<'_>) -> String {
    let parts = 1 + choices.below(3);
    (0..parts).map(|_| TEXTS[choices.below(TEXTS.len())]).collect()
}

/// Any value that both sides read alike.
fn value(choices: &mut Choices<'_>, depth: usize) -> Value {
    match choices.below(if depth == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => (choices.below(2) == 0).into(),
        2 => i64::from(choices.byte()).into(),
        3 => [0, -1, 9_007_199_254_740_992_i64, -9_007_199_254_740_991][choices.below(4)].into(),
        4 => text(choices).into(),
        5 => (0..choices.below(4)).map(|_| value(choices, depth - 1)).collect(),
        _ => {
            let members = (0..choices.below(6)).map(|_| {
                let key = TEXTS[choices.below(TEXTS.len())].to_owned();
                (key, value(choices, depth - 1))
            });
            Value::Object(members.collect())
        }
    }
}

/// A document that does not contradict itself.
fn document(choices: &mut Choices<'_>) -> Value {
    let mut members = Map::new();
    for _ in 0..choices.below(6) {
        let field = FIELDS[choices.below(FIELDS.len())];
        let value = match field {
            "features" => (0..choices.below(4)).map(|_| text(choices)).collect(),
            _ => value(choices, 3),
        };
        members.insert(field.into(), value);
    }
    let names: Value = (0..choices.below(5)).map(|_| text(choices)).collect();
    members.insert("allowed_envs".into(), names);
    let runner = RUNNERS[choices.below(RUNNERS.len())];
    members.insert("runner".into(), runner.into());
    // What the runner needs, mostly beside what it does not use.
    let needed = if runner == "bash" { "bash_script" } else { "docker_compose_file" };
    for script in ["bash_script", "docker_compose_file"] {
        if script == needed {
            members.insert(script.into(), text(choices).into());
        } else if choices.below(3) > 0 {
            let unused = if choices.below(2) == 0 { Value::Null } else { text(choices).into() };
            members.insert(script.into(), unused);
        }
    }
    match choices.below(4) {
        0 => {}
        1 => drop(members.insert("pre_launch_script".into(), Value::Null)),
        2 => drop(members.insert("pre_launch_script".into(), "".into())),
        _ => drop(members.insert("pre_launch_script".into(), text(choices).into())),
    }
    Value::Object(members)
}

fn forms(document: &Value) -> ComposeForms {
    Compose::parse(document.to_string().as_bytes()).expect("the document is one").forms()
}

fn told(answer: &Value, function: &str) -> ComposeHash {
    answer[function].as_str().expect("a hash is a text").parse().expect("a hash is a hash")
}

/// The hash in the form of `script`, or in that of `plain` when they are the same.
fn in_form(forms: &ComposeForms, script: Form, plain: Form) -> ComposeHash {
    forms.of_form(script).or_else(|| forms.of_form(plain)).expect("a plain form is always there")
}

/// The one thing in which these versions of the SDK do not leave out what we do: with `nerdctl-compose`
/// they keep a `bash_script`.
fn kept_by_the_sdk(document: &Value) -> Option<Value> {
    let is_kept = document["runner"] == "nerdctl-compose" && document.get("bash_script").is_some();
    is_kept.then(|| {
        let mut kept = document.clone();
        if matches!(&kept["pre_launch_script"], Value::Null) || kept["pre_launch_script"] == "" {
            kept.as_object_mut().unwrap().remove("pre_launch_script");
        }
        kept
    })
}

#[test]
fn a_thousand_documents_have_the_hashes_that_both_functions_of_the_sdk_give() {
    let documents: Vec<(u64, Value)> = seeds()
        .map(|seed| (seed, document(&mut Choices(&choices(seed ^ 0xc0_4705e, BYTES)))))
        .collect();
    let questions: Vec<Value> = documents
        .iter()
        .map(|(_, document)| json!({ "ask": "compose", "document": document.to_string() }))
        .collect();
    let mut differences = BTreeMap::<&str, usize>::new();
    for ((seed, document), answer) in documents.iter().zip(Peer::PhalaCloud.ask(&questions)) {
        let whole = forms(document);
        let place = format!("PEERS_SEED={seed}: {document}");
        let compact = in_form(&whole, Form::CompactScript, Form::Compact);
        assert_eq!(told(&answer, "exported"), compact, "{place}");
        let pretty = in_form(&whole, Form::PrettyReplaced, Form::Pretty);
        assert_eq!(told(&answer, "dumped"), pretty, "{place}");

        let kept = kept_by_the_sdk(document);
        let (compact, pretty) = match (&kept, whole.normalized) {
            (None, Some(without)) => (
                without.compact_script.unwrap_or(without.compact),
                without.pretty_replaced.unwrap_or(without.pretty),
            ),
            (None, None) => (compact, pretty),
            (Some(kept), _) => {
                let kept = forms(kept);
                let compact = in_form(&kept, Form::CompactScript, Form::Compact);
                (compact, in_form(&kept, Form::PrettyReplaced, Form::Pretty))
            }
        };
        assert_eq!(told(&answer, "exported_normalized"), compact, "{place}");
        assert_eq!(told(&answer, "of_the_file"), pretty, "{place}");

        let mut differs =
            |what, is_so: bool| *differences.entry(what).or_default() += usize::from(is_so);
        differs("JavaScript puts keys that are numbers first", whole.compact_script.is_some());
        differs("the SDK replaces text inside of strings", whole.pretty_replaced.is_some());
        differs("something is left out", whole.normalized.is_some());
        differs("the SDK keeps bash_script for nerdctl-compose", kept.is_some());
    }
    println!("of {DOCUMENTS} documents: {differences:?}");
    assert!(differences.values().all(|count| *count > 10), "{differences:?}");
}

/// What JavaScript reads in its own way has a hash there, and none here.
#[test]
fn what_the_sdk_reads_in_a_way_of_its_own_is_refused() {
    let texts = [
        (r#"{"a":1,"a":2}"#, "a key that is there twice"),
        (r#"{"a":1.0}"#, "not written as a whole number"),
        (r#"{"a":1e3}"#, "not written as a whole number"),
        (r#"{"a":-0}"#, "not written as a whole number"),
        (r#"{"a":9007199254740993}"#, "beyond 2^53"),
        (r#"{"__proto__":{"a":1}}"#, "which JavaScript loses"),
        (r#"{"a":"\ud800"}"#, "not a JSON document"),
        (r#"{"runner":"bash"}"#, "contradicts itself"),
        (r#"{"docker_compose_file":{"services":{}}}"#, "contradicts itself"),
    ];
    let ask = |(text, _): &(&str, _)| json!({ "ask": "compose", "document": text });
    let questions: Vec<Value> = texts.iter().map(ask).collect();
    for ((text, why), answer) in texts.iter().zip(Peer::PhalaCloud.ask(&questions)) {
        let error = Compose::parse(text.as_bytes()).expect_err("it is refused").to_string();
        assert!(error.contains(why), "{text}: {error}");
        told(&answer, "exported");
    }
}
