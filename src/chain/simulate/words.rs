//! What came of a run, in words. What is not known here is shown raw, and is not expected.

use std::collections::{BTreeMap, BTreeSet};

use alloy::{
    primitives::{Address, B256, Log, U256, b256, keccak256},
    sol_types::{Panic, Revert, SolError},
};

use super::{
    Answers, Change, Event, NONCE_SLOT, Outcome, Simulation, Subject, entry,
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
    let also = known.subject.also.iter().map(|app| app.0);
    let apps: BTreeSet<Address> = app.into_iter().chain(also).collect();
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
        events: run.logs.iter().map(|log| known.event(log, &apps)).collect(),
        changes: known
            .differences
            .iter()
            .map(|((of, place), difference)| known.change(*of, *place, *difference, &apps))
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

    fn event(&self, log: &Log, apps: &BTreeSet<Address>) -> Event {
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
            (policy_words(&event), adds && apps.contains(&by))
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
        apps: &BTreeSet<Address>,
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
                } else if apps.contains(&of) {
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
        let Subject { safe, tx, wanted, signed, .. } = self.subject;
        let mut assumed = vec![];
        if signed.is_none() {
            assumed.push("enough owners sign, and the first one executes".to_owned());
        }
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
mod tests;
