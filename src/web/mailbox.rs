//! How a proposal stands in Safe's mailbox, for the API and the page. A hint: the chain decides.

use serde::Serialize;

use crate::{
    clock::Time,
    flow::Service,
    request::{Request, status::Status},
    store::StoreError,
};

/// How the proposal of a request stands in the Safe Transaction Service of its chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MailboxView {
    /// Since when the service is known to have it; absent while it has not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub posted_at: Option<Time>,
    /// When it was last read.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub read_at: Option<Time>,
    /// What the service says of the nonce, or was not given, and what to do. The chain decides.
    pub hint: Option<String>,
    /// Why the service cannot be used as it should. The request goes on without it.
    pub problem: Option<String>,
}

impl MailboxView {
    /// One line.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match (self.posted_at, &self.problem) {
            (Some(_), _) => "owners find it in Safe{Wallet} too; signatures go both ways",
            (None, Some(_)) => "it could not be posted yet",
            (None, None) => "not posted: there is no proposer key, and nobody has signed here yet",
        }
    }
}

/// None where no such service is configured, and once a request does not wait for owners any more.
pub async fn mailbox(
    service: &Service,
    request: &Request,
) -> Result<Option<MailboxView>, StoreError> {
    let waits = matches!(request.status(), Status::Proposed | Status::Approved);
    if !waits || service.mailboxes.is_empty() {
        return Ok(None);
    }
    let standing = service.store.mailing(request.id).await?;
    Ok(standing.map(|standing| MailboxView {
        posted_at: standing.posted_at,
        read_at: standing.read_at,
        hint: standing.hint,
        problem: standing.problem,
    }))
}
