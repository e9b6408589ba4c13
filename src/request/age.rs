//! How long a request may stay where it is before somebody is told. Stuck is no status: it is an
//! alert on age, and the request is worked on as before.

use chrono::TimeDelta;

use super::{Request, status::Status};
use crate::clock::Time;

/// Later alerts come after four times as long, and again.
const GROWS_BY: i32 = 4;
/// More alerts about one thing tell nothing.
const LEVEL_MAX: u32 = 6;

/// A request that is where it is for longer than usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue {
    /// Since when it is there.
    pub since: Time,
    /// 1 for the first alert, 2 after four times as long, and so on.
    pub level: u32,
}

/// How long it usually takes at most to get on from a status by Countersign's own work. What waits
/// for people is reminded of by the life of its token instead.
pub fn usual(status: Status) -> Option<TimeDelta> {
    match status {
        Status::Prepared => Some(TimeDelta::minutes(15)),
        // A chain's finality takes as long as 20 minutes.
        Status::Executed => Some(TimeDelta::hours(1)),
        Status::Registered | Status::Committing => Some(TimeDelta::minutes(10)),
        Status::Committed => Some(TimeDelta::minutes(30)),
        Status::Proposed
        | Status::Approved
        | Status::Running
        | Status::Rejected
        | Status::Withdrawn
        | Status::Expired
        | Status::Failed => None,
    }
}

/// Since when a request is where it is. A commit that is refused and tried again stays there.
fn since(request: &Request) -> Option<Time> {
    let facts = &request.facts;
    match request.status() {
        // One that came back from its owners has been proposed before.
        Status::Prepared if facts.attention.is_none() => Some(request.created_at),
        Status::Executed => facts.execution.as_ref().map(|execution| execution.at),
        Status::Registered | Status::Committing => {
            facts.registration.as_ref().map(|registration| registration.at)
        }
        Status::Committed => facts.replica.as_ref().map(|replica| replica.committed_at),
        _ => None,
    }
}

/// Whether somebody should be told that a request does not get on.
pub fn overdue(request: &Request, now: Time) -> Option<Overdue> {
    let (since, mut limit) = (since(request)?, usual(request.status())?);
    let mut level = 0;
    while now - since >= limit && level < LEVEL_MAX {
        level += 1;
        limit = limit * GROWS_BY;
    }
    (level > 0).then_some(Overdue { since, level })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{
        facts::{BlockRef, Facts, Registration},
        samples::request,
    };
    use alloy::primitives::B256;

    #[test]
    fn what_does_not_get_on_is_told_less_and_less_often() {
        let registered = request(Status::Registered, None);
        let at = registered.facts.registration.as_ref().unwrap().at;
        let level =
            |minutes| overdue(&registered, at + TimeDelta::minutes(minutes)).map(|it| it.level);
        assert_eq!(
            [0, 9, 10, 39, 40, 159, 160].map(level),
            [None, None, Some(1), Some(1), Some(2), Some(2), Some(3)]
        );
        assert_eq!(level(i64::from(u16::MAX) * 60), Some(LEVEL_MAX));
    }

    #[test]
    fn a_commit_that_is_tried_again_and_again_is_as_old_as_its_registration() {
        let mut request = request(Status::Committing, None);
        let at = request.created_at - TimeDelta::hours(1);
        let block = BlockRef { number: 1, hash: crate::request::ids::BlockHash(B256::ZERO) };
        request.facts = Facts { registration: Some(Registration { at, block }), ..request.facts };
        assert_eq!(overdue(&request, request.created_at), Some(Overdue { since: at, level: 2 }));
    }

    #[test]
    fn people_may_take_their_time_and_ends_are_ends() {
        for status in Status::ALL.into_iter().filter(|status| usual(*status).is_none()) {
            let request = request(status, None);
            assert_eq!(
                overdue(&request, request.created_at + TimeDelta::days(100)),
                None,
                "{status}"
            );
        }
    }
}
