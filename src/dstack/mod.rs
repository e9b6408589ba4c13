//! The DstackApp contract: what it can be told, what it tells, and which generation it is.
//!
//! A DstackApp decides which compose hashes may run and on which devices. This room knows its ABI
//! (the recorded interface of `Dstack-TEE/dstack`, `kms/auth-eth/contracts`, all generations) and
//! nothing about how to reach a chain: it makes calldata and reads answers and logs.
//!
//! - [`mod@write`]: the two changes Countersign ever asks for;
//! - [`read`]: state reads, decoded strictly, because unreadable is never false;
//! - [`event`]: policy events, from logs to storage and back;
//! - [`boot`]: its own answer to an instance that boots, and why it refuses a call;
//! - [`kms`]: how apps become known.

use std::fmt;

use serde::{Deserialize, Serialize};

pub mod abi;
pub mod boot;
pub mod event;
pub mod kms;
pub mod read;
pub mod write;

pub use event::{MalformedEvent, PolicyEvent};
pub use read::{Read, UnreadableAnswer};
pub use write::{Addition, Write};

/// Which DstackApp interface a contract answers to.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Generation {
    /// `AppAuth` of v0.4.2 to v0.5.3: has `appId()` in slot 0.
    G0,
    /// `DstackApp` of v0.5.4 to v0.5.8: the address is the app id.
    G1,
    /// v0.5.9 to v0.5.11: `version()` and the TCB requirement.
    G2,
    /// After v0.5.11: two-step ownership and `PolicyChanged`.
    G3,
}

impl Generation {
    /// Names the generation from three probes made at one block.
    ///
    /// "Does not answer" must mean that the contract reverted. A probe that failed on the way is
    /// not an answer of the contract, and the caller must not detect anything from it.
    /// `version()` is 2 in both G2 and G3, so its number decides nothing beyond its presence.
    #[must_use]
    pub fn detect(
        version_answers: Option<u64>,
        pending_owner_answers: bool,
        app_id_answers: bool,
    ) -> Self {
        if pending_owner_answers {
            Self::G3
        } else if version_answers.is_some() {
            Self::G2
        } else if app_id_answers {
            Self::G0
        } else {
            Self::G1
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::G0 => "g0",
            Self::G1 => "g1",
            Self::G2 => "g2",
            Self::G3 => "g3",
        })
    }
}

/// A function known by name: its human-readable signature with argument names, and why a signer
/// should be alarmed to find it in a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFunction {
    pub signature: &'static str,
    /// What calling it can do to the app or the Safe; `None` when it is not dangerous in itself.
    pub danger: Option<&'static str>,
}

const fn known(signature: &'static str, danger: Option<&'static str>) -> KnownFunction {
    KnownFunction { signature, danger }
}

/// Every function of a DstackApp that changes something.
pub const FUNCTIONS: &[KnownFunction] = &[
    known("addComposeHash(bytes32 composeHash)", None),
    known("addDevice(bytes32 deviceId)", None),
    known("removeComposeHash(bytes32 composeHash)", None),
    known("removeDevice(bytes32 deviceId)", None),
    known("setAllowAnyDevice(bool allow)", Some("can let the app run on every device")),
    known(
        "setRequireTcbUpToDate(bool required)",
        Some("changes whether outdated machines may run the app"),
    ),
    known("disableUpgrades()", Some("freezes the code of the app for good")),
    known(
        "upgradeToAndCall(address newImplementation, bytes data)",
        Some("replaces the code of the app, and with it every rule"),
    ),
    known("transferOwnership(address newOwner)", Some("gives the app to another owner")),
    known("renounceOwnership()", Some("leaves the app without an owner for good")),
    known("acceptOwnership()", Some("takes over the app from its former owner")),
    known(
        "initialize(address initialOwner, bool disableUpgrades, bool allowAnyDevice, bytes32 initialDeviceId, bytes32 initialComposeHash)",
        Some("sets the owner and every rule of the app"),
    ),
    known(
        "initialize(address initialOwner, bool disableUpgrades, bool requireTcbUpToDate, bool allowAnyDevice, bytes32 initialDeviceId, bytes32 initialComposeHash)",
        Some("sets the owner and every rule of the app"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_name_the_generation() {
        for (version, pending_owner, app_id, expected) in [
            (None, false, true, "g0"),
            (None, false, false, "g1"),
            (Some(2), false, false, "g2"),
            (Some(2), true, false, "g3"),
            (Some(9), true, true, "g3"),
        ] {
            let found = Generation::detect(version, pending_owner, app_id);
            assert_eq!(found.to_string(), expected);
            assert_eq!(serde_json::to_string(&found).unwrap(), format!("\"{expected}\""));
        }
    }

    /// The selectors were recorded from the compiled contracts, not from these texts.
    #[test]
    fn known_functions_have_the_recorded_selectors() {
        let recorded = [
            "dfc77223", "2a819728", "67b3f22c", "1d266200", "7c4beeb8", "6e4c7422", "ec669036",
            "4f1ef286", "f2fde38b", "715018a6", "79ba5097", "187515ca", "9ed28193",
        ];
        assert_eq!(FUNCTIONS.len(), recorded.len());
        for (function, recorded) in FUNCTIONS.iter().zip(recorded) {
            let parsed = alloy::json_abi::Function::parse(function.signature).unwrap();
            assert_eq!(alloy::hex::encode(parsed.selector()), recorded, "{}", function.signature);
        }
    }
}
