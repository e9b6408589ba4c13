//! `countersign verify`: what a Safe transaction says, hashes to, and would do, found out on this
//! machine. The service is asked what it shows, and its word is taken for nothing.
//!
//! ```text
//! said     what is shown: by the service, or in a file
//! seen     what the chain says, through the signer's own endpoints
//! compare  said and seen -> differences, checks, warnings (pure)
//! foreseen what would come of it, for people
//! ```

mod approval;
mod compare;
mod foreseen;
mod mailbox;
mod offline;
mod said;
mod seen;
mod view;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use url::Url;

use super::{Globals, print::Answer};
use crate::{
    compose::Compose,
    request::ids::{AppId, ComposeHash, DeviceId, RequestId},
};
use approval::Approval;
use compare::{Given, app_and_calls, compare};
use mailbox::MailboxArgs;
use offline::TxArgs;
use said::Said;
use seen::Seen;

/// Verify a proposal on this machine, trusting the service for nothing.
///
/// Builds the transaction's hashes again from its fields, reads the Safe, the app and the code of
/// every contract through your own endpoints, and compares all of it with what is shown. Compare
/// the domain and message hash with what the hardware wallet shows. Executes the transaction in memory
/// on the state of the newest block, and shows what would change.
///
/// Exit code 3 when something differs, could not be checked, or is anything but additions to the
/// allowlist of one app.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign verify 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 \\
    --rpc https://mainnet.base.org
  countersign verify \\
    https://countersign.example/requests/019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 \\
    --rpc https://mainnet.base.org --compose app-compose.json
  countersign verify \\
    'https://app.safe.global/transactions/tx?safe=base:0x…&id=multisig_0x…' \\
    --rpc https://mainnet.base.org --app 0x… --compose-hash 0x… --device-id 0x…
  countersign payload 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 --json \\
    > proposal.json
  countersign verify proposal.json --rpc https://mainnet.base.org
  countersign verify approval.json \\
    --approves 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 \\
    --rpc https://mainnet.base.org
  countersign verify --offline --chain-id 8453 --safe 0x… --safe-version 1.4.1 \\
    --nonce 7 \\
    --to 0x… --data 0x2a819728…")]
pub struct VerifyArgs {
    /// A request: its id or its page. Or a transaction in Safe{Wallet}: its link. Or a file, `-`
    /// for standard input: a proposal as `payload --json` writes it, an EIP-712 document, or a
    /// file for the Transaction Builder.
    #[arg(
        value_name = "ID|URL|FILE",
        required_unless_present = "offline",
        conflicts_with = "offline"
    )]
    subject: Option<String>,
    /// With the batch file in which a Safe approves, as an owner, a transaction of another: the request
    /// (or page, link or file) whose transaction it should be, which is verified with it.
    #[arg(long, value_name = "ID|URL|FILE", conflicts_with = "offline")]
    approves: Option<String>,
    /// Your own endpoint of the chain, HTTP or websocket. With several, most must agree.
    #[arg(
        long,
        env = "COUNTERSIGN_RPC",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ',',
        conflicts_with = "offline"
    )]
    rpc: Vec<Url>,
    #[command(flatten)]
    wanted: WantedArgs,
    #[command(flatten)]
    mailbox: MailboxArgs,
    /// Use the fields given here, and nothing else.
    #[arg(
        long,
        requires = "chain_id",
        requires = "safe",
        requires = "safe_version",
        requires = "to",
        requires = "nonce"
    )]
    offline: bool,
    #[command(flatten)]
    tx: Option<TxArgs>,
}

/// What you know from elsewhere, and want to see approved.
#[derive(Debug, Args)]
struct WantedArgs {
    /// The app that is to be changed.
    #[arg(long, value_name = "ADDRESS")]
    app: Option<AppId>,
    /// The compose hash that is to be allowed.
    #[arg(long, value_name = "HASH", conflicts_with = "offline")]
    compose_hash: Option<ComposeHash>,
    /// The device that is to be allowed.
    #[arg(long, value_name = "HASH", conflicts_with = "offline")]
    device_id: Option<DeviceId>,
    /// Another request that the same transaction is to approve, as you have looked at it; once for
    /// each.
    #[arg(long, value_name = "ID", conflicts_with = "offline")]
    with: Vec<RequestId>,
    /// The app-compose document that the compose hash must be of.
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    compose: Option<PathBuf>,
}

impl WantedArgs {
    fn read(&self) -> Result<Given> {
        let compose = self.compose.as_ref().map(|file| -> Result<Compose> {
            let bytes =
                fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            Compose::parse(&bytes).with_context(|| format!("{} does not read", file.display()))
        });
        Ok(Given {
            app: self.app,
            compose_hash: self.compose_hash,
            device: self.device_id,
            compose: compose.transpose()?,
            with: self.with.clone(),
        })
    }
}

pub async fn run(args: VerifyArgs, globals: &Globals) -> Result<Answer> {
    let Some(subject) = args.subject else {
        let tx = args.tx.context("give the fields of the transaction")?;
        return Ok(offline::run(&tx, args.wanted.app));
    };
    let given = args.wanted.read()?;
    let said = Said::read(&subject, &args.mailbox, globals).await?;
    let approval = Approval::of(&said);
    let said = match (&approval, &args.approves) {
        (None, None) => said,
        (Some(approval), None) => return Ok(approval.alone()),
        (Some(_), Some(approved)) => Said::read(approved, &args.mailbox, globals).await?,
        (None, Some(_)) => bail!(
            "--approves: {subject} is no batch file with an approval of a transaction by an owner"
        ),
    };
    let (app, _) = app_and_calls(&said, &given)?;
    let seen = match args.rpc.as_slice() {
        [] => None,
        rpc => Some(Seen::read(&said, app, rpc).await?),
    };
    let mut report = compare(&said, seen.as_ref(), &given)?;
    if let Some(approval) = approval {
        approval.hold_against(&said, seen.as_ref(), &mut report);
    }
    Ok(view::answer(&said, seen.as_ref(), &report))
}
