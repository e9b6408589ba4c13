use super::*;
use serde_json::json;

const TOKEN: &str = "5d1f0c9e-3b7a-4c2d-9e8f-0a1b2c3d4e5f";
const SOURCE: &str = "0b7c4a52-6d7e-4f0a-9c1d-2f3a4b5c6d7e";

fn compose() -> String {
    "a".repeat(64)
}
fn device() -> String {
    "B".repeat(64)
}
fn app() -> String {
    "1".repeat(40)
}

fn details_body() -> Value {
    json!([
        { "field": "compose_hash", "value": compose(), "message": null },
        { "field": "app_id", "value": app() },
        { "field": "device_id", "value": format!("0x{}", device()) },
        { "field": "kms_info", "value": { "id": "kms_x", "chain_id": 8453,
            "kms_contract_address": "0x2f83172A49584C017F2B256F0FB2Dca14126Ba9C" } },
        { "field": "commit_token", "value": TOKEN },
        { "field": "api_commit_url",
          "value": format!("https://x.test/api/v1/cvms/{SOURCE}/commit-replica?token={TOKEN}") },
        { "field": "onchain_status", "value": { "compose_hash_allowed": true,
            "device_id_allowed": false, "is_allowed": false } },
        { "field": "something new", "value": [1] },
        { "message": "no field" }, 7
    ])
}

fn assert_whole(read: &Prepared) {
    assert_eq!(read.app, app().parse().unwrap());
    assert_eq!(read.compose_hash, compose().parse().unwrap());
    assert_eq!(read.device_id, device().parse().unwrap());
    assert_eq!(read.commit_token.expose(), TOKEN);
    assert_eq!((read.compose_allowed, read.device_allowed), (Some(true), Some(false)));
}

#[test]
fn every_json_form_gives_the_same_preparation() {
    let details = details_body();
    let status = json!({ "compose_hash_allowed": true, "device_id_allowed": false });
    let kms = json!({ "chain_id": 8453,
        "kms_contract_address": "0x2f83172A49584C017F2B256F0FB2Dca14126Ba9C" });
    let link = format!("https://x.test/cvms/{}/commit-replica?token=t", SOURCE.replace('-', ""));
    let forms = [
        json!({ "error_code": "ERR-01-005", "message": "m", "details": details }),
        json!({ "detail": { "error_code": "ERR-01-005", "details": details } }),
        json!({ "success": true, "prepare_only": true, "composeHash": compose(), "appId": app(),
            "deviceId": device(), "kmsInfo": kms, "commitToken": TOKEN, "apiCommitUrl": link,
            "onchainStatus": status }),
        json!({ "success": true, "compose_hash": format!("0x{}", compose()), "app_id": app(),
            "device_id": device(), "kms_info": { "chain": { "id": 8453 },
            "kms_contract_address": "0x2f83172A49584C017F2B256F0FB2Dca14126Ba9C" },
            "commit_token": TOKEN, "api_commit_url": link, "onchain_status": status }),
    ];
    for form in forms {
        let read = Prepared::from_prepare_response(&form).unwrap();
        assert_whole(&read);
        assert_eq!(read.chain_id, Some(ChainId::BASE));
        assert!(read.kms_contract.is_some());
        assert_eq!(read.source_cvm.unwrap().as_str(), SOURCE);
    }
}

#[test]
fn what_is_wrong_is_named_without_repeating_it() {
    let whole = json!({ "composeHash": compose(), "appId": app(), "deviceId": device(),
        "commitToken": TOKEN });
    let rows = [
        ("commitToken", json!(null), "commit_token"),
        ("commitToken", json!("se cret"), "commit_token"),
        ("commitToken", json!(["secret"]), "commit_token"),
        ("composeHash", json!("secret"), "compose_hash"),
        ("appId", json!(7), "app_id"),
        ("deviceId", json!("0xsecret"), "device_id"),
        ("kmsInfo", json!({ "chain_id": "secret" }), "chain_id"),
    ];
    for (name, value, field) in rows {
        let mut broken = whole.clone();
        broken[name] = value;
        let error = Prepared::from_prepare_response(&broken).unwrap_err();
        assert_eq!(error.field, field);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    for nothing in [json!(null), json!([]), json!("x"), json!({ "details": [] })] {
        assert_eq!(Prepared::from_prepare_response(&nothing).unwrap_err().field, "commit_token");
    }
}

#[test]
fn two_values_for_one_field_are_refused() {
    let mut details = details_body();
    let again = json!({ "field": "device_id", "value": "c".repeat(64) });
    details.as_array_mut().unwrap().push(again);
    let error = Prepared::from_prepare_response(&json!({ "details": details })).unwrap_err();
    assert_eq!(error.field, "details");
}

fn cli_text() -> String {
    format!(
        "npm notice\nCVM replica prepared successfully (pending on-chain approval).\n\n\
         Compose Hash:    0x{}\nApp ID:          0x{}\nDevice ID:       0x{}\nCommit Token:    {TOKEN}\n\
         Commit URL:      https://x.test/commit?token={TOKEN}\n\nOn-chain Status:\n  \
         Compose Hash:  registered\n  Device ID:     NOT registered\n\n\
         To complete the replica after on-chain approval:\n  phala cvms replicate <cvm-id> \\\n    \
         --commit \\\n    --token {TOKEN} \\\n    --compose-hash 0x{} \\\n    --transaction-hash <tx-hash>\n",
        compose(),
        app(),
        device(),
        compose()
    )
}

#[test]
fn the_text_for_people_is_read() {
    let read = Prepared::from_cli_text(&cli_text()).unwrap();
    assert_whole(&read);
    assert_eq!(read.source_cvm, None);
    let filled = cli_text().replace("<cvm-id>", SOURCE);
    let read = Prepared::from_cli_text(&filled.replace('\n', "\r\n")).unwrap();
    assert_eq!(read.source_cvm.unwrap().as_str(), SOURCE);
}

#[test]
fn what_the_token_is_for_is_read_from_links_and_words() {
    let link = |last: &str| format!("https://x.test/api/v1/cvms/{SOURCE}/{last}?token={TOKEN}");
    let of_json = |links: &[(&str, &str)]| {
        let mut body = json!({ "composeHash": compose(), "appId": app(), "deviceId": device(),
            "commitToken": TOKEN });
        for (name, last) in links {
            body[*name] = json!(link(last));
        }
        Prepared::from_prepare_response(&body).map(|read| read.kind).map_err(|error| error.field)
    };
    for (links, expected) in [
        (&[][..], Ok(None)),
        (&[("commitUrl", "commit-update")], Ok(Some(Kind::Update))),
        (&[("apiCommitUrl", "commit-replica")], Ok(Some(Kind::Replica))),
        (&[("apiCommitUrl", "commit-something")], Ok(None)),
        (&[("commitUrl", "commit"), ("apiCommitUrl", "commit-update")], Ok(Some(Kind::Update))),
        (&[("commitUrl", "commit-replica"), ("apiCommitUrl", "commit-update")], Err("kind")),
    ] {
        assert_eq!(of_json(links), expected, "{links:?}");
    }
    for (words, last, expected) in [
        ("CVM replica prepared", "commit", Ok(Some(Kind::Replica))),
        ("App instance prepared", "commit", Ok(Some(Kind::Replica))),
        ("CVM update prepared", "commit", Ok(Some(Kind::Update))),
        ("CVM update prepared", "commit-update", Ok(Some(Kind::Update))),
        ("Something prepared", "commit-update", Ok(Some(Kind::Update))),
        ("Something prepared", "commit", Ok(None)),
        ("CVM replica prepared", "commit-update", Err("kind")),
    ] {
        let text = cli_text().replace("CVM replica prepared", words);
        let text = text.replace("x.test/commit?", &format!("x.test/{last}?"));
        let read = Prepared::from_cli_text(&text).map(|read| read.kind);
        assert_eq!(read.map_err(|error| error.field), expected, "{words} {last}");
    }
}

#[test]
fn text_that_lacks_or_doubles_a_line_is_refused() {
    for label in ["Compose Hash:    ", "App ID:", "Device ID:       ", "Commit Token:"] {
        let error = Prepared::from_cli_text(&cli_text().replace(label, "Other:")).unwrap_err();
        assert_eq!(error.reason, "missing", "{label}");
    }
    let second = cli_text().replace(TOKEN, "another");
    let error = Prepared::from_cli_text(&(cli_text() + &second)).unwrap_err();
    assert_eq!(error.field, "commit_token");
    assert!(Prepared::from_cli_text(&(cli_text() + &cli_text())).is_ok());
    assert_eq!(Prepared::from_cli_text(&"x".repeat(70_000)).unwrap_err().field, "text");
}
