//! Following the chains: on each, one instance of all has the lead, reads new blocks as they come,
//! and beside that the history of what is watched. It also executes, if there is a relayer.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Service, chain_of, pause};
use crate::{
    chain::Chain,
    store::chain::Leadership,
    watch::{
        WatchError,
        attribute::attribute,
        follow::{Follower, Tick},
        history::{History, Progress},
    },
};

/// How often another instance tries to take the lead on a chain, and the leader looks whether it
/// still has it.
const LEAD_CHECK: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A failure that is over with the next try is nobody's trouble.
const FAILURES_BEFORE_TROUBLE: u32 = 2;
/// Transactions whose receipts are read in one step, and the pause when there are none.
const PATHS_AT_ONCE: u32 = 64;
const PATHS_PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether there is history to read.
const HISTORY_PAUSE: Duration = Duration::from_secs(10);

impl Service {
    /// Follows one chain whenever this instance has the lead on it.
    pub(super) async fn follow(&self, chain: &Chain, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.store.lead(chain.id()).await {
                Ok(Some(leadership)) => {
                    tracing::info!(chain.id = %chain.id(), depth = %chain.depth(), "follows the chain");
                    Box::pin(self.lead(chain, &leadership, &stop)).await;
                    leadership.resign().await;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(chain.id = %chain.id(), error = chain_of(&error), "cannot take the lead");
                }
            }
            pause(LEAD_CHECK, &stop).await;
        }
    }

    /// Everything that only the leader does, until it has lost the lead or is told to stop.
    async fn lead(&self, chain: &Chain, leadership: &Leadership, stop: &CancellationToken) {
        let over = stop.child_token();
        let follower = Follower::default();
        let learned = follower.learned();
        tokio::select! {
            () = chain.listen() => {}
            () = keep(leadership, &over) => {}
            ((), (), (), ()) = async {
                tokio::join!(
                    self.heads(chain, leadership, follower, &over),
                    self.histories(chain, leadership, &learned, &over),
                    self.paths(chain, &over),
                    self.relay(chain, leadership, &over),
                )
            } => {}
        }
    }

    /// Ticks with every head that is announced, and with every poll.
    async fn heads(
        &self,
        chain: &Chain,
        leadership: &Leadership,
        mut follower: Follower,
        over: &CancellationToken,
    ) {
        let mut announced = chain.announcements();
        let mut failures = 0;
        // Trouble that an earlier leader noted may be over.
        let mut is_troubled = true;
        while !over.is_cancelled() {
            announced.mark_unchanged();
            let tick = follower.tick(&self.store, chain, leadership, self.clock.now());
            match AssertUnwindSafe(Box::pin(tick)).catch_unwind().await {
                Ok(Ok(tick)) => {
                    failures = 0;
                    note(chain, tick);
                    self.wake.commit_at_once(follower.take_at_once());
                    if is_troubled {
                        is_troubled = self.trouble_is_over(chain, leadership).await;
                    }
                    if tick == Tick::More {
                        continue;
                    }
                    tokio::select! {
                        () = over.cancelled() => {}
                        _ = announced.changed() => {}
                        () = tokio::time::sleep(chain.poll()) => {}
                    }
                }
                failed => {
                    failures += 1;
                    let error = failed.ok().and_then(Result::err);
                    is_troubled |= self.failed(chain, leadership, error.as_ref(), failures).await;
                    let doubled = RETRY_FIRST.saturating_mul(1 << failures.min(8));
                    pause(doubled.min(RETRY_MAX), over).await;
                }
            }
        }
    }

    /// Tells of a tick that failed; whether it is now noted as the chain's trouble.
    async fn failed(
        &self,
        chain: &Chain,
        leadership: &Leadership,
        error: Option<&WatchError>,
        failures: u32,
    ) -> bool {
        metrics::counter!("countersign_follow_failures_total", "chain" => chain.id().to_string())
            .increment(1);
        let problem = error.map_or_else(
            || "following the chain panicked, which is a defect of Countersign".to_owned(),
            |error| chain_of(error),
        );
        let halts = error.is_some_and(WatchError::halts);
        if halts {
            tracing::error!(chain.id = %chain.id(), error = problem, "the chain is followed no further");
        } else {
            tracing::warn!(chain.id = %chain.id(), error = problem, "cannot read the chain");
        }
        if !halts && failures < FAILURES_BEFORE_TROUBLE {
            return false;
        }
        let now = self.clock.now();
        let noted = self.store.note_trouble(leadership, chain.id(), &problem, halts, now).await;
        if let Err(error) = &noted {
            tracing::warn!(chain.id = %chain.id(), error = chain_of(error), "cannot note trouble");
        }
        noted.is_ok()
    }

    /// Forgets the chain's trouble; whether that has to be tried again.
    async fn trouble_is_over(&self, chain: &Chain, leadership: &Leadership) -> bool {
        let over = self.store.trouble_is_over(leadership, chain.id()).await;
        if let Err(error) = &over {
            tracing::warn!(chain.id = %chain.id(), error = chain_of(error), "cannot forget trouble");
        }
        over.is_err()
    }

    /// Reads what happened before watching began.
    async fn histories(
        &self,
        chain: &Chain,
        leadership: &Leadership,
        learned: &Notify,
        over: &CancellationToken,
    ) {
        let mut history = History::default();
        let mut failures = 0;
        while !over.is_cancelled() {
            let step = history.step(&self.store, chain, leadership, self.clock.now());
            match AssertUnwindSafe(step).catch_unwind().await {
                Ok(Ok(progress)) => {
                    failures = 0;
                    self.note_history(chain).await;
                    if progress == Progress::Whole {
                        tokio::select! {
                            () = over.cancelled() => {}
                            () = learned.notified() => {}
                            () = tokio::time::sleep(HISTORY_PAUSE) => {}
                        }
                    }
                }
                failed => {
                    failures += 1;
                    let error = failed.ok().and_then(Result::err);
                    let problem =
                        error.map_or_else(|| "a panic".to_owned(), |error| chain_of(&error));
                    tracing::warn!(chain.id = %chain.id(), error = problem, "cannot read history");
                    let doubled = RETRY_FIRST.saturating_mul(1 << failures.min(8));
                    pause(doubled.min(RETRY_MAX), over).await;
                }
            }
        }
    }

    /// Finds out who made the entries of the ledger.
    async fn paths(&self, chain: &Chain, over: &CancellationToken) {
        while !over.is_cancelled() {
            let step = attribute(&self.store, chain, PATHS_AT_ONCE, self.clock.now());
            match AssertUnwindSafe(Box::pin(step)).catch_unwind().await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0)) => pause(PATHS_PAUSE, over).await,
                failed => {
                    let error = failed.ok().and_then(Result::err);
                    let problem =
                        error.map_or_else(|| "a panic".to_owned(), |error| chain_of(&error));
                    tracing::warn!(chain.id = %chain.id(), error = problem, "cannot read receipts");
                    pause(RETRY_MAX, over).await;
                }
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge of block numbers below 2^52")]
    async fn note_history(&self, chain: &Chain) {
        if let Ok(left) = self.store.history_left(chain.id()).await {
            metrics::gauge!("countersign_history_blocks_left", "chain" => chain.id().to_string())
                .set(left as f64);
        }
    }
}

/// Returns when the lead is lost or the leader is told to stop.
async fn keep(leadership: &Leadership, over: &CancellationToken) {
    while !over.is_cancelled() && leadership.holds().await {
        pause(LEAD_CHECK, over).await;
    }
    // What is under way sees that it is over, or is dropped with us.
    over.cancel();
}

/// How far the chain and its endpoints are, for those who watch over the service.
#[expect(clippy::cast_precision_loss, reason = "gauges of block numbers below 2^52")]
fn note(chain: &Chain, tick: Tick) {
    let Tick::CaughtUp { head } = tick else { return };
    let id = chain.id().to_string();
    metrics::gauge!("countersign_chain_head_block", "chain" => id.clone()).set(head.number as f64);
    for endpoint in chain.endpoints() {
        let labels = [("chain", id.clone()), ("endpoint", endpoint.name)];
        metrics::gauge!("countersign_endpoint_answers", &labels)
            .set(f64::from(u8::from(endpoint.problem.is_none())));
        if let Some(lag) = endpoint.lag {
            metrics::gauge!("countersign_endpoint_lag_blocks", &labels).set(lag as f64);
        }
    }
    tracing::debug!(chain.id = %chain.id(), block = head.number, "read up to the head");
}
