use serde_json::json;

use super::*;

fn now() -> Time {
    "2026-11-21T09:00:00Z".parse().unwrap()
}

fn good() -> Value {
    json!({
        "chain_id": 8453,
        "app": "11".repeat(20),
        "source_cvm": "0b7c4a52-6d7e-4f0a-9c1d-2f3a4b5c6d7e",
        "node_id": 5,
        "compose_hash": "AA".repeat(32),
        "device_id": format!("0x{}", "bb".repeat(32)),
        "commit_token": "f3b0c6f2-0000-4000-8000-000000000001",
    })
}

fn try_read(body: &Value) -> Result<Submission, FieldProblem> {
    read(body, &[ChainId::BASE], now())
}

#[test]
fn prefixes_and_case_are_normalised_and_the_expiry_is_computed() {
    let submission = try_read(&good()).unwrap();
    assert_eq!(submission.compose.to_string(), format!("0x{}", "aa".repeat(32)));
    assert_eq!(submission.source.as_str(), "0b7c4a526d7e4f0a9c1d2f3a4b5c6d7e");
    assert_eq!(submission.expires_at.to_rfc3339(), "2026-12-05T09:00:00+00:00");
}

#[test]
fn what_is_said_about_the_expiry_counts() {
    let mut body = good();
    body["expires_at"] = json!("2026-11-28T09:00:00Z");
    assert_eq!(try_read(&body).unwrap().expires_at.to_rfc3339(), "2026-11-28T09:00:00+00:00");
    for wrong in
        [json!("soon"), json!(7), json!("2026-11-21T08:59:59Z"), json!("2036-01-01T00:00:00Z")]
    {
        body["expires_at"] = wrong;
        assert_eq!(try_read(&body).unwrap_err().field, "expires_at");
    }
}

#[test]
fn what_comes_without_a_date_is_new_only_if_that_is_said() {
    let issued = |name: &str, value: Value| {
        let mut body = good();
        body[name] = value;
        try_read(&body).map(|submission| submission.issued).map_err(|error| error.field)
    };
    assert_eq!(try_read(&good()).unwrap().issued, Issued::Unknown);
    assert_eq!(issued("prepared_at", json!("2026-11-20T09:00:00Z")), Ok(Issued::Told));
    for (said, meant) in [
        (json!(true), Ok(Issued::JustNow)),
        (json!(false), Ok(Issued::Unknown)),
        (json!(null), Ok(Issued::Unknown)),
        (json!("yes"), Err("just_prepared".to_owned())),
    ] {
        assert_eq!(issued("just_prepared", said), meant);
    }
    let mut both = good();
    both["just_prepared"] = json!(true);
    both["prepared_at"] = json!("2026-11-20T09:00:00Z");
    assert_eq!(try_read(&both).unwrap_err().field, "just_prepared");
}

#[test]
fn the_only_configured_chain_is_the_default() {
    let mut body = good();
    body.as_object_mut().unwrap().remove("chain_id");
    assert_eq!(try_read(&body).unwrap().chain, ChainId::BASE);
    let two = [ChainId::BASE, ChainId::ETHEREUM];
    assert_eq!(read(&body, &two, now()).unwrap_err().field, "chain_id");
}

#[test]
fn a_465_body_is_taken_as_it_came_wherever_its_details_stand() {
    let details = json!([
        { "field": "compose_hash", "value": "aa".repeat(32) },
        { "field": "app_id", "value": "11".repeat(20) },
        { "field": "device_id", "value": "bb".repeat(32) },
        { "field": "commit_token", "value": "token-1" },
        { "field": "kms_info", "value": { "chain_id": 8453 } },
    ]);
    let flat = json!({ "error_code": "ERR-01-005", "message": "m", "details": details });
    for body in [flat.clone(), json!({ "detail": flat }), json!(flat.to_string())] {
        let body = json!({ "prepare_response": body, "source_cvm": "cvm_1", "node_id": "5" });
        let submission = try_read(&body).unwrap();
        assert_eq!(submission.device.to_string(), format!("0x{}", "bb".repeat(32)));
    }
}

#[test]
fn every_refusal_names_its_field() {
    let cases = [
        ("chain_id", json!(1)),
        ("chain_id", json!("x")),
        ("app", json!("0x12")),
        ("app", json!("00".repeat(20))),
        ("app", json!(null)),
        ("source_cvm", json!("a/b")),
        ("source_cvm", json!(null)),
        ("node_id", json!([5])),
        ("compose_hash", json!("zz".repeat(32))),
        ("compose_hash", json!("00".repeat(32))),
        ("device_id", json!("")),
        ("device_id", json!("00".repeat(32))),
        ("device_id", json!(SHA256_OF_NOTHING.to_string())),
        ("commit_token", json!("two words")),
        ("commit_token", json!("")),
        ("commit_token", json!(7)),
        ("prepared_at", json!("yesterday")),
        ("prepared_at", json!("2026-11-01T00:00:00Z")),
        ("prepared_at", json!("2026-12-01T00:00:00Z")),
        ("note", json!("x".repeat(2001))),
        ("commit_tokn", json!("x")),
        ("kind", json!("replicas")),
        ("kind", json!({})),
        ("source_cvm", json!(format!("app_{}", "22".repeat(20)))),
        ("prepare_body", json!("{}")),
    ];
    for (field, value) in cases {
        let mut body = good();
        body[field] = value.clone();
        let error = try_read(&body).expect_err(&format!("{field} = {value}"));
        assert_eq!(error.field, field, "{error}");
        assert!(!error.problem.contains("f3b0c6f2"), "the token is not repeated");
    }
    assert_eq!(try_read(&json!([])).unwrap_err().field, "body");
}

#[test]
fn what_was_prepared_tells_whether_it_is_an_update() {
    let source = "0b7c4a52-6d7e-4f0a-9c1d-2f3a4b5c6d7e";
    let read = |last: &str, more: &Value| {
        let prepared = json!({ "compose_hash": "aa".repeat(32), "app_id": "11".repeat(20),
            "device_id": "bb".repeat(32), "commit_token": "token-1",
            "api_commit_url": format!("https://x.test/cvms/{source}/{last}?token=t") });
        let mut body = json!({ "prepare_response": prepared });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        try_read(&body).map(|read| read.kind).map_err(|error| error.field)
    };
    assert_eq!(read("commit-replica", &json!({})), Ok(Kind::Replica));
    assert_eq!(read("commit-update", &json!({})), Ok(Kind::Update));
    assert_eq!(read("commit-update", &json!({ "kind": "update" })), Ok(Kind::Update));
    assert_eq!(read("commit-update", &json!({ "kind": "replica" })), Err("kind".into()));
    assert_eq!(read("commit-replica", &json!({ "kind": "update" })), Err("kind".into()));
    assert_eq!(read("commit-update", &json!({ "node_id": "5" })), Err("node_id".into()));
    assert_eq!(read("commit", &json!({})).unwrap_err(), "source_cvm", "no link that is known");
}

#[test]
fn an_update_is_of_one_cvm_and_has_no_node() {
    let mut body = good();
    body["kind"] = json!("update");
    assert_eq!(try_read(&body).unwrap_err().field, "node_id");
    body["node_id"] = json!(null);
    let read = try_read(&body).unwrap();
    assert_eq!((read.kind, read.node), (Kind::Update, None));
    body["source_cvm"] = json!(format!("app_{}", "11".repeat(20)));
    assert_eq!(try_read(&body).unwrap_err().field, "source_cvm");
}

#[test]
fn an_app_may_stand_in_the_place_of_the_source_of_a_replica() {
    let mut body = good();
    body["source_cvm"] = json!(format!("app_{}", "11".repeat(20).to_uppercase()));
    let read = try_read(&body).unwrap();
    assert_eq!(read.source.as_str(), format!("app_{}", "11".repeat(20)));
    body["source_cvm"] = json!("11".repeat(20));
    assert_eq!(try_read(&body).unwrap().source.as_str(), "11".repeat(20), "a name like any other");
}

#[test]
fn both_spellings_of_the_source_agree_with_a_link() {
    let link =
        "https://cloud.example/api/v1/cvms/0b7c4a52-6d7e-4f0a-9c1d-2f3a4b5c6d7e/commit-replica";
    let mut body = good();
    body.as_object_mut().unwrap().remove("commit_token");
    body["prepare_response"] = json!({
        "composeHash": "aa".repeat(32), "appId": "11".repeat(20), "deviceId": "bb".repeat(32),
        "commitToken": "token-1", "apiCommitUrl": link,
    });
    for same in ["0b7c4a52-6d7e-4f0a-9c1d-2f3a4b5c6d7e", "0b7c4a526d7e4f0a9c1d2f3a4b5c6d7e"] {
        body["source_cvm"] = json!(same);
        assert_eq!(try_read(&body).unwrap().source.as_str(), "0b7c4a526d7e4f0a9c1d2f3a4b5c6d7e");
    }
    body["source_cvm"] = json!("1b7c4a526d7e4f0a9c1d2f3a4b5c6d7e");
    assert_eq!(try_read(&body).unwrap_err().field, "source_cvm");
}

#[test]
fn the_token_may_stand_nowhere_else() {
    for field in ["source_cvm", "node_id", "note"] {
        for text in ["f3b0c6f2-0000-4000-8000-000000000001", "F3B0C6F2000040008000000000000001"] {
            let mut body = good();
            body[field] = json!(text);
            assert_eq!(try_read(&body).unwrap_err().field, field);
        }
    }
}

#[test]
fn a_field_that_contradicts_the_preparation_is_refused() {
    let mut body = good();
    body.as_object_mut().unwrap().remove("commit_token");
    body["prepare_response"] = json!({
        "composeHash": "cc".repeat(32), "appId": "11".repeat(20),
        "deviceId": "bb".repeat(32), "commitToken": "token-1",
    });
    assert_eq!(try_read(&body).unwrap_err().field, "compose_hash");
}

#[test]
fn several_of_the_same_are_told_apart_by_number() {
    let with = |copy: Value, kind: &str| {
        let mut body = good();
        body["copy"] = copy;
        body["kind"] = json!(kind);
        if kind == "update" {
            body["node_id"] = Value::Null;
        }
        try_read(&body).map(|submission| submission.copy)
    };
    assert_eq!(with(Value::Null, "replica").unwrap(), None);
    for copy in [1, 100] {
        assert_eq!(with(json!(copy), "replica").unwrap(), Some(copy));
    }
    for wrong in [json!(0), json!(101), json!(-1), json!(1.5), json!("1"), json!([1])] {
        assert_eq!(with(wrong, "replica").unwrap_err().field, "copy");
    }
    assert_eq!(with(json!(1), "update").unwrap_err().field, "copy");
}
