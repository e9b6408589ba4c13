use super::*;

const BASE: &str = "https://cloud-api.phala.com/api/v1";

#[test]
fn an_address_is_sent_as_it_came() {
    for rest in [
        "",
        "/",
        "/cvms/0123456789ab4def8123456789abcdef",
        "/apps?page=1&search=a%2Fb%20c&x=..%2F..",
        "/cvms/a%2Fb",
        "/cvms/payments-api/state?target=running&interval=5",
        "//cvms//x/",
        "/apps/~a!$&'()*+,;=:@",
        "?x=1",
    ] {
        assert_eq!(address(BASE, rest).unwrap().as_str(), format!("{BASE}{rest}"), "{rest}");
    }
}

#[test]
fn what_only_the_query_may_not_carry_is_written_as_it_must_be() {
    let url = address(BASE, "/apps?search=it's\"<b>").unwrap();
    assert_eq!(url.as_str(), format!("{BASE}/apps?search=it%27s%22%3Cb%3E"));
}

#[test]
fn no_path_leads_out_of_the_prefix_or_to_another_host() {
    for rest in [
        "/..",
        "/../admin",
        "/cvms/../../admin",
        "/cvms/./x",
        "/%2e%2e/admin",
        "/%2E%2e%2fadmin",
        "/..%2f..%2fadmin",
        "/..%5cadmin",
        "/..\\admin",
        "/%252e%252e%252fadmin",
        "/%25252e%25252e/admin",
        "/..;/admin",
        "/.%2e;x/admin",
        "/x%00",
        "/x%0d%0ahost:%20evil",
        "/cvms/a\"b",
        "/cvms/a{b}",
        "evil.example/x",
        "@evil.example/x",
        ":99/x",
        ".evil.example/x",
    ] {
        assert!(matches!(address(BASE, rest), Err(UpstreamError::Address)), "{rest}");
    }
    for rest in ["//evil.example/x", "/http://evil.example/x", "/@evil.example", "/\u{e9}"] {
        if let Ok(url) = address(BASE, rest) {
            assert_eq!(url.host_str(), Some("cloud-api.phala.com"), "{rest}");
            assert!(url.path().starts_with("/api/v1/"), "{rest}");
        }
    }
}

#[test]
fn a_prefix_with_a_port_is_kept() {
    let base = "http://127.0.0.1:18080/api/v1";
    assert_eq!(address(base, "/apps").unwrap().as_str(), "http://127.0.0.1:18080/api/v1/apps");
}

#[test]
fn what_concerns_one_connection_stays_on_it() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("connection", "close, X-Mine"),
        ("x-mine", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("te", "trailers"),
        ("upgrade", "websocket"),
        ("proxy-authorization", "Basic x"),
        ("expect", "100-continue"),
        ("host", "countersign.example"),
        ("x-api-key", "phak_1"),
        ("x-phala-version", "2025-10-28"),
        ("content-length", "3"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.append("accept", HeaderValue::from_static("a/b"));
    headers.append("accept", HeaderValue::from_static("c/d"));
    let on = of_caller(headers);
    let names: Vec<&str> = on.iter().map(|(name, _)| name.as_str()).collect();
    // The length is that of chunks.
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(on.get_all("accept").iter().count(), 2);
    assert!(on["x-api-key"].is_sensitive() && !on["x-phala-version"].is_sensitive());
    assert!(!format!("{on:?}").contains("phak_1"));
}

#[test]
fn a_length_goes_on_when_it_says_how_long_the_body_is() {
    for (lengths, is_chunked, goes_on) in [
        (&["3"][..], false, true),
        (&["0"], false, true),
        (&["03"], false, true),
        (&[], false, false),
        (&["3"], true, false),
        (&["3", "3"], false, false),
        (&["3", "4"], false, false),
        (&["3, 3"], false, false),
        (&["+3"], false, false),
    ] {
        let mut headers = HeaderMap::new();
        for length in lengths {
            headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        if is_chunked {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let on = end_to_end(headers);
        let case = format!("{lengths:?}, chunked: {is_chunked}");
        assert_eq!(on.contains_key(header::CONTENT_LENGTH), goes_on, "{case}");
        assert!(!on.contains_key(header::TRANSFER_ENCODING), "{case}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_goes_on_untouched() {
    let parts =
        || futures::stream::iter(["ab", "cd", "ef"].map(|one| Ok(Bytes::from(one)))).boxed();
    let Whole::Read(read) = whole(parts(), 6).await.unwrap() else { panic!("it fits") };
    assert_eq!(read, b"abcdef");
    let Whole::TooLong(rest) = whole(parts(), 3).await.unwrap() else { panic!("it does not fit") };
    let rest: Vec<Bytes> = rest.map(Result::unwrap).collect().await;
    assert_eq!(rest.concat(), b"abcdef");
}
