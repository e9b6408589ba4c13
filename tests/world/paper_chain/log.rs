//! How the events of an app stand in a log, by the contract's ABI.

use alloy::{primitives::LogData, sol_types::SolEvent};
use countersign::dstack::{PolicyEvent, abi::DstackApp as Abi};

pub fn log_data(event: &PolicyEvent) -> LogData {
    match *event {
        PolicyEvent::ComposeHashAdded(hash) => {
            Abi::ComposeHashAdded { composeHash: hash.0 }.encode_log_data()
        }
        PolicyEvent::ComposeHashRemoved(hash) => {
            Abi::ComposeHashRemoved { composeHash: hash.0 }.encode_log_data()
        }
        PolicyEvent::DeviceAdded(device) => {
            Abi::DeviceAdded { deviceId: device.0 }.encode_log_data()
        }
        PolicyEvent::DeviceRemoved(device) => {
            Abi::DeviceRemoved { deviceId: device.0 }.encode_log_data()
        }
        PolicyEvent::AllowAnyDeviceSet(allow) => Abi::AllowAnyDeviceSet { allow }.encode_log_data(),
        PolicyEvent::RequireTcbUpToDateSet(required) => {
            Abi::RequireTcbUpToDateSet { required }.encode_log_data()
        }
        PolicyEvent::UpgradesDisabled => Abi::UpgradesDisabled {}.encode_log_data(),
        PolicyEvent::Upgraded(implementation) => Abi::Upgraded { implementation }.encode_log_data(),
        PolicyEvent::OwnershipTransferred { from, to } => {
            Abi::OwnershipTransferred { previousOwner: from, newOwner: to }.encode_log_data()
        }
        PolicyEvent::OwnershipTransferStarted { from, to } => {
            Abi::OwnershipTransferStarted { previousOwner: from, newOwner: to }.encode_log_data()
        }
        PolicyEvent::PolicyChanged { actor, policy, value, enabled } => {
            Abi::PolicyChanged { actor, policy, value, enabled }.encode_log_data()
        }
        PolicyEvent::Initialized(version) => Abi::Initialized { version }.encode_log_data(),
    }
}
