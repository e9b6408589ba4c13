//! `/apps/{chain_id}/{app}`: what the app allows, since when, by which transaction, who decided it,
//! for which request, and what uses it; and everything that happened to its rules.

use std::fmt::Display;

use askama::Template;
use axum::{
    extract::{Path, State},
    http::HeaderMap,
};
use serde::Deserialize;
use url::Url;

use super::{
    Page,
    chart::Chart,
    drift::Panel,
    ledger::{Past, by},
    parts::{self, Transaction, When, number},
    refusal::{Asked, Visitor},
    render,
};
use crate::{
    audit::{self, AllowedEntry, Allowlist, AsOf, EntryKind},
    chain::Chain,
    dstack::Generation,
    request::ids::{NodeId, ReplicaId, RequestId},
    store::{apps::AppHistory, chain::Head, paths::Recorded},
    web::{
        WebState,
        api::apps::{AllowlistView, as_of, find, read},
        statement::Statement,
    },
};

/// Newest entries of a history that are shown; the page of the ledger has more.
const HISTORY_MAX: usize = 100;
/// Most entries of the allowlist that are shown, those that were allowed last; the files have all.
const ROWS_MAX: usize = 500;
/// Most ids that are shown in a cell; the files have all.
const IDS_MAX: usize = 10;

/// As of when, as the form sends it: a block or a moment.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AtForm {
    at: Option<String>,
    time: Option<String>,
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
    /// How many requests are not shown.
    more_requests: usize,
    removal: Hits,
}

/// What the removal of an entry would hit, as far as there is room.
struct Hits {
    instances: Vec<ReplicaId>,
    requests: Vec<RequestId>,
    nodes: Vec<NodeId>,
    /// How many of each, with those that are not shown.
    counts: [usize; 3],
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
    chart: Chart,
    /// None as of an earlier block, whose state nobody keeps.
    drift: Option<Panel>,
    /// The moment that was asked for, as it was written.
    time: String,
    statement: Statement,
}

impl App {
    fn new(
        history: &AppHistory,
        list: Allowlist,
        drift: Option<Panel>,
        time: String,
        statement: Statement,
        explorer: Option<&Url>,
    ) -> Self {
        let (at, head) = (list.at, list.head);
        let changes = audit::changes(&list.ledger, history.is_whole());
        let shown = |(one, _): &(&Recorded, _)| at.is_none_or(|at| one.entry.block.number <= at);
        let past = list.ledger.iter().zip(changes).rev().filter(shown);
        let is_cut = past.clone().count() > HISTORY_MAX;
        let past = past.take(HISTORY_MAX).map(|(one, changed)| Past::new(one, changed, explorer));
        let past = past.collect();
        let until = head.filter(|_| at.is_none()).map(|head| head.block_time);
        Self {
            chain: history.chain.label(),
            reading: head
                .filter(|_| !history.is_read())
                .map(|head| percent(history.progress(head.block.number))),
            head,
            rows: newest(&list.policy.entries).map(|entry| Row::new(entry, explorer)).collect(),
            history: past,
            is_cut,
            chart: Chart::new(&audit::lanes(&list.ledger, at), until, explorer),
            drift,
            time,
            statement,
            view: AllowlistView::new(history, list),
        }
    }

    fn path(&self) -> String {
        format!("/apps/{}/{}", self.view.chain_id, self.view.app)
    }

    /// Whether the block that answers comes before everything that is known.
    fn is_before_history(&self) -> bool {
        self.view.at.is_some_and(|at| self.view.ledger_from.is_none_or(|from| at < from))
    }

    /// Entries that nobody needs who is known here.
    fn unused(&self) -> usize {
        self.view.entries.iter().filter(|entry| entry.removal.hits_nobody()).count()
    }

    /// As of when, as it stands in the address of a file.
    fn asked_at(&self) -> String {
        self.view.at.map(|at| format!("&at={at}")).unwrap_or_default()
    }

    /// The form's field for a block as it was filled in.
    fn asked(&self) -> String {
        let block = self.view.at.filter(|_| self.time.is_empty());
        block.map(|at| at.to_string()).unwrap_or_default()
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
            requests: entry.requests.iter().take(IDS_MAX).copied().collect(),
            more_requests: entry.requests.len().saturating_sub(IDS_MAX),
            removal: Hits::new(&entry.removal),
        }
    }
}

impl Hits {
    fn new(removal: &audit::Removal) -> Self {
        let audit::Removal { instances, requests, nodes } = removal;
        Self {
            instances: instances.iter().take(IDS_MAX).cloned().collect(),
            requests: requests.iter().take(IDS_MAX).copied().collect(),
            nodes: nodes.iter().take(IDS_MAX).cloned().collect(),
            counts: [instances.len(), requests.len(), nodes.len()],
        }
    }

    fn is_nothing(&self) -> bool {
        self.instances.is_empty() && self.requests.is_empty()
    }

    /// How many things, and what they are.
    fn count(&self, of: usize, name: &str) -> impl Display {
        let count = self.counts[of];
        format!("{count} {name}{}", if count == 1 { "" } else { "s" })
    }

    /// How many are not shown.
    fn more(&self, of: usize) -> Option<usize> {
        self.counts[of].checked_sub(IDS_MAX).filter(|more| *more > 0)
    }
}

/// The entries that are shown, in their order.
fn newest(entries: &[AllowedEntry]) -> impl Iterator<Item = &AllowedEntry> {
    let mut since: Vec<u64> = entries.iter().map(|entry| entry.since.number).collect();
    since.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    let from = since.get(ROWS_MAX).map_or(0, |first_left_out| first_left_out + 1);
    // What one block allowed stands there whole or not at all, unless it alone is too much.
    let from = if since.first().is_some_and(|newest| *newest < from) { from - 1 } else { from };
    entries.iter().filter(move |entry| entry.since.number >= from).take(ROWS_MAX)
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
    headers: HeaderMap,
) -> Page {
    let as_of = as_of(number("at", form.at.as_deref())?, form.time.as_deref())?;
    let history = find(&state, &chain, &app).await?;
    let drift =
        async { if as_of == AsOf::Now { Some(Panel::of(&state, &history).await) } else { None } };
    let (list, drift) = tokio::join!(read(&state, &history, as_of), drift);
    let list = list?;
    let statement = Statement::of(&state, &headers, &history, list.at, list.head.as_ref()).await?;
    let explorer = state.service.chains.get(history.chain).ok().and_then(Chain::explorer);
    let time = form.time.map(|time| time.trim().to_owned()).unwrap_or_default();
    render(&App::new(&history, list, drift, time, statement, explorer))
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};

    use super::*;
    use crate::{
        audit::Removal,
        owner::{Account, ActedBy},
        request::{
            facts::BlockRef,
            ids::{BlockHash, TxHash},
        },
        store::{journal::JournalHead, ledger::LedgerEntry},
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
        policy.entries[0].removal = Removal {
            instances: (0..12).map(|n| format!("replica-{n}").parse().unwrap()).collect(),
            requests: vec![request.id],
            nodes: vec!["node-5".parse().unwrap()],
        };
        policy.owner = Some(Account(Address::ZERO));
        let list = Allowlist {
            at,
            head: None,
            policy,
            generation: None,
            instances_listed_at: Some(request.created_at),
            warning: ledger_from.is_none().then(|| "the history has not been read yet".into()),
            unreadable: None,
            untold: at.map(|at| format!("no event up to block {at} tells it")),
            ledger,
        };
        let statement = Statement {
            service: "https://countersign.example/".into(),
            version: "0.0.0",
            made_at: request.created_at,
            chain_id: history.chain,
            app: history.app,
            as_of_block: at,
            as_of_block_hash: None,
            ledger_from,
            is_whole: history.is_whole(),
            journal_head: Some(JournalHead { seq: 77, hash: "ab".repeat(32) }),
        };
        App::new(&history, list, None, String::new(), statement, None).render().unwrap()
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
    fn a_removal_says_whom_it_would_hit_and_an_entry_whom_nobody_needs_that() {
        let now = page(Some(5), None);
        assert!(now.contains("12 instances") && now.contains("and 2 more"), "{now}");
        assert!(now.contains("1 request on the way") && now.contains("1 node"), "{now}");
        assert!(now.contains("1 of 2 entries is needed by nobody"), "{now}");
    }

    #[test]
    fn of_a_long_list_those_allowed_last_are_shown() {
        let entries = |blocks: &[u64]| -> Vec<AllowedEntry> {
            let entry = audit::policy(&ledger(), true, None).entries.remove(0);
            let since = |number: &u64| BlockRef { number: *number, ..entry.since };
            blocks
                .iter()
                .map(|number| AllowedEntry { since: since(number), ..entry.clone() })
                .collect()
        };
        for (blocks, count, first) in [
            (vec![7, 3], 2, 7),
            ((0..500).collect(), 500, 0),
            ((0..900).collect(), 500, 400),
            ((0..900).rev().collect(), 500, 899),
            (vec![5; 900], 500, 5),
            ([vec![4; 300], vec![5; 400]].concat(), 400, 5),
        ] {
            let entries = entries(&blocks);
            let shown: Vec<u64> = newest(&entries).map(|entry| entry.since.number).collect();
            assert_eq!((shown.len(), shown[0]), (count, first), "{} entries", blocks.len());
        }
    }

    #[test]
    fn a_page_says_where_it_comes_from() {
        let then = page(Some(5), Some(15));
        for part in [&"ab".repeat(32), "entry 77", "block 15", "https://countersign.example/"] {
            assert!(then.contains(part), "{part}: {then}");
        }
        assert!(then.contains("allowlist/export?format=csv&#38;at=15"), "{then}");
    }

    #[test]
    fn an_earlier_block_shows_the_earlier_list() {
        let then = page(Some(5), Some(15));
        assert!(then.contains(&"aa".repeat(32)) && !then.contains(&"bb".repeat(32)), "{then}");
        assert!(!then.contains("lets every device in"), "{then}");
        assert!(then.contains("What is not known: no event up to block 15 tells it"), "{then}");
    }
}
