//! A history of a hundred thousand events, against a loop that only downloads and decodes them.

use alloy::{
    primitives::{B256, U256},
    providers::Provider,
    rpc::types::Filter,
    sol_types::SolCall,
};
use countersign::{
    clock::{Clock, SystemClock},
    dstack::{PolicyEvent, Write},
    owner::Call,
    request::ids::DeviceId,
    safe::multisend,
};

use crate::{
    figures::{Figure, millis},
    world::{World, eventually},
};

const EVENTS: u64 = 100_000;
const BATCH: u64 = 400;
/// Blocks per request of the floor: about as many logs as endpoints like to answer with.
const RANGE: u64 = 20;

alloy::sol! {
    function transferOwnership(address newOwner) external;
}

pub async fn figure() -> Figure {
    let mut world = World::new().await;
    make_events(&world).await;
    world.settings.chains[0].apps = vec![world.town.chain.app];
    let (events, floor) = download_and_decode(&world).await;
    let (chain, app) = (world.town.chain.chain_id, world.town.chain.app);
    let from = SystemClock.now();
    let running = world.start().await;
    eventually("the history to be read", async || {
        running.service.store.history_is_read(chain, app).await.ok()?.then_some(())
    })
    .await;
    let ours = millis(from, SystemClock.now());
    let ledger = running.service.store.ledger(chain, app).await.expect("the ledger reads");
    assert_eq!(ledger.len(), events, "every event is in the ledger");
    running.stop().await;
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    let rate = |millis: f64| events as f64 / millis * 1e3;
    Figure::at_least(
        "history of 100,000 events into the ledger",
        "events/s",
        rate(ours),
        rate(floor),
        0.5,
    )
}

async fn make_events(world: &World) {
    let chain = &world.town.chain;
    let bulk = chain.release.multi_send_call_only;
    let give = transferOwnershipCall { newOwner: bulk }.abi_encode();
    world.as_the_safe(chain.app.0, give.into()).await;
    for batch in 0..EVENTS / BATCH {
        let calls: Vec<Call> = (batch * BATCH..(batch + 1) * BATCH)
            .map(|number| DeviceId(B256::from(U256::from(number))))
            .map(|device| Call::of_write(chain.app, &Write::AddDevice(device)))
            .collect();
        let data = multisend::encode(&calls);
        chain.rpc.send(&chain.executor, bulk, data).await.expect("anybody may call it");
    }
}

/// How many events there are, and how long it takes to have them.
async fn download_and_decode(world: &World) -> (usize, f64) {
    let provider = world.town.chain.rpc.provider();
    let head = provider.get_block_number().await.expect("anvil has a head");
    let mut events = 0;
    let began = SystemClock.now();
    for from in (0..=head).step_by(usize::try_from(RANGE).expect("a small number")) {
        let filter = Filter::new()
            .address(world.town.chain.app.0)
            .event_signature(PolicyEvent::topics().to_vec())
            .from_block(from)
            .to_block((from + RANGE - 1).min(head));
        for log in provider.get_logs(&filter).await.expect("anvil has logs") {
            let event = PolicyEvent::decode(log.topics(), &log.data().data).expect("it decodes");
            events += usize::from(event.is_some());
        }
    }
    (events, millis(began, SystemClock.now()))
}
