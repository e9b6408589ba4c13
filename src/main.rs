//! The door: TLS provider, command line, hand over.

use std::process::ExitCode;

use clap::Parser;
use countersign::cli::{self, Cli};

#[tokio::main]
async fn main() -> ExitCode {
    // One TLS provider for everything: rustls with ring. A second installation cannot happen here.
    drop(rustls::crypto::ring::default_provider().install_default());
    cli::run(Cli::parse()).await
}
