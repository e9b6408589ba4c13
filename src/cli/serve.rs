//! `countersign serve`: the service itself.

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{access_args::AccessArgs, database, logging, secret_file};
use crate::{
    chain::{RelayerKey, own_url},
    clock::SystemClock,
    config::{ChainSettings, Overrides, SafeServiceSetting, Settings},
    flow::{SafeAccess, Service},
    safe_service::ProposerKey,
    store::Store,
    vault::Vault,
    web,
};

const SEAL_KEY: &str = "the seal key";
const PROPOSER_KEY: &str = "the proposer key";
const WEBHOOK_SECRET: &str = "the secret of Phala Cloud's webhooks";
const RELAYER_KEY: &str = "the relayer key";

/// Run the service: API, pages, and the work on requests.
///
/// Settings come from flags, the environment and the configuration file, in this order.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  COUNTERSIGN_SEAL_KEY_FILE=/etc/countersign/seal.key PHALA_CLOUD_API_KEY=… \\
    countersign serve --chain '8453=https://mainnet.base.org;depth=safe'
  countersign serve --config /etc/countersign/countersign.toml")]
pub struct ServeArgs {
    /// Configuration file (TOML).
    #[arg(long, env = "COUNTERSIGN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:8465].
    #[arg(long, env = "COUNTERSIGN_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// A chain to follow and its RPC endpoints, HTTP or websocket: `ID=URL[,URL…]
    /// [;depth=N|safe|finalized][;quorum=N][;poll_ms=N][;calls_per_second=N][;apps=ADDRESS,…]
    /// [;kms=ADDRESS,…][;backfill_blocks=N][;explorer=URL]
    /// [;safe_service=URL|off][;relayer_max_fee_gwei=N][;relayer_max_gas=N]`. May be given more than once.
    #[arg(long = "chain", env = "COUNTERSIGN_CHAIN", value_name = "ID=URL", value_delimiter = ' ')]
    chains: Vec<String>,
    #[command(flatten)]
    database: database::DatabaseArgs,
    /// Key that commit tokens are sealed with: 64 hexadecimal digits. Several, separated by commas,
    /// while rotating: the first seals, all open.
    #[arg(long, env = "COUNTERSIGN_SEAL_KEY", hide_env_values = true, value_name = "HEX")]
    seal_key: Option<SecretString>,
    /// File that holds the seal key.
    #[arg(long, env = "COUNTERSIGN_SEAL_KEY_FILE", value_name = "FILE")]
    seal_key_file: Option<PathBuf>,
    /// Start although the commit tokens in the database do not open with the seal key: theirs is lost,
    /// and so are they.
    #[arg(long, env = "COUNTERSIGN_SEAL_KEY_LOST", hide_env_values = true)]
    seal_key_lost: bool,
    /// Phala Cloud's API [default: `https://cloud-api.phala.com/api/v1`].
    #[arg(long, env = "PHALA_CLOUD_API_PREFIX", value_name = "URL")]
    phala_api_prefix: Option<String>,
    /// API key of the Phala Cloud workspace.
    #[arg(long, env = "PHALA_CLOUD_API_KEY", hide_env_values = true, value_name = "KEY")]
    phala_api_key: Option<SecretString>,
    /// Calls a second that Phala Cloud is asked at most [default: 20].
    #[arg(long, env = "COUNTERSIGN_PHALA_CALLS_PER_SECOND", value_name = "N")]
    phala_calls_per_second: Option<u32>,
    /// Let everybody read pages and API without a token.
    #[arg(long, env = "COUNTERSIGN_OPEN_READS")]
    open_reads: bool,
    /// Propose nothing before the document behind its compose hash is known.
    #[arg(long, env = "COUNTERSIGN_REQUIRE_COMPOSE_PROOF")]
    require_compose_proof: bool,
    /// Post alerts to this URL as JSON. May be given more than once.
    #[arg(
        long = "webhook",
        env = "COUNTERSIGN_WEBHOOK",
        hide_env_values = true,
        value_name = "URL"
    )]
    webhooks: Vec<String>,
    /// API key of Safe's Transaction Service. With it, or with a proposer key, proposals and
    /// signatures are exchanged with the hosted service.
    #[arg(long, env = "SAFE_API_KEY", hide_env_values = true, value_name = "KEY")]
    safe_api_key: Option<SecretString>,
    /// Private key that proposals are posted with: of a delegate of an owner (`countersign delegate
    /// add`). The key of an owner would sign with each of them.
    #[arg(long, env = "COUNTERSIGN_PROPOSER_KEY", hide_env_values = true, value_name = "HEX")]
    proposer_key: Option<SecretString>,
    /// File that holds the proposer key.
    #[arg(long, env = "COUNTERSIGN_PROPOSER_KEY_FILE", value_name = "FILE")]
    proposer_key_file: Option<PathBuf>,
    /// File that holds the private key of the account that executes what enough owners have signed,
    /// and pays for the gas. Without it anyone else executes.
    #[arg(long, env = "COUNTERSIGN_RELAYER_KEY_FILE", value_name = "FILE")]
    relayer_key_file: Option<PathBuf>,
    /// Where people reach this service: the site that wallets sign in to, and that links from elsewhere
    /// lead to.
    #[arg(long, env = "COUNTERSIGN_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// Secret that Phala Cloud signs its webhooks with (`whsec_…`). Several, separated by commas, while
    /// rotating. Without it no webhook is taken.
    #[arg(
        long,
        env = "COUNTERSIGN_PHALA_WEBHOOK_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    phala_webhook_secret: Option<SecretString>,
    /// File that holds the secret of Phala Cloud's webhooks.
    #[arg(long, env = "COUNTERSIGN_PHALA_WEBHOOK_SECRET_FILE", value_name = "FILE")]
    phala_webhook_secret_file: Option<PathBuf>,
    /// Pass calls under `/phala/api/v1` on to Phala Cloud, and keep what they prepare [default: on].
    #[arg(long, env = "COUNTERSIGN_GATEWAY", value_name = "on|off")]
    gateway: Option<String>,
    #[command(flatten)]
    access: AccessArgs,
    /// What becomes of a preparation that cannot be kept: it goes on to its caller all the same
    /// (`best_effort`), or it is held back (`required`) [default: `best_effort`].
    #[arg(long, env = "COUNTERSIGN_GATEWAY_CAPTURE", value_name = "best_effort|required")]
    gateway_capture: Option<String>,
    /// How long an unanswered commit is looked for before it counts as without effect [default: 60].
    #[arg(long, env = "COUNTERSIGN_SETTLE_SECONDS", value_name = "SECONDS")]
    settle_seconds: Option<u64>,
    /// How often a booting replica is looked at [default: 10].
    #[arg(long, env = "COUNTERSIGN_BOOT_POLL_SECONDS", value_name = "SECONDS")]
    boot_poll_seconds: Option<u64>,
}

/// Runs until it is told to stop by SIGTERM or Ctrl-C.
pub async fn run(args: ServeArgs) -> Result<()> {
    // alloy tells as errors what is tried again here, and told in our own words.
    // PostgreSQL notes each time that the tables are there already.
    logging::to_stderr("info,sqlx=warn,alloy_pubsub=off,alloy_transport_ws=off");
    let vault = vault(&args)?;
    let settings = settings(&args)?;
    logging::hide(urls(&settings).flat_map(own_url::secrets).collect());
    if settings.chains.is_empty() {
        bail!("no chain to follow: give --chain, such as --chain 8453=https://mainnet.base.org");
    }
    if args.phala_api_key.is_none() {
        tracing::warn!(
            "no PHALA_CLOUD_API_KEY: requests are collected and approved, but nothing is committed"
        );
    }
    if let Some(told) = settings.nobody_signs_in() {
        tracing::warn!("{told}");
    }
    let access = SafeAccess { api_key: args.safe_api_key.clone(), proposer: proposer(&args)? };
    let relayer = relayer(&args)?;
    let webhook_secrets = webhook_secrets(&args)?;
    let exposed = exposed(&args);
    for told in &exposed {
        tracing::warn!("{told}");
    }
    let database = database::open(&args.database).await?;
    check_seal_key(&database.store, &vault, args.seal_key_lost).await?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    let address = listener.local_addr()?;
    let clock = Arc::new(SystemClock);
    let service = Service::new(settings, database.store.clone(), vault, args.phala_api_key, clock)?
        .with_mailboxes(&access)?
        .with_relayer(relayer)
        .with_exposed_secrets(exposed)
        .with_webhook_secrets(webhook_secrets);
    let stop = CancellationToken::new();
    stop_on_signal(&stop)?;
    tracing::info!(%address, "listens on http://{address}");
    web::serve(listener, Arc::new(service), stop).await?;
    database.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Where a key may stand in the settings. What links to an explorer are made of is shown to everybody.
fn urls(settings: &Settings) -> impl Iterator<Item = &Url> {
    let chains = settings.chains.iter();
    let of_chains = chains.flat_map(|chain| chain.rpc.iter().chain(mailbox_of(chain)));
    of_chains.chain(&settings.webhooks).chain([&settings.phala_api_prefix])
}

fn mailbox_of(chain: &ChainSettings) -> Option<&Url> {
    match &chain.safe_service {
        SafeServiceSetting::At(url) => Some(url),
        SafeServiceSetting::Hosted | SafeServiceSetting::Off => None,
    }
}

fn vault(args: &ServeArgs) -> Result<Vault> {
    let key = match (&args.seal_key, &args.seal_key_file) {
        (Some(key), _) => key.clone(),
        (None, Some(file)) => secret_file::read(file, SEAL_KEY)?,
        (None, None) => bail!(
            "no seal key: commit tokens are never stored unsealed. Make one with `openssl rand \
             -hex 32` and give it as COUNTERSIGN_SEAL_KEY or COUNTERSIGN_SEAL_KEY_FILE"
        ),
    };
    Ok(Vault::from_hex(&key)?)
}

/// A wrong key would be found out only at a commit, perhaps after weeks. The newest token is the one that
/// the present key sealed.
async fn check_seal_key(store: &Store, vault: &Vault, is_lost: bool) -> Result<()> {
    let Some((request, sealed)) = store.newest_sealed_token().await? else { return Ok(()) };
    let Err(error) = vault.open(request.0, &sealed) else { return Ok(()) };
    if is_lost {
        tracing::warn!(%error, "commit tokens do not open: prepare their replicas again");
        return Ok(());
    }
    Err(anyhow::Error::new(error).context(format!(
        "the seal key is not the one that the commit tokens in the database were sealed with (that of \
         request {request} does not open). Give that key, after a comma when a new one is to seal; if it \
         is lost, start with --seal-key-lost and prepare the replicas again"
    )))
}

fn proposer(args: &ServeArgs) -> Result<Option<ProposerKey>> {
    let text = match (&args.proposer_key, &args.proposer_key_file) {
        (Some(key), _) => key.clone(),
        (None, Some(file)) => secret_file::read(file, PROPOSER_KEY)?,
        (None, None) => return Ok(None),
    };
    let key = ProposerKey::from_hex(&text).context("COUNTERSIGN_PROPOSER_KEY")?;
    tracing::info!(proposer = %key.address(), "posts proposals to Safe's mailbox");
    Ok(Some(key))
}

/// What webhooks may be signed with.
fn webhook_secrets(args: &ServeArgs) -> Result<Vec<SecretString>> {
    let text = match (&args.phala_webhook_secret, &args.phala_webhook_secret_file) {
        (Some(secret), _) => secret.clone(),
        (None, Some(file)) => secret_file::read(file, WEBHOOK_SECRET)?,
        (None, None) => return Ok(vec![]),
    };
    let parts = text.expose_secret().split(|c: char| c == ',' || c.is_whitespace());
    let secrets: Vec<_> = parts.filter(|part| !part.is_empty()).map(SecretString::from).collect();
    if secrets.is_empty() {
        bail!("COUNTERSIGN_PHALA_WEBHOOK_SECRET is there and empty: anybody could sign with it");
    }
    Ok(secrets)
}

/// The key of the account that executes.
fn relayer(args: &ServeArgs) -> Result<Option<RelayerKey>> {
    let Some(file) = &args.relayer_key_file else { return Ok(None) };
    let text = secret_file::read(file, RELAYER_KEY)?;
    let key = RelayerKey::from_hex(text.expose_secret());
    let key = key.with_context(|| file.display().to_string())?;
    tracing::info!(relayer = %key.address(), "executes what enough owners have signed");
    Ok(Some(key))
}

/// Files with a secret in use that others on the machine can read, in words.
fn exposed(args: &ServeArgs) -> Vec<String> {
    let seal = args.seal_key_file.as_ref().filter(|_| args.seal_key.is_none());
    let proposer = args.proposer_key_file.as_ref().filter(|_| args.proposer_key.is_none());
    let relayer = args.relayer_key_file.as_ref();
    let webhook = args.phala_webhook_secret_file.as_ref();
    let webhook = webhook.filter(|_| args.phala_webhook_secret.is_none());
    let files = [
        (seal, SEAL_KEY),
        (proposer, PROPOSER_KEY),
        (relayer, RELAYER_KEY),
        (webhook, WEBHOOK_SECRET),
    ];
    files.into_iter().filter_map(|(file, what)| secret_file::exposed(file?, what)).collect()
}

fn settings(args: &ServeArgs) -> Result<Settings> {
    let file = match &args.config {
        Some(path) => fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?,
        None => String::new(),
    };
    let overrides = Overrides {
        listen: args.listen.clone(),
        phala_api_prefix: args.phala_api_prefix.clone(),
        phala_calls_per_second: args.phala_calls_per_second,
        open_reads: args.open_reads.then_some(true),
        require_compose_proof: args.require_compose_proof.then_some(true),
        settle_seconds: args.settle_seconds,
        boot_poll_seconds: args.boot_poll_seconds,
        webhooks: args.webhooks.clone(),
        public_url: args.public_url.clone(),
        gateway: args.gateway.clone(),
        gateway_capture: args.gateway_capture.clone(),
        access: args.access.lists(),
        chains: args.chains.clone(),
    };
    let read = Settings::read(&file, overrides);
    // What is wrong in the file alone is wrong in the file.
    match (&args.config, &read) {
        (Some(path), Err(error))
            if Settings::read(&file, Overrides::default()).as_ref().err() == Some(error) =>
        {
            Ok(read.with_context(|| path.display().to_string())?)
        }
        _ => Ok(read?),
    }
}

/// Cancels `stop` at the first SIGTERM or Ctrl-C.
pub fn stop_on_signal(stop: &CancellationToken) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stops: finishing what is under way");
        stop.cancel();
    });
    Ok(())
}
