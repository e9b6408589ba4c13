//! A `DstackApp` on paper: what its functions change, what they emit, what its views answer.

use std::collections::BTreeSet;

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    sol_types::SolCall,
};
use countersign::{
    dstack::{Generation, PolicyEvent, abi::DstackApp},
    request::ids::{ComposeHash, DeviceId},
};

/// Something that the owner does to an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Deploy(Birth),
    AddComposeHash(B256),
    RemoveComposeHash(B256),
    AddDevice(B256),
    RemoveDevice(B256),
    SetAllowAnyDevice(bool),
    /// G2 and later.
    SetRequireTcb(bool),
    DisableUpgrades,
    Upgrade(Address),
    TransferOwnership(Address),
    /// G3.
    AcceptOwnership,
    RenounceOwnership,
}

/// What an app is initialised with. The flags are set without an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    pub generation: Generation,
    pub any_device: bool,
    pub require_tcb: bool,
    pub upgrades_disabled: bool,
    pub device: Option<B256>,
    pub compose: Option<B256>,
}

/// The state of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    pub generation: Generation,
    pub owner: Address,
    pub pending_owner: Address,
    pub implementation: Address,
    pub composes: BTreeSet<B256>,
    pub devices: BTreeSet<B256>,
    pub any_device: bool,
    pub require_tcb: bool,
    pub upgrades_disabled: bool,
}

/// Who deploys and owns every app at first.
pub const FIRST_OWNER: Address = Address::repeat_byte(0x0a);
const FIRST_IMPLEMENTATION: Address = Address::repeat_byte(0x1a);

impl App {
    fn deploy(birth: Birth) -> (Self, Vec<PolicyEvent>) {
        let mut app = Self {
            generation: birth.generation,
            owner: FIRST_OWNER,
            pending_owner: Address::ZERO,
            implementation: FIRST_IMPLEMENTATION,
            composes: BTreeSet::new(),
            devices: BTreeSet::new(),
            any_device: birth.any_device,
            require_tcb: birth.require_tcb && birth.generation >= Generation::G2,
            upgrades_disabled: birth.upgrades_disabled,
        };
        let mut events = vec![
            PolicyEvent::Upgraded(FIRST_IMPLEMENTATION),
            PolicyEvent::OwnershipTransferred { from: Address::ZERO, to: FIRST_OWNER },
        ];
        let device = birth.device.map(Action::AddDevice);
        let compose = birth.compose.map(Action::AddComposeHash);
        for first in [device, compose].into_iter().flatten() {
            events.extend(app.change(first).unwrap_or_default());
        }
        events.push(PolicyEvent::Initialized(1));
        (app, events)
    }

    /// What a transaction does and emits; nothing happens when it reverts.
    pub fn act(app: &mut Option<Self>, action: Action) -> Option<Vec<PolicyEvent>> {
        match (app.as_mut(), action) {
            (None, Action::Deploy(birth)) => {
                let (deployed, events) = Self::deploy(birth);
                *app = Some(deployed);
                Some(events)
            }
            (Some(app), action) => app.change(action),
            (None, _) => None,
        }
    }

    fn change(&mut self, action: Action) -> Option<Vec<PolicyEvent>> {
        if self.owner.is_zero() {
            return None;
        }
        let event = match action {
            // Adds and removes emit even when nothing changes.
            Action::AddComposeHash(hash) => {
                self.composes.insert(hash);
                PolicyEvent::ComposeHashAdded(ComposeHash(hash))
            }
            Action::RemoveComposeHash(hash) => {
                self.composes.remove(&hash);
                PolicyEvent::ComposeHashRemoved(ComposeHash(hash))
            }
            Action::AddDevice(device) => {
                self.devices.insert(device);
                PolicyEvent::DeviceAdded(DeviceId(device))
            }
            Action::RemoveDevice(device) => {
                self.devices.remove(&device);
                PolicyEvent::DeviceRemoved(DeviceId(device))
            }
            Action::SetAllowAnyDevice(flag) => {
                self.any_device = flag;
                PolicyEvent::AllowAnyDeviceSet(flag)
            }
            Action::SetRequireTcb(flag) if self.generation >= Generation::G2 => {
                self.require_tcb = flag;
                PolicyEvent::RequireTcbUpToDateSet(flag)
            }
            Action::DisableUpgrades => {
                self.upgrades_disabled = true;
                PolicyEvent::UpgradesDisabled
            }
            Action::Upgrade(implementation) if !self.upgrades_disabled => {
                self.implementation = implementation;
                PolicyEvent::Upgraded(implementation)
            }
            Action::TransferOwnership(to) if self.generation == Generation::G3 => {
                self.pending_owner = to;
                PolicyEvent::OwnershipTransferStarted { from: self.owner, to }
            }
            Action::TransferOwnership(to) if !to.is_zero() => self.hand_over(to),
            Action::AcceptOwnership if !self.pending_owner.is_zero() => {
                self.hand_over(self.pending_owner)
            }
            Action::RenounceOwnership => self.hand_over(Address::ZERO),
            _ => return None,
        };
        let beside = (self.generation == Generation::G3).then(|| self.policy_changed(&event));
        // The hook of an upgrade runs before the upgrade.
        let mut events: Vec<PolicyEvent> =
            [Some(event), beside.flatten()].into_iter().flatten().collect();
        if matches!(event, PolicyEvent::Upgraded(_)) {
            events.reverse();
        }
        Some(events)
    }

    fn hand_over(&mut self, to: Address) -> PolicyEvent {
        let from = std::mem::replace(&mut self.owner, to);
        self.pending_owner = Address::ZERO;
        PolicyEvent::OwnershipTransferred { from, to }
    }

    /// The uniform record that G3 keeps of a change of policy.
    fn policy_changed(&self, event: &PolicyEvent) -> Option<PolicyEvent> {
        let (policy, value, enabled) = match *event {
            PolicyEvent::ComposeHashAdded(hash) => ("compose-hash", hash.0, true),
            PolicyEvent::ComposeHashRemoved(hash) => ("compose-hash", hash.0, false),
            PolicyEvent::DeviceAdded(device) => ("device", device.0, true),
            PolicyEvent::DeviceRemoved(device) => ("device", device.0, false),
            PolicyEvent::AllowAnyDeviceSet(flag) => ("allow-any-device", B256::ZERO, flag),
            PolicyEvent::RequireTcbUpToDateSet(flag) => {
                ("require-tcb-up-to-date", B256::ZERO, flag)
            }
            PolicyEvent::UpgradesDisabled => ("upgrades-disabled", B256::ZERO, true),
            PolicyEvent::Upgraded(code) => ("implementation-upgrade", code.into_word(), true),
            _ => return None,
        };
        let policy = keccak256(policy);
        Some(PolicyEvent::PolicyChanged { actor: self.owner, policy, value, enabled })
    }

    /// What a view answers; none when the contract reverts.
    pub fn view(&self, calldata: &[u8]) -> Option<B256> {
        let (selector, argument) = calldata.split_first_chunk::<4>()?;
        let key = || argument.first_chunk::<32>().map(|word| B256::from(*word));
        let flag = |flag: bool| B256::from(U256::from(flag));
        Some(match *selector {
            DstackApp::allowedComposeHashesCall::SELECTOR => flag(self.composes.contains(&key()?)),
            DstackApp::allowedDeviceIdsCall::SELECTOR => flag(self.devices.contains(&key()?)),
            DstackApp::allowAnyDeviceCall::SELECTOR => flag(self.any_device),
            DstackApp::ownerCall::SELECTOR => self.owner.into_word(),
            DstackApp::requireTcbUpToDateCall::SELECTOR if self.generation >= Generation::G2 => {
                flag(self.require_tcb)
            }
            DstackApp::versionCall::SELECTOR if self.generation >= Generation::G2 => {
                B256::with_last_byte(2)
            }
            DstackApp::pendingOwnerCall::SELECTOR if self.generation == Generation::G3 => {
                self.pending_owner.into_word()
            }
            _ => return None,
        })
    }

    /// A storage word, where the app keeps one of its own.
    pub fn storage(&self, slot: U256) -> B256 {
        /// Where ERC-1967 proxies keep their implementation.
        const IMPLEMENTATION: U256 = alloy::primitives::uint!(
            0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc_U256
        );
        if slot == IMPLEMENTATION {
            self.implementation.into_word()
        } else if slot == U256::ONE {
            let flags = u64::from(self.upgrades_disabled) | (u64::from(self.any_device) << 8);
            B256::from(U256::from(flags))
        } else if slot == U256::from(3) {
            B256::from(U256::from(self.require_tcb))
        } else {
            B256::ZERO
        }
    }
}
