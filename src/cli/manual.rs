//! `countersign completion` and `countersign man`: what a package installs beside the executable.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use super::{Cli, page::Page, print::Answer};

/// Print the completion script of a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  countersign completion bash > /etc/bash_completion.d/countersign")]
pub struct CompletionArgs {
    shell: Shell,
}

/// Print the manual page, or write one for each command.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  countersign man --out /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Folder to write the pages of all commands to.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn completion(args: &CompletionArgs) -> Answer {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "countersign", &mut script);
    Answer::raw(String::from_utf8_lossy(&script).into_owned())
}

pub fn man(args: &ManArgs) -> Result<Answer> {
    let Some(folder) = &args.out else {
        let mut page = vec![];
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return Ok(Answer::raw(String::from_utf8_lossy(&page).into_owned()));
    };
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    let line = format!("wrote the manual pages to {}", folder.display());
    Ok(Answer::new(Page::default().line(line), json!({ "folder": folder })))
}
