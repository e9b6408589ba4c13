//! What a worker's look at a request came to.

use std::time::Duration;

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Something else will wake the request: a block, a signature, a person. Looked at again now
    /// and then all the same, since a wake-up can be lost.
    Woken,
    /// After this long.
    After(Duration),
    /// With growing pauses, the more often in a row it was tried.
    Backoff,
}

/// The end of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An event was recorded: the request is due again at once.
    Changed,
    /// Nothing to do for now, and why.
    Wait { reason: String, pace: Pace },
}

impl Step {
    pub fn wait(reason: impl Into<String>, pace: Pace) -> Self {
        Self::Wait { reason: reason.into(), pace }
    }
}
