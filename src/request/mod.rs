//! The one noun: a request for a replica or an update, from prepared to running.
//!
//! ```text
//! prepared → proposed → approved → executed → registered → committing → committed → running
//!     └──────────┴──────────┴──────────┴───────→ ┘ ↑              │
//!                                                  └─ no effect ──┘
//! ```
//!
//! Pure: no clock, no network, no database. Facts say what is known; [`status::status`] turns them
//! into the one word that every page, worker and query uses; [`event::Event`] is the only way to
//! change them.

pub mod age;
pub mod deadline;
pub mod event;
pub mod explain;
pub mod facts;
pub mod ids;
pub mod kind;
pub mod need;
pub mod plan;
#[cfg(test)]
pub mod samples;
pub mod status;
pub mod step;

use crate::clock::Time;
use facts::Facts;
use ids::{AppId, ChainId, ComposeHash, DeviceId, NodeId, RequestId, SourceCvm};
use kind::{Kind, Target};
use status::Status;
use uuid::Uuid;

/// The live preparation of a request, without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePreparation {
    pub id: Uuid,
    pub prepared_at: Time,
    pub expires_at: Time,
}

/// A request: its content, which never changes, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub id: RequestId,
    pub kind: Kind,
    pub chain: ChainId,
    pub app: AppId,
    /// The CVM that a replica is made from, or its app; the CVM that is updated.
    pub source: SourceCvm,
    pub node: Option<NodeId>,
    pub compose: ComposeHash,
    pub device: DeviceId,
    pub note: Option<String>,
    pub created_at: Time,
    pub created_by: String,
    pub facts: Facts,
    pub preparation: Option<LivePreparation>,
    /// Expiry of the newest preparation, live or not.
    pub expires_at: Time,
    /// When the newest preparation was made.
    pub prepared_at: Time,
    /// Whether it can be prepared again with what is known. An update takes what was sent to prepare
    /// it, which is not known of each.
    pub is_repeatable: bool,
    /// Why it waits, in words, as the last look found it.
    pub reason: Option<String>,
    pub next_try_at: Time,
    /// Until when a worker holds it at most, if one does.
    pub held_until: Option<Time>,
    /// Looks since the last change, which the backoff grows with.
    pub attempts: u32,
}

impl Request {
    pub fn status(&self) -> Status {
        status::status(&self.facts)
    }

    /// What is prepared and committed for it.
    pub fn target(&self) -> Target {
        Target::of(self.kind, &self.source)
    }
}
