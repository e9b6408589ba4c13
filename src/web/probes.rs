//! Liveness, readiness with reasons, and metrics. None of them needs a token, and none of them
//! tells more than states and ages, and what the chain shows everybody of the relayer's account.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::WebState;
use crate::{clock::Time, execute, flow::chain_of};

/// A head older than this, or than ten polls, means that a chain is not being read.
const HEAD_AGE_MAX: Duration = Duration::from_secs(30);
/// Phala Cloud and the relayer's balance are asked for no more often than this, however often
/// readiness is.
const CLOUD_ASKED_EVERY: Duration = Duration::from_secs(15);

/// One thing the service depends on.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    /// What it looks like, or what is wrong.
    pub detail: String,
}

/// Whether the service can do its work.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Readiness {
    pub ready: bool,
    pub checks: Vec<Check>,
}

/// The last look at Phala Cloud.
#[derive(Debug, Default)]
pub struct CloudHealth(Mutex<Option<(Time, Check)>>);

/// The last look at what the relayer has to pay with.
#[derive(Debug, Default)]
pub struct RelayerHealth(Mutex<Option<(Time, Vec<Check>)>>);

/// Whether the process runs.
#[utoipa::path(get, path = "/healthz", tag = "probes", responses((status = 200, description = "The process runs")))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether database, chains and Phala Cloud are reachable; and, without a say in `ready`, whether the
/// relayer can pay, files with secrets are kept from others, and people can sign in.
#[utoipa::path(
    get, path = "/readyz", tag = "probes",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub async fn readyz(State(state): State<WebState>) -> Response {
    let readiness = readiness(&state).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// The same, for whoever tells it elsewhere.
pub async fn readiness(state: &WebState) -> Readiness {
    let mut checks = vec![database(state).await];
    if checks[0].ok {
        checks.extend(chains(state).await);
    }
    checks.push(cloud(state).await);
    let ready = checks.iter().all(|check| check.ok);
    // Without a relayer everything goes on: anyone may execute.
    checks.extend(relayers(state).await);
    checks.extend(exposed_secrets(state));
    checks.extend(sign_in(state));
    Readiness { ready, checks }
}

async fn database(state: &WebState) -> Check {
    let (ok, detail) = match state.service.store.ping().await {
        Ok(()) => (true, "answers".to_owned()),
        Err(error) => (false, error.to_string()),
    };
    Check { name: "database".into(), ok, detail }
}

async fn chains(state: &WebState) -> Vec<Check> {
    let mut checks = vec![];
    for chain in state.service.chains.iter() {
        let name = format!("chain {}", chain.id());
        let allowed = HEAD_AGE_MAX.max(chain.poll() * 10);
        let (ok, detail) = match state.service.store.head(chain.id()).await {
            Ok(Some(head)) => {
                let age = (state.service.clock.now() - head.seen_at).to_std().unwrap_or_default();
                let block = head.block.number;
                match state.service.store.trouble(chain.id()).await {
                    Ok(Some(trouble)) if trouble.halted => {
                        (false, format!("given up: {}", trouble.problem))
                    }
                    Ok(Some(trouble)) => (false, trouble.problem),
                    Ok(None) => {
                        let detail = format!("block {block}, looked at {} s ago", age.as_secs());
                        (age <= allowed, detail)
                    }
                    Err(error) => (false, error.to_string()),
                }
            }
            Ok(None) => (false, "has not been read yet".into()),
            Err(error) => (false, error.to_string()),
        };
        checks.push(Check { name, ok, detail });
    }
    checks
}

async fn cloud(state: &WebState) -> Check {
    let now = state.service.clock.now();
    let locked = || state.cloud_health.0.lock().unwrap_or_else(PoisonError::into_inner);
    let known = locked().clone();
    if let Some((at, check)) = known
        && (now - at).to_std().is_ok_and(|age| age < CLOUD_ASKED_EVERY)
    {
        return check;
    }
    let (ok, detail) = match state.service.cloud.ping().await {
        Ok(()) => (true, "answers".to_owned()),
        Err(error) => (false, chain_of(&error)),
    };
    let check = Check { name: "phala cloud".into(), ok, detail };
    *locked() = Some((now, check.clone()));
    check
}

/// The relayer's account on each chain that it executes on. The endpoints show their chain id before
/// they are asked.
async fn relayers(state: &WebState) -> Vec<Check> {
    let now = state.service.clock.now();
    let locked = || state.relayer_health.0.lock().unwrap_or_else(PoisonError::into_inner);
    let known = locked().clone();
    if let Some((at, checks)) = known
        && (now - at).to_std().is_ok_and(|age| age < CLOUD_ASKED_EVERY)
    {
        return checks;
    }
    let mut checks = vec![];
    for chain in state.service.chains.iter() {
        let name = format!("relayer on chain {}", chain.id());
        let Some(key) = state.service.relayer_on(chain) else {
            if state.service.relayer.is_some() {
                let detail = "off on this chain: relayer_max_fee_gwei is 0, and anyone may execute";
                checks.push(Check { name, ok: true, detail: detail.into() });
            }
            continue;
        };
        let (ok, detail) = match execute::purse(chain, key.address()).await {
            Ok(purse) => (purse.is_enough(), purse.to_string()),
            Err(error) => (false, chain_of(&error)),
        };
        checks.push(Check { name, ok, detail });
    }
    *locked() = Some((now, checks.clone()));
    checks
}

/// Files with secrets that others on the machine can read. Which files, the log tells: whoever asks
/// here may be anybody.
fn exposed_secrets(state: &WebState) -> Option<Check> {
    let exposed = &state.service.exposed_secrets;
    let detail = match exposed.len() {
        0 => return None,
        1 => "others on the machine can read a file with a key; the log says which".to_owned(),
        several => {
            format!("others on the machine can read {several} files with keys; the log says which")
        }
    };
    Some(Check { name: "secret files".into(), ok: false, detail })
}

/// That nobody can sign in.
fn sign_in(state: &WebState) -> Option<Check> {
    let told = state.service.settings.nobody_signs_in()?;
    Some(Check { name: "sign-in".into(), ok: false, detail: told.into() })
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "probes", responses((status = 200, description = "Prometheus text", content_type = "text/plain")))]
pub async fn metrics(State(state): State<WebState>) -> Result<String, super::problem::Problem> {
    for (status, count) in state.service.store.request_counts().await? {
        #[expect(clippy::cast_precision_loss, reason = "a gauge of counts below 2^52")]
        metrics::gauge!("countersign_requests", "status" => status).set(count as f64);
    }
    Ok(state.metrics.render())
}
