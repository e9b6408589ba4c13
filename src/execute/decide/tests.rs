use alloy::primitives::{B256, Bytes};
use uuid::Uuid;

use super::*;
use crate::{
    chain::simulate::{Answers, Change},
    dstack::Write,
    owner::{Account, Call, Route, nonce::NonceChoice},
    request::{
        facts::BlockRef,
        ids::{AppId, BlockHash, ChainId},
        samples,
        status::Status,
    },
    safe::{Operation, SafeTx, SafeVersion, decode::Warning},
};

const SAFE: Address = Address::repeat_byte(0x5a);
const CAPS: RelayerCaps = RelayerCaps { max_fee: 1_000, max_gas: 500_000 };
const TX: TxHash = TxHash(B256::repeat_byte(7));

fn request() -> Request {
    let mut request = samples::request(Status::Approved, None);
    request.app.0 = Address::repeat_byte(0x11);
    request.compose.0 = B256::repeat_byte(0xaa);
    request.device.0 = B256::repeat_byte(0xbb);
    request
}

/// One call: the device is missing.
fn proposal() -> Proposal {
    let request = request();
    let write = Write::AddDevice(request.device);
    let tx = SafeTx::new(Call::of_write(request.app, &write), Operation::Call, U256::from(7));
    let version = SafeVersion::V1_4_1;
    let hashes = safe::hashes(&tx, ChainId::BASE, SAFE, version);
    Proposal {
        id: Uuid::from_u128(9),
        route: Route::Safe,
        chain: ChainId::BASE,
        owner: SAFE,
        additions: vec![Addition { app: request.app, write }],
        warnings: vec![],
        safe: Some(SafeProposal {
            version,
            tx,
            nonce: 7,
            nonce_choice: NonceChoice::NextFree,
            threshold: 2,
            owners: vec![],
            hashes,
            around: None,
            queue: None,
        }),
        created_at: request.created_at,
    }
}

/// The same, changed, and hashed again: what a hostile or broken writer of the database would leave.
fn changed(change: impl FnOnce(&mut Proposal)) -> Proposal {
    let mut proposal = proposal();
    change(&mut proposal);
    let safe = proposal.safe.as_mut().unwrap();
    safe.hashes = safe::hashes(&safe.tx, ChainId::BASE, SAFE, safe.version);
    proposal
}

fn is_ours(proposal: &Proposal) -> Result<(), Why> {
    let safe = proposal.safe.as_ref().unwrap();
    Content { requests: &[request()], proposal, safe }.is_ours()
}

fn tx(proposal: &mut Proposal) -> &mut SafeTx {
    &mut proposal.safe.as_mut().unwrap().tx
}

#[test]
fn exactly_what_was_proposed_for_this_request_is_executed_and_nothing_else() {
    assert_eq!(is_ours(&proposal()), Ok(()));
    let mut forged = proposal();
    tx(&mut forged).to = Address::repeat_byte(0x66);
    assert_eq!(is_ours(&forged), Err(Why::HashDiffers));
    forged = changed(|it| it.safe.as_mut().unwrap().nonce = 8);
    assert_eq!(is_ours(&forged), Err(Why::HashDiffers), "the nonce that is told is another");

    for change in [
        (|tx: &mut SafeTx| tx.safe_tx_gas = U256::ONE) as fn(&mut SafeTx),
        |tx| tx.base_gas = U256::ONE,
        |tx| tx.gas_price = U256::ONE,
        |tx| tx.gas_token = SAFE,
        |tx| tx.refund_receiver = SAFE,
    ] {
        assert_eq!(is_ours(&changed(|it| change(tx(it)))), Err(Why::Refund));
    }
    for change in [
        (|it: &mut Proposal| tx(it).to = Address::repeat_byte(0x66)) as fn(&mut Proposal),
        |it| tx(it).value = U256::ONE,
        |it| tx(it).operation = Operation::DelegateCall,
        |it| tx(it).data = Bytes::from_static(&[1, 2, 3, 4]),
        |it| tx(it).data = foreign().calldata(),
        |it| it.additions = vec![],
        |it| it.additions[0].write = foreign(),
        |it| it.additions[0].app = AppId(Address::repeat_byte(0x66)),
        |it| it.warnings = vec![Warning::unknown_singleton(SAFE)],
    ] {
        let refused = is_ours(&changed(change));
        assert!(matches!(refused, Err(Why::Warned(_))), "{refused:?}");
    }
    let mut other = request();
    other.device.0 = B256::repeat_byte(0xcc);
    let proposal = proposal();
    let safe = proposal.safe.as_ref().unwrap();
    let refused = Content { requests: &[other], proposal: &proposal, safe }.is_ours();
    assert!(matches!(refused, Err(Why::Warned(_))), "it is another request's");
}

/// A write that nobody asked for.
fn foreign() -> Write {
    Write::AddComposeHash(crate::request::ids::ComposeHash(B256::repeat_byte(0xee)))
}

fn tried(fate: Option<Fate>, minutes_ago: i64) -> Try {
    let at = request().created_at - TimeDelta::minutes(minutes_ago);
    Try {
        id: Uuid::now_v7(),
        proposal: Uuid::from_u128(9),
        request: request().id,
        chain: ChainId::BASE,
        safe: SAFE,
        safe_nonce: 7,
        safe_tx_hash: crate::request::ids::SafeTxHash(B256::ZERO),
        relayer: Address::repeat_byte(9),
        relayer_nonce: 3,
        gas_limit: 200_000,
        simulated_block: 10,
        created_at: at,
        settled_at: fate.map(|_| at),
        fate,
        tx: fate.map(|_| TX),
        block: None,
        transactions: vec![],
    }
}

#[test]
fn what_came_to_nothing_is_not_repeated_blindly() {
    let (request, proposal) = (request(), proposal());
    let safe = proposal.safe.as_ref().unwrap();
    let content = Content { requests: std::slice::from_ref(&request), proposal: &proposal, safe };
    let may = |tries: &[Try]| content.may_be_tried(tries, request.created_at);
    let reverted = |minutes| tried(Some(Fate::Reverted), minutes);
    assert_eq!(may(&[]), Ok(()));
    assert_eq!(may(&[tried(None, 1)]), Ok(()), "what is under way is for the indexes to hold");
    assert_eq!(may(&[tried(Some(Fate::NonceTaken), 0), tried(Some(Fate::Cancelled), 0)]), Ok(()));
    assert!(matches!(may(&[reverted(0)]), Err(Why::Reverted { tx: TX, .. })));
    assert_eq!(may(&[reverted(1)]), Ok(()));
    assert!(matches!(may(&[reverted(9), reverted(1)]), Err(Why::Reverted { .. })), "doubled");
    assert_eq!(may(&[reverted(9), reverted(2)]), Ok(()));
    let thrice = [reverted(900), reverted(800), reverted(700)];
    assert_eq!(may(&thrice), Err(Why::GivenUp(TX)));
    assert_eq!(may(&[tried(Some(Fate::Executed), 900)]), Err(Why::Executed(TX)));
    assert_eq!(may(&[tried(Some(Fate::FailedInside), 900)]), Err(Why::FailedInside(TX)));
}

fn state() -> SafeState {
    SafeState {
        address: SAFE,
        version: SafeVersion::V1_4_1,
        owners: vec![],
        threshold: 2,
        nonce: 7,
        code_hash: B256::ZERO,
        singleton: Address::ZERO,
        singleton_code_hash: B256::ZERO,
    }
}

#[test]
fn the_safe_must_take_it_next_with_the_signatures_that_hold_now() {
    let (request, proposal) = (request(), proposal());
    let safe = proposal.safe.as_ref().unwrap();
    let content = Content { requests: &[request], proposal: &proposal, safe };
    let due = |good, change: fn(&mut SafeState)| {
        let mut state = state();
        change(&mut state);
        content.is_due(SAFE, Some(&state), good)
    };
    assert_eq!(due(2, |_| {}), Ok(()));
    assert_eq!(due(3, |_| {}), Ok(()));
    let short = |good, threshold| Err(Why::Signatures { good, threshold });
    assert_eq!(due(1, |_| {}), short(1, 2));
    assert_eq!(due(2, |state| state.threshold = 3), short(2, 3));
    assert_eq!(due(0, |state| state.threshold = 0), short(0, 0), "no threshold is no approval");
    assert_eq!(due(2, |state| state.nonce = 8), Err(Why::NonceUsed(7)));
    assert_eq!(due(2, |state| state.nonce = 5), Err(Why::NotNext(6)));
    assert_eq!(due(2, |state| state.version = SafeVersion::V1_3_0), Err(Why::OtherSafe));
    assert_eq!(due(2, |state| state.address = Address::ZERO), Err(Why::OtherSafe));
    assert_eq!(content.is_due(SAFE, None, 2), Err(Why::OtherSafe));
    let other = Address::repeat_byte(0x77);
    assert_eq!(content.is_due(other, Some(&state()), 2), Err(Why::OwnerMoved(other)));
}

fn simulation() -> Simulation {
    let after = Answers {
        compose_hash_allowed: Some(true),
        device_listed: Some(true),
        any_device: Some(false),
        may_boot: Some(true),
        reason: String::new(),
    };
    Simulation {
        block: BlockRef { number: 12, hash: BlockHash(B256::ZERO) },
        safe: Account(SAFE),
        app: None,
        outcome: Outcome::Succeeds,
        failure: None,
        gas_used: 90_000,
        spends_nonce: true,
        events: vec![],
        changes: vec![],
        extensions: vec![],
        before: None,
        after: Some(after),
        assumed: vec![],
    }
}

#[test]
fn only_a_simulation_that_allows_the_entries_and_nothing_else_is_good() {
    let good = |change: fn(&mut Simulation)| {
        let mut simulation = simulation();
        change(&mut simulation);
        is_good(&simulation)
    };
    assert_eq!(good(|_| {}), Ok(()));
    let after: fn(&mut Simulation, fn(&mut Answers)) =
        |simulation, change| change(simulation.after.as_mut().unwrap());
    let any = is_good(&{
        let mut any = simulation();
        after(&mut any, |it| (it.device_listed, it.any_device) = (Some(false), Some(true)));
        any
    });
    assert_eq!(any, Ok(()), "any device is device enough");
    for change in [
        (|it| it.compose_hash_allowed = Some(false)) as fn(&mut Answers),
        |it| it.compose_hash_allowed = None,
        |it| it.device_listed = Some(false),
        |it| it.device_listed = None,
        |it| it.may_boot = Some(false),
        |it| it.may_boot = None,
    ] {
        let mut changed = simulation();
        after(&mut changed, change);
        let refused = is_good(&changed);
        assert!(matches!(refused, Err(Why::NotAllowed { block: 12, .. })), "{refused:?}");
    }
    assert!(matches!(good(|it| it.after = None), Err(Why::NotAllowed { .. })));
    assert!(matches!(good(|it| it.spends_nonce = false), Err(Why::Unexpected { .. })));
    let more = |it: &mut Simulation| {
        it.changes.push(Change {
            of: Account(SAFE),
            place: "balance".into(),
            before: B256::ZERO,
            after: B256::ZERO,
            words: "its balance changes".into(),
            expected: false,
        });
    };
    let told = good(more).unwrap_err().to_string();
    assert!(told.contains("its balance changes"), "{told}");
    for outcome in [Outcome::Reverts, Outcome::SpendsNonce] {
        let mut failing = simulation();
        failing.outcome = outcome;
        failing.failure = Some("GS013: the call that it makes failed".into());
        let told = is_good(&failing).unwrap_err().to_string();
        assert_eq!(told, "its simulation at block 12 fails: GS013: the call that it makes failed");
    }
}

#[test]
fn no_more_is_paid_than_the_caps_say() {
    for (base, tip, expected) in [
        (100, 10, Some((210, 10))),
        // Room for less than a doubling.
        (600, 10, Some((1_000, 10))),
        (990, 10, Some((1_000, 10))),
        (991, 10, None),
        (0, 1_001, None),
        (u64::MAX, u64::MAX, None),
    ] {
        let fees = price(base, tip, CAPS).ok().map(|fees| (fees.max, fees.tip));
        assert_eq!(fees, expected, "{base} and {tip}");
        assert!(fees.is_none_or(|(max, tip)| max <= CAPS.max_fee && tip <= max));
    }
    let off = RelayerCaps { max_fee: 0, ..CAPS };
    assert!(!is_on(off) && price(1, 0, off).is_err());
    for (estimated, simulated, at_least, expected) in [
        (100_000, 90_000, None, Some(155_000)),
        (80_000, 100_000, None, Some(155_000)),
        (100_000, 90_000, Some(400_000), Some(400_000)),
        (100_000, 90_000, Some(500_001), None),
        (376_000, 0, None, Some(500_000)),
        (376_001, 0, None, None),
        (400_000, 0, None, None),
        (u64::MAX, u64::MAX, None, None),
    ] {
        let limit = gas_limit(estimated, simulated, at_least, CAPS).ok();
        assert_eq!(limit, expected, "{estimated}, {simulated}, {at_least:?}");
    }
    let told = price(2_500_000_000, 1, CAPS).unwrap_err().to_string();
    assert!(told.contains("gas costs 2.500000001 gwei, and the relayer pays 0.000001 at most"));
}

#[test]
fn a_replacement_costs_an_eighth_more_and_no_more_than_the_cap() {
    let fees = |max, tip| Fees { max, tip };
    let now = fees(300, 10);
    assert_eq!(raised(fees(200, 8), now, CAPS), Ok(now));
    assert_eq!(raised(fees(400, 80), now, CAPS), Ok(fees(451, 91)));
    assert_eq!(raised(fees(888, 10), now, CAPS), Ok(fees(1_000, 12)));
    for before in [fees(889, 10), fees(1_000, 0), fees(u64::MAX, u64::MAX)] {
        assert!(matches!(raised(before, now, CAPS), Err(Why::NoRoom(_))), "{before:?}");
        // A nonce is freed all the same, within the caps.
        let all = freed(before, now, CAPS);
        assert_eq!((all.max, all.tip <= all.max), (CAPS.max_fee, true), "{before:?}");
    }
}

#[test]
fn who_cannot_pay_is_told_where_to_send_to() {
    let (relayer, fees) = (Address::repeat_byte(9), Fees { max: 1_000, tip: 1 });
    assert_eq!(can_pay(relayer, U256::from(200_000_000), 200_000, fees), Ok(()));
    let told = can_pay(relayer, U256::from(199_999_999), 200_000, fees).unwrap_err().to_string();
    assert!(told.contains(&relayer.to_string()), "{told}");
    assert!(told.contains("needs 0.0000000002: send it some"), "{told}");
}

#[test]
fn pauses_grow_while_the_same_is_said_and_are_capped() {
    let why = Why::Fee { asked: "3".into(), cap: "2".into() };
    let seconds = |why: &Why, said_for| why.pause(TimeDelta::seconds(said_for)).num_seconds();
    assert_eq!([0, 30, 9_999].map(|said_for| seconds(&why, said_for)), [2, 30, 60]);
    let fails = Why::Fails { block: 1, reason: String::new() };
    assert_eq!([0, 30, 9_999].map(|said_for| seconds(&fails, said_for)), [5, 30, 600]);
}
