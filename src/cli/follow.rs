//! Follows requests until their replicas run.

use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{cells::text, client::Client, print::note_to_stderr, request_page::explained_briefly};
use crate::request::status::Status;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks in a row that may fail before nobody waits any longer: the service may be restarted.
const FAILURES_MAX: u32 = 60;

/// Waits until all of them have ended, or one of them needs a person. Every change of a status is
/// told on the way.
///
/// # Errors
/// The service could not be reached for a minute.
pub async fn until_running(client: &Client, ids: Vec<String>) -> Result<Vec<Value>> {
    let bar = bar(ids.len());
    let mut clock = tokio::time::interval(LOOK_EVERY);
    let (mut told, mut failures) = (vec![String::new(); ids.len()], 0);
    loop {
        clock.tick().await;
        let requests = match look(client, &ids).await {
            Ok(requests) => requests,
            Err(error) if failures < FAILURES_MAX => {
                failures += 1;
                bar.set_message(format!("cannot look: {error:#}"));
                continue;
            }
            Err(error) => {
                bar.finish_and_clear();
                let again = format!("nobody waits any longer; see `countersign show {}`", ids[0]);
                return Err(error).context(again);
            }
        };
        failures = 0;
        for (request, told) in requests.iter().zip(&mut told) {
            let now = text(request, "/status");
            if *told != now {
                bar.suspend(|| note_to_stderr(&line(request)));
                *told = now;
            }
        }
        bar.set_position(requests.iter().map(stage).sum());
        let waiting = requests.iter().find(|request| !is_end(request));
        bar.set_message(waiting.map(explained_briefly).unwrap_or_default());
        let asks = requests.iter().any(|request| request["needs_attention"] == Value::Bool(true));
        if waiting.is_none() || asks {
            bar.finish_and_clear();
            return Ok(requests);
        }
    }
}

async fn look(client: &Client, ids: &[String]) -> Result<Vec<Value>> {
    let mut requests = vec![];
    for id in ids {
        requests.push(client.get(&["v1", "requests", id], &[]).await?);
    }
    Ok(requests)
}

fn line(request: &Value) -> String {
    let (id, node) = (text(request, "/id"), text(request, "/node_id"));
    format!("{id} on node {node}: {}", text(request, "/status"))
}

fn status(request: &Value) -> Option<Status> {
    text(request, "/status").parse().ok()
}

fn is_end(request: &Value) -> bool {
    status(request).is_some_and(Status::is_end)
}

/// How far it is, of as many stages as there are up to running.
fn stage(request: &Value) -> u64 {
    let at = |wanted: Status| Status::ALL.iter().position(|one| *one == wanted);
    let last = at(Status::Running);
    status(request).and_then(at).min(last).map_or(0, |at| at as u64)
}

fn bar(requests: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {bar:24} {msg}");
    let style = style.expect("the template is one").progress_chars("=> ");
    let stages = Status::ALL.iter().position(|one| *one == Status::Running).unwrap_or_default();
    let bar = ProgressBar::new((requests * stages) as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stages_are_counted_up_to_running() {
        let stages = ["prepared", "proposed", "committed", "running", "failed", "new word"];
        let counted = stages.map(|status| stage(&json!({ "status": status })));
        assert_eq!(counted, [0, 1, 6, 7, 7, 0]);
        let ended = stages.map(|status| is_end(&json!({ "status": status })));
        assert_eq!(ended, [false, false, false, true, true, false]);
    }
}
