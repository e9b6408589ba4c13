//! The workers: each claims the request that is due, has one step taken, and gives it back.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use futures::FutureExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{IDLE, Service, StepError, chain_of, pause};
use crate::{
    phala::catalogue::ASK_AGAIN,
    request::{
        Request,
        event::Event,
        ids::RequestId,
        status::Status,
        step::{Pace, Step},
    },
    store::{
        StoreError,
        advance::Seen,
        journal::Actor,
        lease::{Lane, Lease, Rest},
    },
};

/// How long a claimed request belongs to its worker.
const LEASE: Duration = Duration::from_mins(2);
/// How long a step may take: it must end before its lease does.
const STEP_MAX: Duration = Duration::from_secs(110);
/// How often giving a request back is tried again.
const RELEASES: usize = 2;
/// Sleep of a worker that could not claim what is due, as when it waits for its turn behind a
/// commit that takes half a minute. The end of that is announced.
const NOT_YET: Duration = Duration::from_millis(200);

/// Wakes idle workers: one at first, and one that finds work wakes the next. All of them at once
/// would stand in each other's way, and in that of the work.
#[derive(Debug, Default)]
pub struct Wake {
    pub(super) commits: Notify,
    pub(super) others: Notify,
    pub(super) proofs: Notify,
    /// What the follower leaves to be committed at once. Losing it costs the time to its next tick.
    at_once: Mutex<VecDeque<(RequestId, Seen)>>,
}

impl Wake {
    pub(super) fn one_of_each(&self) {
        self.commits.notify_one();
        self.others.notify_one();
        self.proofs.notify_one();
    }

    /// Hands over requests that are about to be registered, and by what.
    pub fn commit_at_once(&self, requests: Vec<(RequestId, Seen)>) {
        if !requests.is_empty() {
            self.at_once.lock().unwrap_or_else(PoisonError::into_inner).extend(requests);
            self.commits.notify_one();
        }
    }

    fn next_at_once(&self) -> Option<(RequestId, Seen)> {
        self.at_once.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Service {
    pub(super) async fn work(&self, lanes: &[Lane], woken: &Notify, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.work_in(lanes, || woken.notify_one()).await {
                Ok(true) => {}
                Ok(false) => {
                    let idle = self.idle().await;
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = woken.notified() => {}
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
        let due = self.store.next_due().await.ok().flatten();
        nap(due.map(|due| due - self.clock.now()))
    }

    /// Takes one step of one request, a commit before anything else; false when none is due.
    pub async fn work_once(&self) -> Result<bool, StoreError> {
        self.work_in(&[Lane::Commits, Lane::Others], || {}).await
    }

    /// Takes one step of a request of the first of these lanes in which one is due. `found` tells
    /// others that there may be more.
    async fn work_in(&self, lanes: &[Lane], found: impl Fn()) -> Result<bool, StoreError> {
        if lanes.contains(&Lane::Commits) && self.work_at_once(&found).await? {
            return Ok(true);
        }
        for lane in lanes.iter().copied() {
            let now = self.clock.now();
            if let Some((lease, request)) = self.store.claim(lane, now, now + LEASE).await? {
                found();
                let step = Box::pin(self.step(&request, &lease));
                self.take_step(&lease, &request, step).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Commits a request that the follower has left to be registered with its intent.
    async fn work_at_once(&self, found: impl Fn()) -> Result<bool, StoreError> {
        while let Some((id, seen)) = self.wake.next_at_once() {
            let now = self.clock.now();
            // What is not to be had is registered with the follower's next tick.
            if let Some((lease, request)) = self.store.claim_at_once(id, now, now + LEASE).await? {
                found();
                let step = Box::pin(self.commit_at_once(&request, &seen, &lease));
                self.take_step(&lease, &request, step).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn take_step(
        &self,
        lease: &Lease,
        request: &Request,
        step: impl Future<Output = Result<Step, StepError>>,
    ) -> Result<(), StoreError> {
        let step = tokio::time::timeout(STEP_MAX, step);
        let result = match AssertUnwindSafe(step).catch_unwind().await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(StepError::TimedOut),
            Err(_) => Err(StepError::Panicked),
        };
        let result = match result {
            Err(error) => self.put_to_a_person(request, lease, error).await,
            done => done,
        };
        let Some(rest) = self.rest(request, result) else { return Ok(()) };
        match self.release(lease, &rest).await {
            Err(StoreError::LeaseLost) => {
                tracing::warn!(request.id = %request.id, "another worker took over");
                Ok(())
            }
            done => done,
        }
    }

    /// A connection that broke is no reason to keep a request until its lease ends.
    async fn release(&self, lease: &Lease, rest: &Rest) -> Result<(), StoreError> {
        for _ in 0..RELEASES {
            match self.store.release(lease, rest).await {
                Err(StoreError::Database { .. }) => {}
                done => return done,
            }
        }
        self.store.release(lease, rest).await
    }

    /// What only a person can mend is put to one, once, and tried again now and then. While a commit
    /// is unclear the question to a person is another one: which instance it made.
    async fn put_to_a_person(
        &self,
        request: &Request,
        lease: &Lease,
        error: StepError,
    ) -> Result<Step, StepError> {
        let Some(reason) = error.for_a_person() else { return Err(error) };
        if request.status() == Status::Committing {
            return Err(error);
        }
        if request.facts.attention.as_ref() != Some(&reason) {
            let event = Event::AttentionNeeded { reason: reason.clone(), about: vec![] };
            let (actor, now) = (Actor::service("flow"), self.clock.now());
            self.store.record(request.id, Some(lease), &actor, &event, now).await?;
        }
        Ok(Step::wait(reason, Pace::After(ASK_AGAIN)))
    }
}

/// How long an idle worker sleeps, by the time until the next request is due.
fn nap(due_in: Option<TimeDelta>) -> Duration {
    match due_in.map(|left| left.to_std()) {
        Some(Ok(left)) if !left.is_zero() => left.min(IDLE),
        Some(_) => NOT_YET,
        None => IDLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_worker_wakes_when_something_is_due_and_does_not_spin_on_what_it_cannot_have() {
        for (due_in, sleeps) in [
            (None, IDLE),
            (Some(TimeDelta::hours(6)), IDLE),
            (Some(TimeDelta::milliseconds(30)), Duration::from_millis(30)),
            (Some(TimeDelta::zero()), NOT_YET),
            (Some(TimeDelta::seconds(-40)), NOT_YET),
        ] {
            assert_eq!(nap(due_in), sleeps, "{due_in:?}");
        }
    }
}
