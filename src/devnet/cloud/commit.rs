//! The commit: token, then hash, then what the chain allows, then the evidence. Whatever becomes of
//! it, the call goes on record.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Cloud,
    answers::{self, Answer, Refusal},
    chain::Evidence,
    control::Endpoint,
    instance::EmulatedCvm,
    replicas, shapes,
    state::{CommitCall, World},
    tokens::Plan,
    updates::accepted,
};
use crate::{clock::Time, request::ids::TxHash, request::kind::Kind};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CommitAsk {
    pub token: Option<String>,
    compose_hash: Option<String>,
    transaction_hash: Option<String>,
}

impl CommitAsk {
    /// From a body, with the token perhaps in the query.
    pub fn read(body: &[u8], query: Option<&str>) -> Result<Self, Refusal> {
        let mut ask: Self = replicas::read(body)?;
        if ask.token().is_empty() {
            ask.token = query.and_then(token_in);
        }
        Ok(ask)
    }

    /// A second phase names no token: it is that of the prepare.
    pub fn of_headers(
        world: &mut World,
        id: &str,
        hash: &str,
        transaction: &str,
    ) -> Result<Self, Refusal> {
        let cvm = world.cvms[world.find(id)?].id;
        let wrong = |_| Refusal::coded(466, "ERR-01-006", "Compose hash not prepared, or expired");
        let token = &world.tokens[world.prepared_update(cvm, hash.parse().map_err(wrong)?)?];
        Ok(Self {
            token: Some(token.token.clone()),
            compose_hash: Some(hash.to_owned()),
            transaction_hash: Some(transaction.to_owned()),
        })
    }

    fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    fn compose_hash(&self) -> &str {
        self.compose_hash.as_deref().unwrap_or_default()
    }

    /// The transaction named. Nothing, an empty text and the word for it are the same.
    fn transaction(&self) -> Result<Option<TxHash>, Refusal> {
        match self.transaction_hash.as_deref().unwrap_or_default() {
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
    let ask = CommitAsk::read(&body, query.as_deref())?;
    run(&cloud, Kind::Replica, &id, ask).await
}

fn token_in(query: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "token").map(|(_, token)| token.into_owned())
}

/// Whoever asks may be gone before it is done: that does not stop it.
pub(super) async fn run(cloud: &Cloud, kind: Kind, source: &str, ask: CommitAsk) -> Answer {
    let work = tokio::spawn(carry_out(cloud.clone(), kind, source.to_owned(), ask));
    work.await.unwrap_or_else(|_| Err(Refusal::plain(500, "Internal Server Error")))
}

/// What a commit came to.
enum Done {
    Created(Box<EmulatedCvm>),
    Ordered(Uuid),
}

impl Done {
    fn answer(&self, world: &World) -> Response {
        match self {
            Self::Created(cvm) => Json(shapes::vm(world, cvm)).into_response(),
            Self::Ordered(operation) => accepted(*operation),
        }
    }
}

async fn carry_out(cloud: Cloud, kind: Kind, source: String, ask: CommitAsk) -> Answer {
    let arrival = {
        let mut world = cloud.world();
        world.arrive(Endpoint::Commit);
        world.commits_under_way += 1;
        Arrival { at: world.now(), under_way: world.commits_under_way }
    };
    let outcome = decide(&cloud, kind, &source, &ask).await;
    let mut world = cloud.world();
    world.commits_under_way -= 1;
    world.add_with_commit();
    let swallowed = outcome.is_ok() && world.switches.swallow_next_commit > 0;
    if swallowed {
        world.switches.swallow_next_commit -= 1;
    }
    record(&mut world, kind, &arrival, source, ask, &outcome, swallowed);
    match outcome {
        Ok(_) if swallowed => Ok(answers::cut_off()),
        Ok(done) => Ok(done.answer(&world)),
        Err(refusal) => Err(refusal),
    }
}

/// What there was when a commit came in.
struct Arrival {
    at: Time,
    under_way: usize,
}

async fn decide(cloud: &Cloud, kind: Kind, source: &str, ask: &CommitAsk) -> Result<Done, Refusal> {
    let (source, token) = {
        let mut world = cloud.world();
        world.planned_failure(Endpoint::Commit)?;
        let source = world.cvms[world.find(source)?].id;
        let at = world.live_token(kind, ask.token(), source, ask.compose_hash())?;
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
    settle(&mut world, kind, ask, source)
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
fn settle(world: &mut World, kind: Kind, ask: &CommitAsk, source: Uuid) -> Result<Done, Refusal> {
    let at = world.live_token(kind, ask.token(), source, ask.compose_hash())?;
    let token = world.tokens[at].clone();
    let plan = Plan {
        kind,
        app: token.app,
        source,
        node: token.node,
        device_id: token.device_id,
        compose_hash: token.compose_hash,
        document: token.document,
        encrypted_env: token.encrypted_env,
    };
    let done = match kind {
        Kind::Replica => {
            world.room()?;
            Done::Created(Box::new(world.create(plan)))
        }
        Kind::Update => Done::Ordered(world.order(plan)?),
    };
    world.tokens[at].used = true;
    Ok(done)
}

fn record(
    world: &mut World,
    kind: Kind,
    arrival: &Arrival,
    source: String,
    ask: CommitAsk,
    outcome: &Result<Done, Refusal>,
    swallowed: bool,
) {
    let refusal = outcome.as_ref().err();
    let (created, operation) = match outcome {
        Ok(Done::Created(cvm)) => (Some(cvm.id), None),
        Ok(Done::Ordered(operation)) => (None, Some(*operation)),
        Err(_) => (None, None),
    };
    let done = if kind == Kind::Update { 202 } else { 200 };
    let call = CommitCall {
        at: arrival.at,
        under_way: arrival.under_way,
        source,
        token: world.tokens.iter().position(|token| token.token == ask.token()),
        compose_hash: ask.compose_hash.unwrap_or_default(),
        transaction_hash: ask.transaction_hash.unwrap_or_default(),
        kind,
        status: refusal.map_or(done, |refusal| refusal.status),
        code: refusal.and_then(|refusal| refusal.code.clone()),
        created,
        operation,
        swallowed,
    };
    world.commits.push(call);
}
