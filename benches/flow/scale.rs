//! What a block costs the real program: with ten apps and ten open requests, and with ten thousand
//! and a hundred thousand.

use std::{collections::BTreeMap, fs, time::Duration};

use alloy::providers::Provider;
use countersign::store::Store;

use crate::{
    figures::Figure,
    world::{World, eventually, node::Node, process::Process},
};

const BLOCKS: u32 = 200;
const BLOCK_TIME: Duration = Duration::from_millis(50);
const MEMORY_MAX_MB: f64 = 100.0;

/// Rows of open requests, as if they had come in over time; nobody looks at them soon.
const FEW: &str = include_str!("scale_few.sql");
pub const MANY: &str = include_str!("scale_many.sql");

/// What a block cost.
struct Cost {
    calls: BTreeMap<String, usize>,
    cpu_ticks: f64,
    memory_mb: f64,
}

pub async fn figures() -> [Figure; 3] {
    let few = cost(FEW).await;
    let many = cost(MANY).await;
    println!("calls in {BLOCKS} blocks with few: {:?}, with many: {:?}", few.calls, many.calls);
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let calls = |cost: &Cost| {
        let by_block = cost.calls.iter().filter(|(call, _)| !call.ends_with("latest"));
        by_block.map(|(_, count)| count).sum::<usize>() as f64 / f64::from(BLOCKS)
    };
    [
        Figure::at_most(
            "calls per block beside polls, 10,000 apps and 100,000 requests against 10 and 10",
            "calls",
            calls(&many),
            calls(&few),
            1.0,
        ),
        Figure::at_most("CPU per block, the same", "ticks", many.cpu_ticks, few.cpu_ticks, 1.2),
        Figure::at_most(
            "memory with 10,000 apps and 100,000 requests",
            "MB",
            many.memory_mb,
            MEMORY_MAX_MB,
            1.0,
        ),
    ]
}

async fn cost(rows: &'static str) -> Cost {
    let mut world = World::new().await;
    let node = Node::before(world.town.chain.rpc_url()).await;
    world.settings.chains[0].rpc = vec![node.url()];
    // The tables are made before the rows, and the rows are there before the program starts.
    let service = world.service().await;
    service.store.close().await;
    world.database.execute(rows).await;
    let process = world.spawn().await;
    let store = world.service().await.store;
    pass(&world, &store, 20).await;
    node.take_calls();
    let before = cpu_ticks(&process);
    pass(&world, &store, BLOCKS).await;
    let cpu_ticks = (cpu_ticks(&process) - before) / f64::from(BLOCKS);
    let cost = Cost { calls: node.take_calls(), cpu_ticks, memory_mb: memory_mb(&process) };
    process.terminate().await;
    store.close().await;
    cost
}

/// Lets blocks come one by one, each when its time has come and the one before is followed.
async fn pass(world: &World, store: &Store, blocks: u32) {
    let mut time = tokio::time::interval(BLOCK_TIME);
    for _ in 0..blocks {
        time.tick().await;
        world.mine(1).await;
        let head = world.town.chain.rpc.provider().get_block_number().await.expect("anvil");
        eventually("the block to be followed", async || {
            let ours = store.head(world.town.chain.chain_id).await.ok()??;
            (ours.block.number == head).then_some(())
        })
        .await;
    }
}

/// Time on the processor so far, in clock ticks.
fn cpu_ticks(process: &Process) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).expect("it runs");
    let after_name = stat.rsplit(')').next().expect("a name in parentheses");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    // User and system time are the fields 14 and 15; the first after the name is the third.
    [fields[11], fields[12]].iter().map(|field| field.parse::<f64>().expect("a number")).sum()
}

fn memory_mb(process: &Process) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("a number") / 1024.0
}
