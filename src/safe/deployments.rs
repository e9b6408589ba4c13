//! Where Safe's own contracts are, and the hash of the code that must be there.
//!
//! A delegate call runs the target's code as the Safe, so the address alone is not enough: the
//! reader of the chain compares the code as well. Source: the npm package
//! `@safe-global/safe-deployments`, from which `make fixtures` makes the table. Of 1.3.0 there are
//! two sets with equal code, `canonical` and `eip155`; chains have one or both. Chains of the zkSync
//! kind run other code at other addresses, which is known here only to be named.

#[rustfmt::skip]
mod published;

use std::fmt;

use alloy::primitives::{Address, B256, b256};

use super::SafeVersion;
use crate::request::ids::ChainId;
use published::{EIP155_FIRST, PUBLISHED};

/// What a contract of Safe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// The code of a Safe.
    Safe,
    /// The same, telling every transaction in an event.
    SafeL2,
    /// Makes several calls in one, and nothing else.
    MultiSendCallOnly,
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safe => "Safe",
            Self::SafeL2 => "SafeL2",
            Self::MultiSendCallOnly => "MultiSendCallOnly",
        })
    }
}

/// Which of its places a contract is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    Canonical,
    Eip155,
    /// Compiled for zkSync's machine: other code, which nobody here has checked.
    Zksync,
}

/// A contract of Safe at its published address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployment {
    pub contract: Contract,
    pub version: SafeVersion,
    pub set: Set,
    pub address: Address,
    pub code_hash: B256,
}

/// Where MultiSendCallOnly may be for a Safe of this version on this chain, the place that Safe's
/// own tools use first.
///
/// An address in this list is a candidate: the code there must have the given hash. None was
/// published with Safes older than 1.3.0: they use that of 1.3.0, or else of 1.4.1. Not of 1.5.0, for
/// which the zero address means the Safe itself.
#[must_use]
pub fn multi_send_call_only(version: SafeVersion, chain: ChainId) -> Vec<&'static Deployment> {
    let versions = match version.max(SafeVersion::V1_3_0) {
        own if own == version => vec![own],
        _ => vec![SafeVersion::V1_3_0, SafeVersion::V1_4_1],
    };
    let first =
        if EIP155_FIRST.binary_search(&chain.get()).is_ok() { Set::Eip155 } else { Set::Canonical };
    let is_meant = |one: &&Deployment| {
        one.contract == Contract::MultiSendCallOnly
            && versions.contains(&one.version)
            && one.set != Set::Zksync
    };
    let mut found: Vec<_> = PUBLISHED.iter().filter(is_meant).collect();
    found.sort_by_key(|one| (one.version, one.set != first));
    found
}

/// The MultiSendCallOnly at this address, of whatever version: any of them works with any Safe.
#[must_use]
pub fn find_multi_send_call_only(address: Address) -> Option<&'static Deployment> {
    let found = find(address)?;
    (found.contract == Contract::MultiSendCallOnly && found.set != Set::Zksync).then_some(found)
}

/// The code of a Safe that is published for this address.
#[must_use]
pub fn find_singleton(address: Address) -> Option<&'static Deployment> {
    find(address).filter(|found| matches!(found.contract, Contract::Safe | Contract::SafeL2))
}

/// keccak256 of the code of the proxies that Safe's factories make: what stands at the address of a
/// Safe, and hands every call to its singleton. Source: the packages of the contracts.
pub const PROXIES: [(SafeVersion, B256); 6] = [
    (
        SafeVersion::V1_0_0,
        b256!("9999daa94896b1dc51734d94c68aec28587d45e0584a50b319cb99b1f335d99b"),
    ),
    (
        SafeVersion::V1_1_1,
        b256!("aea7d4252f6245f301e540cfbee27d3a88de543af8e49c5c62405d5499fab7e5"),
    ),
    (
        SafeVersion::V1_2_0,
        b256!("958a485acd4eff0908ba6c67238d33eedec70bc99115074ad38ae14d1017f9db"),
    ),
    (
        SafeVersion::V1_3_0,
        b256!("b89c1b3bdf2cf8827818646bce9a8f6e372885f8c55e5c07acbd307cb133b000"),
    ),
    (
        SafeVersion::V1_4_1,
        b256!("d7d408ebcd99b2b70be43e20253d6d92a8ea8fab29bd3be7f55b10032331fb4c"),
    ),
    (
        SafeVersion::V1_5_0,
        b256!("4e381985ca68b3e5d27b4425fa581c19cf33146d3f887a3cfca96f55528ea46f"),
    ),
];

/// Whether code of this hash is a published proxy, of whatever version: a Safe keeps its proxy when
/// it changes its singleton.
#[must_use]
pub fn is_proxy(code_hash: B256) -> bool {
    PROXIES.iter().any(|(_, known)| *known == code_hash)
}

fn find(address: Address) -> Option<&'static Deployment> {
    PUBLISHED.iter().find(|deployment| deployment.address == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(version: SafeVersion, chain: ChainId) -> String {
        multi_send_call_only(version, chain)[0].address.to_string()
    }

    #[test]
    fn base_uses_the_eip155_set_of_1_3_0() {
        for (version, chain, expected) in [
            (SafeVersion::V1_3_0, ChainId::BASE, "0xA1dabEF33b3B82c7814B6D82A79e50F4AC44102B"),
            (SafeVersion::V1_3_0, ChainId::ETHEREUM, "0x40A2aCCbd92BCA938b02010E17A5b8929b49130D"),
            (SafeVersion::V1_0_0, ChainId::BASE, "0xA1dabEF33b3B82c7814B6D82A79e50F4AC44102B"),
            (SafeVersion::V1_1_1, ChainId::ANVIL, "0x40A2aCCbd92BCA938b02010E17A5b8929b49130D"),
            (SafeVersion::V1_4_1, ChainId::BASE, "0x9641d764fc13c8B624c04430C7356C1C7C8102e2"),
            (SafeVersion::V1_5_0, ChainId::BASE, "0xA83c336B20401Af773B6219BA5027174338D1836"),
        ] {
            assert_eq!(first(version, chain), expected, "{version} on {chain}");
        }
    }

    #[test]
    fn every_version_has_a_singleton_and_a_batch_contract() {
        for version in SafeVersion::ALL {
            assert!(!multi_send_call_only(version, ChainId::BASE).is_empty(), "{version}");
            let is_one = |one: &&Deployment| one.version == version && one.set == Set::Canonical;
            let singletons = PUBLISHED.iter().filter(is_one);
            assert!(
                singletons.clone().any(|one| find_singleton(one.address) == Some(one)),
                "{version}"
            );
        }
    }

    #[test]
    fn an_address_is_one_contract_and_found_as_that() {
        for one in PUBLISHED {
            let is_batch = one.contract == Contract::MultiSendCallOnly;
            assert_eq!(find(one.address), Some(one), "{}", one.address);
            assert_eq!(find_singleton(one.address).is_some(), !is_batch);
            let is_trusted = is_batch && one.set != Set::Zksync;
            assert_eq!(find_multi_send_call_only(one.address).is_some(), is_trusted);
        }
    }

    #[test]
    fn what_runs_on_zksync_is_never_proposed_to() {
        let zksync_era = ChainId::new(324).unwrap();
        for version in SafeVersion::ALL {
            let sets = multi_send_call_only(version, zksync_era).into_iter().map(|one| one.set);
            assert!(sets.into_iter().all(|set| set != Set::Zksync), "{version}");
        }
    }
}
