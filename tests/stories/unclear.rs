//! What may have happened counts as if it had: nothing is committed twice and nothing taken back while
//! a commit may still make its replica; and what stands in the way is told.

use std::time::Duration;

use chrono::TimeDelta;
use countersign::clock::Clock;
use serde_json::{Value, json};

use crate::world::{Answer, Api, DEPTH, Running, World, eventually};

async fn retry(api: &Api, id: &str, reason: &str) {
    let answer = api.post(&format!("/v1/requests/{id}/retry"), &json!({ "reason": reason })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn a_replica_that_is_listed_late_is_not_made_again_with_a_fresh_token() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let submission = world.submission(&world.prepare().await);
    world.switch(json!({ "swallow_next_commit": 1, "hide_replicas": true }));
    let id = world.carry(api, &submission).await;
    let request = api.wait_for_reason(&id, "may be what used it").await;
    let standing = (&request["status"], &request["needs_attention"]);
    assert_eq!(standing, (&json!("committing"), &json!(true)), "{request:#}");
    let statuses: Vec<u16> = world.town.cloud.commit_log().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [200, 466]);

    world.switch(json!({ "hide_replicas": false }));
    retry(api, &id, "it is listed by now").await;
    api.wait_for(&id, "running").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn the_first_attempt_is_the_first_one_made_whatever_the_clocks_say() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let prepared = world.prepare().await;
    let busy = json!({ "endpoint": "commit", "status": 503, "retry_after": 600 });
    world.switch(json!({ "fail_next": [busy] }));
    let id = world.carry(api, &world.submission(&prepared)).await;
    api.last_told(&id, "commit_refused").await;

    // What stood in between had passed the commit on all the same, and it arrives now.
    let (prefix, source) = (world.town.cloud.api_prefix(), &world.town.source);
    let commit = json!({
        "token": World::token_of(&prepared),
        "compose_hash": world.town.compose_hash,
        "transaction_hash": "already-registered",
    });
    let late = Api::bare().post(format!("{prefix}/cvms/{source}/commit-replica")).json(&commit);
    assert_eq!(late.send().await.unwrap().status(), 200);

    // The next attempt is made by a clock that is behind.
    world.clock.pass(TimeDelta::hours(-1));
    retry(api, &id, "there is room again").await;
    api.wait_for(&id, "running").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
    // By now it is known what became of both.
    let withdraw = format!("/v1/requests/{id}/withdraw");
    let answer = api.post(&withdraw, &json!({ "reason": "too late" })).await;
    assert_eq!(answer.status, 409, "{}", answer.text);
    assert!(
        answer.text.contains("a request that is running cannot be withdrawn"),
        "{}",
        answer.text
    );
    running.stop().await;
}

#[tokio::test]
async fn a_request_is_not_taken_back_while_its_commit_may_still_act() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let submission = world.submission(&world.prepare().await);
    // What is in between breaks, perhaps after it has passed the commit on.
    let failures = json!([
        { "endpoint": "commit", "status": 502 },
        { "endpoint": "commit", "status": 503, "retry_after": 600 },
    ]);
    world.switch(json!({ "fail_next": failures }));
    let id = world.carry(api, &submission).await;
    eventually("the second refusal", async || {
        let told = api.told(&id).await;
        (told.iter().filter(|event| *event == "commit_refused").count() == 2).then_some(())
    })
    .await;
    let body = json!({ "reason": "changed my mind" });
    for how in ["withdraw", "reject"] {
        let answer = api.post(&format!("/v1/requests/{id}/{how}"), &body).await;
        assert_eq!((answer.status, &answer.body["code"]), (409, &json!("commit-on-its-way")));
    }
    retry(api, &id, "there is room again").await;
    api.wait_for(&id, "running").await;
    running.stop().await;
}

#[tokio::test]
async fn a_token_that_lives_a_day_is_not_replaced_again_and_again() {
    let world = World::new().await;
    world.switch(json!({ "token_days": 1, "tell_expiry": true }));
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_to_be_woken(&id, "a signature").await;
    let told = api.told(&id).await;
    assert!(!told.iter().any(|event| event == "renewed"), "{told:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_key_that_phala_cloud_does_not_take_is_put_to_a_person() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let submission = world.submission(&world.prepare().await);
    let unauthorized = json!({ "endpoint": "instances", "status": 401 });
    world.switch(json!({ "fail_next": vec![unauthorized; 20] }));
    let id = world.carry(api, &submission).await;
    let is_asked = |request: &Value| request["needs_attention"] == true;
    let request = api.look(&id, "a question to a person", is_asked).await;
    assert_eq!(request["status"], "registered", "{request:#}");
    assert!(request["reason"].as_str().unwrap().contains("401"), "{request:#}");
    assert_eq!(request["explanation"]["when"]["kind"], "person", "{request:#}");
    world.switch(json!({ "fail_next": [] }));
    retry(api, &id, "the key is right now").await;
    api.wait_for(&id, "running").await;
    running.stop().await;
}

#[tokio::test]
async fn a_nonce_that_becomes_free_reaches_a_request_that_is_locked_at_that_moment() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let first = api.submit(&world.submission(&world.prepare().await)).await;
    assert_eq!(api.proposal(&first).await["safe_tx"]["nonce"], "0");
    let second = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    assert_eq!(api.proposal(&second).await["safe_tx"]["nonce"], "1");
    api.wait_to_be_woken(&second, "a signature").await;

    let mut somebody = world.database.connect().await;
    let lock = "begin; select from requests where node_id = '7' for update";
    sqlx::raw_sql(lock).execute(&mut somebody).await.unwrap();
    let body = json!({ "reason": "not wanted" });
    let path = format!("/v1/requests/{first}/withdraw");
    let (answer, ()) = tokio::join!(api.post(&path, &body), async {
        api.wait_for(&first, "withdrawn").await;
        sqlx::raw_sql("rollback").execute(&mut somebody).await.unwrap();
    });
    assert_eq!(answer.status, 200, "{}", answer.text);
    eventually("the free nonce", async || {
        (api.proposal(&second).await["safe_tx"]["nonce"] == "0").then_some(())
    })
    .await;
    running.stop().await;
}

/// Somebody commits with a token straight at Phala Cloud, as the `phala` CLI prints to.
async fn commit_past_us(world: &World, prepared: &Value) {
    let (prefix, source) = (world.town.cloud.api_prefix(), &world.town.source);
    let commit = json!({
        "token": World::token_of(prepared),
        "compose_hash": world.town.compose_hash,
        "transaction_hash": "already-registered",
    });
    let sent = Api::bare().post(format!("{prefix}/cvms/{source}/commit-replica")).json(&commit);
    assert_eq!(sent.send().await.unwrap().status(), 200);
}

/// A request whose replica somebody made past the service, which asks about it; and that replica.
async fn made_past_us(world: &World, api: &Api) -> (String, String) {
    let prepared = world.prepare().await;
    let id = api.submit(&world.submission(&prepared)).await;
    api.wait_for(&id, "proposed").await;
    world.allow(world.town.nodes[1].device_id).await;
    commit_past_us(world, &prepared).await;
    let replica = world.town.cloud.instances().pop().unwrap().id.to_string();
    world.mine(DEPTH).await;
    let request = api.wait_for_reason(&id, "may have been used past this service").await;
    assert_eq!(request["needs_attention"], true, "{request:#}");
    assert!(request["reason"].as_str().unwrap().contains(&replica), "{request:#}");
    let candidates = &request["candidates"]["instances"];
    assert_eq!((candidates[0]["id"].as_str(), candidates[1].as_str()), (Some(&*replica), None));
    assert_eq!(world.effective_commits(), 1, "nothing was committed with a fresh token");
    (id, replica)
}

async fn settle(api: &Api, id: &str, replica: &Value) -> Answer {
    let word = json!({ "replica": replica, "reason": "looked at it" });
    api.post(&format!("/v1/requests/{id}/settle"), &word).await
}

#[tokio::test]
async fn a_replica_that_was_made_past_this_service_is_asked_about_before_another_one_is_made() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let (id, replica) = made_past_us(&world, api).await;
    let source = settle(api, &id, &json!(world.town.source)).await;
    assert_eq!(source.status, 422, "the source is no replica of itself: {}", source.text);
    let settled = settle(api, &id, &json!(replica)).await;
    assert_eq!(settled.status, 200, "{}", settled.text);
    let request = api.wait_for(&id, "running").await;
    assert_eq!(request["replica"]["id"], json!(replica));
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn who_says_that_it_is_another_one_is_not_asked_again() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let (id, replica) = made_past_us(&world, api).await;
    // Tried again, it asks again, and makes nothing.
    retry(api, &id, "does it still ask").await;
    eventually("the second question", async || {
        let told = api.told(&id).await;
        (told.iter().filter(|event| *event == "attention_needed").count() == 2).then_some(())
    })
    .await;
    assert_eq!(world.effective_commits(), 1);
    let settled = settle(api, &id, &json!(null)).await;
    assert_eq!(settled.status, 200, "{}", settled.text);
    let request = api.wait_for(&id, "running").await;
    assert_ne!(request["replica"]["id"], json!(replica));
    assert_eq!((world.replicas(), world.effective_commits()), (2, 2));
    running.stop().await;
}

#[tokio::test]
async fn a_token_waits_until_what_the_one_before_it_made_is_listed() {
    let mut world = World::new().await;
    world.settings.settle = Duration::from_secs(12);
    let running = world.start().await;
    let api = &running.api;
    let prepared = world.prepare().await;
    let id = api.submit(&world.submission(&prepared)).await;
    world.switch(json!({ "hide_replicas": true }));
    world.allow(world.town.nodes[1].device_id).await;
    commit_past_us(&world, &prepared).await;
    // Somebody who knows nothing of that prepares again, which voids the token.
    let again = api.post("/v1/requests", &world.submission(&world.prepare().await)).await;
    assert_eq!((again.status, again.body["id"].as_str()), (200, Some(&*id)), "{}", again.text);
    world.mine(DEPTH).await;
    api.wait_for_reason(&id, "may not be listed yet").await;
    assert_eq!(world.effective_commits(), 1);
    world.switch(json!({ "hide_replicas": false }));
    let request = api.wait_for_reason(&id, "may have been used past this service").await;
    assert_eq!(request["needs_attention"], true, "{request:#}");
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
    running.stop().await;
}

/// A token that was used half an hour before it is submitted, with these fields.
async fn used_before_it_came(fields: Value) -> (World, Running, String) {
    let world = World::new().await;
    let running = world.start().await;
    let prepared = world.prepare().await;
    world.allow(world.town.nodes[1].device_id).await;
    commit_past_us(&world, &prepared).await;
    world.switch(json!({ "advance_seconds": 1_800 }));
    let mut submission = world.submission(&prepared);
    submission.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let id = running.api.submit(&submission).await;
    world.mine(DEPTH).await;
    (world, running, id)
}

#[tokio::test]
async fn an_undated_token_may_have_been_used_before_it_came() {
    let (world, running, id) = used_before_it_came(json!({})).await;
    running.api.wait_for_reason(&id, "may have been used past this service").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn who_wrongly_says_that_a_used_token_is_new_is_asked_all_the_same() {
    let (world, running, id) = used_before_it_came(json!({ "just_prepared": true })).await;
    running.api.wait_for_reason(&id, "may have been used past this service").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn what_is_older_than_a_token_that_was_issued_just_now_is_not_asked_about() {
    let world = World::new().await;
    let running = world.start().await;
    world.allow(world.town.nodes[1].device_id).await;
    // Somebody else's, just like the replica that is wanted.
    world.switch(json!({ "add_instance": { "node": 6 } }));
    world.switch(json!({ "advance_seconds": 1_800 }));
    let mut submission = world.submission(&world.prepare().await);
    submission["just_prepared"] = json!(true);
    // Too soon to be used.
    submission["expires_at"] = json!(world.clock.now() + TimeDelta::minutes(5));
    let id = running.api.submit(&submission).await;
    world.mine(DEPTH).await;
    running.api.wait_for(&id, "running").await;
    assert!(running.api.told(&id).await.contains(&"renewed".to_owned()));
    running.stop().await;
}
