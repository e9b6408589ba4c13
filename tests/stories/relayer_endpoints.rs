//! What the relayer makes of endpoints that lag, refuse and limit, and what it says meanwhile.

use alloy::primitives::{Address, Bytes};
use chrono::TimeDelta;
use countersign::{clock::Time, execute::RESEND_AFTER};
use serde_json::{Value, json};

use super::relayer::{
    GWEI, ends, in_the_pool, next_base_fee, nonce, outcomes, paid_for, relayer, runs, says, signed,
    world,
};
use crate::world::{
    DEPTH, World, eventually,
    node::{Manner, Node},
    process::cli,
};

/// A world whose only endpoint does as it is told.
async fn world_behind_a_node() -> (World, Node) {
    let mut world = world().await;
    let node = Node::before(&world.settings.chains[0].rpc[0]).await;
    // As providers have it: the key is a part of the URL.
    let mut url = node.url();
    url.set_query(Some("key=not-to-be-told"));
    world.settings.chains[0].rpc = vec![url];
    (world, node)
}

#[tokio::test]
async fn a_receipt_that_an_endpoint_does_not_have_yet_is_waited_for() {
    let (world, node) = world_behind_a_node().await;
    let running = world.start().await;
    let api = &running.api;
    node.set(Manner::HidesReceipts);
    let id = signed(&world, api).await;
    api.wait_for(&id, "executed").await;
    world.mine(DEPTH).await;
    let shown = says(api, &id, "no endpoint shows by what").await;
    assert_eq!(outcomes(&shown), ["open"]);
    world.clock.pass(TimeDelta::minutes(9));
    let at = shown["looked_at"].clone();
    let again = |it: &Value| it["looked_at"] != at;
    let shown = relayer(api, &id, "another look", again).await;
    assert_eq!(outcomes(&shown), ["open"]);
    node.set(Manner::Honest);
    world.clock.pass(TimeDelta::seconds(20));
    let shown = ends(&world, api, &id, &["executed"]).await;
    assert_eq!(shown["state"], "has nothing to do any more");
    assert_eq!(paid_for(&world).await, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_nonce_that_something_else_took_is_told_once_nobody_has_a_receipt_for_long() {
    let world = world().await;
    let running = world.start().await;
    let api = &running.api;
    let id = in_the_pool(&world, api).await;
    let shown = api.request(&id).await["relayer"].clone();
    let hash = shown["tries"][0]["transactions"][0]["hash"].clone();
    let rpc = &world.town.chain.rpc;
    let _: Value = rpc.raw("anvil_dropTransaction", (hash,)).await.unwrap();
    let account = world.relayer.as_ref().unwrap();
    rpc.hurried().send(account, Address::repeat_byte(7), Bytes::new()).await.unwrap();
    world.mine(DEPTH).await;
    says(api, &id, "no endpoint shows by what").await;
    rpc.mine_at_once(true).await.unwrap();
    world.clock.pass(TimeDelta::minutes(11));
    relayer(api, &id, "a second try", |shown| outcomes(shown).len() == 2).await;
    runs(&world, &running, &id).await;
    ends(&world, api, &id, &["nonce_taken", "executed"]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_every_endpoint_refuses_is_told_without_what_its_url_hides() {
    let (world, node) = world_behind_a_node().await;
    let running = world.start().await;
    let api = &running.api;
    node.set(Manner::Refuses("eth_sendRawTransaction", -32003, "insufficient funds for gas"));
    let id = signed(&world, api).await;
    let port = node.url().port().unwrap();
    let words = format!(
        "no endpoint takes it (127.0.0.1:{port} answers error -32003: insufficient funds for gas)"
    );
    says(api, &id, &words).await;
    api.wait_for_reason(&id, &format!("the relayer says: {words}")).await;
    let listed = api.get("/v1/requests").await.text;
    assert!(listed.contains(&words), "{listed}");
    for shown in [cli(api, &["show", &id]).await.1, cli(api, &["list"]).await.1] {
        assert!(shown.contains(&words) && !shown.contains("anyone may execute"), "{shown}");
        assert!(!shown.contains("not-to-be-told"), "{shown}");
    }
    assert_eq!(nonce(&world, "pending").await, 0);

    node.set(Manner::Honest);
    world.clock.pass(TimeDelta::seconds(20));
    runs(&world, &running, &id).await;
    let shown = ends(&world, api, &id, &["executed"]).await;
    assert!(!shown.to_string().contains("no endpoint takes it"), "{shown}");
    running.stop().await;
}

#[tokio::test]
async fn while_every_endpoint_limits_its_rate_nothing_is_sent_and_then_it_goes_on() {
    let (world, node) = world_behind_a_node().await;
    let running = world.start().await;
    let api = &running.api;
    node.set(Manner::Refuses("eth_maxPriorityFeePerGas", -32005, "rate limited"));
    let id = signed(&world, api).await;
    says(api, &id, "it cannot be decided now: cannot read the tip").await;
    assert_eq!(nonce(&world, "pending").await, 0);
    node.set(Manner::Honest);
    world.clock.pass(TimeDelta::minutes(1));
    runs(&world, &running, &id).await;
    ends(&world, api, &id, &["executed"]).await;
    running.stop().await;
}

#[tokio::test]
async fn whether_there_is_room_below_the_cap_is_not_looked_at_all_the_time() {
    let mut world = world().await;
    world.settings.chains[0].relayer.max_fee = 4 * GWEI;
    let running = world.start().await;
    let api = &running.api;
    // Dear, but within the cap: what is offered leaves no room for more.
    next_base_fee(&world, 2 * GWEI + GWEI / 2).await;
    let id = in_the_pool(&world, api).await;
    world.clock.pass(TimeDelta::seconds(91));
    let shown = says(api, &id, "would cost more than the 4 gwei").await;
    let looked_at = |shown: &Value| shown["looked_at"].as_str().unwrap().parse::<Time>().unwrap();
    let first = looked_at(&shown);
    let second = eventually("another look", async || {
        world.clock.pass(TimeDelta::milliseconds(100));
        let shown = api.request(&id).await["relayer"].clone();
        assert!(shown["state"].as_str().unwrap().contains("would cost more"), "{shown}");
        Some(looked_at(&shown)).filter(|at| *at != first)
    })
    .await;
    assert!(second - first >= RESEND_AFTER, "{first} and {second}");
    running.stop().await;
}

#[tokio::test]
async fn the_doctor_tells_of_a_chain_on_which_the_relayer_is_off() {
    let mut world = world().await;
    world.settings.chains[0].relayer.max_fee = 0;
    let running = world.start().await;
    let ready = running.api.get("/readyz").await.body;
    let off =
        ready["checks"].as_array().unwrap().iter().find(|check| {
            check["name"].as_str().unwrap_or_default().starts_with("relayer on chain")
        });
    let off = off.unwrap_or_else(|| panic!("{ready}"));
    assert_eq!(off["ok"], json!(true));
    assert!(off["detail"].as_str().unwrap().starts_with("off on this chain"), "{off}");
    running.stop().await;
}

#[tokio::test]
async fn a_key_that_others_can_read_is_told_in_the_log_and_by_the_doctor() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let world = world().await;
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("relayer.key");
    fs::write(&key_file, world.relayer.as_ref().unwrap().private_key()).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o644)).unwrap();
    let program = world.spawn_relaying(&key_file).await;
    let told = format!("the relayer key in {} can be read by everybody", key_file.display());
    assert!(program.log().contains(&told), "{}", program.log());
    let (code, shown, _) = cli(&program.api, &["doctor"]).await;
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("others on the machine can read a file with a key"), "{shown}");
    assert!(!shown.contains("relayer.key"), "which one is not told to everybody: {shown}");
    program.terminate().await;
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o400)).unwrap();
    let program = world.spawn_relaying(&key_file).await;
    assert!(!program.log().contains("can be read by"), "{}", program.log());
    program.terminate().await;
}
