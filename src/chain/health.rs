//! What an endpoint was seen to do lately: whether it answers, how far it is, and whether it
//! announces heads. Lost with the process; nothing decides by it but whom to ask.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::Notify;

use super::{EndpointError, Header};

/// Failures in a row after which an endpoint is left alone for a while.
const FAILURES_BEFORE_REST: u32 = 3;
const REST_FIRST: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(30);
/// Announcements count as current for this many of the chain's usual pauses between blocks.
const PAUSES_BEFORE_SILENT: u32 = 4;
const SILENT_AFTER_MIN: Duration = Duration::from_secs(2);
const SILENT_AFTER_MAX: Duration = Duration::from_secs(30);

/// How an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing was asked yet.
    Unknown,
    Answers,
    Fails,
}

impl State {
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Unknown => "not asked yet",
            Self::Answers => "answers",
            Self::Fails => "fails",
        }
    }
}

/// What is known of an endpoint, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub state: State,
    /// Newest block it has told of.
    pub head: Option<u64>,
    /// Why it fails.
    pub problem: Option<String>,
    /// Whether it announces heads at the moment.
    pub announces: bool,
}

#[derive(Debug, Default)]
pub struct Health {
    seen: Mutex<Seen>,
    silent: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    answered: bool,
    failures: u32,
    problem: Option<String>,
    rests_until: Option<Instant>,
    head: Option<Header>,
    announcement: Option<Announcement>,
}

#[derive(Debug, Clone, Copy)]
struct Announcement {
    header: Header,
    at: Instant,
    pause: Duration,
}

impl Announcement {
    fn is_current(&self) -> bool {
        let patience =
            (self.pause * PAUSES_BEFORE_SILENT).clamp(SILENT_AFTER_MIN, SILENT_AFTER_MAX);
        self.at.elapsed() < patience
    }
}

impl Health {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn answered(&self) {
        let mut seen = self.seen();
        seen.answered = true;
        seen.failures = 0;
        seen.problem = None;
        seen.rests_until = None;
    }

    pub fn failed(&self, error: &EndpointError) {
        let mut seen = self.seen();
        seen.failures = seen.failures.saturating_add(1);
        seen.problem = Some(error.to_string());
        seen.announcement = None;
        if let Some(more) = seen.failures.checked_sub(FAILURES_BEFORE_REST) {
            let rest = REST_FIRST.saturating_mul(1 << more.min(8)).min(REST_MAX);
            seen.rests_until = Some(Instant::now() + rest);
        }
    }

    /// Whether it is better not asked now, if others can answer.
    pub fn rests(&self) -> bool {
        self.seen().rests_until.is_some_and(|until| Instant::now() < until)
    }

    /// Notes a head that the endpoint announced.
    pub fn announce(&self, header: Header) {
        let mut seen = self.seen();
        let now = Instant::now();
        let pause = seen.announcement.map_or(SILENT_AFTER_MAX, |last| now - last.at);
        seen.head = Some(header);
        seen.announcement = Some(Announcement { header, at: now, pause });
    }

    /// The head, as far as announcements are to be relied on.
    pub fn announced(&self) -> Option<Header> {
        self.seen().announcement.filter(Announcement::is_current).map(|one| one.header)
    }

    /// Notes a head that the endpoint gave when asked. One that is ahead of what it announced
    /// means that announcements have stopped.
    pub fn found(&self, header: Header) {
        let mut seen = self.seen();
        seen.head = Some(header);
        let missed =
            |one: Announcement| !one.is_current() && header.block.number > one.header.block.number;
        if seen.announcement.is_some_and(missed) {
            seen.announcement = None;
            self.silent.notify_one();
        }
    }

    /// Waits until announcements are known to have stopped.
    pub async fn fell_silent(&self) {
        self.silent.notified().await;
    }

    pub fn report(&self) -> Report {
        let seen = self.seen();
        let state = match (&seen.problem, seen.answered) {
            (Some(_), _) => State::Fails,
            (None, true) => State::Answers,
            (None, false) => State::Unknown,
        };
        Report {
            state,
            head: seen.head.map(|header| header.block.number),
            problem: seen.problem.clone(),
            announces: seen.announcement.is_some_and(|one| one.is_current()),
        }
    }
}
