//! What proposals would do, for the API and the page: computed when somebody asks, seldom enough and
//! few enough at a time that nobody can use up endpoints or processors by asking.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Mutex, Semaphore};
use uuid::Uuid;

use super::WebState;
use crate::{
    chain::simulate::Foreseen,
    clock::Time,
    flow::chain_of,
    request::{Request, ids::RequestId, status::Status},
    review::{self, ForeseeError},
    store::{StoreError, proposals::Proposal},
};

/// Simulations of one instance at the same time.
const AT_ONCE: usize = 2;
/// Longest that somebody waits for one.
const PATIENCE: Duration = Duration::from_secs(20);
/// A proposal is not simulated again within this time.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Proposals of which the last simulation is kept.
const KEPT: usize = 256;

/// What came of it, and when.
#[derive(Debug, Clone)]
pub struct Lately {
    pub at: Time,
    pub foreseen: Arc<Foreseen>,
}

/// Why there is none now.
#[derive(Debug, thiserror::Error)]
pub enum NoneNow {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{AT_ONCE} simulations are under way already: ask again in a moment")]
    Busy,
    #[error("the last one was begun just now and came to no end: ask again in half a minute")]
    Abandoned,
}

/// The last simulation of one proposal.
#[derive(Debug, Default)]
struct Last {
    /// When it was begun. It may have been left.
    begun: Option<Time>,
    found: Option<Lately>,
}

/// What is simulated. A proposal may be for several requests, and each asks after its own additions.
type Subject = (RequestId, Uuid);

/// What was simulated lately.
#[derive(Debug)]
pub struct Simulations {
    turns: Semaphore,
    known: StdMutex<HashMap<Subject, Arc<Mutex<Last>>>>,
}

impl Default for Simulations {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), known: StdMutex::default() }
    }
}

impl Simulations {
    fn of(&self, subject: Subject) -> Arc<Mutex<Last>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT && !known.contains_key(&subject) {
            // Those that somebody waits for stay.
            known.retain(|_, last| Arc::strong_count(last) > 1);
        }
        known.entry(subject).or_default().clone()
    }

    /// What is known of a proposal, unless it is being simulated just now.
    fn lately(&self, subject: Subject) -> Option<Lately> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&subject)?.try_lock().ok()?.found.clone()
    }

    /// What a proposal would do: what was found lately, or what `simulate` finds now. Whoever asks for
    /// the same one meanwhile waits for it, and gets the same.
    async fn now_or_lately(
        &self,
        subject: Subject,
        now: Time,
        simulate: impl Future<Output = Result<Foreseen, StoreError>>,
    ) -> Result<Lately, NoneNow> {
        let last = self.of(subject);
        let mut last = last.lock().await;
        let is_recent = |at: Time| (now - at).to_std().is_ok_and(|age| age < AGAIN_AFTER);
        if last.begun.is_some_and(is_recent) {
            return last.found.clone().ok_or(NoneNow::Abandoned);
        }
        let _turn = self.turns.try_acquire().map_err(|_| NoneNow::Busy)?;
        *last = Last { begun: Some(now), found: None };
        let foreseen = match tokio::time::timeout(PATIENCE, simulate).await {
            Ok(foreseen) => foreseen?,
            Err(_) => Foreseen::NotSimulated {
                problem: format!("it takes longer than {} seconds", PATIENCE.as_secs()),
            },
        };
        let found = Lately { at: now, foreseen: Arc::new(foreseen) };
        last.found = Some(found.clone());
        Ok(found)
    }
}

/// Whether there is something that a Safe would execute, and has not.
pub fn can_be_simulated(request: &Request, proposal: &Proposal) -> bool {
    matches!(request.status(), Status::Proposed | Status::Approved) && proposal.safe.is_some()
}

/// What a proposal would do on the block that is followed.
pub async fn simulate(
    state: &WebState,
    request: &Request,
    proposal: &Proposal,
) -> Result<Lately, NoneNow> {
    let service = &state.service;
    let simulate = async {
        let found = match service.chains.get(request.chain) {
            Ok(chain) => review::foresee(&service.store, chain, request, proposal).await,
            Err(error) => Err(error.into()),
        };
        match found {
            Ok(simulation) => Ok(Foreseen::Simulated(Box::new(simulation))),
            Err(ForeseeError::Store(error)) => Err(error),
            Err(error) => Ok(Foreseen::NotSimulated { problem: chain_of(&error) }),
        }
    };
    let (subject, now) = ((request.id, proposal.id), service.clock.now());
    let found = state.simulations.now_or_lately(subject, now, simulate).await?;
    // The page shows it from now on, and no row has changed.
    if found.at == now {
        state.answers.forget();
    }
    Ok(found)
}

/// What was found of a proposal when somebody last asked.
pub fn lately(state: &WebState, request: &Request, proposal: &Proposal) -> Option<Lately> {
    state.simulations.lately((request.id, proposal.id))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use chrono::TimeDelta;
    use futures::FutureExt;

    use super::*;

    fn found(words: &str) -> impl Future<Output = Result<Foreseen, StoreError>> {
        ready(Ok(Foreseen::NotSimulated { problem: words.into() }))
    }

    fn subject(number: u128) -> Subject {
        (RequestId(Uuid::from_u128(number)), Uuid::from_u128(9))
    }

    fn words(lately: &Lately) -> String {
        lately.foreseen.lines("")[0].words.clone()
    }

    fn at(seconds: i64) -> Time {
        Time::default() + TimeDelta::seconds(seconds)
    }

    #[tokio::test]
    async fn a_proposal_is_simulated_once_in_a_while_however_often_it_is_asked_for() {
        let (all, proposal) = (Simulations::default(), subject(1));
        assert!(all.lately(proposal).is_none());
        for (seconds, given, expected) in
            [(0, "first", "first"), (29, "not asked for", "first"), (30, "second", "second")]
        {
            let told = all.now_or_lately(proposal, at(seconds), found(given)).await.unwrap();
            assert!(words(&told).contains(expected), "{seconds}: {told:?}");
            assert!(words(&all.lately(proposal).unwrap()).contains(expected));
        }
        let other = all.now_or_lately(subject(2), at(30), found("other")).await.unwrap();
        assert!(words(&other).contains("other"), "each proposal has its own");
    }

    #[tokio::test]
    async fn few_run_at_once_and_one_that_is_left_is_not_begun_again_at_once() {
        let all = Simulations::default();
        let ask = |number: u128| all.now_or_lately(subject(number), at(0), pending());
        let mut first = Box::pin(ask(1));
        let mut second = Box::pin(ask(2));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        let third = all.now_or_lately(subject(3), at(0), found("third")).await;
        assert!(matches!(third, Err(NoneNow::Busy)), "{third:?}");
        drop(second);
        let third = all.now_or_lately(subject(3), at(0), found("third")).await;
        assert!(words(&third.unwrap()).contains("third"), "its turn was given back");
        let left = all.now_or_lately(subject(2), at(1), found("again")).await;
        assert!(matches!(left, Err(NoneNow::Abandoned)), "{left:?}");
        let again = all.now_or_lately(subject(2), at(31), found("again")).await;
        assert!(words(&again.unwrap()).contains("again"));
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_kept() {
        let all = Simulations::default();
        for number in 0..200 {
            all.now_or_lately(subject(number), at(0), found("one")).await.unwrap();
        }
        assert!(all.known.lock().unwrap().len() <= KEPT);
    }
}
