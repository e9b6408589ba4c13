//! Errors as a browser shows them: the same problem as the API's, as a small page that says what to do.
//! No page has the browser ask for a password by itself, but the one that is there for that.

use std::convert::Infallible;

use alloy::primitives::Address;
use askama::Template;
use axum::{
    extract::{FromRequestParts, Query, Request, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;

use super::{bar::Bar, parts, written};
use crate::web::{
    WebState,
    gate::{Auditor, Caller, FORM_OF_ANOTHER_SESSION, Reader},
    problem::{BASIC, Problem},
    sight::Sight,
};

/// A problem to be shown as a page.
#[derive(Debug)]
pub struct PageProblem(Problem);

#[derive(Template)]
#[template(path = "refusal.html")]
struct Refusal<'a> {
    problem: &'a Problem,
    heading: &'static str,
}

fn heading(problem: &Problem) -> &'static str {
    match problem.status {
        _ if problem.code == FORM_OF_ANOTHER_SESSION => "This form is too old",
        400 | 422 => "Something in this link or form does not read",
        401 => "Please sign in",
        403 => "Your role may not see this",
        404 => "Nothing here",
        503 => "Something Countersign depends on does not answer",
        _ => "This did not work",
    }
}

impl<E: Into<Problem>> From<E> for PageProblem {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl PageProblem {
    /// The same, with which a browser asks for a password.
    pub fn asking(self) -> Response {
        let mut response = self.into_response();
        response.headers_mut().append(header::WWW_AUTHENTICATE, BASIC);
        response
    }
}

impl IntoResponse for PageProblem {
    fn into_response(self) -> Response {
        let page = written(&Refusal { problem: &self.0, heading: heading(&self.0) });
        // The status is that of the API; only the body is for people.
        let mut response = self.0.quiet().into_response();
        if let Ok(page) = page {
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, html);
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = page.into();
        }
        response
    }
}

/// The answer to an address that leads nowhere: a page for browsers, a problem for programs.
pub async fn nothing_here(State(state): State<WebState>, request: Request) -> Response {
    let problem = Problem::not_found("page");
    let (mut parts, _) = request.into_parts();
    let accept = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let browser = accept.is_some_and(|accept| accept.contains("text/html"));
    if browser && !parts.uri.path().starts_with("/v1/") {
        let bar = Bar::of(&mut parts, &state).await;
        bar.over(|| PageProblem(problem).into_response())
    } else {
        problem.into_response()
    }
}

/// Proof that the caller may look, refused with a page.
#[derive(Debug)]
pub struct Visitor;

impl FromRequestParts<WebState> for Visitor {
    type Rejection = PageProblem;
    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, PageProblem> {
        Reader::from_request_parts(parts, state).await?;
        Ok(Self)
    }
}

/// What the caller may see, refused with a page.
#[derive(Debug)]
pub struct Seen(pub Sight);

impl FromRequestParts<WebState> for Seen {
    type Rejection = PageProblem;
    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, PageProblem> {
        Ok(Self(Sight::from_request_parts(parts, state).await?))
    }
}

/// Whoever is known here, refused with a page.
#[derive(Debug)]
pub struct Known(pub Caller);

impl FromRequestParts<WebState> for Known {
    type Rejection = PageProblem;
    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, PageProblem> {
        Ok(Self(Caller::from_request_parts(parts, state).await?))
    }
}

/// The wallet of whoever is signed in, if anybody is.
#[derive(Debug)]
pub struct Wallet(pub Option<Address>);

impl FromRequestParts<WebState> for Wallet {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, Infallible> {
        let session = Caller::of(parts, state).await.ok().and_then(|caller| caller.session);
        Ok(Self(session.map(|session| session.address)))
    }
}

/// Whoever is signed in, if anybody is, with what is to stand in the forms that they are shown.
#[derive(Debug)]
pub struct SignedIn(pub Option<(Caller, String)>);

impl FromRequestParts<WebState> for SignedIn {
    type Rejection = PageProblem;
    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, PageProblem> {
        Ok(Self(Caller::at_page(parts, state).await?))
    }
}

/// Proof that the caller may look at who did what, refused with a page.
#[derive(Debug)]
pub struct Inspector;

impl FromRequestParts<WebState> for Inspector {
    type Rejection = PageProblem;
    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, PageProblem> {
        Auditor::from_request_parts(parts, state).await?;
        Ok(Self)
    }
}

/// What stands behind the question mark, refused with a page.
#[derive(Debug)]
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<WebState> for Asked<T> {
    type Rejection = PageProblem;
    async fn from_request_parts(parts: &mut Parts, _: &WebState) -> Result<Self, PageProblem> {
        let asked = Query::<T>::try_from_uri(&parts.uri);
        let Query(asked) = asked.map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid-query", error.body_text())
        })?;
        Ok(Self(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_leads_to_the_sign_in_before_a_browser_asks_for_anything() {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "no <b>token</b>");
        let asks = |response: &Response| {
            let challenges = response.headers().get_all(header::WWW_AUTHENTICATE);
            challenges.iter().any(|one| one.as_bytes().starts_with(b"Basic "))
        };
        assert!(asks(&problem.clone().into_response()), "programs are told both ways");
        assert!(asks(&PageProblem(problem.clone()).asking()));
        let response = PageProblem(problem.clone()).into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(!asks(&response));
        assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let page = Refusal { problem: &problem, heading: heading(&problem) }.render().unwrap();
        assert!(page.contains("no &#60;b&#62;token"), "{page}");
        assert!(page.contains("href=\"/sign-in\"") && page.contains("href=\"/token\""), "{page}");
    }
}
