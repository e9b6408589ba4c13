//! What an export and a printed page say of themselves: of which app, as of which block, made when and
//! by whom, and where the journal stood, so that it can be held against the journal later.

use axum::http::HeaderMap;
use serde::Serialize;

use super::{WebState, problem::Problem, site::Site};
use crate::{
    clock::Time,
    request::ids::{AppId, BlockHash, ChainId},
    store::{apps::AppHistory, chain::Head, journal::JournalHead},
};

/// Where an export or a page comes from.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Statement {
    /// The service that made it, by the address it was asked at.
    pub service: String,
    /// The version of Countersign.
    pub version: &'static str,
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Time,
    pub chain_id: ChainId,
    pub app: AppId,
    /// The block it is as of; null while the chain has not been read.
    pub as_of_block: Option<u64>,
    /// Its hash; null for a block before the newest one.
    pub as_of_block_hash: Option<BlockHash>,
    /// Every event from this block on is known.
    pub ledger_from: Option<u64>,
    /// Whether those are all since the deployment.
    pub is_whole: bool,
    /// The newest entry of the journal at that moment; null while it is empty.
    pub journal_head: Option<JournalHead>,
}

impl Statement {
    /// Of an app, up to block `at`, or up to the head.
    pub async fn of(
        state: &WebState,
        headers: &HeaderMap,
        history: &AppHistory,
        at: Option<u64>,
        head: Option<&Head>,
    ) -> Result<Self, Problem> {
        let service = &state.service;
        let newest = head.filter(|head| at.is_none_or(|at| at >= head.block.number));
        let head_number = head.map(|head| head.block.number);
        Ok(Self {
            service: Site::of(&service.settings, headers)?.uri,
            version: env!("CARGO_PKG_VERSION"),
            made_at: service.clock.now(),
            chain_id: history.chain,
            app: history.app,
            as_of_block: at.map_or(head_number, |at| head_number.map(|head| at.min(head))),
            as_of_block_hash: newest.map(|head| head.block.hash),
            ledger_from: history.ledger_from,
            is_whole: history.is_whole(),
            journal_head: service.store.journal_head().await?,
        })
    }

    /// Its facts by name, for a table that has a column of names and one of values.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let head = self.journal_head.as_ref();
        let facts = [
            ("chain_id", Some(self.chain_id.to_string())),
            ("app", Some(self.app.to_string())),
            ("as_of_block", number(self.as_of_block)),
            ("as_of_block_hash", self.as_of_block_hash.map(|hash| hash.to_string())),
            ("ledger_from", number(self.ledger_from)),
            ("is_whole", Some(self.is_whole.to_string())),
            ("journal_seq", number(head.map(|head| head.seq))),
            ("journal_hash", head.map(|head| head.hash.clone())),
            ("made_at", Some(self.made_at.to_rfc3339())),
            ("service", Some(self.service.clone())),
            ("version", Some(self.version.to_owned())),
        ];
        facts.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect()
    }
}
