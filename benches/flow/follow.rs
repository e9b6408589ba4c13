//! From the block that completes the depth to `registered` in the database, against the least that
//! anybody must do for it.

use alloy::{
    primitives::B256,
    providers::{Provider, ProviderBuilder, WsConnect},
    rpc::types::Filter,
};
use countersign::{
    clock::{Clock, SystemClock},
    devnet::{chain_scene::MULTICALL3, cloud::SwitchChange},
    dstack::{PolicyEvent, Read},
    request::ids::{ComposeHash, DeviceId, RequestId},
};
use serde_json::json;
use url::Url;

use crate::{
    figures::{Figure, millis, percentile},
    world::{DEPTH, Running, World},
};

const ROUNDS: u8 = 60;

alloy::sol! {
    #[sol(rpc)]
    contract Multicall {
        struct Call { address target; bool allowFailure; bytes callData; }
        struct Answer { bool success; bytes returnData; }
        function aggregate3(Call[] calls) external returns (Answer[]);
    }
}

fn websocket(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_scheme("ws").expect("an address of anvil");
    url
}

pub async fn figures() -> [Figure; 2] {
    let mut world = World::with(|options| options.missing_compose = false).await;
    world.settings.chains[0].rpc = vec![websocket(world.town.chain.rpc_url())];
    let mut floor = floor(&world).await;
    let running = world.start().await;
    let mut ours = vec![];
    for round in 1..=ROUNDS {
        ours.push(depth_to_registered(&world, &running, round).await);
    }
    running.stop().await;
    let mut figure = |name, share, limit| {
        let (ours, floor) = (percentile(&mut ours, share), percentile(&mut floor, share));
        Figure::at_most(name, "ms", ours, floor, limit)
    };
    [
        figure("block that completes the depth → registered in the database, p50", 0.5, 2.0),
        figure("block that completes the depth → registered in the database, p99", 0.99, 5.0),
    ]
}

/// A bare subscription, the logs of the block, and one multicall.
async fn floor(world: &World) -> Vec<f64> {
    let url = websocket(world.town.chain.rpc_url());
    let provider =
        ProviderBuilder::new().connect_ws(WsConnect::new(url.as_str())).await.expect("anvil");
    let mut heads = provider.subscribe_blocks().await.expect("anvil announces heads");
    let app = world.town.chain.app.0;
    let reads = [
        Read::AllowedComposeHash(ComposeHash(B256::ZERO)),
        Read::AllowedDevice(DeviceId(B256::ZERO)),
        Read::AllowAnyDevice,
    ];
    let multicall = Multicall::new(MULTICALL3, &provider);
    let mut times = vec![];
    for _ in 0..ROUNDS {
        let from = SystemClock.now();
        let ((), head) = tokio::join!(world.mine(1), heads.recv());
        let head = head.expect("a head");
        let filter = Filter::new()
            .address(app)
            .event_signature(PolicyEvent::topics().to_vec())
            .at_block_hash(head.hash);
        provider.get_logs(&filter).await.expect("logs");
        let calls = reads.map(|read| Multicall::Call {
            target: app,
            allowFailure: true,
            callData: read.calldata(),
        });
        let answers = multicall.aggregate3(calls.to_vec()).block(head.hash.into()).call().await;
        assert_eq!(answers.expect("a multicall").len(), reads.len());
        times.push(millis(from, SystemClock.now()));
    }
    times
}

/// From the mining of the block to the announcement that the registration is in the database.
async fn depth_to_registered(world: &World, running: &Running, round: u8) -> f64 {
    let device = DeviceId(B256::repeat_byte(round));
    let node = world.town.replica_node().as_str().parse::<u64>().expect("nodes have numbers here");
    let change: SwitchChange =
        serde_json::from_value(json!({ "node_device": { "id": node, "device_id": device } }))
            .expect("a switch of the emulator");
    world.town.cloud.control(change);
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    world.sign(api, &id).await;
    world.execute(api, &id).await;
    api.wait_for(&id, "executed").await;
    world.mine(DEPTH - 1).await;
    api.wait_for_reason(&id, "1 of 2").await;
    let request: RequestId = id.parse().expect("an id");
    let mut changes = running.service.store.changes().await.expect("the database announces");
    let from = SystemClock.now();
    let registered = async {
        loop {
            let change = changes.recv().await.expect("the database announces");
            if change.payload() == id {
                return SystemClock.now();
            }
        }
    };
    let ((), at) = tokio::join!(world.mine(1), registered);
    let facts = running.service.store.request(request).await.expect("it is there").facts;
    assert!(facts.registration.is_some(), "what was announced is the registration");
    api.wait_for(&id, "running").await;
    millis(from, at)
}
