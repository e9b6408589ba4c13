//! `/v1/requests/{id}/simulation`: what would come of a proposal.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Serialize;

use super::{proposals::none_yet, requests::request_id};
use crate::{
    chain::simulate::{Foreseen, Simulation},
    clock::Time,
    request::ids::{RequestId, SafeTxHash},
    web::{WebState, gate::Reader, problem::Problem, simulations},
};

/// What a Safe transaction would do.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SimulationView {
    /// The transaction that was executed in memory.
    pub safe_tx_hash: SafeTxHash,
    #[schema(value_type = String, format = DateTime)]
    pub simulated_at: Time,
    /// Whether it succeeds, and does nothing but what additions to an allowlist do.
    pub as_expected: bool,
    pub simulation: Simulation,
}

/// Executes the proposal in memory, on the state of the block that is followed.
///
/// What `countersign verify` shows, by the endpoints of this service: a signer verifies with an
/// endpoint of her own. Nothing is decided by it. It is made again half a minute after the last
/// one at the earliest.
#[utoipa::path(
    get, path = "/v1/requests/{id}/simulation", operation_id = "simulate_proposal", tag = "proposals", params(("id" = RequestId, Path)),
    responses(
        (status = 200, body = SimulationView),
        (status = 404, body = Problem),
        (status = 409, description = "There is no transaction of a Safe that waits to be executed", body = Problem),
        (status = 503, description = "It could not be simulated, or too many are under way", body = Problem),
    ),
    security(("token" = []), ("session" = []))
)]
pub async fn show(
    _: Reader,
    State(state): State<WebState>,
    Path(id): Path<String>,
) -> Result<Json<SimulationView>, Problem> {
    let id = request_id(&id)?;
    let store = &state.service.store;
    let request = store.request(id).await?;
    let proposal = store.proposal(id).await?.ok_or_else(none_yet)?;
    let safe = proposal.safe.as_ref();
    let safe = safe.filter(|_| simulations::can_be_simulated(&request, &proposal));
    let safe = safe.ok_or_else(|| {
        let text = "there is no transaction of a Safe that waits to be executed";
        Problem::new(StatusCode::CONFLICT, "nothing-to-simulate", text)
    })?;
    let lately = simulations::simulate(&state, &request, &proposal).await?;
    match &*lately.foreseen {
        Foreseen::Simulated(simulation) => Ok(Json(SimulationView {
            safe_tx_hash: safe.hashes.safe_tx_hash,
            simulated_at: lately.at,
            as_expected: simulation.is_as_expected(),
            simulation: (**simulation).clone(),
        })),
        Foreseen::NotSimulated { problem } => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-simulated",
            format!("could not simulate: {problem}"),
        )),
    }
}
