//! Time that stands still until the director moves it, and clocks that show it wrongly.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta};
use countersign::clock::{Clock, Time};

/// The time that it is, for everybody.
#[derive(Debug, Clone)]
pub struct SimTime(Arc<Mutex<Time>>);

impl SimTime {
    pub fn new() -> Self {
        let start = DateTime::from_timestamp(1_700_000_000, 0).expect("it is a time");
        Self(Arc::new(Mutex::new(start)))
    }

    pub fn now(&self) -> Time {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn pass(&self, time: TimeDelta) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += time;
    }
}

/// The clock of one instance.
#[derive(Debug, Clone)]
pub struct SkewedClock {
    time: SimTime,
    skew: Arc<Mutex<TimeDelta>>,
}

impl SkewedClock {
    pub fn new(time: &SimTime) -> Self {
        Self { time: time.clone(), skew: Arc::default() }
    }

    pub fn set(&self, skew: TimeDelta) {
        *self.skew.lock().unwrap_or_else(PoisonError::into_inner) = skew;
    }
}

impl Clock for SkewedClock {
    fn now(&self) -> Time {
        // No two moments are the same, as in the world.
        self.time.pass(TimeDelta::microseconds(1));
        self.time.now() + *self.skew.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
