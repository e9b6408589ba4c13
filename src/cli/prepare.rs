//! `countersign prepare`: let Phala Cloud prepare a replica, and hand the preparation to the
//! service. The commit token goes from one to the other and is never shown.

use anyhow::{Context, Result, bail};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::{
    Globals,
    client::Client,
    import::submitted,
    print::{Answer, spinner},
};
use crate::{
    intake::{self, prepare::PrepareError},
    phala::{PhalaCloud, PhalaError, Prepared},
    request::ids::{ComposeHash, NodeId, SourceCvm},
    wire::Http,
};

/// Prepare a replica at Phala Cloud and hand it to the service.
///
/// Nothing is created: the replica is committed by the service once the owner of the app has
/// approved it. Preparing the same again is harmless.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  PHALA_CLOUD_API_KEY=… countersign prepare my-cvm --node 5 \\
    --note 'second region'")]
pub struct PrepareArgs {
    /// The CVM to replicate: its id or name.
    cvm: SourceCvm,
    /// Node to put the replica on.
    #[arg(long, value_name = "N")]
    node: NodeId,
    /// Compose hash to run; needed when instances of the app run different ones.
    #[arg(long, value_name = "HASH")]
    compose_hash: Option<ComposeHash>,
    /// A note for those who review it.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    cloud: CloudArgs,
}

/// Access to a Phala Cloud workspace.
#[derive(Debug, Clone, Args)]
pub struct CloudArgs {
    /// Phala Cloud's API.
    #[arg(
        long,
        env = "PHALA_CLOUD_API_PREFIX",
        value_name = "URL",
        default_value = "https://cloud-api.phala.com/api/v1"
    )]
    phala_api_prefix: Url,
    /// API key of the Phala Cloud workspace.
    #[arg(long, env = "PHALA_CLOUD_API_KEY", hide_env_values = true, value_name = "KEY")]
    phala_api_key: Option<SecretString>,
}

impl CloudArgs {
    pub fn has_key(&self) -> bool {
        self.phala_api_key.is_some()
    }

    pub fn client(&self) -> Result<PhalaCloud> {
        let http = Http::new().context("cannot set up the HTTP client")?;
        Ok(PhalaCloud::new(http, self.phala_api_prefix.clone(), self.phala_api_key.clone()))
    }
}

pub async fn run(args: PrepareArgs, globals: &Globals) -> Result<Answer> {
    if !args.cloud.has_key() {
        bail!(
            "no API key of the Phala Cloud workspace: give it as PHALA_CLOUD_API_KEY, or import what \
             `phala cvms replicate … --prepare-only` printed"
        );
    }
    let client = Client::new(&globals.service)?;
    // A preparation that cannot be handed over would only void an older token.
    client.may_write().await?;
    let cloud = args.cloud.client()?;
    let spinner = spinner("Phala Cloud prepares the replica");
    let prepared =
        intake::prepare::prepare(&cloud, &args.cvm, Some(&args.node), args.compose_hash).await;
    spinner.finish_and_clear();
    let (source, prepared) = prepared.map_err(advised)?;
    let body = body(&args, &source, &prepared);
    let reply = client.post(&["v1", "requests"], &body).await.context(
        "the service did not take the preparation (it exists at Phala Cloud, and this command may \
         be repeated: that is harmless)",
    )?;
    Ok(submitted(reply))
}

/// What Phala Cloud answered, what it means, and what to do.
fn advised(error: PrepareError) -> anyhow::Error {
    match error {
        PrepareError::Phala(PhalaError::Api(answer)) => anyhow::anyhow!(answer.explained()),
        PrepareError::Phala(PhalaError::CreatedWithoutApproval { .. }) => anyhow::anyhow!(
            "{error}: it runs already, as for a source that no chain governs; stop it in Phala \
             Cloud unless that is what you want"
        ),
        error => error.into(),
    }
    .context("Phala Cloud did not prepare the replica")
}

/// The time of the preparation is left out: the service takes its own clock's.
fn body(args: &PrepareArgs, source: &SourceCvm, prepared: &Prepared) -> Value {
    json!({
        "chain_id": prepared.chain_id.map(crate::request::ids::ChainId::get),
        "app": prepared.app,
        "source_cvm": source.as_str(),
        "node_id": args.node.as_str(),
        "compose_hash": prepared.compose_hash,
        "device_id": prepared.device_id,
        "commit_token": prepared.commit_token.secret().expose_secret(),
        "expires_at": prepared.expires_at,
        "note": args.note,
    })
}
