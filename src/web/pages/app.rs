//! `/apps/{chain_id}/{app}`: what the app allows, since when, by which transaction, who decided it,
//! for which request, and what uses it; and everything that happened to its rules.

use askama::Template;
use axum::extract::{Path, State};
use serde::Deserialize;
use url::Url;

use super::{
    Page,
    parts::{self, Transaction, When, number},
    refusal::{Asked, Visitor},
    render,
};
use crate::{
    audit::{self, AllowedEntry, Allowlist, EntryKind},
    chain::Chain,
    dstack::Generation,
    owner::ActedBy,
    request::ids::{ReplicaId, RequestId},
    store::{apps::AppHistory, chain::Head, paths::Recorded},
    web::{
        WebState,
        api::apps::{AllowlistView, find, read},
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
    by: String,
    requests: Vec<RequestId>,
    replicas: Vec<ReplicaId>,
}

/// An entry of the history.
struct Past {
    block: u64,
    time: When,
    words: String,
    /// When that is worth a word.
    note: Option<&'static str>,
    by: String,
    tx: Transaction,
}

#[derive(Template)]
#[template(path = "app.html")]
struct App {
    view: AllowlistView,
    chain: String,
    head: Option<Head>,
    reading: Option<u64>,
    rows: Vec<Row>,
    history: Vec<Past>,
    is_cut: bool,
}

impl App {
    fn new(
        history: &AppHistory,
        at: Option<u64>,
        head: Option<Head>,
        list: Allowlist,
        explorer: Option<&Url>,
    ) -> Self {
        let changes = audit::changes(&list.ledger, history.is_whole());
        let shown = |(one, _): &(&Recorded, _)| at.is_none_or(|at| one.entry.block.number <= at);
        let past = list.ledger.iter().zip(changes).rev().filter(shown);
        let is_cut = past.clone().count() > HISTORY_MAX;
        let past = past.take(HISTORY_MAX).map(|(one, changed)| Past::new(one, changed, explorer));
        let past = past.collect();
        let entries = list.policy.entries.iter();
        Self {
            chain: history.chain.label(),
            reading: head
                .filter(|_| !history.is_read())
                .map(|head| percent(history.progress(head.block.number))),
            head,
            rows: entries.map(|entry| Row::new(entry, explorer)).collect(),
            history: past,
            is_cut,
            view: AllowlistView::new(history, at, list),
        }
    }

    /// The form's field as it was filled in.
    fn asked(&self) -> String {
        self.view.at.map(|at| at.to_string()).unwrap_or_default()
    }

    /// What the app demands beside its lists, each with its answer.
    fn rules(&self) -> Vec<(&'static str, String)> {
        let view = &self.view;
        let unknown = || "not known".to_owned();
        let flag = |flag: Option<bool>, yes: &str, no: &str| {
            flag.map_or_else(unknown, |flag| if flag { yes } else { no }.to_owned())
        };
        let owner = view.owner.map_or_else(unknown, |owner| {
            if owner.0.is_zero() {
                "nobody: it cannot be changed any more".into()
            } else {
                owner.to_string()
            }
        });
        let tcb = if view.generation.is_some_and(|generation| generation < Generation::G2) {
            "not looked at by contracts of this generation".into()
        } else {
            flag(view.require_tcb_up_to_date, "must be up to date", "may be outdated")
        };
        let code = ("cannot be replaced", "can be replaced by the owner");
        let mut rules = vec![("Owner", owner)];
        rules.extend(view.pending_owner.map(|to| ("Offered to", to.to_string())));
        rules.extend([
            (
                "Devices",
                flag(view.allow_any_device, "any, whatever the list says", "listed ones only"),
            ),
            ("TCB", tcb),
            ("Code", flag(view.upgrades_disabled, code.0, code.1)),
            ("Runs the code of", view.implementation.map_or_else(unknown, |code| code.to_string())),
        ]);
        rules
    }
}

impl Row {
    fn new(entry: &AllowedEntry, explorer: Option<&Url>) -> Self {
        Self {
            kind: match entry.kind {
                EntryKind::ComposeHash => "compose hash",
                EntryKind::Device => "device",
            },
            value: entry.value.to_string(),
            block: entry.since.number,
            time: When(entry.since_time),
            tx: Transaction::new(entry.tx, explorer),
            by: by(entry.acted_by.as_ref()),
            requests: entry.requests.clone(),
            replicas: entry.replicas.clone(),
        }
    }
}

impl Past {
    fn new(one: &Recorded, changed: Option<bool>, explorer: Option<&Url>) -> Self {
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

fn by(acted_by: Option<&ActedBy>) -> String {
    acted_by.map_or_else(|| "not known yet".into(), ToString::to_string)
}

/// Never 100 before it is done.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 0 to 1")]
fn percent(progress: Option<f64>) -> u64 {
    ((progress.unwrap_or_default() * 100.0) as u64).min(99)
}

pub async fn page(
    _: Visitor,
    State(state): State<WebState>,
    Path((chain, app)): Path<(String, String)>,
    Asked(form): Asked<AtForm>,
) -> Page {
    let at = number("at", form.at.as_deref())?;
    let history = find(&state, &chain, &app).await?;
    let list = read(&state, &history, at).await?;
    let head = state.service.store.head(history.chain).await?;
    let explorer = state.service.chains.get(history.chain).ok().and_then(Chain::explorer);
    render(&App::new(&history, at, head, list, explorer))
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};

    use super::*;
    use crate::{
        owner::Account,
        request::{
            facts::BlockRef,
            ids::{BlockHash, TxHash},
        },
        store::ledger::LedgerEntry,
        web::pages::samples,
    };

    fn ledger() -> Vec<Recorded> {
        let request = samples::request();
        let entry = |number: u64, kind: &str, value: Vec<u8>| Recorded {
            entry: LedgerEntry {
                block: BlockRef { number, hash: BlockHash(B256::ZERO) },
                block_time: request.created_at,
                log_index: 0,
                tx: TxHash(B256::with_last_byte(1)),
                app: request.app,
                kind: kind.into(),
                value,
            },
            sender: None,
            acted_by: (number == 10).then_some(ActedBy::Deployment),
        };
        vec![
            entry(10, "compose_hash_added", vec![0xaa; 32]),
            entry(20, "device_added", vec![0xbb; 32]),
            entry(30, "allow_any_device_set", vec![1]),
            entry(40, "device_removed", vec![0xcc; 32]),
        ]
    }

    fn page(ledger_from: Option<u64>, at: Option<u64>) -> String {
        let request = samples::request();
        let history = AppHistory {
            chain: request.chain,
            app: request.app,
            discovered: "request".into(),
            ledger_from,
            history_start: Some(5),
            starts_at_deployment: true,
        };
        let ledger = ledger();
        let mut policy = audit::policy(&ledger, history.is_whole(), at);
        policy.entries[0].requests = vec![request.id];
        policy.entries[0].replicas = vec!["replica-9".parse().unwrap()];
        policy.owner = Some(Account(Address::ZERO));
        let list = Allowlist {
            head: None,
            policy,
            generation: None,
            warning: ledger_from.is_none().then(|| "the history has not been read yet".into()),
            unreadable: None,
            ledger,
        };
        App::new(&history, at, None, list, None).render().unwrap()
    }

    #[test]
    fn an_entry_names_who_decided_it_for_which_request_and_what_uses_it() {
        let now = page(Some(5), None);
        assert!(now.contains(&format!("/requests/{}", samples::request().id)));
        assert!(now.contains("deployment") && now.contains("replica-9"), "{now}");
        assert!(now.contains("lets every device in"), "{now}");
        assert!(now.contains("changed nothing") && now.contains("not known yet"), "{now}");
        assert!(now.contains("cannot be changed any more"), "{now}");
        assert!(page(None, None).contains("not been read yet"));
    }

    #[test]
    fn an_earlier_block_shows_the_earlier_list() {
        let then = page(Some(5), Some(15));
        assert!(then.contains(&"aa".repeat(32)) && !then.contains(&"bb".repeat(32)), "{then}");
        assert!(!then.contains("lets every device in"), "{then}");
    }
}
