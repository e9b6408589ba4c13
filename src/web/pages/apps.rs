//! `/apps`: the apps that are watched.

use askama::Template;
use axum::extract::State;

use super::{Page, refusal::Seen, render};
use crate::{store::apps::AppHistory, web::WebState};

#[derive(Template)]
#[template(path = "apps.html")]
struct Apps {
    chains: Vec<Watched>,
}

/// The apps on one chain.
struct Watched {
    id: u64,
    name: String,
    apps: Vec<AppHistory>,
    /// The newest block that was read.
    head: Option<u64>,
}

pub async fn page(Seen(sight): Seen, State(state): State<WebState>) -> Page {
    let store = &state.service.store;
    let mut chains = vec![];
    for chain in state.service.chains.iter() {
        let mut apps = store.app_histories(chain.id()).await?;
        apps.retain(|app| sight.has(app.chain, app.app));
        chains.push(Watched {
            id: chain.id().get(),
            name: chain.id().label(),
            apps,
            head: store.head(chain.id()).await?.map(|head| head.block.number),
        });
    }
    render(&Apps { chains })
}
