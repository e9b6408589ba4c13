//! `/requests/{id}`: what am I approving, is it what it says, what happens next, and how long do
//! we have. One screen.

use alloy::primitives::Address;
use askama::Template;
use axum::extract::{Path, State};

use super::{
    Page, PageProblem,
    acts::{Act, Acts, Refused},
    checks::{Check, Mark, Wanted, checks, wanted},
    list::{self, Left},
    parts::{self, Transaction, When},
    refusal::{Asked, SignedIn, Visitor},
    render,
    review::Review,
    simulation::{self, SimulationPart, Wish},
    timeline::{Line, actor},
};
use crate::{
    chain::Chain,
    clock::Time,
    compose::Severity,
    owner::Route,
    request::{
        Request,
        deadline::COMMIT_MARGIN,
        explain::{self, Explanation},
        ids::RequestId,
        kind::Kind,
        status::Status,
    },
    review::{COMMENT_CHARS_MAX, REASON_CHARS_MAX},
    store::{journal::Entry, ledger::LedgerEntry},
    web::{
        WebState,
        api::{
            proposals::{self, ProposalView},
            requests::{RequestView, request_id},
        },
        candidates::{Candidates, candidates},
        compose_proof::{Against, ComposeView, REVIEW_MAX, compose},
        device_meaning::{DeviceMeaning, meaning},
        explained::{Explained, explained},
        gate::Caller,
        mailbox::{MailboxView, mailbox},
        queue::{NonceView, nonce},
        relayer::{RelayerView, relayer},
    },
};

/// Entries of a timeline that are shown.
const TIMELINE_MAX: u32 = 500;

/// The way, as far as it leads to a running replica.
const WAY: [Status; 8] = [
    Status::Prepared,
    Status::Proposed,
    Status::Approved,
    Status::Executed,
    Status::Registered,
    Status::Committing,
    Status::Committed,
    Status::Running,
];

#[derive(Template)]
#[template(path = "request.html")]
pub struct RequestPage {
    view: RequestView,
    explanation: Explanation,
    /// When that is, in words, since a page has no clock.
    when: String,
    /// What a person may run, when one is waited for.
    commands: Vec<String>,
    candidates: Option<Candidates>,
    mailbox: Option<MailboxView>,
    nonce: Option<NonceView>,
    relayer: Option<RelayerView>,
    compose: Option<ComposeView>,
    device: Option<DeviceMeaning>,
    simulation: Option<SimulationPart>,
    created_by: String,
    /// Where it is to run, by name if that is known.
    node: Option<String>,
    chain: String,
    /// What must be allowed for the replica to run, and whether it is.
    wanted: Vec<Wanted>,
    review: Option<Review>,
    token: Token,
    pub acts: Acts,
    executed: Option<Executed>,
    registered: Option<When>,
    timeline: Vec<Line>,
}

/// The commit token's time.
struct Token {
    expires: When,
    left: Option<Left>,
    last_start: When,
    is_live: bool,
    can_prepare: bool,
}

struct Executed {
    block: u64,
    at: When,
    tx: Option<Transaction>,
}

/// What the page is made of, beside the request itself.
struct Known<'a> {
    explanation: Explanation,
    candidates: Option<Candidates>,
    mailbox: Option<MailboxView>,
    nonce: Option<NonceView>,
    relayer: Option<RelayerView>,
    compose: Option<ComposeView>,
    device: Option<DeviceMeaning>,
    node_name: Option<String>,
    simulation: Option<SimulationPart>,
    proposal: Option<ProposalView>,
    ledger: &'a [LedgerEntry],
    journal: Vec<Entry>,
    explorer: Option<&'a url::Url>,
    can_prepare: bool,
    acts: Acts,
}

impl RequestPage {
    fn new(request: Request, known: Known<'_>, now: Time) -> Self {
        let review = known.proposal.map(|proposal| Review::new(proposal, &request));
        let facts = &request.facts;
        let commands = match &known.explanation.when {
            explain::When::Person { commands, .. } => commands.clone(),
            _ => vec![],
        };
        Self {
            when: known.explanation.when.words(now),
            explanation: known.explanation,
            commands,
            candidates: known.candidates,
            mailbox: known.mailbox,
            nonce: known.nonce,
            relayer: known.relayer,
            compose: known.compose,
            device: known.device,
            simulation: known.simulation,
            created_by: actor(&request.created_by),
            node: request.node.as_ref().map(|node| match &known.node_name {
                Some(name) => format!("{name} ({node})"),
                None => node.to_string(),
            }),
            chain: request.chain.label(),
            wanted: wanted(&request, review.as_ref(), known.ledger),
            token: Token::of(&request, known.can_prepare && request.is_repeatable, now),
            acts: known.acts,
            executed: facts.execution.map(|execution| Executed {
                block: execution.block.number,
                at: When(execution.at),
                tx: execution.tx.map(|tx| Transaction::new(tx, known.explorer)),
            }),
            registered: facts.registration.map(|registration| When(registration.at)),
            review,
            timeline: known.journal.into_iter().map(Line::from).collect(),
            view: request.into(),
        }
    }

    /// What is known of a request at the present moment; `refused`: a form of the page that was not taken.
    pub async fn of(
        state: &WebState,
        id: RequestId,
        wish: &Wish,
        signed_in: Option<(Caller, String)>,
        refused: Option<Refused>,
    ) -> Result<Self, PageProblem> {
        let service = &state.service;
        let mut request = service.store.request(id).await?;
        let proposal = service.store.proposal(id).await?;
        let Explained { explanation, .. } =
            explained(service, &mut request, proposal.as_ref()).await?;
        let mut journal = service.store.journal_page(Some(id), None, TIMELINE_MAX).await?;
        journal.reverse();
        let compose = compose(service, &request).await?;
        let device = meaning(service, request.device).await?;
        let view = match &proposal {
            Some(proposal) => {
                let known = proposals::Known { request: id, compose: &compose, device: &device };
                Some(proposals::view_beside(state, proposal, Some(&known)).await?)
            }
            None => None,
        };
        let known = Known {
            explanation,
            candidates: candidates(state, &request).await?,
            mailbox: mailbox(service, &request).await?,
            nonce: nonce(&request, proposal.as_ref()),
            relayer: relayer(service, &request).await?,
            compose: Some(compose),
            device: Some(device),
            node_name: service
                .store
                .node_names(request.node.as_slice())
                .await?
                .into_values()
                .next(),
            simulation: simulation::part(state, &request, proposal.as_ref(), wish).await?,
            proposal: view
                .map(|view| if service.settings.is_devnet { view.without_wallet() } else { view }),
            ledger: &service.store.ledger(request.chain, request.app).await?,
            journal,
            // A chain that is no longer configured still has its requests.
            explorer: service.chains.get(request.chain).ok().and_then(Chain::explorer),
            can_prepare: service.can_prepare,
            acts: Acts::of(state, signed_in, &request).await?.after(refused),
        };
        Ok(Self::new(request, known, service.clock.now()))
    }

    /// Each step of the way, and whether it is behind; none for a request that ended elsewhere.
    fn steps(&self) -> Vec<(Status, bool)> {
        let status = self.view.status;
        let on_the_way = WAY.contains(&status);
        let steps = WAY.into_iter().filter(|_| on_the_way);
        steps.map(|step| (step, step < status || status == Status::Running)).collect()
    }

    /// Whether it is what it says, in a word each.
    fn checks(&self) -> Vec<Check> {
        checks(self.review.as_ref(), self.compose.as_ref(), self.device.as_ref())
    }

    /// The documents that this one is compared with.
    fn others(&self) -> Vec<(&'static str, &Against)> {
        let Some(compose) = &self.compose else { return vec![] };
        let running = compose.running.as_ref().map(|one| ("what the source runs", one));
        let approved = compose.approved.as_ref().map(|one| ("what was approved before", one));
        running.into_iter().chain(approved).collect()
    }

    fn is_update(&self) -> bool {
        self.view.kind == Kind::Update
    }

    fn is_over(&self) -> bool {
        list::is_over(self.view.status)
    }

    /// Whether an owner is whoever looks.
    fn is_you(&self, owner: &Address) -> bool {
        self.acts.wallet.as_ref() == Some(owner)
    }

    fn is_current(&self, step: Status) -> bool {
        step == self.view.status
    }
}

impl Token {
    fn of(request: &Request, can_prepare: bool, now: Time) -> Self {
        let status = request.status();
        let matters = status.is_before_commit() || status == Status::Committing;
        Self {
            expires: When(request.expires_at),
            left: matters.then(|| Left::of(request.expires_at, now)),
            last_start: When(request.expires_at - COMMIT_MARGIN),
            is_live: request.preparation.is_some(),
            can_prepare,
        }
    }
}

pub async fn page(
    _: Visitor,
    State(state): State<WebState>,
    Path(id): Path<String>,
    Asked(wish): Asked<Wish>,
    SignedIn(signed_in): SignedIn,
) -> Page {
    let id = request_id(&id)?;
    state.service.visit_mailbox(id).await;
    render(&RequestPage::of(&state, id, &wish, signed_in, None).await?)
}

#[cfg(test)]
mod tests;
