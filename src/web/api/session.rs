//! `/v1/session`: signing in with a wallet (EIP-4361), who somebody is here, and signing out.
//!
//! ```text
//! POST /v1/session/challenge  address, chain ─► the whole message to sign
//! POST /v1/session            message, signature ─► a cookie
//! ```
//!
//! The nonce of a message is gone as soon as somebody comes with it, whatever else is wrong.

use alloy::primitives::{Address, Bytes as HexBytes, eip191_hash_message};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DurationRound, TimeDelta};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::requests::parse_body;
use crate::{
    access::{self, SessionId},
    clock::Time,
    request::ids::ChainId,
    roles::Role,
    siwe::{self, Message, NotSigned},
    store::sessions::{Nonce, Session},
    web::{
        WebState,
        gate::{Caller, SESSION_IDLE, SESSION_LIFE, session},
        owners::{OwnedSafe, owned},
        peers::Peer,
        problem::Problem,
        site::{self, Site, Whence},
    },
};

/// How long a message can be signed and handed back.
const CHALLENGE_LIFE: TimeDelta = TimeDelta::minutes(10);
/// Bytes of a signature: those of several owners of a Safe, at most.
const SIGNATURE_MAX: usize = 8_192;

/// Who wants to sign in.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body; it is read field by field to name what is wrong")]
pub struct NewChallenge {
    /// Of the wallet.
    #[schema(value_type = String)]
    address: Address,
    /// One that this service follows. A wallet that is a contract is asked there whether it signed.
    #[schema(value_type = u64)]
    chain_id: ChainId,
}

/// What is to be signed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Challenge {
    /// For `personal_sign`, as it is.
    pub message: String,
    pub nonce: String,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Time,
}

/// A message and its signature.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body; it is read field by field to name what is wrong")]
pub struct SignIn {
    message: String,
    /// In hexadecimal: 65 bytes of a key, or whatever the contract takes (EIP-1271).
    signature: String,
}

/// Who somebody is here.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub struct SessionView {
    /// As the journal calls them; null for somebody who is not known.
    pub actor: Option<String>,
    /// Of the wallet that signed in.
    #[schema(value_type = Option<String>)]
    pub address: Option<Address>,
    pub roles: Vec<Role>,
    /// Safes that this wallet owns and that own an app: it is a signer of what is asked for those apps.
    pub signer_of: Vec<OwnedSafe>,
    /// Chains of which it is not known, since they do not read now.
    #[schema(value_type = Vec<u64>)]
    pub unread_chains: Vec<ChainId>,
    /// When the session ends, however much it is used.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Time>,
    /// When it ends if it is not used.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub idle_until: Option<Time>,
}

fn refused(code: &'static str, title: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, title)
}

impl From<siwe::Refused> for Problem {
    fn from(error: siwe::Refused) -> Self {
        let code = match error {
            siwe::Refused::Form => return Self::of_field("message", error.to_string()),
            siwe::Refused::Domain => "wrong-domain",
            siwe::Refused::Uri => "wrong-uri",
            siwe::Refused::Future => "message-of-the-future",
            siwe::Refused::Expired => "message-expired",
        };
        refused(code, error.to_string())
    }
}

impl From<access::TokenError> for Problem {
    fn from(error: access::TokenError) -> Self {
        Self::internal(&error)
    }
}

/// Nobody is signed in by a page of another site, under whatever name: not by a script, nor by a form,
/// which cannot say that it is JSON.
fn not_from_elsewhere(site: &Site, headers: &HeaderMap) -> Result<(), Problem> {
    if !site::is_json(headers) {
        let title = "a sign-in is sent as application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", title));
    }
    match site::whence(site, headers) {
        Whence::Elsewhere => Err(refused("cross-site", "nobody signs in from another site")),
        Whence::Here | Whence::Untold => Ok(()),
    }
}

fn text_in<'a>(body: &'a Value, field: &str) -> Result<&'a str, Problem> {
    body.get(field).and_then(Value::as_str).ok_or_else(|| Problem::of_field(field, "missing"))
}

fn address_in(body: &Value) -> Result<Address, Problem> {
    let wrong = || Problem::of_field("address", "expected 0x and 40 hexadecimal digits");
    text_in(body, "address")?.parse().map_err(|_| wrong())
}

fn chain_in(state: &WebState, body: &Value) -> Result<ChainId, Problem> {
    let wrong =
        || Problem::of_field("chain_id", "expected the id of a chain that is followed here");
    let chain = body.get("chain_id").and_then(Value::as_u64).ok_or_else(wrong)?;
    let chain = ChainId::new(chain).map_err(|_| wrong())?;
    state.service.chains.get(chain).map_err(|_| wrong())?;
    Ok(chain)
}

/// Writes the message that a wallet signs to sign in. It is good for ten minutes, once.
#[utoipa::path(
    post, path = "/v1/session/challenge", operation_id = "challenge", tag = "session", request_body = NewChallenge,
    responses(
        (status = 201, body = Challenge),
        (status = 403, description = "A page of another site asks, or `no-public-url`: without that setting only the machine itself is signed in to", body = Problem),
        (status = 422, body = Problem), (status = 429, description = "Too many; `Retry-After` says when again", body = Problem),
    ),
    security(())
)]
pub async fn challenge(
    peer: Peer,
    State(state): State<WebState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Challenge>), Problem> {
    let service = &state.service;
    let site = Site::to_sign_in(&service.settings, &headers)?;
    not_from_elsewhere(&site, &headers)?;
    state.peers.signs_in(peer)?;
    let body = parse_body(&body)?;
    let (address, chain) = (address_in(&body)?, chain_in(&state, &body)?);
    let now = service.clock.now();
    // Messages tell seconds.
    let issued_at = now.duration_trunc(TimeDelta::seconds(1)).unwrap_or(now);
    let expires_at = issued_at + CHALLENGE_LIFE;
    let (nonce, request) = (access::nonce()?, Uuid::new_v4());
    let given = Nonce { nonce: nonce.clone(), address, chain, request, expires_at };
    if !service.store.keep_nonce(&given, &peer.to_string(), now).await? {
        let title = "too many messages were given out to this address and not signed";
        return Err(Problem::too_many(title, CHALLENGE_LIFE.to_std().unwrap_or_default()));
    }
    let challenge = Challenge { message: issued(&given, site).to_string(), nonce, expires_at };
    Ok((StatusCode::CREATED, Json(challenge)))
}

/// Signs in with a message of this service and its signature, by a key or by a contract (EIP-1271). The
/// answer sets a cookie with a new session, which takes the place of the one before.
#[utoipa::path(
    post, path = "/v1/session", operation_id = "sign_in", tag = "session", request_body = SignIn,
    responses(
        (status = 201, description = "Signed in; `Set-Cookie` carries the session", body = SessionView),
        (status = 403, description = "The message or its signature does not hold; `code` says which part", body = Problem),
        (status = 422, body = Problem), (status = 429, description = "Too many; `Retry-After` says when again", body = Problem),
        (status = 503, description = "The chain does not read, so a contract cannot be asked", body = Problem),
    ),
    security(())
)]
pub async fn sign_in(
    peer: Peer,
    State(state): State<WebState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let (service, now) = (&state.service, state.service.clock.now());
    let site = Site::to_sign_in(&service.settings, &headers)?;
    not_from_elsewhere(&site, &headers)?;
    state.peers.signs_in(peer)?;
    let body = parse_body(&body)?;
    let text = text_in(&body, "message")?;
    let message: Message = text.parse()?;
    let given = service.store.take_nonce(&message.nonce, now).await?;
    let signature: HexBytes = text_in(&body, "signature")?
        .parse()
        .ok()
        .filter(|bytes: &HexBytes| bytes.len() <= SIGNATURE_MAX)
        .ok_or_else(|| Problem::of_field("signature", "expected hexadecimal digits with 0x"))?;
    message.check(&site.domain, &site.uri, now)?;
    let given = given.ok_or_else(|| {
        refused("nonce-unknown", "this message was used, or has expired: ask for a new one")
    })?;
    check_given(&message, &given, site)?;
    check_signature(&state, &message, text, signature).await?;
    let session = Session {
        address: message.address,
        created_at: now,
        last_seen_at: now,
        expires_at: now + SESSION_LIFE,
    };
    let id = SessionId::generate()?;
    let before = site::session_id(&service.settings, &headers).map(|id| id.hash());
    service.store.open_session(&id.hash(), &session, before.as_ref()).await?;
    tracing::info!(wallet = %message.address, "signed in");
    let cookie = site::set_cookie(&service.settings, id.expose(), SESSION_LIFE.num_seconds());
    let view = view_of_session(&state, session).await?;
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie)], Json(view)).into_response())
}

/// The message that a nonce was given out in.
fn issued(given: &Nonce, site: Site) -> Message {
    Message {
        domain: site.domain,
        address: given.address,
        uri: site.uri,
        chain: given.chain,
        nonce: given.nonce.clone(),
        issued_at: given.expires_at - CHALLENGE_LIFE,
        expires_at: given.expires_at,
        request: given.request,
    }
}

/// A nonce signs in whom it was given to, by the message that it was given out in, and nobody else.
fn check_given(message: &Message, given: &Nonce, site: Site) -> Result<(), Problem> {
    if message.address != given.address || message.request != given.request {
        return Err(refused("nonce-of-another", "this message was given to another account"));
    }
    if message.chain != given.chain {
        return Err(refused("wrong-chain", "the message names another chain than was asked for"));
    }
    // A message is its text: what reads otherwise was refused before.
    if *message != issued(given, site) {
        let title = "this is not the message that was given out: have it signed as it is";
        return Err(refused("message-changed", title));
    }
    Ok(())
}

async fn check_signature(
    state: &WebState,
    message: &Message,
    text: &str,
    signature: HexBytes,
) -> Result<(), Problem> {
    let Err(not_of_key) = siwe::signed_by_key(text, &signature, message.address) else {
        return Ok(());
    };
    // It may be a contract, which has no key.
    let chain = state.service.chains.get(message.chain)?;
    let hash = eip191_hash_message(text);
    let asked = async {
        let at = chain.head().await?.block;
        chain.contract_signed_hash(message.address, hash, signature, at).await
    };
    if asked.await.map_err(|error| Problem::unread_for_anybody(&error))? {
        return Ok(());
    }
    let code = if not_of_key == NotSigned::HighS { "high-s" } else { "not-signed" };
    Err(refused(code, not_of_key.to_string()))
}

async fn view_of_session(state: &WebState, session: Session) -> Result<SessionView, Problem> {
    let address = session.address;
    let owned = owned(state, address).await?;
    Ok(SessionView {
        actor: Some(format!("wallet:{address}")),
        address: Some(address),
        roles: state.service.settings.access.roles_of(address),
        signer_of: owned.safes,
        unread_chains: owned.unread,
        expires_at: Some(session.expires_at),
        idle_until: Some(session.expires_at.min(state.service.clock.now() + SESSION_IDLE)),
    })
}

/// Who the caller is: somebody who signed in, an API token, or nobody that is known.
#[utoipa::path(
    get, path = "/v1/session", operation_id = "show_session", tag = "session",
    responses((status = 200, body = SessionView)),
    security((), ("session" = []), ("token" = []))
)]
pub async fn show(
    State(state): State<WebState>,
    request: Request<axum::body::Body>,
) -> Result<Json<SessionView>, Problem> {
    let (parts, _) = request.into_parts();
    view(&state, &parts).await.map(Json)
}

/// What a page shows of its visitor, too.
pub async fn view(
    state: &WebState,
    parts: &axum::http::request::Parts,
) -> Result<SessionView, Problem> {
    match Caller::of(parts, state).await {
        Ok(Caller { session: Some(session), .. }) => view_of_session(state, session).await,
        Ok(caller) => Ok(SessionView {
            actor: Some(caller.name().to_owned()),
            roles: caller.roles,
            ..SessionView::default()
        }),
        // A challenge would have a browser ask for a password.
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => Ok(SessionView::default()),
        Err(problem) => Err(problem),
    }
}

/// Signs out. Without a session nothing is to be done.
#[utoipa::path(
    delete, path = "/v1/session", operation_id = "sign_out", tag = "session",
    responses((status = 204, description = "Nobody is signed in there any more"), (status = 403, body = Problem)),
    security((), ("session" = []))
)]
pub async fn sign_out(
    State(state): State<WebState>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if session(&headers, &state).await?.is_some() {
        site::check_change(&state.service.settings, &axum::http::Method::DELETE, &headers)?;
    }
    let gone = end(&state, &headers).await?;
    Ok((StatusCode::NO_CONTENT, [gone]).into_response())
}

/// Ends the session of whoever sends its cookie, and takes the cookie back.
pub async fn end(
    state: &WebState,
    headers: &HeaderMap,
) -> Result<(HeaderName, HeaderValue), Problem> {
    let settings = &state.service.settings;
    if let Some(id) = site::session_id(settings, headers) {
        state.service.store.end_session(&id.hash()).await?;
    }
    Ok((header::SET_COOKIE, site::set_cookie(settings, "", 0)))
}
