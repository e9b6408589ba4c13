//! `countersign compose hash`: the hash of an app-compose document in every form that is in use.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    page::{Cell, Page, Tone},
    print::{Answer, Ending},
};
use crate::{
    compose::{Compose, ComposeForms, Form, MAX_BYTES},
    request::ids::ComposeHash,
};

/// Look at app-compose documents.
#[derive(Debug, Args)]
pub struct ComposeArgs {
    #[command(subcommand)]
    command: ComposeCommand,
}

#[derive(Debug, Subcommand)]
enum ComposeCommand {
    Hash(HashArgs),
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

pub fn run(args: &ComposeArgs) -> Result<Answer> {
    let ComposeCommand::Hash(args) = &args.command;
    let bytes = read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let forms = Compose::parse(&bytes)?.forms();
    let matched = args.expect.and_then(|expected| forms.matching(expected));
    let mut facts = vec![
        ("raw", forms.raw.to_string().into()),
        ("compact", forms.compact.to_string().into()),
        ("pretty", forms.pretty.to_string().into()),
    ];
    facts.extend(forms.pretty_replaced.map(|hash| ("pretty, replaced", hash.to_string().into())));
    facts.extend(args.expect.map(|_| ("matched", verdict(matched))));
    let ending = Ending::attention_if(args.expect.is_some() && matched.is_none());
    Ok(Answer::new(Page::default().facts(facts), Hashed { forms, matched }).ending(ending))
}

fn verdict(form: Option<Form>) -> Cell {
    match form {
        Some(Form::Raw) => Cell::toned("raw", Tone::Good),
        Some(Form::Compact) => Cell::toned("compact", Tone::Good),
        Some(Form::Pretty) => Cell::toned("pretty", Tone::Good),
        Some(Form::PrettyReplaced) => Cell::toned("pretty, replaced", Tone::Good),
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
