//! Server-sent events: tells pages and scripts that a request changed, by id alone. Whoever wants
//! to know more reads the request. A stream ends after a few minutes, so that whoever has no right to it
//! any more has none for long: browsers come back by themselves, and are looked at again.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use chrono::TimeDelta;
use futures::{Stream, StreamExt};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;

use super::{WebState, problem::Problem, sight::Sight};
use crate::{
    clock::Time,
    request::ids::{AppId, ChainId, RequestId},
    store::{Store, WAKE},
};

/// Changes a slow reader may fall behind by; it then reads everything again.
const BEHIND_MAX: usize = 1_024;
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const RELISTEN: Duration = Duration::from_secs(1);
/// How long a stream lasts. What the caller was when it began counts for so long at most.
const STREAM_LIFE: TimeDelta = TimeDelta::minutes(5);
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);
/// Requests whose app is remembered.
const APPS_MAX: usize = 10_000;

/// Where changes are passed on to all readers.
#[derive(Debug, Clone)]
pub struct Live {
    changes: broadcast::Sender<String>,
    stop: CancellationToken,
    /// Which apps requests are about: one look for all streams that must know.
    apps: Arc<Mutex<HashMap<RequestId, (ChainId, AppId)>>>,
}

impl Live {
    pub fn new(stop: CancellationToken) -> Self {
        Self { changes: broadcast::Sender::new(BEHIND_MAX), stop, apps: Arc::default() }
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

/// Done when a stream is to end: its time is up, or the service stops.
async fn is_over(state: WebState, ends_at: Time) {
    while state.service.clock.now() < ends_at {
        tokio::select! {
            () = state.live.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_AT_CLOCK) => {}
        }
    }
}

/// Whether a change is one that the caller may hear of, by what is theirs now.
async fn is_seen(state: &WebState, sight: &Sight, change: &str) -> bool {
    let Sight::Of { wallet, .. } = sight else { return true };
    let Ok(now) = Sight::of_wallet(*wallet, state).await else { return false };
    if let Some(chain) = change.strip_prefix("head ") {
        return chain.parse().is_ok_and(|chain| now.has_some_on(chain));
    }
    let Ok(id) = change.parse() else { return false };
    app_of(state, id).await.is_some_and(|(chain, app)| now.has(chain, app))
}

async fn app_of(state: &WebState, id: RequestId) -> Option<(ChainId, AppId)> {
    let known = || state.live.apps.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(app) = known().get(&id) {
        return Some(*app);
    }
    let app = state.service.store.app_of(id).await.ok()??;
    let mut known = known();
    if known.len() >= APPS_MAX {
        known.clear();
    }
    known.insert(id, app);
    Some(app)
}

fn told(change: &str) -> Event {
    match change.strip_prefix("head ") {
        Some(chain) => Event::default().event("head").data(chain),
        None => Event::default().event("request").data(change),
    }
}

/// A stream of `request` events with the id of the request that changed, and `head` events; to a signer
/// those of their apps. It ends after five minutes: connect again.
#[utoipa::path(
    get, path = "/v1/events", tag = "events",
    responses((status = 200, description = "Server-sent events", content_type = "text/event-stream")),
    security(("token" = []), ("session" = []))
)]
pub async fn events(
    sight: Result<Sight, Problem>,
    State(state): State<WebState>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    // A page that is open must not have the browser ask for a password when its session ends.
    let sight = sight.map_err(Problem::quiet)?;
    let changes = BroadcastStream::new(state.live.changes.subscribe());
    let over = is_over(state.clone(), state.service.clock.now() + STREAM_LIFE);
    let changes = changes.take_until(over).filter_map(move |change| {
        let (state, sight) = (state.clone(), sight.clone());
        async move {
            match change {
                Ok(change) => is_seen(&state, &sight, &change).await.then(|| Ok(told(&change))),
                // Too far behind: everything may have changed.
                Err(_) => Some(Ok(Event::default().event("reload").data("behind"))),
            }
        }
    });
    Ok(Sse::new(changes).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
