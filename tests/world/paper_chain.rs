//! A chain on paper: blocks in memory, with apps that keep the contract's rules, behind JSON-RPC
//! endpoints that fail as providers do.
//!
//! It opens no socket, so that laws can be held against thousands of histories. What a real node
//! does is for the stories, which run on a real one.

pub mod app;
pub mod endpoint;
mod log;
mod rpc;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alloy::primitives::{Address, B256, keccak256};
use countersign::dstack::PolicyEvent;

use app::{Action, App};
pub use endpoint::{Asked, Endpoint, Fault};

/// A transaction. The same one may come again in another block after a reorganisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tx {
    pub hash: B256,
    pub to: Address,
    pub action: Action,
}

/// What an app emitted, where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emitted {
    pub app: Address,
    pub event: PolicyEvent,
    pub tx: B256,
    pub tx_index: usize,
    pub log_index: usize,
}

#[derive(Debug, Clone)]
pub struct Block {
    pub number: u64,
    pub hash: B256,
    pub parent: B256,
    /// Seconds since 1970.
    pub time: u64,
    pub txs: Vec<Tx>,
    pub logs: Vec<Emitted>,
    /// Every app after this block.
    pub apps: Arc<BTreeMap<Address, App>>,
}

const GENESIS_TIME: u64 = 1_700_000_000;

impl Block {
    fn genesis() -> Self {
        Self {
            number: 0,
            hash: keccak256("genesis"),
            parent: B256::ZERO,
            time: GENESIS_TIME,
            txs: vec![],
            logs: vec![],
            apps: Arc::default(),
        }
    }

    /// The block that these transactions make on top of this one.
    fn next(&self, txs: Vec<Tx>, salt: u64) -> Self {
        let mut apps = Arc::clone(&self.apps);
        let mut logs = vec![];
        for (tx_index, tx) in txs.iter().enumerate() {
            let mut app = apps.get(&tx.to).cloned();
            let Some(events) = App::act(&mut app, tx.action) else { continue };
            if let Some(app) = app {
                Arc::make_mut(&mut apps).insert(tx.to, app);
            }
            for event in events {
                let log_index = logs.len();
                logs.push(Emitted { app: tx.to, event, tx: tx.hash, tx_index, log_index });
            }
        }
        let number = self.number + 1;
        let seed = [self.hash.as_slice(), &number.to_be_bytes(), &salt.to_be_bytes()].concat();
        let time = self.time + 2 + salt % 3;
        Self { number, hash: keccak256(seed), parent: self.hash, time, txs, logs, apps }
    }
}

/// How a chain changes.
#[derive(Debug, Clone)]
pub enum Change {
    Mine(Vec<Tx>),
    /// The last `depth` blocks are replaced by others, by more or fewer or none.
    Replace {
        depth: usize,
        blocks: Vec<Vec<Tx>>,
    },
}

/// The chain as it is.
#[derive(Debug)]
pub struct PaperChain {
    blocks: Vec<Arc<Block>>,
    /// The chain before blocks of it were replaced the last time.
    before: Vec<Arc<Block>>,
    salt: u64,
    serial: u64,
    /// A change that happens after this many more calls.
    pending: Option<(usize, Change)>,
}

/// A chain that several endpoints show.
pub type Shared = Arc<Mutex<PaperChain>>;

/// A test that panicked with the lock held is told by its own message.
pub fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PaperChain {
    pub fn shared() -> Shared {
        let blocks = vec![Arc::new(Block::genesis())];
        let before = blocks.clone();
        Arc::new(Mutex::new(Self { blocks, before, salt: 0, serial: 0, pending: None }))
    }

    /// The genesis and everything on top of it.
    pub fn blocks(&self) -> &[Arc<Block>] {
        &self.blocks
    }

    pub fn head(&self) -> &Block {
        self.blocks.last().expect("the genesis stays")
    }

    /// A new transaction.
    pub fn tx(&mut self, to: Address, action: Action) -> Tx {
        self.serial += 1;
        Tx { hash: keccak256(self.serial.to_be_bytes()), to, action }
    }

    pub fn change(&mut self, change: Change) {
        match change {
            Change::Mine(txs) => self.mine(txs),
            Change::Replace { depth, blocks } => {
                if depth > 0 {
                    self.before.clone_from(&self.blocks);
                }
                self.blocks.truncate(self.blocks.len().saturating_sub(depth).max(1));
                for txs in blocks {
                    self.mine(txs);
                }
            }
        }
    }

    fn mine(&mut self, txs: Vec<Tx>) {
        self.salt += 1;
        let block = self.head().next(txs, self.salt);
        self.blocks.push(Arc::new(block));
    }

    /// Lets a change happen once so many calls were answered.
    pub fn change_after(&mut self, calls: usize, change: Change) {
        self.happen();
        self.pending = Some((calls, change));
    }

    /// Lets what is pending happen now.
    pub fn happen(&mut self) {
        if let Some((_, change)) = self.pending.take() {
            self.change(change);
        }
    }

    /// Counts a call.
    fn called(&mut self) {
        match &mut self.pending {
            Some((0, _)) => self.happen(),
            Some((calls, _)) => *calls -= 1,
            None => {}
        }
    }

    /// Another chain that has all but the last `depth` blocks in common with this one. On it every
    /// app allows one compose hash more.
    fn fork(&self, depth: usize, salt: u64) -> Vec<Arc<Block>> {
        let common = self.blocks.len().saturating_sub(depth).max(1);
        let mut blocks = self.blocks[..common].to_vec();
        while blocks.len() < self.blocks.len() {
            let below = Arc::clone(&blocks[blocks.len() - 1]);
            let hash = keccak256([below.hash.as_slice(), &salt.to_be_bytes()].concat());
            let action = Action::AddComposeHash(keccak256(salt.to_be_bytes()));
            let txs = below.apps.keys().map(|&to| Tx { hash, to, action }).collect();
            // Salts of the chain itself stay small.
            blocks.push(Arc::new(below.next(txs, !salt)));
        }
        blocks
    }
}
