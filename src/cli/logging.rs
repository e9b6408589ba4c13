//! Where log lines go: to standard error, or to a file when standard output tells a story. Lines
//! are JSON unless a terminal reads them.

use std::{fs::File, io::IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

fn filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default))
}

/// Logs to standard error, at `default` unless `RUST_LOG` says otherwise.
pub fn to_stderr(default: &str) {
    let registry = tracing_subscriber::registry().with(filter(default));
    let lines = fmt::layer().with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        drop(registry.with(lines).try_init());
    } else {
        drop(registry.with(lines.json().flatten_event(true)).try_init());
    }
}

/// Logs to a file, as JSON.
pub fn to_file(file: File, default: &str) {
    let lines = fmt::layer().with_writer(file).json().flatten_event(true);
    drop(tracing_subscriber::registry().with(filter(default)).with(lines).try_init());
}
