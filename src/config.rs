//! Settings, checked once at the start. Pure: the text of the file and the values of flags and
//! environment come in, checked settings or one clear sentence come out.

mod access;
mod gateway;
mod relayer;
mod told;

use std::{
    collections::BTreeMap, fmt, net::SocketAddr, num::NonZeroU32, str::FromStr, time::Duration,
};

use serde::Deserialize;
use url::Url;

use crate::request::ids::{AppId, ChainId};
pub use access::{AccessLists, AccessSettings};
pub use gateway::{Capture, GatewaySettings};
pub use relayer::RelayerCaps;
pub use told::{Source, Sources, Told};

/// How deep an execution must lie before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepthPolicy {
    /// This many blocks on top.
    Blocks(u64),
    /// The block the node calls safe.
    Safe,
    /// The block the node calls finalized.
    Finalized,
}

impl fmt::Display for DepthPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocks(1) => f.write_str("1 block"),
            Self::Blocks(blocks) => write!(f, "{blocks} blocks"),
            Self::Safe => f.write_str("safe"),
            Self::Finalized => f.write_str("finalized"),
        }
    }
}

/// Deeper than this the follower could not tell a reorganisation from another chain.
const DEPTH_MAX: u64 = 500;

impl FromStr for DepthPolicy {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "safe" => Ok(Self::Safe),
            "finalized" => Ok(Self::Finalized),
            number => match number.parse() {
                Ok(blocks) if blocks <= DEPTH_MAX => Ok(Self::Blocks(blocks)),
                _ => Err("a number of blocks up to 500, `safe` or `finalized`"),
            },
        }
    }
}

impl DepthPolicy {
    /// What a chain needs before a write on it can be trusted to stay.
    fn default_for(chain: ChainId) -> Self {
        match chain.get() {
            1 => Self::Finalized,
            // Rollups and test networks: once the batch, or an epoch's attestations, are in.
            10 | 8453 | 42161 | 84532 | 11_155_111 => Self::Safe,
            31337 => Self::Blocks(1),
            _ => Self::Blocks(12),
        }
    }
}

/// One chain to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainSettings {
    pub id: ChainId,
    pub rpc: Vec<Url>,
    /// Endpoints that must agree before an answer decides anything.
    pub quorum: usize,
    pub depth: DepthPolicy,
    pub poll: Duration,
    /// Calls a second that each endpoint is asked at most.
    pub rate: NonZeroU32,
    /// How far back the history of a contract is read, in blocks, when no endpoint can tell when
    /// it was deployed.
    pub backfill_blocks: u64,
    /// Apps that are watched although nobody made a request for them.
    pub apps: Vec<AppId>,
    /// KMS contracts whose apps are watched from their deployment on.
    pub kms: Vec<AppId>,
    /// Prefix of links to transactions, such as `https://basescan.org/tx/`.
    pub explorer: Option<Url>,
    pub safe_service: SafeServiceSetting,
    pub relayer: RelayerCaps,
}

/// Which Safe Transaction Service a chain has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SafeServiceSetting {
    /// The hosted one, if there is a key to use it with.
    #[default]
    Hosted,
    /// None.
    Off,
    /// One of somebody's own, by its root, with or without `/api`.
    At(Url),
}

/// All settings of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub listen: SocketAddr,
    pub phala_api_prefix: Url,
    /// Calls a second that Phala Cloud is asked at most, for the workspace of the API key.
    pub phala_rate: NonZeroU32,
    pub chains: Vec<ChainSettings>,
    /// Whether pages and reads need no token.
    pub open_reads: bool,
    /// Whether its chains are made up on this machine, so that no page of anybody else knows them.
    pub is_devnet: bool,
    /// Whether nothing is proposed before the document behind its compose hash is known.
    pub require_compose_proof: bool,
    /// How long to wait for the effect of a commit that was not answered before it counts as not
    /// having happened.
    pub settle: Duration,
    /// How often a booting replica is looked at.
    pub boot_poll: Duration,
    /// Where alerts are posted as JSON.
    pub webhooks: Vec<Url>,
    /// Where people reach Countersign, for links to it from elsewhere.
    pub public_url: Option<Url>,
    pub gateway: GatewaySettings,
    pub access: AccessSettings,
    /// Which of them somebody gave.
    pub sources: Sources,
}

/// One sentence about the setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration file does not read: {0}")]
    File(String),
    #[error("{setting}: {problem}")]
    Setting { setting: String, problem: String },
}

/// The file as it is written, every key optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<String>,
    phala_api_prefix: Option<String>,
    phala_calls_per_second: Option<u32>,
    open_reads: Option<bool>,
    require_compose_proof: Option<bool>,
    settle_seconds: Option<u64>,
    boot_poll_seconds: Option<u64>,
    public_url: Option<String>,
    gateway: Option<String>,
    gateway_capture: Option<String>,
    #[serde(default)]
    webhooks: Vec<String>,
    #[serde(default)]
    access: AccessLists,
    #[serde(default)]
    chains: BTreeMap<String, ChainFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainFile {
    #[serde(default)]
    rpc: Vec<String>,
    quorum: Option<usize>,
    depth: Option<String>,
    poll_ms: Option<u64>,
    calls_per_second: Option<u32>,
    backfill_blocks: Option<u64>,
    #[serde(default)]
    apps: Vec<String>,
    #[serde(default)]
    kms: Vec<String>,
    explorer: Option<String>,
    safe_service: Option<String>,
    relayer_max_fee_gwei: Option<String>,
    relayer_max_gas: Option<u64>,
}

/// What flags and environment say; each wins over the file.
#[derive(Debug, Default, Clone)]
pub struct Overrides {
    pub listen: Option<String>,
    pub phala_api_prefix: Option<String>,
    pub phala_calls_per_second: Option<u32>,
    pub open_reads: Option<bool>,
    pub require_compose_proof: Option<bool>,
    pub settle_seconds: Option<u64>,
    pub boot_poll_seconds: Option<u64>,
    pub webhooks: Vec<String>,
    pub public_url: Option<String>,
    pub gateway: Option<String>,
    pub gateway_capture: Option<String>,
    pub access: AccessLists,
    /// Each `ID=URL[,URL…][;key=value…]`, with the keys of the file.
    pub chains: Vec<String>,
}

const DEFAULT_LISTEN: &str = "127.0.0.1:8465";
const DEFAULT_PHALA: &str = "https://cloud-api.phala.com/api/v1";
const DEFAULT_SETTLE_SECONDS: u64 = 60;
const DEFAULT_BOOT_POLL_SECONDS: u64 = 10;
const DEFAULT_POLL_MS: u64 = 1_000;
/// Phala Cloud publishes no limit; this is far from what it would call too many.
const DEFAULT_PHALA_RATE: u32 = 20;
const DEFAULT_RPC_RATE: u32 = 500;
const RATE_MAX: u32 = 100_000;
const DEFAULT_BACKFILL_BLOCKS: u64 = 10_000;

fn wrong(setting: impl Into<String>, problem: impl fmt::Display) -> ConfigError {
    ConfigError::Setting { setting: setting.into(), problem: problem.to_string() }
}

impl Settings {
    /// Reads the file's text (empty when there is none), lets flags and environment win, checks.
    pub fn read(file: &str, overrides: Overrides) -> Result<Self, ConfigError> {
        let sources = Sources::of(file, &overrides);
        let mut file: File =
            toml::from_str(file).map_err(|error| ConfigError::File(error.to_string()))?;
        for text in &overrides.chains {
            let (id, chain) = parse_chain_flag(text)?;
            file.chains.insert(id, chain);
        }
        let public_url = overrides.public_url.or(file.public_url);
        let gateway = overrides.gateway.or(file.gateway);
        let capture = overrides.gateway_capture.or(file.gateway_capture);
        let listen = overrides.listen.or(file.listen).unwrap_or_else(|| DEFAULT_LISTEN.into());
        let phala = overrides.phala_api_prefix.or(file.phala_api_prefix);
        let settle = overrides.settle_seconds.or(file.settle_seconds);
        let boot_poll = overrides.boot_poll_seconds.or(file.boot_poll_seconds);
        let webhooks =
            if overrides.webhooks.is_empty() { file.webhooks } else { overrides.webhooks };
        Ok(Self {
            listen: listen
                .parse()
                .map_err(|_| wrong("listen", "expected ADDRESS:PORT, such as 127.0.0.1:8465"))?,
            phala_api_prefix: http_url(
                "phala_api_prefix",
                phala.as_deref().unwrap_or(DEFAULT_PHALA),
            )?,
            phala_rate: rate(
                "phala_calls_per_second",
                overrides.phala_calls_per_second.or(file.phala_calls_per_second),
                DEFAULT_PHALA_RATE,
            )?,
            chains: file
                .chains
                .into_iter()
                .map(|(id, chain)| chain.check(&id))
                .collect::<Result<_, _>>()?,
            open_reads: overrides.open_reads.or(file.open_reads).unwrap_or(false),
            is_devnet: false,
            require_compose_proof: overrides
                .require_compose_proof
                .or(file.require_compose_proof)
                .unwrap_or(false),
            settle: Duration::from_secs(settle.unwrap_or(DEFAULT_SETTLE_SECONDS)),
            boot_poll: Duration::from_secs(boot_poll.unwrap_or(DEFAULT_BOOT_POLL_SECONDS).max(1)),
            webhooks: webhooks
                .iter()
                .map(|url| http_url("webhooks", url))
                .collect::<Result<_, _>>()?,
            public_url: public_url.map(|url| access::site_url("public_url", &url)).transpose()?,
            gateway: GatewaySettings::read(gateway.as_deref(), capture.as_deref())?,
            access: AccessSettings::read(file.access, overrides.access)?,
            sources,
        })
    }
}

impl ChainFile {
    fn check(self, id: &str) -> Result<ChainSettings, ConfigError> {
        let name = |key: &str| format!("chains.{id}.{key}");
        let chain: ChainId = id.parse().map_err(|error| wrong(format!("chains.{id}"), error))?;
        let rpc: Vec<Url> =
            self.rpc.iter().map(|url| rpc_url(&name("rpc"), url)).collect::<Result<_, _>>()?;
        if rpc.is_empty() {
            return Err(wrong(name("rpc"), "give at least one endpoint"));
        }
        // One endpoint under two lines would agree with itself.
        if rpc.iter().enumerate().any(|(place, url)| rpc[..place].contains(url)) {
            return Err(wrong(name("rpc"), "the same endpoint stands there twice"));
        }
        // A majority, unless said otherwise: a single endpoint decides alone.
        let quorum = self.quorum.unwrap_or(rpc.len() / 2 + 1);
        if quorum == 0 || quorum > rpc.len() {
            let endpoints = rpc.len();
            return Err(wrong(name("quorum"), format!("expected 1 to {endpoints}, the endpoints")));
        }
        let depth = match self.depth {
            Some(text) => text
                .parse()
                .map_err(|problem| wrong(name("depth"), format!("expected {problem}")))?,
            None => DepthPolicy::default_for(chain),
        };
        let poll_ms = self.poll_ms.unwrap_or(DEFAULT_POLL_MS);
        if !(50..=60_000).contains(&poll_ms) {
            return Err(wrong(name("poll_ms"), "expected 50 to 60000"));
        }
        let contracts = |key: &str, texts: &[String]| {
            let parse = |text: &String| {
                text.parse().map_err(|_| wrong(name(key), "expected addresses of contracts"))
            };
            texts.iter().map(parse).collect::<Result<Vec<AppId>, _>>()
        };
        Ok(ChainSettings {
            relayer: RelayerCaps::read(
                chain,
                self.relayer_max_fee_gwei.as_deref(),
                self.relayer_max_gas,
            )?,
            apps: contracts("apps", &self.apps)?,
            kms: contracts("kms", &self.kms)?,
            id: chain,
            rpc,
            quorum,
            depth,
            poll: Duration::from_millis(poll_ms),
            rate: rate(&name("calls_per_second"), self.calls_per_second, DEFAULT_RPC_RATE)?,
            backfill_blocks: self.backfill_blocks.unwrap_or(DEFAULT_BACKFILL_BLOCKS),
            explorer: self.explorer.map(|url| http_url(&name("explorer"), &url)).transpose()?,
            safe_service: match self.safe_service.as_deref() {
                None => SafeServiceSetting::Hosted,
                Some("off") => SafeServiceSetting::Off,
                Some(url) => SafeServiceSetting::At(http_url(&name("safe_service"), url)?),
            },
        })
    }
}

fn rate(setting: &str, given: Option<u32>, default: u32) -> Result<NonZeroU32, ConfigError> {
    let rate = NonZeroU32::new(given.unwrap_or(default)).filter(|rate| rate.get() <= RATE_MAX);
    rate.ok_or_else(|| wrong(setting, format!("expected 1 to {RATE_MAX}")))
}

fn parse_chain_flag(text: &str) -> Result<(String, ChainFile), ConfigError> {
    let problem = || wrong("chain", "expected ID=URL[,URL…][;key=value…]");
    let (id, rest) = text.split_once('=').ok_or_else(problem)?;
    let mut parts = rest.split(';');
    let urls = parts.next().unwrap_or_default();
    let mut chain = ChainFile {
        rpc: urls.split(',').filter(|url| !url.is_empty()).map(str::to_owned).collect(),
        ..ChainFile::default()
    };
    // One that ends with `;` says nothing more.
    for part in parts.filter(|part| !part.trim().is_empty()) {
        let (key, value) = part.split_once('=').ok_or_else(problem)?;
        let number =
            || value.parse().map_err(|_| wrong(format!("chains.{id}.{key}"), "not a number"));
        match key {
            "quorum" => chain.quorum = Some(usize::try_from(number()?).map_err(|_| problem())?),
            "depth" => chain.depth = Some(value.into()),
            "poll_ms" => chain.poll_ms = Some(number()?),
            "calls_per_second" => {
                chain.calls_per_second = Some(u32::try_from(number()?).map_err(|_| problem())?);
            }
            "backfill_blocks" => chain.backfill_blocks = Some(number()?),
            "apps" => chain.apps = value.split(',').map(str::to_owned).collect(),
            "kms" => chain.kms = value.split(',').map(str::to_owned).collect(),
            "explorer" => chain.explorer = Some(value.into()),
            "safe_service" => chain.safe_service = Some(value.into()),
            "relayer_max_fee_gwei" => chain.relayer_max_fee_gwei = Some(value.into()),
            "relayer_max_gas" => chain.relayer_max_gas = Some(number()?),
            _ => return Err(wrong(format!("chains.{id}.{key}"), "no such setting")),
        }
    }
    Ok((id.trim().to_owned(), chain))
}

fn http_url(setting: &str, text: &str) -> Result<Url, ConfigError> {
    url(setting, text, &["http", "https"], "expected an http:// or https:// URL")
}

/// A websocket announces heads and carries calls too.
fn rpc_url(setting: &str, text: &str) -> Result<Url, ConfigError> {
    let expected = "expected an http://, https://, ws:// or wss:// URL";
    url(setting, text, &["http", "https", "ws", "wss"], expected)
}

/// The text is not repeated: an endpoint often carries an API key.
fn url(setting: &str, text: &str, schemes: &[&str], expected: &str) -> Result<Url, ConfigError> {
    let url =
        Url::parse(text.trim()).map_err(|error| wrong(setting, format!("not a URL: {error}")))?;
    if schemes.contains(&url.scheme()) && url.has_host() {
        Ok(url)
    } else {
        Err(wrong(setting, expected))
    }
}

#[cfg(test)]
mod tests;
