//! Pages that are open keep up with what happens, and leave whoever reads them in peace.

use serde_json::json;

use super::browser::{node_is_known, submit_on};
use crate::world::{World, browser::Browser};

#[tokio::test]
async fn open_pages_follow_a_change_and_keep_focus_and_scroll() {
    let Some(browser) = Browser::start().await else { return };
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let mut ids = vec![];
    for node in 41..47 {
        ids.push(submit_on(&world, api, node, "one of several").await);
    }
    for id in &ids {
        node_is_known(api, id).await;
    }
    let id = &ids[0];
    api.proposal(id).await;
    let signatures = [world.signature(api, id, 0).await, world.signature(api, id, 1).await];
    let scene = json!({
        "base": api.base(), "token": api.token(), "id": id, "signatures": signatures,
    });
    browser.run("live.mjs", &scene).await;
    assert_eq!(api.request(id).await["status"], "approved");
    running.stop().await;
}
