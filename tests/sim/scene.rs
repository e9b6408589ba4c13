//! What a seed draws before anything happens: who is there, what is wanted, how things behave.

use alloy::primitives::{Address, B256, keccak256};
use countersign::{
    config::{ChainSettings, DepthPolicy},
    request::ids::ChainId,
};
use std::time::Duration;

use crate::{
    cloud::{Node, Source, Switches, answers::CHAIN},
    rng::Rng,
    world::paper_chain::Fault,
};

/// How long the service looks for a replica, in seconds: short, since each look is a step.
pub const SETTLE_SECONDS: i64 = 20;

/// What somebody wants a replica of, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    pub source: usize,
    pub node: u64,
    pub compose: B256,
}

#[derive(Debug, Clone)]
pub struct Scene {
    pub instances: usize,
    pub apps: Vec<Address>,
    pub sources: Vec<Source>,
    pub nodes: Vec<Node>,
    pub contents: Vec<Content>,
    pub switches: Switches,
    pub endpoints: usize,
    pub quorum: usize,
    pub depth: u64,
    /// Blocks that endpoints may be behind.
    pub lag: usize,
    pub rounds: usize,
    /// In how many of a hundred activities something happens.
    pub chance: usize,
    /// In how many of a hundred calls to the cloud something goes wrong.
    pub storm: usize,
    /// In how many of a hundred rounds something happens to the chain's endpoints.
    pub unrest: usize,
    /// Seconds by which a clock may be wrong.
    pub skew: i64,
    /// Whether the device of a node may change.
    pub has_firmware_updates: bool,
    /// Whether there are pauses longer than a token lives.
    pub has_long_waits: bool,
}

impl Scene {
    pub fn draw(rng: &mut Rng) -> Self {
        let apps: Vec<Address> =
            (0..rng.pick(&[1, 1, 2])).map(|at| Address::repeat_byte(0xa0 + at)).collect();
        let nodes: Vec<Node> = (1..=rng.pick(&[1, 2, 2, 3]))
            .map(|id| Node { id, device: keccak256(format!("device {id}")) })
            .collect();
        let sources: Vec<Source> = (0..rng.pick(&[1_u8, 1, 2, 3]))
            .map(|at| Source {
                id: uuid::Uuid::from_bytes([at + 1; 16]).to_string(),
                app: apps[usize::from(at) % apps.len()],
            })
            .collect();
        let mut contents = vec![];
        for _ in 0..rng.pick(&[1, 1, 2, 2, 3, 4]) {
            let content = Content {
                source: rng.below(sources.len()),
                node: rng.pick(&nodes).id,
                compose: B256::repeat_byte(rng.pick(&[0xc1, 0xc1, 0xc1, 0xc2])),
            };
            if !contents.contains(&content) {
                contents.push(content);
            }
        }
        let endpoints = rng.pick(&[1, 1, 1, 2, 3]);
        let skew = rng.pick(&[0, 1, 2, 90, 600]);
        let shows_compose = rng.percent(70);
        Self {
            instances: rng.pick(&[2, 2, 3]),
            apps,
            sources,
            nodes,
            contents,
            switches: Switches {
                supersedes: rng.percent(50),
                shows_compose,
                has_twins: rng.percent(25),
                shows_device: rng.percent(40),
                shows_created: rng.percent(70),
                // However wrong clocks are, it must stay below the time to settle.
                list_lag: rng.pick(&[0, 0, 3, 10, SETTLE_SECONDS - 2]),
                skew: rng.pick(&[0, 40, -60, 7_200, -7_200]),
                tells_date: rng.percent(70),
            },
            endpoints,
            quorum: rng.pick(&[1, endpoints.min(2)]),
            depth: rng.pick(&[1, 2, 3]),
            lag: rng.pick(&[0, 1, 3]),
            rounds: rng.pick(&[10, 18, 30]),
            chance: rng.pick(&[0, 10, 25, 45]),
            storm: rng.pick(&[0, 20, 35, 50]),
            unrest: rng.pick(&[0, 10, 25]),
            skew,
            has_firmware_updates: rng.percent(12),
            has_long_waits: rng.percent(25),
        }
    }

    /// Endpoints that may lie: never so many that they are a quorum.
    pub fn liars(&self) -> usize {
        self.quorum - 1
    }

    pub fn chain(&self) -> ChainSettings {
        ChainSettings {
            id: ChainId::new(CHAIN).expect("it is small"),
            rpc: vec![],
            quorum: self.quorum,
            depth: DepthPolicy::Blocks(self.depth),
            poll: Duration::from_secs(1),
            rate: std::num::NonZeroU32::MAX,
            backfill_blocks: 10_000,
            apps: vec![],
            kms: vec![],
            explorer: None,
            safe_service: countersign::config::SafeServiceSetting::Off,
            relayer: countersign::config::RelayerCaps::default_for(ChainId::BASE),
        }
    }

    /// How an endpoint fails next; one that may lie does that too.
    pub fn endpoint_fault(&self, rng: &mut Rng, may_lie: bool) -> (Option<Fault>, &'static str) {
        if may_lie && rng.percent(50) {
            let lies = [
                Fault::GoesBackOnce(2),
                Fault::LogsOfTheBlockBelow,
                Fault::LogsOfAFork(2),
                Fault::CutsLogs(0),
                Fault::ForgetsState(1),
                Fault::Forked(3),
                Fault::WrongChain,
            ];
            return (Some(rng.pick(&lies)), "fault endpoint lies");
        }
        match rng.below(10) {
            0..=3 => (None, "endpoint recovers"),
            4 | 5 if self.lag > 0 => {
                let behind = rng.below(self.lag) + 1;
                (Some(Fault::Lags(behind)), "fault endpoint lags")
            }
            4..=6 => (Some(Fault::LacksItsHead), "fault endpoint lacks its head"),
            7 => (Some(Fault::Silent), "fault endpoint silent"),
            8 => (Some(Fault::Garbage), "fault endpoint answers garbage"),
            _ => {
                let refuses = [
                    Fault::LimitsRate,
                    Fault::TooManyRequests,
                    Fault::RefusesBareCalls,
                    Fault::RefusesManyLogs(0),
                ];
                (Some(rng.pick(&refuses)), "fault endpoint refuses")
            }
        }
    }
}
