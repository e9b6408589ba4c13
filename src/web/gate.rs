//! Who is calling, and whether they may: a bearer token for machines, a session for people who signed in
//! with a wallet, and the token as the password of HTTP Basic for browsers without. Reads may be open to
//! all, by setting; changes never are. What a role may do stands in [`roles`](crate::roles).
//!
//! Basic opens reads only: a browser sends it along with whatever another site makes it post. It sends a
//! session's cookie along too, so changes by one are looked at more closely ([`site`]).

use alloy::primitives::Address;
use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::TimeDelta;

use super::{WebState, owners, peers::Peer, problem::Problem, sight::Sight, site};
use crate::{
    access::OpenToken,
    request::{
        Request,
        ids::{AppId, ChainId, RequestId},
    },
    roles::{Action, Role, may},
    store::{StoreError, journal::Actor, sessions::Session},
};

/// How long a session lasts, however much it is used, and how long it lasts unused.
pub const SESSION_LIFE: TimeDelta = TimeDelta::hours(12);
pub const SESSION_IDLE: TimeDelta = TimeDelta::hours(1);

/// The problem of a form that was shown to a session that is over.
pub const FORM_OF_ANOTHER_SESSION: &str = "form-of-another-session";

/// Proof that the caller may look at this.
#[derive(Debug)]
pub struct Reader;

/// Proof that the caller may look at who did what.
#[derive(Debug)]
pub struct Auditor;

/// Somebody who is known here. What they may do is yet to be asked.
#[derive(Debug, Clone)]
pub struct Caller {
    actor: Actor,
    pub roles: Vec<Role>,
    pub session: Option<Session>,
}

/// Whoever a request is from, once that was looked at: a wrong token counts once.
#[derive(Debug, Clone)]
struct LookedAt(Result<Caller, Problem>);

fn refused(title: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", title)
}

/// Names what the caller is, and whoever may do it. `of_app`: to what belongs to an app.
fn forbidden(roles: &[Role], action: Action, of_app: bool) -> Problem {
    let names = |roles: &[Role], or: &str| {
        roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(or)
    };
    // A reviewer is what tokens of old are: nobody is made one any more.
    let mut able = Role::ALL.to_vec();
    able.retain(|role| *role != Role::Reviewer && may(&[*role], action, false, false));
    let is = match roles {
        [] => "you have no role here that allows this".to_owned(),
        _ => format!("your role here ({}) does not allow this", names(roles, ", ")),
    };
    let of_owner = of_app && may(&[], action, false, true);
    let owner = if of_owner { ", or to own the Safe of the app" } else { "" };
    let title = format!("{is}: it takes the role {}{owner}", names(&able, " or "));
    Problem::new(StatusCode::FORBIDDEN, "forbidden", title)
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim().to_owned())
}

/// The password of HTTP Basic.
fn basic(headers: &HeaderMap) -> Option<String> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded =
        STANDARD.decode(rest.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"));
    Some(String::from_utf8(decoded?).ok()?.split_once(':')?.1.to_owned())
}

/// The token of this service that headers hold, known or not.
pub fn our_token(headers: &HeaderMap) -> Option<OpenToken> {
    let text = bearer(headers).or_else(|| basic(headers))?;
    OpenToken::parse(&text).ok()
}

impl Caller {
    /// Whoever a request is from, and will be for whoever asks again.
    pub async fn looked_at(parts: &mut Parts, state: &WebState) -> Result<Self, Problem> {
        let caller = Self::of(parts, state).await;
        parts.extensions.insert(LookedAt(caller.clone()));
        caller
    }

    /// Whoever a request is from.
    pub async fn of(parts: &Parts, state: &WebState) -> Result<Self, Problem> {
        if let Some(LookedAt(caller)) = parts.extensions.get() {
            return caller.clone();
        }
        let headers = &parts.headers;
        if let Some(text) = bearer(headers) {
            return Self::by_token(&text, parts, state).await;
        }
        if let Some(session) = session(headers, state).await? {
            site::check_change(&state.service.settings, &parts.method, headers)?;
            return Ok(Self::by_session(session, state));
        }
        match basic(headers).filter(|_| parts.method.is_safe()) {
            Some(text) => Self::by_token(&text, parts, state).await,
            None => Err(refused(
                "sign in, or send an API token: `Authorization: Bearer …` (make one with `countersign token create`)",
            )),
        }
    }

    fn by_session(session: Session, state: &WebState) -> Self {
        let roles = state.service.settings.access.roles_of(session.address);
        Self { actor: Actor::wallet(session.address), roles, session: Some(session) }
    }

    /// Whoever is signed in and sends a form of ours: from a page of this site, and with the token that
    /// stands in the forms of this very session. Nothing else that shows who somebody is counts.
    pub async fn of_form(
        headers: &HeaderMap,
        token: &str,
        state: &WebState,
    ) -> Result<Self, Problem> {
        let settings = &state.service.settings;
        site::check_form(settings, headers)?;
        let id = site::session_id(settings, headers);
        let signed_in = session(headers, state).await?;
        let (Some(id), Some(session)) = (id, signed_in) else {
            return Err(refused("sign in first: the session has ended, or there was none"));
        };
        if !id.has_form_token(token) {
            let title =
                "this form was shown to another session: go back to the page, and reload it";
            return Err(Problem::new(StatusCode::FORBIDDEN, FORM_OF_ANOTHER_SESSION, title));
        }
        Ok(Self::by_session(session, state))
    }

    /// Whoever is signed in and looks at a page, with what is to stand in the forms there.
    pub async fn at_page(
        parts: &Parts,
        state: &WebState,
    ) -> Result<Option<(Self, String)>, Problem> {
        let headers = &parts.headers;
        let Some(id) = site::session_id(&state.service.settings, headers) else { return Ok(None) };
        let known = match parts.extensions.get() {
            Some(LookedAt(Ok(caller))) => caller.session,
            _ => None,
        };
        let signed_in = if known.is_some() { known } else { session(headers, state).await? };
        Ok(signed_in.map(|session| (Self::by_session(session, state), id.form_token())))
    }

    async fn by_token(text: &str, parts: &Parts, state: &WebState) -> Result<Self, Problem> {
        let refuse = |title: &str| match state.peers.failed(Peer::of_parts(parts, state)) {
            Ok(()) => refused(title),
            Err(too_many) => too_many,
        };
        let token = OpenToken::parse(text).map_err(|error| refuse(&error.to_string()))?;
        let service = &state.service;
        let known = service.store.token_by_hash(&token.hash(), service.clock.now()).await?;
        let token = known.ok_or_else(|| refuse("this API token is not known, or was revoked"))?;
        let roles = Role::of_token(&token.scopes);
        Ok(Self { actor: Actor::token(&token.name, token.id), roles, session: None })
    }

    /// Who it is, for people.
    pub fn name(&self) -> &str {
        self.actor.as_str()
    }

    /// Who it is, if they may do what is about no request in particular.
    pub fn may(&self, action: Action) -> Result<Actor, Problem> {
        if may(&self.roles, action, false, false) {
            Ok(self.actor.clone())
        } else {
            Err(forbidden(&self.roles, action, false))
        }
    }

    /// Who it is, if they may do this to a request. One that they may not even look at is to them as
    /// good as none.
    pub async fn may_to(
        &self,
        state: &WebState,
        action: Action,
        id: RequestId,
    ) -> Result<Actor, Problem> {
        if let Ok(actor) = self.may(action) {
            return Ok(actor);
        }
        let store = &state.service.store;
        let app = store.app_of(id).await?;
        let is_own = app.is_some() && store.is_made_by(id, &self.actor).await?;
        if may(&self.roles, action, is_own, false) {
            return Ok(self.actor.clone());
        }
        if !may(&self.roles, Action::Look, is_own, false) {
            return self.may_of_seen(state, action, app, "request").await;
        }
        let (chain, app) = app.ok_or_else(|| Problem::not_found("request"))?;
        self.may_of_app(state, action, chain, app).await
    }

    /// Which of these they may do to a request. A chain that does not read makes nobody an owner.
    pub async fn may_of(
        &self,
        state: &WebState,
        actions: &[Action],
        request: &Request,
    ) -> Result<Vec<Action>, StoreError> {
        let is_own = state.service.store.is_made_by(request.id, &self.actor).await?;
        let by_role = |action: &&Action| may(&self.roles, **action, is_own, false);
        let (mut may_do, rest): (Vec<&Action>, Vec<&Action>) = actions.iter().partition(by_role);
        // Only of what an owner may do is the chain asked, and once.
        let of_owner = rest.into_iter().filter(|action| may(&self.roles, **action, is_own, true));
        let of_owner: Vec<&Action> = of_owner.collect();
        if let Some(session) = self.session.filter(|_| !of_owner.is_empty()) {
            let owns = owners::owns(state, request.chain, request.app, session.address).await;
            may_do.extend(of_owner.into_iter().filter(|_| matches!(owns, Ok(true))));
        }
        Ok(may_do.into_iter().copied().collect())
    }

    async fn may_of_app(
        &self,
        state: &WebState,
        action: Action,
        chain: ChainId,
        app: AppId,
    ) -> Result<Actor, Problem> {
        let wallet: Option<Address> = self.session.map(|session| session.address);
        // Only of what an owner may do is the chain asked.
        let Some(wallet) = wallet.filter(|_| may(&self.roles, action, false, true)) else {
            return Err(forbidden(&self.roles, action, true));
        };
        if owners::owns(state, chain, app, wallet).await? {
            Ok(self.actor.clone())
        } else {
            Err(forbidden(&self.roles, action, true))
        }
    }

    /// Of what only its owner may see. The answer to everybody else is the same whether it is there or
    /// not, and so is what is read for it.
    async fn may_of_seen(
        &self,
        state: &WebState,
        action: Action,
        app: Option<(ChainId, AppId)>,
        what: &str,
    ) -> Result<Actor, Problem> {
        let missing = || Problem::not_found_or_not_yours(what);
        let session = self.session.ok_or_else(missing)?;
        let sight = Sight::of_wallet(session.address, state).await?;
        let is_owner = app.is_some_and(|(chain, app)| sight.has(chain, app));
        if !is_owner {
            // What does not read may be there, and theirs.
            let is_told = sight.unread().is_empty();
            return Err(if is_told { missing() } else { Sight::unreadable() });
        }
        if may(&self.roles, action, false, true) {
            Ok(self.actor.clone())
        } else {
            Err(forbidden(&self.roles, action, true))
        }
    }

    /// Whether they may look at what a path is about: a request, an app, or nothing in particular.
    async fn looks(&self, parts: &mut Parts, state: &WebState) -> Result<(), Problem> {
        if self.may(Action::Look).is_ok() {
            return Ok(());
        }
        let path = RawPathParams::from_request_parts(parts, state).await;
        let path = path.map_err(|_| Problem::not_found("page"))?;
        let named = |name| path.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
        if let Some(id) = named("id") {
            let id = id.parse().map_err(|_| Problem::not_found("request"))?;
            return self.may_to(state, Action::Look, id).await.map(drop);
        }
        let (Some(chain), Some(app)) = (named("chain_id"), named("app")) else {
            return Err(forbidden(&self.roles, Action::Look, false));
        };
        let missing = |_| Problem::not_found("app");
        let app = (chain.parse().map_err(missing)?, app.parse().map_err(missing)?);
        self.may_of_seen(state, Action::Look, Some(app), "app").await.map(drop)
    }
}

/// The session of whoever sends its cookie.
pub async fn session(headers: &HeaderMap, state: &WebState) -> Result<Option<Session>, Problem> {
    let service = &state.service;
    let Some(id) = site::session_id(&service.settings, headers) else { return Ok(None) };
    let now = service.clock.now();
    Ok(service.store.session(&id.hash(), now - SESSION_IDLE, now).await?)
}

impl FromRequestParts<WebState> for Reader {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, Problem> {
        if !state.service.settings.open_reads {
            Caller::of(parts, state).await?.looks(parts, state).await?;
        }
        Ok(Self)
    }
}

impl FromRequestParts<WebState> for Auditor {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, Problem> {
        if !state.service.settings.open_reads {
            Caller::of(parts, state).await?.may(Action::Audit)?;
        }
        Ok(Self)
    }
}

impl FromRequestParts<WebState> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, Problem> {
        Self::of(parts, state).await
    }
}
