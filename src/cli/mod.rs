//! The command line: one file per command. A command only returns its [`Answer`]; `page` gives all
//! of them one look, and `print` alone writes, so `--json` works everywhere.

mod access_args;
mod apps;
mod audit;
mod cells;
mod chain;
mod client;
mod comment;
mod compose;
mod confirm;
pub mod database;
mod delegate;
mod device;
#[cfg(feature = "devnet")]
pub mod devnet;
#[cfg(feature = "devnet")]
mod devnet_act;
#[cfg(feature = "devnet")]
mod devnet_run;
#[cfg(feature = "devnet")]
mod devnet_welcome;
mod doctor;
mod end;
mod env_file;
mod follow;
mod import;
mod journal;
mod list;
pub mod logging;
mod manual;
mod page;
mod payload;
mod prepare;
mod print;
mod propose;
mod replicas;
mod request_page;
mod retry;
mod scale;
mod secret_file;
pub mod serve;
mod settle;
mod show;
mod signing;
mod token;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

pub use client::ServiceArgs;
use print::Answer;

/// Carries a Phala Cloud replica from prepared to running, with no human after the last signature.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but something needs attention.
#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:
  phala cvms replicate my-cvm --node-id 5 --prepare-only --json \\
    | countersign import --source-cvm my-cvm --node 5
  countersign list --status proposed
  countersign payload 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11

`countersign COMMAND --help` has more of them."
)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub struct Globals {
    /// Print one JSON value instead of text.
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    #[command(flatten)]
    pub service: ServiceArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::ServeArgs>),
    #[cfg(feature = "devnet")]
    Devnet(devnet::DevnetArgs),
    Prepare(Box<prepare::PrepareArgs>),
    Scale(Box<scale::ScaleArgs>),
    Replicas(replicas::ReplicasArgs),
    Import(import::ImportArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Payload(payload::PayloadArgs),
    Verify(Box<verify::VerifyArgs>),
    Propose(propose::ProposeArgs),
    Confirm(confirm::ConfirmArgs),
    Delegate(Box<delegate::DelegateArgs>),
    Comment(comment::CommentArgs),
    Withdraw(end::EndArgs),
    /// Refuse a request in review; possible until its commit has begun.
    #[command(after_help = "Example:
  countersign reject 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 \\
    --reason 'the compose file is not ours'")]
    Reject(end::EndArgs),
    Retry(retry::RetryArgs),
    Settle(settle::SettleArgs),
    Apps(apps::AppsArgs),
    Audit(audit::AuditArgs),
    Journal(journal::JournalArgs),
    Compose(compose::ComposeArgs),
    Device(device::DeviceArgs),
    Chain(chain::ChainArgs),
    Token(token::TokenArgs),
    Doctor(doctor::DoctorArgs),
    Completion(manual::CompletionArgs),
    Man(manual::ManArgs),
}

/// Runs what was asked for, prints it, and says how it ended.
pub async fn run(cli: Cli) -> ExitCode {
    let Cli { globals, command } = cli;
    match Box::pin(answer(command, &globals)).await {
        Ok(answer) => print::emit(&answer, globals.json),
        Err(error) => print::fail(&error, globals.json),
    }
}

async fn answer(command: Command, globals: &Globals) -> Result<Answer> {
    match command {
        Command::Serve(args) => Box::pin(serve::run(*args)).await.map(|()| Answer::silent()),
        #[cfg(feature = "devnet")]
        Command::Devnet(args) => devnet::run(args, &globals.service, globals.json).await,
        Command::Prepare(args) => Box::pin(prepare::run(*args, globals)).await,
        Command::Scale(args) => Box::pin(scale::run(*args, globals)).await,
        Command::Replicas(args) => replicas::run(&args, globals).await,
        Command::Import(args) => import::run(args, globals).await,
        Command::List(args) => list::run(args, globals).await,
        Command::Show(args) => show::run(&args, globals).await,
        Command::Payload(args) => payload::run(&args, globals).await,
        Command::Verify(args) => verify::run(*args, globals).await,
        Command::Propose(args) => propose::run(&args, globals).await,
        Command::Confirm(args) => confirm::run(&args, globals).await,
        Command::Delegate(args) => delegate::run(*args).await,
        Command::Comment(args) => comment::run(&args, globals).await,
        Command::Withdraw(args) => end::run("withdraw", &args, globals).await,
        Command::Reject(args) => end::run("reject", &args, globals).await,
        Command::Retry(args) => retry::run(&args, globals).await,
        Command::Settle(args) => settle::run(&args, globals).await,
        Command::Apps(_) => apps::run(globals).await,
        Command::Audit(args) => audit::run(&args, globals).await,
        Command::Journal(args) => journal::run(args, globals).await,
        Command::Device(args) => device::run(&args, globals).await,
        Command::Compose(args) => compose::run(&args, globals).await,
        Command::Chain(args) => chain::run(args, globals).await,
        Command::Token(args) => token::run(args).await,
        Command::Doctor(args) => doctor::run(args, globals).await,
        Command::Completion(args) => Ok(manual::completion(&args)),
        Command::Man(args) => manual::man(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Two arguments of one name would be taken for each other.
    #[test]
    fn no_command_names_an_argument_like_one_that_works_everywhere() {
        fn check(command: &clap::Command, global: &[clap::Id]) {
            for inner in command.get_subcommands() {
                for arg in inner.get_arguments() {
                    let (name, id) = (inner.get_name(), arg.get_id());
                    assert!(!global.contains(id), "{name} {id}");
                }
                check(inner, global);
            }
        }
        let command = Cli::command();
        let global: Vec<_> = command
            .get_arguments()
            .filter(|arg| arg.is_global_set())
            .map(|arg| arg.get_id().clone())
            .collect();
        assert_eq!(global.len(), 3);
        check(&command, &global);
    }

    #[test]
    fn what_verify_takes() {
        let parse = |line: &str| Cli::try_parse_from(line.split_whitespace());
        let zero = "0x0000000000000000000000000000000000000000";
        let fields =
            format!("--chain-id 1 --safe {zero} --safe-version 1.4.1 --to {zero} --nonce 0");
        assert!(parse("countersign verify ID").is_ok());
        assert!(parse(&format!("countersign verify --offline {fields}")).is_ok());
        for wrong in ["", "--offline", "--offline --chain-id 1", "--chain-id 1", "ID --nonce 1"] {
            assert!(parse(&format!("countersign verify {wrong}")).is_err(), "{wrong}");
        }
        assert!(parse(&format!("countersign verify {fields}")).is_err());
    }

    /// Where the terminal breaks them, nobody can copy them.
    #[test]
    fn examples_fit_into_eighty_columns() {
        fn check(command: &clap::Command) {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in examples.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn the_help_of_every_command_has_an_example_of_it() {
        fn check(command: &clap::Command, path: &str) {
            for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
                let path = format!("{path} {}", inner.get_name());
                let help = inner.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example") && help.contains(&path), "{path}: {help:?}");
                check(inner, &path);
            }
        }
        check(&Cli::command(), "countersign");
    }

    #[test]
    fn no_help_shows_the_value_of_a_secret() {
        let mut command = Cli::command();
        command.build();
        let all = std::iter::once(&command)
            .chain(command.get_subcommands())
            .chain(command.get_subcommands().flat_map(clap::Command::get_subcommands));
        for arg in all.flat_map(clap::Command::get_arguments) {
            let Some(name) = arg.get_env().and_then(|name| name.to_str()) else { continue };
            let secret = ["KEY", "TOKEN", "DATABASE_URL"].iter().any(|word| name.contains(word));
            if secret && !name.ends_with("_FILE") {
                assert!(arg.is_hide_env_values_set(), "{name}");
            }
        }
    }
}
