//! Policy events of a DstackApp: from a log to a typed event, and to storage and back.
//!
//! Events say when to look and which transaction did it; they are not the truth about the
//! allowlist. Adds and removes are emitted even when nothing changes, and `initialize` sets flags
//! without any event.
//!
//! A stored event is a stable [`kind`](PolicyEvent::kind) and its value in packed bytes. Hashes
//! are 32 bytes, addresses 20, flags 1, the initialised version 8 (big-endian); a value of several
//! parts is their concatenation in the order of the Solidity event.

use alloy::{
    primitives::{Address, B256, U256},
    sol_types::SolEvent,
};

use super::abi::DstackApp;
use crate::request::ids::{ComposeHash, DeviceId};

/// Something that happened to the policy, the owner or the code of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyEvent {
    ComposeHashAdded(ComposeHash),
    ComposeHashRemoved(ComposeHash),
    DeviceAdded(DeviceId),
    DeviceRemoved(DeviceId),
    AllowAnyDeviceSet(bool),
    RequireTcbUpToDateSet(bool),
    UpgradesDisabled,
    /// The new implementation.
    Upgraded(Address),
    OwnershipTransferred {
        from: Address,
        to: Address,
    },
    OwnershipTransferStarted {
        from: Address,
        to: Address,
    },
    /// G3 emits this beside every other event. `policy` is the keccak256 of a name such as
    /// `compose-hash`.
    PolicyChanged {
        actor: Address,
        policy: B256,
        value: B256,
        enabled: bool,
    },
    Initialized(u64),
}

/// A log or a stored row that carries the name of one of our events but not its shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEvent {
    #[error("{kind} has {topics} topics and {data} bytes of data, which is not its shape")]
    Shape { kind: &'static str, topics: usize, data: usize },
    #[error("{kind} holds a word that is not {expected}")]
    Word { kind: &'static str, expected: &'static str },
    #[error("stored event {kind} cannot hold a value of {length} bytes")]
    Value { kind: &'static str, length: usize },
    #[error("stored event of an unknown kind")]
    UnknownKind,
}

const TOPICS: &[B256] = &[
    DstackApp::ComposeHashAdded::SIGNATURE_HASH,
    DstackApp::ComposeHashRemoved::SIGNATURE_HASH,
    DstackApp::DeviceAdded::SIGNATURE_HASH,
    DstackApp::DeviceRemoved::SIGNATURE_HASH,
    DstackApp::AllowAnyDeviceSet::SIGNATURE_HASH,
    DstackApp::RequireTcbUpToDateSet::SIGNATURE_HASH,
    DstackApp::UpgradesDisabled::SIGNATURE_HASH,
    DstackApp::PolicyChanged::SIGNATURE_HASH,
    DstackApp::Upgraded::SIGNATURE_HASH,
    DstackApp::OwnershipTransferred::SIGNATURE_HASH,
    DstackApp::OwnershipTransferStarted::SIGNATURE_HASH,
    DstackApp::Initialized::SIGNATURE_HASH,
];

impl PolicyEvent {
    /// Every first topic to filter logs by.
    #[must_use]
    pub fn topics() -> &'static [B256] {
        TOPICS
    }

    /// Reads one log. `Ok(None)` means the log is not one of ours.
    ///
    /// # Errors
    /// [`MalformedEvent`] when the first topic is ours but the rest is not what the contract
    /// writes: such a log must be looked at, not skipped.
    pub fn decode(topics: &[B256], data: &[u8]) -> Result<Option<Self>, MalformedEvent> {
        let Some((first, indexed)) = topics.split_first() else { return Ok(None) };
        let log = |kind| Log { kind, indexed, data };
        Ok(Some(match *first {
            DstackApp::ComposeHashAdded::SIGNATURE_HASH => {
                Self::ComposeHashAdded(ComposeHash(log("compose_hash_added").data_word()?))
            }
            DstackApp::ComposeHashRemoved::SIGNATURE_HASH => {
                Self::ComposeHashRemoved(ComposeHash(log("compose_hash_removed").data_word()?))
            }
            DstackApp::DeviceAdded::SIGNATURE_HASH => {
                Self::DeviceAdded(DeviceId(log("device_added").data_word()?))
            }
            DstackApp::DeviceRemoved::SIGNATURE_HASH => {
                Self::DeviceRemoved(DeviceId(log("device_removed").data_word()?))
            }
            DstackApp::AllowAnyDeviceSet::SIGNATURE_HASH => {
                let log = log("allow_any_device_set");
                Self::AllowAnyDeviceSet(log.flag(log.data_word()?)?)
            }
            DstackApp::RequireTcbUpToDateSet::SIGNATURE_HASH => {
                let log = log("require_tcb_up_to_date_set");
                Self::RequireTcbUpToDateSet(log.flag(log.data_word()?)?)
            }
            DstackApp::UpgradesDisabled::SIGNATURE_HASH => {
                log("upgrades_disabled").indexed::<0>(0)?;
                Self::UpgradesDisabled
            }
            DstackApp::Upgraded::SIGNATURE_HASH => {
                let log = log("upgraded");
                let [implementation] = log.indexed(0)?;
                Self::Upgraded(log.address(implementation)?)
            }
            DstackApp::OwnershipTransferred::SIGNATURE_HASH => {
                let (from, to) = log("ownership_transferred").two_addresses()?;
                Self::OwnershipTransferred { from, to }
            }
            DstackApp::OwnershipTransferStarted::SIGNATURE_HASH => {
                let (from, to) = log("ownership_transfer_started").two_addresses()?;
                Self::OwnershipTransferStarted { from, to }
            }
            DstackApp::PolicyChanged::SIGNATURE_HASH => log("policy_changed").policy_changed()?,
            DstackApp::Initialized::SIGNATURE_HASH => {
                let log = log("initialized");
                let version = U256::from_be_bytes(log.data_word()?.0).try_into();
                Self::Initialized(version.map_err(|_| log.word("a 64-bit number"))?)
            }
            _ => return Ok(None),
        }))
    }

    /// Stable name, for storage and for the API.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ComposeHashAdded(_) => "compose_hash_added",
            Self::ComposeHashRemoved(_) => "compose_hash_removed",
            Self::DeviceAdded(_) => "device_added",
            Self::DeviceRemoved(_) => "device_removed",
            Self::AllowAnyDeviceSet(_) => "allow_any_device_set",
            Self::RequireTcbUpToDateSet(_) => "require_tcb_up_to_date_set",
            Self::UpgradesDisabled => "upgrades_disabled",
            Self::Upgraded(_) => "upgraded",
            Self::OwnershipTransferred { .. } => "ownership_transferred",
            Self::OwnershipTransferStarted { .. } => "ownership_transfer_started",
            Self::PolicyChanged { .. } => "policy_changed",
            Self::Initialized(_) => "initialized",
        }
    }

    /// The value in packed bytes, see the head of this module.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        match self {
            Self::ComposeHashAdded(hash) | Self::ComposeHashRemoved(hash) => hash.0.to_vec(),
            Self::DeviceAdded(device) | Self::DeviceRemoved(device) => device.0.to_vec(),
            Self::AllowAnyDeviceSet(flag) | Self::RequireTcbUpToDateSet(flag) => {
                vec![u8::from(*flag)]
            }
            Self::UpgradesDisabled => Vec::new(),
            Self::Upgraded(implementation) => implementation.to_vec(),
            Self::OwnershipTransferred { from, to }
            | Self::OwnershipTransferStarted { from, to } => {
                [from.as_slice(), to.as_slice()].concat()
            }
            Self::PolicyChanged { actor, policy, value, enabled } => {
                [actor.as_slice(), policy.as_slice(), value.as_slice(), &[u8::from(*enabled)]]
                    .concat()
            }
            Self::Initialized(version) => version.to_be_bytes().to_vec(),
        }
    }

    /// The event that [`kind`](Self::kind) and [`value`](Self::value) were taken from.
    ///
    /// # Errors
    /// [`MalformedEvent`] for a kind nobody wrote, or a value that does not fit its kind.
    pub fn from_parts(kind: &str, value: &[u8]) -> Result<Self, MalformedEvent> {
        let stored = |kind| Stored { kind, value };
        Ok(match kind {
            "compose_hash_added" => {
                Self::ComposeHashAdded(ComposeHash(stored("compose_hash_added").hash()?))
            }
            "compose_hash_removed" => {
                Self::ComposeHashRemoved(ComposeHash(stored("compose_hash_removed").hash()?))
            }
            "device_added" => Self::DeviceAdded(DeviceId(stored("device_added").hash()?)),
            "device_removed" => Self::DeviceRemoved(DeviceId(stored("device_removed").hash()?)),
            "allow_any_device_set" => {
                Self::AllowAnyDeviceSet(stored("allow_any_device_set").flag()?)
            }
            "require_tcb_up_to_date_set" => {
                Self::RequireTcbUpToDateSet(stored("require_tcb_up_to_date_set").flag()?)
            }
            "upgrades_disabled" => {
                stored("upgrades_disabled").exactly::<0>()?;
                Self::UpgradesDisabled
            }
            "upgraded" => Self::Upgraded(stored("upgraded").exactly::<20>()?.into()),
            "ownership_transferred" => {
                let (from, to) = stored("ownership_transferred").two_addresses()?;
                Self::OwnershipTransferred { from, to }
            }
            "ownership_transfer_started" => {
                let (from, to) = stored("ownership_transfer_started").two_addresses()?;
                Self::OwnershipTransferStarted { from, to }
            }
            "policy_changed" => stored("policy_changed").policy_changed()?,
            "initialized" => {
                Self::Initialized(u64::from_be_bytes(stored("initialized").exactly()?))
            }
            _ => return Err(MalformedEvent::UnknownKind),
        })
    }
}

/// What is left of a log once its first topic named it.
struct Log<'a> {
    kind: &'static str,
    indexed: &'a [B256],
    data: &'a [u8],
}

impl Log<'_> {
    fn word(&self, expected: &'static str) -> MalformedEvent {
        MalformedEvent::Word { kind: self.kind, expected }
    }

    /// The indexed arguments, in a log that has exactly `N` of them and `data` bytes beside.
    fn indexed<const N: usize>(&self, data: usize) -> Result<[B256; N], MalformedEvent> {
        let shape = || MalformedEvent::Shape {
            kind: self.kind,
            topics: self.indexed.len() + 1,
            data: self.data.len(),
        };
        if self.data.len() != data {
            return Err(shape());
        }
        self.indexed.try_into().map_err(|_| shape())
    }

    /// The only word of a log without indexed arguments.
    fn data_word(&self) -> Result<B256, MalformedEvent> {
        self.indexed::<0>(32)?;
        Ok(B256::from_slice(self.data))
    }

    fn flag(&self, word: B256) -> Result<bool, MalformedEvent> {
        super::read::decode_bool(word.as_slice()).map_err(|_| self.word("yes or no"))
    }

    fn address(&self, word: B256) -> Result<Address, MalformedEvent> {
        super::read::decode_address(word.as_slice()).map_err(|_| self.word("an address"))
    }

    fn two_addresses(&self) -> Result<(Address, Address), MalformedEvent> {
        let [from, to] = self.indexed(0)?;
        Ok((self.address(from)?, self.address(to)?))
    }

    fn policy_changed(&self) -> Result<PolicyEvent, MalformedEvent> {
        let [actor, policy, value] = self.indexed(32)?;
        Ok(PolicyEvent::PolicyChanged {
            actor: self.address(actor)?,
            policy,
            value,
            enabled: self.flag(B256::from_slice(self.data))?,
        })
    }
}

/// A value as it was stored.
struct Stored<'a> {
    kind: &'static str,
    value: &'a [u8],
}

impl Stored<'_> {
    fn misfit(&self) -> MalformedEvent {
        MalformedEvent::Value { kind: self.kind, length: self.value.len() }
    }

    fn exactly<const N: usize>(&self) -> Result<[u8; N], MalformedEvent> {
        self.value.try_into().map_err(|_| self.misfit())
    }

    fn hash(&self) -> Result<B256, MalformedEvent> {
        self.exactly::<32>().map(B256::from)
    }

    fn flag(&self) -> Result<bool, MalformedEvent> {
        match self.value {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(self.misfit()),
        }
    }

    fn two_addresses(&self) -> Result<(Address, Address), MalformedEvent> {
        let both = self.exactly::<40>()?;
        Ok((Address::from_slice(&both[..20]), Address::from_slice(&both[20..])))
    }

    fn policy_changed(&self) -> Result<PolicyEvent, MalformedEvent> {
        let parts = self.exactly::<85>()?;
        Ok(PolicyEvent::PolicyChanged {
            actor: Address::from_slice(&parts[..20]),
            policy: B256::from_slice(&parts[20..52]),
            value: B256::from_slice(&parts[52..84]),
            enabled: Stored { kind: self.kind, value: &parts[84..] }.flag()?,
        })
    }
}

#[cfg(test)]
mod tests;
