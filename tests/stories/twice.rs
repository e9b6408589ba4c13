//! Every step may be taken twice, by one instance or by several at once: the end is the same.

use chrono::TimeDelta;
use countersign::{
    flow::Service,
    request::ids::RequestId,
    store::requests::Filter,
    watch::follow::{Follower, Tick},
};
use serde_json::json;

use crate::world::{DEPTH, Running, World, eventually};

/// Starts so many instances on the same database.
async fn instances(world: &World, count: usize) -> Vec<Running> {
    let mut running = vec![];
    for _ in 0..count {
        running.push(world.start().await);
    }
    running
}

#[tokio::test]
async fn three_instances_and_every_call_made_twice_make_one_replica() {
    let world = World::new().await;
    let all = instances(&world, 3).await;
    let submission = world.submission(&world.prepare().await);
    let id = all[0].api.submit(&submission).await;
    for one in &all {
        let again = one.api.post("/v1/requests", &submission).await;
        assert_eq!((again.status, &again.body["id"]), (200, &json!(id)));
    }
    for owner in 0..2 {
        let signature = world.signature(&all[0].api, &id, owner).await;
        let given = all.iter().map(async |one| one.api.confirm(&id, &signature).await.status);
        let mut given = futures::future::join_all(given).await;
        given.sort_unstable();
        assert_eq!(given, [200, 200, 201], "the same signature counts once");
    }
    world.execute(&all[1].api, &id).await;
    world.mine(DEPTH).await;
    all[2].api.wait_for(&id, "running").await;
    assert_eq!((world.replicas(), world.town.cloud.commit_log().len()), (1, 1));
    let told = all[0].api.told(&id).await;
    let once: std::collections::BTreeSet<&String> = told.iter().collect();
    assert_eq!(told.len(), once.len() + 1, "only the confirmations come twice: {told:?}");
    for one in all {
        one.stop().await;
    }
}

async fn tick(service: &Service) -> Tick {
    let chain = service.chains.iter().next().unwrap();
    let leadership = eventually("the lead", async || service.store.lead(chain.id()).await.unwrap());
    let leadership = leadership.await;
    let mut follower = Follower::default();
    let mut last = follower.tick(&service.store, chain, &leadership, service.clock.now()).await;
    // Another look changes nothing.
    for _ in 0..2 {
        last = follower.tick(&service.store, chain, &leadership, service.clock.now()).await;
    }
    leadership.resign().await;
    last.unwrap()
}

/// Takes steps until none is due, each with a second worker that wants the same one.
async fn work(service: &Service) {
    loop {
        let both = tokio::join!(service.work_once(), service.work_once());
        if !both.0.unwrap() && !both.1.unwrap() {
            return;
        }
    }
}

#[tokio::test]
async fn every_tick_and_every_step_taken_twice_leads_to_the_same_end() {
    let world = World::new().await;
    let running = world.start().await;
    let id = running.api.submit(&world.submission(&world.prepare().await)).await;
    running.api.proposal(&id).await;
    world.sign(&running.api, &id).await;
    let call = running.api.proposal(&id).await["execution"].clone();
    running.stop().await;

    // From here on nothing drives it but this story.
    let service = world.service().await;
    world.send(&call).await;
    let request: RequestId = id.parse().unwrap();
    for _ in 0..=DEPTH {
        tick(&service).await;
        Box::pin(work(&service)).await;
        world.mine(1).await;
    }
    let status = async || service.store.request(request).await.unwrap().status().as_str();
    while status().await != "running" {
        world.clock.pass(TimeDelta::seconds(1));
        Box::pin(work(&service)).await;
    }
    assert_eq!((world.replicas(), world.town.cloud.commit_log().len()), (1, 1));
    assert_eq!(service.store.requests(&Filter::default(), 10).await.unwrap().len(), 1);
    service.store.close().await;
}
