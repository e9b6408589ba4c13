//! `countersign devnet`: everything on this machine, to be tried. A real chain with a real Safe, an
//! emulated Phala Cloud, a private PostgreSQL and the service.

use std::{fs::File, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    client::ServiceArgs, devnet_act, devnet_run, devnet_welcome, logging, print::Answer, serve,
};
use crate::{
    access::OpenToken,
    clock::{Clock, SystemClock},
    config::{AccessLists, DepthPolicy, Overrides, Settings},
    devnet::{Town, TownOptions, test_wallets},
    dstack::Generation,
    flow::Service,
    safe::SafeVersion,
    store::{
        Store,
        managed::{Keep, ManagedPostgres},
    },
    vault::Vault,
    web,
};

const DATABASE: &str = "countersign";
const POLL: Duration = Duration::from_millis(100);
const BOOT_POLL: Duration = Duration::from_millis(300);
const SETTLE: Duration = Duration::from_secs(3);

/// Start a local chain, a Safe, an app, an emulated Phala Cloud and the service.
///
/// Nothing leaves this machine, no port is fixed unless you fix it, and nothing stays behind.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "Examples:
  countersign devnet                 start everything and keep it running
  countersign devnet --prepared      the same, with a request to sign
  countersign devnet --run           drive a replica until it runs, then exit
  countersign devnet --safe-version 1.5.0 --threshold 3 --owners 5 --run
  countersign devnet --owner eoa     let the app belong to an account
  countersign devnet sign ID         two test owners sign its transaction
  countersign devnet execute ID      a test account executes it")]
pub struct DevnetArgs {
    #[command(subcommand)]
    act: Option<Act>,
    /// Drive the whole flow unattended; exit 0 when the replica runs.
    #[arg(long)]
    run: bool,
    /// Start with a replica prepared, so that there is something to sign.
    #[arg(long, conflicts_with = "run")]
    prepared: bool,
    /// Address and port of the service; a free port unless given.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Who owns the app: the Safe, or the account of its first owner.
    #[arg(long, default_value = "safe", value_parser = ["safe", "eoa"], conflicts_with = "run")]
    owner: String,
    /// Version of the Safe.
    #[arg(
        long,
        default_value = "1.4.1",
        value_parser = ["1.0.0", "1.1.1", "1.2.0", "1.3.0", "1.4.1", "1.5.0"]
    )]
    safe_version: String,
    /// Let the Safe run the singleton without events for indexers, as on Ethereum.
    #[arg(long)]
    l1: bool,
    /// How many owners must sign.
    #[arg(long, default_value_t = 2, value_name = "M")]
    threshold: usize,
    /// How many owners the Safe has.
    #[arg(long, default_value_t = 3, value_name = "N")]
    owners: usize,
    /// Generation of the app's contract.
    #[arg(long, default_value = "g2", value_parser = ["g0", "g1", "g2", "g3"])]
    app_generation: String,
    /// Seconds between blocks.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    block_time: f64,
    /// Blocks on top of an execution before it counts.
    #[arg(long, default_value_t = 2, value_name = "BLOCKS")]
    depth: u64,
    /// Let the compose hash be allowed already, so that only the device needs an approval.
    #[arg(long)]
    compose_allowed: bool,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Let test owners sign the transaction of a request.
    Sign(devnet_act::SignArgs),
    /// Let a test account execute the transaction of a request, or make the calls of the app that it owns.
    Execute(devnet_act::ExecuteArgs),
}

/// Everything that runs.
pub struct Devnet {
    pub town: Town,
    pub service: Arc<Service>,
    pub address: SocketAddr,
    pub api_token: String,
    pub log_file: PathBuf,
    pub webhook_secret: String,
    pub database_url: String,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    // The last to go: everything above uses it.
    _postgres: ManagedPostgres,
}

/// Starts everything, and drives the flow or waits to be told to stop.
pub async fn run(args: DevnetArgs, service: &ServiceArgs, json: bool) -> Result<Answer> {
    match args.act {
        Some(Act::Sign(act)) => return devnet_act::sign(act, service).await,
        Some(Act::Execute(act)) => return devnet_act::execute(act, service).await,
        None => {}
    }
    let stop = CancellationToken::new();
    serve::stop_on_signal(&stop)?;
    let starting = start(&args, stop.clone());
    let devnet = tokio::select! {
        started = starting => started?,
        () = stop.cancelled() => bail!("stopped while starting"),
    };
    let result = if args.run {
        tokio::select! {
            result = devnet_run::drive(&devnet, json) => result,
            () = stop.cancelled() => Err(anyhow::anyhow!("stopped before the replica ran")),
        }
    } else {
        let welcome = async {
            let prepared = if args.prepared {
                let prepared = devnet_act::prepare(&devnet).await;
                Some(prepared.context("cannot prepare a replica")?)
            } else {
                None
            };
            devnet_welcome::print(&devnet, prepared.as_deref(), json);
            anyhow::Ok(())
        };
        let result = tokio::select! {
            result = welcome => result,
            () = stop.cancelled() => Ok(()),
        };
        if result.is_ok() {
            stop.cancelled().await;
        }
        result
    };
    devnet.shut_down().await?;
    // It has told everything on the way.
    result.map(|()| Answer::silent())
}

async fn start(args: &DevnetArgs, stop: CancellationToken) -> Result<Devnet> {
    let folder = tempfile::Builder::new().prefix("countersign-devnet-").tempdir()?.keep();
    let postgres = ManagedPostgres::start(&folder, Keep::Nothing).await?;
    postgres.create_database(DATABASE).await?;
    let log_file = folder.join("countersign.log");
    logging::to_file(File::create(&log_file)?, "info");
    let store = Store::open(postgres.options(DATABASE)).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let town =
        Town::build(town_options(args, clock.clone())?).await.context("cannot build the town")?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    let settings = settings(args, &town, address)?;
    let vault = Vault::from_hex(&Vault::generate_key()?)?;
    let api_key = Some(town.cloud.api_key().into());
    // As Phala Cloud gives them; here it is for whoever wants to try the receiver.
    let webhook_secret = format!("whsec_{}", uuid::Uuid::new_v4().simple());
    let service = Service::new(settings, store, vault, api_key, clock.clone())?;
    let service = Arc::new(service.with_webhook_secrets(vec![webhook_secret.clone().into()]));
    let token = OpenToken::generate()?;
    let scopes = ["read".to_owned(), "write".to_owned()];
    service.store.insert_token("devnet", &token.hash(), &scopes, clock.now()).await?;
    let wallets = test_wallets::beside(&town.chain);
    let serving = tokio::spawn(web::serve_with(listener, service.clone(), stop.clone(), wallets));
    Ok(Devnet {
        town,
        service,
        address,
        api_token: token.expose().to_owned(),
        log_file,
        webhook_secret,
        database_url: postgres.url(DATABASE),
        stop,
        serving,
        _postgres: postgres,
    })
}

fn town_options(args: &DevnetArgs, clock: Arc<dyn Clock>) -> Result<TownOptions> {
    if !(0.1..=60.0).contains(&args.block_time) {
        bail!("--block-time: expected 0.1 to 60 seconds");
    }
    let generation = match args.app_generation.as_str() {
        "g0" => Generation::G0,
        "g1" => Generation::G1,
        "g3" => Generation::G3,
        _ => Generation::G2,
    };
    Ok(TownOptions {
        safe_version: args.safe_version.parse::<SafeVersion>()?,
        l1_singleton: args.l1,
        threshold: args.threshold,
        owners: args.owners,
        account_owns: args.owner == "eoa",
        generation,
        block_time: Some(Duration::from_secs_f64(args.block_time)),
        missing_compose: !args.compose_allowed,
        ..TownOptions::new(clock)
    })
}

fn settings(args: &DevnetArgs, town: &Town, address: SocketAddr) -> Result<Settings> {
    // Owners have their role from the chain; somebody must be able to do the rest.
    let admins = vec![town.chain.executor.address().to_string()];
    let access = AccessLists { admins, ..AccessLists::default() };
    let mut settings = Settings::read("", Overrides { access, ..Overrides::default() })?;
    settings.listen = address;
    settings.phala_api_prefix = town.cloud.api_prefix().parse()?;
    settings.chains = vec![town.chain_settings(DepthPolicy::Blocks(args.depth), POLL)];
    // Everything here is made up, so everybody on this machine may look.
    settings.open_reads = true;
    settings.settle = SETTLE;
    settings.boot_poll = BOOT_POLL;
    Ok(settings.of_devnet())
}

impl Devnet {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the gateway is, to be given as the API of Phala Cloud.
    pub fn gateway(&self) -> String {
        format!("{}{}", self.url(), web::gateway::PREFIX)
    }

    pub fn webhook(&self) -> String {
        format!("{}/phala/webhook", self.url())
    }

    /// Whether the Safe owns the app, and not an account.
    pub fn is_of_safe(&self) -> bool {
        self.town.chain.owner == self.town.chain.safe
    }

    /// Everything a script needs to use this devnet.
    pub fn description(&self) -> Value {
        let chain = &self.town.chain;
        let nodes =
            self.town.nodes.iter().map(
                |node| json!({ "id": node.id, "name": node.name, "device_id": node.device_id }),
            );
        json!({
            "service": self.url(),
            "rpc": chain.rpc_url(),
            "phala_api": self.town.cloud.api_prefix(),
            "phala_api_key": self.town.cloud.api_key(),
            "gateway": self.gateway(),
            "webhook": self.webhook(),
            "webhook_secret": self.webhook_secret,
            "api_token": self.api_token,
            "chain_id": chain.chain_id,
            "app": chain.app,
            "owner": chain.owner.to_string(),
            "safe": chain.safe.to_string(),
            "safe_version": chain.safe_version.to_string(),
            "owners": chain.owners,
            "source_cvm": self.town.source,
            "nodes": nodes.collect::<Vec<_>>(),
            "database_url": self.database_url,
            "log_file": self.log_file,
        })
    }

    /// Finishes what is under way, then ends chain, cloud and database in this order.
    async fn shut_down(self) -> Result<()> {
        self.stop.cancel();
        self.serving.await??;
        self.service.store.close().await;
        Ok(())
    }
}
