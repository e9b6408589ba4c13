//! What came of a run, in words. What is not known here is shown raw, and is not expected.

use std::collections::BTreeMap;

use alloy::{
    primitives::{Address, B256, Log, U256, b256, keccak256},
    sol_types::{Panic, Revert, SolError},
};
use serde::Serialize;

use super::{
    Answers, NONCE_SLOT, Simulation, Subject, entry,
    machine::{Difference, Place, Run},
};
use crate::{
    chain::extensions::{FALLBACK_HANDLER, GUARD, MODULE_GUARD, SENTINEL},
    dstack::{
        PolicyEvent,
        boot::refusal_in_words,
        read::{IMPLEMENTATION_SLOT, decode_bool},
    },
    owner::Account,
    request::facts::BlockRef,
    safe::{RECONFIGURATIONS, SafeEvent, failure::code_in_words},
};

/// Longest text of a contract that is repeated, in characters.
const TEXT_MAX: usize = 160;
/// Most bytes of an unknown refusal that are shown.
const RAW_MAX: usize = 36;

/// `SafeMultiSigTransaction`: what an L2 singleton tells first.
const MULTI_SIG: B256 = b256!("66753cd2356569ee081232e3be8909b950e0a76c1f8460c3a5e3c2be32b11bed");
/// Where `OpenZeppelin` 5 keeps the owner, and the next one.
const OWNER: B256 = b256!("9016d09d72d40fdae2fd8ceac6b6234c7706214fd39c1cd1e609a0528c199300");
const PENDING_OWNER: B256 =
    b256!("237e158222e3e6968b72b9db0d8043aacf074ad9f650f0d1606b4d82ee432c00");

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeds,
    /// The nonce is spent, and nothing is done.
    SpendsNonce,
    /// Nothing happens at all.
    Reverts,
}

/// An event that would be emitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    pub by: Account,
    pub words: String,
    /// Whether additions to an allowlist emit it.
    pub expected: bool,
}

/// Something that would be different afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub of: Account,
    /// `balance`, `nonce`, `code`, or a storage slot.
    pub place: String,
    pub before: B256,
    pub after: B256,
    pub words: String,
    /// Whether additions to an allowlist change it in this way.
    pub expected: bool,
}

/// All that is known of a run.
pub struct Known<'a> {
    pub subject: Subject<'a>,
    /// The guard that is set now.
    pub guard: Option<Address>,
    pub run: &'a Run,
    pub differences: &'a BTreeMap<(Address, Place), Difference>,
}

pub fn in_words(
    known: &Known<'_>,
    block: BlockRef,
    before: Option<Answers>,
    after: Option<Answers>,
) -> Simulation {
    let (run, app) = (known.run, known.app());
    let outcome = known.outcome();
    let failure = (outcome != Outcome::Succeeds).then(|| known.failure());
    Simulation {
        block,
        safe: Account(known.subject.safe.address),
        app: app.map(Account),
        outcome,
        failure,
        gas_used: run.gas_used,
        spends_nonce: known.spends_nonce(),
        events: run.logs.iter().map(|log| known.event(log, app)).collect(),
        changes: known
            .differences
            .iter()
            .map(|((of, place), difference)| known.change(*of, *place, *difference, app))
            .collect(),
        extensions: known.extensions(),
        before,
        after,
        assumed: known.assumed(),
    }
}

impl Known<'_> {
    /// The app: the one that is known, or the only contract that speaks like one.
    fn app(&self) -> Option<Address> {
        if let Some((app, ..)) = self.subject.wanted {
            return Some(app.0);
        }
        let mut apps = self.run.logs.iter().filter(|log| policy_event(log).is_some());
        let app = apps.next()?.address;
        apps.all(|log| log.address == app).then_some(app)
    }

    /// `execTransaction` answers whether its call succeeded. Whatever else answers is no Safe.
    fn outcome(&self) -> Outcome {
        match (self.run.success, decode_bool(&self.run.output)) {
            (true, Ok(true)) => Outcome::Succeeds,
            (true, Ok(false)) => Outcome::SpendsNonce,
            (true, Err(_)) | (false, _) => Outcome::Reverts,
        }
    }

    fn spends_nonce(&self) -> bool {
        let Subject { safe, tx, .. } = self.subject;
        let nonce = Place::Slot(B256::with_last_byte(NONCE_SLOT).into());
        let next = tx.nonce.checked_add(U256::ONE);
        self.differences
            .get(&(safe.address, nonce))
            .is_some_and(|(before, after)| *before == tx.nonce && Some(*after) == next)
    }

    /// What the Safe says, and what was refused first inside it.
    fn failure(&self) -> String {
        let run = self.run;
        if run.success && decode_bool(&run.output).is_err() {
            return "it does not answer as a Safe does".to_owned();
        }
        let outer = refusal(&run.output, run.halted.as_deref());
        let safe = self.subject.safe;
        let is_its_own = |code: Address| [safe.address, safe.singleton].contains(&code);
        let Some(first) = run.failed.first().filter(|first| !is_its_own(first.code)) else {
            return outer;
        };
        let by = if Some(first.to) == self.guard {
            format!("its guard {}", first.to)
        } else if Some(first.to) == self.app() {
            format!("the app {}", first.to)
        } else {
            first.code.to_string()
        };
        let inner = refusal(&first.output, first.halted.as_deref());
        let refused = format!("{by} refuses: {inner}");
        if run.success || outer == inner { refused } else { format!("{refused} ({outer})") }
    }

    fn event(&self, log: &Log, app: Option<Address>) -> Event {
        let (by, safe) = (log.address, self.subject.safe.address);
        let topics = log.topics();
        let (words, expected) = if let Some(event) = policy_event(log) {
            let adds = match event {
                PolicyEvent::ComposeHashAdded(_) | PolicyEvent::DeviceAdded(_) => true,
                PolicyEvent::PolicyChanged { policy, enabled, .. } => {
                    let lists = ["compose-hash", "device"];
                    enabled && lists.iter().any(|list| keccak256(list) == policy)
                }
                _ => false,
            };
            (policy_words(&event), adds && Some(by) == app)
        } else if let Ok(Some(event)) = SafeEvent::decode(topics, &log.data.data) {
            let success = matches!(event, SafeEvent::ExecutionSuccess(_));
            let words = if success { "execution success" } else { "execution failure" };
            (words.to_owned(), success && by == safe)
        } else if topics.first() == Some(&MULTI_SIG) && by == safe {
            ("what is executed".to_owned(), true)
        } else if topics.first().is_some_and(|first| RECONFIGURATIONS.contains(first)) {
            ("OWNERS, THRESHOLD, MODULES, GUARD OR CODE OF A SAFE CHANGED".to_owned(), false)
        } else {
            let first = topics.first().map_or_else(|| "none".to_owned(), ToString::to_string);
            (format!("unknown event, first topic {first}"), false)
        };
        Event { by: Account(by), words, expected }
    }

    fn change(
        &self,
        of: Address,
        place: Place,
        (before, after): Difference,
        app: Option<Address>,
    ) -> Change {
        let safe = self.subject.safe.address;
        let (place, (words, expected)) = match place {
            Place::Balance => {
                ("balance".to_owned(), (format!("{before} wei becomes {after} wei"), false))
            }
            Place::Nonce => ("nonce".to_owned(), ("it makes contracts".to_owned(), false)),
            Place::Code => ("code".to_owned(), ("ITS CODE CHANGES".to_owned(), false)),
            Place::Slot(slot) => {
                let said = if of == safe {
                    self.of_safe(slot, before, after)
                } else if Some(of) == app {
                    self.of_app(slot, before, after)
                } else {
                    None
                };
                let raw = || (format!("slot {slot:#x}: {before:#x} becomes {after:#x}"), false);
                (B256::from(slot).to_string(), said.unwrap_or_else(raw))
            }
        };
        let (before, after) = (before.into(), after.into());
        Change { of: Account(of), place, before, after, words, expected }
    }

    fn of_safe(&self, slot: U256, before: U256, after: U256) -> Option<(String, bool)> {
        let address = |word: U256| Address::from_word(word.into());
        let from_to = |what: &str| {
            Some((format!("{what}: {} becomes {}", address(before), address(after)), false))
        };
        match B256::from(slot) {
            slot if slot == B256::ZERO => from_to("THE CODE OF THE SAFE"),
            GUARD => from_to("THE GUARD"),
            MODULE_GUARD => from_to("THE GUARD OF MODULES"),
            FALLBACK_HANDLER => from_to("THE FALLBACK HANDLER"),
            slot if slot == B256::with_last_byte(3) => {
                Some((format!("THE NUMBER OF OWNERS: {before} becomes {after}"), false))
            }
            slot if slot == B256::with_last_byte(4) => {
                Some((format!("THE THRESHOLD: {before} becomes {after}"), false))
            }
            slot if slot == B256::with_last_byte(NONCE_SLOT) => {
                let is_next = before.checked_add(U256::ONE) == Some(after);
                Some((format!("nonce {before} becomes {after}"), is_next))
            }
            slot => {
                let keys = self.addresses();
                let is_entry = |mapping: u8| {
                    let mapping = B256::with_last_byte(mapping);
                    keys.iter().any(|key| entry(key.into_word(), mapping) == slot)
                };
                let list = if is_entry(1) {
                    "THE MODULES"
                } else if is_entry(2) {
                    "THE OWNERS"
                } else {
                    return None;
                };
                from_to(list)
            }
        }
    }

    /// Every address that the lists of a Safe may have gained or lost an entry for.
    fn addresses(&self) -> Vec<Address> {
        let words = self.differences.values().flat_map(|(before, after)| [*before, *after]);
        let found =
            words.filter(|word| word.bit_len() <= 160).map(|word| Address::from_word(word.into()));
        let known = self.subject.safe.owners.iter().chain(self.subject.modules).copied();
        known.chain([SENTINEL]).chain(found).collect()
    }

    /// Mappings begin one slot later in G0, where plain slots cannot be mistaken for them.
    fn of_app(&self, slot: U256, before: U256, after: U256) -> Option<(String, bool)> {
        let slot = B256::from(slot);
        let adds = before.is_zero() && after == U256::ONE;
        let becomes = || match (before.is_zero(), after.is_zero()) {
            (true, false) => "false becomes true",
            (false, true) => "true becomes false",
            _ => "changes",
        };
        let is_entry = |key: B256, mappings: [u8; 2]| {
            mappings.iter().any(|mapping| entry(key, B256::with_last_byte(*mapping)) == slot)
        };
        let keys = self.keys();
        if let Some(key) = keys.iter().find(|key| is_entry(**key, [0, 1])) {
            return Some((format!("allowedComposeHashes[{key}]: {}", becomes()), adds));
        }
        if let Some(key) = keys.iter().find(|key| is_entry(**key, [2, 3])) {
            return Some((format!("allowedDeviceIds[{key}]: {}", becomes()), adds));
        }
        let address = |word: U256| Address::from_word(word.into());
        let from_to = |what: &str| {
            Some((format!("{what}: {} becomes {}", address(before), address(after)), false))
        };
        match slot {
            IMPLEMENTATION_SLOT => from_to("THE CODE OF THE APP"),
            OWNER => from_to("THE OWNER OF THE APP"),
            PENDING_OWNER => from_to("THE NEXT OWNER OF THE APP"),
            slot if slot == B256::with_last_byte(1) || slot == B256::with_last_byte(2) => {
                let flags = format!("{before:#x} becomes {after:#x}");
                Some((format!("ANY DEVICE ALLOWED, OR UPGRADES DISABLED: {flags}"), false))
            }
            slot if slot == B256::with_last_byte(3) => {
                Some((format!("WHETHER MACHINES MUST BE UP TO DATE: {}", becomes()), false))
            }
            _ => None,
        }
    }

    /// Hashes that an app may have listed: those that are wanted, and those that events name.
    fn keys(&self) -> Vec<B256> {
        let mut keys: Vec<B256> = self
            .subject
            .wanted
            .iter()
            .flat_map(|(_, compose, device)| [compose.0, device.0])
            .collect();
        keys.extend(self.run.logs.iter().filter_map(policy_event).filter_map(|event| {
            Some(match event {
                PolicyEvent::ComposeHashAdded(hash) | PolicyEvent::ComposeHashRemoved(hash) => {
                    hash.0
                }
                PolicyEvent::DeviceAdded(device) | PolicyEvent::DeviceRemoved(device) => device.0,
                _ => return None,
            })
        }));
        keys
    }

    fn extensions(&self) -> Vec<String> {
        let mut said = vec![];
        if let Some(guard) = self.guard {
            let refuses = self.run.failed.iter().any(|call| call.to == guard);
            let does = match (self.run.ran.contains(&guard), refuses) {
                (_, true) => "refuses",
                (true, false) => "is asked, and lets it pass",
                (false, false) => "is not asked",
            };
            said.push(format!("the guard {guard} {does}"));
        }
        let modules = self.subject.modules.iter().filter(|one| self.run.ran.contains(*one));
        said.extend(modules.map(|module| format!("the module {module} runs in it")));
        said
    }

    fn assumed(&self) -> Vec<String> {
        let Subject { safe, tx, wanted, .. } = self.subject;
        let mut assumed = vec!["enough owners sign, and the first one executes".to_owned()];
        let next = U256::from(safe.nonce);
        if tx.nonce > next {
            assumed.push(format!(
                "the transactions with nonce {next} to {} come first, and change nothing",
                tx.nonce - U256::ONE
            ));
        } else if tx.nonce < next {
            assumed.push(format!("nonce {} is not spent, though it is", tx.nonce));
        }
        if wanted.is_some() {
            assumed.push("the machine that boots is up to date".to_owned());
        }
        assumed
    }
}

fn policy_event(log: &Log) -> Option<PolicyEvent> {
    PolicyEvent::decode(log.topics(), &log.data.data).ok().flatten()
}

fn policy_words(event: &PolicyEvent) -> String {
    let value = event.value();
    let kind = event.kind().replace('_', " ");
    if value.is_empty() { kind } else { format!("{kind} {}", alloy::hex::encode_prefixed(value)) }
}

/// Why a contract refused, or the machine ended it.
pub fn refusal(output: &[u8], halted: Option<&str>) -> String {
    if let Some(halted) = halted {
        return format!("the machine ends it: {halted}");
    }
    if let Ok(revert) = Revert::abi_decode_validate(output) {
        let text: String = revert.reason.chars().take(TEXT_MAX).collect();
        return code_in_words(&text).map_or(text.clone(), |words| format!("{text}: {words}"));
    }
    if let Ok(panic) = Panic::abi_decode_validate(output) {
        return panic.to_string();
    }
    match refusal_in_words(output) {
        Some(words) => words,
        None if output.is_empty() => "no reason is given".to_owned(),
        None => {
            let shown = alloy::hex::encode_prefixed(&output[..output.len().min(RAW_MAX)]);
            format!("an unknown error: {shown}")
        }
    }
}

#[cfg(test)]
mod tests {
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
        let subject = Subject { safe: &safe, tx: &tx, modules: &[], wanted };
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
        for (differences, expected) in [
            (vec![(SAFE, slot(5), 7, 8)], true),
            (vec![(APP, slot(5), 7, 8)], false),
            (vec![], false),
        ] {
            let simulation = simulation(7, &run(1, vec![]), &differences);
            assert_eq!(
                (simulation.outcome, simulation.spends_nonce),
                (Outcome::Succeeds, expected)
            );
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
}
