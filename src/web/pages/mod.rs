//! The pages people look at: rendered here, readable without scripts, from no other host.
//!
//! Each page is one file with the struct that says everything it shows, beside the template that
//! shows it. Structs are built from what the store said and the present moment alone, so that a
//! test can build them by hand.

mod app;
mod apps;
mod assets;
mod journal;
mod ledger;
mod list;
mod parts;
mod refusal;
mod request;
mod review;
#[cfg(test)]
mod samples;
mod sign_in;
mod simulation;
mod timeline;

use askama::Template;
use axum::{Router, response::Html, routing::get};

use super::{WebState, problem::Problem};

pub use refusal::{PageProblem, nothing_here};

pub fn routes() -> Router<WebState> {
    Router::new()
        .route("/", get(list::page))
        .route("/requests/{id}", get(request::page))
        .route("/apps", get(apps::page))
        .route("/apps/{chain_id}/{app}", get(app::page))
        .route("/journal", get(journal::page))
        .route("/sign-in", get(sign_in::page))
        .merge(assets::routes())
}

/// A page, or why there is none.
type Page = Result<Html<String>, PageProblem>;

fn render(page: &impl Template) -> Page {
    Ok(Html(page.render().map_err(|error| Problem::internal(&error))?))
}
