//! Reads that decide something, over endpoints one of which answers what no node would: nothing
//! may panic, and nothing may be believed that is not so.

use std::sync::Arc;

use alloy::{
    primitives::{Address, B256, Bytes, U256, hex},
    rpc::types::Log,
};
use countersign::{
    chain::{Chain, Header, OwnerKind, Tag, Wanted},
    config::{ChainSettings, DepthPolicy},
    dstack::{Generation, PolicyEvent, Read},
    request::{
        facts::BlockRef,
        ids::{AppId, BlockHash, ChainId, ComposeHash, DeviceId},
        need::Allowed,
    },
};
use serde_json::Value;

use super::{
    paper_chain::{
        Asked, Block, Change, Endpoint, Fault, PaperChain, Shared,
        app::{Action, Birth, FIRST_OWNER},
        lock,
    },
    tamper::{Choices, corrupt},
};

const CHAIN: u64 = 8453;
const APP: Address = Address::repeat_byte(0xa0);
const LISTED: B256 = B256::repeat_byte(1);
const UNLISTED: B256 = B256::repeat_byte(2);

/// What one run came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Answers that were tampered with.
    pub tampered: usize,
    /// Reads that gave something all the same.
    pub answered: usize,
}

/// A short history: an app that allows one compose hash and one device, and what emits logs.
fn history() -> (Shared, Vec<Arc<Block>>) {
    let shared = PaperChain::shared();
    let mut paper = lock(&shared);
    let birth = Birth {
        generation: Generation::G3,
        any_device: false,
        require_tcb: true,
        upgrades_disabled: false,
        device: Some(LISTED),
        compose: None,
    };
    let blocks: [&[Action]; 5] = [
        &[Action::Deploy(birth)],
        &[Action::AddComposeHash(LISTED), Action::AddComposeHash(UNLISTED)],
        &[],
        &[Action::RemoveComposeHash(UNLISTED)],
        &[Action::SetRequireTcb(false)],
    ];
    for actions in blocks {
        let txs = actions.iter().map(|action| paper.tx(APP, *action)).collect();
        paper.change(Change::Mine(txs));
    }
    let blocks = paper.blocks().to_vec();
    drop(paper);
    (shared, blocks)
}

fn chain(endpoints: &[Endpoint], quorum: usize, depth: DepthPolicy) -> Chain {
    let settings = ChainSettings {
        id: ChainId::new(CHAIN).expect("it is a chain"),
        rpc: vec![],
        quorum,
        depth,
        poll: std::time::Duration::from_secs(1),
        rate: std::num::NonZeroU32::MAX,
        backfill_blocks: 1_000,
        apps: vec![],
        kms: vec![],
        explorer: None,
        safe_service: countersign::config::SafeServiceSetting::Off,
        relayer: countersign::config::RelayerCaps::default_for(ChainId::BASE),
    };
    Chain::over(settings, endpoints.iter().map(|endpoint| ("paper", endpoint.client())).collect())
}

fn place(block: &Block) -> BlockRef {
    BlockRef { number: block.number, hash: BlockHash(block.hash) }
}

/// With two honest endpoints of three, a read gives what is so, or nothing.
pub async fn one_of_three_misleads_nobody(bytes: &[u8]) -> Run {
    let (paper, blocks) = history();
    let mut choices = Choices(bytes);
    let endpoints: Vec<Endpoint> =
        (0..3).map(|number| Endpoint::of(&paper, CHAIN, number)).collect();
    let depth = [DepthPolicy::Blocks(2), DepthPolicy::Safe, DepthPolicy::Finalized];
    let depth = depth[choices.below(depth.len())];
    if choices.below(2) == 1 {
        for endpoint in &endpoints {
            endpoint.set(Some(Fault::RefusesBareCalls));
        }
    }
    // The third is not waited for when the first two agree.
    let given = corrupt(&endpoints[choices.below(2)], choices.0);
    // An endpoint that keeps failing is left alone for a while: a new chain has nothing against it.
    let fresh = || chain(&endpoints, 2, depth);
    let mut told = Told::default();
    places(&fresh(), &blocks, &mut told).await;
    for block in &blocks[1..] {
        state(&fresh(), block, &mut told).await;
        logs(&fresh(), block, &mut told).await;
    }
    ranges(&fresh(), blocks.last().expect("there is a genesis")).await;
    Run { tampered: lock(&given).len(), answered: told.0 }
}

/// Counts reads that gave something, and holds it against what is so.
#[derive(Default)]
struct Told(usize);

impl Told {
    #[track_caller]
    fn is<T: PartialEq + std::fmt::Debug, E>(&mut self, told: Result<T, E>, so: &T) {
        if let Ok(told) = told {
            assert_eq!(told, *so, "an endpoint alone was believed");
            self.0 += 1;
        }
    }
}

async fn places(chain: &Chain, blocks: &[Arc<Block>], told: &mut Told) {
    let head = blocks.last().expect("there is a genesis");
    let place_of = |header: Header| header.block;
    told.is(chain.head().await.map(place_of), &place(head));
    for block in blocks {
        told.is(chain.header(block.number).await.map(place_of), &place(block));
    }
    // The chain is too young for any block to be safe but the genesis.
    told.is(chain.tagged(Tag::Finalized).await.map(place_of), &place(&blocks[0]));
    let deep = match chain.depth() {
        DepthPolicy::Blocks(blocks) => head.number - blocks,
        DepthPolicy::Safe | DepthPolicy::Finalized => 0,
    };
    let deep = &blocks[usize::try_from(deep).expect("few blocks")];
    told.is(
        chain.deep_block(place(head)).await.map(|header| header.map(place_of)),
        &Some(place(deep)),
    );
}

async fn state(chain: &Chain, block: &Block, told: &mut Told) {
    let (at, app) = (place(block), &block.apps[&APP]);
    for (compose, device) in [(LISTED, LISTED), (UNLISTED, UNLISTED), (LISTED, UNLISTED)] {
        let so = Allowed {
            compose: app.composes.contains(&compose),
            device_listed: app.devices.contains(&device),
            any_device: app.any_device,
        };
        let (compose, device) = (ComposeHash(compose), DeviceId(device));
        told.is(chain.allowed(AppId(APP), compose, device, at).await, &so);
    }
    told.is(chain.allow_any_device(AppId(APP), at).await, &app.any_device);
    told.is(chain.owner(AppId(APP), at).await, &FIRST_OWNER);
    told.is(chain.generation(AppId(APP), at).await, &Generation::G3);
    let kind = chain.owner_kind(FIRST_OWNER, at).await;
    told.is(kind, &OwnerKind::Account);
    let slot = B256::with_last_byte(3);
    told.is(chain.storage(APP, slot, at).await, &app.storage(U256::from(3)));
}

fn wanted() -> Wanted {
    let addresses = std::iter::once(APP).collect();
    Wanted { addresses, topics: PolicyEvent::topics().to_vec() }
}

async fn logs(chain: &Chain, block: &Block, told: &mut Told) {
    let logs = chain.block_logs(&wanted(), place(block)).await;
    let event = |log: &Log| PolicyEvent::decode(log.topics(), &log.data().data).ok().flatten();
    let events = logs.map(|logs| logs.iter().map(event).collect::<Vec<_>>());
    told.is(events, &block.logs.iter().map(|log| Some(log.event)).collect());
}

/// What one endpoint says of many blocks is a hint; it must only not bring anything down.
async fn ranges(chain: &Chain, head: &Block) {
    drop(chain.logs(&wanted(), 0, place(head)).await);
    drop(chain.deployed_at(APP, place(head)).await);
}

/// Nothing that an endpoint says alone is read as "yes" but a well-formed yes.
pub async fn only_a_true_is_true(bytes: &[u8]) -> Run {
    let (paper, blocks) = history();
    let endpoint = Endpoint::of(&paper, CHAIN, 0);
    let mut choices = Choices(bytes);
    if choices.below(2) == 1 {
        endpoint.set(Some(Fault::RefusesBareCalls));
    }
    let given = corrupt(&endpoint, choices.0);
    let endpoints = [endpoint];
    let mut run = Run::default();
    for block in &blocks[1..] {
        let from = lock(&given).len();
        let compose = ComposeHash(UNLISTED);
        let device = DeviceId(UNLISTED);
        let chain = chain(&endpoints, 1, DepthPolicy::Blocks(2));
        let Ok(allowed) = chain.allowed(AppId(APP), compose, device, place(block)).await else {
            continue;
        };
        run.answered += 1;
        let app = &block.apps[&APP];
        let given = &lock(&given)[from..];
        for (read, place, told, so) in [
            (
                Read::AllowedComposeHash(compose),
                0,
                allowed.compose,
                app.composes.contains(&UNLISTED),
            ),
            (
                Read::AllowedDevice(device),
                1,
                allowed.device_listed,
                app.devices.contains(&UNLISTED),
            ),
            (Read::AllowAnyDevice, 2, allowed.any_device, app.any_device),
        ] {
            let said = given.iter().any(|(asked, text)| says_yes(asked, text, read, place));
            assert!(!told || so || said, "nobody said yes to {read:?}: {given:?}");
        }
    }
    run.tampered = lock(&given).len();
    run
}

/// Whether an answer says yes to a question: it is the word 1, or has it, with the mark that the
/// contract returned one word, in the place of the question.
fn says_yes(asked: &Asked, text: &str, read: Read, place: usize) -> bool {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let Some(told) = body["result"].as_str().and_then(|told| hex::decode(told).ok()) else {
        return false;
    };
    let one: [u8; 32] = U256::ONE.to_be_bytes();
    let input = asked.params[0].get("input").unwrap_or(&asked.params[0]["data"]);
    if asked.params[0]["to"].is_null() {
        let mut head = U256::from(32);
        head.set_bit(255, true);
        let returned: [u8; 32] = head.to_be_bytes();
        return told.chunks_exact(64).nth(place) == Some(&[returned, one].concat());
    }
    let question: Option<Bytes> = serde_json::from_value(input.clone()).ok();
    question == Some(read.calldata()) && told == one
}
