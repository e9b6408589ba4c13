use alloy::primitives::{Address, B256};
use chrono::TimeDelta;

use super::*;
use crate::{
    chain::simulate::{
        Foreseen,
        samples::{change, simulation},
    },
    request::{
        explain::{Around, Executions, Signed},
        ids::TxHash,
        plan::Means,
    },
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
        acts: Acts::default(),
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
    for part in ["2 new instances fit", "<code>9f8e</code>", settle.as_str(), "&#60;b&#62;app"] {
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
        let proposal = Some(ProposalView::of(&samples::proposal(), &[], vec![(&request).into()]));
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
    for part in ["block 12", "THE &#60;OWNERS&#62;", "it succeeds, with 99 gas", "may not boot"] {
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
    let open = page_of(samples::request());
    assert_eq!(open.steps()[..2], [(Status::Prepared, true), (Status::Proposed, false)]);
    let offer = "to comment on this, to take it back or to reject it.";
    assert!(open.render().unwrap().contains(offer), "whoever signs in can do that");
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
    assert!(!shown.contains(offer) && shown.contains("to comment on this."), "{shown}");
    let signed = Some(Signed { safe: Address::repeat_byte(5), nonce: 3, is_by_all: true });
    let seen = Executions { signed, ..Executions::default() };
    let around = Around { seen, ..Around::only(Means { can_prepare: false }) };
    let explanation = explain::explain(&withdrawn, &around, Time::default());
    let known = Known { explanation, ..known(&withdrawn, Time::default()) };
    let shown = RequestPage::new(withdrawn, known, Time::default()).render().unwrap();
    assert!(shown.contains("another one at nonce 3") && shown.contains("rejection"), "{shown}");
}

#[test]
fn an_owner_who_looks_is_told_which_of_them_they_are() {
    let (request, owner) = (samples::request(), Address::repeat_byte(2));
    let now = request.expires_at - TimeDelta::days(2);
    for (wallet, is_there) in
        [(None, false), (Some(owner), true), (Some(Address::repeat_byte(9)), false)]
    {
        let proposal = ProposalView::of(&samples::proposal(), &[], vec![(&request).into()]);
        let acts = Acts { wallet, ..Acts::default() };
        let known = Known { proposal: Some(proposal), acts, ..known(&request, now) };
        let page = RequestPage::new(request.clone(), known, now).render().unwrap();
        let row = format!("<code>{owner}</code> (you)");
        assert_eq!(page.contains(&row), is_there, "{wallet:?}: {page}");
        assert_eq!(page.matches("(you)").count(), usize::from(is_there));
    }
}

#[test]
fn what_is_to_be_typed_is_shown_without_the_marks_of_terminals() {
    let mut request = samples::request();
    request.facts.attempt = Some(uuid::Uuid::from_u128(10));
    request.facts.attention = Some("say which: `countersign settle`".into());
    let page = shown(request, Some(&samples::proposal()));
    assert!(page.contains("say which: <code>countersign settle</code>"), "{page}");
    assert!(!page.contains('`'), "{page}");
}
