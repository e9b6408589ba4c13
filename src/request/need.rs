//! Which writes are missing on the chain.

use super::ids::{ComposeHash, DeviceId};
use crate::dstack::Write;

/// What a DstackApp allows, read at one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    pub compose: bool,
    /// The device stands in the app's list.
    pub device_listed: bool,
    /// The app lets every device in, whatever its list says.
    pub any_device: bool,
}

impl Allowed {
    /// Whether the device may boot, by the list or by the switch that opens it to all.
    pub fn device(self) -> bool {
        self.device_listed || self.any_device
    }

    /// Whether nothing is missing: the condition for a commit.
    pub fn is_complete(self) -> bool {
        self.compose && self.device()
    }
}

/// The fewest writes that let this compose hash boot on this device.
pub fn missing_writes(allowed: Allowed, compose: ComposeHash, device: DeviceId) -> Vec<Write> {
    let compose = (!allowed.compose).then_some(Write::AddComposeHash(compose));
    let device = (!allowed.device()).then_some(Write::AddDevice(device));
    compose.into_iter().chain(device).collect()
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;

    #[test]
    fn only_what_is_missing_is_written() {
        let compose = ComposeHash(B256::repeat_byte(0xaa));
        let device = DeviceId(B256::repeat_byte(0xbb));
        let (add_compose, add_device) = (Write::AddComposeHash(compose), Write::AddDevice(device));
        for (has_compose, listed, any, expected) in [
            (false, false, false, vec![add_compose, add_device]),
            (true, false, false, vec![add_device]),
            (false, true, false, vec![add_compose]),
            (false, false, true, vec![add_compose]),
            (true, false, true, vec![]),
            (true, true, false, vec![]),
        ] {
            let allowed = Allowed { compose: has_compose, device_listed: listed, any_device: any };
            assert_eq!(missing_writes(allowed, compose, device), expected);
            assert_eq!(allowed.is_complete(), expected.is_empty());
        }
    }
}
