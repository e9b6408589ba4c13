//! Everything that can happen to a request, and the one function that lets it happen.
//!
//! [`Facts::apply`] is total: each pair of status and event either gives new facts or is illegal.
//! An event carries what the journal keeps, so it holds no secret.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    facts::{BlockRef, End, EndKind, Execution, Facts, Registration, Replica},
    ids::{ComposeHash, ReplicaId, RequestId, SafeTxHash, TxHash},
    status::{Status, status},
};
use crate::clock::Time;

/// One thing that happened to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The request was opened with its first preparation.
    Opened {
        preparation: Uuid,
        expires_at: Time,
    },
    /// A newer preparation of the same content took the place of the token.
    Renewed {
        preparation: Uuid,
        expires_at: Time,
    },
    /// A prepare of something else for the same source and node voided the token.
    TokenSuperseded {
        by: Uuid,
    },
    /// A person says how it is to be put to its owner: in one transaction with others, at a nonce of
    /// the Safe, or both; with neither, alone and at the next free one.
    Arranged {
        with: Vec<RequestId>,
        nonce: Option<u64>,
        reason: String,
    },
    /// A person handed in the document that its compose hash is of.
    DocumentAttached {
        compose_hash: ComposeHash,
        form: String,
    },
    /// The owner's transaction was built and stands ready.
    Proposed {
        proposal: Uuid,
        route: String,
        nonce: Option<u64>,
        safe_tx_hash: Option<SafeTxHash>,
        calls: Vec<String>,
    },
    /// The proposal can no longer be executed, or no longer fits what is missing.
    ProposalReplaced {
        proposal: Uuid,
        reason: String,
    },
    /// An owner's signature arrived.
    Confirmed {
        owner: String,
        confirmations: u32,
        threshold: u32,
    },
    /// The chain's head shows both entries.
    Executed {
        block: BlockRef,
        tx: Option<TxHash>,
    },
    /// What the chain showed is gone.
    Retracted {
        reason: String,
    },
    /// Both entries read true at the depth of the policy.
    Registered {
        block: BlockRef,
        depth: String,
    },
    /// The intent to commit, before the call.
    CommitStarted {
        attempt: Uuid,
        preparation: Uuid,
        evidence: String,
    },
    /// The commit was refused, or nothing of it can be seen; it may be tried again.
    CommitRefused {
        attempt: Uuid,
        code: String,
        reason: String,
        /// Nothing of it was seen, but it was not refused either: its replica may still come.
        #[serde(default)]
        may_have_acted: bool,
        /// A person must change something for it to succeed.
        #[serde(default)]
        asks: bool,
    },
    /// The replica of this request is known, or its update is under way.
    Committed {
        attempt: Uuid,
        replica: ReplicaId,
        how: String,
        /// What Phala Cloud calls the work that an update set off, if it told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<String>,
    },
    /// Somebody else committed with the token of this request, and was answered.
    CommittedElsewhere {
        replica: ReplicaId,
        how: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<String>,
    },
    /// The replica runs with the approved compose hash on the approved device.
    Running {
        device_shown: bool,
    },
    /// A person must look. Whether anything is tried meanwhile is for the plan to say.
    AttentionNeeded {
        reason: String,
        /// The instances that may be the replica, when it is asked which one is.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        about: Vec<ReplicaId>,
    },
    /// A person says which instance an unclear commit made, or that it made none.
    Settled {
        attempt: Uuid,
        replica: Option<ReplicaId>,
        reason: String,
    },
    /// A person wants it tried now.
    Retried {
        reason: String,
    },
    /// A person says something about it, which changes nothing.
    Commented {
        text: String,
    },
    Rejected {
        reason: String,
    },
    Withdrawn {
        reason: String,
    },
    Expired {
        reason: String,
    },
    Failed {
        code: Option<String>,
        reason: String,
    },
}

/// An event that its status does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a request that is {status} cannot be {}", event.replace('_', " "))]
pub struct Illegal {
    pub status: Status,
    pub event: &'static str,
}

impl Event {
    /// The stable name the journal files it under.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::Renewed { .. } => "renewed",
            Self::TokenSuperseded { .. } => "token_superseded",
            Self::Arranged { .. } => "arranged",
            Self::DocumentAttached { .. } => "document_attached",
            Self::Proposed { .. } => "proposed",
            Self::ProposalReplaced { .. } => "proposal_replaced",
            Self::Confirmed { .. } => "confirmed",
            Self::Executed { .. } => "executed",
            Self::Retracted { .. } => "retracted",
            Self::Registered { .. } => "registered",
            Self::CommitStarted { .. } => "commit_started",
            Self::CommitRefused { .. } => "commit_refused",
            Self::Committed { .. } => "committed",
            Self::CommittedElsewhere { .. } => "committed_elsewhere",
            Self::Running { .. } => "running",
            Self::AttentionNeeded { .. } => "attention_needed",
            Self::Settled { .. } => "settled",
            Self::Retried { .. } => "retried",
            Self::Commented { .. } => "commented",
            Self::Rejected { .. } => "rejected",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Expired { .. } => "expired",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether `status` lets this happen. Listed whole: what is not here is illegal.
    fn is_legal_from(&self, from: Status) -> bool {
        use Status::{Approved, Committed, Committing, Executed, Prepared, Proposed, Registered};
        match self {
            // The first entry of a request, before it has facts.
            Self::Opened { .. } => from == Prepared,
            Self::Renewed { .. }
            | Self::TokenSuperseded { .. }
            // A token works once: who was answered with success had the effect, and whoever else
            // used it has none.
            | Self::CommittedElsewhere { .. } => from.is_before_commit() || from == Committing,
            // What a hash stands for, and what people say, is worth knowing afterwards too.
            Self::DocumentAttached { .. } | Self::Commented { .. } => true,
            Self::Arranged { .. } | Self::Proposed { .. } => from == Prepared,
            Self::ProposalReplaced { .. } | Self::Confirmed { .. } => {
                matches!(from, Proposed | Approved)
            }
            Self::Executed { .. } => matches!(from, Prepared | Proposed | Approved),
            Self::Retracted { .. } => matches!(from, Executed | Registered),
            Self::Registered { .. } => matches!(from, Prepared | Proposed | Approved | Executed),
            Self::CommitStarted { .. } => from == Registered,
            Self::CommitRefused { .. } | Self::Committed { .. } | Self::Settled { .. } => {
                from == Committing
            }
            Self::Running { .. } => from == Committed,
            Self::AttentionNeeded { .. } | Self::Retried { .. } => !from.is_end(),
            Self::Rejected { .. } | Self::Withdrawn { .. } | Self::Expired { .. } => {
                from.is_before_commit()
            }
            Self::Failed { .. } => !from.is_end(),
        }
    }
}

impl Event {
    /// Whether it is about the present proposal or the open attempt, and a person's word was asked for.
    fn is_about_this(&self, facts: &Facts) -> bool {
        match self {
            Self::ProposalReplaced { proposal, .. } => facts.proposal == Some(*proposal),
            Self::CommitRefused { attempt, .. } | Self::Committed { attempt, .. } => {
                facts.attempt == Some(*attempt)
            }
            Self::Settled { attempt, .. } => {
                facts.attempt == Some(*attempt) && facts.attention.is_some()
            }
            _ => true,
        }
    }
}

/// What a request waits for that has so many of the signatures it needs. Told of first; what else it
/// waits for follows after a semicolon.
pub fn waits_for_signatures(given: usize, needed: u32) -> String {
    format!("{given} of {needed} signatures")
}

/// The reason that was told last, with another count of signatures; none when it tells of anything
/// else first. What else it waits for does not change with a signature.
pub fn recounted(told: &str, given: usize, needed: u32) -> Option<String> {
    let (count, others) = told.split_once(" signatures")?;
    let (before, of) = count.split_once(" of ")?;
    let is_count = before.parse::<u32>().is_ok() && of.parse::<u32>().is_ok();
    let is_first = others.is_empty() || others.starts_with(';');
    (is_count && is_first).then(|| waits_for_signatures(given, needed) + others)
}

impl Facts {
    /// The facts after `event`, or [`Illegal`].
    pub fn apply(&self, event: &Event, at: Time) -> Result<Self, Illegal> {
        let from = status(self);
        if !event.is_legal_from(from) || !event.is_about_this(self) {
            return Err(Illegal { status: from, event: event.kind() });
        }
        let mut next = self.clone();
        match event {
            Event::Opened { .. }
            | Event::Renewed { .. }
            | Event::TokenSuperseded { .. }
            | Event::Commented { .. }
            | Event::DocumentAttached { .. } => {}
            Event::Proposed { proposal, .. } => next.proposal = Some(*proposal),
            Event::ProposalReplaced { .. } => {
                next.proposal = None;
                next.approved_at = None;
            }
            Event::Confirmed { confirmations, threshold, .. } => {
                if confirmations >= threshold && next.approved_at.is_none() {
                    next.approved_at = Some(at);
                }
            }
            Event::Executed { block, tx } => {
                next.execution = Some(Execution { at, block: *block, tx: *tx });
            }
            Event::Retracted { .. } => {
                next.execution = None;
                next.registration = None;
            }
            Event::Registered { block, .. } => {
                next.registration = Some(Registration { at, block: *block });
            }
            Event::CommitStarted { attempt, .. } => next.attempt = Some(*attempt),
            Event::CommitRefused { .. } => next.attempt = None,
            Event::Committed { replica, operation, .. }
            | Event::CommittedElsewhere { replica, operation, .. } => {
                next.take_replica(replica, operation.as_ref(), at);
            }
            Event::Settled { replica, .. } => {
                next.attempt = None;
                if let Some(replica) = replica {
                    next.take_replica(replica, None, at);
                }
            }
            Event::Running { .. } => next.running_at = Some(at),
            Event::Arranged { .. }
            | Event::AttentionNeeded { .. }
            | Event::Retried { .. }
            | Event::Rejected { .. }
            | Event::Withdrawn { .. }
            | Event::Expired { .. }
            | Event::Failed { .. } => {}
        }
        next.attention = match event {
            Event::AttentionNeeded { reason, .. }
            | Event::CommitRefused { reason, asks: true, .. } => Some(reason.clone()),
            // A signature, a new token, a comment or a document does not answer what a person was asked.
            Event::Confirmed { .. }
            | Event::Renewed { .. }
            | Event::TokenSuperseded { .. }
            | Event::Commented { .. }
            | Event::DocumentAttached { .. } => next.attention,
            _ => None,
        };
        next.end = event.end(at).or(next.end);
        if next.end.is_some() {
            next.attempt = None;
        }
        Ok(next)
    }

    fn take_replica(&mut self, id: &ReplicaId, operation: Option<&String>, at: Time) {
        self.attempt = None;
        let operation = operation.cloned();
        self.replica = Some(Replica { id: id.clone(), committed_at: at, operation });
    }
}

impl Event {
    /// Whether the request has its replica with this.
    pub fn has_replica(&self) -> bool {
        matches!(
            self,
            Self::Committed { .. }
                | Self::CommittedElsewhere { .. }
                | Self::Settled { replica: Some(_), .. }
        )
    }

    /// Whether the request is over with this, without a replica.
    pub fn ends(&self) -> bool {
        matches!(
            self,
            Self::Rejected { .. }
                | Self::Withdrawn { .. }
                | Self::Expired { .. }
                | Self::Failed { .. }
        )
    }

    fn end(&self, at: Time) -> Option<End> {
        let (kind, code, reason) = match self {
            Self::Rejected { reason } => (EndKind::Rejected, None, reason),
            Self::Withdrawn { reason } => (EndKind::Withdrawn, None, reason),
            Self::Expired { reason } => (EndKind::Expired, None, reason),
            Self::Failed { code, reason } => (EndKind::Failed, code.clone(), reason),
            _ => return None,
        };
        Some(End { kind, at, code, reason: reason.clone() })
    }
}

#[cfg(test)]
mod tests;
