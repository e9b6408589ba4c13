//! `/`: the requests, newest first.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use chrono::TimeDelta;

use super::{
    Page,
    parts::{When, short},
    refusal::{Asked, Visitor},
    render,
};
use crate::{
    clock::Time,
    request::{
        Request, deadline,
        ids::{ChainId, RequestId},
        kind::Kind,
        status::Status,
    },
    store::lists::Signatures,
    web::{
        WebState,
        api::{
            request_list::{ListQuery, next_cursor},
            requests::RequestView,
        },
        compose_proof::{ComposeProofView, ProofState, proofs},
        standing::Standings,
    },
};

/// Less than this left of a token is shown as urgent.
const URGENT: TimeDelta = TimeDelta::days(1);

/// One request in the list.
struct Row {
    view: RequestView,
    chain: String,
    app: String,
    signatures: Option<Signatures>,
    /// How long the token lives, while that matters.
    left: Option<Left>,
    created: When,
    /// What is wrong with the proof of its compose hash, if anything.
    proof: Option<&'static str>,
    /// How many others are put to the Safe in the same transaction.
    others: usize,
}

/// Whether nothing comes next, so that only the reason is worth saying.
pub fn is_over(status: Status) -> bool {
    status.is_end() && status != Status::Expired
}

/// What is left of a commit token.
pub struct Left {
    pub words: String,
    pub urgent: bool,
}

impl Left {
    pub fn of(expires_at: Time, now: Time) -> Self {
        Self { words: deadline::time_left(expires_at, now), urgent: expires_at - now < URGENT }
    }
}

#[derive(Template)]
#[template(path = "list.html")]
struct List {
    rows: Vec<Row>,
    query: ListQuery,
    older: Option<String>,
}

impl List {
    fn new(
        requests: Vec<Request>,
        signatures: &HashMap<RequestId, Signatures>,
        proofs: &HashMap<RequestId, ComposeProofView>,
        together: &HashMap<RequestId, Vec<RequestId>>,
        query: ListQuery,
        limit: u32,
        now: Time,
    ) -> Self {
        let older = next_cursor(&requests, limit);
        let row = |request: Request| {
            let (proof, others) = (proofs.get(&request.id), together.get(&request.id));
            let row = Row::new(request, signatures, now).proved_by(proof);
            Row { others: others.map_or(0, Vec::len), ..row }
        };
        let rows = requests.into_iter().map(row);
        Self { rows: rows.collect(), older, query }
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
        let fields = [&self.query.status, &self.query.app, &self.query.q];
        fields.into_iter().flatten().any(|field| !field.trim().is_empty())
    }

    fn is_first_page(&self) -> bool {
        self.query.cursor.as_deref().is_none_or(str::is_empty)
    }

    /// This list with another start: the same filter, escaped by the form encoding.
    fn address(&self, cursor: Option<&str>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let fields = [
            ("status", self.query.status.as_deref()),
            ("app", self.query.app.as_deref()),
            ("q", self.query.q.as_deref()),
            ("limit", self.query.limit.as_deref()),
            ("cursor", cursor),
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
    fn new(request: Request, signatures: &HashMap<RequestId, Signatures>, now: Time) -> Self {
        let status = request.status();
        let waits = status.is_before_commit() || status == Status::Committing;
        Self {
            chain: ChainId::label(request.chain),
            app: short(&request.app),
            signatures: signatures.get(&request.id).copied(),
            left: waits.then(|| Left::of(request.expires_at, now)),
            created: When(request.created_at),
            proof: None,
            others: 0,
            view: request.into(),
        }
    }

    /// The same, with how its compose hash is proved.
    fn proved_by(self, proof: Option<&ComposeProofView>) -> Self {
        let proof = proof.and_then(|proof| match proof.state {
            ProofState::Proved => None,
            ProofState::Unproved => Some("compose hash unproved"),
            ProofState::Contradicted => Some("compose hash contradicted"),
        });
        Self { proof, ..self }
    }

    fn is_update(&self) -> bool {
        self.view.kind == Kind::Update
    }

    fn is_over(&self) -> bool {
        is_over(self.view.status)
    }
}

pub async fn page(
    _: Visitor,
    State(state): State<WebState>,
    Asked(query): Asked<ListQuery>,
) -> Page {
    let (filter, limit) = query.read()?;
    let service = &state.service;
    let mut requests = service.store.requests(&filter, limit).await?;
    let standings = Standings::of(service, &requests).await?;
    for request in &mut requests {
        standings.explain(request);
    }
    let ids: Vec<RequestId> = requests.iter().map(|request| request.id).collect();
    let signatures = service.store.signature_counts(&ids).await?;
    let proofs = proofs(service, &ids).await?;
    let together = service.store.together_with(&ids).await?;
    let now = service.clock.now();
    render(&List::new(requests, &signatures, &proofs, &together, query, limit, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::pages::samples;

    fn list(query: ListQuery) -> String {
        let mut late = samples::request();
        late.note = Some("<script>alert(1)</script>".into());
        late.reason = Some("waits for <b>two</b> owners".into());
        let counts = HashMap::from([(late.id, Signatures { given: 1, threshold: 2 })]);
        let now = late.expires_at - TimeDelta::hours(3);
        let together = HashMap::from([(late.id, vec![late.id; 2])]);
        let list = List::new(vec![late], &counts, &HashMap::new(), &together, query, 1, now);
        list.render().unwrap()
    }

    #[test]
    fn a_row_says_what_matters_and_escapes_what_people_wrote() {
        let page = list(ListQuery::default());
        let together = "one transaction with 2 others";
        for part in
            ["1 of 2", together, "3 h 0 min", "class=\"urgent\"", "proposed", "&#60;b&#62;two"]
        {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        assert!(!page.contains("<script>"), "{page}");
    }

    #[test]
    fn the_next_page_keeps_the_filter() {
        let query = ListQuery {
            status: Some("proposed".into()),
            q: Some("a&b \"<i>".into()),
            ..ListQuery::default()
        };
        let page = list(query);
        assert!(page.contains("/?status=proposed&#38;q=a%26b+%22%3Ci%3E&#38;cursor="), "{page}");
        assert!(page.contains("value=\"a&#38;b &#34;&#60;i&#62;\""), "{page}");
        assert!(page.contains("<option value=\"proposed\" selected>"), "{page}");
    }
}
