//! Beside the workers: what compose hashes and device ids mean. It never holds a request, and asks
//! Phala Cloud gently: commits come first.

use std::{panic::AssertUnwindSafe, time::Duration};

use chrono::TimeDelta;
use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::{IDLE, Service, chain_of, pause};
use crate::{
    clock::Time,
    request::{
        Request,
        step::{Pace, Step},
    },
    review,
    store::{
        StoreError,
        compose_documents::{Looked, ProofJob},
    },
};

/// How long one look may take, and how long it belongs to its instance.
const LOOK_MAX: Duration = Duration::from_secs(100);
const TURN: TimeDelta = TimeDelta::seconds(120);
/// Between two looks: each asks Phala Cloud several times.
const BETWEEN: Duration = Duration::from_millis(250);
/// Pauses while a document is not found; they grow fourfold.
const RETRY_FIRST: TimeDelta = TimeDelta::seconds(5);
const RETRY_MAX: TimeDelta = TimeDelta::hours(6);
/// How often the nodes are listed, and how soon again for a request that names a device none of them has;
/// how often the instances of apps with open requests.
const NODES_EVERY: TimeDelta = TimeDelta::minutes(5);
const NODES_AGAIN: TimeDelta = TimeDelta::seconds(10);
const INSTANCES_EVERY: TimeDelta = TimeDelta::minutes(10);

impl Service {
    /// Looks for the documents of open requests.
    pub(super) async fn prove(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let rest = match self.prove_once().await {
                Ok(true) => BETWEEN,
                Ok(false) => IDLE,
                Err(error) => {
                    tracing::warn!(error = chain_of(&error), "cannot look for compose documents");
                    IDLE
                }
            };
            tokio::select! {
                () = pause(rest, &stop) => {}
                // A request has come, perhaps. One look after another is made without that.
                () = self.wake.proofs.notified(), if rest == IDLE => {}
            }
        }
    }

    /// One look; false when none is due.
    async fn prove_once(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let Some(job) = self.store.take_proof(now, now + TURN).await? else { return Ok(false) };
        if !job.is_open {
            // It was not needed in time; what is known stays.
            self.store.rest_proof(job.request).await?;
            return Ok(true);
        }
        let is_known = !self.store.documented(&[job.compose]).await?.is_empty();
        let look = review::prove(&self.store, &self.cloud, &self.vault, &job, is_known, now);
        let look = AssertUnwindSafe(tokio::time::timeout(LOOK_MAX, look)).catch_unwind();
        let (looked, found) = match look.await {
            Ok(Ok(looked)) => looked?,
            Ok(Err(_)) => (Looked::failed("the look took too long"), is_known),
            Err(_) => {
                let told = "the look panicked, which is a defect of Countersign";
                (Looked::failed(told), is_known)
            }
        };
        let settled = after(&job, looked, found, self.clock.now());
        self.store.settle_proof(job.request, &settled, self.clock.now()).await?;
        Ok(true)
    }

    /// The step of a request that may not be proposed yet because what its hash means is not proved, or
    /// that of one which is to be proposed together with it.
    pub(super) async fn waits_for_proof(
        &self,
        request: &Request,
    ) -> Result<Option<Step>, StoreError> {
        if !self.settings.require_compose_proof {
            return Ok(None);
        }
        let unproved = self.store.unproved_of(request.id).await?;
        let Some(first) = unproved.first() else { return Ok(None) };
        let whose = if *first == request.id {
            "its compose hash".to_owned()
        } else {
            format!("the compose hash of request {first}, which is to be proposed with it,")
        };
        let proofs = self.store.proofs(&[*first]).await?;
        let contradicted = proofs.get(first).and_then(|proof| proof.contradicted.as_deref());
        let state = contradicted
            .map_or_else(|| "is not proved".to_owned(), |why| format!("is contradicted ({why})"));
        let reason = format!(
            "{whose} {state}, and the policy is to propose nothing before its document is known: \
             `countersign compose attach` hands it in"
        );
        Ok(Some(Step::wait(reason, Pace::Woken)))
    }

    /// Notes which nodes and instances have which device ids, now and then.
    pub(super) async fn know_devices(&self, stop: CancellationToken) {
        let start = self.clock.now();
        let mut nodes = Listed { tried_at: None, done_at: start };
        let mut instances_at = start + INSTANCES_EVERY;
        while !stop.is_cancelled() && self.can_prepare {
            let now = self.clock.now();
            if self.are_nodes_due(nodes, now).await {
                nodes.tried_at = Some(now);
                match review::list_nodes(&self.store, &self.cloud, now).await {
                    Ok(()) => nodes.done_at = now,
                    Err(error) => {
                        tracing::warn!(error = chain_of(&error), "cannot list the nodes");
                    }
                }
            }
            if now >= instances_at {
                instances_at = now + INSTANCES_EVERY;
                if let Err(error) = review::list_instances(&self.store, &self.cloud, now).await {
                    tracing::warn!(error = chain_of(&error), "cannot list instances");
                }
            }
            pause(IDLE, &stop).await;
        }
    }

    /// Whether the nodes are to be listed now. A request that names a device nobody listed does not wait for
    /// its turn: until then people are warned of a device that is perhaps only new.
    async fn are_nodes_due(&self, nodes: Listed, now: Time) -> bool {
        let Some(tried_at) = nodes.tried_at.filter(|at| now < *at + NODES_EVERY) else {
            return true;
        };
        if now < tried_at + NODES_AGAIN {
            return false;
        }
        self.store.names_unlisted_device(nodes.done_at).await.unwrap_or_else(|error| {
            tracing::warn!(error = chain_of(&error), "cannot look for devices of new requests");
            false
        })
    }
}

/// When the list of nodes was asked for last, and when it was had; the start of the service before that.
#[derive(Debug, Clone, Copy)]
struct Listed {
    tried_at: Option<Time>,
    done_at: Time,
}

/// When to look again, if at all.
fn after(job: &ProofJob, looked: Looked, found: bool, now: Time) -> Looked {
    if found {
        return Looked { attempts: job.attempts, next_try_at: None, ..looked };
    }
    let growth = 4_i32.saturating_pow(job.attempts.clamp(0, 12).unsigned_abs());
    let rest = (RETRY_FIRST * growth).min(RETRY_MAX);
    Looked { attempts: job.attempts.saturating_add(1), next_try_at: Some(now + rest), ..looked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rare_and_end_when_the_document_is_there() {
        let now: Time = "2026-11-21T12:00:00Z".parse().unwrap();
        let mut job = ProofJob::sample();
        for (attempts, seconds) in
            [(0, 5), (1, 20), (3, 320), (5, 5_120), (7, 21_600), (90, 21_600)]
        {
            job.attempts = attempts;
            let settled = after(&job, Looked::default(), false, now);
            let rest = settled.next_try_at.map(|at| (at - now).num_seconds());
            assert_eq!((rest, settled.attempts), (Some(seconds), attempts + 1));
        }
        assert_eq!(after(&job, Looked::default(), true, now).next_try_at, None);
    }
}
