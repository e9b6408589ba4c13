//! The status of a request: computed from its facts, never stored on its own.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::facts::{EndKind, Facts};

/// Where a request stands.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A commit token is sealed; nothing stands ready for the owner.
    Prepared,
    /// The owner's transaction stands ready for its signatures.
    Proposed,
    /// Enough owners signed; nobody has executed it.
    Approved,
    /// The chain shows compose hash and device as allowed, not yet deep enough.
    Executed,
    /// Both read true at the depth of the policy.
    Registered,
    /// A commit is under way, or its outcome is being found out.
    Committing,
    /// The replica exists and is booting.
    Committed,
    /// The replica runs what was approved.
    Running,
    /// Refused in review.
    Rejected,
    /// Taken back by a person.
    Withdrawn,
    /// The token died and a new one cannot be had.
    Expired,
    /// It cannot succeed any more.
    Failed,
}

impl Status {
    pub const ALL: [Self; 12] = [
        Self::Prepared,
        Self::Proposed,
        Self::Approved,
        Self::Executed,
        Self::Registered,
        Self::Committing,
        Self::Committed,
        Self::Running,
        Self::Rejected,
        Self::Withdrawn,
        Self::Expired,
        Self::Failed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Proposed => "proposed",
            Self::Approved => "approved",
            Self::Executed => "executed",
            Self::Registered => "registered",
            Self::Committing => "committing",
            Self::Committed => "committed",
            Self::Running => "running",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing will change any more.
    pub fn is_end(self) -> bool {
        matches!(
            self,
            Self::Running | Self::Rejected | Self::Withdrawn | Self::Expired | Self::Failed
        )
    }

    /// Whether the commit has not begun, so that the request may still be taken back.
    pub fn is_before_commit(self) -> bool {
        self < Self::Committing
    }

    /// What happens next, for the person who looks at it.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::Prepared => "Countersign reads the owner and what is missing on chain",
            Self::Proposed => "the owner of the app approves it",
            Self::Approved => "anyone executes the approved transaction",
            Self::Executed => "the chain buries the execution as deep as the policy asks",
            Self::Registered => "Countersign commits the replica",
            Self::Committing => "Countersign finds out how the commit ended",
            Self::Committed => "the replica boots",
            Self::Running => "none: what was approved runs",
            Self::Rejected | Self::Withdrawn | Self::Failed => "none",
            Self::Expired => "prepare the replica again; the approval on chain stays good",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a status; one of {}", Status::ALL.map(Status::as_str).join(", "))]
pub struct UnknownStatus;

impl FromStr for Status {
    type Err = UnknownStatus;
    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

/// The status that the facts amount to: the furthest one that is true.
pub fn status(facts: &Facts) -> Status {
    if let Some(end) = &facts.end {
        return match end.kind {
            EndKind::Rejected => Status::Rejected,
            EndKind::Withdrawn => Status::Withdrawn,
            EndKind::Expired => Status::Expired,
            EndKind::Failed => Status::Failed,
        };
    }
    if facts.running_at.is_some() {
        Status::Running
    } else if facts.replica.is_some() {
        Status::Committed
    } else if facts.attempt.is_some() {
        Status::Committing
    } else if facts.registration.is_some() {
        Status::Registered
    } else if facts.execution.is_some() {
        Status::Executed
    } else if facts.approved_at.is_some() {
        Status::Approved
    } else if facts.proposal.is_some() {
        Status::Proposed
    } else {
        Status::Prepared
    }
}
