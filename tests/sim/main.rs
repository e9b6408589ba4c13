//! The seeded simulation: the real workers and the real store on a real PostgreSQL, while clock,
//! chain and Phala Cloud are on paper, and everything goes wrong that a seed can draw.
//!
//! `SIM_SEEDS` says how many seeds are run, `SIM_FROM` which is the first, and `SIM_TELL` has the
//! story of each told. `SIM_PLANT` plants a bug in them, by its number; `SIM_BUG` has the proof
//! begin with a later bug. See CONTRIBUTING.md.

mod calm;
mod clock;
mod cloud;
mod director;
mod elsewhere;
mod frames;
mod instance;
mod lane;
mod laws;
mod lines;
mod play;
mod rng;
mod scene;
mod stage;
mod tally;
mod truth;

#[path = "../world"]
#[expect(dead_code, reason = "the stories use the rest of the world")]
mod world {
    pub mod paper_chain;
    pub mod postgres;
    pub mod tamper;
}

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use countersign::planted::{Bug, plant};
use indicatif::{ProgressBar, ProgressStyle};
use lane::{Lane, Logged, Report};
use tally::Tally;
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;
use world::paper_chain::lock;

/// Seeds that run at the same time: each waits for the database some of its time.
const LANES: usize = 3;
const SEEDS: u64 = 500;
/// Where nobody watches a bar, a line is written for so many.
const TELL_EVERY: u64 = 1_000;
/// Seeds that are run twice.
const REPEATED: u64 = 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("it is a number"))
}

#[test]
fn the_laws_hold_for_every_seed() {
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let from = number("SIM_FROM").unwrap_or(1);
    let is_told = std::env::var_os("SIM_TELL").is_some();
    let began = Instant::now();
    let mut tally = Tally::default();
    let mut failed = vec![];
    for report in run_all(from..from + seeds, is_told) {
        tally.add(&report.tally);
        if is_told {
            println!(
                "seed {}, trace {:016x}\n{}",
                report.seed,
                report.trace,
                report.story.join("\n")
            );
        }
        if !report.broken.is_empty() {
            failed.push(report);
        }
    }
    failed.sort_by_key(|report| report.seed);
    print_all(seeds, from, &tally, &failed, began);
    assert!(failed.is_empty(), "{} of {seeds} seeds break a law", failed.len());
}

/// The bug that `SIM_PLANT` names by its place in [`Bug::ALL`], to see what it does.
fn chosen_bug() -> Option<Bug> {
    let place = usize::try_from(number("SIM_PLANT")?).ok()?;
    Some(*Bug::ALL.get(place).expect("there are so many bugs"))
}

fn print_all(seeds: u64, from: u64, tally: &Tally, failed: &[Report], began: Instant) {
    let took = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    let each = took / seeds.max(1) as f64;
    println!("runs: {seeds} from seed {from}, in {took:.1} s ({each:.3} s each)");
    println!("faults injected:\n{}", tally.table("fault "));
    println!(
        "commits sent: {}, in one transaction with the registration: {}",
        tally.of("commits sent"),
        tally.of("commits with their registration")
    );
    println!("statements: {}, calls: {}", tally.of("statements"), tally.of("calls"));
    println!("overtaken tasks that went on: {}", tally.of("overtaken tasks that went on"));
    println!("violations: {}", failed.len());
    for report in failed.iter().take(20) {
        for broken in report.broken.iter().take(3) {
            println!("  seed {}: {}: {}", report.seed, broken.law, broken.how);
        }
    }
    if let Some(first) = failed.first() {
        println!("repeat with: make sim SEEDS=1 FROM={} TELL=1", first.seed);
    }
}

/// Most seeds that it may take to find a bug.
const SEEDS_TO_FIND: u64 = 2_000;

#[test]
fn every_planted_bug_is_found() {
    let next = AtomicU64::new(number("SIM_BUG").unwrap_or(0));
    let found = Mutex::new(vec![]);
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                in_lane(async |mut lane| {
                    while let Some(bug) = take(&next) {
                        plant(Some(bug));
                        let first = first_broken(&mut lane).await;
                        match &first {
                            Some(report) => println!(
                                "{bug:?}: seed {}, {}: {}",
                                report.seed, report.broken[0].law, report.broken[0].how
                            ),
                            None => println!("{bug:?}: not found in {SEEDS_TO_FIND} seeds"),
                        }
                        if let Some(report) = &first {
                            holds_without(&mut lane, bug, report.seed).await;
                        }
                        lock(&found).push((bug, first.is_some()));
                    }
                });
            });
        }
    });
    let missed: Vec<Bug> =
        lock(&found).iter().filter(|(_, found)| !found).map(|(bug, _)| *bug).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// A seed shows a bug only if it breaks no law without it.
async fn holds_without(lane: &mut Lane, bug: Bug, seed: u64) {
    plant(None);
    let control = lane.run(seed, false).await;
    assert!(control.broken.is_empty(), "seed {seed} breaks a law without {bug:?} too");
}

fn take(next: &AtomicU64) -> Option<Bug> {
    let place = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok()?;
    Bug::ALL.get(place).copied()
}

/// The first seed that breaks a law.
async fn first_broken(lane: &mut Lane) -> Option<Report> {
    for seed in 1..=SEEDS_TO_FIND {
        let report = lane.run(seed, false).await;
        if !report.broken.is_empty() {
            return Some(report);
        }
    }
    None
}

#[test]
fn a_seed_repeats_exactly() {
    in_lane(async |mut lane| {
        for seed in 1..=REPEATED {
            let first = lane.run(seed, true).await;
            let again = lane.run(seed, true).await;
            let same = first.story.iter().zip(&again.story).take_while(|(a, b)| a == b).count();
            let (one, other) = (first.story.get(same), again.story.get(same));
            assert_eq!(first.trace, again.trace, "seed {seed}, line {same}: {one:?} and {other:?}");
        }
    });
}

/// Runs seeds on all lanes.
fn run_all(seeds: std::ops::Range<u64>, is_told: bool) -> Vec<Report> {
    let next = AtomicU64::new(seeds.start);
    let reports = Mutex::new(vec![]);
    let bar = ProgressBar::new(seeds.end - seeds.start).with_style(style());
    thread::scope(|scope| {
        for _ in 0..LANES.min(usize::try_from(seeds.end - seeds.start).unwrap_or(LANES)) {
            scope.spawn(|| {
                let under_way = Cell::new(None);
                let lane = async |mut lane: Lane| {
                    plant(chosen_bug());
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return;
                        }
                        under_way.set(Some(seed));
                        let report = lane.run(seed, is_told).await;
                        note(report, &reports, &bar);
                    }
                };
                // A lane that panicked is of no use any more; the others and a new one go on.
                while let Err(panic) = catch_unwind(AssertUnwindSafe(|| in_lane(lane))) {
                    let Some(seed) = under_way.take() else { resume_unwind(panic) };
                    note(Report::of_panic(seed, panic.as_ref()), &reports, &bar);
                }
            });
        }
    });
    bar.finish_and_clear();
    reports.into_inner().expect("no lane panicked")
}

fn note(report: Report, reports: &Mutex<Vec<Report>>, bar: &ProgressBar) {
    if !report.broken.is_empty() {
        let told = format!("seed {} breaks a law", report.seed);
        if bar.is_hidden() {
            println!("{told}");
        }
        bar.println(told);
    }
    lock(reports).push(report);
    bar.inc(1);
    if bar.is_hidden() && bar.position().is_multiple_of(TELL_EVERY) {
        println!("{} seeds are through", bar.position());
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:40} {pos} of {len} seeds, {eta} left")
        .expect("the template is one")
}

/// Opens a lane on this thread and lets it run.
fn in_lane(run: impl AsyncFnOnce(Lane)) {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("countersign=debug"))
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        drop(rustls::crypto::ring::default_provider().install_default());
        run(Lane::open(logged).await).await;
    });
}
