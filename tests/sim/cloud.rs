//! Phala Cloud on paper: what it keeps, what it does, and its own record of both.
//!
//! What is not known of the real one is drawn for each seed: whether a newer prepare voids older
//! tokens, what its lists show, and how long they lag. A token is good for one commit, always.

pub mod answers;
pub mod catalogue;
pub mod wire;

use alloy::primitives::{Address, B256, keccak256};
use chrono::TimeDelta;
use countersign::{clock::Time, request::deadline::TOKEN_LIFETIME};

use crate::rng::Rng;

/// What differs from seed to seed.
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that is not known")]
#[derive(Debug, Clone)]
pub struct Switches {
    pub supersedes: bool,
    pub shows_compose: bool,
    pub shows_device: bool,
    pub shows_created: bool,
    /// Whether answers say what time it is there.
    pub tells_date: bool,
    /// Whether strangers make instances of just the kind that is wanted here.
    pub has_twins: bool,
    /// Longest time until a new instance is in the list, in seconds.
    pub list_lag: i64,
    /// Its clock against the true time, in seconds.
    pub skew: i64,
}

#[derive(Debug, Clone)]
pub struct Source {
    pub id: String,
    pub app: Address,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub id: u64,
    pub device: B256,
}

/// A commit token, and all that the cloud knows of it.
#[derive(Debug, Clone)]
pub struct Token {
    pub text: String,
    pub source: usize,
    pub node: u64,
    pub device: B256,
    pub compose: B256,
    pub issued: Time,
    pub superseded: bool,
    pub used: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    Token(usize),
    Stranger,
}

/// How a new instance comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    Fine,
    /// It shows an error for so many seconds, then comes up.
    Troubled(i64),
    OtherCompose,
    OtherDevice,
}

#[derive(Debug, Clone)]
pub struct Made {
    pub id: String,
    pub by: Maker,
    pub app: Address,
    pub node: u64,
    pub compose: B256,
    pub device: B256,
    pub at: Time,
    pub listed_at: Time,
    pub up_at: Time,
    pub boot: Boot,
    /// By somebody who committed past the service.
    pub is_past_us: bool,
}

/// A commit that was sent, whatever became of it.
#[derive(Debug, Clone)]
pub struct Commit {
    pub at: Time,
    pub token: Option<usize>,
    pub compose: Option<B256>,
    /// Whether the chain allowed it while the task ran that sent it.
    pub allowed: bool,
    pub answer: String,
}

/// A call that is still on its way.
#[derive(Debug, Clone)]
pub struct Late {
    pub at: Time,
    pub call: wire::Call,
}

pub struct Cloud {
    pub switches: Switches,
    pub sources: Vec<Source>,
    pub nodes: Vec<Node>,
    pub tokens: Vec<Token>,
    pub made: Vec<Made>,
    pub commits: Vec<Commit>,
    /// When its instances were listed.
    pub lists: Vec<Time>,
    pub late: Vec<Late>,
    /// No node has room until then.
    pub full_until: Option<Time>,
    /// In how many of a hundred calls something goes wrong.
    pub storm: usize,
    rng: Rng,
    serial: u64,
}

/// Why a commit made nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dead {
    Token,
    NoRoom,
}

impl Cloud {
    pub fn new(switches: Switches, sources: Vec<Source>, nodes: Vec<Node>, rng: Rng) -> Self {
        Self {
            switches,
            sources,
            nodes,
            tokens: vec![],
            made: vec![],
            commits: vec![],
            lists: vec![],
            late: vec![],
            full_until: None,
            storm: 0,
            rng,
            serial: 0,
        }
    }

    fn fresh(&mut self, what: &str) -> B256 {
        self.serial += 1;
        let salt = self.rng.next();
        keccak256([what.as_bytes(), &self.serial.to_be_bytes(), &salt.to_be_bytes()].concat())
    }

    pub fn source(&self, id: &str) -> Option<usize> {
        let plain = |text: &str| text.replace('-', "");
        self.sources.iter().position(|source| plain(&source.id) == plain(id))
    }

    pub fn token(&self, text: &str) -> Option<usize> {
        self.tokens.iter().position(|token| token.text == text)
    }

    pub fn instance(&self, id: &str) -> Option<&Made> {
        let plain = |text: &str| text.replace('-', "");
        self.made.iter().find(|made| plain(&made.id) == plain(id))
    }

    /// Issues a token.
    pub fn prepare(&mut self, source: usize, node: u64, compose: B256, now: Time) -> Option<usize> {
        let device = self.nodes.iter().find(|one| one.id == node)?.device;
        if self.switches.supersedes {
            let older = self.tokens.iter_mut().filter(|token| token.source == source);
            older.for_each(|token| token.superseded = true);
        }
        let text = format!("tok_{}", alloy::hex::encode(&self.fresh("token")[..16]));
        let (superseded, used) = (false, false);
        self.tokens.push(Token {
            text,
            source,
            node,
            device,
            compose,
            issued: now,
            superseded,
            used,
        });
        Some(self.tokens.len() - 1)
    }

    /// Gives a token up, for reasons of its own.
    pub fn kill(&mut self, text: &str) {
        if let Some(token) = self.token(text) {
            self.tokens[token].superseded = true;
        }
    }

    /// Makes what was prepared, if the token is good.
    pub fn commit(
        &mut self,
        token: Option<usize>,
        compose: Option<B256>,
        now: Time,
    ) -> Result<usize, Dead> {
        let index = token.ok_or(Dead::Token)?;
        let token = self.tokens[index].clone();
        let is_good = !token.used
            && !token.superseded
            && token.issued + TOKEN_LIFETIME > now
            && compose.is_none_or(|compose| compose == token.compose);
        if !is_good {
            return Err(Dead::Token);
        }
        if self.full_until.is_some_and(|until| now < until) {
            return Err(Dead::NoRoom);
        }
        self.tokens[index].used = true;
        let app = self.sources[token.source].app;
        let boot = match self.rng.below(100) {
            0..=2 => Boot::OtherCompose,
            3..=5 => Boot::OtherDevice,
            6..=13 => Boot::Troubled(self.rng.between(30, 600)),
            _ => Boot::Fine,
        };
        let made =
            self.make(Maker::Token(index), app, token.node, token.compose, token.device, now);
        self.made[made].boot = boot;
        Ok(made)
    }

    /// Makes an instance.
    pub fn make(
        &mut self,
        by: Maker,
        app: Address,
        node: u64,
        compose: B256,
        device: B256,
        now: Time,
    ) -> usize {
        let bytes = self.fresh("instance");
        let id = uuid::Uuid::from_slice(&bytes[..16]).expect("sixteen bytes").to_string();
        let lag = TimeDelta::seconds(self.rng.between(0, self.switches.list_lag));
        let up_at = now + TimeDelta::seconds(self.rng.between(5, 90));
        let (listed_at, boot) = (now + lag, Boot::Fine);
        self.made.push(Made {
            id,
            by,
            app,
            node,
            compose,
            device,
            at: now,
            listed_at,
            up_at,
            boot,
            is_past_us: false,
        });
        self.made.len() - 1
    }

    /// Somebody else makes just what a token is for.
    pub fn make_twin(&mut self, text: &str, now: Time) {
        if let Some(token) = self.token(text) {
            let token = self.tokens[token].clone();
            let app = self.sources[token.source].app;
            self.make(Maker::Stranger, app, token.node, token.compose, token.device, now);
        }
    }

    /// Lets arrive what was on its way until now.
    pub fn catch_up(&mut self, now: Time) {
        self.late.sort_by_key(|late| late.at);
        while self.late.first().is_some_and(|late| late.at <= now) {
            let late = self.late.remove(0);
            drop(self.serve(&late.call, late.at));
        }
    }
}
