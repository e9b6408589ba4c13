//! `countersign compose`: the hash of an app-compose document in every form that is in use, what
//! differs between two, what to look at in one; and handing one in as the proof of a request.

mod attach;
pub mod told;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    Globals,
    page::{Cell, Page, Tone},
    print::{Answer, Ending},
};
use crate::{
    compose::{Compose, ComposeForms, Form, MAX_BYTES, Severity, lint},
    request::ids::ComposeHash,
};

/// Look at app-compose documents.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign compose hash app-compose.json
  countersign compose diff running.json approved.json
  countersign compose lint app-compose.json")]
pub struct ComposeArgs {
    #[command(subcommand)]
    command: ComposeCommand,
}

#[derive(Debug, Subcommand)]
enum ComposeCommand {
    Hash(HashArgs),
    Diff(DiffArgs),
    Lint(LintArgs),
    Attach(attach::AttachArgs),
}

/// Tell what differs between two documents: their fields, those of the compose file inside, and the
/// lines of the texts in them.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  countersign compose diff running.json approved.json")]
struct DiffArgs {
    /// The earlier document; `-` is standard input.
    old: PathBuf,
    /// The later one.
    new: PathBuf,
}

/// Tell what to look at in a document before it is approved.
///
/// Exit code 3 when something in it is dangerous.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign compose lint app-compose.json
  countersign compose lint new.json --previous running.json")]
struct LintArgs {
    /// The document; `-` is standard input.
    file: PathBuf,
    /// What runs now: of names, ports, flags and scripts only what is new is told.
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
}

/// Hash an `app-compose.json` in every form that is in use.
///
/// The hash of the bytes that boot is the one that counts. Who has only the document must guess
/// how it was written: compact (early 2025) or pretty (since September 2025).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign compose hash app-compose.json
  countersign compose hash app-compose.json --expect 0x… \\
    && echo 'this is what is approved'")]
struct HashArgs {
    /// The document; `-` is standard input.
    file: PathBuf,
    /// Exit code 3 unless one of the forms has this hash.
    #[arg(long, value_name = "HASH")]
    expect: Option<ComposeHash>,
}

#[derive(Serialize)]
struct Hashed {
    #[serde(flatten)]
    forms: ComposeForms,
    /// The form that has the expected hash.
    matched: Option<Form>,
}

pub async fn run(args: &ComposeArgs, globals: &Globals) -> Result<Answer> {
    match &args.command {
        ComposeCommand::Hash(args) => hash(args),
        ComposeCommand::Diff(args) => {
            let diff = document(&args.new)?.diff_from(&document(&args.old)?);
            let told = serde_json::to_value(&diff)?;
            Ok(Answer::new(told::diff(Page::default(), &told), told))
        }
        ComposeCommand::Lint(args) => {
            let previous = args.previous.as_deref().map(document).transpose()?;
            let found = lint(&document(&args.file)?, previous.as_ref());
            let danger = found.iter().any(|one| one.severity == Severity::Danger);
            let told = serde_json::json!({ "findings": found });
            let page = told::findings(Page::default(), &told["findings"]);
            Ok(Answer::new(page, told).ending(Ending::attention_if(danger)))
        }
        ComposeCommand::Attach(args) => attach::run(args, globals).await,
    }
}

fn document(file: &Path) -> Result<Compose> {
    let bytes = read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Compose::parse(&bytes).with_context(|| format!("{} is no document to use", file.display()))
}

fn hash(args: &HashArgs) -> Result<Answer> {
    let forms = document(&args.file)?.forms();
    let matched = args.expect.and_then(|expected| forms.matching(expected));
    let facts = Form::ALL
        .into_iter()
        .filter_map(|form| Some((name(form), forms.of_form(form)?.to_string().into())));
    let mut facts: Vec<_> = facts.collect();
    facts.extend(args.expect.map(|_| ("matched", verdict(matched))));
    let ending = Ending::attention_if(args.expect.is_some() && matched.is_none());
    Ok(Answer::new(Page::default().facts(facts), Hashed { forms, matched }).ending(ending))
}

fn name(form: Form) -> &'static str {
    match form {
        Form::Raw => "raw",
        Form::Compact => "compact",
        Form::CompactScript => "compact, JavaScript",
        Form::Pretty => "pretty",
        Form::PrettyReplaced => "pretty, replaced",
        Form::NormalizedCompact => "normalized, compact",
        Form::NormalizedCompactScript => "normalized, compact, JavaScript",
        Form::NormalizedPretty => "normalized, pretty",
        Form::NormalizedPrettyReplaced => "normalized, pretty, replaced",
    }
}

fn verdict(form: Option<Form>) -> Cell {
    match form {
        Some(form) => Cell::toned(name(form), Tone::Good),
        None => Cell::toned("none: this is another document", Tone::Bad),
    }
}

/// Reads one byte more than a document may have, so that a longer one is noticed.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    let most = MAX_BYTES as u64 + 1;
    if file == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    } else {
        File::open(file)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
