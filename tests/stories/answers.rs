//! Reads that are answered again: whatever is written, wherever, the next answer is a new one, and nobody
//! is given what was made for somebody else.

use countersign::clock::{Clock, SystemClock};
use serde_json::json;

use crate::world::{Api, World, api::make_token, eventually};

const COUNTER: &str = "countersign_answers_again_total";

async fn given_again(api: &Api) -> u64 {
    let metrics = api.get("/metrics").await.text;
    let line = metrics.lines().find_map(|line| line.strip_prefix(COUNTER));
    line.map_or(0, |count| count.trim().parse().expect("a count"))
}

#[tokio::test]
async fn an_answer_is_given_again_until_another_instance_writes() {
    let world = World::new().await;
    // Of the counters of a process this story needs its own.
    let process = world.spawn().await;
    let id = process.api.submit(&world.submission(&world.prepare().await)).await;
    process.api.wait_for(&id, "proposed").await;
    let path = format!("/v1/requests/{id}");
    for path in [&path, "/v1/requests", &format!("/requests/{id}"), "/"] {
        let before = given_again(&process.api).await;
        eventually("an answer that is given again", async || {
            assert_eq!(process.api.get(path).await.status, 200);
            (given_again(&process.api).await > before).then_some(())
        })
        .await;
    }
    let other = world.start().await;
    for number in 0..10 {
        let text = format!("comment {number}");
        process.api.get(&path).await;
        let answer = other.api.post(&format!("{path}/comments"), &json!({ "text": text })).await;
        assert!(answer.status < 300, "{}", answer.text);
        let told = process.api.get(&path).await.text;
        assert!(told.contains(&text), "{text} is not told: {told}");
        let page = process.api.get(&format!("/requests/{id}")).await.text;
        assert!(page.contains(&text), "{text} is not on the page");
    }
    other.stop().await;
    process.terminate().await;
}

#[tokio::test]
async fn nobody_is_given_an_answer_that_was_made_for_somebody_else() {
    let world = World::new().await;
    let running = world.start().await;
    let id = running.api.submit(&world.submission(&world.prepare().await)).await;
    running.api.wait_for(&id, "proposed").await;
    let service = world.service().await;
    let token = make_token(&service.store, &["read"], SystemClock.now()).await;
    let reader = running.api.with_token(&token);
    let path = format!("/v1/requests/{id}");
    for _ in 0..3 {
        assert_eq!(reader.get(&path).await.status, 200);
    }
    assert_eq!(running.api.with_token("").get(&path).await.status, 401);
    service.store.revoke_tokens("story", service.clock.now()).await.unwrap();
    assert_eq!(reader.get(&path).await.status, 401);
    running.stop().await;
}
