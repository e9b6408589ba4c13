use super::*;

const BODY: &[u8] = br#"{"id":"evt_0123456789abcdef","event":"webhook.test","data":{}}"#;

fn now() -> Time {
    Time::from_timestamp(1_790_000_000, 0).unwrap()
}

fn sign(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update([timestamp.as_bytes(), b".", body].concat().as_slice());
    format!("sha256={}", alloy::hex::encode(mac.finalize().into_bytes()))
}

#[test]
fn the_signature_is_the_one_that_openssl_computes() {
    let expected = "0dd2903f4b02644c0bf6424cb81f4639c56840ad612c79e9c22070266e701475";
    assert_eq!(sign("whsec_test", "1790000000", BODY), format!("sha256={expected}"));
}

#[test]
fn only_what_is_signed_just_now_with_a_secret_of_ours_is_taken() {
    let secrets: Vec<SecretString> = vec!["whsec_new".into(), "whsec_old".into()];
    let stamp = "1790000000";
    let check = |timestamp: Option<&str>, signature: Option<&str>, body: &[u8], at: i64| {
        let at = now() + TimeDelta::seconds(at);
        verify(&secrets, timestamp, signature, body, at)
    };
    for secret in ["whsec_new", "whsec_old"] {
        let good = sign(secret, stamp, BODY);
        for at in [-300, 0, 300] {
            assert_eq!(check(Some(stamp), Some(&good), BODY, at), Ok(()), "{at}");
        }
        for at in [-301, 301, 3_600] {
            assert_eq!(check(Some(stamp), Some(&good), BODY, at), Err(WebhookError::Late), "{at}");
        }
        let other = [BODY, b" "].concat();
        assert_eq!(check(Some(stamp), Some(&good), &other, 0), Err(WebhookError::Signature));
        assert_eq!(
            check(Some("1790000001"), Some(&good), BODY, 0),
            Err(WebhookError::Signature),
            "the time is signed too"
        );
    }
    let foreign = sign("whsec_other", stamp, BODY);
    assert_eq!(check(Some(stamp), Some(&foreign), BODY, 0), Err(WebhookError::Signature));
    let good = sign("whsec_new", stamp, BODY);
    for (timestamp, signature) in [
        (None, Some(good.as_str())),
        (Some(stamp), None),
        (Some("soon"), Some(good.as_str())),
        (Some("99999999999999999"), Some(good.as_str())),
        (Some(stamp), Some("sha256=zz")),
        (Some(stamp), Some("sha1=00")),
        (Some(stamp), Some(good.trim_start_matches("sha256="))),
    ] {
        assert_eq!(check(timestamp, signature, BODY, 0), Err(WebhookError::Unsigned));
    }
    for short in ["sha256=", "sha256=00", &good[..20]] {
        let told = check(Some(stamp), Some(short), BODY, 0);
        assert!(told.is_err(), "{short}");
    }
    assert!(verify(&[], Some(stamp), Some(&good), BODY, now()).is_err(), "no secret signs nothing");
}

#[test]
fn what_is_prepared_is_read_and_its_calldata_is_not() {
    let body = json!({
        "id": "evt_1", "event": "cvm.update.pending_approval", "version": "1",
        "created_at": "2026-11-26T10:00:00Z", "workspace": { "id": "ws", "slug": "acme" },
        "data": {
            "cvm_id": "0b7c4a52-6d7e-4f0a-9c1d-2f3a4b5c6d7e", "cvm_name": "payments",
            "compose_hash": "a".repeat(64), "app_id": format!("app_{}", "1".repeat(40)),
            "device_id": "b".repeat(64), "kms": { "chain_id": 8453, "contract_address": "0x" },
            "onchain_action": { "to": "0x", "method": "addComposeHash", "calldata": "a".repeat(64) },
            "commit_token": "token", "commit_url": "https://cloud.phala.com/x?token=token",
            "api_commit_url": "https://x/api/v1/cvms/y/commit-update?token=token",
            "expires_at": "2026-12-10T10:00:00Z",
        },
    });
    let told = read_event(body.to_string().as_bytes()).unwrap();
    assert_eq!((told.id.as_str(), told.event), ("evt_1", "cvm.update.pending_approval"));
    assert!(
        told.at.is_some() && told.cvm.is_some() && told.app.is_some() && told.compose.is_some()
    );
    let News::Prepared(submission) = told.news else { panic!("it was prepared") };
    assert_eq!(submission["kind"], "update");
    assert_eq!(submission["prepared_at"], "2026-11-26T10:00:00Z");
    assert_eq!(submission["prepare_response"]["kms_info"]["chain_id"], 8453);
    assert!(submission.to_string().find("calldata").is_none());
}

#[test]
fn what_is_no_event_is_refused_and_what_is_new_is_known_as_other() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"id":1,"event":"x"}"#,
        r#"{"id":"","event":"x"}"#,
        r#"{"id":"a b","event":"x"}"#,
        r#"{"id":"a","event":2}"#,
    ] {
        assert_eq!(read_event(body.as_bytes()).unwrap_err(), WebhookError::Body, "{body}");
    }
    let long = format!(r#"{{"id":"{}","event":"x"}}"#, "a".repeat(129));
    assert!(read_event(long.as_bytes()).is_err());
    let told = read_event(br#"{"id":"a","event":"cvm.moved","data":7}"#).unwrap();
    assert!(told.event == "other" && matches!(told.news, News::Other));
    for name in OF_A_CVM {
        let body = format!(r#"{{"id":"a","event":"{name}","data":{{"cvm_id":"x"}}}}"#);
        assert!(matches!(read_event(body.as_bytes()).unwrap().news, News::OfCvm), "{name}");
    }
}

proptest::proptest! {
    #[test]
    fn nothing_makes_the_reader_panic(
        body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        timestamp in ".{0,30}",
        signature in ".{0,80}",
    ) {
        drop(read_event(&body));
        let secrets = ["whsec".into()];
        proptest::prop_assert!(
            verify(&secrets, Some(&timestamp), Some(&signature), &body, now()).is_err()
        );
    }
}
