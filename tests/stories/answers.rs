//! Reads that are answered again: whatever is written, wherever, the next answer is a new one, and nobody
//! is given what was made for somebody else.

use countersign::{
    clock::{Clock, SystemClock},
    devnet::Wallet,
};
use serde_json::json;

use crate::world::{Api, World, api::make_token, eventually, visitor::Visitor};

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

#[tokio::test]
async fn who_is_signed_in_is_given_the_own_pages_again_until_the_session_ends() {
    let wallets = [5, 6].map(|at| Wallet::funded(at).expect("there are ten"));
    let world = World::new().await;
    let addresses = wallets.each_ref().map(|wallet| wallet.address().to_string());
    let process = world
        .spawn_with(|serve| {
            serve.env("COUNTERSIGN_ADMINS", addresses.join(","));
        })
        .await;
    let id = process.api.submit(&world.submission(&world.prepare().await)).await;
    process.api.wait_for(&id, "proposed").await;
    let one = Visitor::signed_in(&process.api, &wallets[0]).await;
    let other = Visitor::signed_in(&process.api, &wallets[1]).await;
    for path in ["/", &format!("/requests/{id}")] {
        let before = given_again(&process.api).await;
        eventually("a page that is given again", async || {
            for (visitor, own, others) in [(&one, 0, 1), (&other, 1, 0)] {
                let page = visitor.get(path).await;
                assert_eq!(page.status, 200);
                assert!(page.text.contains(&addresses[own]), "{path} is for whoever asks");
                assert!(!page.text.contains(&addresses[others]), "{path} is for nobody else");
            }
            (given_again(&process.api).await > before + 1).then_some(())
        })
        .await;
    }
    let form = async |visitor: &Visitor| {
        let page = visitor.get(&format!("/requests/{id}")).await.text;
        let (_, rest) = page.split_once("name=\"token\" value=\"").expect("a form");
        rest.split('"').next().expect("a token").to_owned()
    };
    assert_ne!(form(&one).await, form(&other).await, "a form is for one session");
    assert_eq!(form(&one).await, form(&one).await);
    world.database.execute("delete from sessions").await;
    assert_eq!(one.get("/").await.status, 401);
    process.terminate().await;
}
