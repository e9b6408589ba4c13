//! The conductor: which status leads to which room's step, and the loops that make it so.
//!
//! ```text
//! Watch    watch::look, then propose (build or refresh)
//! Commit   commit::begin, after intake::renew when the token is no good
//! Settle   commit::settle
//! Boot     commit::boot
//! ```
//!
//! Which it is, [`plan`](crate::request::plan) says. A worker claims the request that is due, takes
//! one step, and gives it back with the time of the next look. Whatever fails is tried again with
//! growing pauses; nothing is dropped silently.

mod beside;
mod lead;
mod mail;
mod prove;
mod relay;
mod rest;
mod workers;

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

pub use mail::SafeAccess;
pub use workers::Wake;

use crate::{
    chain::{Chains, RelayerKey},
    clock::Clock,
    commit::{self, CommitError},
    config::{ChainSettings, Settings},
    intake::prepare::{self, PrepareError, Renewal},
    notify::Webhooks,
    phala::PhalaCloud,
    propose::{self, Mailbox, ProposeError},
    request::{
        Request,
        event::Event,
        plan::{Means, Plan, plan},
        status::Status,
        step::{Pace, Step},
    },
    store::{
        Store, StoreError,
        advance::Seen,
        attempts::LATE,
        journal::Actor,
        lease::{Lane, Lease},
    },
    vault::Vault,
    watch::{
        WatchError,
        look::{Look, WAITS_FOR_DEPTH, look},
    },
    wire::{Http, Throttle},
};

/// Requests worked on at the same time by one instance.
const WORKERS: usize = 8;
/// What workers look for, in turn. Some look for nothing else: however slow Phala Cloud is with the
/// one, the other goes on.
const LANES: [&[Lane]; 4] = [
    &[Lane::Commits],
    &[Lane::Others],
    &[Lane::Commits, Lane::Others],
    &[Lane::Others, Lane::Commits],
];
/// Between a fresh token and the next look at what waits.
const RENEWED_PAUSE: Duration = Duration::from_mins(1);
/// Longest sleep of an idle worker: wake-ups can be lost.
const IDLE: Duration = Duration::from_secs(1);

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
    /// Safe's mailboxes, of the chains that have one.
    pub mailboxes: Vec<Mailbox>,
    /// Wakes this instance's workers.
    pub wake: Arc<Wake>,
    /// The account that executes; without it anyone else does.
    pub relayer: Option<RelayerKey>,
    /// Files with secrets that others on this machine can read, in words.
    pub exposed_secrets: Vec<String>,
    /// What Phala Cloud signs its webhooks with; without any, none is taken.
    pub webhook_secrets: Vec<SecretString>,
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
        let http = Http::new().map_err(|error| NetworkError(error.into()))?;
        let can_prepare = api_key.is_some();
        let throttle = Throttle::new(clock.clone(), settings.phala_rate);
        let cloud = PhalaCloud::new(http, settings.phala_api_prefix.clone(), api_key);
        Ok(Self {
            store,
            chains: Chains::new(&settings.chains).map_err(|error| NetworkError(error.into()))?,
            cloud: cloud.throttled(throttle),
            can_prepare,
            vault,
            clock,
            webhooks: Webhooks::new(settings.webhooks.clone())
                .map_err(|error| NetworkError(error.into()))?,
            settings,
            mailboxes: vec![],
            wake: Arc::default(),
            relayer: None,
            exposed_secrets: vec![],
            webhook_secrets: vec![],
        })
    }

    /// The same, knowing which files with secrets others on this machine can read.
    #[must_use]
    pub fn with_exposed_secrets(self, exposed_secrets: Vec<String>) -> Self {
        Self { exposed_secrets, ..self }
    }

    /// The same, taking webhooks that are signed with one of these.
    #[must_use]
    pub fn with_webhook_secrets(self, webhook_secrets: Vec<SecretString>) -> Self {
        Self { webhook_secrets, ..self }
    }

    /// The same, with Safe's mailboxes of the chains that have one.
    pub fn with_mailboxes(self, access: &SafeAccess) -> Result<Self, NetworkError> {
        let mailboxes = mail::mailboxes(&self.settings, access, &self.clock);
        Ok(Self { mailboxes: mailboxes.map_err(NetworkError)?, ..self })
    }

    /// Runs workers, followers and deliveries until `stop`; steps under way are finished.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        self.watch_configured(&stop).await;
        let workers = (0..WORKERS).map(|number| {
            let lanes = LANES[number % LANES.len()];
            let Wake { commits, others, .. } = &*self.wake;
            let woken = if lanes[0] == Lane::Commits { commits } else { others };
            self.work(lanes, woken, stop.clone())
        });
        let mailboxes = self.mailboxes.iter().map(|mailbox| self.mail(mailbox, stop.clone()));
        let followers = self.chains.iter().map(|chain| self.follow(chain, stop.clone()));
        futures::join!(
            join_all(workers),
            join_all(followers),
            join_all(mailboxes),
            self.listen(stop.clone()),
            self.remind(stop.clone()),
            self.deliver(stop.clone()),
            Box::pin(self.prove(stop.clone())),
            Box::pin(self.know_devices(stop.clone())),
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

    /// The one table: which step a plan leads to.
    async fn step(&self, request: &Request, lease: &Lease) -> Result<Step, StepError> {
        metrics::counter!("countersign_steps_total", "status" => request.status().as_str())
            .increment(1);
        let (store, clock) = (&self.store, self.clock.as_ref());
        let is_to_commit = request.status() == Status::Registered;
        let suspect = is_to_commit && store.is_suspect(request).await?;
        match plan(request, suspect, self.means(), clock.now()) {
            Plan::Watch { renew } => self.watch(request, lease, renew).await,
            Plan::Commit { renew: true } => {
                let patience = self.settings.settle;
                let wait = commit::wait_for_list(store, clock, patience, request, lease);
                if let Some(step) = wait.await? {
                    return Ok(step);
                }
                match self.renew(request, lease).await? {
                    Renewal::Fresh(request) => self.commit(&request, None, lease).await,
                    Renewal::Settled(step) => Ok(step),
                }
            }
            Plan::Commit { renew: false } => self.commit(request, None, lease).await,
            Plan::Settle => {
                let patience = self.settings.settle;
                Ok(commit::settle(store, &self.cloud, clock, patience, request, lease).await?)
            }
            Plan::Boot => match &request.facts.replica {
                Some(replica) => {
                    let pace = self.settings.boot_poll;
                    let look =
                        commit::boot(store, &self.cloud, clock, pace, request, replica, lease);
                    Ok(look.await?)
                }
                None => unreachable!("committed means that the replica is known"),
            },
            Plan::Expire(why) => self.expire(request, lease, why).await,
            Plan::Ask => Ok(Step::wait(
                "a person must say which instance is this request's: `countersign settle`",
                Pace::Woken,
            )),
            Plan::Rest => Ok(Step::wait("it has ended", Pace::Woken)),
        }
    }

    /// What this service is able to do.
    pub fn means(&self) -> Means {
        Means { can_prepare: self.can_prepare }
    }

    async fn watch(
        &self,
        request: &Request,
        lease: &Lease,
        renew: bool,
    ) -> Result<Step, StepError> {
        let (store, now) = (&self.store, self.clock.now());
        let chain = self.chains.get(request.chain)?;
        let step = match look(store, chain, request, lease, now).await? {
            Look::Settled(step) => step,
            Look::Missing { at, allowed } if request.status() == Status::Prepared => {
                if let Some(mailbox) = self.mailbox_to_ask(request) {
                    propose::look_into_queue(store, chain, mailbox, request, at, now).await;
                }
                if let Some(step) = self.waits_for_proof(request).await? {
                    return Ok(step);
                }
                propose::propose(store, chain, request, lease, at, allowed, now).await?
            }
            Look::Missing { at, allowed } => {
                propose::refresh(store, chain, request, lease, at, allowed, now).await?
            }
        };
        if !renew || step == Step::Changed {
            return Ok(step);
        }
        Ok(match self.renew(request, lease).await? {
            // It is not replaced again at once, whatever it says about its life.
            Renewal::Fresh(_) => {
                Step::wait("the commit token was replaced", Pace::After(RENEWED_PAUSE))
            }
            Renewal::Settled(step) => step,
        })
    }

    async fn renew(&self, request: &Request, lease: &Lease) -> Result<Renewal, StepError> {
        let (cloud, vault) = (&self.cloud, &self.vault);
        let clock = self.clock.as_ref();
        Ok(prepare::renew(&self.store, cloud, vault, request, lease, clock).await?)
    }

    /// Commits what `seen` is about to make registered, if a commit is what comes next then.
    /// Otherwise the follower writes the registration with its next tick.
    async fn commit_at_once(
        &self,
        request: &Request,
        seen: &Seen,
        lease: &Lease,
    ) -> Result<Step, StepError> {
        let now = self.clock.now();
        let facts = request.facts.apply(&seen.event, now).map_err(StoreError::from)?;
        let request = Request { facts, ..request.clone() };
        let suspect = self.store.is_suspect(&request).await?;
        match plan(&request, suspect, self.means(), now) {
            Plan::Commit { renew: false } => {
                match self.commit(&request, Some(seen), lease).await {
                    // A person is asked once it is registered.
                    Err(error) if error.for_a_person().is_some() => {
                        Ok(Step::wait(chain_of(&error), Pace::Backoff))
                    }
                    done => done,
                }
            }
            _ => Ok(Step::wait(WAITS_FOR_DEPTH, Pace::Woken)),
        }
    }

    async fn commit(
        &self,
        request: &Request,
        registered: Option<&Seen>,
        lease: &Lease,
    ) -> Result<Step, StepError> {
        let chain = self.chains.get(request.chain)?;
        let (store, cloud, vault) = (&self.store, &self.cloud, &self.vault);
        let (clock, patience) = (self.clock.as_ref(), self.settings.settle);
        let begun =
            commit::begin(store, chain, cloud, vault, clock, patience, request, registered, lease);
        Ok(begun.await?)
    }

    /// Ends a request whose token is dead when no new one can be had.
    async fn expire(&self, request: &Request, lease: &Lease, why: &str) -> Result<Step, StepError> {
        let what = if request.is_repeatable {
            "and without PHALA_CLOUD_API_KEY no new one can be prepared"
        } else {
            "so it has to be prepared again by whoever did"
        };
        let mut reason = format!("{why}, {what}; what was approved on chain stays approved");
        if self.store.may_have_acted(request.id).await? {
            reason.push_str(LATE);
        }
        let (event, now) = (Event::Expired { reason }, self.clock.now());
        self.store.record(request.id, Some(lease), &Actor::service("flow"), &event, now).await?;
        Ok(Step::Changed)
    }
}

/// Waits, but not beyond `stop`.
async fn pause(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}
