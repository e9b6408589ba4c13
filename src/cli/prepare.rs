//! `countersign prepare`: let Phala Cloud prepare replicas, and hand the preparations to the
//! service. The commit tokens go from one to the other and are never shown.
//!
//! ```text
//! nodes, CVM, variables, owner: looked at before anything is sent
//!   many      one request a replica, put to the owner together
//!   register  the owner is an account and its key is here: what is missing is added to the chain
//!   direct    no chain governs the app: replicas are made at once, without the service
//! ```

mod direct;
mod many;
mod nodes;
mod register;
mod together;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

pub use direct::create_all;
pub use many::prepare_all;
use nodes::spread;
pub use nodes::{Place, resolve};

use super::{
    Globals,
    client::Client,
    env_file::{EnvArgs, Variables},
    follow,
    print::{self, Answer, spinner},
};
use crate::{
    flow::chain_of,
    intake::PREPARE_BODY_BYTES_MAX,
    phala::{Cvm, Node, PhalaCloud, PhalaError, replica_body},
    request::ids::{ComposeHash, SourceCvm},
    wire::Http,
};

/// Prepare replicas at Phala Cloud and hand them to the service.
///
/// The service creates each replica once the chain allows it: at once, and without asking, where it
/// does already, and otherwise after the owner of the app has approved it. Several replicas
/// are put to the owner in one transaction. Preparing the same again is harmless: requests that wait
/// are used again. Exit code 3 when something needs attention.
#[derive(Debug, Args)]
#[command(
    override_usage = "countersign prepare <CVM> --node <NAME|ID>... [OPTIONS]",
    after_help = "Examples:
  PHALA_CLOUD_API_KEY=… countersign prepare my-cvm --node 5 \\
    --note 'second region'
  countersign prepare my-cvm --node prod5 prod6 --count 4 --env-file .env --wait
  countersign prepare my-cvm --node 5 --private-key-file owner.key \\
    --rpc-url https://mainnet.base.org
  countersign prepare my-cvm --node 5 --direct"
)]
pub struct PrepareArgs {
    /// The CVM to replicate: its id or name.
    cvm: SourceCvm,
    /// Nodes to put replicas on, by name or id.
    #[arg(long = "node", value_name = "NAME|ID", required = true, num_args = 1..)]
    nodes: Vec<String>,
    /// How many replicas, spread over the nodes in turn [default: one for each node].
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Compose hash to run; needed when instances of the app run different ones.
    #[arg(long, value_name = "HASH")]
    compose_hash: Option<ComposeHash>,
    #[command(flatten)]
    env: EnvArgs,
    /// A note for those who review it.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Follow the replicas until they run.
    #[arg(long)]
    wait: bool,
    /// For an app that no chain governs: create the replicas at once, without the service.
    #[arg(long, conflicts_with_all = ["note", "private_key", "private_key_file"])]
    direct: bool,
    #[command(flatten)]
    owner: register::OwnerArgs,
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

/// What is to be made.
pub struct Order {
    pub source: Cvm,
    pub places: Vec<Place>,
    pub compose: Option<ComposeHash>,
    pub variables: Option<Variables>,
    pub note: Option<String>,
}

impl Order {
    /// What Phala Cloud is sent for one of them.
    fn body(&self, place: &Place) -> Result<Value> {
        let mut body = replica_body(Some(&place.node), self.compose);
        if let Some(variables) = &self.variables {
            body["encrypted_env"] = json!(variables.encrypted()?);
            // The service would not keep it, after it was prepared.
            ensure!(
                body.to_string().len() <= PREPARE_BODY_BYTES_MAX,
                "--env-file: longer than can be kept, {} KiB when encrypted",
                PREPARE_BODY_BYTES_MAX >> 10
            );
        }
        Ok(body)
    }
}

pub async fn run(args: PrepareArgs, globals: &Globals) -> Result<Answer> {
    if !args.cloud.has_key() {
        bail!(
            "no API key of the Phala Cloud workspace: give it as PHALA_CLOUD_API_KEY, or import what \
             `phala cvms replicate … --prepare-only` printed"
        );
    }
    let cloud = args.cloud.client()?;
    if args.direct {
        let order = args.order(&cloud).await?;
        return create_all(&cloud, &order, true).await;
    }
    let client = Client::new(&globals.service)?;
    // A preparation that cannot be handed over would only void an older token.
    client.may_write().await?;
    let order = args.order(&cloud).await?;
    let owner = args.owner.owner(&order.source).await?;
    let mut done = prepare_all(&cloud, &client, &order).await?;
    let is_followed = args.wait || owner.is_some();
    if let Some(owner) = owner {
        let registered = owner.register(&client, &done.wanted).await;
        registered.with_context(|| {
            format!(
                "prepared, but not added to the app: requests {} wait for it; the same command \
                 again goes on",
                done.ids().join(", ")
            )
        })?;
    }
    if is_followed && done.failed.is_none() {
        done.requests = follow::until_running(&client, done.ids()).await?;
    }
    Ok(done.answer())
}

impl PrepareArgs {
    /// Looks at everything that can be wrong before anything is sent.
    async fn order(&self, cloud: &PhalaCloud) -> Result<Order> {
        let spinner = spinner("looks at CVM and nodes");
        let looked = source_and_nodes(cloud, &self.cvm).await;
        spinner.finish_and_clear();
        let (source, nodes) = looked?;
        match (source.chain_id, self.direct) {
            (None, false) => bail!(
                "no chain governs {} (Phala Cloud keeps its keys), so nothing is to be approved and \
                 a prepare would create the replica at once; nothing was sent. --direct creates it",
                self.cvm
            ),
            (Some(chain), true) => bail!(
                "{} is governed by its app on {}: a replica needs the approval of the app's owner, \
                 so leave --direct away; nothing was sent",
                self.cvm,
                chain.label()
            ),
            _ => {}
        }
        let chosen = resolve(&self.nodes, &nodes)?;
        for note in chosen.iter().filter_map(|chosen| chosen.note.as_ref()) {
            print::note_to_stderr(note);
        }
        let places = spread(&chosen, self.count)?;
        let variables = self.env.variables(cloud, &source, self.compose_hash).await?;
        let (compose, note) = (self.compose_hash, self.note.clone());
        Ok(Order { source, places, compose, variables, note })
    }
}

/// The CVM that is named, and the nodes of the workspace.
pub async fn source_and_nodes(cloud: &PhalaCloud, cvm: &SourceCvm) -> Result<(Cvm, Vec<Node>)> {
    let source = cloud.cvm(cvm).await.map_err(|error| advised(error, "cannot read the CVM"))?;
    let nodes = cloud.nodes().await.map_err(|error| advised(error, "cannot list the nodes"))?;
    Ok((source, nodes))
}

/// What Phala Cloud answered, what it means, and what to do.
pub fn advised(error: PhalaError, what: &'static str) -> anyhow::Error {
    let told = match error {
        PhalaError::Api(answer) => answer.explained(),
        error @ PhalaError::CreatedWithoutApproval { .. } => format!(
            "{error}: it runs already, as for a source that no chain governs; stop it in Phala \
             Cloud unless that is what you want"
        ),
        other => chain_of(&other),
    };
    // It begins with the name of the call, which is what `what` says.
    let told = told.split_once(": ").map_or(told.as_str(), |(_, told)| told);
    anyhow::anyhow!("{told}").context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_said_once() {
        let error = PhalaError::Malformed { call: "read CVM", reason: "app_id: missing".into() };
        let told = format!("{:#}", advised(error, "cannot read the CVM"));
        assert_eq!(told, "cannot read the CVM: the answer could not be read (app_id: missing)");
    }
}
