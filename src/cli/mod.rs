//! The command line.
pub mod database;
#[cfg(feature = "devnet")]
pub mod devnet;
#[cfg(feature = "devnet")]
mod devnet_act;
#[cfg(feature = "devnet")]
mod devnet_run;
mod logging;
pub mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
pub struct Cli {
    #[arg(long, global = true)]
    json: bool,
    #[arg(long, global = true, env = "COUNTERSIGN_URL", default_value = "http://127.0.0.1:8465")]
    url: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    #[cfg(feature = "devnet")]
    Devnet(devnet::DevnetArgs),
}

pub async fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Serve(args) => serve::run(args).await,
        #[cfg(feature = "devnet")]
        Command::Devnet(args) => devnet::run(args, &cli.url, cli.json).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
