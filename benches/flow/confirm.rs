//! What an owner's signature costs: read, checked against the chain, stored, announced. The real program
//! and its PostgreSQL, against what Safe's Transaction Service spends on a proposal, as it was measured
//! once on two cores.
//!
//! Counted is the processor time of the program and of the PostgreSQL server, less what both spend in
//! the same time while nobody signs: the chain is polled then too. The client, the chain and the
//! emulated cloud are other processes. Each proposal gets all signatures but the one that it still
//! needs, since what follows upon that one is the look of a worker.

use std::{fs, time::Instant};

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
        api.wait_for_reason(&id, &format!("0 of {OWNERS} signatures")).await;
        for owner in 0..OWNERS - 1 {
            signed.push((id.clone(), world.signature(api, &id, owner).await));
        }
    }
    let (began, before) = (Instant::now(), spent(&world, &process).await);
    for (id, signature) in &signed {
        let answer = api.confirm(id, signature).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    let (took, after) = (began.elapsed(), spent(&world, &process).await);
    tokio::time::sleep(took).await;
    let idle = spent(&world, &process).await;
    process.terminate().await;
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let each = |ticks: f64| ticks * TICK_MS / signed.len() as f64;
    let of = |part: fn(&Spent) -> f64| {
        (each(part(&after) - part(&before)), each(part(&idle) - part(&after)))
    };
    let ((service, service_idle), (database, database_idle)) =
        (of(|spent| spent.service), of(|spent| spent.database));
    println!(
        "CPU of one confirmation: service {service:.2} ms, PostgreSQL {database:.2} ms; while nobody \
         signs, in the same time: {service_idle:.2} ms and {database_idle:.2} ms"
    );
    let name =
        "CPU of one confirmation, service and PostgreSQL, against a proposal in Safe's service";
    let ours = service + database - service_idle - database_idle;
    Figure::at_most(name, "ms", ours, SAFE_SERVICE_MS, 0.05)
}

/// Time on the processor up to now, in ticks.
struct Spent {
    service: f64,
    /// Of everything that the server runs.
    database: f64,
}

async fn spent(world: &World, process: &Process) -> Spent {
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
    Spent { service, database: backends + ended }
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
