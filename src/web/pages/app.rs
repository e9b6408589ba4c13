//! `/apps/{chain_id}/{app}`: what the app allows, since when, by which transaction, for which
//! request; and everything that happened to its rules.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, State};
use serde::Deserialize;
use url::Url;

use super::{
    Page, ledger,
    parts::{self, Transaction, When, number},
    refusal::{Asked, Visitor},
    render,
};
use crate::{
    audit::{AllowedEntry, EntryKind, allowlist},
    chain::Chain,
    request::ids::{RequestId, TxHash},
    store::{chain::Head, ledger::LedgerEntry},
    web::{
        WebState,
        api::apps::{AppView, find},
    },
};

/// Newest entries of a history that are shown; the API has all.
const HISTORY_MAX: usize = 500;

/// Which block the page looks at.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AtForm {
    at: Option<String>,
}

/// An entry of the allowlist.
struct Row {
    kind: &'static str,
    value: String,
    block: u64,
    time: When,
    tx: Transaction,
    /// The requests that this transaction answered.
    requests: Vec<RequestId>,
}

/// An entry of the history.
struct Past {
    block: u64,
    time: When,
    words: String,
    tx: Transaction,
}

#[derive(Template)]
#[template(path = "app.html")]
struct App {
    view: AppView,
    chain: String,
    at: Option<u64>,
    head: Option<Head>,
    any_device: bool,
    rows: Vec<Row>,
    history: Vec<Past>,
    is_cut: bool,
}

impl App {
    fn new(
        view: AppView,
        at: Option<u64>,
        head: Option<Head>,
        entries: &[LedgerEntry],
        requests: &HashMap<TxHash, Vec<RequestId>>,
        explorer: Option<&Url>,
    ) -> Self {
        let past =
            entries.iter().rev().filter(|entry| at.is_none_or(|at| entry.block.number <= at));
        let history: Vec<Past> = past
            .clone()
            .take(HISTORY_MAX)
            .map(|entry| Past {
                block: entry.block.number,
                time: When(entry.block_time),
                words: ledger::words(entry),
                tx: Transaction::new(entry.tx, explorer),
            })
            .collect();
        let row = |entry: AllowedEntry| Row {
            kind: match entry.kind {
                EntryKind::ComposeHash => "compose hash",
                EntryKind::Device => "device",
            },
            value: entry.value.to_string(),
            block: entry.since.number,
            time: When(entry.since_time),
            tx: Transaction::new(entry.tx, explorer),
            requests: requests.get(&entry.tx).cloned().unwrap_or_default(),
        };
        Self {
            chain: view.chain_id.label(),
            any_device: ledger::any_device(entries, at),
            rows: allowlist(entries, at).into_iter().map(row).collect(),
            is_cut: past.count() > history.len(),
            history,
            view,
            at,
            head,
        }
    }

    /// The form's field as it was filled in.
    fn asked(&self) -> String {
        self.at.map(|at| at.to_string()).unwrap_or_default()
    }
}

pub async fn page(
    _: Visitor,
    State(state): State<WebState>,
    Path((chain, app)): Path<(String, String)>,
    Asked(form): Asked<AtForm>,
) -> Page {
    let at = number("at", form.at.as_deref())?;
    let view = find(&state, &chain, &app).await?;
    let store = &state.service.store;
    let entries = store.ledger(view.chain_id, view.app).await?;
    let transactions: Vec<TxHash> = allowlist(&entries, at).iter().map(|entry| entry.tx).collect();
    let mut requests: HashMap<TxHash, Vec<RequestId>> = HashMap::new();
    for (tx, request) in store.executed_by(view.chain_id, view.app, &transactions).await? {
        requests.entry(tx).or_default().push(request);
    }
    let head = store.head(view.chain_id).await?;
    let explorer = state.service.chains.get(view.chain_id).ok().and_then(Chain::explorer);
    render(&App::new(view, at, head, &entries, &requests, explorer))
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;
    use crate::{
        request::{facts::BlockRef, ids::BlockHash},
        web::pages::samples,
    };

    fn page(ledger_from: Option<u64>, at: Option<u64>) -> String {
        let request = samples::request();
        let entry = |number: u64, kind: &str, value: Vec<u8>| LedgerEntry {
            block: BlockRef { number, hash: BlockHash(B256::ZERO) },
            block_time: request.created_at,
            log_index: 0,
            tx: TxHash(B256::with_last_byte(1)),
            app: request.app,
            kind: kind.into(),
            value,
        };
        let ledger = [
            entry(10, "compose_hash_added", vec![0xaa; 32]),
            entry(20, "device_added", vec![0xbb; 32]),
            entry(30, "allow_any_device_set", vec![1]),
        ];
        let view = AppView { chain_id: request.chain, app: request.app, ledger_from };
        let requests = HashMap::from([(TxHash(B256::with_last_byte(1)), vec![request.id])]);
        App::new(view, at, None, &ledger, &requests, None).render().unwrap()
    }

    #[test]
    fn an_entry_names_its_request_and_the_start_of_the_history_is_told() {
        let now = page(Some(5), None);
        assert!(now.contains(&format!("/requests/{}", samples::request().id)));
        assert!(now.contains("complete from block 5 on"), "{now}");
        assert!(now.contains("lets every device in"), "{now}");
        assert!(page(None, None).contains("not been read yet"));
    }

    #[test]
    fn an_earlier_block_shows_the_earlier_list() {
        let then = page(Some(5), Some(15));
        assert!(then.contains(&"aa".repeat(32)) && !then.contains(&"bb".repeat(32)), "{then}");
        assert!(!then.contains("lets every device in"), "{then}");
    }
}
