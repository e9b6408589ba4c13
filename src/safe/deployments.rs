//! Where Safe's own contracts are, and the hash of the code that must be there.
//!
//! A delegate call runs the target's code as the Safe, so the address alone is not enough: the
//! reader of the chain compares the code as well. Source: the npm package
//! `@safe-global/safe-deployments` 1.37.56. Of 1.3.0 there are two sets, `canonical` and `eip155`,
//! with equal code; chains have one or both. Chains of the zkSync kind run other code at other
//! addresses; they are not listed, so nothing is proposed there by delegate call.

use alloy::primitives::{Address, B256, address, b256};

use super::SafeVersion;
use crate::request::ids::ChainId;

/// A contract of Safe at its published address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// As Safe names it: `MultiSendCallOnly`, `SafeL2`, `Safe`.
    pub name: &'static str,
    pub version: SafeVersion,
    pub address: Address,
    /// keccak256 of the deployed code.
    pub code_hash: B256,
}

const fn deployment(
    name: &'static str,
    version: SafeVersion,
    address: Address,
    code_hash: B256,
) -> Deployment {
    Deployment { name, version, address, code_hash }
}

/// Name and code of the MultiSendCallOnly of a version, at one of its addresses.
const fn multi_send(version: SafeVersion, address: Address, code_hash: B256) -> Deployment {
    deployment("MultiSendCallOnly", version, address, code_hash)
}

const MULTI_SEND_1_3_0_HASH: B256 =
    b256!("a9865ac2d9c7a1591619b188c4d88167b50df6cc0c5327fcbd1c8c75f7c066ad");
const MULTI_SEND_1_3_0: Deployment = multi_send(
    SafeVersion::V1_3_0,
    address!("40A2aCCbd92BCA938b02010E17A5b8929b49130D"),
    MULTI_SEND_1_3_0_HASH,
);
const MULTI_SEND_1_3_0_EIP155: Deployment = multi_send(
    SafeVersion::V1_3_0,
    address!("A1dabEF33b3B82c7814B6D82A79e50F4AC44102B"),
    MULTI_SEND_1_3_0_HASH,
);
const MULTI_SEND_1_4_1: Deployment = multi_send(
    SafeVersion::V1_4_1,
    address!("9641d764fc13c8B624c04430C7356C1C7C8102e2"),
    b256!("ecd5bd14a08c5d2122379900b2f272bdf107a7e92423c10dd5fe3254386c9939"),
);
const MULTI_SEND_1_5_0: Deployment = multi_send(
    SafeVersion::V1_5_0,
    address!("A83c336B20401Af773B6219BA5027174338D1836"),
    b256!("cdbdcec38d2f1c7d961b0029ff8416b7e86e9974d6f0e9c9580c7d17fcfb6663"),
);

const SAFE_L2_1_3_0_HASH: B256 =
    b256!("21842597390c4c6e3c1239e434a682b054bd9548eee5e9b1d6a4482731023c0f");
const SAFE_1_3_0_HASH: B256 =
    b256!("bba688fbdb21ad2bb58bc320638b43d94e7d100f6f3ebaab0a4e4de6304b1c2e");

/// The contracts that the proxy of a Safe may run.
pub const SINGLETONS: &[Deployment] = &[
    deployment(
        "SafeL2",
        SafeVersion::V1_3_0,
        address!("3E5c63644E683549055b9Be8653de26E0B4CD36E"),
        SAFE_L2_1_3_0_HASH,
    ),
    deployment(
        "SafeL2",
        SafeVersion::V1_3_0,
        address!("fb1bffC9d739B8D520DaF37dF666da4C687191EA"),
        SAFE_L2_1_3_0_HASH,
    ),
    deployment(
        "Safe",
        SafeVersion::V1_3_0,
        address!("d9Db270c1B5E3Bd161E8c8503c55cEABeE709552"),
        SAFE_1_3_0_HASH,
    ),
    deployment(
        "Safe",
        SafeVersion::V1_3_0,
        address!("69f4D1788e39c87893C980c06EdF4b7f686e2938"),
        SAFE_1_3_0_HASH,
    ),
    deployment(
        "SafeL2",
        SafeVersion::V1_4_1,
        address!("29fcB43b46531BcA003ddC8FCB67FFE91900C762"),
        b256!("b1f926978a0f44a2c0ec8fe822418ae969bd8c3f18d61e5103100339894f81ff"),
    ),
    deployment(
        "Safe",
        SafeVersion::V1_4_1,
        address!("41675C099F32341bf84BFc5382aF534df5C7461a"),
        b256!("1fe2df852ba3299d6534ef416eefa406e56ced995bca886ab7a553e6d0c5e1c4"),
    ),
    deployment(
        "SafeL2",
        SafeVersion::V1_5_0,
        address!("EdD160fEBBD92E350D4D398fb636302fccd67C7e"),
        b256!("180193227186ccb85316c94db1f0d156ed932b14712cfaac78901899178572dc"),
    ),
    deployment(
        "Safe",
        SafeVersion::V1_5_0,
        address!("Ff51A5898e281Db6DfC7855790607438dF2ca44b"),
        b256!("dda019cbd7c867a533a2a86e5c53434fdc50b13122b5a5ddb4a8df61b31c20f2"),
    ),
];

/// Chains where the `eip155` set of 1.3.0 is the one that Safe's own tools use.
const EIP155_FIRST: [u64; 4] = [10, 8453, 84532, 11_155_111];

/// Where MultiSendCallOnly may be for a Safe of this version on this chain, the usual place first.
///
/// An address in this list is a candidate: the code there must have the given hash. Safes older
/// than 1.3.0 use the contract of 1.3.0.
#[must_use]
pub fn multi_send_call_only(version: SafeVersion, chain: ChainId) -> &'static [Deployment] {
    match version {
        SafeVersion::V1_5_0 => &[MULTI_SEND_1_5_0],
        SafeVersion::V1_4_1 => &[MULTI_SEND_1_4_1],
        _ if EIP155_FIRST.contains(&chain.get()) => &[MULTI_SEND_1_3_0_EIP155, MULTI_SEND_1_3_0],
        _ => &[MULTI_SEND_1_3_0, MULTI_SEND_1_3_0_EIP155],
    }
}

/// The MultiSendCallOnly at this address, of whatever version: any of them works with any Safe.
#[must_use]
pub fn find_multi_send_call_only(address: Address) -> Option<&'static Deployment> {
    const EVERY: &[Deployment] =
        &[MULTI_SEND_1_3_0, MULTI_SEND_1_3_0_EIP155, MULTI_SEND_1_4_1, MULTI_SEND_1_5_0];
    EVERY.iter().find(|deployment| deployment.address == address)
}

/// The singleton at this address.
#[must_use]
pub fn find_singleton(address: Address) -> Option<&'static Deployment> {
    SINGLETONS.iter().find(|deployment| deployment.address == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_uses_the_eip155_set_of_1_3_0() {
        let first = |version, chain| multi_send_call_only(version, chain)[0].address.to_string();
        for (version, chain, expected) in [
            (SafeVersion::V1_3_0, ChainId::BASE, "0xA1dabEF33b3B82c7814B6D82A79e50F4AC44102B"),
            (SafeVersion::V1_3_0, ChainId::ETHEREUM, "0x40A2aCCbd92BCA938b02010E17A5b8929b49130D"),
            (SafeVersion::V1_1_1, ChainId::ANVIL, "0x40A2aCCbd92BCA938b02010E17A5b8929b49130D"),
            (SafeVersion::V1_4_1, ChainId::BASE, "0x9641d764fc13c8B624c04430C7356C1C7C8102e2"),
            (SafeVersion::V1_5_0, ChainId::BASE, "0xA83c336B20401Af773B6219BA5027174338D1836"),
        ] {
            assert_eq!(first(version, chain), expected, "{version} on {chain}");
        }
    }

    #[test]
    fn every_address_is_found_again() {
        for version in SafeVersion::ALL {
            for deployment in multi_send_call_only(version, ChainId::BASE) {
                assert_eq!(find_multi_send_call_only(deployment.address), Some(deployment));
                assert_eq!(find_singleton(deployment.address), None);
            }
        }
        for deployment in SINGLETONS {
            assert_eq!(find_singleton(deployment.address), Some(deployment));
        }
    }
}
