//! `countersign completion` and `countersign man`: what a package installs beside the executable.

use std::{collections::BTreeMap, fs, path::PathBuf};

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
        let page = String::from_utf8_lossy(&page).into_owned() + &environment();
        return Ok(Answer::raw(page));
    };
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .and_then(|()| {
            let file = folder.join("countersign.1");
            let page = fs::read_to_string(&file)?;
            fs::write(&file, page + &environment())
        })
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    let line = format!("wrote the manual pages to {}", folder.display());
    Ok(Answer::new(Page::default().line(line), json!({ "folder": folder })))
}

/// The section of the manual that tells which variables the commands read.
fn environment() -> String {
    let mut command = Cli::command();
    command.build();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut commands = vec![&command];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands());
        for arg in command.get_arguments() {
            let (Some(name), Some(help)) = (arg.get_env(), arg.get_help()) else { continue };
            let name = name.to_string_lossy().into_owned();
            known.entry(name).or_insert_with(|| help.to_string());
        }
    }
    let mut section = ".SH ENVIRONMENT\n".to_owned();
    for (name, help) in known {
        // A line that begins with a dot would be an instruction.
        let help = help.replace('\\', "\\\\").replace('-', "\\-").replace('\n', " ");
        section += &[".TP\n\\fB", &name, "\\fR\n\\&", &help, "\n"].concat();
    }
    section
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_manual_names_every_variable_once() {
        let section = environment();
        for name in ["COUNTERSIGN_URL", "COUNTERSIGN_TOKEN", "PHALA_CLOUD_API_KEY", "DATABASE_URL"]
        {
            assert_eq!(section.matches(&format!("\\fB{name}\\fR")).count(), 1, "{name}");
        }
        assert!(section.lines().all(|line| !line.is_empty()), "{section}");
    }

    /// Every command by its name with all before it.
    fn names(command: &clap::Command, path: &str) -> Vec<String> {
        let commands = command.get_subcommands().filter(|inner| inner.get_name() != "help");
        let named = commands.map(|inner| (inner, format!("{path}-{}", inner.get_name())));
        named.flat_map(|(inner, name)| [vec![name.clone()], names(inner, &name)].concat()).collect()
    }

    #[test]
    fn every_command_has_a_manual_page_with_its_example_and_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        man(&ManArgs { out: Some(folder.path().to_owned()) }).unwrap();
        let names = names(&Cli::command(), "countersign");
        assert!(names.contains(&"countersign-token-create".to_owned()), "{names:?}");
        for name in &names {
            let page = fs::read_to_string(folder.path().join(format!("{name}.1")));
            assert!(page.unwrap_or_default().contains("Example"), "{name}");
        }
        for shell in Shell::value_variants() {
            let mut script = vec![];
            clap_complete::generate(*shell, &mut Cli::command(), "countersign", &mut script);
            let script = String::from_utf8(script).unwrap();
            for name in &names {
                let last = name.rsplit('-').next().unwrap();
                assert!(script.contains(last), "{shell}: {name}");
            }
        }
    }
}
