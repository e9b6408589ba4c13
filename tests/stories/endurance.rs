//! Whatever waits long or does not read: the others go on, and nothing is forgotten (invariant I8).

use chrono::TimeDelta;
use countersign::{clock::Clock, request::ids::RequestId};
use serde_json::json;

use crate::world::{
    DEPTH, World, eventually,
    line::{Fault, Line},
};

#[tokio::test]
async fn one_row_that_does_not_read_does_not_hold_up_the_others() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let broken = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    api.wait_for(&broken, "proposed").await;
    world.database.execute("update requests set source_cvm = '', next_try_at = '2001-01-01'").await;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    world.sign(api, &id).await;
    api.wait_for_reason(&id, "waits until nonce").await;
    assert_eq!(api.get(&format!("/v1/requests/{broken}")).await.status, 500, "it says so");
    running.stop().await;
}

#[tokio::test]
async fn without_its_database_the_service_says_that_it_is_that() {
    let world = World::new().await;
    let running = world.start().await;
    let id = running.api.submit(&world.submission(&world.prepare().await)).await;
    running.service.store.close().await;
    for path in ["/v1/requests".to_owned(), format!("/v1/requests/{id}")] {
        let answer = running.api.get(&path).await;
        assert_eq!((answer.status, &answer.body["code"]), (503, &json!("database-unreachable")));
    }
    let page = running.api.get("/").await;
    assert_eq!(page.status, 503);
    assert!(page.text.contains("database of Countersign cannot be used now"), "{}", page.text);
    running.kill().await;
}

#[tokio::test]
async fn a_long_wait_for_signatures_is_no_failure() {
    let mut world = World::new().await;
    let line = Line::to(world.town.chain.rpc_url()).await;
    world.settings.chains[0].rpc = vec![line.near()];
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    let request: RequestId = id.parse().unwrap();
    // While it is being looked at, it is due when the lease ends: neither now nor soon.
    let due_in = async |seconds: std::ops::Range<i64>| {
        eventually("another look", async || {
            let request = running.service.store.request(request).await.unwrap();
            let left = (request.next_try_at - world.clock.now()).num_seconds();
            seconds.contains(&left).then_some(())
        })
        .await;
    };
    let calm = 5 * 3_600..7 * 3_600;
    for _ in 0..8 {
        due_in(calm.clone()).await;
        world.look_again().await;
    }
    due_in(calm).await;
    line.set(Fault::Cut);
    world.look_again().await;
    api.wait_for_reason(&id, "does not answer").await;
    due_in(0..30).await;
    line.set(Fault::None);
    running.stop().await;
}

#[tokio::test]
async fn a_token_that_dies_while_the_owners_think_is_replaced_when_they_have_signed() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    world.clock.pass(TimeDelta::days(30));
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    api.wait_for(&id, "running").await;
    assert_eq!((world.replicas(), world.town.cloud.commit_log().len()), (1, 1));
    assert!(api.told(&id).await.contains(&"renewed".to_owned()));
    running.stop().await;
}

#[tokio::test]
async fn without_an_api_key_a_dead_token_ends_the_request() {
    let world = World::new().await;
    let running = world.start_with(|service| service.can_prepare = false).await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    world.clock.pass(TimeDelta::days(15));
    world.look_again().await;
    let request = api.wait_for(&id, "expired").await;
    assert!(request["reason"].as_str().unwrap().contains("PHALA_CLOUD_API_KEY"), "{request:#}");
    running.stop().await;
}
