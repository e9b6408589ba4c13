//! RPC answers that no honest node gives, by the thousand: nothing panics, and nothing is believed
//! that is not so (invariants I1, I5 and I9).
//!
//! Mutations are drawn from a seed: `RPC_FUZZ_SEED` sets it, `RPC_FUZZ_RUNS` how many there are.
//! `make fuzz` runs the same reads under libFuzzer, which looks for new ways through the code.

use alloy::primitives::B256;
use countersign::{dstack::Generation, store::Store};

use super::ledger_law::{
    history::{Case, Move, Step},
    scene::Scene,
};
use crate::world::{
    database,
    hostile_reads::{Run, one_of_three_misleads_nobody, only_a_true_is_true},
    paper_chain::app::{Action, Birth},
    tamper::choices,
};

const BIRTH: Birth = Birth {
    generation: Generation::G3,
    any_device: false,
    require_tcb: false,
    upgrades_disabled: false,
    device: None,
    compose: None,
};

const RUNS: u64 = 150;
/// Histories that a follower is told.
const HISTORIES: u64 = 60;
/// Choices of one run.
const BYTES: usize = 4_096;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("it is a number"))
}

/// Names the run that a panic ends.
struct Running(u64);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("RPC_FUZZ_SEED={} RPC_FUZZ_RUNS=1 runs this again", self.0);
        }
    }
}

async fn run(reads: impl AsyncFn(&[u8]) -> Run) -> Run {
    let first = number("RPC_FUZZ_SEED").unwrap_or(1);
    let mut all = Run::default();
    for seed in first..first + number("RPC_FUZZ_RUNS").unwrap_or(RUNS) {
        let running = Running(seed);
        let run = reads(&choices(seed, BYTES)).await;
        drop(running);
        all.tampered += run.tampered;
        all.answered += run.answered;
    }
    println!("{all:?}");
    all
}

#[tokio::test]
async fn an_endpoint_of_three_that_says_anything_is_never_believed() {
    let all = run(one_of_three_misleads_nobody).await;
    assert!(all.tampered > 1_000 && all.answered > 1_000, "this tests something: {all:?}");
}

#[tokio::test]
async fn an_endpoint_alone_that_says_anything_is_not_taken_to_say_yes() {
    let all = run(only_a_true_is_true).await;
    assert!(all.tampered > 400, "this tests something: {all:?}");
}

/// A chain on which something happens to an app in every block, told by one endpoint.
fn told_by_a_liar(seed: u64) -> Case {
    let mut steps = vec![Step::Watch(0), Step::Tick, Step::Tamper(0, seed)];
    for round in 0..12_u8 {
        let value = B256::repeat_byte(round % 3);
        let action = match round % 4 {
            1 => Action::AddComposeHash(value),
            2 => Action::AddDevice(value),
            3 => Action::RemoveComposeHash(value),
            _ => Action::Deploy(BIRTH),
        };
        steps.extend([Step::Chain(Move::Mine(vec![(0, action)])), Step::Tick]);
    }
    Case { endpoints: 1, quorum: 1, liars: 1, lost: 0, steps }
}

#[tokio::test]
async fn a_follower_that_was_told_anything_finds_back_to_the_chain() {
    let store = Store::open(database().await.options()).await.expect("the database opens");
    let first = number("RPC_FUZZ_SEED").unwrap_or(1);
    for seed in first..first + number("RPC_FUZZ_RUNS").unwrap_or(HISTORIES) {
        let running = Running(seed);
        let case = told_by_a_liar(seed);
        let mut scene = Scene::new(&store, &case).await;
        scene.play(&case).await;
        scene.recover().await.expect("every endpoint is honest again");
        scene.leave().await;
        drop(running);
    }
}
