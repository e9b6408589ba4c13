//! Ledger entries in words, and their arguments by name.

use alloy::primitives::{Address, B256, keccak256};
use serde::Serialize;

use crate::{
    dstack::PolicyEvent,
    owner::Account,
    request::ids::{ComposeHash, DeviceId},
    store::ledger::LedgerEntry,
};

/// Names that G3 contracts hash into `PolicyChanged`.
const POLICIES: [&str; 6] = [
    "compose-hash",
    "device",
    "allow-any-device",
    "require-tcb-up-to-date",
    "upgrades-disabled",
    "implementation-upgrade",
];

/// What an event of an app carries, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Arguments {
    ComposeHash {
        compose_hash: ComposeHash,
    },
    Device {
        device_id: DeviceId,
    },
    Flag {
        enabled: bool,
    },
    Implementation {
        implementation: Account,
    },
    Ownership {
        from: Account,
        to: Account,
    },
    Policy {
        actor: Account,
        /// The name that the contract hashed, when it is a known one.
        policy: String,
        #[schema(value_type = String)]
        value: B256,
        enabled: bool,
    },
    Version {
        version: u64,
    },
    Nothing {},
}

/// The arguments of an entry by name; none when it does not read.
pub fn decoded(entry: &LedgerEntry) -> Option<Arguments> {
    use PolicyEvent as E;
    Some(match PolicyEvent::from_parts(&entry.kind, &entry.value).ok()? {
        E::ComposeHashAdded(compose_hash) | E::ComposeHashRemoved(compose_hash) => {
            Arguments::ComposeHash { compose_hash }
        }
        E::DeviceAdded(device_id) | E::DeviceRemoved(device_id) => Arguments::Device { device_id },
        E::AllowAnyDeviceSet(enabled) | E::RequireTcbUpToDateSet(enabled) => {
            Arguments::Flag { enabled }
        }
        E::UpgradesDisabled => Arguments::Nothing {},
        E::Upgraded(implementation) => {
            Arguments::Implementation { implementation: Account(implementation) }
        }
        E::OwnershipTransferred { from, to } | E::OwnershipTransferStarted { from, to } => {
            Arguments::Ownership { from: Account(from), to: Account(to) }
        }
        E::PolicyChanged { actor, policy, value, enabled } => {
            Arguments::Policy { actor: Account(actor), policy: policy_name(policy), value, enabled }
        }
        E::Initialized(version) => Arguments::Version { version },
    })
}

/// What happened, as a sentence.
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
        Ok(E::OwnershipTransferred { from: Address::ZERO, to }) => {
            format!("The app was given its first owner {to}")
        }
        Ok(E::OwnershipTransferred { from, to: Address::ZERO }) => {
            format!("Owner {from} gave the app up; nobody can change it any more")
        }
        Ok(E::OwnershipTransferred { from, to }) => {
            format!("The app went from owner {from} to {to}")
        }
        Ok(E::OwnershipTransferStarted { from, to: Address::ZERO }) => {
            format!("Owner {from} no longer offers the app")
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::samples::entry;

    #[test]
    fn entries_read_as_sentences() {
        let to = Address::repeat_byte(0x22);
        let moved = entry(1, PolicyEvent::OwnershipTransferred { from: Address::ZERO, to });
        assert!(words(&moved).ends_with(&format!("owner {to}")));
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
        assert_eq!(decoded(&odd), None);
    }

    #[test]
    fn arguments_have_names() {
        let value = B256::repeat_byte(0xaa);
        let actor = Address::repeat_byte(0x22);
        let policy = keccak256("device");
        for (event, expected) in [
            (PolicyEvent::DeviceAdded(DeviceId(value)), json!({ "device_id": value })),
            (PolicyEvent::AllowAnyDeviceSet(true), json!({ "enabled": true })),
            (PolicyEvent::UpgradesDisabled, json!({})),
            (PolicyEvent::Initialized(2), json!({ "version": 2 })),
            (
                PolicyEvent::PolicyChanged { actor, policy, value, enabled: false },
                json!({ "actor": actor.to_string(), "policy": "device", "value": value, "enabled": false }),
            ),
        ] {
            let found = serde_json::to_value(decoded(&entry(1, event))).unwrap();
            assert_eq!(found, expected);
        }
    }
}
