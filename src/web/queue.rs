//! What stands around the nonce of a proposal, for the API, the page and the command line.

use serde::Serialize;

use crate::{
    owner::nonce::{NonceWarning, Queue},
    request::{Request, status::Status},
    store::proposals::Proposal,
};

/// The place of a proposal among the transactions of its Safe, when it was last looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct NonceView {
    #[serde(flatten)]
    pub queue: Queue,
    /// Whether the Safe takes it next. Before that an execution reverts.
    pub is_next: bool,
    pub warnings: Vec<NonceWarning>,
}

/// None unless a transaction of a Safe waits to be signed or executed.
pub fn nonce(request: &Request, proposal: Option<&Proposal>) -> Option<NonceView> {
    if !matches!(request.status(), Status::Proposed | Status::Approved) {
        return None;
    }
    let queue = proposal?.safe.as_ref()?.queue.clone();
    queue.map(NonceView::from)
}

impl From<Queue> for NonceView {
    fn from(queue: Queue) -> Self {
        Self { is_next: queue.is_next(), warnings: queue.warnings(), queue }
    }
}
