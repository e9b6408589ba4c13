//! Waits until the history of an app is read, which a progress bar shows on a terminal.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::cli::{client::Client, print::note_to_stderr};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// When nothing moves for so long, nothing is waited for any more.
const PATIENCE: Duration = Duration::from_mins(1);
/// The bar counts in thousandths.
const WHOLE: u64 = 1_000;

/// The app that is looked at.
pub struct App {
    pub chain: String,
    pub app: String,
}

impl App {
    /// A place below the app's.
    pub fn path<'a>(&'a self, last: &'a str) -> [&'a str; 5] {
        ["v1", "apps", &self.chain, &self.app, last]
    }

    /// What the service knows of the app itself.
    pub async fn look(&self, client: &Client) -> Result<Value> {
        Ok(client.get(&["v1", "apps", &self.chain, &self.app], &[]).await?)
    }

    /// Waits until everything that can be read is read; whether that is the whole history.
    pub async fn until_read(&self, client: &Client) -> Result<bool> {
        let (mut bar, mut moved) = (None, (None, Instant::now()));
        loop {
            let found = self.look(client).await?;
            if is_read(&found) {
                bar.as_ref().inspect(|bar: &&ProgressBar| bar.finish_and_clear());
                return Ok(found["is_whole"] == Value::Bool(true));
            }
            if moved.0 != found["ledger_from"].as_u64() {
                moved = (found["ledger_from"].as_u64(), Instant::now());
            }
            if moved.1.elapsed() > PATIENCE {
                bar.as_ref().inspect(|bar: &&ProgressBar| bar.finish_and_clear());
                note_to_stderr("nothing of this app's history has been read for a minute");
                return Ok(false);
            }
            bar.get_or_insert_with(shown).set_position(thousandths(&found));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Whether all that can be read is read.
fn is_read(app: &Value) -> bool {
    let block = |name: &str| app[name].as_u64();
    block("ledger_from").zip(block("history_start")).is_some_and(|(from, start)| from <= start)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 0 to 1")]
fn thousandths(app: &Value) -> u64 {
    let share = app["progress"].as_f64().unwrap_or_default().clamp(0.0, 1.0);
    (share * 1_000.0) as u64
}

fn shown() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} %, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(WHOLE).with_style(style).with_message("reads the history")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_history_is_read_when_it_reaches_its_start() {
        for (from, start, expected) in [
            (json!(7), json!(7), true),
            (json!(6), json!(7), true),
            (json!(8), json!(7), false),
            (json!(7), json!(null), false),
            (json!(null), json!(7), false),
        ] {
            assert_eq!(is_read(&json!({ "ledger_from": from, "history_start": start })), expected);
        }
    }

    #[test]
    fn an_unknown_progress_is_none_so_far() {
        assert_eq!(thousandths(&json!({ "progress": 0.5 })), 500);
        assert_eq!(thousandths(&json!({ "progress": null })), 0);
        assert_eq!(thousandths(&json!({ "progress": 7 })), WHOLE);
    }
}
