//! `/`: the requests as a queue. What needs a person comes first, and of that what dies first; what
//! is over comes last.

use std::collections::HashMap;

use alloy::primitives::Address;
use askama::Template;
use axum::{extract::State, http::StatusCode};
use chrono::TimeDelta;
use serde::Deserialize;

use super::{
    Page,
    parts::{self, When, cut, short},
    refusal::{Asked as Query, Seen, Wallet},
    render,
};
use crate::{
    clock::Time,
    request::{
        Request,
        deadline::{self, COMMIT_MARGIN},
        ids::{ChainId, NodeId, RequestId},
        kind::Kind,
        status::Status,
    },
    store::{
        lists::{Asked, Place, Queue, Signatures},
        requests::Filter,
    },
    web::{
        WebState,
        api::{request_list::ListQuery, requests::RequestView},
        compose_proof::{ComposeProofView, ProofState, proofs},
        problem::Problem,
        standing::Standings,
    },
};

/// Less than this left of a token is shown as urgent.
const URGENT: TimeDelta = TimeDelta::days(1);
/// Characters of a note that a list shows.
const NOTE_CHARS: usize = 90;
/// Characters of a reason that it shows; the page of the request has all of it.
const REASON_CHARS: usize = 240;
/// Characters of the name of a node.
const NAME_CHARS: usize = 40;
/// Owners who have not signed that a list names.
const MISSING_MAX: usize = 3;

/// What the list is narrowed to, as its form sends it.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Narrowed {
    status: Option<String>,
    app: Option<String>,
    q: Option<String>,
    /// `1`: to what waits for the signature of whoever looks.
    mine: Option<String>,
    limit: Option<String>,
    /// A place of this page: the list of the API has another order.
    cursor: Option<String>,
}

impl Narrowed {
    fn read(&self) -> Result<(Filter, u32), Problem> {
        let Self { status, app, q, limit, .. } = self.clone();
        ListQuery { status, app, q, limit, cursor: None }.read()
    }

    fn place(&self) -> Result<Option<Place>, Problem> {
        let place = self.cursor.as_deref().filter(|text| !text.is_empty());
        let place = place.map(str::parse::<Place>).transpose();
        place.map_err(|error| Problem::of_field("cursor", error.to_string()))
    }

    fn is_mine(&self) -> Result<bool, Problem> {
        match self.mine.as_deref().unwrap_or_default() {
            "" => Ok(false),
            "1" => Ok(true),
            _ => Err(Problem::of_field("mine", "expected 1, or nothing")),
        }
    }

    /// Whose signature is to be missing.
    fn waits_for(&self, wallet: Option<Address>) -> Result<Option<Address>, Problem> {
        let nobody = || {
            let title = "sign in with your wallet: only an owner's signature is waited for";
            Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", title)
        };
        if self.is_mine()? { wallet.ok_or_else(nobody).map(Some) } else { Ok(None) }
    }
}

/// One request in the list.
struct Row {
    view: RequestView,
    chain: String,
    app: String,
    source: String,
    note: Option<String>,
    reason: Option<String>,
    node: Option<String>,
    signatures: Option<Signatures>,
    /// What its owners should know before they sign, as a count.
    warnings: u64,
    /// How long the token lives, while that matters.
    left: Option<Left>,
    /// What becomes of it when the token dies.
    can_prepare: bool,
    created: When,
    /// What is wrong with the proof of its compose hash, if anything.
    proof: Option<&'static str>,
    /// How many others are put to the Safe in the same transaction.
    others: usize,
    /// Whether it waits for a signature of whoever looks.
    is_mine: bool,
}

/// Whether nothing comes next, so that only the reason is worth saying.
pub fn is_over(status: Status) -> bool {
    status.is_end() && status != Status::Expired
}

/// What is left of a commit token.
pub struct Left {
    pub words: String,
    pub urgent: bool,
    /// Until a commit may begin for the last time.
    pub slack: String,
}

impl Left {
    pub fn of(expires_at: Time, now: Time) -> Self {
        Self {
            words: deadline::time_left(expires_at, now),
            urgent: expires_at - now < URGENT,
            slack: match deadline::time_left(expires_at - COMMIT_MARGIN, now) {
                none if none == "expired" => "no slack".into(),
                slack => format!("slack {slack}"),
            },
        }
    }
}

#[derive(Template)]
#[template(path = "list.html")]
struct List {
    rows: Vec<Row>,
    query: Narrowed,
    next: Option<Place>,
    /// Chains of which it is not known what the visitor may see there.
    unread: Vec<String>,
    /// Whether somebody looks whose signature can be missing.
    is_signer: bool,
}

/// What is known beside the requests themselves.
struct Beside {
    asked: HashMap<RequestId, Asked>,
    proofs: HashMap<RequestId, ComposeProofView>,
    node_names: HashMap<String, String>,
    /// With which others each is put to its Safe.
    together: HashMap<RequestId, Vec<RequestId>>,
    can_prepare: bool,
    /// The wallet of whoever looks.
    wallet: Option<Address>,
}

impl List {
    fn new(queue: Queue, beside: &Beside, query: Narrowed, now: Time) -> Self {
        let rows = queue.requests.into_iter().map(|request| Row::new(request, beside, now));
        let is_signer = beside.wallet.is_some();
        Self { rows: rows.collect(), next: queue.next, query, unread: vec![], is_signer }
    }

    fn statuses(&self) -> [(Status, bool); 12] {
        Status::ALL.map(|status| (status, self.query.status.as_deref() == Some(status.as_str())))
    }

    fn app(&self) -> &str {
        self.query.app.as_deref().unwrap_or_default()
    }

    fn text(&self) -> &str {
        self.query.q.as_deref().unwrap_or_default()
    }

    fn is_filtered(&self) -> bool {
        let Narrowed { status, app, q, mine, .. } = &self.query;
        let fields = [status, app, q, mine];
        fields.into_iter().flatten().any(|field| !field.trim().is_empty())
    }

    fn is_mine(&self) -> bool {
        self.query.is_mine().unwrap_or_default()
    }

    fn is_first_page(&self) -> bool {
        self.query.cursor.as_deref().is_none_or(str::is_empty)
    }

    /// This list from another place on: the same filter, escaped by the form encoding.
    fn address(&self, place: Option<&Place>) -> String {
        let place = place.map(ToString::to_string);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let fields = [
            ("status", self.query.status.as_deref()),
            ("app", self.query.app.as_deref()),
            ("q", self.query.q.as_deref()),
            ("mine", self.query.mine.as_deref()),
            ("limit", self.query.limit.as_deref()),
            ("cursor", place.as_deref()),
        ];
        for (name, value) in fields {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                query.append_pair(name, value);
            }
        }
        format!("/?{}", query.finish())
    }
}

impl Row {
    fn new(request: Request, beside: &Beside, now: Time) -> Self {
        let status = request.status();
        let waits = status.is_before_commit() || status == Status::Committing;
        let asked = beside.asked.get(&request.id).cloned().unwrap_or_default();
        let name = |node: &NodeId| match beside.node_names.get(node.as_str()) {
            Some(name) => format!("{} ({node})", cut(name, NAME_CHARS)),
            None => node.to_string(),
        };
        let proof = beside.proofs.get(&request.id).map(|proof| proof.state);
        let missing = asked.signatures.iter().filter(|_| status == Status::Proposed);
        let is_mine = missing.flat_map(|it| &it.missing).any(|owner| Some(*owner) == beside.wallet);
        let row = Self {
            is_mine,
            chain: ChainId::label(request.chain),
            app: short(&request.app),
            source: short(&request.source),
            note: request.note.as_deref().map(|note| cut(note, NOTE_CHARS)),
            node: request.node.as_ref().map(name),
            signatures: asked.signatures,
            warnings: if waits { asked.warnings } else { 0 },
            left: waits.then(|| Left::of(request.expires_at, now)),
            can_prepare: beside.can_prepare && request.is_repeatable,
            created: When(request.created_at),
            proof: match proof {
                None | Some(ProofState::Proved) => None,
                Some(ProofState::Unproved) => Some("compose hash unproved"),
                Some(ProofState::Contradicted) => Some("compose hash contradicted"),
            },
            others: beside.together.get(&request.id).map_or(0, Vec::len),
            reason: None,
            view: request.into(),
        };
        let reason = row.view.reason.as_deref().map(|reason| cut(reason, REASON_CHARS));
        Self { reason, ..row }
    }

    fn is_update(&self) -> bool {
        self.view.kind == Kind::Update
    }

    fn is_over(&self) -> bool {
        is_over(self.view.status)
    }

    /// The owners whose signatures are waited for, as many as fit.
    fn missing(&self) -> Vec<String> {
        let missing = self.signatures.iter().filter(|_| self.view.status == Status::Proposed);
        missing.flat_map(|it| it.missing.iter().take(MISSING_MAX)).map(short).collect()
    }

    /// How many more there are.
    fn more_missing(&self) -> usize {
        let missing = self.signatures.as_ref().map_or(0, |it| it.missing.len());
        missing.saturating_sub(MISSING_MAX)
    }
}

pub async fn page(
    Seen(sight): Seen,
    Wallet(wallet): Wallet,
    State(state): State<WebState>,
    Query(query): Query<Narrowed>,
) -> Page {
    let (place, waits_for) = (query.place()?, query.waits_for(wallet)?);
    let (filter, limit) = query.read()?;
    let filter = Filter { apps: sight.apps().map(<[_]>::to_vec), ..filter };
    let service = &state.service;
    let mut queue = service.store.queue(&filter, waits_for, place, limit).await?;
    let standings = Standings::of(service, &queue.requests).await?;
    for request in &mut queue.requests {
        standings.explain(request);
    }
    let ids: Vec<RequestId> = queue.requests.iter().map(|request| request.id).collect();
    let nodes: Vec<NodeId> = queue.requests.iter().filter_map(|it| it.node.clone()).collect();
    let beside = Beside {
        asked: service.store.asked(&ids).await?,
        proofs: proofs(service, &ids).await?,
        node_names: service.store.node_names(&nodes).await?,
        together: service.store.together_with(&ids).await?,
        can_prepare: service.can_prepare,
        wallet,
    };
    let list = List::new(queue, &beside, query, service.clock.now());
    render(&List { unread: sight.unread().iter().map(|chain| chain.label()).collect(), ..list })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::pages::samples;

    fn list(query: Narrowed) -> String {
        list_for(None, query)
    }

    fn list_for(wallet: Option<Address>, query: Narrowed) -> String {
        let mut late = samples::request();
        late.note = Some("<script>alert(1)</script>".into());
        late.reason = Some("waits for <b>two</b> owners".into());
        let missing = (2..7).map(Address::repeat_byte).collect();
        let signatures = Some(Signatures { given: 1, threshold: 2, missing });
        let now = late.expires_at - TimeDelta::hours(3);
        let beside = Beside {
            asked: HashMap::from([(late.id, Asked { signatures, warnings: 2 })]),
            proofs: HashMap::new(),
            node_names: HashMap::from([("5".into(), "prod<5>".into())]),
            together: HashMap::from([(late.id, vec![late.id; 2])]),
            can_prepare: false,
            wallet,
        };
        let next = "1_5_00000000-0000-0000-0000-000000000007".parse().ok();
        List::new(Queue { requests: vec![late], next }, &beside, query, now).render().unwrap()
    }

    #[test]
    fn a_row_says_what_matters_and_escapes_what_people_wrote() {
        let page = list(Narrowed::default());
        for part in [
            "1 of 2",
            "one transaction with 2 others",
            "0x0202…0202</span>",
            "and 2 more",
            "3 h 0 min",
            "slack 2 h 50 min, then it ends",
            "class=\"nowrap urgent\"",
            "proposed",
            "prod&#60;5&#62; (5)",
            "2 warnings",
            "&#60;b&#62;two&#60;/b&#62; owners",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        assert!(!page.contains("<script>"), "{page}");
    }

    #[test]
    fn an_owner_is_told_what_waits_for_the_own_signature() {
        let words = "your signature is missing";
        let (owner, signed) = (Address::repeat_byte(3), Address::repeat_byte(1));
        for (wallet, is_mine) in [(None, false), (Some(signed), false), (Some(owner), true)] {
            let page = list_for(wallet, Narrowed::default());
            assert_eq!(page.contains(words), is_mine, "{wallet:?}: {page}");
            assert_eq!(page.contains("name=\"mine\""), wallet.is_some(), "{wallet:?}: {page}");
        }
        let asked = |mine: &str, wallet| {
            let query = Narrowed { mine: Some(mine.into()), ..Narrowed::default() };
            query.waits_for(wallet).map_err(|problem| problem.status)
        };
        assert_eq!(asked("1", Some(owner)), Ok(Some(owner)));
        assert_eq!(asked("", Some(owner)), Ok(None));
        assert_eq!(asked("1", None), Err(401), "nobody is no owner");
        assert_eq!(asked("yes", Some(owner)), Err(422));
    }

    #[test]
    fn nobody_is_missing_once_enough_signed() {
        let mut request = samples::request();
        request.facts.approved_at = Some(request.created_at);
        let signatures = Some(Signatures { given: 2, threshold: 2, missing: vec![Address::ZERO] });
        let beside = Beside {
            asked: HashMap::from([(request.id, Asked { signatures, warnings: 0 })]),
            proofs: HashMap::new(),
            node_names: HashMap::new(),
            together: HashMap::new(),
            can_prepare: true,
            wallet: Some(Address::ZERO),
        };
        let now = request.expires_at - TimeDelta::minutes(5);
        let row = Row::new(request, &beside, now);
        assert_eq!((row.missing(), row.is_mine), (Vec::<String>::new(), false));
        assert_eq!(row.left.unwrap().slack, "no slack");
    }

    #[test]
    fn the_next_page_keeps_the_filter() {
        let query = Narrowed {
            status: Some("proposed".into()),
            q: Some("a&b \"<i>".into()),
            mine: Some("1".into()),
            ..Narrowed::default()
        };
        let page = list(query);
        let next = "/?status=proposed&#38;q=a%26b+%22%3Ci%3E&#38;mine=1&#38;cursor=1_5_";
        assert!(page.contains(next), "{page}");
        assert!(page.contains("value=\"a&#38;b &#34;&#60;i&#62;\""), "{page}");
        assert!(page.contains("<option value=\"proposed\" selected>"), "{page}");
    }
}
