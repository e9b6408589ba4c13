//! `/journal`: every change of every request, newest first.

use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use super::{
    Page,
    parts::{self, number},
    refusal::{Asked, Inspector},
    render,
    timeline::Line,
};
use crate::web::WebState;

const ENTRIES: u32 = 100;

/// Where the page begins.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Before {
    before: Option<String>,
}

#[derive(Template)]
#[template(path = "journal.html")]
struct Journal {
    lines: Vec<Line>,
    /// Begin of the next page, when this one is full and not the last.
    older: Option<u64>,
    is_newest: bool,
}

pub async fn page(_: Inspector, State(state): State<WebState>, Asked(form): Asked<Before>) -> Page {
    let before = number("before", form.before.as_deref())?;
    let entries = state.service.store.journal_page(None, before, ENTRIES).await?;
    let lines: Vec<Line> = entries.into_iter().map(Line::from).collect();
    // Entries are numbered from 1 without a gap.
    let older = lines.last().map(|line| line.seq).filter(|seq| *seq > 1);
    render(&Journal { lines, older, is_newest: before.is_none() })
}
