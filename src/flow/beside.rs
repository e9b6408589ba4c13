//! What runs beside the workers: follow the chains, pass on wake-ups, remind, deliver.

use std::time::Duration;

use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;

use super::{IDLE, Service, chain_of, pause};
use crate::{chain::Chain, remind, store::StoreError, watch::follow};

/// How often another instance tries to take the lead on a chain.
const LEAD_RETRY: Duration = Duration::from_secs(2);
const FOLLOW_RETRY: Duration = Duration::from_secs(2);
const REMIND_EVERY: Duration = Duration::from_mins(1);
const DELIVER_RETRY: Duration = Duration::from_mins(1);
const RELISTEN: Duration = Duration::from_secs(1);

impl Service {
    /// Passes on what the database announces.
    pub(super) async fn listen(&self, wake: channel::Sender<()>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.store.changes().await {
                Ok(mut changes) => loop {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        change = changes.recv() => match change {
                            Ok(_) => drop(wake.send(())),
                            Err(error) => {
                                tracing::warn!(%error, "the database stopped announcing changes");
                                break;
                            }
                        }
                    }
                },
                Err(error) => tracing::warn!(error = chain_of(&error), "cannot listen for changes"),
            }
            pause(RELISTEN, &stop).await;
        }
    }

    /// Follows one chain whenever this instance has the lead on it.
    pub(super) async fn follow(&self, chain: &Chain, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.store.lead(chain.id()).await {
                Ok(Some(mut leadership)) => {
                    tracing::info!(chain.id = %chain.id(), depth = %chain.depth(), "follows the chain");
                    while !stop.is_cancelled() && leadership.holds().await {
                        let tick = follow::tick(&self.store, chain, &leadership, self.clock.now());
                        match tick.await {
                            Ok(follow::Tick::More { .. }) => {}
                            Ok(tick) => {
                                note_head(chain, tick);
                                pause(chain.poll(), &stop).await;
                            }
                            Err(error) => {
                                metrics::counter!("countersign_follow_failures_total", "chain" => chain.id().to_string()).increment(1);
                                tracing::warn!(chain.id = %chain.id(), error = chain_of(&error), "cannot read the chain");
                                pause(FOLLOW_RETRY.max(chain.poll()), &stop).await;
                            }
                        }
                    }
                    leadership.resign().await;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(chain.id = %chain.id(), error = chain_of(&error), "cannot take the lead");
                }
            }
            pause(LEAD_RETRY, &stop).await;
        }
    }

    pub(super) async fn remind(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = remind::tick(&self.store, self.clock.now()).await {
                tracing::warn!(error = chain_of(&error), "cannot write reminders");
            }
            pause(REMIND_EVERY, &stop).await;
        }
    }

    pub(super) async fn deliver(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.deliver_once().await {
                Ok(true) => {}
                Ok(false) => pause(IDLE, &stop).await,
                Err(error) => {
                    tracing::warn!(error = chain_of(&error), "cannot deliver messages");
                    pause(IDLE, &stop).await;
                }
            }
        }
    }

    /// Delivers the message that has been due longest ; false when none is due.
    async fn deliver_once(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let Some(message) = self.store.take_message(now, now + DELIVER_RETRY).await? else {
            return Ok(false);
        };
        if let Err(error) = self.webhooks.deliver(&message.to_json()).await {
            tracing::warn!(message.id = message.id, %error, "a message was not delivered");
            let again_at = now + DELIVER_RETRY;
            self.store.message_failed(message.id, &error.to_string(), again_at).await?;
            return Ok(true);
        }
        self.store.message_delivered(message.id, self.clock.now()).await?;
        Ok(true)
    }
}

fn note_head(chain: &Chain, tick: follow::Tick) {
    if let follow::Tick::CaughtUp { head } = tick {
        #[expect(clippy::cast_precision_loss, reason = "a gauge of block numbers below 2^52")]
        metrics::gauge!("countersign_chain_head_block", "chain" => chain.id().to_string())
            .set(head.number as f64);
        tracing::debug!(chain.id = %chain.id(), block = head.number, "read up to the head");
    }
}
