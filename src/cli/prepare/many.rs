//! Several preparations, each a request of its own, put to their owner together.

use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{
    Order, Place, advised,
    together::{Grouping, Proposed},
};
use crate::{
    cli::{
        cells::text,
        client::{Client, ClientError, Reply},
        page::{Cell, Page, Tone},
        print::{Answer, Ending, spinner},
        request_page::{self, page_of, status},
    },
    phala::{PhalaCloud, Prepared},
    request::{
        ids::{AppId, ChainId, ComposeHash, DeviceId},
        kind::Target,
        status::Status,
    },
};

/// How often the same preparation is handed over when the answer gets lost.
const TRIES: u32 = 4;
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How long the service may take to find out what the owner is to be asked.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(300);
const WHY: &str = "prepared with one command";

/// What Phala Cloud said a request is for, to be compared with what the service makes of it.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub app: AppId,
    pub chain: Option<ChainId>,
    pub compose: ComposeHash,
    pub device: DeviceId,
}

/// What came of it.
pub struct Done {
    /// As they are now, in the order of the places.
    pub requests: Vec<Value>,
    /// Id of each, and what it is for.
    pub wanted: Vec<(String, Wanted)>,
    /// Those that one transaction is for.
    batches: Vec<Vec<String>>,
    /// The first that was not prepared, how many were not, and why.
    pub failed: Option<(Place, usize, anyhow::Error)>,
    /// What else went wrong.
    notes: Vec<String>,
    opened: usize,
}

/// Prepares all replicas of an order, one after the other, and has their requests put to the owner
/// together. When one cannot be prepared, those before it stay.
///
/// # Errors
/// The very first could not be prepared.
pub async fn prepare_all(cloud: &PhalaCloud, client: &Client, order: &Order) -> Result<Done> {
    let bar = bar(order.places.len());
    let (mut requests, mut wanted, mut failed, mut opened) = (vec![], vec![], None, 0);
    for (at, place) in order.places.iter().enumerate() {
        bar.set_message(format!("Phala Cloud prepares a replica on {}", place.name));
        match prepare_one(cloud, client, order, place).await {
            Ok((reply, one)) => {
                wanted.push((text(&reply.body, "/id"), one));
                opened += usize::from(reply.status == 201);
                requests.push(reply.body);
            }
            Err(error) if at == 0 => {
                bar.finish_and_clear();
                return Err(error);
            }
            Err(error) => {
                failed = Some((place.clone(), order.places.len() - at, error));
                break;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut done = Done { requests, wanted, batches: vec![], failed, notes: vec![], opened };
    done.look(client).await;
    done.put_together(client).await;
    Ok(done)
}

async fn prepare_one(
    cloud: &PhalaCloud,
    client: &Client,
    order: &Order,
    place: &Place,
) -> Result<(Reply, Wanted)> {
    const WHAT: &str = "Phala Cloud did not prepare the replica";
    let body = order.body(place)?;
    let target = Target::Replica(order.source.vm_uuid.clone());
    let prepared = cloud.prepare(&target, &body).await;
    let prepared = prepared.map_err(|error| advised(error, WHAT))?;
    let wanted = Wanted {
        app: prepared.app,
        chain: prepared.chain_id,
        compose: prepared.compose_hash,
        device: prepared.device_id,
    };
    let submission = submission(order, place, &prepared, &body);
    let reply = hand_over(client, &submission).await.context(
        "the service did not take the preparation (it exists at Phala Cloud, and this command may \
         be repeated: that is harmless)",
    )?;
    Ok((reply, wanted))
}

/// The same preparation may be handed over again and again: the service knows its token.
async fn hand_over(client: &Client, submission: &Value) -> Result<Reply, ClientError> {
    let mut tries = 1;
    loop {
        match client.post(&["v1", "requests"], submission).await {
            Err(ClientError::NoAnswer { .. } | ClientError::Unreachable { .. })
                if tries < TRIES =>
            {
                tries += 1;
                tokio::time::sleep(TRY_AGAIN).await;
            }
            other => return other,
        }
    }
}

/// The service takes the time of its own clock.
fn submission(order: &Order, place: &Place, prepared: &Prepared, body: &Value) -> Value {
    json!({
        "chain_id": prepared.chain_id.map(ChainId::get),
        "app": prepared.app,
        "source_cvm": order.source.vm_uuid.as_str(),
        "node_id": place.node.as_str(),
        "copy": place.copy,
        "compose_hash": prepared.compose_hash,
        "device_id": prepared.device_id,
        "commit_token": prepared.commit_token.secret().expose_secret(),
        "just_prepared": true,
        "expires_at": prepared.expires_at,
        "note": order.note,
        "prepare_body": body,
    })
}

fn bar(length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
    let style = style.expect("the template is one").progress_chars("=> ");
    ProgressBar::new(length as u64).with_style(style)
}

impl Done {
    pub fn ids(&self) -> Vec<String> {
        self.wanted.iter().map(|(id, _)| id.clone()).collect()
    }

    /// Waits for the service to find out whether an approval is needed, and of whom. What it has not
    /// found out by then is told as it is.
    async fn look(&mut self, client: &Client) {
        let spinner = spinner("the service looks at the owner of the app");
        let looked = tokio::time::timeout(PATIENCE, async {
            for request in &mut self.requests {
                let id = text(request, "/id");
                while request["status"] == "prepared" && request["needs_attention"] != true {
                    tokio::time::sleep(LOOK_EVERY).await;
                    if let Ok(now) = client.get(&["v1", "requests", &id], &[]).await {
                        *request = now;
                    }
                }
            }
        });
        if looked.await.is_err() {
            let note = "the service has not found out yet what the owner is to be asked";
            self.notes.push(note.into());
        }
        spinner.finish_and_clear();
    }

    /// Puts what waits for signatures of the same Safe into as few transactions as there can be.
    async fn put_together(&mut self, client: &Client) {
        let mut proposed = vec![];
        for id in self.ids() {
            // Without a Safe there is no transaction that could be for several.
            if let Ok(proposal) = client.get(&["v1", "requests", &id, "proposal"], &[]).await
                && proposal["safe_tx"].is_object()
            {
                proposed.push(Proposed::read(id, &proposal));
            }
        }
        let Grouping { standing, fresh } = Grouping::of(&proposed);
        self.batches = standing;
        for together in fresh {
            let body = json!({ "requests": together, "nonce": null, "reason": WHY });
            match client.post(&["v1", "proposals"], &body).await {
                Ok(_) => self.batches.push(together),
                // Nothing is lost: each of them is proposed alone.
                Err(error) => self.notes.push(format!(
                    "not put together into one transaction ({error}); try: countersign propose {} \
                     --reason TEXT",
                    together.join(" ")
                )),
            }
        }
    }

    /// What was done, and what happens next.
    pub fn answer(self) -> Answer {
        let endings = self.requests.iter().map(ending);
        let ending = match &self.failed {
            Some(_) => Ending::Failed,
            None => endings.max_by_key(|ending| *ending as u8).unwrap_or(Ending::Done),
        };
        let answer = match (&self.requests[..], &self.failed) {
            ([request], None) => {
                let title = if self.opened > 0 {
                    "Opened a request"
                } else {
                    "This preparation belongs to a request that was here before"
                };
                request_page::answer(page_of(request, title), request.clone())
            }
            _ => Answer::new(self.page(), self.json()),
        };
        self.notes.iter().fold(answer, Answer::note).ending(ending)
    }

    fn page(&self) -> Page {
        let row = |request: &Value| -> Vec<Cell> {
            let next = text(request, "/explanation/next");
            let next = if next == "-" { text(request, "/next_step") } else { next };
            vec![
                text(request, "/id").into(),
                text(request, "/node_id").into(),
                status(request),
                next.into(),
            ]
        };
        let (all, opened) = (self.requests.len(), self.opened);
        let title = if opened == all {
            format!("Opened {all} requests")
        } else {
            format!("{all} requests, {opened} of them new")
        };
        let rows = self.requests.iter().map(row).collect();
        let heads = vec!["request", "node", "status", "next"];
        let mut page = Page::default().title(title).wide_table(heads, rows, &["next"]);
        for together in &self.batches {
            let (count, first) = (together.len(), &together[0]);
            let line =
                format!("one transaction approves {count} of them: countersign payload {first}");
            page = page.line(line);
        }
        if let Some((place, missing, error)) = &self.failed {
            let told =
                format!("{missing} not prepared, from the one on {} on: {error:#}", place.name);
            page = page.line(Cell::toned(told, Tone::Bad)).line(
                "nothing is lost: run the same command again, and what waits above is used again",
            );
        }
        page
    }

    fn json(&self) -> Value {
        let failed = self.failed.as_ref().map(|(place, missing, error)| {
            json!({ "node_id": place.node, "missing": missing, "reason": format!("{error:#}") })
        });
        json!({ "requests": self.requests, "together": self.batches, "failed": failed })
    }
}

/// How a command ends that shows a request.
fn ending(request: &Value) -> Ending {
    let ended = text(request, "/status").parse().is_ok_and(Status::is_end);
    match request["needs_attention"] == Value::Bool(true) {
        true => Ending::Attention,
        false if ended && request["status"] != "running" => Ending::Failed,
        false => Ending::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::page::Look;

    fn request(id: &str, status: &str) -> Value {
        json!({ "id": id, "node_id": "5", "status": status, "next_step": "the owners sign" })
    }

    fn done(requests: Vec<Value>, failed: bool) -> Done {
        let place = Place { node: "6".parse().unwrap(), name: "prod6".into(), copy: 1 };
        Done {
            batches: vec![vec!["a".into(), "b".into()]],
            opened: requests.len(),
            requests,
            wanted: vec![],
            failed: failed.then(|| (place, 2, anyhow::anyhow!("no room"))),
            notes: vec![],
        }
    }

    #[test]
    fn what_was_prepared_before_one_failed_is_told() {
        let requests = vec![request("a", "proposed"), request("b", "proposed")];
        let done = done(requests, true);
        insta::assert_snapshot!(done.page().render(Look::of_pipe()), @"
        Opened 2 requests
        REQUEST  NODE  STATUS    NEXT
        a        5     proposed  the owners sign
        b        5     proposed  the owners sign
          one transaction approves 2 of them: countersign payload a
          2 not prepared, from the one on prod6 on: no room
          nothing is lost: run the same command again, and what waits above is used again
        ");
        let json = done.json();
        assert_eq!(json["failed"]["missing"], 2);
        assert_eq!(json["requests"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_command_ends_as_its_worst_request() {
        let mut asks = request("c", "committing");
        asks["needs_attention"] = json!(true);
        let [waits, runs, gone] =
            ["proposed", "running", "withdrawn"].map(|status| request("x", status));
        for (requests, expected) in [
            (vec![&waits, &runs], Ending::Done),
            (vec![&gone, &runs], Ending::Failed),
            (vec![&asks, &gone], Ending::Attention),
        ] {
            let worst = requests.into_iter().map(ending).max_by_key(|ending| *ending as u8);
            assert_eq!(worst, Some(expected));
        }
    }
}
