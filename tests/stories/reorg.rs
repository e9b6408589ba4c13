//! The chain reorganises, at every depth and at every stage of a request: what was taken is taken
//! back, what came again counts again, and nothing is ever committed that the chain does not hold.

use countersign::{
    config::DepthPolicy,
    devnet::execute,
    dstack::Write,
    owner::Call,
    request::ids::{DeviceId, RequestId},
};
use serde_json::{Value, json};

use crate::world::{Api, DEPTH, Running, World, eventually};

/// A world in which nothing is called finalized that a story still wants to take away.
async fn world() -> World {
    World::with(|options| options.epoch_blocks = 10_000).await
}

async fn approved(world: &World, api: &Api) -> String {
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    world.sign(api, &id).await;
    id
}

/// Waits until the follower stands where the chain stands.
async fn caught_up(world: &World, running: &Running) {
    let chain = running.service.chains.iter().next().unwrap();
    eventually("the follower to reach the head", async || {
        let head = chain.head().await.ok()?.block;
        let ours = running.service.store.head(world.town.chain.chain_id).await.ok()??;
        (ours.block == head).then_some(())
    })
    .await;
}

async fn times_told(api: &Api, id: &str, event: &str) -> usize {
    api.told(id).await.iter().filter(|told| *told == event).count()
}

async fn assert_runs_once(world: &World, api: &Api, id: &str) {
    api.wait_for(id, "running").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
}

#[tokio::test]
async fn an_execution_is_taken_back_by_a_reorganisation_of_any_depth_up_to_the_window() {
    let mut world = world().await;
    world.settings.chains[0].depth = DepthPolicy::Blocks(350);
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    for (round, depth) in [1, 2, 7, 64, 300].into_iter().enumerate() {
        world.execute(api, &id).await;
        api.wait_for(&id, "executed").await;
        world.mine(depth - 1).await;
        caught_up(&world, &running).await;
        world.town.chain.rpc.reorg(depth).await.unwrap();
        caught_up(&world, &running).await;
        let request = api.wait_for(&id, "approved").await;
        assert_eq!(request["executed"], Value::Null, "after a reorganisation of {depth}");
        assert_eq!(times_told(api, &id, "retracted").await, round + 1);
    }
    assert_eq!(world.town.cloud.commit_log().len(), 0);
    world.execute(api, &id).await;
    world.mine(350).await;
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_reorganisation_that_keeps_the_transaction_moves_the_execution_and_its_depth() {
    let world = world().await;
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    world.execute(api, &id).await;
    let request = api.wait_for(&id, "executed").await;
    let before = request["executed"].clone();
    let tx = before["transaction"].as_str().unwrap().parse().unwrap();
    world.mine(DEPTH - 1).await;
    caught_up(&world, &running).await;
    // The blocks are as many as before, and the transaction is in the first of them again.
    world.town.chain.rpc.reorg_keeping(DEPTH, tx).await.unwrap();
    let after = eventually("the execution to be seen where it is now", async || {
        let executed = api.request(&id).await["executed"].clone();
        let moved = executed["block"]["hash"] != before["block"]["hash"];
        (moved && !executed.is_null()).then_some(executed)
    })
    .await;
    assert_eq!(after["transaction"], before["transaction"]);
    assert_eq!(after["block"]["number"], before["block"]["number"]);
    assert_eq!(times_told(api, &id, "executed").await, 2);
    world.mine(DEPTH).await;
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_reorganisation_before_the_execution_changes_nothing() {
    let world = world().await;
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    world.mine(20).await;
    caught_up(&world, &running).await;
    world.town.chain.rpc.reorg(20).await.unwrap();
    caught_up(&world, &running).await;
    assert_eq!(api.request(&id).await["status"], "approved");
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    assert_runs_once(&world, api, &id).await;
    assert_eq!(times_told(api, &id, "retracted").await, 0);
    running.stop().await;
}

#[tokio::test]
async fn blocks_on_top_of_the_execution_may_change_without_taking_it_back() {
    let mut world = world().await;
    world.settings.chains[0].depth = DepthPolicy::Blocks(5);
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    world.execute(api, &id).await;
    api.wait_for(&id, "executed").await;
    // One block before it is registered, all blocks above the execution are replaced.
    world.mine(4).await;
    api.wait_for_reason(&id, "4 of 5 blocks deep").await;
    world.town.chain.rpc.reorg(4).await.unwrap();
    caught_up(&world, &running).await;
    assert_eq!(api.request(&id).await["status"], "executed");
    assert_eq!(times_told(api, &id, "retracted").await, 0);
    world.mine(1).await;
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

/// The nonce of the Safe is used, by something that nobody asked for here.
async fn nonce_is_used(world: &World) {
    let chain = &world.town.chain;
    let call = Call::of_write(chain.app, &Write::AddDevice(DeviceId([0xcc; 32].into())));
    let other = chain.propose(&[call]).await.unwrap();
    let signatures = chain.sign(&other);
    execute(&chain.rpc, &chain.executor, chain.safe, &other, &signatures).await.unwrap();
}

#[tokio::test]
async fn a_nonce_that_a_reorganisation_gives_back_is_taken_by_what_waits() {
    let world = world().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    for _ in 0..2 {
        api.look(&id, "nonce 0", |it| it["nonce"]["nonce"] == 0).await;
        nonce_is_used(&world).await;
        api.look(&id, "the next nonce", |it| it["nonce"]["nonce"] == 1).await;
        caught_up(&world, &running).await;
        world.town.chain.rpc.reorg(1).await.unwrap();
    }
    let told = api.look(&id, "nonce 0", |it| it["nonce"]["nonce"] == 0).await;
    assert_eq!(told["nonce"]["next"], 0, "{told:#}");
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

/// What a chain that was given up looks like from outside, and how one goes on after it.
async fn is_given_up_and_can_be_restarted(world: &World, running: &Running, id: &str, why: &str) {
    let api = &running.api;
    let request = api.wait_for_reason(id, why).await;
    assert_eq!(request["status"], "executed", "nothing is guessed");
    assert!(request["reason"].as_str().unwrap().contains("is no longer followed"), "{request:#}");
    let ready = api.get("/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.text);
    let chains = api.get("/v1/chains").await.body;
    assert_eq!(chains[0]["trouble"]["halted"], true, "{chains:#}");
    // It stays so, whatever the chain does.
    world.mine(DEPTH + 1).await;
    world.look_again().await;
    assert_eq!(world.town.cloud.commit_log().len(), 0);

    let chain = world.town.chain.chain_id;
    let (store, now) = (&running.service.store, running.service.clock.now());
    assert_eq!(store.restart_chain(chain, now).await.unwrap(), Some(1));
    // The app may have been deployed elsewhere on this chain: that is looked for again.
    let app = world.town.chain.app;
    assert!(!store.history_is_read(chain, app).await.unwrap());
    eventually("the history to be read anew", async || {
        store.history_is_read(chain, app).await.unwrap().then_some(())
    })
    .await;
    api.last_told(id, "retracted").await;
    api.wait_for(id, "approved").await;
    world.execute(api, id).await;
    world.mine(DEPTH).await;
    assert_runs_once(world, api, id).await;
}

#[tokio::test]
async fn a_reorganisation_deeper_than_the_window_stops_the_chain_until_a_person_restarts_it() {
    let mut world = world().await;
    world.settings.chains[0].depth = DepthPolicy::Safe;
    // The window is what was followed and a little before: it is shorter than the chain here.
    world.mine(100).await;
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    world.execute(api, &id).await;
    api.wait_for(&id, "executed").await;
    world.mine(DEPTH).await;
    caught_up(&world, &running).await;
    world.town.chain.rpc.reorg(90).await.unwrap();
    running.stop().await;

    // The depth that the rest of the story needs; the follower is a new one, too.
    world.settings.chains[0].depth = DepthPolicy::Blocks(DEPTH);
    let running = world.start().await;
    is_given_up_and_can_be_restarted(&world, &running, &id, "deeper than the").await;
    running.stop().await;
}

#[tokio::test]
async fn a_reorganisation_below_what_was_finalized_stops_the_chain_too() {
    let mut world = World::new().await;
    world.settings.chains[0].depth = DepthPolicy::Blocks(400);
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    world.execute(api, &id).await;
    api.wait_for(&id, "executed").await;
    world.mine(70).await;
    let chain = world.town.chain.chain_id;
    eventually("a finalized block above the execution", async || {
        let request: RequestId = id.parse().unwrap();
        let executed = running.service.store.request(request).await.ok()?.facts.execution?;
        let finalized = running.service.store.head(chain).await.ok()??.finalized?;
        (finalized > executed.block.number).then_some(())
    })
    .await;
    caught_up(&world, &running).await;
    world.town.chain.rpc.reorg(71).await.unwrap();
    running.stop().await;

    world.settings.chains[0].depth = DepthPolicy::Blocks(DEPTH);
    let running = world.start().await;
    is_given_up_and_can_be_restarted(&world, &running, &id, "called finalized").await;
    running.stop().await;
}

#[tokio::test]
async fn a_chain_that_was_never_followed_has_nothing_to_restart() {
    let world = World::new().await;
    let service = world.service().await;
    let now = service.clock.now();
    let chain = world.town.chain.chain_id;
    assert_eq!(service.store.restart_chain(chain, now).await.unwrap(), None);
    assert_eq!(json!(service.store.trouble(chain).await.unwrap().is_none()), json!(true));
}
