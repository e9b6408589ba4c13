//! `/v1/chains`: how far each chain is followed, and how its endpoints do.

use axum::{Json, extract::State};
use serde::Serialize;

use crate::{
    chain::{Chain, EndpointReport},
    clock::Time,
    request::{facts::BlockRef, ids::ChainId},
    web::{WebState, gate::Reader, problem::Problem},
};

/// A chain that is followed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ChainView {
    pub chain_id: ChainId,
    pub name: String,
    /// How deep an execution must lie: `12 blocks`, `safe` or `finalized`.
    pub depth: String,
    /// Endpoints that must agree.
    pub quorum: usize,
    /// The block up to which everything was read.
    pub head: Option<BlockRef>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub head_time: Option<Time>,
    /// When the chain was last looked at.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub seen_at: Option<Time>,
    /// Newest block that is deep enough.
    pub deep: Option<BlockRef>,
    /// Newest block seen to be finalized.
    pub finalized: Option<u64>,
    /// Blocks of history that are still to be read.
    pub history_blocks_left: u64,
    /// Why it cannot be followed at the moment.
    pub trouble: Option<TroubleView>,
    /// The endpoints, as this instance has seen them.
    pub endpoints: Vec<EndpointReport>,
}

/// What keeps a chain from being followed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TroubleView {
    #[schema(value_type = String, format = DateTime)]
    pub since: Time,
    pub problem: String,
    /// Whether it stays so until a person runs `countersign chain restart`.
    pub halted: bool,
}

async fn view(state: &WebState, chain: &Chain) -> Result<ChainView, Problem> {
    let store = &state.service.store;
    let head = store.head(chain.id()).await?;
    let trouble = store.trouble(chain.id()).await?;
    Ok(ChainView {
        chain_id: chain.id(),
        name: chain.id().label(),
        depth: chain.depth().to_string(),
        quorum: chain.settings().quorum,
        head: head.map(|head| head.block),
        head_time: head.map(|head| head.block_time),
        seen_at: head.map(|head| head.seen_at),
        deep: head.and_then(|head| head.deep),
        finalized: head.and_then(|head| head.finalized),
        history_blocks_left: store.history_left(chain.id()).await?,
        trouble: trouble.map(|trouble| TroubleView {
            since: trouble.since,
            problem: trouble.problem,
            halted: trouble.halted,
        }),
        endpoints: chain.endpoints(),
    })
}

/// Every chain that is followed.
pub async fn views(state: &WebState) -> Result<Vec<ChainView>, Problem> {
    let mut chains = vec![];
    for chain in state.service.chains.iter() {
        chains.push(view(state, chain).await?);
    }
    Ok(chains)
}

/// Every chain that is followed.
#[utoipa::path(
    get, path = "/v1/chains", operation_id = "list_chains", tag = "chains",
    responses((status = 200, body = Vec<ChainView>)), security(("token" = []), ("session" = []))
)]
pub async fn list(
    _: Reader,
    State(state): State<WebState>,
) -> Result<Json<Vec<ChainView>>, Problem> {
    Ok(Json(views(&state).await?))
}
