//! What a compose hash means: proved, unproved or contradicted, and what follows from it.

mod office;

use chrono::TimeDelta;
use countersign::compose::{Compose, Form};
use serde_json::{Value, json};

use crate::world::{Api, Running, World, eventually, process::cli};
use office::{Office, Papers};

/// The document behind the compose hash of the town.
async fn document(world: &World) -> String {
    let cloud = &world.town.cloud;
    let path = format!("{}/cvms/{}/compose_file?raw=true", cloud.api_prefix(), world.town.source);
    let answer = Api::bare().get(path).header("X-API-Key", cloud.api_key()).send().await;
    answer.expect("the emulator answers").text().await.expect("a document is a text")
}

fn hash_of(text: &str) -> String {
    Compose::parse(text.as_bytes()).unwrap().forms().raw.to_string()
}

async fn compose(api: &Api, id: &str) -> Value {
    let answer = api.get(&format!("/v1/requests/{id}/compose")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.body
}

/// Waits until the proof of a request is in this state after a look.
async fn proof(api: &Api, id: &str, state: &str) -> Value {
    let request = api
        .look(id, &format!("its compose hash to be {state}"), |request| {
            let proof = &request["compose_proof"];
            proof["state"] == state && (state == "proved" || proof["looked_at"].is_string())
        })
        .await;
    request["compose_proof"].clone()
}

async fn opened(world: &World, running: &Running) -> String {
    running.api.submit(&world.submission(&world.prepare().await)).await
}

/// The document with other words in it.
fn altered(document: &str) -> String {
    document.replace("payments", "payment5")
}

#[tokio::test]
async fn what_a_replica_runs_is_proved_by_the_document_of_its_source() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = opened(&world, &running).await;
    let proved = proof(api, &id, "proved").await;
    assert_eq!((&proved["form"], &proved["source"]), (&json!("raw"), &json!("cvm")));
    let found = compose(api, &id).await;
    assert_eq!(found["running"]["is_same"], true, "{found:#}");
    assert!(found["approved"].is_null(), "nobody knows an earlier document: {found:#}");
    let rules: Vec<_> = found["lint"].as_array().unwrap().iter().map(|one| &one["place"]).collect();
    assert_eq!(rules, ["/public_logs", "/public_sysinfo", "/allowed_envs"], "{found:#}");

    let hash = world.town.compose_hash.to_string();
    let answer = api.get(&format!("/v1/compose/{hash}")).await;
    assert_eq!((answer.status, hash_of(&answer.text)), (200, hash.clone()));
    let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    assert!(header("content-type").starts_with("text/plain"));
    assert!(header("content-disposition").starts_with("attachment;"));
    assert_eq!(header("x-content-type-options"), "nosniff");
    for path in [format!("/v1/compose/{hash}"), format!("/v1/requests/{id}/compose")] {
        assert_eq!(
            api.with_token("").get(&path).await.status,
            401,
            "{path} is read by readers only"
        );
    }
    let page = api.get(&format!("/requests/{id}")).await.text;
    assert!(
        page.contains("What the compose hash means") && page.contains("The very same document")
    );
    assert!(!page.contains("Do not sign before"), "{page}");
    let proposal = api.proposal(&id).await;
    assert_eq!(proposal["review_warnings"], json!([]));
    let list = api.get("/v1/requests").await.body;
    assert_eq!(list["requests"][0]["compose_proof"]["state"], "proved");
    let (_, shown, _) = cli(api, &["show", &id]).await;
    assert!(shown.contains("proved: a document from CVM"), "{shown}");
    let (_, asked, _) = cli(api, &["payload", &id]).await;
    for told in [shown, asked, proposal["compose_reviews"].to_string()] {
        assert!(told.contains("everybody can read the logs"), "the finding itself: {told}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_document_that_is_withheld_leaves_its_hash_unproved_everywhere() {
    let mut world = World::new().await;
    let text = document(&world).await;
    let office = Office::before(&mut world, Papers::default()).await;
    let running = world.start().await;
    let api = &running.api;
    let id = opened(&world, &running).await;
    let before = api.proposal(&id).await;
    let unproved = proof(api, &id, "unproved").await;
    let tried = unproved["tried"].as_array().unwrap();
    for place in ["CVM ", "the app's revisions", "the app's instances", "attestation of CVM "] {
        let is_there = |one: &Value| one["place"].as_str().unwrap().starts_with(place);
        assert!(tried.iter().any(is_there), "{place} is missing in {unproved:#}");
    }
    let proposal = api.proposal(&id).await;
    assert_eq!(proposal["safe_tx_hash"], before["safe_tx_hash"], "the transaction is the same");
    assert!(proposal["review_warnings"][0].as_str().unwrap().contains("unproved"), "{proposal:#}");
    let page = api.get(&format!("/requests/{id}")).await.text;
    assert!(page.contains("Do not sign before") && page.contains("unproved"), "{page}");
    assert!(api.get("/").await.text.contains("compose hash unproved"));
    for (command, expected) in [("payload", 3), ("show", 0)] {
        let (code, told, _) = cli(api, &[command, &id]).await;
        assert!(code == expected && told.contains("unproved"), "{command}: {code} {told}");
    }
    let (_, told, _) = cli(api, &["list"]).await;
    assert!(told.contains("compose hash unproved"), "{told}");

    // It is not a verdict: what is shown later proves it, and keeps the signatures.
    world.sign_by(api, &id, 0).await;
    office.put(Papers { of_cvms: Some(text.into_bytes()), ..Papers::default() });
    world.clock.pass(TimeDelta::hours(1));
    proof(api, &id, "proved").await;
    let proposal = api.proposal(&id).await;
    assert_eq!(proposal["review_warnings"], json!([]));
    assert_eq!(proposal["confirmations"].as_array().unwrap().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_cloud_that_cannot_be_read_contradicts_nothing() {
    let mut world = World::new().await;
    let papers = Papers { broken: Some(503), ..Papers::default() };
    let _office = Office::before(&mut world, papers).await;
    let running = world.start().await;
    let id = opened(&world, &running).await;
    let unproved = proof(&running.api, &id, "unproved").await;
    let told = unproved["tried"].to_string();
    assert!(told.contains("could not be read"), "{told}");
    world.sign(&running.api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_document_that_is_altered_contradicts_its_hash() {
    let mut world = World::new().await;
    let sly = altered(&document(&world).await);
    let hash = world.town.compose_hash.to_string();
    let of_cvms = Papers { of_cvms: Some(sly.clone().into_bytes()), ..Papers::default() };
    let revision = Papers { revisions: vec![(hash, json!(sly))], ..Papers::default() };
    let office = Office::before(&mut world, of_cvms).await;
    for (papers, place) in [(None, "CVM "), (Some(revision), "revision rev_0 ")] {
        if let Some(papers) = papers {
            office.put(papers);
        }
        let running = world.start().await;
        let api = &running.api;
        let prepared = world.prepare_on(7).await;
        let id =
            api.post("/v1/requests", &world.submission_on(&prepared, 7)).await.body["id"].clone();
        let id = id.as_str().unwrap();
        world.clock.pass(TimeDelta::days(1));
        let told = api
            .look(id, "a contradiction", |request| {
                let words = request["compose_proof"]["words"].as_str().unwrap_or_default();
                words.starts_with(&format!("contradicted: {place}"))
            })
            .await;
        assert_eq!(told["compose_proof"]["state"], "contradicted");
        let warnings = api.proposal(id).await["review_warnings"].to_string();
        assert!(warnings.contains("contradicted"), "{warnings}");
        assert!(api.get("/").await.text.contains("compose hash contradicted"));
        assert!(compose(api, id).await["lint"].is_null(), "nothing in it is believed");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_document_that_is_written_in_another_way_proves_the_hash_of_its_form() {
    let mut world = World::new().await;
    let text = document(&world).await;
    // With blanks, and with what its runner does not use.
    let mut value: Value = serde_json::from_str(&text).unwrap();
    value["bash_script"] = Value::Null;
    let odd = serde_json::to_string_pretty(&value).unwrap();
    let hash = world.town.compose_hash.to_string();
    let revisions = vec![(hash.clone(), value.clone())];
    let by_text = Papers { of_cvms: Some(odd.clone().into_bytes()), ..Papers::default() };
    let quoted = json!(odd).to_string().into_bytes();
    for (papers, source) in [
        (by_text.clone(), "cvm"),
        (Papers { of_cvms: Some(quoted), ..Papers::default() }, "cvm"),
        (Papers { revisions, ..Papers::default() }, "revision"),
        (Papers { attested: Some(odd.clone()), ..Papers::default() }, "attestation"),
    ] {
        let _office = Office::before(&mut world, papers).await;
        world.database = crate::world::database().await;
        let running = world.start().await;
        let id = opened(&world, &running).await;
        let proved = proof(&running.api, &id, "proved").await;
        let form = Form::NormalizedCompact.as_str();
        assert_eq!((&proved["form"], &proved["source"]), (&json!(form), &json!(source)));
        let kept = running.api.get(&format!("/v1/compose/{hash}")).await;
        assert_eq!(hash_of(&kept.text), hash, "what is kept is what is hashed");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_policy_proposes_nothing_before_the_document_is_handed_in() {
    let mut world = World::new().await;
    world.settings.require_compose_proof = true;
    let text = document(&world).await;
    let sly = altered(&text);
    let papers = Papers { of_cvms: Some(sly.clone().into_bytes()), ..Papers::default() };
    let _office = Office::before(&mut world, papers).await;
    let running = world.start().await;
    let api = &running.api;
    let id = opened(&world, &running).await;
    let held = api.wait_for_reason(&id, "the policy is to propose nothing").await;
    let next = held["explanation"]["next"].as_str().unwrap();
    assert!(next.starts_with("once the document of the compose hash is found"), "{next}");
    proof(api, &id, "contradicted").await;
    let path = format!("/v1/requests/{id}/compose");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (code, _, told) = cli(api, &["compose", "attach", &id, &file("sly", &sly)]).await;
    assert!(code == 1 && told.contains("another document"), "{code} {told}");
    for (body, code) in [
        (sly.as_str(), "other-document"),
        ("{", "no-document"),
        ("{\"a\":1,\"a\":2}", "no-document"),
        ("{\"runner\":\"bash\"}", "no-document"),
        (&"[".repeat(100_000), "no-document"),
    ] {
        let answer = api.post_text(&path, body).await;
        assert_eq!((answer.status, &answer.body["code"]), (422, &json!(code)), "{}", answer.text);
        assert!(!answer.text.contains("payment5"), "nothing is repeated");
    }
    let too_long = format!("{{\"a\":\"{}\"}}", "x".repeat(500_000));
    assert_eq!(api.post_text(&path, &too_long).await.status, 413);
    assert_eq!(api.with_token("").post_text(&path, &text).await.status, 401);
    assert_eq!(api.request(&id).await["status"], "prepared", "nothing was proposed so far");

    let (code, told, _) = cli(api, &["compose", "attach", &id, &file("ours", &text)]).await;
    assert!(code == 0 && told.contains("handed in by token:story"), "{code} {told}");
    assert_eq!(api.post_text(&path, &text).await.status, 200, "the same again is harmless");
    let attached = |one: &&Value| one["kind"] == "document_attached";
    let timeline = api.timeline(&id).await;
    let told: Vec<_> = timeline.iter().filter(attached).collect();
    assert_eq!(told.len(), 1, "once: {timeline:#?}");
    let hash = world.town.compose_hash.to_string();
    assert_eq!(
        (&told[0]["actor"], &told[0]["body"]["compose_hash"]),
        (&json!("token:story"), &json!(hash))
    );
    let page = api.get(&format!("/requests/{id}")).await.text;
    assert!(page.contains("handed in the document of compose hash"), "{page}");
    api.wait_for(&id, "proposed").await;
    assert_eq!(proof(api, &id, "proved").await["source"], "attached");
    assert_eq!(api.proposal(&id).await["review_warnings"], json!([]));
    running.stop().await;
}

#[tokio::test]
async fn what_changes_is_shown_beside_what_runs_and_hostile_words_stay_words() {
    let mut world = World::new().await;
    let text = document(&world).await;
    let old = json!({ "runner": "docker-compose", "name": "old", "allowed_envs": ["A"],
        "pre_launch_script": "echo <script>alert(1)</script> \u{202e}\u{1b}[31m</pre>",
        "docker_compose_file": "services:\n  web:\n    image: nginx:1\n" })
    .to_string();
    let hash = world.town.compose_hash.to_string();
    let papers = Papers {
        of_cvms: Some(old.clone().into_bytes()),
        runs: Some(hash_of(&old)),
        revisions: vec![(hash, json!(text))],
        ..Papers::default()
    };
    let _office = Office::before(&mut world, papers).await;
    let running = world.start().await;
    let api = &running.api;
    let id = opened(&world, &running).await;
    assert_eq!(proof(api, &id, "proved").await["source"], "revision");
    let found = eventually("the difference", async || {
        let found = compose(api, &id).await;
        found["running"]["diff"].is_object().then_some(found)
    })
    .await;
    assert_eq!(found["running"]["compose_hash"], hash_of(&old));
    assert_eq!(found["lint_beside"], hash_of(&old));
    let rules: Vec<_> = found["lint"].as_array().unwrap().iter().map(|one| &one["rule"]).collect();
    assert_eq!(rules, ["new-env", "flag", "flag", "script-gone"], "{found:#}");
    let changes = found["running"]["diff"]["changes"].to_string();
    assert!(changes.contains("/docker_compose_file/services/web/image"), "{changes}");
    let review = api.request(&id).await["compose_review"].clone();
    assert_eq!((&review["beside"], &review["more"]), (&json!(hash_of(&old)), &json!(0)));
    for command in ["show", "payload"] {
        let (_, told, _) = cli(api, &[command, &id]).await;
        for words in ["pre_launch_script is there no longer", "nginx:1"] {
            assert!(told.contains(words), "{command} should say {words}: {told}");
        }
    }
    let page = api.get(&format!("/requests/{id}")).await.text;
    assert!(page.contains("what the source runs") && page.contains("nginx:1"), "{page}");
    assert!(page.contains("\\u{202e}\\u{1b}[31m&#60;/pre&#62;"), "{page}");
    assert!(!page.contains(['\u{202e}', '\u{1b}']) && !page.contains("<script>alert"), "{page}");
    running.stop().await;
}

#[tokio::test]
async fn documents_that_cannot_be_used_prove_nothing_and_hold_nobody_up() {
    let mut world = World::new().await;
    let office = Office::before(&mut world, Papers::default()).await;
    let running = world.start().await;
    let api = &running.api;
    let id = opened(&world, &running).await;
    proof(api, &id, "unproved").await;
    for (bytes, why) in [
        (b"\xff\xfe".to_vec(), "not UTF-8"),
        (b"{\"a\":1,\"a\":2}".to_vec(), "a key that is there twice"),
        (vec![b'['; 300_000], "nested deeper"),
        (vec![b' '; 500_000], "bytes; a compose document has at most"),
        (b"{\"runner\":\"bash\"}".to_vec(), "contradicts itself"),
        (b"".to_vec(), "not a JSON document"),
    ] {
        office.put(Papers { of_cvms: Some(bytes), ..Papers::default() });
        world.clock.pass(TimeDelta::hours(7));
        api.look(&id, why, |request| {
            let proof = &request["compose_proof"];
            proof["state"] == "unproved" && proof["tried"].to_string().contains(why)
        })
        .await;
    }
    running.stop().await;
}
