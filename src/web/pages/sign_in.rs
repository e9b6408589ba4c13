//! `/sign-in`: who you are here, and how to become somebody. Everybody may look at it.

use askama::Template;
use axum::{
    body::Body,
    extract::{Request, State},
};

use super::{Page, render};
use crate::{
    chain::Chain,
    request::ids::ChainId,
    web::{
        WebState,
        api::session::{SessionView, view},
    },
};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    who: SessionView,
    /// Chains that a wallet may name.
    chains: Vec<ChainId>,
}

pub async fn page(State(state): State<WebState>, request: Request<Body>) -> Page {
    let (parts, _) = request.into_parts();
    let who = view(&state, &parts).await?;
    let chains = state.service.chains.iter().map(Chain::id).collect();
    render(&SignIn { who, chains })
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
        let page = SignIn { who, chains: vec![] }.render().unwrap();
        for told in ["wallet:0x01", "requester", "0x5a5a", "Ethereum could not be read"] {
            assert!(page.to_lowercase().contains(&told.to_lowercase()), "{told}: {page}");
        }
        let nobody = SignIn { who: SessionView::default(), chains: vec![ChainId::BASE] };
        let page = nobody.render().unwrap();
        assert!(page.contains("Nobody is signed in") && page.contains("Base (8453)"), "{page}");
    }
}
