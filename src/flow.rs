//! The conductor: which status leads to which room's step, and the loops that make it so.
//!
//! ```text
//! prepared, proposed, approved, executed   watch::look, then propose (build or refresh)
//! registered                               commit::begin; without a live token intake::renew
//! committing                               commit::settle
//! committed                                commit::boot
//! ```
//!
//! A worker claims the request that is due, takes one step, and gives it back with the time of the
//! next look. Whatever fails is tried again with growing pauses; nothing is dropped silently.

mod beside;
mod lead;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt, future::join_all};
use secrecy::SecretString;
use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;

use crate::{
    chain::Chains,
    clock::{Clock, Time},
    commit::{self, CommitError},
    config::{ChainSettings, Settings},
    intake::prepare::{self, PrepareError},
    notify::Webhooks,
    phala::{self, PhalaCloud},
    propose::{self, ProposeError},
    request::{
        Request, deadline,
        event::Event,
        ids::NodeId,
        status::Status,
        step::{Pace, Step},
    },
    store::{
        Store, StoreError,
        journal::Actor,
        lease::{Lease, Rest},
    },
    vault::Vault,
    watch::{
        WatchError,
        look::{Look, look},
    },
};

/// How long a claimed request belongs to its worker.
const LEASE: Duration = Duration::from_mins(2);
/// How long a step may take: it must end before its lease does.
const STEP_MAX: Duration = Duration::from_secs(110);
/// Requests worked on at the same time by one instance.
const WORKERS: usize = 4;
/// Longest sleep of an idle worker: wake-ups can be lost.
const IDLE: Duration = Duration::from_secs(1);
/// A request that waits to be woken is looked at this often all the same. What it waits for is on
/// the chain, and the follower reads that again for many requests in one call.
const LOOK_ANYWAY: Duration = Duration::from_hours(6);
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_mins(5);

/// Everything the service works with.
pub struct Service {
    pub store: Store,
    pub chains: Chains,
    pub cloud: PhalaCloud,
    /// Whether there is an API key, without which nothing can be prepared again.
    pub can_prepare: bool,
    pub vault: Vault,
    pub clock: Arc<dyn Clock>,
    pub settings: Settings,
    pub webhooks: Webhooks,
}

/// Why a step failed. Every kind is tried again; a lost lease is somebody else's to try.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] crate::chain::ChainError),
    #[error(transparent)]
    Watch(#[from] WatchError),
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error("the step took too long")]
    TimedOut,
    #[error("the step panicked, which is a defect of Countersign")]
    Panicked,
}

impl StepError {
    fn is_lost_lease(&self) -> bool {
        matches!(
            self,
            Self::Store(StoreError::LeaseLost)
                | Self::Watch(WatchError::Store(StoreError::LeaseLost))
                | Self::Propose(ProposeError::Store(StoreError::LeaseLost))
                | Self::Commit(CommitError::Store(StoreError::LeaseLost))
                | Self::Prepare(PrepareError::Store(StoreError::LeaseLost))
        )
    }
}

/// An error with everything that caused it, on one line.
pub fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// A client for the network could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS or name resolution")]
pub struct NetworkError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Service {
    /// Puts the service together. Nothing is contacted yet.
    pub fn new(
        settings: Settings,
        store: Store,
        vault: Vault,
        api_key: Option<SecretString>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, NetworkError> {
        let http = phala::Http::new().map_err(|error| NetworkError(error.into()))?;
        let can_prepare = api_key.is_some();
        Ok(Self {
            store,
            chains: Chains::new(&settings.chains).map_err(|error| NetworkError(error.into()))?,
            cloud: PhalaCloud::new(http, settings.phala_api_prefix.clone(), api_key),
            can_prepare,
            vault,
            clock,
            webhooks: Webhooks::new(settings.webhooks.clone())
                .map_err(|error| NetworkError(error.into()))?,
            settings,
        })
    }

    /// Runs workers, followers and deliveries until `stop`; steps under way are finished.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        self.watch_configured(&stop).await;
        let (wake, woken) = channel::channel(());
        let workers = (0..WORKERS).map(|_| self.work(woken.clone(), stop.clone()));
        let followers = self.chains.iter().map(|chain| self.follow(chain, stop.clone()));
        futures::join!(
            join_all(workers),
            join_all(followers),
            self.listen(wake, stop.clone()),
            self.remind(stop.clone()),
            self.deliver(stop.clone()),
        );
    }

    /// Watches what the settings name, whatever requests there are.
    async fn watch_configured(&self, stop: &CancellationToken) {
        for chain in self.chains.iter() {
            let ChainSettings { apps, kms, .. } = chain.settings();
            let kms: Vec<_> = kms.iter().map(|kms| kms.0).collect();
            let now = self.clock.now();
            while let Err(error) = self.store.watch(chain.id(), apps, &kms, now).await {
                tracing::warn!(error = chain_of(&error), "cannot note what is to be watched");
                pause(IDLE, stop).await;
                if stop.is_cancelled() {
                    return;
                }
            }
        }
    }

    async fn work(&self, mut woken: channel::Receiver<()>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            woken.mark_unchanged();
            match self.work_once().await {
                Ok(true) => {}
                Ok(false) => {
                    let idle = self.idle().await;
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = woken.changed() => {}
                        () = tokio::time::sleep(idle) => {}
                    }
                }
                Err(error) => {
                    tracing::error!(error = chain_of(&error), "cannot claim or release requests");
                    pause(IDLE, &stop).await;
                }
            }
        }
    }

    async fn idle(&self) -> Duration {
        match self.store.next_due().await {
            Ok(Some(due)) => (due - self.clock.now()).to_std().unwrap_or_default().min(IDLE),
            _ => IDLE,
        }
    }

    /// Takes one step of the request that has been due longest; false when none is due.
    pub async fn work_once(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let Some((lease, request)) = self.store.claim(now, now + LEASE).await? else {
            return Ok(false);
        };
        let step = tokio::time::timeout(STEP_MAX, self.step(&request, &lease));
        let result = match AssertUnwindSafe(step).catch_unwind().await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(StepError::TimedOut),
            Err(_) => Err(StepError::Panicked),
        };
        let Some(rest) = self.rest(&request, result) else { return Ok(true) };
        match self.store.release(&lease, &rest).await {
            Err(StoreError::LeaseLost) => {
                tracing::warn!(request.id = %request.id, "another worker took over");
                Ok(true)
            }
            done => done.map(|()| true),
        }
    }

    /// When to look at a request again, and why it waits; none when it is not ours any more.
    fn rest(&self, request: &Request, result: Result<Step, StepError>) -> Option<Rest> {
        let now = self.clock.now();
        let failing = |reason| Rest { until: now + backoff(request), reason, failing: true };
        match result {
            // Many steps in a row may be one try, such as a commit that is refused again and again.
            Ok(Step::Changed) => Some(Rest { until: now, reason: None, failing: true }),
            Ok(Step::Wait { reason, pace }) => {
                tracing::debug!(request.id = %request.id, status = %request.status(), %reason, "waits");
                let calm = |pause| Rest { until: now + pause, reason: None, failing: false };
                let rest = match pace {
                    Pace::Woken => Rest { until: woken_by_time(request, now), ..calm(LOOK_ANYWAY) },
                    Pace::After(pause) => calm(pause),
                    Pace::Backoff => failing(None),
                };
                Some(Rest { reason: Some(reason), ..rest })
            }
            Err(error) if error.is_lost_lease() => {
                tracing::warn!(request.id = %request.id, "another worker took over");
                None
            }
            Err(error) => {
                metrics::counter!("countersign_step_failures_total").increment(1);
                let reason = chain_of(&error);
                tracing::warn!(
                    request.id = %request.id, status = %request.status(), error = %reason,
                    "a step failed and is tried again"
                );
                Some(failing(Some(reason)))
            }
        }
    }

    /// The one table: which step a status leads to.
    async fn step(&self, request: &Request, lease: &Lease) -> Result<Step, StepError> {
        let now = self.clock.now();
        metrics::counter!("countersign_steps_total", "status" => request.status().as_str())
            .increment(1);
        if let Some(step) = self.expire(request, lease, now).await? {
            return Ok(step);
        }
        let chain = self.chains.get(request.chain)?;
        let (store, clock) = (&self.store, self.clock.as_ref());
        Ok(match request.status() {
            Status::Prepared | Status::Proposed | Status::Approved | Status::Executed => {
                match look(store, chain, request, lease, now).await? {
                    Look::Settled(step) => step,
                    Look::Missing { at, allowed } if request.status() == Status::Prepared => {
                        propose::propose(store, chain, request, lease, at, allowed, now).await?
                    }
                    Look::Missing { at, allowed } => {
                        propose::refresh(store, chain, request, lease, at, allowed, now).await?
                    }
                }
            }
            Status::Registered if self.can_prepare && !has_usable_token(request, now) => {
                prepare::renew(store, &self.cloud, &self.vault, request, lease, now).await?
            }
            Status::Registered => {
                commit::begin(store, chain, &self.cloud, &self.vault, clock, request, lease).await?
            }
            Status::Committing => {
                commit::settle(store, &self.cloud, clock, self.settings.settle, request, lease)
                    .await?
            }
            Status::Committed => match &request.facts.replica {
                Some(replica) => {
                    let pace = self.settings.boot_poll;
                    commit::boot(store, &self.cloud, clock, pace, request, replica, lease).await?
                }
                None => unreachable!("committed means that the replica is known"),
            },
            Status::Running
            | Status::Rejected
            | Status::Withdrawn
            | Status::Expired
            | Status::Failed => Step::wait("it has ended", Pace::Woken),
        })
    }

    /// Ends a request whose token is dead when no new one can be had.
    async fn expire(
        &self,
        request: &Request,
        lease: &Lease,
        now: Time,
    ) -> Result<Option<Step>, StepError> {
        let dead = match &request.preparation {
            Some(preparation) => preparation.expires_at <= now,
            None => true,
        };
        if !request.status().is_before_commit() || !dead || self.can_prepare {
            return Ok(None);
        }
        let why = match &request.preparation {
            Some(_) => "the commit token expired",
            None => "the commit token was superseded or refused",
        };
        let reason = format!(
            "{why}, and without PHALA_CLOUD_API_KEY no new one can be prepared; what was approved \
             on chain stays approved"
        );
        let event = Event::Expired { reason };
        self.store.record(request.id, Some(lease), &Actor::service("flow"), &event, now).await?;
        Ok(Some(Step::Changed))
    }
}

/// Whether a commit may be started with the token the request has.
fn has_usable_token(request: &Request, now: Time) -> bool {
    request
        .preparation
        .as_ref()
        .is_some_and(|preparation| deadline::commit_fits(preparation.expires_at, now))
}

/// When a request that waits to be woken is looked at all the same: its token may have died by then.
fn woken_by_time(request: &Request, now: Time) -> Time {
    let anyway = now + LOOK_ANYWAY;
    let expires = request.preparation.as_ref().map(|preparation| preparation.expires_at);
    expires.filter(|expires| *expires > now).map_or(anyway, |expires| expires.min(anyway))
}

/// Doubling pauses, each cut by up to a quarter, differently for each request, so that many do not
/// come back at once.
fn backoff(request: &Request) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << request.attempts.min(12)).min(BACKOFF_MAX);
    // By what is asked for, not by the id: the same story told again takes the same time.
    let node = request.node.as_ref().map_or("", NodeId::as_str).bytes();
    let place = request.source.as_str().bytes().chain(node);
    let share = place
        .chain(request.attempts.to_le_bytes())
        .fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    doubled.mul_f64(1.0 - f64::from(share) / 1024.0)
}

/// Waits, but not beyond `stop`.
async fn pause(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}
