use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

const VECTOR: &str = r#"{"manifest_version":2,"name":"app","runner":"docker-compose","docker_compose_file":"services:\n  web:\n    image: nginx\n","allowed_envs":["B","A"],"kms_enabled":true}"#;

fn parse(text: &str) -> Result<Compose, ComposeError> {
    Compose::parse(text.as_bytes())
}

fn refusal(text: &str) -> Option<Refusal> {
    match parse(text) {
        Err(ComposeError::Refused { refusal, .. }) => Some(refusal),
        _ => None,
    }
}

/// Recorded: computed with the published clients over the same document.
#[test]
fn the_recorded_document() {
    let forms = parse(VECTOR).unwrap().forms();
    let hash = |text: &str| text.parse::<ComposeHash>().unwrap();
    let compact = hash("396328dc8857e8fc249a2969ff806bbd386c3b40a213b40409fd990fc64ed078");
    let pretty = hash("bfbf16ef98fafe9c048227608697815054ce515ee0058f8a828148ddb9a7129c");
    assert_eq!((forms.compact, forms.pretty), (compact, pretty));
    assert_eq!(forms.pretty_replaced, None);
    assert_eq!(forms.matching(compact), Some(Form::Compact));
    assert_eq!(forms.matching(pretty), Some(Form::Pretty));
    assert_eq!(forms.matching(forms.raw), Some(Form::Raw));
    assert_eq!(forms.matching(hash(&"00".repeat(32))), None);
}

#[test]
fn the_forms_as_text() {
    let compose = parse(r#" {"b":{},"a":[1,{"ü":null}],"c":[]} "#).unwrap();
    assert_eq!(compose.compact(), r#"{"a":[1,{"ü":null}],"b":{},"c":[]}"#);
    let pretty = "{\n    \"a\":[\n        1,\n        {\n            \"ü\":null\n        }\n    ],\n    \"b\":{},\n    \"c\":[]\n}";
    assert_eq!(compose.pretty(), pretty);
    assert_eq!(parse(&compose.compact()).unwrap().forms().raw, compose.forms().compact);
}

#[test]
fn the_sdk_that_replaces_text_has_a_form_of_its_own() {
    let compose = parse(r#"{"a":"{\"b\": 1}"}"#).unwrap();
    assert_eq!(compose.pretty(), "{\n    \"a\":\"{\\\"b\\\": 1}\"\n}");
    assert_eq!(compose.text(Form::PrettyReplaced), "{\n    \"a\":\"{\\\"b\\\":1}\"\n}");
    let forms = compose.forms();
    let replaced = forms.pretty_replaced.unwrap();
    assert_eq!(forms.matching(replaced), Some(Form::PrettyReplaced));
}

#[test]
fn keys_are_sorted_by_code_unit() {
    // U+1F600 is D83D DE00 in UTF-16 and so before U+FF5E, though its code point is higher.
    let compose = parse("{\"\u{ff5e}\":1,\"\u{1f600}\":2,\"b\":3,\"B\":4}").unwrap();
    assert_eq!(compose.compact(), "{\"B\":4,\"b\":3,\"\u{1f600}\":2,\"\u{ff5e}\":1}");
}

#[test]
fn what_languages_disagree_about_is_refused() {
    for (text, expected) in [
        (r#"{"a":1,"a":1}"#, Some(Refusal::DuplicateKey)),
        (r#"{"x":[{"a":1,"\u0061":2}]}"#, Some(Refusal::DuplicateKey)),
        (r#"{"a":1.5}"#, Some(Refusal::Fraction)),
        (r#"{"a":1.0}"#, Some(Refusal::Fraction)),
        (r#"{"a":1e2}"#, Some(Refusal::Fraction)),
        (r#"{"a":-0}"#, Some(Refusal::Fraction)),
        (r#"{"a":9007199254740992}"#, None),
        (r#"{"a":9007199254740993}"#, Some(Refusal::Integer)),
        (r#"{"a":-9007199254740993}"#, Some(Refusal::Integer)),
        (r#"{"a":99999999999999999999999}"#, Some(Refusal::Fraction)),
        (r#"{"a":{"__proto__":1}}"#, Some(Refusal::Prototype)),
        (r#"{"\u005f_proto__":1}"#, Some(Refusal::Prototype)),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let nested =
        |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(refusal(&nested(MAX_DEPTH + 1)), Some(Refusal::TooDeep));
    assert!(parse(&nested(100_000)).is_err());
    let many = |count: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(count - 3));
    assert!(parse(&many(MAX_VALUES)).is_ok());
    assert_eq!(refusal(&many(MAX_VALUES + 1)), Some(Refusal::TooMany));
    let long = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    assert!(parse(&long(MAX_BYTES)).is_ok());
    assert_eq!(parse(&long(MAX_BYTES + 1)), Err(ComposeError::TooLarge(MAX_BYTES + 1)));
}

#[test]
fn what_phala_cloud_takes_no_more_of_is_refused() {
    let scripts = |file: usize, script: usize| json!({ "docker_compose_file": "x".repeat(file), "pre_launch_script": "y".repeat(script) });
    let fits = scripts(MAX_SCRIPT_BYTES - 10, 10).to_string();
    assert!(parse(&fits).is_ok());
    let over = scripts(MAX_SCRIPT_BYTES - 10, 11).to_string();
    assert_eq!(parse(&over), Err(ComposeError::ScriptsTooLarge(MAX_SCRIPT_BYTES + 1)));
}

#[test]
fn a_document_that_says_two_things_is_refused() {
    use Contradiction::{NoComposeFile, NoScript, NotFlag, NotText, NotTexts};
    for (document, expected) in [
        (json!({ "runner": "bash" }), Some(NoScript)),
        (json!({ "runner": "bash", "docker_compose_file": "a: 1" }), Some(NoScript)),
        (json!({ "runner": "bash", "bash_script": null }), Some(NoScript)),
        (json!({ "runner": "bash", "bash_script": "echo" }), None),
        (json!({ "runner": "docker-compose", "bash_script": "echo" }), Some(NoComposeFile)),
        (json!({ "runner": "nerdctl-compose" }), Some(NoComposeFile)),
        (json!({ "runner": "docker-compose", "docker_compose_file": "a: 1" }), None),
        (json!({ "runner": "other" }), None),
        (json!({ "runner": 1 }), Some(NotText("runner"))),
        (json!({ "docker_compose_file": {} }), Some(NotText("docker_compose_file"))),
        (json!({ "pre_launch_script": ["rm"] }), Some(NotText("pre_launch_script"))),
        (json!({ "public_logs": "false" }), Some(NotFlag("public_logs"))),
        (json!({ "kms_enabled": 0 }), Some(NotFlag("kms_enabled"))),
        (json!({ "kms_enabled": null, "allowed_envs": null, "runner": null }), None),
        (json!({ "allowed_envs": "A,B" }), Some(NotTexts("allowed_envs"))),
        (json!({ "allowed_envs": ["A", 1] }), Some(NotTexts("allowed_envs"))),
    ] {
        let found = match parse(&document.to_string()) {
            Err(ComposeError::Contradiction(found)) => Some(found),
            other => other.map(|_| None).unwrap(),
        };
        assert_eq!(found, expected, "{document}");
    }
}

#[test]
fn what_a_runner_does_not_use_is_left_out_in_forms_of_their_own() {
    let vector = |extra: &str| VECTOR.replacen('{', &format!("{{{extra},"), 1);
    let plain = parse(VECTOR).unwrap().forms();
    assert_eq!(plain.normalized, None, "there is nothing to leave out");
    for extra in [
        r#""bash_script":"echo""#,
        r#""bash_script":null"#,
        r#""pre_launch_script":"""#,
        r#""pre_launch_script":null"#,
    ] {
        let forms = parse(&vector(extra)).unwrap().forms();
        assert_ne!(forms.compact, plain.compact, "{extra}: null and empty are kept otherwise");
        assert_eq!(forms.matching(plain.compact), Some(Form::NormalizedCompact), "{extra}");
        assert_eq!(forms.matching(plain.pretty), Some(Form::NormalizedPretty), "{extra}");
    }
    assert_eq!(parse(&vector(r#""pre_launch_script":"x""#)).unwrap().forms().normalized, None);
    let bash = r#"{"runner":"bash","bash_script":"echo","docker_compose_file":"a: 1"}"#;
    let short = parse(r#"{"bash_script":"echo","runner":"bash"}"#).unwrap().forms().raw;
    assert_eq!(parse(bash).unwrap().forms().matching(short), Some(Form::NormalizedCompact));
}

#[test]
fn javascript_puts_keys_that_are_numbers_first() {
    let compose = parse(r#"{"a":1,"10":2,"9":3,"01":4,"4294967295":5}"#).unwrap();
    assert_eq!(compose.compact(), r#"{"01":4,"10":2,"4294967295":5,"9":3,"a":1}"#);
    let script = r#"{"9":3,"10":2,"01":4,"4294967295":5,"a":1}"#;
    assert_eq!(compose.text(Form::CompactScript), script);
    let hash = parse(script).unwrap().forms().raw;
    assert_eq!(compose.forms().matching(hash), Some(Form::CompactScript));
}

#[test]
fn the_text_of_a_form_is_what_its_hash_is_of() {
    let texts = r#"{"runner":"docker-compose","docker_compose_file":"{\"b\": 1}","bash_script":"","2":1,"10":0}"#;
    let compose = parse(texts).unwrap();
    let forms = compose.forms();
    for form in Form::ALL {
        let hash = forms.of_form(form).expect("each is a form of its own here");
        let (found, text) = compose.as_hashed(hash).unwrap();
        assert_eq!((found, parse(&text).unwrap().forms().raw), (form, hash));
        assert_eq!(Form::parse(form.as_str()), Some(form));
    }
}

#[test]
fn what_is_no_document_is_told_without_quoting_it() {
    assert_eq!(Compose::parse(b"{\"a\":\"\xff\"}"), Err(ComposeError::NotUtf8(6)));
    for text in ["", "{", "{}x", "{'secret':1}", "{\"secret\":NaN}", "\u{feff}{}"] {
        let error = parse(text).unwrap_err();
        assert!(matches!(error, ComposeError::NotJson { .. }), "{text:?}");
        assert!(!error.to_string().contains("secret"));
    }
    assert_eq!(parse("[]"), Err(ComposeError::NotObject));
    assert_eq!(parse("null"), Err(ComposeError::NotObject));
}

proptest! {
    #[test]
    fn nothing_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Compose::parse(&bytes);
    }

    #[test]
    fn writing_again_changes_nothing(
        names in prop::collection::vec("\\PC{0,6}", 0..6),
        texts in prop::collection::vec(any::<String>(), 6),
    ) {
        let document: Map<String, Value> =
            names.into_iter().zip(texts).map(|(name, text)| (name, text.into())).collect();
        let compose = parse(&Value::Object(document).to_string()).unwrap();
        for text in [compose.compact(), compose.pretty()] {
            let again = parse(&text).unwrap();
            prop_assert_eq!(again.document(), compose.document());
            prop_assert_eq!(again.forms().compact, compose.forms().compact);
            prop_assert_eq!(again.forms().pretty, compose.forms().pretty);
        }
    }
}
