//! One RPC endpoint: its chain id is checked before the first answer of a connection is believed,
//! and what it gave is checked for being what was asked.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alloy::{
    eips::{BlockId, BlockNumberOrTag, RpcBlockHash},
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider},
    rpc::types::{Block, Filter, Log, TransactionReceipt},
    transports::{RpcError, TransportErrorKind, TransportResult},
};
use chrono::DateTime;
use url::Url;

use super::{Header, connection::Connection, health::Health, own_url, simulate::Surroundings};
use crate::request::{
    facts::BlockRef,
    ids::{BlockHash, ChainId, TxHash},
};

/// Why one endpoint gave no usable answer. Endpoints are named by host alone: their URLs often
/// carry API keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("{endpoint} does not answer")]
    Silent { endpoint: Arc<str> },
    #[error("{endpoint} answers with HTTP status {status}{}", meaning(*status))]
    Status { endpoint: Arc<str>, status: u16 },
    /// Something else than JSON-RPC, or not what was asked for.
    #[error("{endpoint} gives an answer that does not read: check its URL")]
    Unreadable { endpoint: Arc<str> },
    #[error("{endpoint} answers error {code}: {message}")]
    Refused { endpoint: Arc<str>, code: i64, message: String },
    #[error("{endpoint} is on chain {found}, not on {expected}")]
    WrongChain { endpoint: Arc<str>, expected: ChainId, found: u64 },
    #[error("{endpoint} does not have {what}")]
    Missing { endpoint: Arc<str>, what: String },
}

/// What to do about an answer without JSON-RPC.
fn meaning(status: u16) -> &'static str {
    match status {
        401 | 403 => ": check the key in its URL",
        404 | 405 => ": check its URL",
        _ => "",
    }
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
    connection: Connection,
    /// What of its URL it must not be heard to say.
    secrets: Vec<String>,
    chain_checked: AtomicBool,
    pub health: Health,
}

/// An endpoint that has not answered by then does not count.
pub const RPC_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest message of a node that is repeated, in characters.
const MESSAGE_MAX: usize = 200;

pub(super) type Failure = RpcError<TransportErrorKind>;

impl Endpoint {
    pub fn new(chain: ChainId, url: Url, http: &reqwest::Client, rate: NonZeroU32) -> Self {
        let host = url.host_str().unwrap_or("endpoint").to_owned();
        let name = url.port().map_or(host.clone(), |port| format!("{host}:{port}"));
        // One provider may be reached in both ways, and they fail apart.
        let is_socket = matches!(url.scheme(), "ws" | "wss");
        let name = if is_socket { format!("{}://{name}", url.scheme()) } else { name };
        let secrets = own_url::secrets(&url);
        Self { secrets, ..Self::over(chain, &name, Connection::to(url, http, rate)) }
    }

    /// An endpoint over a connection that somebody else made.
    pub fn over(chain: ChainId, name: &str, connection: Connection) -> Self {
        Self {
            name: name.into(),
            chain,
            connection,
            secrets: vec![],
            chain_checked: AtomicBool::new(false),
            health: Health::default(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn announces_heads(&self) -> bool {
        self.connection.announces_heads()
    }

    fn silent(&self) -> EndpointError {
        EndpointError::Silent { endpoint: self.name.clone() }
    }

    pub(super) fn missing(&self, what: impl Into<String>) -> EndpointError {
        EndpointError::Missing { endpoint: self.name.clone(), what: what.into() }
    }

    pub fn differs(&self, number: u64) -> EndpointError {
        self.missing(format!("our block {number}: it follows another chain, or is behind"))
    }

    pub fn cut_off(&self, from: u64, to: u64) -> EndpointError {
        self.missing(format!("all logs of blocks {from} to {to}: it cut its answer off"))
    }

    /// A broken connection is given up: the next one may lead somewhere else.
    async fn broken(&self) -> EndpointError {
        self.chain_checked.store(false, Ordering::Relaxed);
        self.connection.drop_open().await;
        self.silent()
    }

    pub(super) async fn failed(&self, failure: &Failure) -> EndpointError {
        match failure.as_error_resp() {
            Some(error) => EndpointError::Refused {
                endpoint: self.name.clone(),
                code: error.code,
                message: own_url::without(&error.message, &self.secrets, MESSAGE_MAX),
            },
            None if is_rate_limit(failure) => EndpointError::Refused {
                endpoint: self.name.clone(),
                code: 429,
                message: "too many requests".into(),
            },
            None => {
                let silent = self.broken().await;
                let endpoint = self.name.clone();
                match failure {
                    RpcError::Transport(TransportErrorKind::HttpError(answer)) => {
                        EndpointError::Status { endpoint, status: answer.status }
                    }
                    RpcError::DeserError { .. } => EndpointError::Unreadable { endpoint },
                    _ => silent,
                }
            }
        }
    }

    /// The provider, once it has shown that it is on our chain.
    async fn provider(&self) -> Result<DynProvider, EndpointError> {
        let (provider, is_new) = match self.connection.get().await {
            Ok(connected) => connected,
            Err(error) => return Err(self.failed(&error).await),
        };
        if is_new || !self.chain_checked.load(Ordering::Relaxed) {
            let found = match provider.get_chain_id().await {
                Ok(found) => found,
                Err(error) => return Err(self.failed(&error).await),
            };
            if found != self.chain.get() {
                self.broken().await;
                let endpoint = self.name.clone();
                return Err(EndpointError::WrongChain { endpoint, expected: self.chain, found });
            }
            self.chain_checked.store(true, Ordering::Relaxed);
        }
        Ok(provider)
    }

    /// Asks one thing, within [`RPC_TIMEOUT`], and notes how it went.
    pub(super) async fn ask<T, F>(
        &self,
        question: impl FnOnce(DynProvider) -> F,
    ) -> Result<Result<T, Failure>, EndpointError>
    where
        F: Future<Output = TransportResult<T>>,
    {
        let asked =
            tokio::time::timeout(RPC_TIMEOUT, async { Ok(question(self.provider().await?).await) });
        let outcome = match asked.await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.broken().await),
        };
        match &outcome {
            Ok(Err(failure)) if failure.as_error_resp().is_none() && !is_rate_limit(failure) => {
                self.health.failed(&self.silent());
            }
            Err(error) => self.health.failed(error),
            Ok(_) => self.health.answered(),
        }
        outcome
    }

    /// Asks something that no contract can refuse.
    pub(super) async fn tell<T, F>(
        &self,
        question: impl FnOnce(DynProvider) -> F,
    ) -> Result<T, EndpointError>
    where
        F: Future<Output = TransportResult<T>>,
    {
        match self.ask(question).await? {
            Ok(answer) => Ok(answer),
            Err(failure) => Err(self.failed(&failure).await),
        }
    }

    fn read_header(&self, header: &alloy::rpc::types::Header) -> Result<Header, EndpointError> {
        let time = i64::try_from(header.timestamp)
            .ok()
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
            .ok_or_else(|| self.missing("a readable block time"))?;
        // Far beyond any chain, and what the database can hold.
        if i64::try_from(header.number).is_err() {
            return Err(self.missing("a readable block number"));
        }
        Ok(Header {
            block: BlockRef { number: header.number, hash: BlockHash(header.hash) },
            parent: BlockHash(header.parent_hash),
            time,
        })
    }

    fn read_block(&self, block: Option<Block>, what: &str) -> Result<Header, EndpointError> {
        self.read_header(&block.ok_or_else(|| self.missing(what))?.header)
    }

    /// The newest block: as announced while announcements come, as asked otherwise.
    pub async fn latest(&self) -> Result<Header, EndpointError> {
        if let Some(header) = self.health.announced() {
            return Ok(header);
        }
        let header = self.tagged(Tag::Latest).await?;
        self.health.found(header);
        Ok(header)
    }

    pub async fn tagged(&self, tag: Tag) -> Result<Header, EndpointError> {
        let tag = match tag {
            Tag::Latest => BlockNumberOrTag::Latest,
            Tag::Safe => BlockNumberOrTag::Safe,
            Tag::Finalized => BlockNumberOrTag::Finalized,
        };
        let block =
            self.tell(|provider| async move { provider.get_block_by_number(tag).await }).await?;
        self.read_block(block, &format!("a {tag} block"))
    }

    pub async fn header(&self, number: u64) -> Result<Header, EndpointError> {
        let block = self
            .tell(|provider| async move { provider.get_block_by_number(number.into()).await })
            .await?;
        let header = self.read_block(block, &format!("block {number}"))?;
        if header.block.number == number {
            Ok(header)
        } else {
            Err(self.missing(format!("block {number}, it gave another one")))
        }
    }

    /// Passes on heads as they are announced, until the connection or the announcements end.
    pub async fn announce(&self, told: impl Fn()) -> Result<(), EndpointError> {
        let mut heads =
            self.tell(|provider| async move { provider.subscribe_blocks().await }).await?;
        loop {
            let header = tokio::select! {
                header = heads.recv() => header,
                () = self.health.fell_silent() => return Err(self.broken().await),
            };
            match header {
                Ok(header) => self.health.announce(self.read_header(&header)?),
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => continue,
                Err(_) => return Err(self.broken().await),
            }
            told();
        }
    }

    pub async fn code(&self, address: Address, at: BlockHash) -> Result<Bytes, EndpointError> {
        self.tell(
            |provider| async move { provider.get_code_at(address).block_id(pinned(at)).await },
        )
        .await
    }

    /// Whether there was code at an address after block `number`. Only nodes that keep old state
    /// can tell.
    pub async fn had_code(&self, address: Address, number: u64) -> Result<bool, EndpointError> {
        let code = self
            .tell(|provider| async move { provider.get_code_at(address).number(number).await })
            .await?;
        Ok(!code.is_empty())
    }

    pub async fn storage(
        &self,
        address: Address,
        slot: B256,
        at: BlockHash,
    ) -> Result<B256, EndpointError> {
        let word = self.tell(|provider| async move {
            provider.get_storage_at(address, slot.into()).block_id(pinned(at)).await
        });
        word.await.map(B256::from)
    }

    /// In wei.
    pub async fn balance(&self, address: Address, at: BlockHash) -> Result<U256, EndpointError> {
        self.tell(
            |provider| async move { provider.get_balance(address).block_id(pinned(at)).await },
        )
        .await
    }

    /// How many transactions an account has sent, or contracts a contract has made.
    pub async fn nonce(&self, address: Address, at: BlockHash) -> Result<u64, EndpointError> {
        self.tell(|provider| async move {
            provider.get_transaction_count(address).block_id(pinned(at)).await
        })
        .await
    }

    /// What a transaction in this block sees of it.
    pub async fn surroundings(&self, at: BlockRef) -> Result<Surroundings, EndpointError> {
        let block = self
            .tell(|provider| async move { provider.get_block_by_hash(at.hash.0).await })
            .await?;
        let header = block.filter(|block| block.header.hash == at.hash.0);
        let header = header.ok_or_else(|| self.missing(format!("block {}", at.number)))?.header;
        Ok(Surroundings {
            number: header.number,
            time: header.timestamp,
            beneficiary: header.beneficiary,
            gas_limit: header.gas_limit,
            base_fee: header.base_fee_per_gas.unwrap_or_default(),
            randomness: header.mix_hash,
        })
    }

    pub async fn receipt(&self, tx: TxHash) -> Result<TransactionReceipt, EndpointError> {
        let receipt = self
            .tell(|provider| async move { provider.get_transaction_receipt(tx.0).await })
            .await?;
        receipt
            .filter(|receipt| receipt.transaction_hash == tx.0)
            .ok_or_else(|| self.missing(format!("transaction {tx}")))
    }

    pub async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, EndpointError> {
        self.tell(|provider| async move { provider.get_logs(filter).await }).await
    }
}

/// Exactly this block, and only while it is part of the chain (EIP-1898).
pub(super) fn pinned(at: BlockHash) -> BlockId {
    BlockId::Hash(RpcBlockHash { block_hash: at.0, require_canonical: Some(true) })
}

/// Whether alloy repeated a call as often as it may, and was refused for its rate each time.
fn is_rate_limit(failure: &Failure) -> bool {
    matches!(failure, RpcError::Transport(TransportErrorKind::Custom(error))
        if error.to_string().starts_with("Max retries exceeded"))
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode, response::Html, routing::post};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_answers_without_a_block_is_told_from_who_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let site = Router::new()
            .route("/key", post((StatusCode::UNAUTHORIZED, r#"{"error":"bad key"}"#)))
            .route("/page", post(Html("<p>welcome</p>")))
            .route("/ill", post(StatusCode::INTERNAL_SERVER_ERROR));
        let serving = tokio::spawn(async move { axum::serve(listener, site).await });
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().timeout(RPC_TIMEOUT).build().unwrap();
        let told = async |path: &str| {
            let url = format!("http://{address}/{path}").parse().unwrap();
            let chain = "8453".parse().unwrap();
            let rate = NonZeroU32::new(100).unwrap();
            let endpoint = Endpoint::new(chain, url, &http, rate);
            let asked = endpoint.ask(async |provider| provider.get_block_number().await).await;
            asked.unwrap_err().to_string()
        };
        for (path, words) in [
            ("key", "answers with HTTP status 401: check the key in its URL"),
            ("missing", "answers with HTTP status 404: check its URL"),
            ("ill", "answers with HTTP status 500"),
            ("page", "gives an answer that does not read: check its URL"),
        ] {
            assert_eq!(told(path).await, format!("{address} {words}"));
        }
        serving.abort();
        assert!(serving.await.is_err());
        assert_eq!(told("key").await, format!("{address} does not answer"));
    }
}
