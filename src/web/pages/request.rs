//! `/requests/{id}`: what am I approving, is it what it says, what happens next, and how long do
//! we have. One screen.

use askama::Template;
use axum::extract::{Path, State};

use super::{
    Page,
    ledger::any_device,
    list::{self, Left},
    parts::{self, Transaction, When},
    refusal::{Asked, Visitor},
    render,
    review::Review,
    simulation::{self, SimulationPart, Wish},
    timeline::{Line, actor},
};
use crate::{
    audit::{AllowedEntry, EntryKind, allowlist},
    chain::Chain,
    clock::Time,
    compose::Severity,
    dstack::Write,
    owner::Route,
    request::{
        Request,
        deadline::COMMIT_MARGIN,
        explain::{self, Explanation},
        kind::Kind,
        status::Status,
    },
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
struct RequestPage {
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
    executed: Option<Executed>,
    registered: Option<When>,
    timeline: Vec<Line>,
}

struct Wanted {
    name: &'static str,
    value: String,
    state: String,
}

/// The commit token's time.
struct Token {
    expires: When,
    left: Option<Left>,
    last_start: When,
    is_live: bool,
    can_prepare: bool,
}

/// Something that speaks for a request being what it says, or against it.
struct Check {
    is_good: bool,
    words: &'static str,
    /// The part of the page that tells more.
    place: &'static str,
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

    /// Each step of the way, and whether it is behind; none for a request that ended elsewhere.
    fn steps(&self) -> Vec<(Status, bool)> {
        let status = self.view.status;
        let on_the_way = WAY.contains(&status);
        let steps = WAY.into_iter().filter(|_| on_the_way);
        steps.map(|step| (step, step < status || status == Status::Running)).collect()
    }

    /// The documents that this one is compared with.
    fn others(&self) -> Vec<(&'static str, &Against)> {
        let Some(compose) = &self.compose else { return vec![] };
        let running = compose.running.as_ref().map(|one| ("what the source runs", one));
        let approved = compose.approved.as_ref().map(|one| ("what was approved before", one));
        running.into_iter().chain(approved).collect()
    }

    /// Whether it is what it says, in a word each.
    fn checks(&self) -> Vec<Check> {
        let check = |place, is_good, yes, no| Check {
            is_good,
            place,
            words: if is_good { yes } else { no },
        };
        let mut checks = vec![];
        if let Some(review) = &self.review {
            let known = review.calls.iter().all(|call| call.wanted || call.other.is_some());
            let words = ("every call is asked for here", "a call that nothing here asks for");
            checks.push(check("calls", known, words.0, words.1));
        }
        if let Some(compose) = &self.compose {
            let words = ("the compose hash is proved", "the compose hash is not proved");
            checks.push(check("compose", compose.proof.is_proved(), words.0, words.1));
        }
        if let Some(device) = &self.device {
            let words = ("nothing odd about the device", "something odd about the device");
            checks.push(check("about", device.warnings.is_empty(), words.0, words.1));
        }
        let warnings = self.review.as_ref().map_or(0, |review| review.proposal.warnings.len());
        if warnings > 0 {
            checks.push(check("warnings", false, "", "the transaction has warnings"));
        }
        checks
    }

    fn is_update(&self) -> bool {
        self.view.kind == Kind::Update
    }

    fn is_over(&self) -> bool {
        list::is_over(self.view.status)
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

/// The two entries a request needs. What the proposal was built from is what the chain said then;
/// the ledger adds since when.
fn wanted(request: &Request, review: Option<&Review>, ledger: &[LedgerEntry]) -> Vec<Wanted> {
    let allowed = allowlist(ledger, None);
    let since = |kind, value| allowed.iter().find(|one| (one.kind, one.value) == (kind, value));
    let state = |write: Write, known: Option<&AllowedEntry>| {
        let asked = review.map(|review| review.makes(write));
        match (known, asked) {
            (Some(entry), _) => format!("allowed since block {}", entry.since.number),
            (None, Some(true)) => "not allowed before; this proposal allows it".into(),
            (None, Some(false)) => "not part of this proposal: nothing to sign for it".into(),
            (None, None) => "not seen as allowed so far".to_owned(),
        }
    };
    let (compose, device) = (request.compose, request.device);
    let compose_state =
        state(Write::AddComposeHash(compose), since(EntryKind::ComposeHash, compose.0));
    let device_state = if any_device(ledger, None) {
        "the app lets every device in, whatever its list says".into()
    } else {
        state(Write::AddDevice(device), since(EntryKind::Device, device.0))
    };
    vec![
        Wanted { name: "Compose hash", value: compose.to_string(), state: compose_state },
        Wanted { name: "Device", value: device.to_string(), state: device_state },
    ]
}

pub async fn page(
    _: Visitor,
    State(state): State<WebState>,
    Path(id): Path<String>,
    Asked(wish): Asked<Wish>,
) -> Page {
    let id = request_id(&id)?;
    let service = &state.service;
    service.visit_mailbox(id).await;
    let mut request = service.store.request(id).await?;
    let Explained { explanation, .. } = explained(service, &mut request).await?;
    let mut journal = service.store.journal_page(Some(id), None, TIMELINE_MAX).await?;
    journal.reverse();
    let proposal = service.store.proposal(id).await?;
    let known = Known {
        explanation,
        candidates: candidates(&state, &request).await?,
        mailbox: mailbox(service, &request).await?,
        nonce: nonce(service, &request).await?,
        relayer: relayer(service, &request).await?,
        compose: Some(compose(service, &request).await?),
        device: Some(meaning(service, request.device).await?),
        node_name: service.store.node_names(request.node.as_slice()).await?.into_values().next(),
        simulation: simulation::part(&state, &request, proposal.as_ref(), &wish).await?,
        proposal: proposals::view(&state, id)
            .await?
            .map(|view| if service.settings.is_devnet { view.without_wallet() } else { view }),
        ledger: &service.store.ledger(request.chain, request.app).await?,
        journal,
        // A chain that is no longer configured still has its requests.
        explorer: service.chains.get(request.chain).ok().and_then(Chain::explorer),
        can_prepare: service.can_prepare,
    };
    render(&RequestPage::new(request, known, service.clock.now()))
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};
    use chrono::TimeDelta;

    use super::*;
    use crate::{
        chain::simulate::{
            Foreseen,
            samples::{change, simulation},
        },
        request::{explain::Around, ids::TxHash, plan::Means},
        store::{proposals::Proposal, relays::Fate},
        web::{candidates::Candidate, pages::samples, relayer::TryView, simulations::Lately},
    };

    fn known(request: &Request, now: Time) -> Known<'static> {
        let means = Means { can_prepare: false };
        Known {
            explanation: explain::explain(request, &Around::only(means), now),
            candidates: None,
            mailbox: None,
            nonce: None,
            relayer: None,
            compose: None,
            device: None,
            node_name: None,
            simulation: None,
            proposal: None,
            ledger: &[],
            journal: vec![],
            explorer: None,
            can_prepare: false,
        }
    }

    fn shown(request: Request, proposal: Option<&Proposal>) -> String {
        let proposal =
            proposal.map(|proposal| ProposalView::of(proposal, &[], vec![(&request).into()]));
        let now = request.expires_at - TimeDelta::days(2);
        let known = Known { proposal, ..known(&request, now) };
        RequestPage::new(request, known, now).render().unwrap()
    }

    #[test]
    fn a_person_who_is_asked_sees_what_to_choose_from_and_what_to_run() {
        let mut request = samples::request();
        request.facts.attempt = Some(uuid::Uuid::from_u128(10));
        request.facts.attention = Some("2 new instances fit".into());
        let candidate = Candidate {
            id: "9f8e".parse().unwrap(),
            name: "<b>app</b>".into(),
            status: "starting".into(),
            node_id: None,
            created_at: None,
        };
        let now = request.expires_at - TimeDelta::days(2);
        let candidates = Candidates { instances: vec![candidate], problem: None };
        let asked = Known { candidates: Some(candidates), ..known(&request, now) };
        let page = RequestPage::new(request.clone(), asked, now).render().unwrap();
        let settle = format!("countersign settle {} --as", request.id);
        for part in ["2 new instances fit", "<code>9f8e</code>", settle.as_str(), "&#60;b&#62;app"]
        {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        let problem = Some("no <answer>".to_owned());
        let candidates = Some(Candidates { instances: vec![], problem });
        let unread = Known { candidates, ..known(&request, now) };
        let page = RequestPage::new(request, unread, now).render().unwrap();
        assert!(page.contains("no &#60;answer&#62;"), "{page}");
    }

    #[test]
    fn an_update_is_shown_as_one() {
        let replica = samples::request();
        let update = Request { kind: Kind::Update, node: None, ..replica.clone() };
        let (replica, update) = (shown(replica, None), shown(update, None));
        assert!(replica.contains("<h1>Replica of") && replica.contains("<dt>Source CVM</dt>"));
        assert!(update.contains("<h1>Update of") && update.contains("<dt>CVM</dt>"), "{update}");
    }

    #[test]
    fn everything_a_signer_compares_is_there_in_full() {
        let proposal = samples::proposal();
        let page = shown(samples::request(), Some(&proposal));
        let hashes = proposal.safe.as_ref().unwrap().hashes;
        let upper = alloy::hex::encode_upper(hashes.domain_hash);
        for part in [
            hashes.domain_hash.to_string(),
            hashes.message_hash.to_string(),
            hashes.safe_tx_hash.to_string(),
            format!("0x{upper}"),
            samples::request().device.to_string(),
            proposal.owner.to_string(),
            "safe-batch.json".into(),
            format!("safe=base:{}&#38;id=multisig_", proposal.owner),
            format!("--network base --address {} --nonce 7", proposal.owner),
            "<pre>Safe transaction\n".into(),
            "0 of 2".into(),
            "2 d 0 h".into(),
        ] {
            assert!(page.contains(&part), "{part} is missing in {page}");
        }
        assert!(!page.contains("class=\"card alarm\""), "nothing to warn of: {page}");
    }

    #[test]
    fn what_people_wrote_is_escaped() {
        let mut request = samples::request();
        request.note = Some("<script>alert('note')</script>".into());
        request.created_by = "token:<img src=x>".into();
        request.facts.attention = Some("look <b>here</b>".into());
        let page = shown(request, None);
        assert!(!page.contains("<script>") && !page.contains("<img") && !page.contains("<b>"));
        assert!(page.contains("&#60;script&#62;alert"), "{page}");
        assert!(page.contains("class=\"card alarm\""), "attention is loud: {page}");
    }

    #[test]
    fn what_safes_mailbox_says_stands_beside_the_signatures() {
        let (request, proposal) = (samples::request(), samples::proposal());
        let now = request.expires_at - TimeDelta::days(2);
        let mailbox = MailboxView {
            posted_at: Some(now),
            read_at: Some(now),
            hint: Some("nonce 12 was used by <another>".into()),
            problem: Some("the service answered 503".into()),
        };
        let proposal = Some(ProposalView::of(&proposal, &[], vec![(&request).into()]));
        let known = Known { mailbox: Some(mailbox), proposal, ..known(&request, now) };
        let page = RequestPage::new(request, known, now).render().unwrap();
        for part in ["nonce 12 was used by &#60;another&#62;", "answered 503", "Safe{Wallet} too"] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        let without = shown(samples::request(), Some(&samples::proposal()));
        assert!(!without.contains("Safe's mailbox"), "{without}");
    }

    #[test]
    fn what_the_relayer_did_and_why_it_waits_stands_beside_the_signatures() {
        let request = samples::request();
        let now = request.expires_at - TimeDelta::days(2);
        let tried = TryView {
            at: now,
            relayer: Address::repeat_byte(0x99),
            relayer_nonce: 4,
            simulated_block: 100,
            transactions: vec![],
            outcome: Some(Fate::Reverted),
            settled_at: Some(now),
            transaction: Some(TxHash(B256::repeat_byte(0x7e))),
            block: Some(101),
        };
        let relayer = RelayerView {
            address: Some(Address::repeat_byte(0x99)),
            state: "waits: gas costs <more>".into(),
            is_trying: false,
            looked_at: Some(now),
            tries: vec![tried],
        };
        let proposal = Some(ProposalView::of(&samples::proposal(), &[], vec![(&request).into()]));
        let known = Known { relayer: Some(relayer), proposal, ..known(&request, now) };
        let page = RequestPage::new(request, known, now).render().unwrap();
        let tx = format!("0x{}", "7e".repeat(32));
        for part in ["waits: gas costs &#60;more&#62;", "reverted in block 101", tx.as_str()] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        assert!(!shown(samples::request(), Some(&samples::proposal())).contains("The relayer"));
    }

    #[test]
    fn what_would_come_of_it_is_shown_in_a_short_section() {
        let request = samples::request();
        let now = request.expires_at - TimeDelta::days(2);
        let shown = |simulation: SimulationPart| {
            let proposal =
                Some(ProposalView::of(&samples::proposal(), &[], vec![(&request).into()]));
            let simulation = Some(simulation);
            let known = Known { simulation, proposal, ..known(&request, now) };
            RequestPage::new(request.clone(), known, now).render().unwrap()
        };
        let part_of = |page: &str| {
            let from = page.split("aria-labelledby=\"simulation\"").nth(1).unwrap().to_owned();
            from.split("</section>").next().unwrap().to_owned()
        };
        let unasked = part_of(&shown(SimulationPart::default()));
        assert!(unasked.contains("?simulate=now") && !unasked.contains("block 12"), "{unasked}");
        let changes = (0..100).map(|_| change("THE <OWNERS>", false)).collect();
        let foreseen = Foreseen::Simulated(Box::new(simulation(changes)));
        let lately = Lately { at: now, foreseen: foreseen.into() };
        let found = part_of(&shown(SimulationPart::of(&lately)));
        for part in ["block 12", "THE &#60;OWNERS&#62;", "it succeeds, with 99 gas", "may not boot"]
        {
            assert!(found.contains(part), "{part} is missing in {found}");
        }
        let lines = found.matches("<li ").count();
        assert!(lines < 40 && found.contains("and 80 more: the API has them"), "{found}");
        let problem = "no <answer>".to_owned();
        let foreseen = Foreseen::NotSimulated { problem }.into();
        let failed = part_of(&shown(SimulationPart::of(&Lately { at: now, foreseen })));
        assert!(failed.contains("Could not simulate: no &#60;answer&#62;"), "{failed}");
    }

    #[test]
    fn an_owner_that_is_no_safe_gets_the_bare_calls() {
        let mut proposal = samples::proposal();
        (proposal.safe, proposal.route) = (None, Route::Timelock);
        proposal.owner = Address::repeat_byte(0x77);
        let data = proposal.additions[0].write.calldata().to_string();
        let page = shown(samples::request(), Some(&proposal));
        assert!(page.contains(&data) && page.contains("timelock"), "{page}");
        assert!(!page.contains("safeTxHash") && !page.contains("safe-batch.json"), "{page}");
        assert!(!page.contains("Safe") && !page.contains("cast send"), "{page}");
        proposal.route = Route::Eoa;
        let page = shown(samples::request(), Some(&proposal));
        let line = format!("--from {} {}", proposal.owner, proposal.additions[0].app);
        assert!(page.contains(&line), "{page}");
    }

    #[test]
    fn a_request_that_ended_elsewhere_has_no_way_to_go() {
        let page_of = |request: Request| {
            let known = known(&request, Time::default());
            RequestPage::new(request, known, Time::default())
        };
        let steps = page_of(samples::request()).steps();
        assert_eq!(steps[..2], [(Status::Prepared, true), (Status::Proposed, false)]);
        let mut withdrawn = samples::request();
        withdrawn.facts.end = Some(crate::request::facts::End {
            kind: crate::request::facts::EndKind::Withdrawn,
            at: Time::default(),
            code: None,
            reason: "a mistake".into(),
        });
        let page = page_of(withdrawn.clone());
        let shown = page.render().unwrap();
        assert!(page.steps().is_empty() && shown.contains("a mistake"));
        assert!(!shown.contains("rejection"), "nobody signed it: {shown}");
        withdrawn.facts.approved_at = Some(Time::default());
        let shown = page_of(withdrawn).render().unwrap();
        assert!(shown.contains("execute a rejection with the same nonce"), "{shown}");
    }
}
