use super::{
    super::catalogue::{BY_CODE, Class},
    *,
};

#[test]
fn every_row_of_the_catalogue_is_found_by_its_code() {
    for (code, expected) in BY_CODE {
        assert_eq!(meaning(400, Some(code)), *expected, "{code}");
        assert!(!expected.text.is_empty() && !expected.advice.is_empty(), "{code}");
    }
    let mut codes: Vec<_> = BY_CODE.iter().map(|(code, _)| code).collect();
    codes.dedup();
    assert_eq!(codes.len(), BY_CODE.len(), "a code stands twice");
    assert!(codes.is_sorted());
}

const THEIR_VIEW: Class = Class::RetryLater(Duration::from_secs(5));
const ROOM: Class = Class::RetryLater(Duration::from_mins(2));

#[test]
fn classes_that_the_flow_depends_on() {
    let rows: &[(u16, Option<&str>, Class)] = &[
        (465, Some("ERR-01-005"), THEIR_VIEW),
        (465, None, THEIR_VIEW),
        (466, Some("ERR-01-006"), Class::Prepare),
        (400, Some("ERR-01-006"), Class::Prepare),
        (466, Some("ERR-99-999"), Class::Prepare),
        (467, None, THEIR_VIEW),
        (468, None, Class::Ask),
        (409, None, Class::RetryNow),
        (409, Some("ERR-03-007"), Class::GiveUp),
        (409, Some("ERR-99-999"), Class::Ask),
        (429, None, Class::RetryNow),
        (503, Some("ERR-99-999"), Class::RetryNow),
        (502, None, Class::RetryNow),
        (400, Some("ERR-02-005"), ROOM),
        (400, Some("ERR-04-001"), Class::Ask),
        (401, None, Class::Ask),
        (403, None, Class::Ask),
        (404, None, Class::Ask),
        (404, Some("ERR-03-001"), Class::GiveUp),
        (404, Some("ERR-99-999"), Class::Ask),
        (400, None, Class::Ask),
        (418, None, Class::Ask),
        (302, None, Class::Ask),
    ];
    for (status, code, class) in rows {
        assert_eq!(meaning(*status, *code).class, *class, "{status} {code:?}");
    }
}

#[test]
fn the_envelope_is_read_in_every_shape() {
    let rows: &[(&str, Option<&str>, &str)] = &[
        (r#"{"error_code":"ERR-01-006","message":"gone"}"#, Some("ERR-01-006"), "gone"),
        (r#"{"detail":{"error_code":"ERR-01-006","message":"gone"}}"#, Some("ERR-01-006"), "gone"),
        (r#"{"detail":"Not allowed"}"#, None, "Not allowed"),
        (r#"{"detail":[{"loc":["body",0],"msg":"bad","input":"x"}]}"#, None, "body.0: bad"),
        ("<html>", None, "no message"),
        ("", None, "no message"),
        ("[]", None, "no message"),
        (r#"{"message":7,"detail":[]}"#, None, "no message"),
    ];
    for (body, code, message) in rows {
        let read = Envelope::read(body.as_bytes(), None);
        assert_eq!((read.code.as_deref(), read.message.as_str()), (*code, *message), "{body}");
    }
}

#[test]
fn a_secret_does_not_survive_in_a_message_not_even_half() {
    let token = "tok-0123456789";
    let long = "x".repeat(495) + token;
    let body = serde_json::json!({ "error_code": token, "message": long, "request_id": token });
    let read = Envelope::read(body.to_string().as_bytes(), Some(token));
    assert_eq!(read.message.chars().count(), 500);
    for text in [read.message, read.code.unwrap(), read.request_id.unwrap()] {
        assert!(!text.contains("tok-"), "{text}");
    }
    assert_eq!(tidy("a\nb\u{1b}[0m", 9, None), "a b [0m");
}

#[test]
fn a_secret_is_cut_out_however_it_is_spelled() {
    let secret = Some("tok/AbC+dEf==");
    for spelled in
        ["tok/AbC+dEf==", "tok\\/AbC+dEf==", "tok%2FAbC%2BdEf%3D%3D", "tok%2fAbC%2bdEf%3d%3d"]
    {
        assert_eq!(
            tidy(&format!("see {spelled}."), 99, secret),
            "see [commit token].",
            "{spelled}"
        );
    }
}
