//! Secrets stay where they belong (invariant I4): the commit token in sealed storage, keys with
//! whoever holds them. Everything the program says or keeps is searched, in every spelling.

use alloy::hex;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use secrecy::ExposeSecret;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection};
use tokio::task::JoinHandle;

use crate::world::{Api, Database, World, process::Process};

/// The spellings that a secret could hide in.
fn spellings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let percent = bytes.iter().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
    let mut spellings = vec![
        secret.to_lowercase(),
        secret.replace('-', "").to_lowercase(),
        hex::encode(bytes),
        percent,
        format!("{bytes:?}"),
    ];
    // Base64 looks different at each of three offsets; what borders on other text is left out.
    for offset in 0..3 {
        let encoded = STANDARD_NO_PAD.encode([&vec![0; offset], bytes].concat());
        let inner = &encoded[if offset == 0 { 0 } else { 4 }..encoded.len() - 3];
        spellings.push(inner.to_lowercase());
    }
    spellings
}

#[track_caller]
pub fn assert_absent(place: &str, text: &str, secrets: &[String]) {
    let text = text.to_lowercase();
    for secret in secrets {
        for spelling in spellings(secret) {
            let found = text.find(&spelling);
            assert!(found.is_none(), "{place} tells a secret as {spelling}");
        }
    }
}

/// Every row of every table, as text, and as what its bytes say.
pub async fn everything_kept(database: &Database) -> Vec<(String, String)> {
    let mut connection = database.connect().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', table_schema, table_name) from information_schema.tables
         where table_schema not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut kept = vec![];
    for table in tables {
        let rows = AssertSqlSafe(format!("select t::text from {table} t"));
        let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&mut connection).await.unwrap();
        kept.push((table, rows.join("\n")));
    }
    connection.close().await.unwrap();
    kept
}

/// Listens to the stream of events until it is aborted; what it heard is in the log file.
fn listen(api: &Api) -> (JoinHandle<()>, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (said, heard) = tokio::sync::mpsc::unbounded_channel();
    let request = Api::bare().get(format!("{}/v1/events", api.base())).bearer_auth(api.token());
    let task = tokio::spawn(async move {
        let mut stream = request.send().await.expect("it streams");
        while let Ok(Some(bytes)) = stream.chunk().await {
            drop(said.send(String::from_utf8_lossy(&bytes).into_owned()));
        }
    });
    (task, heard)
}

/// Submissions that are refused, each with the token somewhere.
async fn refused(world: &World, api: &Api) {
    let prepared = world.prepare().await;
    let token = World::token_of(&prepared);
    let mut nested = prepared.clone();
    nested["details"][0]["value"] = json!(token);
    for body in [
        json!({ "prepare_response": nested, "source_cvm": "x" }),
        json!({ "prepare_response": format!("Commit Token: {token}"), "source_cvm": token }),
        json!({ "commit_token": [token], "compose_hash": token, "device_id": token }),
        json!({ "commit_token": token, "chain_id": token }),
        json!({ "commit_token": format!("{token} {token}"), "prepared_at": token, "app": token }),
        json!({ token.clone(): token }),
        json!([token]),
    ] {
        let answer = api.post("/v1/requests", &body).await;
        assert_eq!(answer.status, 422, "{}", answer.text);
        assert_absent("a refusal", &answer.text, std::slice::from_ref(&token));
    }
    let broken = format!("{{\"commit_token\": \"{token}\",, }}");
    let answer = api.post_text("/v1/requests", &broken).await;
    assert_absent("a refusal", &answer.text, &[token]);
}

/// Everything that can be asked for about a request.
async fn everything_said(api: &Api, id: &str, app: &str) -> Vec<(String, String)> {
    let mut said = vec![];
    for path in [
        "/v1/requests",
        &format!("/v1/requests/{id}"),
        &format!("/v1/requests/{id}/proposal"),
        &format!("/v1/requests/{id}/safe-batch.json"),
        "/v1/requests/nonsense",
        "/v1/journal?limit=500",
        "/v1/journal/chain",
        "/v1/apps",
        &format!("/v1/apps/8453/{app}/ledger"),
        &format!("/v1/apps/8453/{app}/ledger/export?format=csv"),
        &format!("/v1/apps/8453/{app}/allowlist"),
        &format!("/v1/apps/8453/{app}/allowlist/export"),
        &format!("/apps/8453/{app}"),
        &format!("/apps/8453/{app}/ledger"),
        "/journal",
        "/",
        &format!("/requests/{id}"),
        "/metrics",
        "/readyz",
        "/openapi.json",
    ] {
        let answer = api.get(path).await;
        said.push((path.to_owned(), format!("{:?}\n{}", answer.headers, answer.text)));
    }
    said
}

/// The whole flow, with every kind of trouble that an answer could repeat a token in.
async fn through_trouble(world: &World, program: &Process) -> String {
    let api = &program.api;
    refused(world, api).await;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    // Voids the token behind the program's back: the commit is answered 466.
    world.prepare().await;
    let trouble = json!({
        "fail_next": [{ "endpoint": "commit", "status": 503, "retry_after": 1 }],
        "verification_lag": 1,
    });
    world.switch(trouble);
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    world.mine(crate::world::DEPTH).await;
    api.wait_for(&id, "running").await;
    let log = world.town.cloud.commit_log();
    let statuses: Vec<u16> = log.iter().map(|call| call.status).collect();
    assert_eq!(statuses, [503, 466, 467, 200], "every kind of trouble was met");
    id
}

#[tokio::test]
async fn no_secret_is_ever_said_logged_or_stored_in_the_open() {
    let world = World::new().await;
    let program = world.spawn_logging("trace").await;
    let (listening, mut events) = listen(&program.api);
    let id = through_trouble(&world, &program).await;

    let tokens = world.town.cloud.issued().into_iter().map(|issued| issued.token);
    let mut secrets: Vec<String> = tokens.collect();
    secrets.extend([
        program.api.token().to_owned(),
        world.town.cloud.api_key(),
        world.seal_key.expose_secret().to_owned(),
    ]);
    let app = world.town.chain.app.to_string();
    for (place, text) in everything_said(&program.api, &id, &app).await {
        assert_absent(&place, &text, &secrets);
    }
    for (table, rows) in everything_kept(&world.database).await {
        assert_absent(&table, &rows, &secrets);
    }
    listening.abort();
    let mut heard = String::new();
    while let Some(event) = events.recv().await {
        heard.push_str(&event);
    }
    assert!(heard.contains(&id), "the stream told of the request: {heard}");
    assert_absent("the stream of events", &heard, &secrets);
    let log = program.terminate().await;
    assert!(log.contains("\"DEBUG\""), "the log tells everything it can");
    assert_absent("the log", &log, &secrets);
}

/// Parts of URLs, each a secret of somebody.
const IN_URLS: [&str; 8] = [
    "rpc-user-5d02f1",
    "rpc-password-8d21ca",
    "rpc-path-key-77ab01d4",
    "rpc-query-key-19c3e8",
    "socket-password-0b7e5a",
    "cloud-user-44a1b2",
    "cloud-password-e7d930",
    "hook-path-5c1f99aa",
];

#[tokio::test]
async fn no_key_in_a_url_is_ever_logged() {
    let world = World::new().await;
    let [user, password, path, query, socket, cloud_user, cloud_password, hook] = IN_URLS;
    let anvil = world.town.chain.rpc_url().authority().to_owned();
    let cloud = world.town.cloud.api_prefix().clone();
    let cloud = cloud.replace("http://", &format!("http://{cloud_user}:{cloud_password}@"));
    // A node that answers, one that is not there by this path, and a socket.
    let chain = format!(
        "8453=http://{user}:{password}@{anvil}/?key={query},http://{anvil}/v3/{path},\
         ws://{user}:{socket}@{anvil}/?key={query};quorum=1;depth=2;poll_ms=50;safe_service=off"
    );
    let program = world
        .spawn_with(|command| {
            command
                .env("COUNTERSIGN_CHAIN", &chain)
                .env("PHALA_CLOUD_API_PREFIX", &cloud)
                .env("COUNTERSIGN_WEBHOOK", format!("http://{anvil}/{hook}"))
                .env("RUST_LOG", "trace,alloy_rpc_client=trace,reqwest::connect=trace");
        })
        .await;
    let api = &program.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    assert_eq!(api.get("/readyz").await.status, 200, "Phala Cloud was asked");
    let told = api.get("/v1/chains").await;
    let states: Vec<_> = told.body[0]["endpoints"].as_array().unwrap().iter().collect();
    assert_eq!(states.len(), 3, "{}", told.text);
    let log = program.terminate().await;
    assert!(log.contains("\"DEBUG\""), "the log tells details: {log}");
    let secrets = IN_URLS.map(str::to_owned).to_vec();
    assert_absent("the log", &log, &secrets);
    for (name, password) in [(user, password), (user, socket), (cloud_user, cloud_password)] {
        let header = STANDARD.encode(format!("{name}:{password}"));
        assert!(!log.contains(&header), "the log tells a header of {name}");
    }
}

#[test]
fn the_search_finds_a_secret_in_every_spelling() {
    let secret = "f3b0c6f2-0000-4000-8000-000000000001";
    let encoded = |prefix: &str| STANDARD_NO_PAD.encode(format!("{prefix}{secret} and more"));
    for text in [
        secret.to_uppercase(),
        secret.replace('-', ""),
        hex::encode_upper(secret),
        encoded(""),
        encoded("a"),
        encoded("ab"),
    ] {
        let secret = vec![secret.to_owned()];
        let found = std::panic::catch_unwind(|| assert_absent("a text", &text, &secret));
        assert!(found.is_err(), "not found in {text}");
    }
}
