//! One RPC endpoint: transport and retries are alloy's; the chain id is checked before the first
//! answer is believed, and again after every failure.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use alloy::{
    eips::{BlockId, BlockNumberOrTag, RpcBlockHash},
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes},
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::{
        client::RpcClient,
        types::{Block, Filter, Log, TransactionRequest},
    },
    transports::{RpcError, TransportErrorKind, http::Http},
};
use chrono::DateTime;
use url::Url;

use super::{CallAnswer, Header};
use crate::request::{
    facts::BlockRef,
    ids::{BlockHash, ChainId},
};

/// Why one endpoint gave no usable answer. Endpoints are named by host alone: their URLs often
/// carry API keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("{endpoint} does not answer")]
    Silent { endpoint: Arc<str> },
    #[error("{endpoint} answers error {code}: {message}")]
    Refused { endpoint: Arc<str>, code: i64, message: String },
    #[error("{endpoint} is on chain {found}, not on {expected}")]
    WrongChain { endpoint: Arc<str>, expected: ChainId, found: u64 },
    #[error("{endpoint} does not have {what}")]
    Missing { endpoint: Arc<str>, what: String },
}

/// A block that is named by its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    Latest,
    Safe,
    Finalized,
}

#[derive(Debug)]
pub struct Endpoint {
    name: Arc<str>,
    chain: ChainId,
    provider: DynProvider,
    chain_checked: AtomicBool,
}

/// Longest message of a node that is repeated, in characters.
const MESSAGE_MAX: usize = 200;

type Failure = RpcError<TransportErrorKind>;

impl Endpoint {
    pub fn new(chain: ChainId, url: Url, http: &reqwest::Client) -> Self {
        let host = url.host_str().unwrap_or("endpoint").to_owned();
        let name = url.port().map_or(host.clone(), |port| format!("{host}:{port}"));
        let client = RpcClient::new(Http::with_client(http.clone(), url), false);
        let provider = ProviderBuilder::new().connect_client(client).erased();
        Self { name: name.into(), chain, provider, chain_checked: AtomicBool::new(false) }
    }

    fn failed(&self, failure: &Failure) -> EndpointError {
        if let Some(error) = failure.as_error_resp() {
            let message = error.message.chars().take(MESSAGE_MAX).collect();
            return EndpointError::Refused {
                endpoint: self.name.clone(),
                code: error.code,
                message,
            };
        }
        // The next connection may lead somewhere else.
        self.chain_checked.store(false, Ordering::Relaxed);
        EndpointError::Silent { endpoint: self.name.clone() }
    }

    fn missing(&self, what: impl Into<String>) -> EndpointError {
        EndpointError::Missing { endpoint: self.name.clone(), what: what.into() }
    }

    /// The provider, once it has shown that it is on our chain.
    async fn provider(&self) -> Result<&DynProvider, EndpointError> {
        if !self.chain_checked.load(Ordering::Relaxed) {
            let found = self.provider.get_chain_id().await.map_err(|error| self.failed(&error))?;
            if found != self.chain.get() {
                let endpoint = self.name.clone();
                return Err(EndpointError::WrongChain { endpoint, expected: self.chain, found });
            }
            self.chain_checked.store(true, Ordering::Relaxed);
        }
        Ok(&self.provider)
    }

    fn read_header(&self, block: &Block) -> Result<Header, EndpointError> {
        let time = i64::try_from(block.header.timestamp)
            .ok()
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
            .ok_or_else(|| self.missing("a readable block time"))?;
        Ok(Header {
            block: BlockRef { number: block.header.number, hash: BlockHash(block.header.hash) },
            parent: BlockHash(block.header.parent_hash),
            time,
        })
    }

    pub async fn tagged(&self, tag: Tag) -> Result<Header, EndpointError> {
        let tag = match tag {
            Tag::Latest => BlockNumberOrTag::Latest,
            Tag::Safe => BlockNumberOrTag::Safe,
            Tag::Finalized => BlockNumberOrTag::Finalized,
        };
        let block = self.provider().await?.get_block_by_number(tag).await;
        let block = block.map_err(|error| self.failed(&error))?;
        self.read_header(&block.ok_or_else(|| self.missing(format!("a {tag} block")))?)
    }

    pub async fn header(&self, number: u64) -> Result<Header, EndpointError> {
        let block = self.provider().await?.get_block_by_number(number.into()).await;
        let block = block.map_err(|error| self.failed(&error))?;
        let header =
            self.read_header(&block.ok_or_else(|| self.missing(format!("block {number}")))?)?;
        if header.block.number == number {
            Ok(header)
        } else {
            Err(self.missing(format!("block {number}, it gave another one")))
        }
    }

    pub async fn call(
        &self,
        to: Address,
        data: &Bytes,
        at: BlockHash,
    ) -> Result<CallAnswer, EndpointError> {
        let request = TransactionRequest::default().with_to(to).with_input(data.clone());
        match self.provider().await?.call(request).block(pinned(at)).await {
            Ok(bytes) => Ok(CallAnswer::Returned(bytes)),
            Err(error) if is_revert(&error) => Ok(CallAnswer::Reverted),
            Err(error) => Err(self.failed(&error)),
        }
    }

    pub async fn code(&self, address: Address, at: BlockHash) -> Result<Bytes, EndpointError> {
        let code = self.provider().await?.get_code_at(address).block_id(pinned(at)).await;
        code.map_err(|error| self.failed(&error))
    }

    pub async fn storage(
        &self,
        address: Address,
        slot: B256,
        at: BlockHash,
    ) -> Result<B256, EndpointError> {
        let word =
            self.provider().await?.get_storage_at(address, slot.into()).block_id(pinned(at)).await;
        word.map(B256::from).map_err(|error| self.failed(&error))
    }

    pub async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, EndpointError> {
        let logs = self.provider().await?.get_logs(filter).await;
        logs.map_err(|error| self.failed(&error))
    }
}

/// Exactly this block, and only while it is part of the chain (EIP-1898).
fn pinned(at: BlockHash) -> BlockId {
    BlockId::Hash(RpcBlockHash { block_hash: at.0, require_canonical: Some(true) })
}

/// Whether the contract itself refused, as opposed to the node: code 3, or revert data.
fn is_revert(failure: &Failure) -> bool {
    failure.as_error_resp().is_some_and(|error| {
        error.code == 3
            || error.as_revert_data().is_some()
            || error.message.to_ascii_lowercase().contains("execution reverted")
    })
}
