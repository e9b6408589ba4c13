//! `/apps/{chain_id}/{app}/ledger`: everything that happened to the rules of an app, to be searched and
//! saved; and what other pages tell of a ledger.

use askama::Template;
use axum::{
    extract::{Path, State},
    http::HeaderMap,
};
use serde::Deserialize;
use url::Url;

use super::{
    Page,
    parts::{self, Transaction, When, number},
    refusal::{Asked, Visitor},
    render,
};
use crate::{
    audit::{self, KINDS, Sought},
    chain::Chain,
    owner::ActedBy,
    store::{apps::AppHistory, chain::Head, ledger::LedgerEntry, paths::Recorded},
    web::{
        WebState,
        api::apps::{asked_for, find, sought},
        statement::Statement,
    },
};

/// Newest entries that are shown; the files have all.
const ENTRIES_MAX: usize = 500;

/// What is looked for, as the form sends it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LedgerForm {
    kind: Option<String>,
    q: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// An entry of the history.
pub struct Past {
    pub block: u64,
    pub time: When,
    pub words: String,
    /// When that is worth a word.
    pub note: Option<&'static str>,
    pub by: String,
    pub tx: Transaction,
}

impl Past {
    pub fn new(one: &Recorded, changed: Option<bool>, explorer: Option<&Url>) -> Self {
        Self {
            block: one.entry.block.number,
            time: When(one.entry.block_time),
            words: audit::words(&one.entry),
            note: match changed {
                Some(true) => None,
                Some(false) if one.entry.kind == "policy_changed" => None,
                Some(false) => Some("changed nothing"),
                None => Some("whether this changed anything is not known"),
            },
            by: by(one.acted_by.as_ref()),
            tx: Transaction::new(one.entry.tx, explorer),
        }
    }
}

/// Who acted, in words.
pub fn by(acted_by: Option<&ActedBy>) -> String {
    acted_by.map_or_else(|| "not known yet".into(), ToString::to_string)
}

#[derive(Template)]
#[template(path = "ledger.html")]
struct Ledger {
    history: AppHistory,
    head: Option<Head>,
    sought: Sought,
    /// The same as it stands in an address.
    filter: String,
    entries: Vec<Past>,
    /// How many fit, and how many there are.
    count: usize,
    all: usize,
    statement: Statement,
}

impl Ledger {
    fn new(
        history: AppHistory,
        head: Option<Head>,
        sought: Sought,
        ledger: &[Recorded],
        statement: Statement,
        explorer: Option<&Url>,
    ) -> Self {
        let changes = audit::changes(ledger, history.is_whole());
        let fitting: Vec<(&Recorded, Option<bool>)> =
            ledger.iter().zip(changes).filter(|(one, _)| sought.finds(one)).collect();
        let newest = fitting.iter().rev().take(ENTRIES_MAX);
        Self {
            entries: newest.map(|(one, changed)| Past::new(one, *changed, explorer)).collect(),
            count: fitting.len(),
            all: ledger.len(),
            filter: asked_for(&sought),
            history,
            head,
            sought,
            statement,
        }
    }

    fn path(&self) -> String {
        format!("/apps/{}/{}", self.history.chain, self.history.app)
    }

    /// The kinds to choose from, in words, and which is chosen.
    fn kinds(&self) -> Vec<(&'static str, String, bool)> {
        let chosen = |kind: &str| self.sought.kind.as_deref() == Some(kind);
        KINDS.iter().map(|kind| (*kind, kind.replace('_', " "), chosen(kind))).collect()
    }

    /// The fields for blocks as they were filled in.
    fn blocks(&self) -> [String; 2] {
        let shown = |block: Option<u64>| block.map(|block| block.to_string()).unwrap_or_default();
        [shown(self.sought.from), shown(self.sought.to)]
    }
}

pub async fn page(
    _: Visitor,
    State(state): State<WebState>,
    Path((chain, app)): Path<(String, String)>,
    Asked(form): Asked<LedgerForm>,
    headers: HeaderMap,
) -> Page {
    let (from, to) = (number("from", form.from.as_deref())?, number("to", form.to.as_deref())?);
    let sought = sought(Sought { kind: form.kind, q: form.q, from, to })?;
    let history = find(&state, &chain, &app).await?;
    let head = state.service.store.head(history.chain).await?;
    let ledger = state.service.store.recorded(history.chain, history.app).await?;
    let statement = Statement::of(&state, &headers, &history, to, head.as_ref()).await?;
    let explorer = state.service.chains.get(history.chain).ok().and_then(Chain::explorer);
    render(&Ledger::new(history, head, sought, &ledger, statement, explorer))
}

/// Whether the app lets every device in as of block `at`, as far as its events tell.
pub fn any_device(ledger: &[LedgerEntry], at: Option<u64>) -> bool {
    let shown = ledger.iter().filter(|entry| at.is_none_or(|at| entry.block.number <= at));
    let mut switches = shown.rev().filter(|entry| entry.kind == "allow_any_device_set");
    switches.next().is_some_and(|entry| entry.value == [1])
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};

    use super::*;
    use crate::dstack::PolicyEvent;
    use crate::request::{
        facts::BlockRef,
        ids::{AppId, BlockHash, TxHash},
    };

    fn entry(number: u64, event: PolicyEvent) -> LedgerEntry {
        LedgerEntry {
            block: BlockRef { number, hash: BlockHash(B256::ZERO) },
            block_time: crate::clock::Time::default(),
            log_index: 0,
            tx: TxHash(B256::ZERO),
            app: AppId(Address::ZERO),
            kind: event.kind().into(),
            value: event.value(),
        }
    }

    #[test]
    fn the_last_switch_decides() {
        let ledger = [
            entry(1, PolicyEvent::AllowAnyDeviceSet(true)),
            entry(5, PolicyEvent::AllowAnyDeviceSet(false)),
        ];
        assert!(!any_device(&[], None));
        assert!(any_device(&ledger, Some(4)));
        assert!(!any_device(&ledger, None));
    }
}
