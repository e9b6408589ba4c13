//! Writes what a command has to say: a [`Page`] for people or one JSON value for programs, never
//! both; errors and notes on standard error.

use std::{
    io::{self, ErrorKind, Write},
    process::ExitCode,
    time::Duration,
};

use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    client::ClientError,
    page::{Look, Page, clean},
};
use crate::flow::chain_of;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Done,
    Failed,
    /// It was done, and somebody must look at what it shows.
    Attention,
}

impl Ending {
    /// Attention when `needed`.
    pub fn attention_if(needed: bool) -> Self {
        if needed { Self::Attention } else { Self::Done }
    }

    fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Attention => 3,
        })
    }
}

/// What a command has to say.
#[derive(Debug)]
pub struct Answer {
    page: Page,
    json: Value,
    notes: Vec<String>,
    ending: Ending,
}

impl Answer {
    pub fn new(page: Page, json: impl Serialize) -> Self {
        let json = serde_json::to_value(json).expect("answers are plain data");
        Self { page, json, notes: vec![], ending: Ending::Done }
    }

    /// Nothing to print.
    pub fn silent() -> Self {
        Self::new(Page::default(), Value::Null)
    }

    /// Text that another program reads as it is, with `--json` too.
    pub fn raw(text: String) -> Self {
        Self::new(Page::default().verbatim(text), Value::Null)
    }

    /// A line beside the answer, on standard error.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    #[must_use]
    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }
}

/// Writes an answer.
pub fn emit(answer: &Answer, json: bool) -> ExitCode {
    for note in &answer.notes {
        note_to_stderr(note);
    }
    let as_json = json && !answer.json.is_null();
    let text =
        if as_json { format!("{}\n", answer.json) } else { answer.page.render(Look::of_stdout()) };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => answer.ending.code(),
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => answer.ending.code(),
        Err(error) => fail(&anyhow::Error::new(error).context("cannot write the answer"), json),
    }
}

/// Writes a part of an answer that is too long to be held; whether anybody still reads.
pub fn part(bytes: &[u8]) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

/// Tells why a command failed, on standard error.
pub fn fail(error: &anyhow::Error, json: bool) -> ExitCode {
    let text = chain_of(error.as_ref());
    if json {
        let refused = error.chain().find_map(|cause| cause.downcast_ref::<ClientError>());
        let (code, field) = refused.map(ClientError::code_and_field).unwrap_or_default();
        let value = json!({ "error": { "title": text, "code": code, "field": field } });
        note_to_stderr(&value.to_string());
    } else {
        note_to_stderr(&format!("error: {text}"));
    }
    Ending::Failed.code()
}

/// One line on standard error. When nobody listens there, nothing is lost that could be told.
pub fn note_to_stderr(text: &str) {
    drop(writeln!(io::stderr(), "{}", text.lines().map(clean).collect::<Vec<_>>().join("\n")));
}

/// Shows on a terminal that something takes its time; silent in a pipe.
pub fn spinner(message: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}
