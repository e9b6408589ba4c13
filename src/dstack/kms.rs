//! What a `DstackKms` announces: apps that were deployed through its factory.
//!
//! `registerApp` is permissionless and proves nothing, so `AppRegistered` is not followed.

use alloy::{primitives::B256, sol_types::SolEvent};

use crate::request::ids::AppId;

mod abi {
    alloy::sol! {
        event AppDeployedViaFactory(address indexed appId, address indexed deployer);
    }
}

/// First topic of the announcement.
pub const APP_DEPLOYED: B256 = abi::AppDeployedViaFactory::SIGNATURE_HASH;

/// The app that a KMS's log announces; none for any other log. The deployer it names too need not
/// be the owner.
#[must_use]
pub fn deployed_app(topics: &[B256], data: &[u8]) -> Option<AppId> {
    let event = abi::AppDeployedViaFactory::decode_raw_log_validate(topics, data).ok()?;
    Some(AppId(event.appId))
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, b256};

    use super::*;

    #[test]
    fn an_announcement_names_the_app() {
        let app = Address::repeat_byte(0xaa);
        let deployer = Address::repeat_byte(0xbb).into_word();
        let topics = [APP_DEPLOYED, app.into_word(), deployer];
        assert_eq!(deployed_app(&topics, &[]), Some(AppId(app)));
        assert_eq!(deployed_app(&topics[..2], &[]), None);
        assert_eq!(deployed_app(&[B256::ZERO, app.into_word(), deployer], &[]), None);
        assert_eq!(deployed_app(&[], &[]), None);
    }

    #[test]
    fn the_topic_is_the_recorded_one() {
        let recorded = b256!("fd86d7f6962eba3b7a3bf9129c06c0b2f885e1c61ef2c9f0dbb856be0deefdee");
        assert_eq!(APP_DEPLOYED, recorded);
    }
}
