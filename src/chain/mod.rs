//! Reads a chain through several endpoints that must agree.
//!
//! Reads that decide something are pinned to one block hash (EIP-1898) and count only when
//! `quorum` endpoints gave the same answer. An answer that cannot be had, or does not decode, is
//! an error; it never becomes "no".

mod agreement;
mod endpoint;
mod reads;

use std::{sync::Arc, time::Duration};

use alloy::{
    primitives::{Address, B256, Bytes},
    rpc::types::{Filter, Log},
};
use futures::future::join_all;

use crate::{
    clock::Time,
    config::{ChainSettings, DepthPolicy},
    request::{
        facts::BlockRef,
        ids::{BlockHash, ChainId},
    },
};
use agreement::agree;
use endpoint::Endpoint;
pub use endpoint::EndpointError;
pub use reads::{ContractKind, OwnerKind, SafeState};

/// An endpoint that has not answered by then does not count.
const RPC_TIMEOUT: Duration = Duration::from_secs(15);

/// What an endpoint says about a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub block: BlockRef,
    pub parent: BlockHash,
    pub time: Time,
}

/// What a contract answered to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallAnswer {
    Returned(Bytes),
    Reverted,
}

/// Why a chain could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChainError {
    #[error("chain {0} is not configured")]
    Unknown(ChainId),
    #[error(
        "cannot read {what}: {answered} of {endpoints} endpoints answered, {quorum} must agree{detail}"
    )]
    NoAgreement { what: String, answered: usize, endpoints: usize, quorum: usize, detail: String },
    #[error("{what} does not read: {problem}")]
    Unreadable { what: String, problem: String },
    #[error("the endpoint's logs cannot be used: {0}")]
    Logs(String),
}

/// One chain.
#[derive(Debug, Clone)]
pub struct Chain {
    settings: ChainSettings,
    endpoints: Arc<[Endpoint]>,
}

/// All configured chains.
#[derive(Debug, Clone, Default)]
pub struct Chains(Vec<Chain>);

impl Chains {
    pub fn new(settings: &[ChainSettings]) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder().timeout(RPC_TIMEOUT).build()?;
        Ok(Self(settings.iter().map(|settings| Chain::new(settings.clone(), &http)).collect()))
    }

    pub fn get(&self, id: ChainId) -> Result<&Chain, ChainError> {
        self.0.iter().find(|chain| chain.id() == id).ok_or(ChainError::Unknown(id))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Chain> {
        self.0.iter()
    }
}

impl Chain {
    pub fn new(settings: ChainSettings, http: &reqwest::Client) -> Self {
        let endpoints =
            settings.rpc.iter().map(|url| Endpoint::new(settings.id, url.clone(), http)).collect();
        Self { settings, endpoints }
    }

    pub fn id(&self) -> ChainId {
        self.settings.id
    }

    pub fn depth(&self) -> DepthPolicy {
        self.settings.depth
    }

    pub fn poll(&self) -> Duration {
        self.settings.poll
    }

    pub fn backfill_blocks(&self) -> u64 {
        self.settings.backfill_blocks
    }

    pub fn explorer(&self) -> Option<&url::Url> {
        self.settings.explorer.as_ref()
    }

    /// Asks every endpoint the same and takes the answer that enough of them give.
    async fn ask<'a, T, F>(
        &'a self,
        what: &str,
        question: impl Fn(&'a Endpoint) -> F,
    ) -> Result<T, ChainError>
    where
        T: PartialEq + Clone,
        F: Future<Output = Result<T, EndpointError>>,
    {
        let answers = join_all(self.endpoints.iter().map(question)).await;
        agree(what, self.settings.quorum, &answers)
    }

    /// The highest block that enough endpoints have reached, and the same for all of them.
    pub async fn head(&self) -> Result<Header, ChainError> {
        self.tagged("the head", endpoint::Tag::Latest).await
    }

    /// The block at `number`.
    pub async fn header(&self, number: u64) -> Result<Header, ChainError> {
        self.ask(&format!("block {number}"), |endpoint| endpoint.header(number)).await
    }

    /// The newest block that is as deep as the policy asks, seen from `head`; none when the chain
    /// is still shorter than that.
    pub async fn deep_block(&self, head: BlockRef) -> Result<Option<Header>, ChainError> {
        match self.settings.depth {
            DepthPolicy::Blocks(blocks) => match head.number.checked_sub(blocks) {
                Some(number) => self.header(number).await.map(Some),
                None => Ok(None),
            },
            DepthPolicy::Safe => self.tagged("the safe block", endpoint::Tag::Safe).await.map(Some),
            DepthPolicy::Finalized => {
                self.tagged("the finalized block", endpoint::Tag::Finalized).await.map(Some)
            }
        }
    }

    async fn tagged(&self, what: &str, tag: endpoint::Tag) -> Result<Header, ChainError> {
        let answers = join_all(self.endpoints.iter().map(|one| one.tagged(tag))).await;
        if let [Ok(only)] = answers.as_slice() {
            return Ok(*only);
        }
        let mut reached: Vec<u64> =
            answers.iter().flatten().map(|header| header.block.number).collect();
        reached.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
        match reached.get(self.settings.quorum - 1) {
            Some(&number) => self.header(number).await,
            None => agree(what, self.settings.quorum, &answers),
        }
    }

    /// Calls a contract at one block.
    pub async fn call(
        &self,
        what: &str,
        to: Address,
        data: &Bytes,
        at: BlockRef,
    ) -> Result<CallAnswer, ChainError> {
        self.ask(what, |endpoint| endpoint.call(to, data, at.hash)).await
    }

    /// The code at an address at one block, empty for an account without code.
    pub async fn code(&self, address: Address, at: BlockRef) -> Result<Bytes, ChainError> {
        self.ask(&format!("the code of {address}"), |endpoint| endpoint.code(address, at.hash))
            .await
    }

    /// One storage word at one block.
    pub async fn storage(
        &self,
        address: Address,
        slot: B256,
        at: BlockRef,
    ) -> Result<B256, ChainError> {
        self.ask(&format!("the storage of {address}"), |endpoint| {
            endpoint.storage(address, slot, at.hash)
        })
        .await
    }

    /// Logs of these addresses with one of these first topics. One endpoint's word: logs say when
    /// to look and which transaction did it, never that something is so.
    pub async fn logs(
        &self,
        addresses: &[Address],
        topics: &[B256],
        from: u64,
        to: u64,
    ) -> Result<Vec<Log>, ChainError> {
        let filter = Filter::new()
            .address(addresses.to_vec())
            .event_signature(topics.to_vec())
            .from_block(from)
            .to_block(to);
        let mut last = None;
        for endpoint in self.endpoints.iter() {
            match endpoint.logs(&filter).await {
                Ok(logs) => return check_logs(logs, addresses, from, to),
                Err(error) => last = Some(error),
            }
        }
        let problem = last.map_or_else(String::new, |error| error.to_string());
        Err(ChainError::Logs(problem))
    }
}

/// Refuses logs that were not asked for or that do not say where they stand.
fn check_logs(
    logs: Vec<Log>,
    addresses: &[Address],
    from: u64,
    to: u64,
) -> Result<Vec<Log>, ChainError> {
    let problem = logs.iter().find_map(|log| {
        let placed = log.block_hash.is_some()
            && log.log_index.is_some()
            && log.transaction_hash.is_some()
            && log.block_number.is_some_and(|number| (from..=to).contains(&number));
        if !placed {
            Some("a log without its place, or outside the range")
        } else if log.removed {
            Some("a log of a block that is no longer part of the chain")
        } else if !addresses.contains(&log.address()) {
            Some("a log of an address that was not asked for")
        } else {
            None
        }
    });
    match problem {
        Some(problem) => Err(ChainError::Logs(problem.into())),
        None => Ok(logs),
    }
}
