//! The pages people look at: rendered here, readable without scripts, from no other host.

use axum::Router;

use super::WebState;

pub fn routes() -> Router<WebState> {
    Router::new()
}
