//! When the next thing happens to a request, for programs and in words.

use serde::{Deserialize, Serialize};

use crate::{clock::Time, request::deadline::time_left};

/// When the next thing happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum When {
    /// It is being worked on, or the next free worker takes it.
    Now,
    /// At this time, by itself.
    At {
        #[schema(value_type = String, format = DateTime)]
        at: Time,
    },
    /// When something outside happens.
    Woken {
        /// What it is that must happen.
        by: String,
        /// When that should be, as far as it can be told.
        #[schema(value_type = Option<String>, format = DateTime)]
        expected_at: Option<Time>,
        /// When Countersign looks all the same.
        #[schema(value_type = String, format = DateTime)]
        at: Time,
    },
    /// After a person has acted.
    Person {
        /// What to run, each of them one way on.
        commands: Vec<String>,
        /// When Countersign tries all the same; absent when it does not.
        #[schema(value_type = Option<String>, format = DateTime)]
        at: Option<Time>,
    },
    /// It has ended.
    Never,
}

impl When {
    /// Such as `in 4 min`.
    pub fn words(&self, now: Time) -> String {
        match self {
            Self::Now => "now".into(),
            Self::At { at } => from_now(*at, now),
            Self::Woken { by, expected_at, at } => {
                let expected = match expected_at {
                    Some(at) => format!(" (about {})", from_now(*at, now)),
                    None => String::new(),
                };
                format!(
                    "when woken by {by}{expected}; looked at {} all the same",
                    from_now(*at, now)
                )
            }
            Self::Person { commands, at } => {
                let commands: Vec<_> = commands.iter().map(|it| format!("`{it}`")).collect();
                let anyway = match at {
                    Some(at) => format!("; tried {} all the same", from_now(*at, now)),
                    None => String::new(),
                };
                format!("after a person: {}{anyway}", commands.join(" or "))
            }
            Self::Never => "never: it has ended".into(),
        }
    }
}

/// `now`, or `in 4 min`.
pub(super) fn from_now(at: Time, now: Time) -> String {
    match (at - now).num_seconds() {
        ..=0 => "now".into(),
        _ => format!("in {}", time_left(at, now)),
    }
}
