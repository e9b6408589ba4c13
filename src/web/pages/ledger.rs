//! Ledger entries in words: what happened to the rules of an app.

use alloy::primitives::{B256, keccak256};

use crate::{dstack::event::PolicyEvent, store::ledger::LedgerEntry};

/// Names that G3 contracts hash into `PolicyChanged`.
const POLICIES: [&str; 2] = ["compose-hash", "device"];

pub fn words(entry: &LedgerEntry) -> String {
    use PolicyEvent as E;
    match PolicyEvent::from_parts(&entry.kind, &entry.value) {
        Ok(E::ComposeHashAdded(hash)) => format!("Compose hash {hash} allowed"),
        Ok(E::ComposeHashRemoved(hash)) => format!("Compose hash {hash} no longer allowed"),
        Ok(E::DeviceAdded(device)) => format!("Device {device} allowed"),
        Ok(E::DeviceRemoved(device)) => format!("Device {device} no longer allowed"),
        Ok(E::AllowAnyDeviceSet(true)) => "Every device allowed, whatever the list says".into(),
        Ok(E::AllowAnyDeviceSet(false)) => "Only listed devices allowed".into(),
        Ok(E::RequireTcbUpToDateSet(true)) => "Only machines with an up-to-date TCB allowed".into(),
        Ok(E::RequireTcbUpToDateSet(false)) => "Machines with an outdated TCB allowed".into(),
        Ok(E::UpgradesDisabled) => "The code of the app was frozen for good".into(),
        Ok(E::Upgraded(code)) => format!("The code of the app was replaced by that at {code}"),
        Ok(E::OwnershipTransferred { from, to }) => {
            format!("The app went from owner {from} to {to}")
        }
        Ok(E::OwnershipTransferStarted { from, to }) => {
            format!("Owner {from} offered the app to {to}")
        }
        Ok(E::PolicyChanged { actor, policy, value, enabled }) => {
            let verb = if enabled { "switched on" } else { "switched off" };
            format!("Policy {} {value} {verb} by {actor}", policy_name(policy))
        }
        Ok(E::Initialized(version)) => format!("The contract was initialised (version {version})"),
        Err(_) => format!("{} {}", entry.kind, alloy::hex::encode_prefixed(&entry.value)),
    }
}

fn policy_name(hash: B256) -> String {
    let known = POLICIES.into_iter().find(|name| keccak256(name) == hash);
    known.map_or_else(|| hash.to_string(), str::to_owned)
}

/// Whether the app lets every device in as of block `at`, as far as its events tell.
pub fn any_device(ledger: &[LedgerEntry], at: Option<u64>) -> bool {
    let shown = ledger.iter().filter(|entry| at.is_none_or(|at| entry.block.number <= at));
    let mut switches = shown.rev().filter(|entry| entry.kind == "allow_any_device_set");
    switches.next().is_some_and(|entry| entry.value == [1])
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::*;
    use crate::request::{
        facts::BlockRef,
        ids::{AppId, BlockHash, TxHash},
    };

    fn entry(number: u64, event: PolicyEvent) -> LedgerEntry {
        LedgerEntry {
            block: BlockRef { number, hash: BlockHash(B256::ZERO) },
            block_time: crate::clock::Time::default(),
            log_index: 0,
            tx: TxHash(B256::ZERO),
            app: AppId(Address::ZERO),
            kind: event.kind().into(),
            value: event.value(),
        }
    }

    #[test]
    fn entries_read_as_sentences() {
        let to = Address::repeat_byte(0x22);
        let moved = entry(1, PolicyEvent::OwnershipTransferred { from: Address::ZERO, to });
        assert!(words(&moved).ends_with(&format!("to {to}")));
        let policy = PolicyEvent::PolicyChanged {
            actor: to,
            policy: keccak256("compose-hash"),
            value: B256::ZERO,
            enabled: true,
        };
        assert!(words(&entry(1, policy)).starts_with("Policy compose-hash 0x0000"));
    }

    #[test]
    fn an_unreadable_entry_is_shown_as_it_is() {
        let odd = LedgerEntry { value: vec![0xab], ..entry(1, PolicyEvent::UpgradesDisabled) };
        assert_eq!(words(&odd), "upgrades_disabled 0xab");
    }

    #[test]
    fn the_last_switch_decides() {
        let ledger = [
            entry(1, PolicyEvent::AllowAnyDeviceSet(true)),
            entry(5, PolicyEvent::AllowAnyDeviceSet(false)),
        ];
        assert!(!any_device(&[], None));
        assert!(any_device(&ledger, Some(4)));
        assert!(!any_device(&ledger, None));
    }
}
