//! The relayer of a chain: whoever has the lead on it executes what its owners have signed, when there
//! is a key to pay with.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::{Service, chain_of, pause};
use crate::{
    chain::{Chain, RelayerKey},
    execute::{self, ExecuteError, Progress, Relayer, decide::is_on},
    request::facts::BlockRef,
    store::{StoreError, chain::Leadership},
};

/// How often it is looked whether something is to be executed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked what the account holds, for those who watch over it.
const PURSE_EVERY: Duration = Duration::from_mins(1);
/// How long one step may take.
const STEP_MAX: Duration = Duration::from_mins(2);
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

impl Service {
    /// The same, with an account that pays for executions.
    #[must_use]
    pub fn with_relayer(self, relayer: Option<RelayerKey>) -> Self {
        Self { relayer, ..self }
    }

    /// The account that executes on a chain, if there is one.
    pub fn relayer_on(&self, chain: &Chain) -> Option<&RelayerKey> {
        self.relayer.as_ref().filter(|_| is_on(chain.settings().relayer))
    }

    /// Executes on one chain, as long as this instance has the lead on it. Without a key it returns at
    /// once.
    pub(super) async fn relay(
        &self,
        chain: &Chain,
        leadership: &Leadership,
        over: &CancellationToken,
    ) {
        let Some(key) = self.relayer_on(chain) else { return };
        tokio::join!(self.executions(chain, key, leadership, over), purses(chain, key, over));
    }

    async fn executions(
        &self,
        chain: &Chain,
        key: &RelayerKey,
        leadership: &Leadership,
        over: &CancellationToken,
    ) {
        let mut failures = 0;
        while !over.is_cancelled() {
            let step = self.relay_once(chain, key, leadership);
            let step = AssertUnwindSafe(Box::pin(step)).catch_unwind();
            let problem = match tokio::time::timeout(STEP_MAX, step).await {
                Ok(Ok(Ok(progress))) => {
                    failures = 0;
                    if progress == Progress::Idle {
                        pause(LOOK_EVERY, over).await;
                    }
                    continue;
                }
                Ok(Ok(Err(error))) => chain_of(&error),
                Ok(Err(_)) => "a panic, which is a defect of Countersign".to_owned(),
                Err(_) => "it took too long".to_owned(),
            };
            failures += 1;
            tracing::warn!(chain.id = %chain.id(), error = problem, "cannot execute now");
            let doubled = RETRY_FIRST.saturating_mul(1 << failures.min(8));
            pause(doubled.min(RETRY_MAX), over).await;
        }
    }

    async fn relay_once(
        &self,
        chain: &Chain,
        key: &RelayerKey,
        leadership: &Leadership,
    ) -> Result<Progress, ExecuteError> {
        let Some((at, deep)) = self.place(chain).await? else { return Ok(Progress::Idle) };
        let now = self.clock.now();
        let relayer = Relayer { store: &self.store, chain, key, leadership, now };
        execute::step(relayer, at, deep).await
    }

    /// The follower's head and the block that is deep enough, while the chain is followed: on one that
    /// is in trouble nothing is begun.
    async fn place(
        &self,
        chain: &Chain,
    ) -> Result<Option<(BlockRef, Option<BlockRef>)>, StoreError> {
        if self.store.trouble(chain.id()).await?.is_some() {
            return Ok(None);
        }
        let head = self.store.head(chain.id()).await?;
        Ok(head.map(|head| (head.block, head.deep)))
    }
}

async fn purses(chain: &Chain, key: &RelayerKey, over: &CancellationToken) {
    while !over.is_cancelled() {
        if let Err(error) = execute::purse(chain, key.address()).await {
            tracing::debug!(chain.id = %chain.id(), %error, "cannot read what the relayer holds");
        }
        pause(PURSE_EVERY, over).await;
    }
}
