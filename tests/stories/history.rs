//! What happened before anybody watched: the whole history of an app comes into the ledger, from its
//! deployment on, past limits of endpoints, restarts, and blocks that come meanwhile.

use std::time::Duration;

use alloy::{
    primitives::{B256, U256},
    providers::Provider,
    rpc::types::Filter,
    sol_types::SolCall,
};
use countersign::{
    dstack::{PolicyEvent, Write},
    owner::Call,
    request::ids::{AppId, DeviceId},
    safe::multisend,
    store::{apps::AppHistory, ledger::LedgerEntry},
};

use crate::world::{
    Running, World, eventually,
    node::{Manner, Node},
};

alloy::sol! {
    function transferOwnership(address newOwner) external;
}

const BATCH: u64 = 300;
/// The most logs that leaves one block a range.
const ONE_BLOCK: usize = 300;

fn device(number: u64) -> DeviceId {
    DeviceId(B256::from(U256::from(number)))
}

/// Lets the app allow many devices: each batch is one transaction in a block of its own.
async fn allow_devices(world: &World, batches: u64) {
    let chain = &world.town.chain;
    // Whoever owns the app may allow; a contract that anybody may call does it in bulk.
    let bulk = chain.release.multi_send_call_only;
    let give = transferOwnershipCall { newOwner: bulk }.abi_encode();
    world.as_the_safe(chain.app.0, give.into()).await;
    for batch in 0..batches {
        let calls: Vec<Call> = (batch * BATCH..(batch + 1) * BATCH)
            .map(|number| Call::of_write(chain.app, &Write::AddDevice(device(number))))
            .collect();
        let data = multisend::encode(&calls);
        chain.rpc.send(&chain.executor, bulk, data).await.expect("anybody may call it");
    }
}

/// Place, transaction, kind and value of every event of the app, as the chain has them.
async fn on_chain(world: &World) -> Vec<(u64, u64, B256, String, Vec<u8>)> {
    let app = world.town.chain.app.0;
    let filter = Filter::new().address(app).from_block(0);
    let logs = world.town.chain.rpc.provider().get_logs(&filter).await.expect("anvil has logs");
    let read = logs.iter().filter_map(|log| {
        let event = PolicyEvent::decode(log.topics(), &log.data().data).expect("it decodes")?;
        let (block, index) = (log.block_number?, log.log_index?);
        Some((block, index, log.transaction_hash?, event.kind().to_owned(), event.value()))
    });
    read.collect()
}

fn as_on_chain(ledger: &[LedgerEntry]) -> Vec<(u64, u64, B256, String, Vec<u8>)> {
    let place = |entry: &LedgerEntry| {
        let LedgerEntry { block, log_index, tx, kind, value, .. } = entry.clone();
        (block.number, log_index, tx.0, kind, value)
    };
    ledger.iter().map(place).collect()
}

/// Waits until the head is reached and nothing of the past is left to read.
async fn read_to_the_end(world: &World, running: &Running) {
    let (store, chain) = (&running.service.store, world.town.chain.chain_id);
    eventually("everything to be read", async || {
        let apps = store.app_histories(chain).await.ok()?;
        let head = world.town.chain.rpc.provider().get_block_number().await.ok()?;
        let ours = store.head(chain).await.ok()??;
        let is_read = apps.first()?.is_read();
        (is_read && ours.block.number >= head).then_some(())
    })
    .await;
}

async fn assert_whole(world: &World, running: &Running) {
    let (chain, app) = (world.town.chain.chain_id, world.town.chain.app);
    let ledger = running.service.store.ledger(chain, app).await.unwrap();
    let (ours, theirs) = (as_on_chain(&ledger), on_chain(world).await);
    assert_eq!(ours.len(), theirs.len());
    assert!(ours == theirs, "the ledger has other events than the chain");
}

async fn watched_through(manner: Manner) -> (World, Node) {
    let mut world = World::new().await;
    let node = Node::before(world.town.chain.rpc_url()).await;
    node.set(manner);
    world.settings.chains[0].rpc = vec![node.url()];
    world.settings.chains[0].apps = vec![world.town.chain.app];
    (world, node)
}

#[tokio::test]
async fn ten_thousand_events_are_read_past_an_endpoint_that_refuses_long_answers() {
    let (world, node) = watched_through(Manner::LimitsLogs(1_000)).await;
    allow_devices(&world, 34).await;
    let running = world.start().await;
    read_to_the_end(&world, &running).await;
    assert_whole(&world, &running).await;
    let chain = world.town.chain.chain_id;
    assert_eq!(running.service.store.history_left(chain).await.unwrap(), 0);
    assert!(node.take_calls()["eth_getLogs"] < 100, "ranges fit what the endpoint answers");
    running.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_cuts_long_answers_off_is_found_out() {
    let (world, _node) = watched_through(Manner::CutsLogs(700)).await;
    allow_devices(&world, 12).await;
    let running = world.start().await;
    read_to_the_end(&world, &running).await;
    assert_whole(&world, &running).await;
    running.stop().await;
}

#[tokio::test]
async fn one_endpoint_of_three_that_leaves_events_out_is_outvoted() {
    let (mut world, node) = watched_through(Manner::CutsLogs(1)).await;
    allow_devices(&world, 2).await;
    world.mine(40).await;
    let direct = world.town.chain.rpc_url().clone();
    let other = Node::before(&direct).await;
    world.settings.chains[0].rpc = vec![node.url(), direct, other.url()];
    world.settings.chains[0].quorum = 2;
    let running = world.start().await;
    read_to_the_end(&world, &running).await;
    assert_whole(&world, &running).await;
    running.stop().await;
}

#[tokio::test]
async fn a_history_that_was_begun_is_read_on_after_a_restart() {
    // Small answers make many steps, between which it is stopped.
    let (world, node) = watched_through(Manner::LimitsLogs(ONE_BLOCK)).await;
    allow_devices(&world, 16).await;
    // Recent blocks are read in one step.
    world.mine(40).await;
    let (chain, app) = (world.town.chain.chain_id, world.town.chain.app);
    let mut known_from = u64::MAX;
    for _ in 0..3 {
        let running = world.start().await;
        known_from = eventually("some history to be read", async || {
            let apps = running.service.store.app_histories(chain).await.ok()?;
            let history = apps.iter().find(|history| history.app == app)?;
            let from = history.ledger_from?;
            (history.is_read() || from < known_from).then_some(from)
        })
        .await;
        running.stop().await;
    }
    node.take_calls();
    let running = world.start().await;
    read_to_the_end(&world, &running).await;
    assert_whole(&world, &running).await;
    running.stop().await;
}

#[tokio::test]
async fn blocks_that_come_while_history_is_read_are_in_the_ledger_once() {
    let mut world =
        World::with(|options| options.block_time = Some(Duration::from_millis(100))).await;
    let node = Node::before(world.town.chain.rpc_url()).await;
    // Each step of the history takes several blocks' time this way.
    node.set(Manner::LimitsLogs(10));
    world.settings.chains[0].rpc = vec![node.url()];
    world.settings.chains[0].apps = vec![world.town.chain.app];
    let world = &world;
    let app = world.town.chain.app;
    let rpc = &world.town.chain.rpc;
    let allow_one_a_block = async |from: u64, to: u64| {
        for number in from..to {
            let before = rpc.provider().get_block_number().await.unwrap();
            world.as_the_safe(app.0, Write::AddDevice(device(number)).calldata()).await;
            eventually("the next block", async || {
                (rpc.provider().get_block_number().await.ok()? > before).then_some(())
            })
            .await;
        }
    };
    allow_one_a_block(0, 20).await;
    let running = world.start().await;
    allow_one_a_block(20, 60).await;
    read_to_the_end(world, &running).await;
    eventually("the last device", async || {
        let ledger = running.service.store.ledger(world.town.chain.chain_id, app).await.ok()?;
        ledger.iter().any(|entry| entry.value == device(59).0.to_vec()).then_some(())
    })
    .await;
    assert_whole(world, &running).await;
    running.stop().await;
}

#[tokio::test]
async fn an_app_that_a_kms_deploys_is_watched_from_its_first_event_on() {
    let mut world = World::new().await;
    let chain = &world.town.chain;
    world.settings.chains[0].kms = vec![AppId(chain.kms.address)];
    let running = world.start().await;
    let store = &running.service.store;
    let known = async |count: usize| {
        eventually(format!("{count} apps whose history is read"), async || {
            let apps = store.app_histories(chain.chain_id).await.ok()?;
            let are_read = apps.iter().all(AppHistory::is_read);
            (are_read && apps.len() == count).then_some(apps)
        })
        .await
    };
    // The one that was there before, and one that comes while we watch.
    assert_eq!(known(1).await[0].app, chain.app);
    let owner = chain.owners[0].address();
    let device = world.town.nodes[0].device_id;
    let made =
        chain.kms.new_app(&chain.rpc, &chain.executor, owner, world.town.compose_hash, device);
    let made = made.await.expect("the KMS makes an app");
    assert!(known(2).await.iter().any(|history| history.app == made));
    let kinds: Vec<String> = store
        .ledger(chain.chain_id, made)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.kind)
        .collect();
    for kind in ["initialized", "ownership_transferred", "device_added", "compose_hash_added"] {
        assert!(kinds.contains(&kind.to_owned()), "{kind} is missing in {kinds:?}");
    }
    // A reorganisation that takes its deployment takes the app.
    chain.rpc.reorg(1).await.unwrap();
    assert_eq!(known(1).await[0].app, chain.app);
    running.stop().await;
}

#[tokio::test]
async fn when_the_leader_goes_another_instance_follows_on() {
    let world = World::new().await;
    let (first, second) = (world.start().await, world.start().await);
    let chain = world.town.chain.chain_id;
    let follows = async |running: &Running| {
        world.mine(1).await;
        let head = world.town.chain.rpc.provider().get_block_number().await.unwrap();
        eventually("the new block", async || {
            let ours = running.service.store.head(chain).await.ok()??;
            (ours.block.number == head).then_some(())
        })
        .await;
    };
    follows(&second).await;
    first.stop().await;
    follows(&second).await;
    second.stop().await;
}
