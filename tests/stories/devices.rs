//! What a device id means: its node, the ids that node had before, and who uses it.

use chrono::TimeDelta;
use countersign::request::ids::DeviceId;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::world::{Api, World, eventually, process::cli};

async fn device(api: &Api, id: DeviceId) -> Value {
    let answer = api.get(&format!("/v1/devices/{id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.body
}

/// Waits until a device is told in these words.
async fn told(api: &Api, id: DeviceId, words: &str) -> Value {
    eventually(format!("a device that is {words:?}"), async || {
        let found = device(api, id).await;
        found["words"].as_str().unwrap().contains(words).then_some(found)
    })
    .await
}

#[tokio::test]
async fn a_node_is_no_device_id_and_what_is_one_is_said() {
    let nobody = Api::new("http://127.0.0.1:9", "");
    let (code, _, said) = cli(&nobody, &["device", "prod6"]).await;
    assert!(code == 2 && said.contains("A node is not named here"), "{code} {said}");
}

#[tokio::test]
async fn a_node_that_gets_another_device_keeps_its_history() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let node = &world.town.nodes[1];
    let found = told(api, node.device_id, "node prod6 (6), us-west").await;
    assert_eq!(found["warnings"], json!([]));
    assert_eq!(found["nodes"][0]["kms"], json!(["kms-devnet"]));

    let id = api.submit(&world.submission(&world.prepare().await)).await;
    let request = api.request(&id).await;
    assert_eq!(request["device_meaning"]["words"], "node prod6 (6), us-west");
    let page = api.get(&format!("/requests/{id}")).await.text;
    assert!(page.contains("node prod6 (6), us-west"), "{page}");
    let uses = |found: &Value| found["requests"][0]["id"] == id.as_str();
    assert!(uses(&device(api, node.device_id).await));

    let newer = DeviceId([0xd7; 32].into());
    world.set_device(node.id, newer);
    world.clock.pass(TimeDelta::minutes(6));
    let now = told(api, newer, "node prod6").await;
    let ids = now["nodes"][0]["device_ids"].as_array().unwrap();
    assert_eq!(ids.len(), 2, "{now:#}");
    assert_eq!((&ids[0]["is_listed"], &ids[1]["is_listed"]), (&json!(true), &json!(false)));
    assert_eq!(ids[1]["device_id"], node.device_id.to_string());
    assert!(ids[1]["gone_at"].is_string(), "{now:#}");
    let old = device(api, node.device_id).await;
    assert_eq!(old["warnings"][0]["code"], "stale", "{old:#}");
    let request = api.request(&id).await;
    assert_eq!(request["device_meaning"]["warnings"][0]["code"], "stale");
    let warnings = api.proposal(&id).await["review_warnings"].to_string();
    assert!(warnings.contains("has another device id now"), "{warnings}");
    let (code, shown, _) = cli(api, &["device", &node.device_id.to_string()]).await;
    assert_eq!(code, 3, "{shown}");
    assert!(shown.contains("prod6") && shown.contains("the list of nodes"), "{shown}");
    running.stop().await;
}

#[tokio::test]
async fn instances_and_apps_tell_who_uses_a_device() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    world.clock.pass(TimeDelta::minutes(11));
    let source = world.town.nodes[0].device_id;
    let found = eventually("the instance on the device of the source", async || {
        let found = device(api, source).await;
        (!found["instances"].as_array().unwrap().is_empty()).then_some(found)
    })
    .await;
    assert_eq!(found["instances"][0]["app"], json!(world.town.chain.app));
    let used = eventually("the app that allows it", async || {
        let found = device(api, source).await;
        (!found["apps"].as_array().unwrap().is_empty()).then_some(found)
    })
    .await;
    assert_eq!(used["apps"][0]["is_allowed"], true, "{used:#}");
    world.sign(api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_request_for_a_new_node_does_not_wait_for_the_next_list_of_nodes() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    told(api, world.town.nodes[0].device_id, "node prod5").await;
    world.town.add_node(31);
    world.clock.pass(TimeDelta::seconds(11));
    let body = world.submission_on(&world.prepare_on(31).await, 31);
    let id = api.submit(&body).await;
    let named: DeviceId = api.request(&id).await["device_id"].as_str().unwrap().parse().unwrap();
    let found = told(api, named, "node prod31 (31), eu-central").await;
    assert_eq!(found["warnings"], json!([]), "{found:#}");
    running.stop().await;
}

#[tokio::test]
async fn odd_devices_are_warned_of() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    told(api, world.town.nodes[0].device_id, "node prod5").await;
    let of_nothing: [u8; 32] = Sha256::digest([]).into();
    for (id, code) in [([0; 32], "zero"), (of_nothing, "of_nothing"), ([0x42; 32], "unknown")] {
        let found = device(api, DeviceId(id.into())).await;
        assert_eq!(found["warnings"][0]["code"], code, "{found:#}");
    }
    assert_eq!(api.get("/v1/devices/nonsense").await.status, 404);
    assert_eq!(
        api.with_token("").get(&format!("/v1/devices/{}", DeviceId([1; 32].into()))).await.status,
        401
    );
    running.stop().await;
}
