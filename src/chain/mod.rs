//! Reads a chain through several endpoints that must agree.
//!
//! Reads that decide something are pinned to one block hash (EIP-1898) and count only when
//! `quorum` endpoints gave the same answer. An answer that cannot be had, or does not decode, is
//! an error; it never becomes "no".

mod agreement;
mod approvals;
mod around;
mod calls;
mod connection;
mod endpoint;
mod extensions;
mod health;
mod history;
pub mod own_url;
mod pay;
mod reads;
mod relayer_key;
pub mod simulate;
mod wanted;
mod words;

use std::sync::Arc;
use std::time::Duration;

use alloy::{
    primitives::{Address, B256, Bytes},
    rpc::{client::RpcClient, types::Log},
};
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::watch;

use crate::{
    clock::Time,
    config::{ChainSettings, DepthPolicy},
    planted::{Bug, planted},
    request::{
        facts::BlockRef,
        ids::{BlockHash, ChainId},
    },
};
use agreement::Quorum;
use connection::Connection;
use endpoint::{Endpoint, RPC_TIMEOUT};
pub use endpoint::{EndpointError, Tag};
pub use health::State;
pub use pay::{Estimate, Mined, NotTaken};
pub use reads::{ContractKind, OwnerKind, SafeState, Signers};
pub use relayer_key::{CannotRelay, Fees, NoRelayerKey, Payment, RelayerKey, SignedPayment};
pub use wanted::Wanted;
use wanted::normal;
pub use words::{Question, creation_code as word_reader_code};

/// Longest a call over HTTP may take.
const HTTP_TIMEOUT: Duration = Duration::from_secs(15);
/// How long endpoints that disagree are waited for when enough agree already.
const RIVAL_PATIENCE: Duration = Duration::from_millis(500);
/// First pause before a broken announcement of heads is asked for again; doubled up to the last.
const RESUBSCRIBE_FIRST: Duration = Duration::from_millis(500);
const RESUBSCRIBE_MAX: Duration = Duration::from_secs(30);

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
    /// Reading it again may well succeed.
    #[error("the chain moved while it was read: {0}")]
    Moved(&'static str),
}

/// One chain.
#[derive(Debug, Clone)]
pub struct Chain {
    settings: ChainSettings,
    endpoints: Arc<[Endpoint]>,
    /// Told whenever an endpoint announces a head.
    announced: Arc<watch::Sender<()>>,
}

/// What is known of one endpoint of a chain.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct EndpointReport {
    /// Host and port; the rest of an endpoint's URL is often secret.
    pub name: String,
    pub state: State,
    /// Newest block it has told of.
    pub head: Option<u64>,
    /// Blocks behind the furthest endpoint.
    pub lag: Option<u64>,
    /// Whether it announces heads over a websocket at the moment.
    pub announces: bool,
    /// Why it fails.
    pub problem: Option<String>,
}

/// All configured chains.
#[derive(Debug, Clone, Default)]
pub struct Chains(Vec<Chain>);

impl Chains {
    pub fn new(settings: &[ChainSettings]) -> reqwest::Result<Self> {
        // A redirect would lead to an endpoint that nobody configured.
        let http = reqwest::Client::builder()
            .timeout(HTTP_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self(settings.iter().map(|settings| Chain::new(settings.clone(), &http)).collect()))
    }

    /// Chains that somebody else made.
    pub fn over(chains: Vec<Chain>) -> Self {
        Self(chains)
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
        let endpoint =
            |url: &url::Url| Endpoint::new(settings.id, url.clone(), http, settings.rate);
        let endpoints = settings.rpc.iter().map(endpoint).collect();
        Self { settings, endpoints, announced: Arc::default() }
    }

    /// A chain over transports that somebody else made, each with a name.
    pub fn over(settings: ChainSettings, clients: Vec<(&str, RpcClient)>) -> Self {
        let endpoint = |(name, client)| Endpoint::over(settings.id, name, Connection::over(client));
        let endpoints = clients.into_iter().map(endpoint).collect();
        Self { settings, endpoints, announced: Arc::default() }
    }

    pub fn id(&self) -> ChainId {
        self.settings.id
    }

    pub fn settings(&self) -> &ChainSettings {
        &self.settings
    }

    pub fn depth(&self) -> DepthPolicy {
        self.settings.depth
    }

    pub fn poll(&self) -> Duration {
        self.settings.poll
    }

    pub fn explorer(&self) -> Option<&url::Url> {
        self.settings.explorer.as_ref()
    }

    fn quorum(&self) -> Quorum {
        Quorum { needed: self.settings.quorum, endpoints: self.endpoints.len() }
    }

    /// How the endpoints do.
    pub fn endpoints(&self) -> Vec<EndpointReport> {
        let reports: Vec<_> =
            self.endpoints.iter().map(|one| (one.name(), one.health.report())).collect();
        let furthest = reports.iter().filter_map(|(_, report)| report.head).max();
        reports
            .into_iter()
            .map(|(name, report)| EndpointReport {
                name: name.to_owned(),
                state: report.state,
                head: report.head,
                lag: furthest.zip(report.head).map(|(furthest, head)| furthest - head),
                announces: report.announces,
                problem: report.problem,
            })
            .collect()
    }

    /// Asks the endpoints the same and takes the answer that enough of them give. Endpoints that
    /// fail all the time are left out while enough others are there.
    async fn ask<'a, T, F>(
        &'a self,
        what: &str,
        question: impl Fn(&'a Endpoint) -> F,
    ) -> Result<T, ChainError>
    where
        T: PartialEq + Clone,
        F: Future<Output = Result<T, EndpointError>>,
    {
        let answers = self.collect(what, question).await;
        self.quorum().agree(what, &answers)
    }

    /// The answers of the endpoints, until enough of them agree or all have answered. As long as
    /// others could outvote them, those are given a little time.
    async fn collect<'a, T, F>(
        &'a self,
        what: &str,
        question: impl Fn(&'a Endpoint) -> F,
    ) -> Vec<Result<T, EndpointError>>
    where
        T: PartialEq + Clone,
        F: Future<Output = Result<T, EndpointError>>,
    {
        let quorum = self.quorum();
        let (mut resting, mut asked): (Vec<_>, Vec<_>) =
            self.endpoints.iter().partition(|one| one.health.rests());
        if asked.len() < quorum.needed {
            asked.append(&mut resting);
        }
        let mut pending: FuturesUnordered<F> = asked.into_iter().map(&question).collect();
        let mut answers = vec![];
        let mut agreed = false;
        loop {
            let patience = if agreed { RIVAL_PATIENCE } else { RPC_TIMEOUT * 2 };
            match tokio::time::timeout(patience, pending.next()).await {
                Ok(Some(answer)) => answers.push(answer),
                // Those that are asked do not agree: one that rests may settle it.
                Ok(None) if !agreed && !resting.is_empty() => {
                    pending.extend(resting.drain(..).map(&question));
                    continue;
                }
                Ok(None) | Err(_) => return answers,
            }
            if quorum.agree(what, &answers).is_ok() {
                if quorum.is_majority() {
                    return answers;
                }
                agreed = true;
            }
        }
    }

    /// Listens to the endpoints that announce heads, for ever. Endpoints that do not are asked.
    pub async fn listen(&self) {
        futures::future::join_all(
            self.endpoints.iter().filter(|one| one.announces_heads()).map(|one| self.hear(one)),
        )
        .await;
        std::future::pending::<()>().await;
    }

    async fn hear(&self, endpoint: &Endpoint) {
        let mut pause = RESUBSCRIBE_FIRST;
        loop {
            let began = std::time::Instant::now();
            if let Err(error) = endpoint.announce(|| self.announced.send_replace(())).await {
                tracing::info!(chain.id = %self.id(), %error, "heads are not announced for now");
            }
            pause = if began.elapsed() > RESUBSCRIBE_MAX { RESUBSCRIBE_FIRST } else { pause };
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RESUBSCRIBE_MAX);
        }
    }

    /// Tells when an endpoint has announced a head.
    pub fn announcements(&self) -> watch::Receiver<()> {
        self.announced.subscribe()
    }

    /// The highest block that enough endpoints have reached, and the same for all of them.
    pub async fn head(&self) -> Result<Header, ChainError> {
        self.furthest("the head", Endpoint::latest).await
    }

    /// The block at `number`.
    pub async fn header(&self, number: u64) -> Result<Header, ChainError> {
        self.ask(&format!("block {number}"), |endpoint| endpoint.header(number)).await
    }

    /// The newest block that is as deep as the policy asks, seen from `head`; none when the chain
    /// is still shorter than that.
    pub async fn deep_block(&self, head: BlockRef) -> Result<Option<Header>, ChainError> {
        match self.settings.depth {
            _ if planted(Bug::HeadInsteadOfDepth) => self.header(head.number).await.map(Some),
            DepthPolicy::Blocks(blocks) => match head.number.checked_sub(blocks) {
                Some(number) => self.header(number).await.map(Some),
                None => Ok(None),
            },
            DepthPolicy::Safe => self.tagged(Tag::Safe).await.map(Some),
            DepthPolicy::Finalized => self.tagged(Tag::Finalized).await.map(Some),
        }
    }

    /// The newest block that the chain calls safe or finalized.
    pub async fn tagged(&self, tag: Tag) -> Result<Header, ChainError> {
        let what = match tag {
            Tag::Latest => "the head",
            Tag::Safe => "the safe block",
            Tag::Finalized => "the finalized block",
        };
        self.furthest(what, |endpoint| endpoint.tagged(tag)).await
    }

    /// The highest block that enough endpoints give as their newest of a kind.
    async fn furthest<'a, F>(
        &'a self,
        what: &str,
        newest: impl Fn(&'a Endpoint) -> F,
    ) -> Result<Header, ChainError>
    where
        F: Future<Output = Result<Header, EndpointError>>,
    {
        let quorum = self.quorum();
        let answers = self.collect(what, newest).await;
        if let Ok(header) = quorum.agree(what, &answers) {
            return Ok(header);
        }
        let numbers = answers.iter().flatten().map(|header| header.block.number).collect();
        match quorum.reached(numbers) {
            Some(number) => self.header(number).await,
            None => quorum.agree(what, &answers),
        }
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

    /// Logs of exactly this block, on which enough endpoints agree.
    pub async fn block_logs(&self, wanted: &Wanted, at: BlockRef) -> Result<Vec<Log>, ChainError> {
        let filter = wanted.filter().at_block_hash(at.hash.0);
        let what = format!("the logs of block {}", at.number);
        let logs = self.ask(&what, |endpoint| async { endpoint.logs(&filter).await.map(normal) });
        wanted.check(logs.await?, at.number, at.number)
    }
}
