//! Time as a parameter. Nothing else in the crate may ask the machine what time it is, so a test
//! can move the clock by hand.

use std::sync::Mutex;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

/// A moment, to the microsecond: as fine as PostgreSQL keeps it, so what is read back equals what
/// was written.
pub type Time = DateTime<Utc>;

/// Where the present moment comes from.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Time;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Time {
        to_micros(Utc::now())
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<Time>);

impl ManualClock {
    pub fn at(now: Time) -> Self {
        Self(Mutex::new(to_micros(now)))
    }

    /// Moves the clock forward, or back when `by` is negative.
    pub fn advance(&self, by: TimeDelta) {
        let mut now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn to_micros(time: Time) -> Time {
    time.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(time)
}
