//! Server-sent events: tells pages and scripts that a request changed, by id alone. Whoever wants
//! to know more reads the request.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, StreamExt};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;

use super::{WebState, gate::Reader};
use crate::store::{Store, WAKE};

/// Changes a slow reader may fall behind by; it then reads everything again.
const BEHIND_MAX: usize = 1_024;
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const RELISTEN: Duration = Duration::from_secs(1);

/// Where changes are passed on to all readers.
#[derive(Debug, Clone)]
pub struct Live {
    changes: broadcast::Sender<String>,
    stop: CancellationToken,
}

impl Live {
    pub fn new(stop: CancellationToken) -> Self {
        Self { changes: broadcast::Sender::new(BEHIND_MAX), stop }
    }

    /// Passes on what the database announces.
    pub async fn run(&self, store: Store) {
        while !self.stop.is_cancelled() {
            if let Ok(mut changes) = store.changes().await {
                loop {
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        change = changes.recv() => match change {
                            // What became due is no change for those who look on.
                            Ok(change) if change.payload() == WAKE => {}
                            // Nobody listening is no error.
                            Ok(change) => drop(self.changes.send(change.payload().to_owned())),
                            Err(_) => break,
                        }
                    }
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(RELISTEN) => {}
            }
        }
    }
}

/// A stream of `request` events with the id of the request that changed, and `head` events.
#[utoipa::path(
    get, path = "/v1/events", tag = "events",
    responses((status = 200, description = "Server-sent events", content_type = "text/event-stream")),
    security(("token" = []), ("session" = []))
)]
pub async fn events(
    _: Reader,
    State(state): State<WebState>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = BroadcastStream::new(state.live.changes.subscribe());
    // An open stream must not keep a stopping service alive.
    let changes = changes.take_until(state.live.stop.cancelled_owned()).map(|change| {
        Ok(match change {
            Ok(change) => match change.strip_prefix("head ") {
                Some(chain) => Event::default().event("head").data(chain),
                None => Event::default().event("request").data(change),
            },
            // Too far behind: everything may have changed.
            Err(_) => Event::default().event("reload").data("behind"),
        })
    });
    Sse::new(changes).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
