//! The law of the ledger: whatever happened on a chain and whatever its endpoints did meanwhile,
//! once an honest quorum is there again the ledger is exactly what the chain's blocks say.
//!
//! Cases are drawn from a seed, so that a run can be repeated: `LEDGER_LAW_SEED` sets it, and
//! `PROPTEST_CASES` how many there are. A failure is shrunk to the shortest history that shows it.

mod check;
pub mod history;
pub mod scene;

use std::thread;

use countersign::store::Store;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tokio::runtime::{Builder, Handle};

use self::{
    history::{Case, case},
    scene::Scene,
};
use crate::world::database;

/// Cases that run at the same time: each waits for the database most of its time.
const LANES: u32 = 4;
const CASES: u32 = 2_000;

#[test]
fn the_ledger_is_what_the_chain_says_after_any_history() {
    let seed = number("LEDGER_LAW_SEED").unwrap_or(1);
    let cases = number("PROPTEST_CASES").unwrap_or(CASES);
    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let store = runtime.block_on(async {
        Store::open(database().await.options()).await.expect("the database opens")
    });
    let failures: Vec<String> = thread::scope(|scope| {
        let lanes = (0..LANES).map(|lane| {
            let (store, handle) = (&store, runtime.handle());
            scope.spawn(move || hold(store, handle, seed, lane, cases.div_ceil(LANES)))
        });
        let lanes: Vec<_> = lanes.collect();
        lanes.into_iter().filter_map(|lane| lane.join().expect("failures are told")).collect()
    });
    assert!(failures.is_empty(), "LEDGER_LAW_SEED={seed}\n{}", failures.join("\n"));
}

fn number(name: &str) -> Option<u32> {
    std::env::var(name).ok().map(|text| text.parse().expect("it is a number"))
}

/// Holds so many cases against the law; the shortest one that breaks it, in words.
fn hold(store: &Store, handle: &Handle, seed: u32, lane: u32, cases: u32) -> Option<String> {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_be_bytes());
    bytes[4..8].copy_from_slice(&lane.to_be_bytes());
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    match runner.run(&case(), |case| handle.block_on(hold_one(store, &case))) {
        Ok(()) => None,
        Err(TestError::Fail(reason, case)) => Some(format!("{reason}\n{case:?}")),
        Err(TestError::Abort(reason)) => Some(reason.to_string()),
    }
}

async fn hold_one(store: &Store, case: &Case) -> Result<(), TestCaseError> {
    let mut scene = Scene::new(store, case).await;
    scene.play(case).await;
    let held = scene.check().await;
    scene.leave().await;
    held
}
