use alloy::{
    hex,
    primitives::{B256, address, bytes},
    sol_types::SolCall,
};
use proptest::prelude::*;

use super::{WarningCode as W, *};
use crate::{
    dstack::abi::DstackApp,
    owner::safe::propose,
    request::ids::{ComposeHash, DeviceId},
};

const MULTI_SEND: Address = address!("9641d764fc13c8B624c04430C7356C1C7C8102e2");
const SAFE: Address = address!("F71902B32C9854DB8d6f70Afa6Dcf685F7df8d79");
const APP: AppId = AppId(Address::repeat_byte(0x11));
const OTHER: Address = Address::repeat_byte(0x22);
const COMPOSE: Write = Write::AddComposeHash(ComposeHash(B256::repeat_byte(0xaa)));
const DEVICE: Write = Write::AddDevice(DeviceId(B256::repeat_byte(0xbb)));
const EXPECTED: Expected<'_> = Expected {
    safe: SAFE,
    app: Some(APP),
    additions: Some(&[Addition { app: APP, write: COMPOSE }, Addition { app: APP, write: DEVICE }]),
};

fn to_app(data: impl Into<Bytes>) -> Call {
    Call { to: APP.0, value: U256::ZERO, data: data.into() }
}

fn to(to: Address, data: impl Into<Bytes>) -> Call {
    Call { to, ..to_app(data) }
}

fn good_calls() -> Vec<Call> {
    vec![Call::of_write(APP, &COMPOSE), Call::of_write(APP, &DEVICE)]
}

fn proposed(calls: &[Call]) -> SafeTx {
    propose(calls, MULTI_SEND, U256::from(7)).unwrap()
}

fn codes(tx: &SafeTx, expected: &Expected<'_>) -> Vec<W> {
    decode(tx, expected).warnings.iter().map(|warning| warning.code).collect()
}

/// Codes for a batch of the good calls and one more.
fn codes_with(call: Call) -> Vec<W> {
    let mut calls = good_calls();
    calls.push(call);
    codes(&proposed(&calls), &EXPECTED)
}

#[test]
fn exactly_these_adds_on_this_app_is_no_reason_to_warn() {
    let decoded = decode(&proposed(&good_calls()), &EXPECTED);
    assert_eq!(decoded.warnings, []);
    let words: Vec<&str> = decoded.calls.iter().map(|call| call.words.as_str()).collect();
    let (compose, device) = ("aa".repeat(32), "bb".repeat(32));
    assert_eq!(
        words,
        [format!("allow compose hash 0x{compose}"), format!("allow device 0x{device}")]
    );
    let call = &decoded.calls[1];
    assert_eq!(call.contract, Some(Contract::App));
    assert_eq!(call.function.as_deref(), Some("addDevice"));
    assert_eq!(call.arguments[0].name, "deviceId");
    assert_eq!(call.arguments[0].value, format!("0x{device}"));

    let mut reversed = good_calls();
    reversed.reverse();
    assert_eq!(codes(&proposed(&reversed), &EXPECTED), [], "order does not matter");
    let compose = [Addition { app: APP, write: COMPOSE }];
    let one = Expected { additions: Some(&compose), ..EXPECTED };
    assert_eq!(codes(&proposed(&good_calls()[..1]), &one), []);
}

#[test]
fn without_an_expectation_the_calls_must_still_agree_with_each_other() {
    let nobody_said = Expected { app: None, additions: None, ..EXPECTED };
    assert_eq!(codes(&proposed(&good_calls()), &nobody_said), []);
    let mut calls = good_calls();
    calls[1].to = OTHER;
    assert_eq!(codes(&proposed(&calls), &nobody_said), [W::OtherTarget]);
    let transfer = to(OTHER, Bytes::new());
    assert_eq!(codes(&proposed(&[transfer]), &nobody_said), [W::OtherTarget]);
}

#[test]
fn additions_are_compared_with_those_wanted() {
    let other = Write::AddDevice(DeviceId(B256::repeat_byte(0xcc)));
    assert_eq!(codes(&proposed(&good_calls()[..1]), &EXPECTED), [W::MissingWrite]);
    assert_eq!(codes_with(Call::of_write(APP, &other)), [W::UnexpectedWrite]);
    assert_eq!(codes_with(Call::of_write(APP, &DEVICE)), [W::DuplicateWrite]);
    let swapped = [Call::of_write(APP, &COMPOSE), Call::of_write(APP, &other)];
    assert_eq!(codes(&proposed(&swapped), &EXPECTED), [W::UnexpectedWrite, W::MissingWrite]);
}

#[test]
fn additions_to_several_apps_are_each_held_against_the_app_they_are_wanted_on() {
    let other_app = AppId(OTHER);
    let on = |app, write| Addition { app, write };
    let wanted = [on(APP, COMPOSE), on(APP, DEVICE), on(other_app, DEVICE)];
    let expected = Expected { additions: Some(&wanted), ..EXPECTED };
    let made = |wanted: &[Addition]| {
        let calls: Vec<Call> = wanted.iter().map(Call::from).collect();
        proposed(&calls)
    };
    assert_eq!(codes(&made(&wanted), &expected), []);
    // The same device and compose hash, on the wrong app.
    let swapped = [on(APP, DEVICE), on(other_app, COMPOSE), on(other_app, DEVICE)];
    let warned = decode(&made(&swapped), &expected).warnings;
    let told: Vec<_> =
        warned.iter().map(|one| (one.code, one.text.contains("on app 0x"))).collect();
    assert_eq!(told, [(W::UnexpectedWrite, true), (W::MissingWrite, true)]);
    // An app that nobody named is not one of several.
    let foreign = [wanted[0], wanted[1], wanted[2], on(AppId(Address::repeat_byte(0x33)), DEVICE)];
    assert_eq!(codes(&made(&foreign), &expected), [W::OtherTarget]);
}

#[test]
fn every_other_call_is_warned_of() {
    let longer_add = [DEVICE.calldata().as_ref(), &[0]].concat();
    let not_bool = [&DstackApp::setAllowAnyDeviceCall::SELECTOR[..], &[2; 32]].concat();
    let add_owner = [hex!("0d582f13").as_slice(), &[0; 12], &[0x33; 20], &[0; 31], &[1]].concat();
    for (call, expected) in [
        (
            to_app(DstackApp::transferOwnershipCall { newOwner: OTHER }.abi_encode()),
            vec![W::DangerousFunction],
        ),
        (
            to_app(DstackApp::setAllowAnyDeviceCall { allow: true }.abi_encode()),
            vec![W::DangerousFunction],
        ),
        (to_app(DstackApp::disableUpgradesCall {}.abi_encode()), vec![W::DangerousFunction]),
        (to_app(DstackApp::renounceOwnershipCall {}.abi_encode()), vec![W::DangerousFunction]),
        (
            to_app(DstackApp::setRequireTcbUpToDateCall { required: false }.abi_encode()),
            vec![W::DangerousFunction],
        ),
        (
            to_app(
                DstackApp::upgradeToAndCallCall { newImplementation: OTHER, data: Bytes::new() }
                    .abi_encode(),
            ),
            vec![W::DangerousFunction],
        ),
        (to_app(not_bool), vec![W::MalformedArguments, W::DangerousFunction]),
        (
            to_app(DstackApp::removeDeviceCall { deviceId: B256::ZERO }.abi_encode()),
            vec![W::UnexpectedFunction],
        ),
        (to_app(longer_add), vec![W::MalformedArguments]),
        (to_app(bytes!("12345678")), vec![W::UnknownFunction]),
        (to_app(bytes!("1234")), vec![W::UnknownFunction]),
        (to_app(Bytes::new()), vec![W::UnknownFunction]),
        (to(SAFE, add_owner), vec![W::ChangesSafe]),
        (to(SAFE, Bytes::new()), vec![W::ChangesSafe]),
        (to(SAFE, bytes!("12345678")), vec![W::ChangesSafe]),
        (to(OTHER, DEVICE.calldata()), vec![W::OtherTarget]),
        (to(MULTI_SEND, multisend::encode(&good_calls())), vec![W::OtherTarget]),
    ] {
        assert_eq!(codes_with(call.clone()), expected, "{call:?}");
        let mut alone = expected.clone();
        alone.extend([W::MissingWrite, W::MissingWrite]);
        assert_eq!(codes(&proposed(std::slice::from_ref(&call)), &EXPECTED), alone, "{call:?}");
    }
}

#[test]
fn a_change_of_the_safe_is_told_in_words() {
    let add_owner = [hex!("0d582f13").as_slice(), &[0; 12], &[0x33; 20], &[0; 31], &[1]].concat();
    let decoded = decode(&proposed(&[to(SAFE, add_owner)]), &EXPECTED);
    assert_eq!(decoded.calls[0].contract, Some(Contract::ThisSafe));
    assert_eq!(
        decoded.calls[0].words,
        "addOwnerWithThreshold(owner = 0x3333333333333333333333333333333333333333, threshold = 1)"
    );
    assert!(decoded.warnings[0].text.ends_with("this adds an owner to the Safe"));
}

/// One field set to what it should not be.
type Change = fn(&mut SafeTx);

#[test]
fn every_field_that_should_be_zero_is_watched() {
    let changes: [(Change, W); 6] = [
        (|tx| tx.safe_tx_gas = U256::ONE, W::SafeTxGas),
        (|tx| tx.base_gas = U256::ONE, W::Refund),
        (|tx| tx.gas_price = U256::ONE, W::Refund),
        (|tx| tx.gas_token = OTHER, W::Refund),
        (|tx| tx.refund_receiver = OTHER, W::Refund),
        (|tx| tx.value = U256::ONE, W::ValueSent),
    ];
    for (index, (change, expected)) in changes.into_iter().enumerate() {
        let mut tx = proposed(&good_calls());
        change(&mut tx);
        assert_eq!(codes(&tx, &EXPECTED), [expected], "change {index}");
    }
    let mut calls = good_calls();
    calls[0].value = U256::ONE;
    assert_eq!(codes(&proposed(&calls), &EXPECTED), [W::ValueSent]);
}

#[test]
fn delegate_calls_are_good_for_readable_batches_only() {
    let missing = [W::MissingWrite, W::MissingWrite];
    let after = |code| [&[code][..], &missing].concat();
    let batch = proposed(&good_calls());

    let elsewhere = SafeTx { to: OTHER, ..batch.clone() };
    assert_eq!(codes(&elsewhere, &EXPECTED), after(W::UnknownDelegatecall));
    let the_app = SafeTx { to: APP.0, data: DEVICE.calldata(), ..batch.clone() };
    assert_eq!(codes(&the_app, &EXPECTED), after(W::UnknownDelegatecall));

    let mut trailing = batch.data.to_vec();
    trailing.push(0);
    let trailing = SafeTx { data: trailing.into(), ..batch.clone() };
    assert_eq!(codes(&trailing, &EXPECTED), after(W::UnreadableBatch));
    let to_zero = multisend::encode(&[to(Address::ZERO, Bytes::new())]);
    let to_zero = SafeTx { data: to_zero, ..batch.clone() };
    assert_eq!(codes(&to_zero, &EXPECTED), after(W::ZeroTarget));

    let plain_to_zero =
        SafeTx { to: Address::ZERO, operation: Operation::Call, data: Bytes::new(), ..batch };
    assert_eq!(codes(&plain_to_zero, &EXPECTED), after(W::ZeroTarget));
}

#[test]
fn codes_and_contracts_have_stable_names() {
    let json = serde_json::to_value(decode(&proposed(&good_calls()[..1]), &EXPECTED)).unwrap();
    assert_eq!(json["warnings"][0]["code"], "missing_write");
    assert_eq!(json["calls"][0]["contract"], "app");
    assert_eq!(json["calls"][0]["operation"], 0);
    assert_eq!(serde_json::to_value(W::UnknownDelegatecall).unwrap(), "unknown_delegatecall");
    assert_eq!(serde_json::to_value(Contract::ThisSafe).unwrap(), "this Safe");
}

proptest! {
    /// The one law that matters: no warnings means the transaction is one we would write.
    #[test]
    fn silence_means_exactly_our_transaction(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        delegate in any::<bool>(),
        to_multi_send in any::<bool>(),
    ) {
        let good = proposed(&good_calls());
        let mut tx = good.clone();
        let mut data = tx.data.to_vec();
        for (index, byte) in changes {
            *index.get_mut(&mut data) = byte;
        }
        tx.data = data.into();
        tx.operation = if delegate { Operation::DelegateCall } else { Operation::Call };
        tx.to = if to_multi_send { MULTI_SEND } else { APP.0 };
        let silent = decode(&tx, &EXPECTED).warnings.is_empty();
        prop_assert_eq!(silent, tx == good);
    }
}
