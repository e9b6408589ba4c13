//! Endpoints that announce heads, fall silent, lag, lie, limit and disagree.

use std::time::Duration;

use url::Url;

use crate::world::{
    Api, DEPTH, World,
    line::{Fault, Line},
    node::{Manner, Node},
};

async fn approved(world: &World, api: &Api) -> String {
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    world.sign(api, &id).await;
    id
}

async fn assert_runs_once(world: &World, api: &Api, id: &str) {
    api.wait_for(id, "running").await;
    assert_eq!((world.replicas(), world.effective_commits()), (1, 1));
}

fn websocket(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_scheme("ws").expect("an address of anvil");
    url
}

#[tokio::test]
async fn heads_that_are_announced_need_no_polling() {
    let mut world = World::new().await;
    world.settings.chains[0].rpc = vec![websocket(world.town.chain.rpc_url())];
    let running = world.start_with(|_| {}).await;
    let api = &running.api;
    let id = approved(&world, api).await;
    running.stop().await;

    // With a poll this rare, only announcements can bring every block in time.
    world.settings.chains[0].poll = Duration::from_mins(10);
    let running = world.start().await;
    let api = &running.api;
    let announces = async || {
        let chains = api.get("/v1/chains").await.body;
        (chains[0]["endpoints"][0]["announces"] == true).then_some(())
    };
    let told = crate::world::eventually("heads to be announced", async || {
        world.mine(1).await;
        announces().await
    });
    told.await;
    world.execute(api, &id).await;
    api.wait_for(&id, "executed").await;
    world.mine(DEPTH).await;
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_websocket_that_dies_silently_is_replaced() {
    let mut world = World::new().await;
    let line = Line::to(&websocket(world.town.chain.rpc_url())).await;
    world.settings.chains[0].rpc = vec![line.near()];
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    let call = api.proposal(&id).await["execution"].clone();
    line.set(Fault::SwallowsAnswers);
    world.send(&call).await;
    world.mine(DEPTH).await;
    api.wait_for_reason(&id, "does not answer").await;
    assert_eq!(api.request(&id).await["status"], "approved");
    line.set(Fault::None);
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_silent_websocket_holds_up_nobody_who_has_another_endpoint() {
    let mut world = World::new().await;
    let direct = world.town.chain.rpc_url().clone();
    let line = Line::to(&websocket(&direct)).await;
    world.settings.chains[0].rpc = vec![line.near(), direct];
    world.settings.chains[0].quorum = 1;
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    line.set(Fault::SwallowsAnswers);
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn a_websocket_that_comes_back_on_another_chain_is_refused() {
    let mut world = World::new().await;
    let line = Line::to(&websocket(world.town.chain.rpc_url())).await;
    world.settings.chains[0].rpc = vec![line.near()];
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    let call = api.proposal(&id).await["execution"].clone();
    world.send(&call).await;
    line.set(Fault::Cut);
    api.wait_for_reason(&id, "does not answer").await;
    world.town.chain.rpc.set_chain_id(1).await.unwrap();
    world.mine(DEPTH).await;
    line.set(Fault::None);
    api.wait_for_reason(&id, "is on chain 1, not on").await;
    assert_eq!(world.town.cloud.commit_log().len(), 0);
    world.town.chain.rpc.set_chain_id(8453).await.unwrap();
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

/// Carries a request to its end past a node that behaves in this manner from the signatures on,
/// for as long as `until` takes.
async fn past(manner: Manner, rpc: impl FnOnce(&Node, &Url) -> Vec<Url>, quorum: usize) {
    let mut world = World::new().await;
    let direct = world.town.chain.rpc_url().clone();
    let node = Node::before(&direct).await;
    world.settings.chains[0].rpc = rpc(&node, &direct);
    world.settings.chains[0].quorum = quorum;
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    let call = api.proposal(&id).await["execution"].clone();
    node.set(manner);
    world.send(&call).await;
    world.mine(DEPTH + 5).await;
    assert_runs_once(&world, api, &id).await;
    let told = api.told(&id).await;
    assert!(!told.contains(&"retracted".to_owned()), "{manner:?} is no reorganisation: {told:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_node_that_lags_is_behind_and_no_reorganisation() {
    past(Manner::LagsBehind(5), |node, direct| vec![node.url(), direct.clone()], 1).await;
    // Alone, it only makes everything later.
    past(Manner::LagsBehind(5), |node, _| vec![node.url()], 1).await;
}

#[tokio::test]
async fn a_node_that_limits_its_rate_is_asked_again() {
    past(Manner::LimitsRate, |node, _| vec![node.url()], 1).await;
}

#[tokio::test]
async fn one_node_that_lies_is_outvoted_by_two() {
    for manner in [Manner::SaysYes, Manner::SaysNo, Manner::HidesLogs, Manner::ForgetsItsHead] {
        let mut world = World::new().await;
        let direct = world.town.chain.rpc_url().clone();
        let other = Node::before(&direct).await;
        let node = Node::before(&direct).await;
        world.settings.chains[0].rpc = vec![node.url(), direct, other.url()];
        world.settings.chains[0].quorum = 2;
        node.set(manner);
        let running = world.start().await;
        let id = approved(&world, &running.api).await;
        world.execute(&running.api, &id).await;
        world.mine(DEPTH).await;
        assert_runs_once(&world, &running.api, &id).await;
        running.stop().await;
    }
}

/// Two that must agree and do not hold the request where it is, and say so.
async fn held_by_disagreement(manner: Manner) {
    let mut world = World::new().await;
    let direct = world.town.chain.rpc_url().clone();
    let node = Node::before(&direct).await;
    world.settings.chains[0].rpc = vec![direct, node.url()];
    world.settings.chains[0].quorum = 2;
    let running = world.start().await;
    let api = &running.api;
    let id = approved(&world, api).await;
    let call = api.proposal(&id).await["execution"].clone();
    node.set(manner);
    if manner == Manner::SaysNo {
        world.send(&call).await;
    }
    world.mine(DEPTH).await;
    world.look_again().await;
    api.wait_for_reason(&id, "their answers differ").await;
    assert_eq!(api.request(&id).await["status"], "approved");
    assert_eq!(world.town.cloud.commit_log().len(), 0);
    node.set(Manner::Honest);
    if manner == Manner::SaysYes {
        world.send(&call).await;
        world.mine(DEPTH).await;
    }
    world.look_again().await;
    assert_runs_once(&world, api, &id).await;
    running.stop().await;
}

#[tokio::test]
async fn two_nodes_that_disagree_hold_a_request_where_it_is() {
    held_by_disagreement(Manner::SaysYes).await;
    held_by_disagreement(Manner::SaysNo).await;
}
