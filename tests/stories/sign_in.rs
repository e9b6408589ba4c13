//! People sign in with their wallets, by a message that is good once, here and now; and their session
//! is nobody else's.

use alloy::primitives::{Address, Bytes, U256, eip191_hash_message};
use chrono::{DateTime, SecondsFormat, TimeDelta};
use countersign::{
    devnet::Wallet,
    request::ids::SafeTxHash,
    safe::{contract_signature::safe_message_hash, packed::pack},
};
use reqwest::{Method, header};
use serde_json::json;

use crate::world::{Answer, Api, Visitor, World, visitor::signed};

fn anna() -> Wallet {
    Wallet::funded(5).unwrap()
}

fn other() -> Wallet {
    Wallet::funded(6).unwrap()
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.body["code"].as_str()),
        (status, Some(code)),
        "{}",
        answer.text
    );
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert!(!answer.headers.contains_key(header::SET_COOKIE), "nobody is signed in by it");
}

#[tokio::test]
async fn a_wallet_signs_in_by_a_message_once_and_out_again() {
    let world = World::new().await;
    let running = world.start().await;
    let mut visitor = Visitor::new(&running.api);
    assert_eq!(visitor.actor().await, None);
    let message = visitor.challenge(&anna()).await;
    let signature = signed(&anna(), &message);
    let answer = visitor.hand_in(&message, &signature).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let name = format!("wallet:{}", anna().address());
    assert_eq!(answer.body["actor"], name.as_str());
    assert_eq!(visitor.actor().await, Some(name));
    let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
    let (cookie, flags) = set.split_once("; ").unwrap();
    assert_eq!(flags, "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict");
    let (key, id) = cookie.split_once('=').unwrap();
    assert_eq!((key, id.len()), ("countersign", 64));
    let kept = "select encode(id_hash, 'hex') from sessions";
    assert_ne!(world.database.text(kept).await, id, "the id itself is kept nowhere");

    let mut thief = Visitor::new(&running.api);
    assert_refused(&thief.hand_in(&message, &signature).await, 403, "nonce-unknown");
    let answer = visitor.sign_out().await;
    assert_eq!(answer.status, 204);
    assert!(answer.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(visitor.actor().await, None, "the cookie alone is worth nothing");
    assert_eq!(visitor.get("/v1/requests").await.status, 401);
    assert_eq!(visitor.sign_out().await.status, 204, "there is nothing left to end");
    running.stop().await;
}

/// A line of a message, and the same with another time, by so many seconds.
fn moved(line: String, seconds: i64) -> (String, String) {
    let (name, time) = line.split_once(": ").unwrap();
    let time = DateTime::parse_from_rfc3339(time).unwrap() + TimeDelta::seconds(seconds);
    let other = format!("{name}: {}", time.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true));
    (line, other)
}

/// `s` in the upper half, with the other parity: it recovers to the same key.
fn mirrored(signature: [u8; 65]) -> [u8; 65] {
    const ORDER: U256 =
        alloy::uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
    let mut mirrored = signature;
    let s = ORDER - U256::from_be_slice(&signature[32..64]);
    mirrored[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    mirrored[64] = 55 - signature[64];
    mirrored
}

#[tokio::test]
async fn a_message_that_is_not_for_here_and_now_signs_nobody_in() {
    let world = World::new().await;
    let running = world.start().await;
    let mut visitor = Visitor::new(&running.api);
    let host = running.api.base().trim_start_matches("http://").to_owned();
    let line = |message: &str, start: &str| {
        message.lines().find(|line| line.starts_with(start)).unwrap().to_owned()
    };
    // Signed properly by whom it names, every time.
    for (what, code) in [
        ("domain", "wrong-domain"),
        ("uri", "wrong-uri"),
        ("chain", "wrong-chain"),
        ("future", "message-of-the-future"),
        ("expired", "message-expired"),
        ("nonce", "nonce-unknown"),
        ("request", "nonce-of-another"),
        ("earlier", "message-changed"),
        ("longer", "message-changed"),
        ("shorter", "message-changed"),
    ] {
        let message = visitor.challenge(&anna()).await;
        let (from, to) = match what {
            "domain" => (format!("{host} wants"), "evil.example wants".to_owned()),
            "uri" => (format!("URI: http://{host}/"), format!("URI: http://{host}/other")),
            "chain" => ("Chain ID: 8453".to_owned(), "Chain ID: 1".to_owned()),
            "future" => (line(&message, "Issued At"), "Issued At: 2999-01-01T00:00:00Z".to_owned()),
            "expired" => {
                (line(&message, "Expir"), "Expiration Time: 2020-01-01T00:00:00Z".to_owned())
            }
            "earlier" => moved(line(&message, "Issued At"), -1),
            "longer" => moved(line(&message, "Expir"), 1),
            "shorter" => moved(line(&message, "Expir"), -1),
            "nonce" => (line(&message, "Nonce"), format!("Nonce: {}", "0".repeat(32))),
            _ => (line(&message, "Request"), format!("Request ID: {}", uuid::Uuid::nil())),
        };
        let changed = message.replace(&from, &to);
        assert_ne!(changed, message);
        let answer = visitor.hand_in(&changed, &signed(&anna(), &changed)).await;
        assert_refused(&answer, 403, code);
        if what != "nonce" {
            let answer = visitor.hand_in(&message, &signed(&anna(), &message)).await;
            assert_refused(&answer, 403, "nonce-unknown");
        }
    }
    world.clock.pass(TimeDelta::minutes(2));
    let message = visitor.challenge(&anna()).await;
    let crlf = message.replace('\n', "\r\n");
    assert_refused(&visitor.hand_in(&crlf, &signed(&anna(), &crlf)).await, 422, "invalid-field");
    world.clock.pass(TimeDelta::minutes(11));
    let late = visitor.hand_in(&message, &signed(&anna(), &message)).await;
    assert_refused(&late, 403, "message-expired");
    running.stop().await;
}

#[tokio::test]
async fn only_the_wallet_itself_signs_in_and_a_wrong_signature_spends_the_message() {
    let world = World::new().await;
    let running = world.start().await;
    let mut visitor = Visitor::new(&running.api);
    for (made, code) in [
        ((|message| signed(&other(), message).to_vec()) as fn(&str) -> Vec<u8>, "not-signed"),
        (|message| signed(&anna(), &format!("{message} ")).to_vec(), "not-signed"),
        (|message| mirrored(signed(&anna(), message)).to_vec(), "high-s"),
        (|message| signed(&anna(), message)[..64].to_vec(), "not-signed"),
        (|_| vec![], "not-signed"),
    ] {
        let message = visitor.challenge(&anna()).await;
        assert_refused(&visitor.hand_in(&message, &made(&message)).await, 403, code);
        let right = visitor.hand_in(&message, &signed(&anna(), &message)).await;
        assert_refused(&right, 403, "nonce-unknown");
    }
    // A message that was given to one account, in the name of another.
    let message = visitor.challenge(&anna()).await;
    let (from, to) = (anna().address().to_string(), other().address().to_string());
    let stolen = message.replace(&from, &to);
    let answer = visitor.hand_in(&stolen, &signed(&other(), &stolen)).await;
    assert_refused(&answer, 403, "nonce-of-another");
    assert_eq!(visitor.actor().await, None);
    for (address, chain, field) in
        [("0x12", 8453, "address"), (&from, 1, "chain_id"), (&from, 0, "chain_id")]
    {
        let answer = visitor.ask_challenge(address, chain).await;
        assert_refused(&answer, 422, "invalid-field");
        assert_eq!(answer.body["field"], field);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_session_is_new_at_every_sign_in() {
    let world = World::new().await;
    let running = world.start().await;
    let mut visitor = Visitor::new(&running.api);
    // Somebody has put an id of theirs into this browser before.
    let planted = format!("countersign={}", "ab".repeat(32));
    visitor.cookie.clone_from(&planted);
    assert_eq!(visitor.sign_in(&anna()).await.status, 201);
    let first = visitor.clone();
    assert_ne!(visitor.cookie, planted);
    visitor.cookie = planted;
    assert_eq!(visitor.actor().await, None, "the id that was planted is nobody's");
    visitor.cookie.clone_from(&first.cookie);
    assert_eq!(visitor.sign_in(&other()).await.status, 201);
    assert_eq!(visitor.actor().await, Some(format!("wallet:{}", other().address())));
    assert_eq!(first.actor().await, None, "the session before it has ended");
    running.stop().await;
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_after_half_a_day() {
    let world = World::new().await;
    let running = world.start().await;
    let idle = Visitor::signed_in(&running.api, &anna()).await;
    world.clock.pass(TimeDelta::minutes(59));
    assert!(idle.actor().await.is_some());
    world.clock.pass(TimeDelta::minutes(59));
    assert!(idle.actor().await.is_some(), "it was used in between");
    world.clock.pass(TimeDelta::minutes(61));
    assert_eq!(idle.actor().await, None);

    let busy = Visitor::signed_in(&running.api, &anna()).await;
    for minutes in (50..12 * 60).step_by(50) {
        world.clock.pass(TimeDelta::minutes(50));
        assert!(busy.actor().await.is_some(), "after {minutes} minutes");
    }
    world.clock.pass(TimeDelta::minutes(20));
    assert_eq!(busy.actor().await, None, "twelve hours are over");
    // Whoever comes next sweeps.
    Visitor::signed_in(&running.api, &other()).await;
    let kept = world.database.text("select count(*)::text from sessions").await;
    assert_eq!(kept, "1", "what has ended is not kept");
    running.stop().await;
}

#[tokio::test]
async fn every_page_says_who_somebody_is_and_leads_out_and_back() {
    let world = World::new().await;
    let running = world.start().await;
    let visitor = Visitor::signed_in(&running.api, &anna()).await;
    let name = anna().address().to_string();
    let short = format!("{}…{}", &name[..6], &name[name.len() - 4..]);
    // Of nobody's Safe, so most pages are refused.
    for (path, status) in [("/sign-in", 200), ("/", 403), ("/apps", 403), ("/nowhere", 404)] {
        let page = visitor.call(Method::GET, path).header(header::ACCEPT, "text/html");
        let page = visitor.send(page).await;
        assert_eq!(page.status, status, "{path}");
        let bar = page.text.split("</nav>").next().unwrap();
        let title = format!("title=\"You are wallet {name}\"");
        for part in [title.as_str(), short.as_str(), "action=\"/sign-out"] {
            assert!(bar.contains(part), "{path}: {part}: {bar}");
        }
        let call = Api::bare().get(format!("{}{path}", running.api.base()));
        let call = call.header(header::ACCEPT, "text/html");
        let page = visitor.send(call.basic_auth("any", Some(running.api.token()))).await.text;
        let bar = page.split("</nav>").next().unwrap();
        assert!(bar.contains("API token") && !bar.contains("sign-out"), "{path}: {bar}");
    }
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.build().unwrap();
    let form = |origin: &str, path: &str| {
        let call = client.post(format!("{}{path}", running.api.base()));
        call.header(header::COOKIE, &visitor.cookie)
            .header(header::ORIGIN, origin)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
    };
    let elsewhere = form("https://evil.example", "/sign-out").send().await.unwrap();
    assert_eq!(elsewhere.status(), 403);
    assert!(visitor.actor().await.is_some());
    let way = "/sign-out?back=%2Fjournal%3Fbefore%3D7";
    let left = form(&visitor.origin, way).send().await.unwrap();
    assert_eq!(left.status(), 303);
    assert_eq!(left.headers()[header::LOCATION], "/sign-in?back=%2Fjournal%3Fbefore%3D7");
    assert!(left.headers()[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(visitor.actor().await, None);
    let hostile = form(&visitor.origin, "/sign-out?back=//evil.example").send().await.unwrap();
    assert_eq!(hostile.headers()[header::LOCATION], "/sign-in");
    // A token leads back too, and nowhere else.
    for (back, place) in
        [("%2Fapps", "/apps"), ("%2F%2Fevil.example", "/"), ("%2F%5Cevil.example", "/")]
    {
        let call = client.get(format!("{}/token?back={back}", running.api.base()));
        let answer = call.basic_auth("any", Some(running.api.token())).send().await.unwrap();
        assert_eq!(answer.status(), 303, "{back}");
        assert_eq!(answer.headers()[header::LOCATION], place, "{back}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_change_by_a_session_comes_from_a_page_of_this_site() {
    let mut world = World::new().await;
    let admins = vec![anna().address().to_string()];
    world.set_access(|lists| lists.admins = admins);
    let running = world.start().await;
    let id = running.api.submit(&world.submission(&world.prepare().await)).await;
    let visitor = Visitor::signed_in(&running.api, &anna()).await;
    let path = format!("/v1/requests/{id}/withdraw");
    let why = json!({ "reason": "it is not wanted" });
    let bare = || {
        let url = format!("{}{path}", running.api.base());
        Api::bare().post(url).header(header::COOKIE, &visitor.cookie)
    };
    let json = || bare().json(&why);
    for (call, status, code) in [
        (json(), 403, "cross-site"),
        (json().header("origin", "https://evil.example"), 403, "cross-site"),
        (json().header("origin", "null"), 403, "cross-site"),
        (json().header("sec-fetch-site", "cross-site"), 403, "cross-site"),
        (json().header("sec-fetch-site", "same-site"), 403, "cross-site"),
        (
            json().header("origin", "https://evil.example").header("sec-fetch-site", "same-origin"),
            403,
            "cross-site",
        ),
        (bare().header("origin", &visitor.origin).body(why.to_string()), 415, "content-type"),
        (
            bare()
                .header("origin", &visitor.origin)
                .header("content-type", "text/plain")
                .body(why.to_string()),
            415,
            "content-type",
        ),
    ] {
        let answer = visitor.send(call).await;
        assert_eq!((answer.status, answer.body["code"].as_str()), (status, Some(code)));
    }
    let foreign = Visitor { origin: "https://evil.example".into(), ..visitor.clone() };
    assert_eq!(foreign.sign_out().await.status, 403);
    assert_eq!(foreign.ask_challenge(&anna().address().to_string(), 8453).await.status, 403);
    assert_eq!(
        foreign.clone().hand_in("no", &[]).await.status,
        403,
        "nobody is signed in from there"
    );
    assert_eq!(foreign.get("/v1/requests").await.status, 200, "looking changes nothing");
    assert!(visitor.actor().await.is_some());
    assert_ne!(running.api.request(&id).await["status"], "withdrawn");

    // A token is sent on purpose, wherever from.
    let wrong = running.api.send(json().header("origin", "https://evil.example")).await;
    assert_eq!(wrong.status, 200, "{}", wrong.text);
    let again = running.api.submit(&world.submission(&world.prepare().await)).await;
    let path = format!("/v1/requests/{again}/withdraw");
    let answer = visitor.post(&path, &why).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let told = running.api.timeline(&again).await;
    let last = told.last().unwrap();
    assert_eq!(last["actor"], format!("wallet:{}", anna().address()).as_str());
    running.stop().await;
}

#[tokio::test]
async fn behind_tls_the_cookie_is_for_tls_alone() {
    let mut world = World::new().await;
    world.settings.public_url = Some("https://countersign.example.org/".parse().unwrap());
    let running = world.start().await;
    let mut visitor = Visitor::new(&running.api);
    assert_eq!(visitor.ask_challenge(&anna().address().to_string(), 8453).await.status, 403);
    visitor.origin = "https://countersign.example.org".into();
    let message = visitor.challenge(&anna()).await;
    assert!(message.starts_with("countersign.example.org wants you to sign in"), "{message}");
    assert!(message.contains("\nURI: https://countersign.example.org/\n"), "{message}");
    let answer = visitor.hand_in(&message, &signed(&anna(), &message)).await;
    let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(set.starts_with("__Host-countersign=") && set.ends_with("; Secure"), "{set}");
    assert!(visitor.actor().await.is_some());
    let plain = Visitor { cookie: visitor.cookie.replace("__Host-", ""), ..visitor.clone() };
    assert_eq!(plain.actor().await, None, "a cookie that anybody on the way could set");
    for path in ["/sign-in", "/v1/session", "/nowhere"] {
        let headers = visitor.get(path).await.headers;
        for (name, value) in [
            ("strict-transport-security", "max-age=31536000"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(headers[name], value, "{path}");
        }
        assert!(headers["permissions-policy"].to_str().unwrap().contains("camera=()"));
    }
    running.stop().await;
}

#[tokio::test]
async fn whoever_guesses_has_to_wait_and_nobody_else_does() {
    let mut world = World::new().await;
    world.set_access(|lists| lists.proxies = Some(1));
    let running = world.start().await;
    let visitor = Visitor::new(&running.api);
    let from = |address: &str, call: reqwest::RequestBuilder| {
        visitor.send(call.header("x-forwarded-for", format!("6.6.6.6, {address}")))
    };
    let url = |path: &str| format!("{}{path}", running.api.base());
    let guess = || {
        let token = countersign::access::OpenToken::generate().unwrap();
        Api::bare().get(url("/v1/requests")).bearer_auth(token.expose())
    };
    let attempt = || Api::bare().post(url("/v1/session")).json(&json!({ "message": "no" }));
    let guesses: [(&str, &dyn Fn() -> reqwest::RequestBuilder, u16); 2] =
        [("tokens", &guess, 401), ("messages", &attempt, 422)];
    for (what, call, before) in guesses {
        // The clock runs, and gives a little back.
        let mut taken = 0;
        let answer = loop {
            let answer = from("1.1.1.1", call()).await;
            if answer.status != before {
                break answer;
            }
            taken += 1;
        };
        assert!((30..90).contains(&taken), "{what}: {taken}");
        assert_refused(&answer, 429, "too-many");
        let wait: i64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=3).contains(&wait), "{what}: {wait}");
        assert_eq!(from("2.2.2.2", call()).await.status, before, "{what}: somebody else");
        world.clock.pass(TimeDelta::seconds(wait));
        assert_eq!(from("1.1.1.1", call()).await.status, before, "{what}: after the wait");
    }
    for _ in 0..5 {
        from("1.1.1.1", guess()).await;
    }
    let good = Api::bare().get(url("/v1/requests")).bearer_auth(running.api.token());
    assert_eq!(from("1.1.1.1", good).await.status, 200, "a good token is never refused for it");
    running.stop().await;
}

#[tokio::test]
async fn nobody_hoards_messages() {
    let world = World::new().await;
    let running = world.start().await;
    let visitor = Visitor::new(&running.api);
    let address = anna().address().to_string();
    for given in 0..50 {
        if given == 25 {
            world.clock.pass(TimeDelta::minutes(1));
        }
        assert_eq!(visitor.ask_challenge(&address, 8453).await.status, 201, "{given}");
    }
    world.clock.pass(TimeDelta::minutes(1));
    assert_refused(&visitor.ask_challenge(&address, 8453).await, 429, "too-many");
    world.clock.pass(TimeDelta::minutes(10));
    assert_eq!(visitor.ask_challenge(&address, 8453).await.status, 201);
    let kept = world.database.text("select count(*)::text from sign_in_nonces").await;
    assert_eq!(kept, "1", "what has expired is not kept");
    running.stop().await;
}

/// A Safe as the wallet: it has no key, and is asked whether it signed.
#[tokio::test]
async fn a_wallet_that_is_a_contract_signs_in_by_its_own_word() {
    let world = World::new().await;
    let running = world.start().await;
    let chain = &world.town.chain;
    let mut visitor = Visitor::new(&running.api);
    for (owners, is_signed) in [(1, false), (2, true)] {
        let answer = visitor.ask_challenge(&chain.safe.to_string(), 8453).await;
        let message = answer.body["message"].as_str().unwrap().to_owned();
        let hash = eip191_hash_message(&message);
        let version = chain.safe_version;
        let to_sign = safe_message_hash(hash.as_slice(), chain.chain_id, chain.safe, version);
        let given: Vec<_> = chain.owners[..owners]
            .iter()
            .map(|owner| (owner.address(), owner.sign(SafeTxHash(to_sign))))
            .collect();
        let signature: Bytes = pack(&given).unwrap();
        let answer = visitor.hand_in(&message, &signature).await;
        if is_signed {
            assert_eq!(answer.status, 201, "{}", answer.text);
            assert_eq!(visitor.actor().await, Some(format!("wallet:{}", chain.safe)));
        } else {
            assert_refused(&answer, 403, "not-signed");
        }
    }
    // A contract that knows no such question has not signed.
    let app = chain.app.to_string();
    let message = visitor.ask_challenge(&app, 8453).await.body["message"].clone();
    let message = message.as_str().unwrap();
    let answer = visitor.hand_in(message, &signed(&anna(), message)).await;
    assert_refused(&answer, 403, "not-signed");
    running.stop().await;
}

#[tokio::test]
async fn a_contract_that_cannot_be_asked_is_not_signed_in() {
    let mut world = World::new().await;
    // Nobody listens there.
    world.settings.chains[0].rpc = vec!["http://127.0.0.1:1".parse().unwrap()];
    let running = world.start().await;
    let mut visitor = Visitor::new(&running.api);
    let message = visitor.ask_challenge(&Address::repeat_byte(0x5a).to_string(), 8453).await;
    let message = message.body["message"].as_str().unwrap().to_owned();
    let answer = visitor.hand_in(&message, &signed(&anna(), &message)).await;
    assert_refused(&answer, 503, "chain-unreadable");
    assert!(!answer.text.contains("127.0.0.1"), "it names the endpoint: {}", answer.text);
    let (service, chain) = (&running.service, &world.town.chain);
    let (apps, now) = ([chain.app], service.clock.now());
    let watched = service.store.watch(chain.chain_id, &apps, &[], now).await;
    watched.expect("an app is watched");
    let answer = visitor.sign_in(&anna()).await;
    assert_eq!(answer.status, 201, "a key needs no chain: {}", answer.text);
    assert_eq!(answer.body["unread_chains"], json!([8453]), "{}", answer.text);
    running.stop().await;
}

#[tokio::test]
async fn strangers_fill_no_log_with_errors_of_a_chain_that_does_not_read() {
    let world = World::new().await;
    let serve = world.spawn_with(|command| {
        command.env("COUNTERSIGN_CHAIN", "8453=http://127.0.0.1:1").env("RUST_LOG", "info");
    });
    let serve = serve.await;
    let visitor = Visitor::new(&serve.api);
    for _ in 0..3 {
        let message = visitor.ask_challenge(&Address::repeat_byte(0x5a).to_string(), 8453).await;
        let message = message.body["message"].as_str().unwrap().to_owned();
        let answer = visitor.clone().hand_in(&message, &signed(&anna(), &message)).await;
        assert_refused(&answer, 503, "chain-unreadable");
    }
    let log = serve.terminate().await;
    assert!(log.contains("\"level\":\"INFO\""), "levels are written so: {log}");
    for level in ["ERROR", "WARN"] {
        let told = log.lines().filter(|line| line.contains(&format!("\"level\":\"{level}\"")));
        let told: Vec<_> = told.filter(|line| line.contains("http.route")).collect();
        assert!(told.is_empty(), "{told:#?}");
    }
}
