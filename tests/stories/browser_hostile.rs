//! Texts that mean harm, wherever a page shows a text: none of them runs, hides or breaks anything.

use alloy::hex;
use countersign::{clock::Clock, devnet::cloud::EmulatedNode};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::browser::{hold_the_law, node_is_known, page, submit_on};
use crate::world::{Api, World, browser::Browser, eventually};

/// What is tried. `pwned` is what a script of theirs would leave behind.
const HARM: &str = "<script>pwned=1</script><img src=x onerror=pwned=1>\"'><svg onload=pwned=1>\
    <a href=\"javascript:pwned=1\">press</a></title></textarea>{{7*7}}";
/// As it must be seen: turned nowhere, and nothing between the letters.
const STEERING: &str = "safe\u{202e}gnp.exe\u{200b}\u{2066}end";
const STEERING_SHOWN: &str = "safe\\u{202e}gnp.exe\\u{200b}\\u{2066}end";

#[tokio::test]
async fn texts_that_mean_harm_are_shown_and_do_nothing() {
    let Some(browser) = Browser::start().await else { return };
    let world = World::new().await;
    world.town.cloud.add_node(EmulatedNode {
        id: 31,
        name: format!("{HARM}{STEERING}"),
        device_id: countersign::request::ids::DeviceId([0x31; 32].into()),
        region: HARM.into(),
    });
    let running = world.start().await;
    let api = &running.api;
    let noted = submit_on(&world, api, 32, &format!("{HARM} {STEERING}")).await;
    let long = submit_on(&world, api, 33, &"W".repeat(2_000)).await;
    let mut body = world.submission_on(&world.prepare_on(31).await, 31);
    body["note"] = json!("a note");
    let named = api.submit(&body).await;
    // Before the last: no node has its device, and the nodes are listed again for that, once.
    let composed = submit_composed(&world, api).await;
    let refused = submit_on(&world, api, 34, "x").await;
    let reason = json!({ "reason": format!("{HARM} {STEERING}") });
    let answer = api.post(&format!("/v1/requests/{refused}/reject"), &reason).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    eventually("all to be proposed", async || {
        let list = api.get("/v1/requests?status=proposed").await;
        (list.body["requests"].as_array()?.len() == 4).then_some(())
    })
    .await;
    for id in [&noted, &long, &named, &refused] {
        node_is_known(api, id).await;
    }
    // What comes of chains, clouds and documents, past every check on the way in.
    world
        .database
        .execute(
            r"update requests set reason = repeat('<img src=x onerror=pwned=1>', 400);
               update requests set attention = repeat('W', 10000) || E'\u202e' where node_id = '33';
               update nodes set name = '<script>pwned=1</script>' || chr(8238) || repeat('W', 400);
               update device_sightings set node_name = '<script>pwned=1</script>' || repeat('W', 400);
               update ledger set kind = '<img src=x onerror=pwned=1>' || chr(8238) || repeat('W', 400)
                where kind = 'initialized';",
        )
        .await;
    let harm = urlencoding(HARM);
    let app = format!("/apps/{}/{}", world.town.chain.chain_id, world.town.chain.app);
    let pages = [
        page("hostile list", "/"),
        page("hostile filter", &format!("/?q={}", &harm[..harm.len().min(190)])),
        page("hostile journal", "/journal"),
        page("hostile apps", "/apps"),
        page("hostile app", &app),
        page("hostile ledger", &format!("{app}/ledger")),
        page("hostile search", &format!("{app}/ledger?q={}", &harm[..harm.len().min(190)])),
        page("hostile note", &format!("/requests/{noted}")),
        page("hostile length", &format!("/requests/{long}")),
        page("hostile node", &format!("/requests/{named}")),
        page("hostile compose document", &format!("/requests/{composed}")),
        page("hostile reason", &format!("/requests/{refused}")),
    ];
    hold_the_law(&browser, api, &pages).await;
    for path in [
        format!("/requests/{noted}"),
        format!("/requests/{refused}"),
        format!("/requests/{composed}"),
        "/journal".into(),
    ] {
        let text = api.get(&path).await.text;
        assert!(text.contains(STEERING_SHOWN), "{path}: {text}");
        assert!(!text.contains('\u{202e}') && !text.contains("<script>"), "{path}: {text}");
    }
    running.stop().await;
}

/// A request for a document that means harm in every text, which somebody hands in.
async fn submit_composed(world: &World, api: &Api) -> String {
    let document = json!({
        "manifest_version": 2,
        "name": HARM,
        "runner": "docker-compose",
        "docker_compose_file": format!("services:\n  web:\n    image: \"{STEERING}{}\"\n", "W".repeat(10_000)),
        "pre_launch_script": format!("{HARM}\n{STEERING}\n").repeat(100),
        "allowed_envs": [HARM, STEERING],
        HARM: HARM,
    });
    let document = document.to_string();
    let compose_hash = hex::encode_prefixed(Sha256::digest(&document));
    world.town.add_node(35);
    let id = api
        .submit(&json!({
            "chain_id": world.town.chain.chain_id,
            "app": world.town.chain.app,
            "source_cvm": world.town.source,
            "node_id": "35",
            "compose_hash": compose_hash,
            "device_id": hex::encode_prefixed([0x35; 32]),
            "commit_token": "5d1f0c9e-3b7a-4c2d-9e8f-0a1b2c3d4e5f",
            "prepared_at": world.clock.now(),
        }))
        .await;
    let answer = api.post_text(&format!("/v1/requests/{id}/compose"), &document).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    id
}

fn urlencoding(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
