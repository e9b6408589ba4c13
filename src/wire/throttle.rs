//! What keeps a server from being asked too much: a rate for all calls, a rest for all calls when it
//! says that they are too many, and a rest for one kind of call that keeps failing.
//!
//! Lost with the process. It only delays; what a call that was not made means is told by its error.

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

use crate::clock::{Clock, Time};

/// Failures in a row after which a kind of call is left alone for a while.
const FAILURES_BEFORE_REST: u32 = 5;
const REST_FIRST: Duration = Duration::from_secs(2);
const REST_MAX: Duration = Duration::from_mins(1);
/// A server that wants more patience than this for everything is asked earlier all the same.
const ASKED_REST_MAX: Duration = Duration::from_mins(10);

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Answered {
        status: u16,
        retry_after: Option<Duration>,
    },
    /// Without a whole answer.
    Broken,
}

/// Not now: a call of this kind is to be left alone for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resting {
    pub left: Duration,
}

/// How a server's endpoints do, shared by all clones of a client.
pub struct Throttle {
    clock: Arc<dyn Clock>,
    rate: DefaultDirectRateLimiter,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// No call at all before then.
    all_rest_until: Option<Time>,
    kinds: HashMap<&'static str, Kind>,
}

#[derive(Debug, Default)]
struct Kind {
    failures: u32,
    rests_until: Option<Time>,
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Throttle {
    /// So many calls a second at most, and two seconds' worth of them at once.
    pub fn new(clock: Arc<dyn Clock>, calls_per_second: NonZeroU32) -> Self {
        let burst = calls_per_second.saturating_mul(const { NonZeroU32::new(2).unwrap() });
        let quota = Quota::per_second(calls_per_second).allow_burst(burst);
        Self { clock, rate: RateLimiter::direct(quota), seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call of this kind may be made now.
    ///
    /// # Errors
    /// [`Resting`], with how long it is to be left alone.
    pub fn check(&self, call: &'static str) -> Result<(), Resting> {
        let now = self.clock.now();
        let mut seen = self.seen();
        let all = seen.all_rest_until;
        let kind = seen.kinds.get_mut(call);
        let until = all.max(kind.as_ref().and_then(|kind| kind.rests_until));
        match until {
            Some(until) if now < until => {
                let left = (until - now).to_std().unwrap_or_default();
                Err(Resting { left })
            }
            _ => {
                if let Some(kind) = kind.filter(|kind| kind.rests_until.is_some()) {
                    // One call finds out whether it is over; the others go on waiting for it.
                    kind.rests_until = Some(now + span(rest_after(kind.failures)));
                }
                Ok(())
            }
        }
    }

    /// Waits for a turn by the rate.
    pub async fn turn(&self) {
        let clock = DefaultClock::default();
        while let Err(not_yet) = self.rate.check() {
            tokio::time::sleep(not_yet.wait_time_from(clock.now())).await;
        }
    }

    /// Lets every call rest, as when a server says that no more are left.
    pub fn rest(&self, pause: Duration) {
        let until = self.clock.now() + span(pause.min(ASKED_REST_MAX));
        let mut seen = self.seen();
        seen.all_rest_until = seen.all_rest_until.max(Some(until));
    }

    /// Notes how a call ended. Only what says something about the endpoint counts.
    pub fn note(&self, call: &'static str, ended: Ended) {
        if let Ended::Answered { status: 429, retry_after } = ended {
            self.rest(retry_after.unwrap_or(REST_FIRST));
        }
        let now = self.clock.now();
        let mut seen = self.seen();
        let kind = seen.kinds.entry(call).or_default();
        match ended {
            Ended::Answered { status: 429 | 500..=599, .. } | Ended::Broken => {
                kind.failures = kind.failures.saturating_add(1);
                if kind.failures >= FAILURES_BEFORE_REST {
                    kind.rests_until = Some(now + span(rest_after(kind.failures)));
                }
            }
            Ended::Answered { .. } => *kind = Kind::default(),
        }
    }
}

fn rest_after(failures: u32) -> Duration {
    let more = failures.saturating_sub(FAILURES_BEFORE_REST);
    REST_FIRST.saturating_mul(1 << more.min(8)).min(REST_MAX)
}

fn span(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    use crate::clock::ManualClock;

    const COMMIT: &str = "commit replica";
    const LIST: &str = "list instances";

    fn throttle() -> (Arc<ManualClock>, Throttle) {
        let clock = Arc::new(ManualClock::at("2026-11-21T12:00:00Z".parse().unwrap()));
        let rate = NonZeroU32::new(1_000).unwrap();
        (clock.clone(), Throttle::new(clock, rate))
    }

    fn answered(status: u16, retry_after: Option<u64>) -> Ended {
        Ended::Answered { status, retry_after: retry_after.map(Duration::from_secs) }
    }

    fn rests(throttle: &Throttle, call: &'static str) -> Option<u64> {
        match throttle.check(call) {
            Err(Resting { left }) => Some(left.as_secs()),
            Ok(()) => None,
        }
    }

    #[test]
    fn a_kind_of_call_that_keeps_failing_rests_and_the_others_go_on() {
        let (clock, throttle) = throttle();
        for _ in 0..4 {
            throttle.note(COMMIT, answered(503, None));
        }
        assert_eq!(rests(&throttle, COMMIT), None, "four failures are no habit");
        throttle.note(COMMIT, Ended::Broken);
        assert_eq!(rests(&throttle, COMMIT), Some(2));
        assert_eq!(rests(&throttle, LIST), None);
        clock.advance(TimeDelta::seconds(2));
        assert_eq!(rests(&throttle, COMMIT), None, "one call finds out");
        assert_eq!(rests(&throttle, COMMIT), Some(2), "the others wait for it");
        throttle.note(COMMIT, answered(503, None));
        assert_eq!(rests(&throttle, COMMIT), Some(4), "rests grow");
        clock.advance(TimeDelta::seconds(4));
        assert_eq!(rests(&throttle, COMMIT), None);
        throttle.note(COMMIT, answered(200, None));
        assert_eq!(
            (rests(&throttle, COMMIT), rests(&throttle, COMMIT)),
            (None, None),
            "it is over"
        );
    }

    #[test]
    fn rests_are_capped() {
        let (_, throttle) = throttle();
        for _ in 0..60 {
            throttle.note(COMMIT, answered(500, None));
        }
        assert_eq!(rests(&throttle, COMMIT), Some(60));
    }

    #[test]
    fn too_many_calls_are_too_many_of_every_kind() {
        let (clock, throttle) = throttle();
        throttle.note(LIST, answered(429, Some(30)));
        assert_eq!((rests(&throttle, COMMIT), rests(&throttle, LIST)), (Some(30), Some(30)));
        clock.advance(TimeDelta::seconds(30));
        assert_eq!((rests(&throttle, COMMIT), rests(&throttle, LIST)), (None, None));
        throttle.note(LIST, answered(429, Some(86_400)));
        assert_eq!(rests(&throttle, LIST), Some(600));
    }

    #[test]
    fn a_refusal_is_no_failure_of_the_endpoint() {
        let (_, throttle) = throttle();
        for status in [400, 401, 404, 409, 465, 466, 467, 468] {
            for _ in 0..10 {
                throttle.note(COMMIT, answered(status, None));
            }
            assert_eq!(rests(&throttle, COMMIT), None, "{status}");
        }
    }

    #[test]
    fn calls_beyond_the_rate_wait() {
        let (clock, _) = throttle();
        let throttle = Throttle::new(clock, NonZeroU32::new(1).unwrap());
        let at_once = || throttle.turn().now_or_never().is_some();
        assert!(at_once() && at_once(), "two seconds' worth");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let _inside = runtime.as_ref().unwrap().enter();
        assert!(!at_once());
    }
}
