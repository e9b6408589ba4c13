//! Who is calling: a bearer token for machines, the same token as the password of HTTP Basic for
//! browsers. Reads may be open to all, by setting; writes never are.
//!
//! Basic opens reads only: a browser sends it along with whatever another site makes it post.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{WebState, problem::Problem};
use crate::{
    access::{OpenToken, Scope},
    store::journal::Actor,
};

/// Proof that the caller may look.
#[derive(Debug)]
pub struct Reader;

/// Proof that the caller may change things, and who it is.
#[derive(Debug)]
pub struct Writer(pub Actor);

fn refused(title: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", title)
}

/// The token as text, wherever it may stand for this scope.
fn presented(headers: &HeaderMap, scope: Scope) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") && scope == Scope::Read {
        let decoded = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
        return Some(decoded.split_once(':')?.1.to_owned());
    }
    None
}

/// Whether headers hold a token of this service, known or not.
pub fn carries_our_token(headers: &HeaderMap) -> bool {
    presented(headers, Scope::Read).is_some_and(|text| OpenToken::parse(&text).is_ok())
}

async fn authenticate(
    headers: &HeaderMap,
    state: &WebState,
    scope: Scope,
) -> Result<Actor, Problem> {
    let text = presented(headers, scope).ok_or_else(|| {
        refused("send an API token: `Authorization: Bearer …` (make one with `countersign token create`)")
    })?;
    let token = OpenToken::parse(&text).map_err(|error| refused(&error.to_string()))?;
    let service = &state.service;
    let known = service.store.token_by_hash(&token.hash(), service.clock.now()).await?;
    let known = known.ok_or_else(|| refused("this API token is not known, or was revoked"))?;
    // Whoever may write may also look.
    let granted: Vec<Scope> = known.scopes.iter().filter_map(|scope| scope.parse().ok()).collect();
    if granted.contains(&scope) || (scope == Scope::Read && granted.contains(&Scope::Write)) {
        Ok(Actor::token(&known.name))
    } else {
        let title = format!("this API token has no scope `{scope}`");
        Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", title))
    }
}

impl FromRequestParts<WebState> for Reader {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, Problem> {
        if !state.service.settings.open_reads {
            authenticate(&parts.headers, state, Scope::Read).await?;
        }
        Ok(Self)
    }
}

impl FromRequestParts<WebState> for Writer {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, Problem> {
        authenticate(&parts.headers, state, Scope::Write).await.map(Self)
    }
}
