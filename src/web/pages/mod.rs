//! The pages people look at: rendered here, readable without scripts, from no other host.
//!
//! Each page is one file with the struct that says everything it shows, beside the template that
//! shows it. Structs are built from what the store said and the present moment alone, so that a
//! test can build them by hand.

mod acts;
mod app;
mod apps;
mod assets;
mod back;
mod bar;
mod chart;
mod checks;
mod drift;
mod journal;
mod ledger;
mod list;
mod operator;
mod parts;
mod refusal;
mod request;
mod review;
#[cfg(test)]
mod samples;
mod sign_in;
mod simulation;
mod timeline;
mod token;

use askama::Template;
use axum::{
    Router,
    middleware::from_fn_with_state,
    response::Html,
    routing::{get, post},
};

use super::{WebState, problem::Problem};
use crate::compose::visible;

pub use refusal::{PageProblem, nothing_here};

pub fn routes(state: &WebState) -> Router<WebState> {
    Router::new()
        .route("/", get(list::page))
        .route("/requests/{id}", get(request::page))
        .route("/requests/{id}/{act}", post(acts::act))
        .route("/apps", get(apps::page))
        .route("/apps/{chain_id}/{app}", get(app::page))
        .route("/apps/{chain_id}/{app}/ledger", get(ledger::page))
        .route("/journal", get(journal::page))
        .route("/operator", get(operator::page))
        .route("/sign-in", get(sign_in::page))
        .route("/sign-out", post(sign_in::leave))
        .route("/token", get(token::page))
        .layer(from_fn_with_state(state.clone(), bar::around))
        .merge(assets::routes())
}

/// A page, or why there is none.
type Page = Result<Html<String>, PageProblem>;

fn render(page: &impl Template) -> Page {
    Ok(Html(written(page).map_err(|error| Problem::internal(&error))?))
}

/// A page in which everything can be seen. What turns the text after it, or has no width, is written
/// out wherever it came from, so that no name passes for another one; that adds no markup.
fn written(page: &impl Template) -> askama::Result<String> {
    Ok(visible(&page.render()?, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Template)]
    #[template(source = "<p title=\"{{ text }}\">\n{{ text }}</p>", ext = "html")]
    struct Text {
        text: &'static str,
    }

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        let page = written(&Text { text: "\u{202e}<b>\u{200b}&#x202e;\"é" }).unwrap();
        let text = "\\u{202e}&#60;b&#62;\\u{200b}&#38;#x202e;&#34;é";
        assert_eq!(page, format!("<p title=\"{text}\">\n{text}</p>"));
    }
}
