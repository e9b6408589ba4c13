//! What an owner's signature costs: read, checked against the chain, stored. The real program and its
//! PostgreSQL, against what Safe's Transaction Service spends on a proposal, as it was measured once
//! on two cores.

use std::fs;

use sqlx::{Connection, Row};

use crate::{
    figures::Figure,
    world::{World, process::Process},
};

const SAFE_SERVICE_MS: f64 = 113.0;
const OWNERS: usize = 9;
const REQUESTS: u64 = 20;
const FIRST_NODE: u64 = 100;
/// Linux counts time on the processor in hundredths of a second.
const TICK_MS: f64 = 10.0;

pub async fn figure() -> Figure {
    let world = World::with(|options| {
        (options.owners, options.threshold) = (OWNERS, OWNERS);
    })
    .await;
    let process = world.spawn().await;
    let api = &process.api;
    let mut signed = vec![];
    for node in FIRST_NODE..FIRST_NODE + REQUESTS {
        world.town.add_node(node);
        let id = api.submit(&world.submission_on(&world.prepare_on(node).await, node)).await;
        for owner in 0..OWNERS {
            signed.push((id.clone(), world.signature(api, &id, owner).await));
        }
    }
    let before = ticks(&world, &process).await;
    for (id, signature) in &signed {
        let answer = api.confirm(id, signature).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    let spent = ticks(&world, &process).await - before;
    process.terminate().await;
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let each = spent * TICK_MS / signed.len() as f64;
    let name =
        "CPU of one confirmation, service and PostgreSQL, against a proposal in Safe's service";
    Figure::at_most(name, "ms", each, SAFE_SERVICE_MS, 0.05)
}

/// Of the program and of everything that its PostgreSQL server runs.
async fn ticks(world: &World, process: &Process) -> f64 {
    let mut connection = world.database.connect().await;
    let backend = sqlx::query("select pg_backend_pid()").fetch_one(&mut connection).await;
    let backend = u32::try_from(backend.expect("a server has pids").get::<i32, _>(0));
    let server = stat(backend.expect("a pid")).expect("it runs").parent;
    let all = fs::read_dir("/proc").expect("Linux has it").filter_map(Result::ok);
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let of_server = pids.filter_map(stat).filter(|one| one.parent == server);
    let backends: f64 = of_server.map(|one| one.ticks).sum();
    let ended = stat(server).expect("it runs").ticks;
    let service = stat(process.id()).expect("it runs").ticks;
    connection.close().await.expect("the connection ends");
    service + backends + ended
}

struct Stat {
    parent: u32,
    /// User and system time of its own, and of children that have ended.
    ticks: f64,
}

fn stat(pid: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // What follows the name in parentheses begins with field 3, the state.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let ticks = [14, 15, 16, 17].into_iter().filter_map(field).sum();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks })
}
