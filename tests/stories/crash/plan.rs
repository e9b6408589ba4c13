//! What a round brings, drawn at random: who asks for what, when the program is killed, and what
//! Phala Cloud does meanwhile.

use std::time::Duration;

use countersign::devnet::cloud::Endpoint;
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::NODES;

/// A round.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One request for each: which of the sources is to be replicated. The same one may be asked
    /// for more than once, and then each preparation voids the token of the one before.
    pub sources: Vec<usize>,
    /// How many of the requests are put to the owners before they act.
    pub proposed: usize,
    /// Whether all approvals stand in one block.
    pub one_block: bool,
    pub kills: Vec<Moment>,
    pub trouble: Trouble,
}

/// When the program is killed, counted from its start.
#[derive(Debug, Clone, Copy)]
pub enum Moment {
    After(Duration),
    /// So long after the so-manieth call of this kind came in at Phala Cloud.
    Call {
        endpoint: Endpoint,
        nth: usize,
        later: Duration,
    },
}

/// What Phala Cloud does wrong.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    None,
    /// So many commits take effect, and nobody is told.
    Swallows(u32),
    /// So many calls are told to come later.
    IsUnavailable(Endpoint, u32),
    /// A commit breaks off before it has an effect.
    Breaks,
}

impl Plan {
    /// The same for the same seed and round.
    pub fn draw(seed: u64, round: u64, sources: usize) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes[8..16].copy_from_slice(&round.to_be_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        plan(sources).new_tree(&mut runner).expect("nothing is rejected").current()
    }
}

fn plan(sources: usize) -> impl Strategy<Value = Plan> {
    let sources = vec(0..sources, 2..=NODES.len());
    (sources, any::<Index>(), any::<bool>(), vec(moment(), 1..=3), trouble()).prop_map(
        |(sources, proposed, one_block, kills, trouble)| Plan {
            proposed: proposed.index(sources.len() + 1),
            sources,
            one_block,
            kills,
            trouble,
        },
    )
}

fn moment() -> impl Strategy<Value = Moment> {
    let call = |endpoint, most| {
        (1..=most, micros(0..15_000)).prop_map(move |(nth, later)| Moment::Call {
            endpoint,
            nth,
            later,
        })
    };
    prop_oneof![
        4 => millis(0..900).prop_map(Moment::After),
        5 => call(Endpoint::Commit, 2_usize),
        2 => call(Endpoint::Instances, 3),
        1 => call(Endpoint::Prepare, 2),
        1 => call(Endpoint::Cvm, 3),
    ]
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let endpoint = prop_oneof![Just(Endpoint::Commit), Just(Endpoint::Instances)];
    prop_oneof![
        6 => Just(Trouble::None),
        2 => (1..=2_u32).prop_map(Trouble::Swallows),
        1 => (endpoint, 1..=2_u32).prop_map(|(at, times)| Trouble::IsUnavailable(at, times)),
        1 => Just(Trouble::Breaks),
    ]
}

fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn micros(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_micros)
}
