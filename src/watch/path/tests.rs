use alloy::{
    primitives::{Bytes, Log as Emitted, LogData, U256},
    sol,
    sol_types::SolEvent,
};

use super::*;
use crate::{
    dstack::abi::DstackApp,
    request::ids::{DeviceId, SafeTxHash},
};

sol! {
    event SafeMultiSigTransaction(address to, uint256 value, bytes data, uint8 operation, uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, address refundReceiver, bytes signatures, bytes additionalInfo);
    event SafeModuleTransaction(address module, address to, uint256 value, bytes data, uint8 operation);
    event ExecutionSuccess(bytes32 indexed txHash, uint256 payment);
    event ExecutionFailure(bytes32 indexed txHash, uint256 payment);
    event ExecutionFromModuleSuccess(address indexed module);
    event CallExecuted(bytes32 indexed id, uint256 indexed index, address target, uint256 value, bytes data);
    event ProposalExecuted(uint256 proposalId);
}

const APP: Address = Address::repeat_byte(0x11);
const OWNER: Address = Address::repeat_byte(0x22);
const SENDER: Address = Address::repeat_byte(0x33);
const STRANGER: Address = Address::repeat_byte(0x44);
const MODULE: Address = Address::repeat_byte(0x55);
const DEVICE: B256 = B256::repeat_byte(0xdd);

/// Logs in their order, numbered from 10 on as in a block with others before.
fn sent(to: Address, logs: &[(Address, LogData)]) -> Sent {
    let logs = logs.iter().zip(10..).map(|((address, data), index)| Log {
        inner: Emitted { address: *address, data: data.clone() },
        log_index: Some(index),
        ..Log::default()
    });
    Sent { from: SENDER, to: Some(to), created: None, logs: logs.collect() }
}

fn added() -> (Address, LogData) {
    (APP, DstackApp::DeviceAdded { deviceId: DEVICE }.encode_log_data())
}

fn changed_by(actor: Address) -> (Address, LogData) {
    let policy = keccak256("device");
    let event = DstackApp::PolicyChanged { actor, policy, value: DEVICE, enabled: true };
    (APP, event.encode_log_data())
}

fn success(by: Address, hash: u8) -> (Address, LogData) {
    let event = ExecutionSuccess { txHash: B256::repeat_byte(hash), payment: U256::ZERO };
    (by, event.encode_log_data())
}

/// As Safes before 1.4.0 write it.
fn unindexed_success(by: Address, hash: u8) -> (Address, LogData) {
    let data = [B256::repeat_byte(hash).0, [0; 32]].concat();
    (by, LogData::new_unchecked(vec![ExecutionSuccess::SIGNATURE_HASH], data.into()))
}

fn failure(by: Address) -> (Address, LogData) {
    let event = ExecutionFailure { txHash: B256::repeat_byte(9), payment: U256::ZERO };
    (by, event.encode_log_data())
}

fn module_success(by: Address) -> (Address, LogData) {
    (by, ExecutionFromModuleSuccess { module: MODULE }.encode_log_data())
}

fn begins(by: Address) -> (Address, LogData) {
    let data = Bytes::new();
    (by, LogData::new_unchecked(vec![SafeMultiSigTransaction::SIGNATURE_HASH], data))
}

fn module_begins(by: Address) -> (Address, LogData) {
    (by, LogData::new_unchecked(vec![SafeModuleTransaction::SIGNATURE_HASH], Bytes::new()))
}

fn called(by: Address, operation: u8, target: Address) -> (Address, LogData) {
    let event = CallExecuted {
        id: B256::repeat_byte(operation),
        index: U256::ZERO,
        target,
        value: U256::ZERO,
        data: Bytes::new(),
    };
    (by, event.encode_log_data())
}

fn proposal(by: Address, number: u64) -> (Address, LogData) {
    (by, ProposalExecuted { proposalId: U256::from(number) }.encode_log_data())
}

fn safe(hash: u8) -> ActedBy {
    let safe_tx_hash = SafeTxHash(B256::repeat_byte(hash));
    ActedBy::Safe { address: Account(OWNER), safe_tx_hash }
}

fn module() -> ActedBy {
    ActedBy::Module { address: Account(OWNER), module: Account(MODULE) }
}

fn timelock(operation: u8, governor: Option<GovernorProposal>) -> ActedBy {
    let operation = B256::repeat_byte(operation);
    ActedBy::Timelock { address: Account(OWNER), operation, governor }
}

fn unknown_way(caller: Option<Address>, to: Address) -> ActedBy {
    ActedBy::Contract { address: caller.map(Account), to: Some(Account(to)) }
}

/// The path of the first log of the app that adds a device.
fn path(sent: &Sent, caller: Caller) -> ActedBy {
    let first = sent.logs.iter().find(|log| {
        log.address() == APP && log.topics()[0] == DstackApp::DeviceAdded::SIGNATURE_HASH
    });
    let index = first.unwrap().log_index.unwrap();
    path_of(sent, AppId(APP), index, &PolicyEvent::DeviceAdded(DeviceId(DEVICE)), caller)
}

#[test]
fn the_owner_of_the_moment_acted_and_its_own_logs_tell_how() {
    let known = Caller::Known(OWNER);
    for (what, logs, expected) in [
        ("a Safe", vec![added(), success(OWNER, 1)], safe(1)),
        ("a Safe of 1.3.0", vec![added(), unindexed_success(OWNER, 1)], safe(1)),
        ("a Safe for rollups", vec![begins(OWNER), added(), success(OWNER, 1)], safe(1)),
        ("a module", vec![added(), module_success(OWNER)], module()),
        (
            "a module beside a signed execution",
            vec![
                begins(OWNER),
                added(),
                module_begins(OWNER),
                module_success(OWNER),
                success(OWNER, 1),
            ],
            safe(1),
        ),
        (
            "a module within a signed execution",
            vec![
                begins(OWNER),
                module_begins(OWNER),
                added(),
                module_success(OWNER),
                success(OWNER, 1),
            ],
            module(),
        ),
        (
            "two executions, one after the other",
            vec![begins(OWNER), added(), success(OWNER, 1), begins(OWNER), success(OWNER, 2)],
            safe(1),
        ),
        (
            "one that failed before",
            vec![begins(OWNER), failure(OWNER), begins(OWNER), added(), success(OWNER, 2)],
            safe(2),
        ),
        ("a timelock", vec![added(), called(OWNER, 7, APP)], timelock(7, None)),
        (
            "a batch of a timelock",
            vec![called(OWNER, 6, STRANGER), added(), called(OWNER, 7, APP), called(OWNER, 8, APP)],
            timelock(7, None),
        ),
        (
            "a governor through its timelock",
            vec![proposal(STRANGER, 5), added(), called(OWNER, 7, APP)],
            timelock(
                7,
                Some(GovernorProposal { address: Account(STRANGER), proposal: U256::from(5) }),
            ),
        ),
        (
            "a governor without a timelock",
            vec![added(), proposal(OWNER, 5)],
            ActedBy::Governor { address: Account(OWNER), proposal: U256::from(5) },
        ),
    ] {
        assert_eq!(path(&sent(STRANGER, &logs), known), expected, "{what}");
    }
}

#[test]
fn what_the_logs_leave_open_is_told_as_a_contract() {
    let known = Caller::Known(OWNER);
    for (what, logs, caller, expected) in [
        ("no log of the owner", vec![added()], known, Some(OWNER)),
        ("another Safe says so", vec![added(), success(STRANGER, 1)], known, Some(OWNER)),
        ("another timelock says so", vec![added(), called(STRANGER, 7, APP)], known, Some(OWNER)),
        ("an execution that ended before", vec![success(OWNER, 1), added()], known, Some(OWNER)),
        (
            "two ends, and no begin that tells them apart",
            vec![added(), module_success(OWNER), success(OWNER, 1)],
            known,
            Some(OWNER),
        ),
        (
            "a timelock that called something else",
            vec![added(), called(OWNER, 7, STRANGER)],
            known,
            Some(OWNER),
        ),
        (
            "two proposals at once",
            vec![added(), proposal(OWNER, 5), proposal(OWNER, 6)],
            known,
            Some(OWNER),
        ),
        ("an owner that is not known", vec![added(), success(OWNER, 1)], Caller::Unknown, None),
        ("one of two owners", vec![added(), success(OWNER, 1)], Caller::Ambiguous, None),
    ] {
        let sent = sent(STRANGER, &logs);
        assert_eq!(path(&sent, caller), unknown_way(expected, STRANGER), "{what}");
    }
}

#[test]
fn an_account_acts_by_calling_the_app_or_as_the_owner_itself() {
    let account = ActedBy::Account { address: Account(SENDER) };
    for caller in [Caller::Known(SENDER), Caller::Unknown, Caller::Ambiguous] {
        assert_eq!(path(&sent(APP, &[added()]), caller), account, "{caller:?}");
    }
    // Its account runs code and batches.
    assert_eq!(path(&sent(SENDER, &[added()]), Caller::Known(SENDER)), account);
    assert_eq!(
        path(&sent(APP, &[added()]), Caller::Known(OWNER)),
        unknown_way(Some(OWNER), APP),
        "only the owner can have called"
    );
}

#[test]
fn the_caller_that_the_app_itself_names_counts_most() {
    let logs = [added(), changed_by(OWNER), success(OWNER, 1)];
    for caller in [Caller::Unknown, Caller::Ambiguous, Caller::Known(STRANGER)] {
        assert_eq!(path(&sent(STRANGER, &logs), caller), safe(1), "{caller:?}");
    }
    let sent = sent(STRANGER, &logs);
    let event = PolicyEvent::PolicyChanged {
        actor: OWNER,
        policy: keccak256("device"),
        value: DEVICE,
        enabled: true,
    };
    assert_eq!(path_of(&sent, AppId(APP), 11, &event, Caller::Unknown), safe(1));
}

#[test]
fn what_happens_until_the_app_is_initialised_is_its_deployment() {
    let first_owner =
        DstackApp::OwnershipTransferred { previousOwner: Address::ZERO, newOwner: OWNER };
    let initialized = DstackApp::Initialized { version: 1 };
    let set_up = [
        (APP, first_owner.encode_log_data()),
        added(),
        changed_by(STRANGER),
        (APP, initialized.encode_log_data()),
    ];
    assert_eq!(path(&sent(STRANGER, &set_up), Caller::Known(OWNER)), ActedBy::Deployment);
    let later = [&set_up[..1], &set_up[3..], &[added(), success(OWNER, 1)]].concat();
    assert_eq!(path(&sent(STRANGER, &later), Caller::Known(OWNER)), safe(1), "it acts at once");
    let plain = Sent { to: None, created: Some(APP), ..sent(APP, &[added()]) };
    assert_eq!(path(&plain, Caller::Known(OWNER)), ActedBy::Deployment);
    assert_eq!(path(&sent(STRANGER, &[added()]), Caller::Deploying), ActedBy::Deployment);
}

#[test]
fn the_owner_of_a_moment_is_told_by_what_came_before_or_after() {
    use PolicyEvent::{OwnershipTransferStarted as Started, OwnershipTransferred as Moved};
    let (a, b, zero) = (OWNER, STRANGER, Address::ZERO);
    let added = PolicyEvent::DeviceAdded(DeviceId(DEVICE));
    let born = ((1, 0), Moved { from: zero, to: a });
    let moved = ((5, 0), Moved { from: a, to: b });
    let offered = ((4, 0), Started { from: a, to: b });
    let left = ((9, 0), Moved { from: b, to: zero });
    let known = Caller::Known;
    for (at, event, ownership, now, expected) in [
        ((3, 0), added, vec![born, moved], None, known(a)),
        ((6, 0), added, vec![born, moved], Some(a), known(b)),
        ((3, 0), added, vec![moved], Some(b), known(a)),
        ((3, 0), added, vec![offered, moved], Some(b), known(a)),
        ((4, 5), added, vec![offered, moved], Some(b), known(a)),
        ((3, 0), added, vec![], Some(b), known(b)),
        ((3, 0), added, vec![], None, Caller::Unknown),
        ((0, 0), added, vec![born], Some(a), Caller::Deploying),
        ((10, 0), added, vec![moved, left], Some(zero), Caller::Unknown),
        (born.0, born.1, vec![born, moved], None, Caller::Deploying),
        (moved.0, moved.1, vec![born, moved], None, known(a)),
        (moved.0, moved.1, vec![born, offered, moved], None, known(b)),
        (moved.0, moved.1, vec![moved], Some(b), Caller::Ambiguous),
        (offered.0, offered.1, vec![offered, moved], None, known(a)),
        (left.0, left.1, vec![moved, left], None, known(b)),
    ] {
        assert_eq!(caller(&event, at, &ownership, now), expected, "{at:?} {ownership:?}");
    }
}
