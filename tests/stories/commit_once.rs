//! One replica for one request, whatever becomes of tokens and answers; and people are told of what
//! takes long.

use chrono::TimeDelta;
use countersign::{clock::Clock, remind};
use serde_json::{Value, json};

use crate::world::{
    DEPTH, World, eventually,
    line::{Fault, Line},
};

#[tokio::test]
async fn a_newer_token_is_not_used_while_a_commit_with_the_older_one_may_be_on_its_way() {
    let mut world = World::new().await;
    // Then both tokens would make a replica each.
    world.switch(json!({ "supersede_per_source": false }));
    let line = Line::to(&world.settings.phala_api_prefix).await;
    let direct = std::mem::replace(&mut world.settings.phala_api_prefix, line.near());
    let running = world.start().await;
    let id = running.api.submit(&world.submission(&world.prepare().await)).await;
    world.sign(&running.api, &id).await;
    line.set(Fault::Delays("commit-replica"));
    world.execute(&running.api, &id).await;
    world.mine(DEPTH).await;
    line.caught_one().await;
    running.kill().await;

    // Somebody loses patience and prepares the replica again.
    world.leases_run_out().await;
    world.settings.phala_api_prefix = direct;
    let running = world.start().await;
    let newer = world.submission(&world.prepare().await);
    let answer = running.api.post("/v1/requests", &newer).await;
    assert_eq!((answer.status, &answer.body["id"]), (200, &json!(id)));
    running.api.wait_for(&id, "running").await;
    line.set(Fault::None);
    world.commits_arrived(2).await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
    let tokens: Vec<_> = world.town.cloud.commit_log().iter().map(|call| call.token).collect();
    assert_eq!(tokens, [Some(0), Some(0)], "both commits are of the first token");
    running.stop().await;
}

#[tokio::test]
async fn no_token_is_left_behind_once_the_replica_is_known() {
    let world = World::new().await;
    let running = world.start().await;
    world.switch(json!({ "swallow_next_commit": 1 }));
    let id = world.carry(&running.api, &world.submission(&world.prepare().await)).await;
    running.api.wait_for(&id, "running").await;
    let left = "select count(*)::text from preparations where token_sealed is not null";
    assert_eq!(world.database.text(left).await, "0");
    running.stop().await;
}

#[tokio::test]
async fn a_token_is_replaced_before_it_dies_and_a_change_of_the_device_comes_out_then() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    world.clock.pass(TimeDelta::days(13) + TimeDelta::hours(1));
    world.look_again().await;
    api.last_told(&id, "renewed").await;
    assert_eq!(api.request(&id).await["status"], "proposed", "its signatures stay");

    world.clock.pass(TimeDelta::days(13) + TimeDelta::hours(1));
    world.switch(json!({ "node_device": { "id": 6, "device_id": "dd".repeat(32) } }));
    world.look_again().await;
    api.wait_for(&id, "failed").await;
    assert_eq!(api.last_told(&id, "failed").await["code"], "preparation-differs");
    let newer = api.get("/v1/requests?limit=1").await.body["requests"][0].clone();
    assert_eq!(newer["device_id"], format!("0x{}", "dd".repeat(32)));
    api.wait_for(newer["id"].as_str().unwrap(), "proposed").await;
    running.stop().await;
}

#[tokio::test]
async fn what_phala_cloud_says_about_the_life_of_a_token_counts() {
    let world = World::new().await;
    world.switch(json!({ "token_days": 3, "tell_expiry": true }));
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    let days = |request: &Value| {
        let expires_at: chrono::DateTime<chrono::Utc> =
            request["expires_at"].as_str().unwrap().parse().unwrap();
        (expires_at - world.clock.now() + TimeDelta::minutes(1)).num_days()
    };
    assert_eq!(days(&api.wait_for(&id, "proposed").await), 3);
    world.clock.pass(TimeDelta::days(2) + TimeDelta::hours(7));
    world.look_again().await;
    api.last_told(&id, "renewed").await;
    assert_eq!(days(&api.request(&id).await), 3);
    running.stop().await;
}

#[tokio::test]
async fn two_replicas_of_one_source_cost_one_more_preparation_and_no_refused_commit() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let mut ids = vec![];
    for node in [6, 7] {
        let prepared = world.prepare_on(node).await;
        ids.push(api.submit(&world.submission_on(&prepared, node)).await);
    }
    for id in &ids {
        api.proposal(id).await;
    }
    for device in [1, 2].map(|node: usize| world.town.nodes[node].device_id) {
        world.allow(device).await;
    }
    world.mine(DEPTH).await;
    for id in &ids {
        api.wait_for(id, "running").await;
    }
    let statuses: Vec<u16> = world.town.cloud.commit_log().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [200, 200], "a token that is known to be void is not tried");
    running.stop().await;
}

#[tokio::test]
async fn a_boot_that_takes_long_is_told_and_looked_at_further() {
    let world = World::new().await;
    world.switch(json!({ "boot_error": "OS image is not allowed" }));
    let running = world.start().await;
    let api = &running.api;
    let id = world.carry(api, &world.submission(&world.prepare().await)).await;
    let request = api.wait_for_reason(&id, "OS image is not allowed").await;
    assert!(request["reason"].as_str().unwrap().contains("Its owner must allow"), "{request:#}");
    world.clock.pass(TimeDelta::minutes(31));
    let service = &running.service;
    for _ in 0..2 {
        remind::tick(&service.store, service.clock.now()).await.expect("the database answers");
    }
    let told = "select string_agg(kind, ',') from outbox where kind like 'does_not_get_on%'";
    assert_eq!(world.database.text(told).await, "does_not_get_on:committed:1", "said once");
    // Somebody has the image allowed, and the replica comes up.
    world.town.cloud.mend_boots();
    world.look_again().await;
    eventually("the replica to run", async || {
        world.look_again().await;
        (api.request(&id).await["status"] == "running").then_some(())
    })
    .await;
    running.stop().await;
}
