//! The bar at the top of every page: who looks at it, and ways to sign in and out that lead back to it.
//!
//! Refusals show it too, and they are written where nobody knows any more who asked. So it is found once,
//! around all pages, and stands beside them while they are written.

use alloy::primitives::Address;
use axum::{
    extract::{Request, State},
    http::request::Parts,
    middleware::Next,
    response::Response,
};

use super::{
    back::Back,
    parts::{cut, short},
    timeline,
};
use crate::web::{WebState, gate::Caller};

/// Characters of a token's name.
const NAME_CHARS: usize = 24;

tokio::task_local! {
    static BAR: Bar;
}

#[derive(Debug, Clone, Default)]
pub struct Bar {
    who: Option<Who>,
    /// The page that it stands on, or that the page leads back to.
    pub back: Option<Back>,
}

/// Somebody who is known.
#[derive(Debug, Clone)]
struct Who {
    /// As the journal calls them.
    name: String,
    wallet: Option<Address>,
}

/// What stands in the bar of the page that is being written.
pub fn here() -> Bar {
    BAR.try_with(Clone::clone).unwrap_or_default()
}

/// Finds out who looks at a page before it is made.
pub async fn around(State(state): State<WebState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let bar = Bar::of(&mut parts, &state).await;
    BAR.scope(bar, next.run(Request::from_parts(parts, body))).await
}

impl Bar {
    /// Whoever does not show who they are is told so by the page, if it is not for everybody.
    pub async fn of(parts: &mut Parts, state: &WebState) -> Self {
        let caller = if parts.method.is_safe() {
            Caller::looked_at(parts, state).await.ok()
        } else {
            // Forms count by the session alone.
            let signed_in = Caller::at_page(parts, state).await;
            signed_in.ok().flatten().map(|(caller, _)| caller)
        };
        let who = caller.map(|caller| Who {
            name: caller.name().to_owned(),
            wallet: caller.session.map(|session| session.address),
        });
        Self { who, back: place(parts) }
    }

    /// Has it stand on what is written meanwhile.
    pub fn over<T>(self, write: impl FnOnce() -> T) -> T {
        BAR.sync_scope(self, write)
    }

    /// The link to who somebody is: their name in short, or that they are nobody yet.
    pub fn name(&self) -> String {
        match &self.who {
            None => "Sign-in".into(),
            Some(Who { wallet: Some(wallet), .. }) => short(wallet),
            Some(Who { name, .. }) => cut(&timeline::actor(name), NAME_CHARS),
        }
    }

    /// The same in full.
    pub fn full_name(&self) -> Option<String> {
        self.who.as_ref().map(|who| timeline::actor(&who.name))
    }

    /// The wallet of whoever signed in with one, and can sign out.
    pub fn wallet(&self) -> Option<Address> {
        self.who.as_ref()?.wallet
    }

    /// An address that leads back to this page afterwards.
    pub fn leading_back(&self, path: &str) -> String {
        self.back.as_ref().map_or_else(|| path.to_owned(), |back| back.after(path))
    }
}

/// What is to be come back to from a page.
fn place(parts: &Parts) -> Option<Back> {
    let uri = &parts.uri;
    match uri.path() {
        // These lead on to where somebody wanted to be.
        "/sign-in" | "/sign-out" | "/token" => Back::in_query(uri.query()?),
        // A form is sent to an address below the page that it stands on.
        path if !parts.method.is_safe() => Back::parse(path.rsplit_once('/')?.0),
        _ => Back::parse(uri.path_and_query()?.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};

    use super::*;

    #[test]
    fn every_page_is_come_back_to_but_those_on_the_way_in() {
        for (method, uri, expected) in [
            ("GET", "/", Some("/")),
            ("GET", "/?status=proposed&q=x", Some("/?status=proposed&q=x")),
            ("GET", "/nowhere", Some("/nowhere")),
            ("GET", "//evil.example", None),
            ("POST", "/requests/7/comments", Some("/requests/7")),
            ("GET", "/sign-in", None),
            ("GET", "/sign-in?back=%2Fjournal", Some("/journal")),
            ("GET", "/sign-in?back=//evil.example", None),
            ("POST", "/sign-out?back=%2Fjournal", Some("/journal")),
            ("GET", "/token?back=%2Fapps", Some("/apps")),
        ] {
            let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
            let place = place(&request.into_parts().0);
            assert_eq!(place.as_ref().map(Back::as_str), expected, "{method} {uri}");
        }
    }

    #[test]
    fn it_says_who_somebody_is_in_short() {
        let wallet = Address::repeat_byte(0xab);
        let of = |name: String, wallet| Bar { who: Some(Who { name, wallet }), back: None };
        let signed_in = of(format!("wallet:{wallet}"), Some(wallet));
        assert_eq!(signed_in.name(), short(&wallet));
        assert_eq!(signed_in.full_name(), Some(format!("wallet {wallet}")));
        assert_eq!(of("token:ci".into(), None).name(), "API token ci");
        assert_eq!((Bar::default().name(), Bar::default().full_name()), ("Sign-in".into(), None));
    }
}
