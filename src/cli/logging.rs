//! Where log lines go: to standard error, or to a file when standard output tells a story. Lines
//! are JSON unless a terminal reads them.
//!
//! No line tells a secret, whatever `RUST_LOG` says. Libraries that speak to others write whole URLs and
//! headers when they tell details, so of theirs only what is worth a line at `info` is let through; and
//! what of the URLs in the settings may be a key is cut out of every line.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    sync::{PoisonError, RwLock},
};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter,
    filter::{FilterFn, filter_fn},
    fmt::{self, MakeWriter},
    prelude::*,
};

/// Whose details are told when they are asked for. The database is told of with no values.
const DETAILED: [&str; 3] = ["countersign", "sqlx", "tower_http"];

/// What is cut out of every line. The first lines are written before the settings are read.
static HIDDEN: RwLock<Vec<String>> = RwLock::new(vec![]);

/// Cuts these out of every line from now on, the longest first.
pub fn hide(mut secrets: Vec<String>) {
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    *HIDDEN.write().unwrap_or_else(PoisonError::into_inner) = secrets;
}

fn filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default))
}

fn without_details_of_others() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    filter_fn(|line| may_tell(line.target(), *line.level()))
}

fn may_tell(target: &str, level: Level) -> bool {
    let crate_name = target.split("::").next().unwrap_or_default();
    level <= Level::INFO || DETAILED.contains(&crate_name)
}

/// Logs to standard error, at `default` unless `RUST_LOG` says otherwise.
pub fn to_stderr(default: &str) {
    let registry =
        tracing_subscriber::registry().with(filter(default)).with(without_details_of_others());
    let lines = fmt::layer().with_writer(Cutting(io::stderr));
    if io::stderr().is_terminal() {
        drop(registry.with(lines).try_init());
    } else {
        drop(registry.with(lines.json().flatten_event(true)).try_init());
    }
}

/// Logs to a file, as JSON.
pub fn to_file(file: File, default: &str) {
    let lines = fmt::layer().with_writer(Cutting(file)).json().flatten_event(true);
    let registry =
        tracing_subscriber::registry().with(filter(default)).with(without_details_of_others());
    drop(registry.with(lines).try_init());
}

/// Writes lines without what is hidden. Each line comes in one piece.
struct Cutting<M>(M);

struct CuttingWriter<W>(W);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Cutting<M> {
    type Writer = CuttingWriter<M::Writer>;
    fn make_writer(&'a self) -> Self::Writer {
        CuttingWriter(self.0.make_writer())
    }
}

impl<W: Write> Write for CuttingWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let hidden = HIDDEN.read().unwrap_or_else(PoisonError::into_inner);
        let line_text = String::from_utf8_lossy(line).into_owned();
        let cut = hidden.iter().fold(line_text, |text, secret| text.replace(secret, "[key]"));
        self.0.write_all(cut.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_tell_no_details() {
        for (target, level, told) in [
            ("alloy_rpc_client::call", Level::TRACE, false),
            ("hyper_util::client::legacy::connect::http", Level::DEBUG, false),
            ("reqwest::connect", Level::DEBUG, false),
            ("sqlxx", Level::DEBUG, false),
            ("alloy_pubsub::service", Level::ERROR, true),
            ("hyper", Level::INFO, true),
            ("countersign::flow", Level::TRACE, true),
            ("countersign", Level::DEBUG, true),
            ("tower_http::trace::on_request", Level::DEBUG, true),
            ("sqlx::query", Level::DEBUG, true),
        ] {
            assert_eq!(may_tell(target, level), told, "{target} {level}");
        }
    }

    #[test]
    fn what_is_hidden_is_cut_out_of_every_line() {
        hide(vec!["hidden-key".into(), "hidden-key-that-is-longer".into()]);
        let mut written = vec![];
        let line = "{\"url\":\"https://rpc.example/hidden-key-that-is-longer/hidden-key\"}\n";
        CuttingWriter(&mut written).write_all(line.as_bytes()).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert_eq!(written, "{\"url\":\"https://rpc.example/[key]/[key]\"}\n");
    }
}
