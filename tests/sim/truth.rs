//! What the chain really was at every moment, against which it is held what was done in its name.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use alloy::primitives::{Address, B256};

use crate::world::paper_chain::{Block, Change, PaperChain, Shared, lock};

type Blocks = Vec<Arc<Block>>;

pub struct Truth {
    paper: Shared,
    inner: Mutex<Inner>,
}

struct Inner {
    /// The chain after each change.
    versions: Vec<Blocks>,
    /// The version at which an activity began.
    began: BTreeMap<u64, usize>,
    depth: usize,
    /// Blocks that all endpoints together may be behind.
    slack: usize,
    reorganised: bool,
}

impl Truth {
    pub fn new(depth: usize, slack: usize) -> Self {
        let paper = PaperChain::shared();
        let versions = vec![lock(&paper).blocks().to_vec()];
        let inner = Inner { versions, began: BTreeMap::new(), depth, slack, reorganised: false };
        Self { paper, inner: Mutex::new(inner) }
    }

    pub fn paper(&self) -> &Shared {
        &self.paper
    }

    pub fn change(&self, change: Change) {
        let replaces = matches!(change, Change::Replace { depth, .. } if depth > 0);
        let mut paper = lock(&self.paper);
        paper.change(change);
        let mut inner = lock(&self.inner);
        inner.reorganised |= replaces;
        inner.versions.push(paper.blocks().to_vec());
    }

    /// Whether blocks were ever replaced.
    pub fn was_reorganised(&self) -> bool {
        lock(&self.inner).reorganised
    }

    pub fn begins(&self, actor: u64) {
        let mut inner = lock(&self.inner);
        let version = inner.versions.len() - 1;
        inner.began.insert(actor, version);
    }

    /// Whether at some moment since `actor` began both entries read true at depth, on the chain as
    /// an honest quorum may have shown it.
    pub fn allowed_since(&self, actor: u64, app: Address, compose: B256, device: B256) -> bool {
        let inner = lock(&self.inner);
        let since = inner.began.get(&actor).copied().unwrap_or_default();
        inner.versions[since..].iter().any(|blocks| {
            (0..=inner.slack).any(|behind| {
                let at = blocks.len().checked_sub(1 + behind + inner.depth);
                at.is_some_and(|at| allows(&blocks[at], app, compose, device))
            })
        })
    }

    /// Whether both entries read true at the head now.
    pub fn allows_now(&self, app: Address, compose: B256, device: B256) -> bool {
        allows(lock(&self.paper).head(), app, compose, device)
    }

    /// Whether at some moment an entry was missing at the head although it had been there before.
    pub fn was_ever_revoked(&self, app: Address, compose: B256, device: B256) -> bool {
        let inner = lock(&self.inner);
        let mut was_there = false;
        inner.versions.iter().any(|blocks| {
            let is_there = blocks.last().is_some_and(|head| allows(head, app, compose, device));
            let revoked = was_there && !is_there;
            was_there = is_there;
            revoked
        })
    }
}

fn allows(block: &Block, app: Address, compose: B256, device: B256) -> bool {
    block.apps.get(&app).is_some_and(|app| {
        app.composes.contains(&compose) && (app.any_device || app.devices.contains(&device))
    })
}
