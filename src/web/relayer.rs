//! What the relayer does about a request, for the API and the page.

use alloy::primitives::Address;
use serde::Serialize;

use crate::{
    chain::RelayerKey,
    clock::Time,
    flow::Service,
    request::{Request, ids::TxHash, status::Status},
    store::{
        StoreError,
        relays::{Fate, Said, Try},
    },
};

/// The relayer, and what it did and does about a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RelayerView {
    /// The account that executes and pays; absent when there is none any more.
    #[schema(value_type = Option<String>)]
    pub address: Option<Address>,
    /// What it does now, or why it waits.
    pub state: String,
    /// Whether a try is under way.
    pub is_trying: bool,
    /// When it last looked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub looked_at: Option<Time>,
    /// Every try, oldest first.
    pub tries: Vec<TryView>,
}

/// One try to execute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TryView {
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    /// The account that pays, and its nonce: all transactions of a try have it, so one of them happens
    /// at most.
    #[schema(value_type = String)]
    pub relayer: Address,
    pub relayer_nonce: u64,
    /// On the state of this block its simulation succeeded.
    pub simulated_block: u64,
    /// What was signed for it, oldest first; each takes the place of the one before.
    pub transactions: Vec<TransactionView>,
    /// How it ended; absent while it is under way.
    pub outcome: Option<Fate>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub settled_at: Option<Time>,
    /// The transaction that used the nonce, if it is one of these, and its block.
    pub transaction: Option<TxHash>,
    pub block: Option<u64>,
}

/// A transaction of the relayer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TransactionView {
    pub hash: TxHash,
    /// Most that is paid, in wei per gas, the tip included.
    pub max_fee: u64,
    pub tip: u64,
    /// It executes nothing: an empty transfer that frees the nonce.
    pub cancels: bool,
    /// When it was last given to the endpoints.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub sent_at: Option<Time>,
}

impl From<&Try> for TryView {
    fn from(one: &Try) -> Self {
        let transactions = one.transactions.iter().map(|sent| TransactionView {
            hash: sent.hash,
            max_fee: sent.max_fee,
            tip: sent.tip,
            cancels: sent.cancels,
            sent_at: sent.sent_at,
        });
        Self {
            at: one.created_at,
            relayer: one.relayer,
            relayer_nonce: one.relayer_nonce,
            simulated_block: one.simulated_block,
            transactions: transactions.collect(),
            outcome: one.fate,
            settled_at: one.settled_at,
            transaction: one.tx,
            block: one.block,
        }
    }
}

impl TryView {
    /// One line.
    #[must_use]
    pub fn words(&self) -> String {
        let replaced = match self.transactions.len() {
            0 | 1 => String::new(),
            several => format!(" (transaction {several}, for a higher fee)"),
        };
        let Some(outcome) = self.outcome else {
            let cancels = self.transactions.last().is_some_and(|last| last.cancels);
            return if cancels {
                "not wanted any more: its nonce is being freed".to_owned()
            } else {
                format!("sent, and not yet deep enough in the chain{replaced}")
            };
        };
        let at = self.block.map(|block| format!(" in block {block}")).unwrap_or_default();
        match outcome {
            Fate::Executed => format!("executed{at}{replaced}"),
            Fate::FailedInside => {
                format!("failed inside{at}: the Safe's nonce is spent, and nothing was done")
            }
            Fate::Reverted => format!("reverted{at}: it only cost gas"),
            Fate::Cancelled => format!("cancelled{at}: it was not wanted any more"),
            Fate::NonceTaken => {
                "came to nothing: another transaction of the account took its nonce".to_owned()
            }
        }
    }
}

/// What the relayer does about a request; none where there is no relayer and never was one, and for a
/// request that it has nothing to do with.
pub async fn relayer(
    service: &Service,
    request: &Request,
) -> Result<Option<RelayerView>, StoreError> {
    let tries = service.store.tries(request.id).await?;
    let chain = service.chains.get(request.chain).ok();
    let address = chain.and_then(|chain| service.relayer_on(chain)).map(RelayerKey::address);
    let waits = matches!(request.status(), Status::Proposed | Status::Approved);
    if tries.is_empty() && (address.is_none() || !waits) {
        return Ok(None);
    }
    let open = tries.iter().find(|one| one.fate.is_none()).map(|one| one.proposal);
    let said = match open.or(request.facts.proposal.filter(|_| waits)) {
        Some(proposal) => service.store.relayer_said(proposal).await?,
        None => None,
    };
    Ok(Some(view(address, request.status(), said, &tries)))
}

fn view(
    address: Option<Address>,
    status: Status,
    said: Option<Said>,
    tries: &[Try],
) -> RelayerView {
    let is_trying = tries.iter().any(|one| one.fate.is_none());
    let state = match (status, &said, address) {
        (.., None) if is_trying => {
            "a transaction may be under way, and without a key nobody looks after it".to_owned()
        }
        (_, Some(Said { says: Some(says), .. }), _) if is_trying => {
            format!("a transaction is under way: {says}")
        }
        _ if is_trying => "a transaction is under way".to_owned(),
        (Status::Proposed, ..) => "executes it once enough owners have signed".to_owned(),
        (Status::Approved, _, None) => {
            "there is no relayer any more: anyone may execute".to_owned()
        }
        (Status::Approved, Some(Said { says: Some(says), .. }), _) => format!("waits: {says}"),
        (Status::Approved, ..) => "executes it now".to_owned(),
        _ => "has nothing to do any more".to_owned(),
    };
    RelayerView {
        address,
        state,
        is_trying,
        looked_at: said.map(|said| said.looked_at),
        tries: tries.iter().map(TryView::from).collect(),
    }
}
