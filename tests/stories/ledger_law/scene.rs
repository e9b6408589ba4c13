//! One case: a chain on paper, its endpoints, and the follower that reads it.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy::primitives::{Address, B256, keccak256};
use chrono::{DateTime, TimeDelta};
use countersign::{
    chain::Chain,
    clock::Time,
    config::{ChainSettings, DepthPolicy},
    request::{
        ids::{AppId, ChainId, ComposeHash, DeviceId, RequestId},
        kind::Kind,
    },
    store::{
        Store,
        chain::Leadership,
        commit_tokens::Issued,
        intake::{NewPreparation, Secrets},
        journal::Actor,
    },
    vault::Sealed,
    watch::{
        WatchError,
        follow::{Follower, Tick},
        history::{History, Progress},
    },
};
use proptest::test_runner::TestCaseError;
use uuid::Uuid;

use super::{
    check,
    history::{APPS, Actions, Case, Kept, Move, Step},
};
use crate::world::{
    eventually,
    paper_chain::{Block, Change, Endpoint, Fault, PaperChain, Shared, Tx, lock},
    tamper::{choices, corrupt},
};

/// Cases share a database, each with a chain of its own.
static NEXT_CHAIN: AtomicU64 = AtomicU64::new(1_000_000);

/// Choices of an endpoint that mutates its answers.
const CHOICES: usize = 1_024;
/// More ticks than any case needs.
const TICKS_MAX: usize = 100;

pub struct Scene {
    store: Store,
    paper: Shared,
    endpoints: Vec<Endpoint>,
    chain: Chain,
    liars: usize,
    lost: usize,
    reader: Option<Reader>,
    now: Time,
    /// The highest block the chain ever had.
    highest: u64,
}

/// The follower of a chain, and its proof that it is the only one.
struct Reader {
    lead: Leadership,
    follower: Follower,
    history: History,
}

/// Whether there is more to read.
type Ticked = Result<bool, WatchError>;

impl Reader {
    async fn new(store: &Store, chain: ChainId) -> Self {
        // The server frees the lead of an instance that ended a moment after.
        let lead = eventually("the lead to be free", async || {
            store.lead(chain).await.expect("the database answers")
        });
        Self { lead: lead.await, follower: Follower::default(), history: History::default() }
    }

    /// The one place that knows how a follower is driven.
    async fn tick(&mut self, store: &Store, chain: &Chain, now: Time) -> Ticked {
        let tick = self.follower.tick(store, chain, &self.lead, now).await;
        let step = self.history.step(store, chain, &self.lead, now).await;
        Ok(tick? == Tick::More || step? == Progress::More)
    }
}

impl Scene {
    pub async fn new(store: &Store, case: &Case) -> Self {
        let id = ChainId::new(NEXT_CHAIN.fetch_add(1, Ordering::Relaxed)).expect("it is small");
        let paper = PaperChain::shared();
        let endpoints: Vec<Endpoint> = (0..case.endpoints as u64)
            .map(|number| Endpoint::of(&paper, id.get(), number))
            .collect();
        let clients = endpoints.iter().map(|endpoint| ("paper", endpoint.client())).collect();
        let chain = Chain::over(settings(id, case.quorum), clients);
        let reader = Some(Reader::new(store, id).await);
        let now = DateTime::from_timestamp(1_700_000_000, 0).expect("it is a time");
        let (store, liars, lost) = (store.clone(), case.liars, case.lost);
        Self { store, paper, endpoints, chain, liars, lost, reader, now, highest: 0 }
    }

    /// Lets everything happen. Ticks may fail meanwhile: what matters is where it ends.
    pub async fn play(&mut self, case: &Case) {
        for step in &case.steps {
            match step {
                Step::Chain(change) => self.change(change).await,
                Step::Watch(app) => self.watch(APPS[*app]).await,
                Step::Fault(endpoint, fault) => self.fail(*endpoint, *fault),
                Step::Tamper(endpoint, seed) => self.tamper(*endpoint, *seed),
                Step::Tick => drop(self.tick().await),
                Step::TickWhile(calls, change) => {
                    let change = self.plan(change).await;
                    lock(&self.paper).change_after(*calls, change);
                    drop(self.tick().await);
                    lock(&self.paper).happen();
                    self.note_height();
                }
                Step::TickStale { endpoint, after, calls, change } => {
                    self.change(change).await;
                    self.fail(*endpoint, Some(Fault::Stale { after: *after, calls: *calls }));
                    drop(self.tick().await);
                    self.fail(*endpoint, None);
                }
                Step::Restart => self.restart().await,
            }
        }
    }

    /// Lets an endpoint fail.
    fn fail(&self, endpoint: usize, fault: Option<Fault>) {
        let endpoint = endpoint % self.endpoints.len();
        if fault.is_none_or(|fault| !fault.lies() || self.may_lie(endpoint)) {
            self.endpoints[endpoint].set(fault);
        }
    }

    fn tamper(&self, endpoint: usize, seed: u64) {
        let endpoint = endpoint % self.endpoints.len();
        if self.may_lie(endpoint) {
            corrupt(&self.endpoints[endpoint], &choices(seed, CHOICES));
        }
    }

    fn may_lie(&self, endpoint: usize) -> bool {
        endpoint < self.liars
    }

    async fn tick(&mut self) -> Ticked {
        // So much that what is done each minute is done now and then.
        self.now += TimeDelta::seconds(25);
        let reader = self.reader.as_mut().expect("somebody follows");
        reader.tick(&self.store, &self.chain, self.now).await
    }

    async fn restart(&mut self) {
        let gone = self.reader.take().expect("somebody follows");
        gone.lead.resign().await;
        self.reader = Some(Reader::new(&self.store, self.chain.id()).await);
    }

    async fn change(&mut self, change: &Move) {
        let change = self.plan(change).await;
        lock(&self.paper).change(change);
        self.note_height();
    }

    fn note_height(&mut self) {
        self.highest = self.highest.max(lock(&self.paper).head().number);
    }

    /// What a move comes to on the chain as it is. Blocks that the follower's window does not
    /// reach stay.
    async fn plan(&self, change: &Move) -> Change {
        let window = self.store.window(self.chain.id(), u64::MAX).await.expect("it reads");
        let floor = window.last().map_or(0, |lowest| lowest.number);
        let mut paper = lock(&self.paper);
        let most = usize::try_from(paper.head().number.saturating_sub(floor)).expect("few blocks");
        match change {
            Move::Mine(actions) => Change::Mine(txs(&mut paper, actions)),
            Move::Rest(blocks) => Change::Replace { depth: 0, blocks: vec![vec![]; *blocks] },
            Move::RollBack(depth) => Change::Replace { depth: (*depth).min(most), blocks: vec![] },
            Move::Reorg { depth, kept, more, new } => {
                let depth = (*depth).min(most);
                let new = txs(&mut paper, new);
                let blocks = paper.blocks();
                let replaced = &blocks[blocks.len() - depth..];
                let mut blocks = again(replaced, *kept, *more);
                if let Some(first) = blocks.first_mut() {
                    first.extend(new);
                }
                Change::Replace { depth, blocks }
            }
        }
    }

    /// Takes a request for an app in, as intake does.
    async fn watch(&self, app: Address) {
        let request = RequestId(Uuid::now_v7());
        let fingerprint = keccak256(request.0).0;
        let new = NewPreparation {
            request,
            kind: Kind::Replica,
            chain: self.chain.id(),
            app: AppId(app),
            source: request.0.to_string().parse().expect("a UUID names a CVM"),
            node: None,
            compose: ComposeHash(B256::repeat_byte(1)),
            device: DeviceId(B256::repeat_byte(2)),
            copy: None,
            note: None,
            token_fingerprint: fingerprint,
            token_fingerprints: vec![fingerprint],
            prepared_at: self.now,
            issued: Issued::JustNow,
            expires_at: self.now + TimeDelta::days(14),
        };
        let seal = |_| Ok(Secrets { token: Sealed::from_bytes(vec![1]), body: None });
        let actor = Actor::service("story");
        self.store.store_preparation(&new, &seal, &actor, self.now).await.expect("it is stored");
    }

    /// Lets the faults end and the follower read everything, then holds what it has against the
    /// chain.
    pub async fn check(&mut self) -> Result<(), TestCaseError> {
        self.watch(APPS[0]).await;
        self.recover().await?;
        let blocks = lock(&self.paper).blocks().to_vec();
        for app in APPS {
            check::ledger_holds(&self.store, &self.chain, AppId(app), &blocks).await?;
        }
        Ok(())
    }

    /// Lets the faults end, and the follower find back to the chain.
    pub async fn recover(&mut self) -> Result<(), TestCaseError> {
        for endpoint in &self.endpoints[self.lost..] {
            endpoint.set(None);
            endpoint.tamper(None);
        }
        // A chain that went back and stays there cannot be told from an endpoint that lags.
        let missing = self.highest + 1 - lock(&self.paper).head().number;
        for _ in 0..missing {
            lock(&self.paper).change(Change::Mine(vec![]));
        }
        self.catch_up().await?;
        let blocks = lock(&self.paper).blocks().to_vec();
        check::place_holds(&self.store, self.chain.id(), &blocks).await
    }

    async fn catch_up(&mut self) -> Result<(), TestCaseError> {
        let mut failed = None;
        for _ in 0..TICKS_MAX {
            match self.tick().await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => failed = Some(error),
            }
        }
        Err(TestCaseError::fail(format!("it never catches up: {failed:?}")))
    }

    pub async fn leave(mut self) {
        if let Some(reader) = self.reader.take() {
            reader.lead.resign().await;
        }
    }
}

fn settings(id: ChainId, quorum: usize) -> ChainSettings {
    ChainSettings {
        id,
        rpc: vec![],
        quorum,
        depth: DepthPolicy::Blocks(2),
        poll: Duration::from_secs(1),
        rate: NonZeroU32::new(10_000).expect("not zero"),
        backfill_blocks: 10_000,
        apps: vec![],
        kms: vec![],
        explorer: None,
        safe_service: countersign::config::SafeServiceSetting::Off,
        relayer: countersign::config::RelayerCaps::default_for(ChainId::BASE),
    }
}

fn txs(paper: &mut PaperChain, actions: &Actions) -> Vec<Tx> {
    actions.iter().map(|(app, action)| paper.tx(APPS[*app], *action)).collect()
}

/// Blocks in the place of others, with the transactions that come again.
fn again(replaced: &[Arc<Block>], kept: Kept, more: usize) -> Vec<Vec<Tx>> {
    let mut blocks: Vec<Vec<Tx>> = match kept {
        Kept::None | Kept::AllInTheLast => vec![vec![]; replaced.len()],
        Kept::InTheirPlaces => replaced.iter().map(|block| block.txs.clone()).collect(),
        Kept::InReverse => replaced.iter().rev().map(|block| block.txs.clone()).collect(),
    };
    blocks.extend(vec![vec![]; more]);
    if kept == Kept::AllInTheLast
        && let Some(last) = blocks.last_mut()
    {
        last.extend(replaced.iter().flat_map(|block| block.txs.clone()));
    }
    blocks
}
