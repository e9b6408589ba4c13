//! Killed at any moment, again and again, the program makes exactly one replica for each request
//! and loses none (invariant I2), and its journal verifies (I6).
//!
//! Moments are drawn from a seed that a failure prints: `CRASH_SEED` sets it, `CRASH_ROUNDS` how
//! many rounds there are, `CRASH_FIRST` the first. A round with the same seed brings the same; where
//! exactly the program is when it is killed, no seed can say.

mod plan;

use std::{
    cell::{Cell, RefCell},
    fmt,
    panic::{AssertUnwindSafe, resume_unwind},
    time::{Duration, Instant},
};

use alloy::primitives::{B256, keccak256};
use countersign::{
    devnet::cloud::{Endpoint, PlannedFailure, SwitchChange},
    dstack::Write,
    request::ids::{AppId, DeviceId, SourceCvm},
    store::{Store, journal::Verdict},
};
use futures::{FutureExt, future::join_all};
use serde_json::Value;
use sqlx::{PgPool, Row, postgres::PgPoolOptions};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::plan::{Moment, Plan, Trouble};
use crate::world::{Api, DEPTH, World, eventually, process::Process};

const ROUNDS: u64 = 100;
/// Rounds that are played at the same time: each waits most of its time.
const LANES: u64 = 3;
const APPS: usize = 3;
const SOURCES_PER_APP: usize = 2;
/// How long after a start a call is waited for.
const CALL_PATIENCE: Duration = Duration::from_secs(2);
/// Each request of a round is for a node of its own, which has another device in each round.
const NODES: [u64; 4] = [6, 7, 8, 9];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_makes_each_replica_once() {
    let seed = number("CRASH_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    println!("CRASH_SEED={seed}");
    let rounds = number("CRASH_ROUNDS").unwrap_or(ROUNDS);
    let first = number("CRASH_FIRST").unwrap_or(1);
    let all_rounds = first..first + rounds;
    let lanes = (0..LANES)
        .map(|lane| play(seed, all_rounds.clone().filter(move |round| round % LANES == lane)));
    let mut all = Tally::default();
    for tally in join_all(lanes).await {
        all.add(&tally);
    }
    println!("{all:?}");
    // How many there are depends on how fast the machine is at the moment.
    let is_much = all.kills * 2 >= rounds && all.kills_by_call * 10 >= rounds;
    assert!(is_much || rounds < ROUNDS, "this tests something");
}

/// Plays some of the rounds, one after the other, in a world of their own.
async fn play(seed: u64, rounds: impl Iterator<Item = u64>) -> Tally {
    let mut crash = Crash::new().await;
    for round in rounds {
        let plan = Plan::draw(seed, round, crash.sources.len());
        let played = AssertUnwindSafe(crash.round(round, &plan)).catch_unwind().await;
        if let Err(panic) = played {
            eprintln!("CRASH_SEED={seed}, round {round}: {plan:?}");
            resume_unwind(panic);
        }
    }
    crash.program.kill().await;
    crash.tally
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("it is a number"))
}

/// What is to come of one request.
#[derive(Debug)]
struct Wanted {
    app: AppId,
    source: SourceCvm,
    node: u64,
    device: DeviceId,
    submission: Value,
}

/// What happened in all rounds.
#[derive(Debug, Default)]
struct Tally {
    requests: usize,
    commits: usize,
    kills: u64,
    /// Those at a call to Phala Cloud.
    kills_by_call: u64,
    slowest_round: Duration,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.commits += other.commits;
        self.kills += other.kills;
        self.kills_by_call += other.kills_by_call;
        self.slowest_round = self.slowest_round.max(other.slowest_round);
    }
}

struct Crash {
    world: World,
    /// Not the program's own, which end with it.
    connections: PgPool,
    sources: Vec<(AppId, SourceCvm)>,
    program: Process,
    tally: Tally,
}

impl Crash {
    async fn new() -> Self {
        let world = World::with(|town| {
            town.missing_compose = false;
            town.boot_polls = 0;
        })
        .await;
        let town = &world.town;
        let mut apps = vec![town.chain.app];
        while apps.len() < APPS {
            apps.push(town.add_app().await.expect("an app is made"));
        }
        let mut sources = vec![(town.chain.app, town.source.clone())];
        for app in apps {
            while sources.iter().filter(|(of, _)| *of == app).count() < SOURCES_PER_APP {
                sources.push((app, town.add_source(app)));
            }
        }
        town.add_node(8);
        town.add_node(9);
        // From here on the Safe can act in one call.
        let device = Write::AddDevice(DeviceId(B256::repeat_byte(1)));
        world.as_the_safe(town.chain.app.0, device.calldata()).await;
        let options = world.database.options().application_name("crash");
        let connections = PgPoolOptions::new().max_connections(2).connect_with(options).await;
        let connections = connections.expect("the database is there");
        let program = world.spawn().await;
        Self { world, connections, sources, program, tally: Tally::default() }
    }

    async fn round(&mut self, round: u64, plan: &Plan) {
        let began = Instant::now();
        let mut wanted = vec![];
        for (number, (source, node)) in plan.sources.iter().zip(NODES).enumerate() {
            wanted.push(self.wanted(&format!("{round} {number}"), *source, node).await);
        }
        self.tally.requests += wanted.len();
        self.set_trouble(plan.trouble);
        let arrivals = self.world.town.cloud.arrivals();
        let (restarted, api) = watch::channel(self.program.api.clone());
        let all_run = CancellationToken::new();
        let Self { world, connections, program, tally, .. } = self;
        let story = async {
            carry(world, connections, &wanted, api, plan).await;
            run(world, connections).await;
            all_run.cancel();
        };
        let reaper = async {
            let mut arrivals = arrivals;
            for moment in &plan.kills {
                let by_call = tokio::select! {
                    by_call = moment.comes(&mut arrivals) => by_call,
                    () = all_run.cancelled() => break,
                };
                program.kill_now().await;
                tally.kills += 1;
                tally.kills_by_call += u64::from(by_call);
                forgotten(world, connections).await;
                *program = world.spawn().await;
                arrivals = arrivals.resubscribe();
                restarted.send_replace(program.api.clone());
            }
        };
        tokio::join!(story, reaper);
        self.set_trouble(Trouble::None);
        self.check(&wanted).await;
        self.tally.slowest_round = self.tally.slowest_round.max(began.elapsed());
    }

    /// A preparation for a device that nobody has approved yet.
    async fn wanted(&self, name: &str, source: usize, node: u64) -> Wanted {
        let device = DeviceId(keccak256(name));
        self.world.set_device(node, device);
        let (app, source) = self.sources[source].clone();
        let prepared = self.world.prepare_from(&source, node).await;
        let submission = World::submission_from(&source, node, &prepared);
        Wanted { app, source, node, device, submission }
    }

    fn set_trouble(&self, trouble: Trouble) {
        let failure = |endpoint, status, times| PlannedFailure {
            endpoint,
            status,
            code: None,
            retry_after: None,
            times,
        };
        let (swallowed, failures) = match trouble {
            Trouble::None => (0, vec![]),
            Trouble::Swallows(commits) => (commits, vec![]),
            Trouble::IsUnavailable(endpoint, times) => (0, vec![failure(endpoint, 503, times)]),
            Trouble::Breaks => (0, vec![failure(Endpoint::Commit, 502, 1)]),
        };
        self.world.town.cloud.control(SwitchChange {
            fail_next: Some(failures),
            swallow_next_commit: Some(swallowed),
            ..SwitchChange::default()
        });
    }

    /// What Phala Cloud says there is, against what was asked for and what the program believes.
    async fn check(&mut self, wanted: &[Wanted]) {
        let cloud = &self.world.town.cloud;
        let mut made = cloud.instances();
        made.retain(|instance| instance.source.is_some());
        for one in wanted {
            let of_it = made.iter().filter(|it| it.device_id == one.device);
            let of_it: Vec<_> = of_it.map(|it| (it.app, it.node, it.source)).collect();
            let source = one.source.as_str().parse().ok();
            assert_eq!(of_it, [(one.app, one.node, source)], "one replica for {one:?}");
        }
        assert_eq!(made.len(), self.tally.requests, "every replica was asked for");
        let commits = cloud.commit_log();
        let effective = commits.iter().filter(|call| call.created.is_some()).count();
        assert_eq!(effective, self.tally.requests, "every replica comes from a commit");
        self.tally.commits = commits.len();

        let rows = sqlx::query("select replica_id from requests").fetch_all(&self.connections);
        let rows = rows.await.expect("requests read");
        let mut known: Vec<Uuid> = rows.iter().map(|row| uuid(row.get(0))).collect();
        let mut made: Vec<Uuid> = made.iter().map(|instance| instance.id).collect();
        known.sort_unstable();
        made.sort_unstable();
        assert_eq!(known, made, "each request names its own replica");

        let store = Store::open(self.world.database.options()).await.expect("it opens");
        let verdict = store.verify_journal(|_| {}).await.expect("the journal reads");
        assert!(matches!(verdict, Verdict::Intact { .. }), "{verdict:?}");
        store.close().await;
    }
}

fn uuid(text: &str) -> Uuid {
    text.parse().expect("replicas are named by UUID here")
}

impl Moment {
    /// Waits for the moment; whether a call made it come. Calls that do not come are not waited
    /// for, so that the program is killed all the same.
    async fn comes(self, arrivals: &mut broadcast::Receiver<Endpoint>) -> bool {
        let (endpoint, nth, later) = match self {
            Self::Call { endpoint, nth, later } => (endpoint, nth, later),
            Self::After(time) => {
                // The moment is what is drawn: there is nothing else to wait for.
                tokio::time::sleep(time).await;
                return false;
            }
        };
        let calls = async {
            for _ in 0..nth {
                while arrivals.recv().await.expect("the cloud outlives the round") != endpoint {}
            }
            // Somewhere between the call and what the program makes of its answer.
            tokio::time::sleep(later).await;
        };
        tokio::time::timeout(CALL_PATIENCE, calls).await.is_ok()
    }
}

/// Submits every preparation and approves it, whatever state the program is in.
async fn carry(
    world: &World,
    connections: &PgPool,
    wanted: &[Wanted],
    mut api: watch::Receiver<Api>,
    plan: &Plan,
) {
    for one in wanted {
        submit(&mut api, &one.submission).await;
    }
    owners_know(connections, plan.proposed).await;
    let rpc = &world.town.chain.rpc;
    rpc.mine_at_once(!plan.one_block).await.expect("anvil takes it");
    for one in wanted {
        let write = Write::AddDevice(one.device);
        world.again_as_the_safe(one.app.0, write.calldata()).await;
    }
    rpc.mine_at_once(true).await.expect("anvil takes it");
    world.mine(DEPTH + u64::from(plan.one_block)).await;
}

/// Waits until so many of the open requests were put to their owners.
async fn owners_know(connections: &PgPool, count: usize) {
    eventually("proposals to the owners", async || {
        let rows = sqlx::query(
            "select 1 from requests where proposal_id is not null and running_at is null",
        );
        let rows = rows.fetch_all(connections).await.expect("requests read");
        (rows.len() >= count).then_some(())
    })
    .await;
}

/// Submits a preparation until it is answered: only then a request may not be lost any more.
async fn submit(api: &mut watch::Receiver<Api>, body: &Value) {
    loop {
        let now = api.borrow_and_update().clone();
        match now.try_post("/v1/requests", body).await {
            Some(answer) => {
                assert!(matches!(answer.status, 200 | 201), "{}", answer.text);
                return;
            }
            None => api.changed().await.expect("whoever restarts the program outlives the story"),
        }
    }
}

/// Time between two blocks while nothing happens on the chain.
const BLOCK_TIME: Duration = Duration::from_secs(2);

/// Waits until every request runs, while the chain goes on.
async fn run(world: &World, connections: &PgPool) {
    let mined = Cell::new(Instant::now());
    let open = RefCell::new(vec![]);
    let ended = Cell::new(false);
    eventually(Open(&open), async || {
        let rows = sqlx::query(
            "select status || ': ' || coalesce(attention, ended_reason, reason, ''),
                    ended_as is not null or attention is not null
             from requests where running_at is null",
        );
        let rows = rows.fetch_all(connections).await.expect("requests read");
        ended.set(rows.iter().any(|row| row.get(1)));
        open.replace(rows.iter().map(|row| row.get(0)).collect());
        if mined.get().elapsed() >= BLOCK_TIME {
            mined.set(Instant::now());
            world.mine(1).await;
        }
        (rows.is_empty() || ended.get()).then_some(())
    })
    .await;
    assert!(!ended.get(), "nothing here needs a person or ends: {:?}", open.borrow());
}

/// What is still open.
struct Open<'a>(&'a RefCell<Vec<String>>);

impl fmt::Display for Open<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "everything to run; open are {:#?}", self.0.borrow())
    }
}

/// Lets the leases of the killed program run out, once the database has let go of it: what it had
/// sent may still be carried out until then.
async fn forgotten(world: &World, connections: &PgPool) {
    eventually("the database to let go of the program", async || {
        let left = sqlx::query(
            "select 1 from pg_stat_activity
             where datname = current_database() and application_name = 'countersign'",
        );
        left.fetch_optional(connections).await.expect("it can be asked").is_none().then_some(())
    })
    .await;
    world.leases_run_out().await;
}
