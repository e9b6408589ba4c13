use alloy::primitives::Bytes;
use revm::state::EvmState;

use super::*;
use crate::{
    chain::SafeState,
    owner::Call,
    request::ids::{AppId, BlockHash, ComposeHash, DeviceId},
    safe::{Operation, SafeTx, SafeVersion},
};

const SAFE: Address = Address::repeat_byte(0x5a);
const APP: Address = Address::repeat_byte(0xa9);
const COMPOSE: B256 = B256::repeat_byte(0xc0);
const DEVICE: B256 = B256::repeat_byte(0xd0);
const OWNER_1: Address = Address::repeat_byte(1);

fn safe() -> SafeState {
    SafeState {
        code_hash: B256::ZERO,
        address: SAFE,
        version: SafeVersion::V1_4_1,
        owners: vec![OWNER_1],
        threshold: 1,
        nonce: 7,
        singleton: Address::repeat_byte(0x51),
        singleton_code_hash: B256::ZERO,
    }
}

fn run(output: u8, logs: Vec<Log>) -> Run {
    Run {
        success: true,
        output: B256::with_last_byte(output).into(),
        halted: None,
        gas_used: 1,
        logs,
        changes: EvmState::default(),
        failed: vec![],
        ran: [].into(),
    }
}

fn simulation(nonce: u64, run: &Run, differences: &[(Address, Place, u64, u64)]) -> Simulation {
    let safe = safe();
    let call = Call { to: APP, value: U256::ZERO, data: Bytes::new() };
    let tx = SafeTx::new(call, Operation::Call, U256::from(nonce));
    let wanted = Some((AppId(APP), ComposeHash(COMPOSE), DeviceId(DEVICE)));
    let subject = Subject { safe: &safe, tx: &tx, modules: &[], wanted, also: &[], signed: None };
    let differences = differences
        .iter()
        .map(|(of, place, before, after)| {
            ((*of, *place), (U256::from(*before), U256::from(*after)))
        })
        .collect();
    let known = Known { subject, guard: None, run, differences: &differences };
    let block = BlockRef { number: 1, hash: BlockHash(B256::ZERO) };
    in_words(&known, block, None, None)
}

fn slot(number: u64) -> Place {
    Place::Slot(U256::from(number))
}

fn of(mapping: u8, key: B256) -> Place {
    Place::Slot(entry(key, B256::with_last_byte(mapping)).into())
}

#[test]
fn changes_have_words_and_only_additions_are_expected() {
    let (guard, owner) = (Place::Slot(GUARD.into()), Place::Slot(OWNER.into()));
    for (whose, place, before, after, words, expected) in [
        (SAFE, slot(5), 7, 8, "nonce 7 becomes 8", true),
        (SAFE, slot(5), 7, 9, "nonce 7 becomes 9", false),
        (SAFE, slot(0), 1, 2, "THE CODE OF THE SAFE: ", false),
        (SAFE, slot(3), 1, 2, "THE NUMBER OF OWNERS: 1 becomes 2", false),
        (SAFE, slot(4), 2, 1, "THE THRESHOLD: 2 becomes 1", false),
        (SAFE, of(1, SENTINEL.into_word()), 1, 9, "THE MODULES: ", false),
        (SAFE, of(2, OWNER_1.into_word()), 1, 9, "THE OWNERS: ", false),
        (SAFE, guard, 0, 9, "THE GUARD: ", false),
        (SAFE, slot(77), 0, 1, "slot 0x4d: 0x0 becomes 0x1", false),
        (SAFE, Place::Balance, 9, 3, "9 wei becomes 3 wei", false),
        (APP, of(0, COMPOSE), 0, 1, "allowedComposeHashes[", true),
        (APP, of(1, COMPOSE), 0, 1, "allowedComposeHashes[", true),
        (APP, of(0, COMPOSE), 1, 0, "allowedComposeHashes[", false),
        (APP, of(2, DEVICE), 0, 1, "allowedDeviceIds[", true),
        (APP, of(3, DEVICE), 0, 2, "allowedDeviceIds[", false),
        (APP, of(0, B256::repeat_byte(9)), 0, 1, "slot 0x", false),
        (APP, slot(1), 0, 256, "ANY DEVICE ALLOWED, OR UPGRADES DISABLED: ", false),
        (APP, slot(3), 1, 0, "WHETHER MACHINES MUST BE UP TO DATE: true", false),
        (APP, owner, 1, 2, "THE OWNER OF THE APP: ", false),
        (APP, Place::Code, 1, 2, "ITS CODE CHANGES", false),
        (Address::repeat_byte(3), of(0, COMPOSE), 0, 1, "slot 0x", false),
        (Address::repeat_byte(3), slot(5), 7, 8, "slot 0x5: ", false),
    ] {
        let differences = [(SAFE, slot(5), 7, 8), (whose, place, before, after)];
        let simulation = simulation(7, &run(1, vec![]), &differences);
        let change = simulation.changes.iter().find(|one| one.words.starts_with(words));
        let change = change.unwrap_or_else(|| panic!("{words}: {simulation:#?}"));
        assert_eq!((change.expected, simulation.is_as_expected()), (expected, expected));
    }
}

#[test]
fn an_addition_of_another_contract_is_not_expected() {
    let added = |by: Address| {
        let topic = PolicyEvent::topics()[0];
        Log::new_unchecked(by, vec![topic], Bytes::copy_from_slice(COMPOSE.as_slice()))
    };
    for (by, expected) in [(APP, true), (SAFE, false), (Address::ZERO, false)] {
        let simulation = simulation(7, &run(1, vec![added(by)]), &[(SAFE, slot(5), 7, 8)]);
        assert_eq!(simulation.events[0].words, format!("compose hash added {COMPOSE}"));
        assert_eq!(simulation.is_as_expected(), expected, "{by}");
    }
    let reconfigured =
        |first: &B256| Log::new_unchecked(SAFE, vec![*first], Bytes::from(vec![0; 32]));
    let logs = RECONFIGURATIONS.iter().map(reconfigured).collect();
    assert!(simulation(7, &run(1, logs), &[]).events.iter().all(|event| !event.expected));
}

#[test]
fn the_answer_of_the_safe_decides_how_it_ends() {
    for (answer, outcome) in
        [(1, Outcome::Succeeds), (0, Outcome::SpendsNonce), (2, Outcome::Reverts)]
    {
        let simulation = simulation(7, &run(answer, vec![]), &[]);
        assert_eq!(simulation.outcome, outcome);
        assert_eq!(simulation.failure.is_none(), outcome == Outcome::Succeeds);
    }
}

#[test]
fn what_can_be_executed_twice_is_not_expected() {
    for (differences, expected) in
        [(vec![(SAFE, slot(5), 7, 8)], true), (vec![(APP, slot(5), 7, 8)], false), (vec![], false)]
    {
        let simulation = simulation(7, &run(1, vec![]), &differences);
        assert_eq!((simulation.outcome, simulation.spends_nonce), (Outcome::Succeeds, expected));
        assert_eq!(simulation.is_as_expected(), expected);
    }
}

#[test]
fn what_is_taken_for_granted_is_said() {
    for (nonce, words) in [
        (8, "the transactions with nonce 7 to 7 come first, and change nothing"),
        (6, "nonce 6 is not spent, though it is"),
    ] {
        let assumed = simulation(nonce, &run(1, vec![]), &[]).assumed;
        assert!(assumed.contains(&words.to_owned()), "{assumed:?}");
    }
    assert_eq!(simulation(7, &run(1, vec![]), &[]).assumed.len(), 2);
}

#[test]
fn refusals_have_words() {
    let revert = |text: &str| Revert::from(text).abi_encode();
    let panic = Panic::from(alloy::sol_types::PanicKind::UnderOverflow).abi_encode();
    for (output, halted, words) in [
        (revert("GS026"), None, "GS026: a signature is not of an owner, or not in order"),
        (revert("not today"), None, "not today"),
        (panic, None, "panic: arithmetic underflow or overflow (0x11)"),
        (vec![], None, "no reason is given"),
        (vec![0xde, 0xad, 0xbe, 0xef], None, "an unknown error: 0xdeadbeef"),
        (vec![], Some("out of gas"), "the machine ends it: out of gas"),
    ] {
        assert_eq!(refusal(&output, halted), words);
    }
    let long = revert(&"x".repeat(10_000));
    assert_eq!(refusal(&long, None).len(), TEXT_MAX);
}
