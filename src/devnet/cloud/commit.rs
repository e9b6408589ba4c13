//! The commit: token, then hash, then what the chain allows, then the evidence. Whatever becomes of
//! it, the call goes on record.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, RawQuery, State},
    response::IntoResponse,
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Cloud,
    answers::{self, Answer, Refusal},
    chain::Evidence,
    control::Endpoint,
    replicas,
    state::{CommitCall, EmulatedCvm, World},
};
use crate::{clock::Time, request::ids::TxHash};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CommitAsk {
    pub token: String,
    compose_hash: String,
    transaction_hash: String,
}

impl CommitAsk {
    /// The transaction named. Nothing, an empty text and the word for it are the same.
    fn transaction(&self) -> Result<Option<TxHash>, Refusal> {
        match self.transaction_hash.as_str() {
            "" | "already-registered" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Refusal::coded(467, "ERR-01-007", "Not a transaction hash")),
        }
    }
}

pub(super) async fn replica(
    State(cloud): State<Cloud>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Answer {
    let mut ask: CommitAsk = replicas::read(&body)?;
    if ask.token.is_empty()
        && let Some(token) = query.as_deref().and_then(token_in)
    {
        ask.token = token;
    }
    run(&cloud, &id, ask).await
}

fn token_in(query: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "token").map(|(_, token)| token.into_owned())
}

/// Whoever asks may be gone before it is done: that does not stop it.
pub(super) async fn run(cloud: &Cloud, source: &str, ask: CommitAsk) -> Answer {
    let work = tokio::spawn(carry_out(cloud.clone(), source.to_owned(), ask));
    work.await.unwrap_or_else(|_| Err(Refusal::plain(500, "Internal Server Error")))
}

async fn carry_out(cloud: Cloud, source: String, ask: CommitAsk) -> Answer {
    let arrival = {
        let mut world = cloud.world();
        world.arrive(Endpoint::Commit);
        world.commits_under_way += 1;
        Arrival { at: world.now(), under_way: world.commits_under_way }
    };
    let outcome = decide(&cloud, &source, &ask).await;
    let mut world = cloud.world();
    world.commits_under_way -= 1;
    world.add_with_commit();
    let swallowed = outcome.is_ok() && world.switches.swallow_next_commit > 0;
    if swallowed {
        world.switches.swallow_next_commit -= 1;
    }
    record(&mut world, &arrival, source, ask, &outcome, swallowed);
    match outcome {
        Ok(_) if swallowed => Ok(answers::cut_off()),
        Ok(cvm) => Ok(Json(answers::vm(&world, &cvm)).into_response()),
        Err(refusal) => Err(refusal),
    }
}

/// What there was when a commit came in.
struct Arrival {
    at: Time,
    under_way: usize,
}

async fn decide(cloud: &Cloud, source: &str, ask: &CommitAsk) -> Result<EmulatedCvm, Refusal> {
    let (source, token) = {
        let mut world = cloud.world();
        world.planned_failure(Endpoint::Commit)?;
        let source = world.cvms[world.find(source)?].id;
        let at = world.live_token(&ask.token, source, &ask.compose_hash)?;
        (source, world.tokens[at].clone())
    };
    let registration =
        cloud.chain.registration(token.app, token.compose_hash, token.device_id).await?;
    let evidence = match ask.transaction()? {
        None => None,
        Some(tx) => Some(cloud.chain.evidence(tx.0, token.app, token.compose_hash).await?),
    };
    let mut world = cloud.world();
    if !registration.is_allowed() {
        return Err(match evidence {
            Some(Evidence::Good | Evidence::NoEvent | Evidence::Reverted) => {
                Refusal::coded(468, "ERR-01-008", "Compose hash not allowed on-chain")
            }
            Some(Evidence::NoReceipt) | None => {
                Refusal::approval_needed(&world, &token, registration)
            }
        });
    }
    verify(&mut world, evidence)?;
    settle(&mut world, ask, source)
}

fn verify(world: &mut World, evidence: Option<Evidence>) -> Result<(), Refusal> {
    let unverified = |why| Err(Refusal::coded(467, "ERR-01-007", why));
    if evidence.is_some() && world.switches.verification_lag > 0 {
        world.switches.verification_lag -= 1;
        return unverified("Transaction not visible yet");
    }
    match evidence {
        None | Some(Evidence::Good) => Ok(()),
        Some(Evidence::NoReceipt) => unverified("Transaction receipt not found"),
        Some(Evidence::Reverted) => unverified("Transaction reverted"),
        Some(Evidence::NoEvent) => unverified("Transaction did not add this compose hash"),
    }
}

/// The chain was asked without the lock, so the token is looked at again before it is used up.
fn settle(world: &mut World, ask: &CommitAsk, source: Uuid) -> Result<EmulatedCvm, Refusal> {
    let at = world.live_token(&ask.token, source, &ask.compose_hash)?;
    world.room()?;
    let token = world.tokens[at].clone();
    world.tokens[at].used = true;
    Ok(world.create(token.app, source, token.node, token.device_id, token.compose_hash))
}

fn record(
    world: &mut World,
    arrival: &Arrival,
    source: String,
    ask: CommitAsk,
    outcome: &Result<EmulatedCvm, Refusal>,
    swallowed: bool,
) {
    let refusal = outcome.as_ref().err();
    let call = CommitCall {
        at: arrival.at,
        under_way: arrival.under_way,
        source,
        token: world.tokens.iter().position(|token| token.token == ask.token),
        compose_hash: ask.compose_hash,
        transaction_hash: ask.transaction_hash,
        status: refusal.map_or(200, |refusal| refusal.status),
        code: refusal.and_then(|refusal| refusal.code.clone()),
        created: outcome.as_ref().ok().map(|cvm| cvm.id),
        swallowed,
    };
    world.commits.push(call);
}
