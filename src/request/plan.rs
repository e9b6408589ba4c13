//! What is to be done about a request: facts, what this service is able to do, and the time in; one
//! step out. Total over every status, and the only place that decides it.
//!
//! ```text
//! prepared, proposed, approved, executed   Watch; with a key also a fresh token before the old one dies
//! registered                               Commit, with a fresh token first when the old one is no good
//! committing                               Settle, or Ask when a person has the word
//! committed                                Boot
//! any of the first five, token dead, no key   Expire
//! ends                                     Rest
//! ```

use chrono::TimeDelta;

use super::{LivePreparation, Request, deadline, status::Status};
use crate::clock::Time;

/// A token that is to be waited with is replaced this long before it dies, so that a change of
/// hash or device comes out while the owners can still act on it.
pub const RENEW_BEFORE: TimeDelta = TimeDelta::days(1);
/// A token that lives shorter than usual is replaced when this part of its life is left, or each
/// would be replaced as soon as it is there.
const LAST_PART: i32 = 4;

/// When a token that is waited with is to be replaced.
fn renew_at(token: &LivePreparation) -> Time {
    let life = token.expires_at - token.prepared_at;
    token.expires_at - RENEW_BEFORE.min(life / LAST_PART).max(TimeDelta::zero())
}

/// What the service is able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    /// It has the API key that a preparation takes.
    pub can_prepare: bool,
}

impl Means {
    /// What it is able to do for this request.
    #[must_use]
    pub fn of(self, request: &Request) -> Self {
        Self { can_prepare: self.can_prepare && request.is_repeatable }
    }
}

/// The next step of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Look at what the app allows, and put what is missing to its owner. When that leads to
    /// nothing new and `renew` is set, get a fresh token.
    Watch { renew: bool },
    /// Commit; with a fresh token first if `renew` is set.
    Commit { renew: bool },
    /// Find out how the commit ended.
    Settle,
    /// See whether the replica runs.
    Boot,
    /// End it, for this reason: its token is dead and no other can be had.
    Expire(&'static str),
    /// Nothing, until a person has said which instance is this request's.
    Ask,
    /// Nothing: it has ended.
    Rest,
}

/// The one table. `suspect`: a newer preparation of the same source CVM is known, which mostly
/// voids the token of this one.
pub fn plan(request: &Request, suspect: bool, means: Means, now: Time) -> Plan {
    let (status, has_key) = (request.status(), means.can_prepare);
    let means = means.of(request);
    if status.is_before_commit()
        && !means.can_prepare
        && let Some(why) = token_is_dead(request, has_key, now)
    {
        return Plan::Expire(why);
    }
    match status {
        Status::Prepared | Status::Proposed | Status::Approved | Status::Executed => {
            Plan::Watch { renew: means.can_prepare && dies_soon(request, now) }
        }
        Status::Registered => {
            let is_good = !suspect && has_usable_token(request, now);
            Plan::Commit { renew: means.can_prepare && !is_good }
        }
        Status::Committing if request.facts.attention.is_some() => Plan::Ask,
        Status::Committing => Plan::Settle,
        Status::Committed => Plan::Boot,
        Status::Running
        | Status::Rejected
        | Status::Withdrawn
        | Status::Expired
        | Status::Failed => Plan::Rest,
    }
}

fn token_is_dead(request: &Request, has_key: bool, now: Time) -> Option<&'static str> {
    match (&request.preparation, has_key) {
        (Some(preparation), _) if preparation.expires_at > now => None,
        (Some(_), false) => Some("the commit token expired"),
        (None, false) => Some("the commit token was superseded or refused"),
        (Some(_), true) => {
            Some("the commit token expired, and what was sent to prepare the update is not known")
        }
        (None, true) => Some(
            "the commit token was superseded or refused, and what was sent to prepare the update is \
             not known",
        ),
    }
}

/// Whether a commit may be started with the token the request has.
fn has_usable_token(request: &Request, now: Time) -> bool {
    let preparation = request.preparation.as_ref();
    preparation.is_some_and(|preparation| deadline::commit_fits(preparation.expires_at, now))
}

/// A token that was voided by another preparation is not fought over: two requests would void each
/// other's for ever. It is replaced when it is needed.
fn dies_soon(request: &Request, now: Time) -> bool {
    let preparation = request.preparation.as_ref();
    preparation.is_some_and(|preparation| renew_at(preparation) <= now)
}

/// When something about a waiting request changes by time alone.
pub fn changes_by_itself_at(request: &Request, means: Means, now: Time) -> Option<Time> {
    let means = means.of(request);
    let token = request.preparation.as_ref()?;
    let moments = [means.can_prepare.then(|| renew_at(token)), Some(token.expires_at)];
    moments.into_iter().flatten().find(|moment| *moment > now)
}

#[cfg(test)]
mod tests;
