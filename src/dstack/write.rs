//! The two changes Countersign asks an owner for: allow a compose hash, allow a device.

use std::fmt;

use alloy::{
    primitives::{B256, Bytes},
    sol_types::SolCall,
};
use serde::{Deserialize, Serialize};

use super::abi::DstackApp;
use crate::request::ids::{AppId, ComposeHash, DeviceId};

/// One addition to the allowlist of an app.
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
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Write {
    AddComposeHash(ComposeHash),
    AddDevice(DeviceId),
}

impl Write {
    /// Name of the function of the app that makes this change.
    #[must_use]
    pub fn function(&self) -> &'static str {
        match self {
            Self::AddComposeHash(_) => "addComposeHash",
            Self::AddDevice(_) => "addDevice",
        }
    }

    /// Name of that function's only argument, a `bytes32`.
    #[must_use]
    pub fn argument(&self) -> &'static str {
        match self {
            Self::AddComposeHash(_) => "composeHash",
            Self::AddDevice(_) => "deviceId",
        }
    }

    /// The argument.
    #[must_use]
    pub fn value(&self) -> B256 {
        match self {
            Self::AddComposeHash(hash) => hash.0,
            Self::AddDevice(device) => device.0,
        }
    }

    /// What is sent to the app: 36 bytes.
    #[must_use]
    pub fn calldata(&self) -> Bytes {
        match self {
            Self::AddComposeHash(hash) => {
                DstackApp::addComposeHashCall { composeHash: hash.0 }.abi_encode().into()
            }
            Self::AddDevice(device) => {
                DstackApp::addDeviceCall { deviceId: device.0 }.abi_encode().into()
            }
        }
    }

    /// The change that calldata makes, if it is exactly one of ours. Calldata with bytes after the
    /// argument would work on chain, but we never write it, so it is not ours.
    #[must_use]
    pub fn from_calldata(calldata: &[u8]) -> Option<Self> {
        let (selector, argument) = calldata.split_first_chunk::<4>()?;
        let value = B256::from(<[u8; 32]>::try_from(argument).ok()?);
        match *selector {
            DstackApp::addComposeHashCall::SELECTOR => {
                Some(Self::AddComposeHash(ComposeHash(value)))
            }
            DstackApp::addDeviceCall::SELECTOR => Some(Self::AddDevice(DeviceId(value))),
            _ => None,
        }
    }
}

/// In words, with the full hash: a shortened one is what an attacker would imitate.
impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddComposeHash(hash) => write!(f, "allow compose hash {hash}"),
            Self::AddDevice(device) => write!(f, "allow device {device}"),
        }
    }
}

/// A change, and the app it is made to. A transaction of a Safe may make changes to several apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Addition {
    pub app: AppId,
    #[serde(flatten)]
    pub write: Write,
}

impl Addition {
    /// What lets this compose hash boot on this device: all that a replica can need.
    #[must_use]
    pub fn of_replica(app: AppId, compose: ComposeHash, device: DeviceId) -> [Self; 2] {
        [Write::AddComposeHash(compose), Write::AddDevice(device)].map(|write| Self { app, write })
    }
}

impl fmt::Display for Addition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on app {}", self.write, self.app)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calldata_is_the_recorded_one() {
        let compose = Write::AddComposeHash(ComposeHash(B256::repeat_byte(0xaa)));
        let device = Write::AddDevice(DeviceId(B256::repeat_byte(0xbb)));
        assert_eq!(compose.calldata().to_string(), format!("0xdfc77223{}", "aa".repeat(32)));
        assert_eq!(device.calldata().to_string(), format!("0x2a819728{}", "bb".repeat(32)));
        for write in [compose, device] {
            assert_eq!(Write::from_calldata(&write.calldata()), Some(write));
            let json = serde_json::to_string(&write).unwrap();
            assert_eq!(serde_json::from_str::<Write>(&json).unwrap(), write);
        }
        assert_eq!(device.to_string(), format!("allow device 0x{}", "bb".repeat(32)));
    }

    #[test]
    fn an_addition_is_stored_as_one_flat_object() {
        let write = Write::AddDevice(DeviceId(B256::repeat_byte(0xbb)));
        let addition = Addition { app: AppId([0x11; 20].into()), write };
        let json = serde_json::to_value(addition).unwrap();
        assert_eq!(json["kind"], "add_device");
        assert_eq!(json["value"], format!("0x{}", "bb".repeat(32)));
        // In either spelling: rows of before were written in lower case.
        for app in ["0x1111111111111111111111111111111111111111", json["app"].as_str().unwrap()] {
            let mut row = json.clone();
            row["app"] = app.into();
            assert_eq!(serde_json::from_value::<Addition>(row).unwrap(), addition);
        }
        assert!(
            addition.to_string().ends_with("on app 0x1111111111111111111111111111111111111111")
        );
    }

    #[test]
    fn only_exact_calldata_is_ours() {
        let exact = Write::AddDevice(DeviceId(B256::repeat_byte(0xbb))).calldata().to_vec();
        let mut longer = exact.clone();
        longer.push(0);
        let mut other = exact.clone();
        other[0] ^= 1;
        for calldata in [&[][..], &exact[..3], &exact[..35], &longer, &other] {
            assert_eq!(Write::from_calldata(calldata), None);
        }
    }
}
