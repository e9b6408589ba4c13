//! What may happen while a chain is followed, drawn at random.

use alloy::primitives::{Address, B256};
use countersign::dstack::Generation;
use proptest::{collection::vec, option, prelude::*};

use crate::world::paper_chain::{
    Fault,
    app::{Action, Birth},
};

/// The apps of every case.
pub const APPS: [Address; 3] =
    [Address::repeat_byte(0xa0), Address::repeat_byte(0xa1), Address::repeat_byte(0xa2)];

/// A world and what happens in it.
#[derive(Debug, Clone)]
pub struct Case {
    pub endpoints: usize,
    pub quorum: usize,
    /// So many endpoints, the first ones, may say what is not so.
    pub liars: usize,
    /// So many endpoints, the first ones, stay as they are when the faults of the others end.
    pub lost: usize,
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub enum Step {
    Chain(Move),
    /// A request comes in for an app.
    Watch(usize),
    Fault(usize, Option<Fault>),
    /// An endpoint mutates its answers, by choices of this seed.
    Tamper(usize, u64),
    Tick,
    /// The chain moves after so many calls of a tick.
    TickWhile(usize, Move),
    /// The chain moves, and an endpoint has not heard of it for some calls of the tick that follows.
    TickStale {
        endpoint: usize,
        after: usize,
        calls: usize,
        change: Move,
    },
    /// The instance that follows ends; another one takes over.
    Restart,
}

/// Transactions of a block: which app, and what is done to it.
pub type Actions = Vec<(usize, Action)>;

/// What a chain does.
#[derive(Debug, Clone)]
pub enum Move {
    Mine(Actions),
    /// So many blocks in which nothing happens to an app.
    Rest(usize),
    Reorg {
        depth: usize,
        kept: Kept,
        /// Blocks more than there were.
        more: usize,
        new: Actions,
    },
    RollBack(usize),
}

/// Which transactions of replaced blocks come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    None,
    InTheirPlaces,
    AllInTheLast,
    InReverse,
}

pub fn case() -> impl Strategy<Value = Case> {
    (1..=3_usize, vec(step(), 5..=25)).prop_flat_map(|(endpoints, steps)| {
        (1..=endpoints.min(2)).prop_map(move |quorum| Case {
            endpoints,
            quorum,
            // What a whole quorum says is taken for true.
            liars: quorum - 1,
            // A quorum that is a majority does without the others.
            lost: if quorum * 2 > endpoints { endpoints - quorum } else { 0 },
            steps: steps.clone(),
        })
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => movement().prop_map(Step::Chain),
        5 => Just(Step::Tick),
        2 => (0..12_usize, movement()).prop_map(|(calls, change)| Step::TickWhile(calls, change)),
        2 => (0..3_usize, 0..12_usize, 1..=6_usize, reorg()).prop_map(
            |(endpoint, after, calls, change)| Step::TickStale { endpoint, after, calls, change },
        ),
        2 => (0..APPS.len()).prop_map(Step::Watch),
        3 => (0..3_usize, option::weighted(0.7, fault())).prop_map(|(at, fault)| Step::Fault(at, fault)),
        1 => (0..3_usize, any::<u64>()).prop_map(|(at, seed)| Step::Tamper(at, seed)),
        1 => Just(Step::Restart),
    ]
}

fn movement() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => actions(1..=3).prop_map(Move::Mine),
        1 => (1..=4_usize).prop_map(Move::Rest),
        2 => reorg(),
        1 => (1..=3_usize).prop_map(Move::RollBack),
    ]
}

fn reorg() -> impl Strategy<Value = Move> {
    let kept = prop_oneof![
        Just(Kept::None),
        Just(Kept::InTheirPlaces),
        Just(Kept::AllInTheLast),
        Just(Kept::InReverse),
    ];
    (1..=6_usize, kept, 0..=2_usize, actions(0..=2))
        .prop_map(|(depth, kept, more, new)| Move::Reorg { depth, kept, more, new })
}

fn actions(count: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Actions> {
    vec((0..APPS.len(), action()), count)
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => birth().prop_map(Action::Deploy),
        4 => value().prop_map(Action::AddComposeHash),
        3 => value().prop_map(Action::RemoveComposeHash),
        4 => value().prop_map(Action::AddDevice),
        3 => value().prop_map(Action::RemoveDevice),
        1 => any::<bool>().prop_map(Action::SetAllowAnyDevice),
        1 => any::<bool>().prop_map(Action::SetRequireTcb),
        1 => address().prop_map(Action::Upgrade),
        1 => address().prop_map(Action::TransferOwnership),
        1 => Just(Action::AcceptOwnership),
        1 => prop_oneof![Just(Action::DisableUpgrades), Just(Action::RenounceOwnership)],
    ]
}

fn birth() -> impl Strategy<Value = Birth> {
    let generation = prop_oneof![Just(Generation::G1), Just(Generation::G2), Just(Generation::G3)];
    (generation, any::<[bool; 3]>(), option::of(value()), option::of(value())).prop_map(
        |(generation, [any_device, require_tcb, upgrades_disabled], device, compose)| Birth {
            generation,
            any_device,
            require_tcb,
            upgrades_disabled,
            device,
            compose,
        },
    )
}

/// Few enough to meet again, as a compose hash and as a device.
fn value() -> impl Strategy<Value = B256> {
    (1..=3_u8).prop_map(B256::repeat_byte)
}

fn address() -> impl Strategy<Value = Address> {
    (1..=2_u8).prop_map(Address::repeat_byte)
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (1..=4_usize).prop_map(Fault::Lags),
        (1..=4_usize).prop_map(Fault::GoesBackOnce),
        Just(Fault::LacksItsHead),
        Just(Fault::LogsOfTheBlockBelow),
        (1..=4_usize).prop_map(Fault::LogsOfAFork),
        (0..=3_usize).prop_map(Fault::CutsLogs),
        (1..=3_usize).prop_map(Fault::ForgetsState),
        (0..=3_usize).prop_map(Fault::RefusesManyLogs),
        Just(Fault::RefusesBareCalls),
        Just(Fault::LimitsRate),
        Just(Fault::TooManyRequests),
        Just(Fault::Silent),
        Just(Fault::Garbage),
        (1..=4_usize).prop_map(Fault::Forked),
        Just(Fault::WrongChain),
    ]
}
