//! Tells a request that somebody else committed it through the gateway, and was answered with success.

use std::time::Duration;

use axum::http::{HeaderValue, request::Parts};
use serde_json::Value;

use super::{WebState, calls::Watched, capture::uuid_of};
use crate::{
    flow::chain_of,
    phala::{CommitToken, seen_commit},
    request::ids::ComposeHash,
    store::{
        StoreError,
        elsewhere::{Elsewhere, SeenCommit},
        journal::Actor,
    },
};

/// Longest that one try to record a commit takes.
const RECORD_PATIENCE: Duration = Duration::from_secs(10);
/// Before each try. What somebody committed and is not recorded would be committed again.
const PAUSES: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_mins(1),
];

/// A commit on its way, with what it names.
#[derive(Debug)]
pub struct Committing {
    token: Option<CommitToken>,
    /// An update that is committed by its compose hash alone: the CVM as it is called, and the hash.
    update: Option<(String, ComposeHash)>,
    key: Option<HeaderValue>,
}

impl Committing {
    /// None when the call asks for something to be prepared. `asked` is its body.
    pub fn read(watched: &Watched, parts: &Parts, asked: Option<&Value>) -> Option<Self> {
        let in_body = asked.and_then(|asked| asked.get("token")).and_then(Value::as_str);
        let in_query = || parts.uri.query().and_then(token_in);
        let token = in_body.map(str::to_owned).filter(|text| !text.is_empty()).or_else(in_query);
        let token = token.and_then(|text| CommitToken::parse(&text).ok());
        let header = |name| parts.headers.get(name).cloned();
        let by_hash = header("x-compose-hash");
        let is_commit = match watched {
            Watched::Replicate { .. } => false,
            Watched::Instance { .. } => token.is_some(),
            // One of the headers alone asks for an update, as none does.
            Watched::Update { .. } => {
                by_hash.is_some()
                    && parts.headers.contains_key("x-transaction-hash")
                    && !parts.headers.contains_key("x-prepare-only")
            }
            Watched::CommitReplica | Watched::CommitUpdate => true,
        };
        let hash = by_hash.as_ref().and_then(|hash| hash.to_str().ok()?.parse().ok());
        let update = match watched {
            Watched::Update { source } => hash.map(|hash| (source.clone(), hash)),
            _ => None,
        };
        is_commit.then(|| Self { token, update, key: header("x-api-key") })
    }
}

fn token_in(query: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "token").map(|(_, token)| token.into_owned())
}

/// Records it, if it is of a request here. The answer does not wait for that. What is not recorded may be
/// made again, so it is tried for a while.
pub fn tell(state: &WebState, watched: &Watched, commit: Committing, answer: &[u8]) {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let (state, route) = (state.clone(), watched.route());
    tokio::spawn(async move {
        let mut outcome = "missed";
        for pause in PAUSES {
            tokio::time::sleep(pause).await;
            let told = record(&state, route, &commit, &answer);
            match tokio::time::timeout(RECORD_PATIENCE, told).await {
                Ok(Ok(told)) => {
                    outcome = told;
                    break;
                }
                Ok(Err(error)) => {
                    tracing::warn!(
                        route,
                        error = chain_of(&error),
                        "gateway commit not recorded yet"
                    );
                }
                Err(_) => {
                    let error = "the database is slow";
                    tracing::warn!(route, error, "gateway commit not recorded yet");
                }
            }
        }
        if outcome == "missed" {
            tracing::warn!(route, "gateway commit missed");
        }
        metrics::counter!("countersign_gateway_commits_total", "outcome" => outcome).increment(1);
    });
}

async fn record(
    state: &WebState,
    route: &str,
    commit: &Committing,
    answer: &Value,
) -> Result<&'static str, StoreError> {
    let (store, vault) = (&state.service.store, &state.service.vault);
    let prints = match (&commit.token, &commit.update) {
        (Some(token), _) => vault.fingerprints(token.secret()),
        (None, Some((named, hash))) => {
            let Some(source) = uuid_of(state, named, commit.key.clone()).await else {
                return Ok("unknown");
            };
            store.fingerprints_of_update(&source, *hash).await?
        }
        (None, None) => return Ok("unknown"),
    };
    let (replica, operation) = seen_commit(answer, commit.token.as_ref());
    let how = format!("the answer to {route} through the gateway");
    let seen = SeenCommit { replica, operation, how };
    let (actor, now) = (Actor::service("gateway"), state.service.clock.now());
    Ok(match store.committed_elsewhere(&prints, &seen, &actor, now).await? {
        Elsewhere::Settled(request) => {
            tracing::info!(request.id = %request.id, route, "somebody committed it through the gateway");
            "settled"
        }
        Elsewhere::Late(request) => {
            tracing::warn!(request.id = %request, route, "somebody committed it although it had ended");
            "ended"
        }
        Elsewhere::Ignored(_) => "ignored",
        Elsewhere::Unknown => "unknown",
    })
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn a_patch_commits_with_both_headers_and_prepares_with_any_other() {
        let watched = Watched::Update { source: "u".into() };
        let hash = "ab".repeat(32);
        for (headers, expected) in [
            (&["x-compose-hash", "x-transaction-hash"][..], true),
            (&["x-compose-hash"], false),
            (&["x-transaction-hash"], false),
            (&["x-compose-hash", "x-transaction-hash", "x-prepare-only"], false),
            (&[], false),
        ] {
            let call = headers
                .iter()
                .fold(Request::patch("/cvms/u"), |call, name| call.header(*name, hash.as_str()));
            let (parts, ()) = call.body(()).unwrap().into_parts();
            let commit = Committing::read(&watched, &parts, None);
            assert_eq!(commit.is_some(), expected, "{headers:?}");
        }
    }
}
