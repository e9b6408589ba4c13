//! The history of an app as bars over time: one lane for its owner, one for the switch that lets any
//! device in, and one for each compose hash and device, with what began and ended each bar. Pure.
//!
//! Only what events tell is drawn: a removal of something that no event added draws nothing.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256};

use super::fold::read;
use crate::{
    clock::Time,
    dstack::PolicyEvent,
    owner::{Account, ActedBy},
    request::ids::TxHash,
    store::paths::Recorded,
};

/// Most lanes that are drawn; those that changed last.
pub const LANES_MAX: usize = 40;
/// Most bars of a lane that are drawn; the newest.
pub const BARS_MAX: usize = 50;

/// What a lane is about, in the order lanes stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Owner,
    AnyDevice,
    ComposeHash(B256),
    Device(B256),
}

/// What began or ended a bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    pub block: u64,
    pub time: Time,
    pub tx: TxHash,
    /// Who did it; none until that is found out.
    pub by: Option<ActedBy>,
}

/// A time during which something was so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// Who owned the app, in the lane of owners.
    pub owner: Option<Account>,
    /// None when it was so before the history begins.
    pub from: Option<Edge>,
    /// None when it is still so.
    pub to: Option<Edge>,
}

/// Everything that is drawn of one subject, oldest bar first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    pub subject: Subject,
    pub bars: Vec<Bar>,
}

/// The lanes that are drawn, and how much is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lanes {
    pub lanes: Vec<Lane>,
    /// Whole lanes.
    pub left_out: usize,
    /// The oldest bars of those that are drawn.
    pub bars_left_out: usize,
}

/// The lanes of a ledger up to block `at`, or all of it.
pub fn lanes(ledger: &[Recorded], at: Option<u64>) -> Lanes {
    let mut bars: BTreeMap<Subject, Vec<Bar>> = BTreeMap::new();
    for one in ledger.iter().filter(|one| at.is_none_or(|at| one.entry.block.number <= at)) {
        let Some(event) = read(&one.entry) else { continue };
        let edge = || Edge {
            block: one.entry.block.number,
            time: one.entry.block_time,
            tx: one.entry.tx,
            by: one.acted_by.clone(),
        };
        match event {
            PolicyEvent::ComposeHashAdded(hash) => {
                begin(bars.entry(Subject::ComposeHash(hash.0)).or_default(), None, edge());
            }
            PolicyEvent::DeviceAdded(device) => {
                begin(bars.entry(Subject::Device(device.0)).or_default(), None, edge());
            }
            PolicyEvent::AllowAnyDeviceSet(true) => {
                begin(bars.entry(Subject::AnyDevice).or_default(), None, edge());
            }
            PolicyEvent::ComposeHashRemoved(hash) => {
                end(bars.get_mut(&Subject::ComposeHash(hash.0)), edge());
            }
            PolicyEvent::DeviceRemoved(device) => {
                end(bars.get_mut(&Subject::Device(device.0)), edge());
            }
            PolicyEvent::AllowAnyDeviceSet(false) => {
                end(bars.get_mut(&Subject::AnyDevice), edge());
            }
            PolicyEvent::OwnershipTransferred { from, to } if from != to => {
                hand_over(bars.entry(Subject::Owner).or_default(), from, to, &edge());
            }
            _ => {}
        }
    }
    newest(bars.into_iter().map(|(subject, bars)| Lane { subject, bars }).collect())
}

/// What is allowed already begins nothing when it is added again.
fn begin(bars: &mut Vec<Bar>, owner: Option<Account>, edge: Edge) {
    if bars.last().is_none_or(|last| last.to.is_some()) {
        bars.push(Bar { owner, from: Some(edge), to: None });
    }
}

fn end(bars: Option<&mut Vec<Bar>>, edge: Edge) {
    let last = bars.and_then(|bars| bars.last_mut()).filter(|last| last.to.is_none());
    if let Some(last) = last {
        last.to = Some(edge);
    }
}

fn hand_over(bars: &mut Vec<Bar>, from: Address, to: Address, edge: &Edge) {
    if bars.is_empty() && !from.is_zero() {
        bars.push(Bar { owner: Some(Account(from)), from: None, to: None });
    }
    end(Some(&mut *bars), edge.clone());
    if !to.is_zero() {
        begin(bars, Some(Account(to)), edge.clone());
    }
}

impl Lane {
    /// The block of its last change.
    fn changed(&self) -> u64 {
        let last = self.bars.last().and_then(|bar| bar.to.as_ref().or(bar.from.as_ref()));
        last.map_or(0, |edge| edge.block)
    }

    /// The block of its first bar, by which lanes of a kind are ordered.
    fn began(&self) -> u64 {
        self.bars.first().and_then(|bar| bar.from.as_ref()).map_or(0, |edge| edge.block)
    }

    fn kind(&self) -> u8 {
        match self.subject {
            Subject::Owner => 0,
            Subject::AnyDevice => 1,
            Subject::ComposeHash(_) => 2,
            Subject::Device(_) => 3,
        }
    }
}

fn newest(mut lanes: Vec<Lane>) -> Lanes {
    lanes.sort_by_key(|lane| (std::cmp::Reverse(lane.changed()), lane.subject));
    let left_out = lanes.len().saturating_sub(LANES_MAX);
    lanes.truncate(LANES_MAX);
    lanes.sort_by_key(|lane| (lane.kind(), lane.began(), lane.subject));
    let mut bars_left_out = 0;
    for lane in &mut lanes {
        let older = lane.bars.len().saturating_sub(BARS_MAX);
        lane.bars.drain(..older);
        bars_left_out += older;
    }
    Lanes { lanes, left_out, bars_left_out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::samples,
        request::ids::{ComposeHash, DeviceId},
    };

    fn device(byte: u8) -> DeviceId {
        DeviceId(B256::repeat_byte(byte))
    }

    /// The blocks of the bars of a lane; zero where no event says.
    type Blocks = (Subject, Vec<(u64, u64)>);

    fn drawn(events: &[PolicyEvent], at: Option<u64>) -> Vec<Blocks> {
        let block = |edge: &Option<Edge>| edge.as_ref().map_or(0, |edge| edge.block);
        let lanes = lanes(&samples::ledger(events), at).lanes;
        let bars =
            |lane: &Lane| lane.bars.iter().map(|bar| (block(&bar.from), block(&bar.to))).collect();
        lanes.iter().map(|lane| (lane.subject, bars(lane))).collect()
    }

    #[test]
    fn a_bar_lasts_from_the_first_addition_to_the_removal() {
        use PolicyEvent as E;
        let hash = ComposeHash(B256::repeat_byte(0xaa));
        let (compose, one) = (Subject::ComposeHash(hash.0), Subject::Device(device(1).0));
        let any = Subject::AnyDevice;
        let table: [(&[E], Vec<Blocks>); 6] = [
            (&[], vec![]),
            (
                &[E::ComposeHashAdded(hash), E::ComposeHashAdded(hash)],
                vec![(compose, vec![(1, 0)])],
            ),
            (
                &[
                    E::DeviceAdded(device(1)),
                    E::DeviceRemoved(device(1)),
                    E::DeviceRemoved(device(1)),
                    E::DeviceAdded(device(1)),
                ],
                vec![(one, vec![(1, 2), (4, 0)])],
            ),
            // Nobody knows since when it was there, or whether.
            (&[E::DeviceRemoved(device(1)), E::AllowAnyDeviceSet(false)], vec![]),
            (
                &[
                    E::AllowAnyDeviceSet(true),
                    E::AllowAnyDeviceSet(true),
                    E::AllowAnyDeviceSet(false),
                ],
                vec![(any, vec![(1, 3)])],
            ),
            (
                &[E::DeviceAdded(device(1)), E::ComposeHashAdded(hash), E::AllowAnyDeviceSet(true)],
                vec![(any, vec![(3, 0)]), (compose, vec![(2, 0)]), (one, vec![(1, 0)])],
            ),
        ];
        for (events, expected) in table {
            assert_eq!(drawn(events, None), expected, "{events:?}");
        }
        let then = [E::DeviceAdded(device(1)), E::DeviceRemoved(device(1))];
        assert_eq!(drawn(&then, Some(1)), [(one, vec![(1, 0)])]);
        assert_eq!(drawn(&then, Some(0)), []);
    }

    #[test]
    fn each_owner_has_a_bar_and_nobody_has_none() {
        let [a, b, zero] = [Address::repeat_byte(1), Address::repeat_byte(2), Address::ZERO];
        let moved = |from, to| PolicyEvent::OwnershipTransferred { from, to };
        let owners = |events: &[PolicyEvent]| {
            let lanes = lanes(&samples::ledger(events), None).lanes;
            let bars = lanes.into_iter().flat_map(|lane| lane.bars);
            let told = bars.map(|bar| (bar.owner.unwrap().0, bar.from.is_some(), bar.to.is_some()));
            told.collect::<Vec<_>>()
        };
        assert_eq!(
            owners(&[moved(zero, a), moved(a, a), moved(a, b), moved(b, zero)]),
            [(a, true, true), (b, true, true)]
        );
        assert_eq!(owners(&[moved(a, b)]), [(a, false, true), (b, true, false)]);
    }

    #[test]
    fn of_many_lanes_those_that_changed_last_are_drawn() {
        let mut events: Vec<PolicyEvent> =
            (0..50).map(|byte| PolicyEvent::DeviceAdded(device(byte))).collect();
        events.push(PolicyEvent::DeviceRemoved(device(3)));
        let found = lanes(&samples::ledger(&events), None);
        assert_eq!((found.lanes.len(), found.left_out), (LANES_MAX, 10));
        let drawn: Vec<Subject> = found.lanes.iter().map(|lane| lane.subject).collect();
        let expected = std::iter::once(3).chain(11..50).map(|byte| Subject::Device(device(byte).0));
        assert_eq!(drawn, expected.collect::<Vec<_>>());
    }

    #[test]
    fn of_many_bars_the_newest_are_drawn() {
        let once = [PolicyEvent::AllowAnyDeviceSet(true), PolicyEvent::AllowAnyDeviceSet(false)];
        let found = lanes(&samples::ledger(&once.repeat(60)), None);
        let bars = &found.lanes[0].bars;
        assert_eq!((bars.len(), found.bars_left_out), (BARS_MAX, 10));
        assert_eq!(bars.last().unwrap().to.as_ref().unwrap().block, 120);
    }
}
