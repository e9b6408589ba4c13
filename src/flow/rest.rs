//! When a request is looked at again: as its step says, with growing pauses after a failure, or as a
//! server asks.

use std::time::Duration;

use super::{Service, StepError, chain_of};
use crate::{
    clock::Time,
    phala::PhalaError,
    request::{
        Request,
        ids::NodeId,
        plan::changes_by_itself_at,
        step::{Pace, Step},
    },
    store::lease::Rest,
};

/// A request that waits to be woken is looked at this often all the same. What it waits for is on
/// the chain, and the follower reads that again for many requests in one call.
const LOOK_ANYWAY: Duration = Duration::from_hours(6);
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_mins(5);

impl StepError {
    /// How long Phala Cloud wants to be left alone, if that is why the step failed.
    fn retry_after(&self) -> Option<Duration> {
        use crate::{commit::CommitError, intake::prepare::PrepareError};
        match self {
            Self::Commit(CommitError::Cloud(error)) | Self::Prepare(PrepareError::Phala(error)) => {
                PhalaError::retry_after(error)
            }
            _ => None,
        }
    }

    /// What to tell a person, when nothing but a person can mend it.
    pub(super) fn for_a_person(&self) -> Option<String> {
        use crate::{commit::CommitError, intake::prepare::PrepareError, vault::VaultError};
        match self {
            Self::Commit(CommitError::Cloud(PhalaError::Api(answer))) => {
                // Anything else may be a proxy that has lost its way for a moment.
                matches!(answer.status, 401 | 403).then(|| answer.explained())
            }
            Self::Commit(CommitError::Vault(error)) | Self::Prepare(PrepareError::Vault(error)) => {
                let what_to_do = match error {
                    VaultError::UnknownKey(_) => {
                        "Give the service that key too (`--seal-key-file`), or prepare the \
                         replica again and import the answer"
                    }
                    _ => "Prepare the replica again and import the answer",
                };
                Some(format!("{}. {what_to_do}.", chain_of(self)))
            }
            _ => None,
        }
    }
}

impl Service {
    /// When to look at a request again, and why it waits; none when it is not ours any more.
    pub(super) fn rest(&self, request: &Request, result: Result<Step, StepError>) -> Option<Rest> {
        let now = self.clock.now();
        let failing = |reason| Rest { until: now + backoff(request), reason, failing: true };
        match result {
            // Many steps in a row may be one try, such as a commit that is refused again and again.
            Ok(Step::Changed) => Some(Rest { until: now, reason: None, failing: true }),
            Ok(Step::Wait { reason, pace }) => {
                tracing::debug!(request.id = %request.id, status = %request.status(), %reason, "waits");
                let calm = |pause| Rest { until: now + pause, reason: None, failing: false };
                let rest = match pace {
                    Pace::Woken => {
                        Rest { until: self.woken_by_time(request, now), ..calm(LOOK_ANYWAY) }
                    }
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
                let asked = error.retry_after().map(|pause| now + pause);
                let rest = failing(Some(reason));
                Some(Rest { until: asked.map_or(rest.until, |at| at.max(rest.until)), ..rest })
            }
        }
    }

    /// When a request that waits to be woken is looked at all the same.
    fn woken_by_time(&self, request: &Request, now: Time) -> Time {
        let anyway = now + LOOK_ANYWAY;
        changes_by_itself_at(request, self.means(), now).map_or(anyway, |at| at.min(anyway))
    }
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
