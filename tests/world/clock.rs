//! A clock that runs as the machine's does, and can be set forward.

use std::sync::Mutex;

use chrono::TimeDelta;
use countersign::clock::{Clock, SystemClock, Time};

#[derive(Debug, Default)]
pub struct TravellingClock(Mutex<TimeDelta>);

impl TravellingClock {
    /// Lets this much time pass at once.
    pub fn pass(&self, time: TimeDelta) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for TravellingClock {
    fn now(&self) -> Time {
        SystemClock.now() + *self.0.lock().unwrap()
    }
}
