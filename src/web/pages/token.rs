//! `/token`: has the browser ask for an API token, which it then sends to all pages as a password. It stands at
//! the root, since browsers keep a password for what lies below the place that asked.

use axum::{
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};

use super::{PageProblem, bar};
use crate::web::{WebState, gate::Caller};

pub async fn page(State(state): State<WebState>, request: Request<Body>) -> Response {
    let (parts, _) = request.into_parts();
    match Caller::of(&parts, &state).await {
        Ok(_) => {
            let back = bar::here().back;
            Redirect::to(back.as_ref().map_or("/", |back| back.as_str())).into_response()
        }
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED.as_u16() => {
            PageProblem::from(problem).asking()
        }
        Err(problem) => PageProblem::from(problem).into_response(),
    }
}
