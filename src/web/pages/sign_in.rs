//! `/sign-in`: who you are here, and how to become somebody. Everybody may look at it. And `/sign-out`, a plain
//! form, so that it works without script.

use askama::Template;
use axum::{
    body::Body,
    extract::{Request, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};

use super::{Page, PageProblem, back::Back, bar, render};
use crate::{
    chain::Chain,
    request::ids::ChainId,
    web::{
        WebState,
        api::session::{self, SessionView, view},
        site,
    },
};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    who: SessionView,
    /// Chains that a wallet may name.
    chains: Vec<ChainId>,
    /// The page that somebody comes from.
    back: Option<Back>,
}

pub async fn page(State(state): State<WebState>, request: Request<Body>) -> Page {
    let (parts, _) = request.into_parts();
    let who = view(&state, &parts).await?;
    let chains = state.service.chains.iter().map(Chain::id).collect();
    render(&SignIn { who, chains, back: bar::here().back })
}

/// Ends the session. The form holds no secret, since it stands on every page, beside what others may have
/// put there: that it comes from a page of this site is enough for what costs a sign-in at worst.
pub async fn leave(
    State(state): State<WebState>,
    headers: HeaderMap,
) -> Result<Response, PageProblem> {
    site::check_form(&state.service.settings, &headers)?;
    let gone = session::end(&state, &headers).await?;
    let next = bar::here().leading_back("/sign-in");
    Ok(([gone], Redirect::to(&next)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{roles::Role, web::owners::OwnedSafe};

    #[test]
    fn it_says_who_you_are_and_of_which_safes_an_owner() {
        let safe = OwnedSafe {
            chain_id: ChainId::BASE,
            safe: alloy::primitives::Address::repeat_byte(0x5a),
            apps: vec![],
        };
        let who = SessionView {
            actor: Some("wallet:0x01".into()),
            roles: vec![Role::Requester],
            signer_of: vec![safe],
            unread_chains: vec![ChainId::ETHEREUM],
            ..SessionView::default()
        };
        let back = Back::parse("/journal?before=7&x=<b>");
        let page = SignIn { who, chains: vec![], back }.render().unwrap();
        assert!(page.contains("<a href=\"/journal?before=7&#38;x=&#60;b&#62;\">Go on"), "{page}");
        for told in ["wallet:0x01", "requester", "0x5a5a", "Ethereum could not be read"] {
            assert!(page.to_lowercase().contains(&told.to_lowercase()), "{told}: {page}");
        }
        let back = Back::parse("/journal");
        let nobody = SignIn { who: SessionView::default(), chains: vec![ChainId::BASE], back };
        let page = nobody.render().unwrap();
        assert!(page.contains("data-back=\"/journal\""), "{page}");
        assert!(page.contains("Nobody is signed in") && page.contains("Base (8453)"), "{page}");
    }
}
