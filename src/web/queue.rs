//! What stands around the nonce of a proposal, for the API, the page and the command line.

use serde::Serialize;

use crate::{
    flow::Service,
    owner::nonce::{NonceWarning, Queue},
    request::{Request, status::Status},
    store::StoreError,
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
pub async fn nonce(service: &Service, request: &Request) -> Result<Option<NonceView>, StoreError> {
    if !matches!(request.status(), Status::Proposed | Status::Approved) {
        return Ok(None);
    }
    let proposal = service.store.proposal(request.id).await?;
    let queue = proposal.and_then(|proposal| proposal.safe).and_then(|safe| safe.queue);
    Ok(queue.map(NonceView::from))
}

impl From<Queue> for NonceView {
    fn from(queue: Queue) -> Self {
        Self { is_next: queue.is_next(), warnings: queue.warnings(), queue }
    }
}
