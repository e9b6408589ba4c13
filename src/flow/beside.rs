//! What runs beside the workers: pass on wake-ups, remind, deliver.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{IDLE, Service, chain_of, pause};
use crate::{remind, store::StoreError};

const REMIND_EVERY: Duration = Duration::from_mins(1);
const DELIVER_RETRY: Duration = Duration::from_mins(1);
const RELISTEN: Duration = Duration::from_secs(1);

impl Service {
    /// Passes on what the database announces.
    pub(super) async fn listen(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.store.work().await {
                Ok(mut changes) => loop {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        change = changes.recv() => match change {
                            // A head alone makes nothing due.
                            Ok(change) if change.payload().starts_with("head ") => {}
                            Ok(_) => self.wake.one_of_each(),
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
