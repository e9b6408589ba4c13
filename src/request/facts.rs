//! What is known about a request. One struct, written as a whole by the store.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ids::{BlockHash, ReplicaId, TxHash};
use crate::clock::Time;

/// A block, by number and hash: a number alone may mean another block tomorrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BlockRef {
    pub number: u64,
    pub hash: BlockHash,
}

/// The chain was seen to allow compose hash and device, not necessarily deep enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    pub at: Time,
    pub block: BlockRef,
    /// The transaction that did it, when a log told.
    pub tx: Option<TxHash>,
}

/// Compose hash and device read true at the depth of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    pub at: Time,
    /// The block the state was read at.
    pub block: BlockRef,
}

/// The CVM that the commit created, or updated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    pub id: ReplicaId,
    pub committed_at: Time,
    /// What Phala Cloud calls the work that an update set off, if it told.
    pub operation: Option<String>,
}

/// How a request ended without a running replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndKind {
    Rejected,
    Withdrawn,
    Expired,
    Failed,
}

impl EndKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Rejected, Self::Withdrawn, Self::Expired, Self::Failed]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// The end, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub kind: EndKind,
    pub at: Time,
    /// A stable code, such as Phala Cloud's `ERR-04-001`.
    pub code: Option<String>,
    pub reason: String,
}

/// Everything that decides the status.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    pub proposal: Option<Uuid>,
    pub approved_at: Option<Time>,
    pub execution: Option<Execution>,
    pub registration: Option<Registration>,
    /// The unsettled commit attempt.
    pub attempt: Option<Uuid>,
    pub replica: Option<Replica>,
    pub running_at: Option<Time>,
    /// Something a person must look at; the request goes on, or waits, where it is.
    pub attention: Option<String>,
    pub end: Option<End>,
}

impl Facts {
    /// Whether something runs that nobody approved: the end of the request is not the end of it.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        let code = self.end.as_ref().and_then(|end| end.code.as_deref());
        matches!(
            code,
            Some("boot-differs" | "created-without-approval" | "updated-without-approval")
        )
    }

    /// Whether a person must look: it asks, or it ended after something was done at Phala Cloud that is
    /// not what was wanted.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        let left_something = self.end.is_some() && self.replica.is_some();
        self.attention.is_some() || left_something || self.is_alarm()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{samples::facts, status::Status};

    #[test]
    fn an_end_asks_for_a_person_when_it_has_left_something() {
        let replica = || facts(Status::Committed).replica;
        let failed = |code: &str, replica| {
            let mut facts = Facts { replica, ..facts(Status::Failed) };
            facts.end.as_mut().unwrap().code = Some(code.into());
            facts.needs_attention()
        };
        assert!(failed("update-failed", replica()) && failed("boot-differs", replica()));
        assert!(failed("created-without-approval", None));
        assert!(failed("updated-without-approval", None));
        assert!(!failed("preparation-differs", None) && !failed("ERR-04-001", None));
        for status in Status::ALL {
            let asked = Facts { attention: Some("look".into()), ..facts(status) };
            assert!(asked.needs_attention() && !facts(status).needs_attention(), "{status}");
        }
    }
}
