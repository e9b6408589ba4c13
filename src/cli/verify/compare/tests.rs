use alloy::primitives::{Address, B256, Bytes, U256, address};
use alloy_signer_local::PrivateKeySigner;
use serde_json::json;

use super::*;
use crate::{
    chain::{OwnerKind, SafeState},
    cli::verify::{said, seen::SeenOther},
    owner::{self, Route, nonce::NonceChoice},
    request::{
        facts::BlockRef,
        ids::{BlockHash, ChainId},
        need::Allowed,
    },
    safe::{
        Around, Extensions,
        around::{ContractOwner, ContractOwnerKind, NestedSafe},
        decode::WarningCode,
        deployments::{PROXIES, find_multi_send_call_only, find_singleton},
    },
};

const SAFE: Address = address!("F71902B32C9854DB8d6f70Afa6Dcf685F7df8d79");
const SINGLETON: Address = address!("29fcB43b46531BcA003ddC8FCB67FFE91900C762");
const MULTI_SEND: Address = address!("9641d764fc13c8B624c04430C7356C1C7C8102e2");
const APP: AppId = AppId(Address::repeat_byte(0x11));
const COMPOSE: ComposeHash = ComposeHash(B256::repeat_byte(0xaa));
const ID: RequestId = RequestId(uuid::Uuid::from_u128(7));
const DEVICE: DeviceId = DeviceId(B256::repeat_byte(0xbb));

/// A second request, for another app, that the same transaction may be for.
const OTHER: Other = Other {
    id: RequestId(uuid::Uuid::from_u128(8)),
    wanted: Wanted {
        app: AppId(Address::repeat_byte(0x12)),
        compose_hash: ComposeHash(B256::repeat_byte(0xac)),
        device_id: DEVICE,
    },
};

fn writes() -> Vec<Write> {
    vec![Write::AddComposeHash(COMPOSE), Write::AddDevice(DEVICE)]
}

fn additions() -> Vec<Addition> {
    writes().into_iter().map(|write| Addition { app: APP, write }).collect()
}

/// Those of both requests.
fn all_additions() -> Vec<Addition> {
    additions().into_iter().chain(OTHER.wanted.additions()).collect()
}

fn tx() -> SafeTx {
    tx_of(&additions())
}

fn tx_of(additions: &[Addition]) -> SafeTx {
    let calls: Vec<Call> = additions.iter().map(Call::from).collect();
    owner::safe::propose(&calls, MULTI_SEND, U256::from(7)).unwrap()
}

fn signers() -> [PrivateKeySigner; 3] {
    [1, 2, 3].map(|key| PrivateKeySigner::from_bytes(&B256::with_last_byte(key)).unwrap())
}

fn confirmation(signer: &PrivateKeySigner, hashes: SafeTxHashes) -> Confirmation {
    use alloy::signers::SignerSync;
    let signature = signer.sign_hash_sync(&hashes.safe_tx_hash.0).unwrap();
    let signature = safe::OwnerSignature::from_bytes(&signature.as_bytes()).unwrap();
    Confirmation {
        owner: signer.address(),
        signature: signature.into(),
        received_at: Time::default(),
    }
}

/// Nobody but the owners, of whom one is a Safe with a Safe among its own owners.
fn around() -> Around {
    let nested = NestedSafe {
        version: SafeVersion::V1_3_0,
        owners: vec![Address::repeat_byte(0x21), Address::repeat_byte(0x22)],
        threshold: 1,
        fallback_handler: Some(Address::repeat_byte(0x23)),
        contract_owners: Some(vec![Address::repeat_byte(0x22)]),
    };
    let owner = signers()[2].address();
    let kind = ContractOwnerKind::Safe(nested);
    let contract_owners = vec![ContractOwner { owner, kind }];
    Around { block: 9, extensions: Some(Extensions::default()), contract_owners }
}

/// What an honest service shows: a batch that two of three owners have signed, of two needed.
fn shown() -> Value {
    shown_of(additions(), &[own()])
}

fn own() -> Other {
    let wanted = Wanted { app: APP, compose_hash: COMPOSE, device_id: DEVICE };
    Other { id: ID, wanted }
}

fn shown_of(additions: Vec<Addition>, requests: &[Other]) -> Value {
    let tx = tx_of(&additions);
    let hashes = safe::hashes(&tx, ChainId::BASE, SAFE, SafeVersion::V1_4_1);
    let owners: Vec<Address> = signers().iter().map(PrivateKeySigner::address).collect();
    let confirmations = [0, 1].map(|place| confirmation(&signers()[place], hashes));
    let proposal = Proposal {
        id: uuid::Uuid::nil(),
        route: Route::Safe,
        chain: ChainId::BASE,
        owner: SAFE,
        additions,
        warnings: vec![],
        safe: Some(SafeProposal {
            version: SafeVersion::V1_4_1,
            tx,
            nonce: 7,
            nonce_choice: NonceChoice::NextFree,
            threshold: 2,
            owners,
            hashes,
            around: Some(around()),
            queue: None,
        }),
        created_at: Time::default(),
    };
    let requests = requests.iter().copied().map(ForRequest::from).collect();
    serde_json::to_value(ProposalView::of(&proposal, &confirmations, requests)).unwrap()
}

fn said(shown: &Value) -> Result<Said> {
    Ok(Said {
        by: "a test".into(),
        request: Some(ID),
        with: said::others(shown, ID)?,
        wanted: Some(own().wanted),
        claimed: Claimed::deserialize(shown)?,
        shown: Some(shown.clone()),
        batch: None,
        signatures: vec![],
        refused: vec![],
        asked: None,
        same_nonce: vec![],
    })
}

/// What the chain says: a Safe with the published code, nothing allowed yet.
fn seen() -> Seen {
    seen_of(&tx())
}

fn seen_of(tx: &SafeTx) -> Seen {
    let hashes = safe::hashes(tx, ChainId::BASE, SAFE, SafeVersion::V1_4_1);
    Seen {
        block: BlockRef { number: 9, hash: BlockHash(B256::repeat_byte(9)) },
        app_owner: Some(SAFE),
        kind: OwnerKind::Safe(Box::new(SafeState {
            address: SAFE,
            version: SafeVersion::V1_4_1,
            owners: signers().iter().map(PrivateKeySigner::address).collect(),
            threshold: 2,
            nonce: 7,
            code_hash: PROXIES[4].1,
            singleton: SINGLETON,
            singleton_code_hash: find_singleton(SINGLETON).unwrap().code_hash,
        })),
        around: Some(around()),
        own_hash: Some(hashes.safe_tx_hash.0),
        delegate_code: Some(find_multi_send_call_only(MULTI_SEND).unwrap().code_hash),
        allowed: Some(Allowed { compose: false, device_listed: false, any_device: false }),
        others: vec![],
        proven: vec![],
        foreseen: None,
    }
}

fn report(shown: &Value, seen: Option<&Seen>) -> Result<Report> {
    compare(&said(shown)?, seen, &Given::default())
}

fn bad(report: &Report) -> Vec<&str> {
    let bad = report.checks.iter().filter(|check| check.verdict == Verdict::Bad);
    bad.map(|check| check.words.as_str()).collect()
}

#[test]
fn an_honest_proposal_matches() {
    let report = report(&shown(), Some(&seen())).unwrap();
    assert_eq!(report.differences, []);
    assert_eq!(bad(&report), [""; 0]);
    assert!(report.matches && !report.needs_attention(), "{report:#?}");
}

#[test]
fn without_a_chain_nothing_is_called_checked() {
    let report = report(&shown(), None).unwrap();
    assert!(report.matches && report.needs_attention());
}

/// Every value in a document, by its place.
fn places(at: String, value: &Value, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(name, inner)| self::places(format!("{at}/{name}"), inner, places));
        }
        Value::Array(values) => values
            .iter()
            .enumerate()
            .for_each(|(place, inner)| self::places(format!("{at}/{place}"), inner, places)),
        _ => {}
    }
    places.push(at);
}

/// Other values that might stand in a place, each as somebody would choose it who wants to deceive.
fn others(value: &Value) -> Vec<Value> {
    let mut others = vec![Value::Null, json!({})];
    match value {
        Value::String(text) => {
            let flip = |digit: char| if digit == '1' { '2' } else { '1' };
            let last = text.chars().last();
            others.extend(last.map(|last| {
                json!(format!("{}{}", &text[..text.len() - last.len_utf8()], flip(last)))
            }));
            others.push(json!(format!("{text}00")));
            others.push(json!("0x1234567890123456789012345678901234567890"));
        }
        Value::Number(_) => others.extend([json!(0), json!(1), json!(2), json!(8453_u64 + 1)]),
        Value::Bool(is) => others.push(json!(!is)),
        Value::Array(values) => {
            others.push(json!([]));
            let mut twice = values.clone();
            twice.extend(values.last().cloned());
            let reversed: Vec<Value> = values.iter().rev().cloned().collect();
            others.extend([json!(twice), json!(reversed), json!(values[..values.len() / 2])]);
        }
        Value::Object(_) | Value::Null => {
            others.extend([json!("0x00"), json!([{ "code": "refund", "text": "x" }])]);
        }
    }
    others.retain(|other| other != value);
    others
}

/// Signatures count in whatever order they are listed.
fn is_another_order(place: &str, value: &Value, other: &Value) -> bool {
    let sorted = |list: &Value| {
        let mut texts: Vec<String> =
            list.as_array().into_iter().flatten().map(Value::to_string).collect();
        texts.sort();
        texts
    };
    place == "/confirmations" && other.is_array() && sorted(value) == sorted(other)
}

/// When the service says that something happened, or was looked at, is nothing that anybody signs, or
/// can check.
const TOLD_TIMES: [&str; 5] =
    ["/created_at", "/received_at", "/around/block", "/review_warnings", "/compose_reviews"];

#[test]
fn whatever_single_field_is_changed_is_noticed() {
    let honest = shown();
    let mut all = vec![];
    places(String::new(), &honest, &mut all);
    all.retain(|place| !place.is_empty() && !TOLD_TIMES.iter().any(|told| place.ends_with(told)));
    assert!(all.len() > 120, "{} places", all.len());
    let mut tried = 0;
    for place in all {
        let value = honest.pointer(&place).unwrap();
        for other in others(value) {
            if is_another_order(&place, value, &other) {
                continue;
            }
            let mut changed = honest.clone();
            *changed.pointer_mut(&place).unwrap() = other.clone();
            let noticed = report(&changed, Some(&seen())).map_or(true, |report| !report.matches);
            assert!(noticed, "{place} as {other}");
            tried += 1;
        }
    }
    assert!(tried > 500, "{tried} changes");
}

/// What the chain says of both: nothing is allowed yet.
fn seen_together() -> Seen {
    let allowed = Some(Allowed { compose: false, device_listed: false, any_device: false });
    let other = SeenOther { wanted: OTHER.wanted, app_owner: SAFE, allowed };
    Seen { others: vec![other], ..seen_of(&tx_of(&all_additions())) }
}

fn report_with(shown: &Value, seen: &Seen, with: &[RequestId]) -> Result<Report> {
    let mut said = said(shown)?;
    // The chain is asked about what is said.
    let mut seen = seen.clone();
    for (seen, said) in seen.others.iter_mut().zip(&said.with) {
        seen.wanted = said.wanted;
    }
    said.with.truncate(seen.others.len());
    compare(&said, Some(&seen), &Given { with: with.to_vec(), ..Given::default() })
}

#[test]
fn another_request_is_expected_when_the_signer_names_it_and_not_before() {
    let (honest, seen) = (shown_of(all_additions(), &[own(), OTHER]), seen_together());
    let report = report_with(&honest, &seen, &[OTHER.id]).unwrap();
    assert!(report.matches && !report.needs_attention(), "{report:#?}");
    assert!(report.checks.iter().any(|check| check.words.starts_with("also for request")));
    let unknown = RequestId(uuid::Uuid::from_u128(9));
    for (with, count) in [(vec![], 1), (vec![ID], 1), (vec![unknown], 2)] {
        let report = report_with(&honest, &seen, &with).unwrap();
        let told: Vec<&str> = report.warnings.iter().map(|one| one.text.as_str()).collect();
        assert!(told[0].contains(&format!("--with {}", OTHER.id)), "{told:?}");
        assert_eq!(told.len(), count, "{told:?}");
        assert!(report.needs_attention());
    }
    // Named, and not in it.
    let report = report_with(&honest, &seen, &[OTHER.id, unknown]).unwrap();
    assert_eq!(report.warnings.len(), 1);
    assert!(report.warnings[0].text.contains("does not approve"), "{:?}", report.warnings);
    // One id that is named stands for one request.
    let evil = Other { id: OTHER.id, wanted: own().wanted };
    assert!(said(&shown_of(all_additions(), &[own(), OTHER, evil])).is_err());
    // More is added than the two ask for, or the app of the other is somebody else's.
    let mut more = all_additions();
    more.push(Addition { app: OTHER.wanted.app, write: Write::AddDevice(DeviceId(B256::ZERO)) });
    let foreign = shown_of(more, &[own(), OTHER]);
    assert!(report_with(&foreign, &seen, &[OTHER.id]).unwrap().needs_attention());
    let mut moved = seen.clone();
    moved.others[0].app_owner = Address::repeat_byte(0x66);
    assert!(!report_with(&honest, &moved, &[OTHER.id]).unwrap().matches);
    // What the other needs is there by now, and need not be added.
    let mut there = seen;
    there.others[0].allowed =
        Some(Allowed { compose: true, device_listed: true, any_device: false });
    there.own_hash = seen_of(&tx()).own_hash;
    let less = shown_of(additions(), &[own(), OTHER]);
    assert_eq!(report_with(&less, &there, &[OTHER.id]).unwrap().warnings, []);
}

#[test]
fn whatever_single_field_of_a_shared_transaction_is_changed_is_noticed() {
    let (honest, seen) = (shown_of(all_additions(), &[own(), OTHER]), seen_together());
    let mut all = vec![];
    places(String::new(), &honest, &mut all);
    all.retain(|place| !place.is_empty() && !TOLD_TIMES.iter().any(|told| place.ends_with(told)));
    for place in all {
        let value = honest.pointer(&place).unwrap();
        for other in others(value) {
            if is_another_order(&place, value, &other) {
                continue;
            }
            let mut changed = honest.clone();
            *changed.pointer_mut(&place).unwrap() = other.clone();
            let report = report_with(&changed, &seen, &[OTHER.id]);
            let noticed = report.map_or(true, |report| report.needs_attention());
            assert!(noticed, "{place} as {other}");
        }
    }
}

/// A service that lies in all places at once, so that what it shows fits together.
fn consistent(change: impl FnOnce(&mut SafeTx)) -> Value {
    let mut tx = tx();
    change(&mut tx);
    let hashes = safe::hashes(&tx, ChainId::BASE, SAFE, SafeVersion::V1_4_1);
    let mut shown = shown();
    shown["safe_tx"] = json!(tx);
    let decoded = safe::decode(&tx, &Expected { safe: SAFE, app: Some(APP), additions: None });
    shown["calls"] = json!(decoded.calls);
    for (name, hash) in [
        ("domain_hash", hashes.domain_hash),
        ("message_hash", hashes.message_hash),
        ("safe_tx_hash", hashes.safe_tx_hash.0),
    ] {
        shown[name] = json!(hash);
    }
    shown["eip712"] = safe::eip712_document(&tx, ChainId::BASE, SAFE, SafeVersion::V1_4_1);
    shown["confirmations"] = json!([]);
    shown["execution"] = Value::Null;
    shown["warnings"] = json!([]);
    shown
}

#[test]
fn a_consistent_lie_is_loud() {
    type Change = fn(&mut SafeTx);
    let changes: [(&str, Change); 8] = [
        ("another target", |tx| tx.to = Address::repeat_byte(0x66)),
        ("a call instead", |tx| tx.operation = safe::Operation::Call),
        ("a refund", |tx| tx.gas_price = U256::from(1)),
        ("a receiver", |tx| tx.refund_receiver = Address::repeat_byte(1)),
        ("gas for the call", |tx| tx.safe_tx_gas = U256::from(1)),
        ("ether", |tx| tx.value = U256::from(1)),
        ("a used nonce", |tx| tx.nonce = U256::from(6)),
        ("another call", |tx| {
            let data = hex_of("f2fde38b", Address::repeat_byte(0x66));
            let call = Call { to: APP.0, value: U256::ZERO, data };
            *tx = SafeTx::new(call, safe::Operation::Call, U256::from(7));
        }),
    ];
    for (what, change) in changes {
        let report = report(&consistent(change), Some(&seen()));
        assert!(report.is_err() || report.is_ok_and(|report| report.needs_attention()), "{what}");
    }
}

fn hex_of(selector: &str, address: Address) -> Bytes {
    let selector = alloy::hex::decode(selector).unwrap();
    [selector, address.into_word().to_vec()].concat().into()
}

#[test]
fn what_the_chain_says_otherwise_is_told() {
    type Change = fn(&mut Seen);
    fn safe(seen: &mut Seen) -> &mut SafeState {
        match &mut seen.kind {
            OwnerKind::Safe(state) => state,
            _ => unreachable!("it is a Safe here"),
        }
    }
    let changes: [(&str, Change); 10] = [
        ("the app has another owner", |seen| seen.app_owner = Some(APP.0)),
        ("the owner is no Safe", |seen| seen.kind = OwnerKind::Account),
        ("the Safe hashes otherwise", |seen| seen.own_hash = Some(B256::ZERO)),
        ("the batch runs other code", |seen| seen.delegate_code = Some(B256::ZERO)),
        ("the Safe runs other code", |seen| safe(seen).singleton_code_hash = B256::ZERO),
        ("the Safe is no proxy", |seen| safe(seen).code_hash = B256::ZERO),
        ("the nonce is used", |seen| safe(seen).nonce = 8),
        ("an owner was removed", |seen| safe(seen).owners.truncate(1)),
        ("the threshold is another", |seen| safe(seen).threshold = 3),
        ("the version is another", |seen| safe(seen).version = SafeVersion::V1_5_0),
    ];
    for (what, change) in changes {
        let mut seen = seen();
        change(&mut seen);
        let report = report(&shown(), Some(&seen)).unwrap();
        assert!(report.needs_attention(), "{what}");
    }
}

#[test]
fn what_the_signer_knows_is_held_against_it() {
    let given = |app, compose_hash, device| Given {
        app,
        compose_hash,
        device,
        compose: None,
        with: vec![],
    };
    let other = ComposeHash(B256::ZERO);
    for (given, expected) in [
        (given(Some(APP), Some(COMPOSE), Some(DEVICE)), true),
        (given(Some(AppId(SAFE)), None, None), false),
        (given(None, Some(other), None), false),
        (given(None, None, Some(DeviceId(B256::ZERO))), false),
    ] {
        let report = compare(&said(&shown()).unwrap(), Some(&seen()), &given).unwrap();
        assert_eq!(report.matches, expected, "{given:?}");
    }
    let file = Compose::parse(br#"{"name":"x"}"#).unwrap();
    let given = Given { compose: Some(file), ..Given::default() };
    assert!(!compare(&said(&shown()).unwrap(), Some(&seen()), &given).unwrap().matches);
}

#[test]
fn what_is_allowed_by_now_need_not_be_in_it() {
    let only_device =
        SafeTx::new(Call::of_write(APP, &writes()[1]), safe::Operation::Call, U256::from(7));
    let shown = consistent(|tx| *tx = only_device);
    let mut seen = seen();
    let missing = |seen: &Seen| {
        let report = report(&shown, Some(seen)).unwrap();
        report.warnings.iter().any(|one| one.code == WarningCode::MissingWrite)
    };
    assert!(missing(&seen));
    seen.allowed = Some(Allowed { compose: true, device_listed: false, any_device: false });
    assert!(!missing(&seen));
}

#[test]
fn an_owner_counts_once_however_often_it_is_shown() {
    let mut shown = shown();
    let first = shown["confirmations"][0].clone();
    shown["confirmations"] = json!([first.clone(), first]);
    let report = report(&shown, Some(&seen())).unwrap();
    assert!(!report.matches && bad(&report).join(" ").contains("more than once"), "{report:#?}");
}

#[test]
fn what_the_signer_named_admits_nothing_else() {
    let other = Write::AddComposeHash(ComposeHash(B256::repeat_byte(0x66)));
    let calls = [writes()[0], other, writes()[1]].map(|write| Call::of_write(APP, &write));
    let tx = owner::safe::propose(&calls, MULTI_SEND, U256::from(7)).unwrap();
    let claimed = Claimed { safe_tx: Some(tx), ..said(&shown()).unwrap().claimed };
    let said = Said { wanted: None, shown: None, claimed, ..said(&shown()).unwrap() };
    for given in [
        Given::default(),
        Given { compose_hash: Some(COMPOSE), ..Given::default() },
        Given { device: Some(DEVICE), ..Given::default() },
    ] {
        let report = compare(&said, Some(&seen()), &given).unwrap();
        let codes: Vec<_> = report.warnings.iter().map(|one| one.code).collect();
        assert!(codes.contains(&WarningCode::UnexpectedWrite), "{given:?} {codes:?}");
    }
}

#[test]
fn a_link_is_to_the_transaction_that_the_safe_computes() {
    let hashes = safe::hashes(&tx(), ChainId::BASE, SAFE, SafeVersion::V1_4_1);
    let old = safe::hashes(&tx(), ChainId::BASE, SAFE, SafeVersion::V1_2_0);
    for (asked, matches) in [(hashes.safe_tx_hash, true), (old.safe_tx_hash, false)] {
        let said = Said { asked: Some(asked), shown: None, ..said(&shown()).unwrap() };
        let report = compare(&said, Some(&seen()), &Given::default()).unwrap();
        assert_eq!(report.matches, matches, "{asked}");
    }
}
