//! `countersign devnet`: a local chain, Safe, app and Phala Cloud to try things on.

use anyhow::{Result, bail};
use clap::Args;

/// Run everything on this machine: a chain, a Safe, an app, Phala Cloud, and the service.
#[derive(Debug, Args)]
pub struct DevnetArgs {}

#[expect(clippy::unused_async, reason = "the devnet will wait for many things")]
pub async fn run(_args: DevnetArgs, _json: bool) -> Result<()> {
    bail!("not in this version")
}
