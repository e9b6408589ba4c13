//! What auditors take along: allowlist and ledger as files that say where they come from, searched and
//! as of a moment; what a removal would hit; and the journal as a chain that anybody can check.

use alloy::{primitives::B256, sol, sol_types::SolCall};
use chrono::TimeDelta;
use countersign::{
    dstack::Generation,
    request::ids::{ComposeHash, DeviceId},
    store::devices::ListedInstance,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::world::{Answer, Api, DEPTH, Running, World, api::make_token, eventually};

sol! {
    function addDevice(bytes32 deviceId) external;
    function removeDevice(bytes32 deviceId) external;
}

pub const DEVICE: B256 = B256::repeat_byte(0xd1);
pub const OTHER: B256 = B256::repeat_byte(0xd2);

/// A service whose app allowed two devices more and took one back, with all of it read.
pub async fn audited() -> (World, Running, String) {
    let mut world = World::with(|town| town.generation = Generation::G2).await;
    let app = world.town.chain.app;
    world.settings.chains[0].apps = vec![app];
    for call in [
        addDeviceCall { deviceId: DEVICE }.abi_encode(),
        addDeviceCall { deviceId: OTHER }.abi_encode(),
        removeDeviceCall { deviceId: OTHER }.abi_encode(),
    ] {
        world.as_the_safe(app.0, call.into()).await;
    }
    let running = world.start().await;
    let app = format!("/apps/{}/{app}", world.town.chain.chain_id);
    known(&running.api, &app, 8).await;
    (world, running, app)
}

/// Waits until so many events are in the ledger, each with who acted.
pub async fn known(api: &Api, app: &str, events: usize) -> Vec<Value> {
    eventually("the ledger with who acted", async || {
        let ledger = api.get(&format!("/v1{app}/ledger")).await.body;
        let ledger = ledger.as_array()?.clone();
        let is_whole = api.get(&format!("/v1{app}")).await.body["is_whole"] == true;
        let all_known = ledger.iter().all(|one| one["acted_by"].is_object());
        (is_whole && all_known && ledger.len() >= events).then_some(ledger)
    })
    .await
}

async fn good(api: &Api, path: &str) -> Answer {
    let answer = api.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer
}

/// The lines of a CSV, by the names of its columns.
fn lines(text: &str) -> Vec<Value> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let line = |record: csv::Result<csv::StringRecord>| {
        let record = record.expect("every line is as long as the first");
        names.iter().cloned().zip(record.iter().map(|cell| json!(cell))).collect::<Value>()
    };
    reader.records().map(line).collect()
}

/// The value of the one line of this kind.
fn fact<'a>(lines: &'a [Value], kind: &str) -> &'a str {
    let mut found = lines.iter().filter(|line| line["kind"] == kind);
    let value = found.next().unwrap_or_else(|| panic!("{kind} in {lines:#?}"));
    assert_eq!(found.next(), None, "{kind}");
    value["value"].as_str().unwrap()
}

/// CSV and JSON of one thing say the same of where they come from.
async fn states(api: &Api, csv: &[Value], statement: &Value) {
    let newest = &good(api, "/v1/journal?limit=1").await.body[0];
    let head = &statement["journal_head"];
    assert_eq!((&head["seq"], &head["hash"]), (&newest["seq"], &newest["hash"]));
    assert_eq!(fact(csv, "journal_hash"), newest["hash"].as_str().unwrap());
    assert_eq!(fact(csv, "journal_seq"), newest["seq"].to_string());
    assert_eq!(fact(csv, "service"), format!("{}/", api.base()));
    assert_eq!(statement["service"], fact(csv, "service"));
    assert_eq!(fact(csv, "app"), statement["app"].as_str().unwrap());
    assert!(statement["made_at"].is_string() && !fact(csv, "made_at").is_empty());
}

#[tokio::test]
async fn files_have_every_row_and_say_where_they_come_from() {
    let (world, running, app) = audited().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    // A viewer may not look at the journal, but may have what an export needs of it.
    let now = running.service.clock.now();
    let token = make_token(&running.service.store, &["viewer"], now).await;
    let viewer = api.with_token(&token);
    assert_eq!(viewer.get("/v1/journal").await.status, 403);
    assert_eq!(viewer.get("/v1/journal/chain").await.status, 403);

    let answer = good(&viewer, &format!("/v1{app}/allowlist/export?format=csv")).await;
    let header = |name| answer.headers[name].to_str().unwrap().to_owned();
    assert!(header("content-type").starts_with("text/csv"), "{}", header("content-type"));
    let disposition = header("content-disposition");
    assert!(disposition.starts_with("attachment; filename=\"allowlist-8453-0x"), "{disposition}");
    assert!(disposition.ends_with(".csv\""), "{disposition}");
    let csv = lines(&answer.text);
    let export = good(&viewer, &format!("/v1{app}/allowlist/export?format=json")).await.body;
    let entries = export["allowlist"]["entries"].as_array().unwrap();
    let is_entry =
        |line: &&Value| ["device", "compose_hash"].iter().any(|kind| line["kind"] == *kind);
    let of_csv: Vec<&Value> = csv.iter().filter(is_entry).collect();
    assert_eq!((of_csv.len(), entries.len()), (3, 3), "{csv:#?}");
    for (line, entry) in of_csv.iter().zip(entries) {
        for column in ["kind", "value"] {
            assert_eq!(line[column], entry[column]);
        }
        assert_eq!(line["transaction"], entry["tx"]);
        assert_eq!(line["since_block"], json!(entry["since"]["number"].to_string()));
        assert!(!line["acted_by"].as_str().unwrap().is_empty());
    }
    assert_eq!(fact(&csv, "owner"), export["allowlist"]["owner"].as_str().unwrap());
    states(api, &csv, &export["statement"]).await;
    assert!(export["statement"]["as_of_block_hash"].is_string(), "{export:#}");

    let events = good(api, &format!("/v1{app}/ledger")).await.body.as_array().unwrap().clone();
    let answer = good(&viewer, &format!("/v1{app}/ledger/export?format=csv")).await;
    let csv = lines(&answer.text);
    let export = good(&viewer, &format!("/v1{app}/ledger/export")).await.body;
    assert_eq!(export["ledger"], json!(events), "JSON unless asked otherwise");
    let of_csv: Vec<&Value> = csv.iter().filter(|line| line["block"] != "").collect();
    assert_eq!(of_csv.len(), events.len());
    for (line, event) in of_csv.iter().zip(&events) {
        assert_eq!((&line["kind"], &line["words"]), (&event["kind"], &event["words"]));
        assert_eq!((&line["value"], &line["transaction"]), (&event["value"], &event["tx"]));
    }
    states(api, &csv, &export["statement"]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_a_spreadsheet_would_calculate_is_text() {
    let (world, running, app) = audited().await;
    let harm = "update ledger set kind = '=HYPERLINK(\"https://evil.example\",\"a, b\")'
                where kind = 'device_removed'";
    world.database.execute(harm).await;
    let csv = good(&running.api, &format!("/v1{app}/ledger/export?format=csv")).await.text;
    let found = lines(&csv);
    let line = found.iter().find(|line| line["kind"].as_str().unwrap().contains("HYPERLINK"));
    let line = line.expect("the event is there, as it is stored");
    assert_eq!(line["kind"], "'=HYPERLINK(\"https://evil.example\",\"a, b\")");
    assert!(line["words"].as_str().unwrap().starts_with("'=HYPERLINK("), "{line}");
    for line in &found {
        for cell in line.as_object().unwrap().values() {
            let cell = cell.as_str().unwrap();
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_ledger_is_searched_and_its_files_have_what_was_found() {
    let (_world, running, app) = audited().await;
    let api = &running.api;
    let all = known(api, &app, 8).await;
    let blocks = |rows: &Value| -> Vec<u64> {
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| row["block"]["number"].as_u64().unwrap())
            .collect()
    };
    let last = all.last().unwrap()["block"]["number"].as_u64().unwrap();
    let other = OTHER.to_string();
    for (query, expected) in [
        ("kind=device_removed".to_owned(), vec![last]),
        (format!("q={}", &other[..12]), vec![last - 1, last]),
        (
            format!("q={}&kind=device_added", other.to_uppercase().replace("0X", "0x")),
            vec![last - 1],
        ),
        (format!("from={}&to={}", last - 2, last - 1), vec![last - 2, last - 1]),
        (format!("from={}", last + 1), vec![]),
        ("q=no%20such%20thing".into(), vec![]),
    ] {
        let found = good(api, &format!("/v1{app}/ledger?{query}")).await.body;
        assert_eq!(blocks(&found), expected, "{query}");
        let export = good(api, &format!("/v1{app}/ledger/export?{query}")).await.body;
        assert_eq!(export["ledger"], found, "{query}");
        let page = good(api, &format!("{app}/ledger?{query}")).await.text;
        let heading = format!("{} of {} entries", expected.len(), all.len());
        assert!(page.contains(&heading), "{query}: {page}");
    }
    // A page of what was found leads to the next page of it.
    let answer = good(api, &format!("/v1{app}/ledger?limit=1&q={}", &other[..12])).await;
    let link = answer.headers["link"].to_str().unwrap();
    let next = good(api, &link[1..link.find('>').unwrap()]).await;
    assert_eq!((blocks(&next.body), next.headers.get("link")), (vec![last], None));
    let block = last - 1;
    let export = good(api, &format!("/v1{app}/ledger/export?to={block}")).await.body;
    assert_eq!(export["statement"]["as_of_block"], block);
    assert_eq!(export["statement"]["as_of_block_hash"], Value::Null);
    for (query, field) in
        [("kind=moon_landed".to_owned(), "kind"), (format!("q={}", "x".repeat(201)), "q")]
    {
        for path in [format!("/v1{app}/ledger?{query}"), format!("/v1{app}/ledger/export?{query}")]
        {
            let answer = api.get(&path).await;
            assert_eq!((answer.status, &answer.body["field"]), (422, &json!(field)), "{path}");
        }
    }
    assert_eq!(api.get(&format!("/v1{app}/ledger/export?format=pdf")).await.status, 400);
    running.stop().await;
}

#[tokio::test]
async fn an_allowlist_is_as_of_a_moment() {
    let (_world, running, app) = audited().await;
    let api = &running.api;
    let ledger = known(api, &app, 8).await;
    let added = ledger.iter().find(|one| one["value"] == json!(OTHER)).unwrap();
    let at = |time: &str| format!("time={}", time.replace('+', "%2B"));
    let time: countersign::clock::Time = added["block_time"].as_str().unwrap().parse().unwrap();
    let second = chrono::TimeDelta::seconds(1);
    let has = async |time: countersign::clock::Time| {
        let query = at(&time.to_rfc3339());
        let list = good(api, &format!("/v1{app}/allowlist?{query}")).await.body;
        let has = |one: &Value| one["value"] == json!(OTHER);
        let there = list["entries"].as_array().unwrap().iter().any(has);
        (there, list["at"].as_u64().unwrap())
    };
    let block = added["block"]["number"].as_u64().unwrap();
    let before = has(time - second).await;
    assert!(!before.0 && before.1 < block, "{before:?} {block}");
    let at_it = has(time).await;
    // Blocks of a test chain may share a second, and the removal with them.
    assert!(at_it.1 >= block, "{at_it:?} {block}");
    let same = good(api, &format!("/v1{app}/allowlist?at={}", at_it.1)).await.body;
    let there = same["entries"].as_array().unwrap().iter().any(|one| one["value"] == json!(OTHER));
    assert_eq!(there, at_it.0);
    let page = good(api, &format!("{app}?{}", at(&(time - second).to_rfc3339()))).await.text;
    assert!(page.contains(&format!("as of block {}", before.1)), "{page}");
    // The second before may be that of the first event, or lie before all of them.
    let first = ledger.iter().filter_map(|one| one["block"]["number"].as_u64()).min().unwrap();
    let answer = if before.1 < first {
        "No event is known up to that moment".to_owned()
    } else {
        format!("Block {} answers", before.1)
    };
    assert!(page.contains(&answer), "{answer} in {page}");
    let page = good(api, &format!("{app}?time=2001-01-01")).await.text;
    assert!(page.contains("No event is known up to that moment"), "{page}");
    for (query, code) in [
        ("time=2999-01-01", "beyond-head"),
        ("time=yesterday", "invalid-field"),
        ("at=1&time=2026-01-01", "invalid-field"),
    ] {
        let answer = api.get(&format!("/v1{app}/allowlist?{query}")).await;
        assert_eq!(
            (answer.status, &answer.body["field"]),
            (422, &json!("time")),
            "{}",
            answer.text
        );
        assert_eq!(answer.body["code"], code, "{query}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_removal_says_which_instances_nodes_and_requests_it_would_hit() {
    let (world, running, app) = audited().await;
    let api = &running.api;
    let id = world.carry(api, &world.submission(&world.prepare().await)).await;
    let request = api.wait_for(&id, "running").await;
    let waiting = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    api.wait_for(&waiting, "proposed").await;
    let removal_of = async |value: &Value| {
        let list = good(api, &format!("/v1{app}/allowlist")).await.body;
        let entries = list["entries"].as_array().unwrap().clone();
        let entry = entries.into_iter().find(|one| one["value"] == *value);
        entry.unwrap_or_else(|| panic!("{value} in {list:#}"))["removal"].clone()
    };
    let replica = &request["replica"]["id"];
    let device = removal_of(&request["device_id"]).await;
    assert!(device["instances"].as_array().unwrap().contains(replica), "{device}");
    assert!(device["nodes"].as_array().unwrap().contains(&request["node_id"]), "{device}");
    let compose = removal_of(&request["compose_hash"]).await;
    assert!(compose["instances"].as_array().unwrap().contains(replica), "{compose}");
    assert_eq!(compose["requests"], json!([waiting]));
    assert!(compose["nodes"].as_array().unwrap().contains(&json!("7")), "{compose}");
    let nothing = json!({ "instances": [], "requests": [], "nodes": [] });
    assert_eq!(removal_of(&json!(DEVICE)).await, nothing);
    let page = good(api, &app).await.text;
    assert!(!page.contains("nobody known here") && page.contains("has not been read"), "{page}");
    // Then the instances are listed, the source among them, which was not made here.
    world.clock.pass(TimeDelta::minutes(11));
    let (source, its_device) = (json!(world.town.source), json!(world.town.nodes[0].device_id));
    eventually("the source as one that needs its device", async || {
        let device = removal_of(&its_device).await;
        device["instances"].as_array()?.contains(&source).then_some(())
    })
    .await;
    let page = good(api, &app).await.text;
    assert!(page.contains("nobody known here") && page.contains("on the way"), "{page}");
    // What is deleted needs nothing any more, whoever made it.
    let gone = removal_of(&request["device_id"]).await;
    assert!(gone["instances"].as_array().unwrap().contains(replica), "{gone}");
    let (prefix, id) = (&world.settings.phala_api_prefix, replica.as_str().unwrap());
    let deleted = Api::bare()
        .delete(format!("{prefix}/cvms/{id}"))
        .header("X-API-Key", world.town.cloud.api_key())
        .send()
        .await;
    assert!(deleted.unwrap().status().is_success());
    world.clock.pass(TimeDelta::minutes(11));
    eventually("a list without it", async || {
        let device = removal_of(&request["device_id"]).await;
        (!device["instances"].as_array()?.contains(replica)).then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn what_was_made_here_needs_its_entries_until_a_list_shows_otherwise() {
    let (world, running, app) = audited().await;
    let api = &running.api;
    let id = world.carry(api, &world.submission(&world.prepare().await)).await;
    let request = api.wait_for(&id, "running").await;
    let needs = async |value: &Value, replica: &Value| {
        let list = good(api, &format!("/v1{app}/allowlist")).await.body;
        let entries = list["entries"].as_array().unwrap().clone();
        let entry = entries.into_iter().find(|one| one["value"] == *value).expect("it is allowed");
        entry["removal"]["instances"].as_array().unwrap().contains(replica)
    };
    let (replica, device, compose) =
        (&request["replica"]["id"], &request["device_id"], &request["compose_hash"]);
    let shown = ListedInstance {
        id: replica.as_str().unwrap().parse().unwrap(),
        app: world.town.chain.app,
        device: Some(device.as_str().unwrap().parse().unwrap()),
        node: Some("6".parse().unwrap()),
        compose: Some(compose.as_str().unwrap().parse().unwrap()),
        status: "running".into(),
        seen_at: running.service.clock.now(),
    };
    let other = ListedInstance {
        device: Some(DeviceId(DEVICE)),
        compose: Some(ComposeHash([0xcc; 32].into())),
        ..shown.clone()
    };
    world.clock.pass(TimeDelta::minutes(6));
    let now = running.service.clock.now();
    for (case, list, needed) in [
        ("as it was made", vec![shown.clone()], [true, true]),
        (
            "its device is not shown",
            vec![ListedInstance { device: None, ..shown.clone() }],
            [true, true],
        ),
        (
            "neither is what it runs, nor where",
            vec![ListedInstance { device: None, compose: None, node: None, ..shown.clone() }],
            [true, true],
        ),
        ("it runs something else, elsewhere", vec![other], [false, false]),
        ("it is gone", vec![], [false, false]),
    ] {
        running.service.store.saw_instances(shown.app, &list, now).await.unwrap();
        let told = [needs(device, replica).await, needs(compose, replica).await];
        assert_eq!(told, needed, "{case}");
    }
    let early = running.service.clock.now() - TimeDelta::minutes(3);
    running.service.store.saw_instances(shown.app, &[], early).await.unwrap();
    assert!(needs(device, replica).await, "what was made is listed a moment later");

    // What failed after its commit runs all the same, perhaps.
    world.switch(json!({ "boot_compose_hash": "cc".repeat(32) }));
    let prepared = world.prepare_on(7).await;
    let failed = api.submit(&world.submission_on(&prepared, 7)).await;
    world.sign(api, &failed).await;
    world.execute(api, &failed).await;
    world.mine(DEPTH).await;
    let failed = api.wait_for(&failed, "failed").await;
    assert!(needs(&failed["device_id"], &failed["replica"]["id"]).await, "{failed:#}");
    running.stop().await;
}

/// The hash of an entry as the documentation has it.
fn hash_of(entry: &Value) -> String {
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| entry[name].as_i64().unwrap().to_be_bytes();
    let mut hasher = Sha256::new();
    hasher.update(alloy::hex::decode(text("prev_hash")).unwrap());
    hasher.update(number("seq"));
    hasher.update(number("at_micros"));
    let request = alloy::hex::decode(text("request").replace('-', "")).unwrap();
    for part in [request, text("actor").into_bytes(), text("kind").into_bytes()] {
        hasher.update(u64::try_from(part.len()).unwrap().to_be_bytes());
        hasher.update(part);
    }
    hasher.update(text("body"));
    alloy::hex::encode(hasher.finalize())
}

#[tokio::test]
async fn the_journal_is_a_chain_that_anybody_can_check() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    world.sign(api, &id).await;
    let chain = good(api, "/v1/journal/chain").await.body.as_array().unwrap().clone();
    assert!(chain.len() >= 4, "{chain:#?}");
    let mut last = "0".repeat(64);
    for (place, entry) in (1..).zip(&chain) {
        assert_eq!((&entry["seq"], &entry["prev_hash"]), (&json!(place), &json!(last)));
        last = hash_of(entry);
        assert_eq!(entry["hash"], json!(last));
    }
    let head = good(api, "/v1/journal?limit=1").await.body[0]["hash"].clone();
    assert_eq!(head, json!(last));
    let rest = good(api, "/v1/journal/chain?after=1&limit=2").await.body;
    assert_eq!(rest, json!(chain[1..3]));
    assert_eq!(
        good(api, &format!("/v1/journal/chain?after={}", chain.len())).await.body,
        json!([])
    );
    for wrong in ["limit=0", "limit=501", "before=1"] {
        let status = api.get(&format!("/v1/journal/chain?{wrong}")).await.status;
        assert!(matches!(status, 400 | 422), "{wrong}");
    }
    running.stop().await;
}
