//! Addresses and code hashes of Safe's contracts are those of the package that Safe publishes.
//!
//! `src/safe/deployments/published.rs` is made from it and checked in; this test fails when it is
//! stale. Run it with `UPDATE_FIXTURES=1` to write it again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use alloy::primitives::{Address, B256, Bytes, keccak256};
use countersign::safe::{SafeVersion, deployments::PROXIES};
use serde::Deserialize;
use serde_json::Value;

const FILE: &str = "src/safe/deployments/published.rs";
const PACKAGE: &str = "node_modules/@safe-global/safe-deployments";
/// Their names in the package, old ones and new ones, and ours.
const CONTRACTS: [(&str, &str); 5] = [
    ("gnosis_safe", "Safe"),
    ("safe", "Safe"),
    ("gnosis_safe_l2", "SafeL2"),
    ("safe_l2", "SafeL2"),
    ("multi_send_call_only", "MultiSendCallOnly"),
];
const SETS: [(&str, &str); 3] =
    [("canonical", "Canonical"), ("eip155", "Eip155"), ("zksync", "Zksync")];

/// One file of the package.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asset {
    released: bool,
    deployments: BTreeMap<String, Place>,
    network_addresses: BTreeMap<String, Networks>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    address: Address,
    code_hash: B256,
}

/// The sets that a chain has, the usual one first.
#[derive(Deserialize)]
#[serde(untagged)]
enum Networks {
    One(String),
    Several(Vec<String>),
}

impl Networks {
    fn first(&self) -> &str {
        match self {
            Self::One(set) => set,
            Self::Several(sets) => &sets[0],
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("the package is installed: `make tools`");
    serde_json::from_str(&text).expect("it is JSON")
}

fn asset(version: SafeVersion, name: &str) -> Option<Asset> {
    let path = root().join(format!("{PACKAGE}/dist/assets/v{version}/{name}.json"));
    path.exists().then(|| serde_json::from_value(json(&path)).expect("an asset as before"))
}

/// The whole file.
fn published() -> String {
    let package = json(&root().join(PACKAGE).join("package.json"));
    let version = package["version"].as_str().expect("a package has a version");
    let eip155 = eip155_first();
    format!(
        "//! Made by `make fixtures` from `@safe-global/safe-deployments` {version}. Not to be edited.

use alloy::primitives::{{address, b256}};

use super::{{Contract, Deployment, Set}};
use crate::safe::SafeVersion;

/// The code of Safes, and their batch contracts.
pub(super) const PUBLISHED: &[Deployment] = &[
{rows}];

/// Chains where the `eip155` set of 1.3.0 is the usual one.
#[expect(clippy::unreadable_literal, reason = \"as the package writes them\")]
pub(super) const EIP155_FIRST: &[u64] = &{eip155:?};
",
        rows = rows(),
    )
}

fn rows() -> String {
    let mut rows = String::new();
    for version in SafeVersion::ALL {
        for (name, contract) in CONTRACTS {
            let Some(asset) = asset(version, name) else { continue };
            assert!(asset.released, "{name} {version}");
            for (set, place) in &asset.deployments {
                let (_, set) = SETS.iter().find(|(known, _)| known == set).expect("a known set");
                let version = version.number().replace('.', "_");
                let Place { address, code_hash } = place;
                let (address, code_hash) = (address.to_checksum(None), code_hash);
                writeln!(
                    rows,
                    "    Deployment {{ contract: Contract::{contract}, version: SafeVersion::V{version}, \
                     set: Set::{set}, address: address!(\"{address}\"), \
                     code_hash: b256!(\"{code_hash}\") }},"
                )
                .expect("a text takes everything");
            }
        }
    }
    rows
}

/// The chains where `eip155` comes first, ascending. Later versions have no such set.
fn eip155_first() -> Vec<u64> {
    let asset = asset(SafeVersion::V1_3_0, "multi_send_call_only").expect("it is published");
    let those = asset.network_addresses.iter().filter(|(_, sets)| sets.first() == "eip155");
    let chains: BTreeSet<u64> =
        those.map(|(chain, _)| chain.parse().expect("a chain id is a number")).collect();
    chains.into_iter().collect()
}

#[test]
fn the_table_is_what_the_package_says() {
    let path = root().join(FILE);
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(path, published()).expect("the table is written");
        return;
    }
    let committed = fs::read_to_string(path).expect("the table is committed");
    assert!(
        committed == published(),
        "Safe published more, or the table was edited: `make fixtures`"
    );
}

/// What a Safe's own address runs, as the packages of the contracts were compiled.
#[test]
fn the_proxies_are_those_of_the_packages() {
    for (version, expected) in PROXIES {
        let (package, file) = match version {
            SafeVersion::V1_0_0 => ("safe-contracts-1.0.0", "build/contracts/Proxy"),
            SafeVersion::V1_1_1 => ("safe-contracts-1.1.1", "build/contracts/Proxy"),
            SafeVersion::V1_2_0 => ("safe-contracts-1.2.0", "build/contracts/GnosisSafeProxy"),
            SafeVersion::V1_3_0 => ("@gnosis.pm/safe-contracts", OLD_PROXY),
            SafeVersion::V1_4_1 => ("@safe-global/safe-contracts", PROXY),
            SafeVersion::V1_5_0 => ("@safe-global/safe-smart-account", PROXY),
        };
        let artifact = json(&root().join(format!("node_modules/{package}/{file}.json")));
        let code: Bytes = artifact["deployedBytecode"].as_str().unwrap().parse().unwrap();
        assert_eq!(keccak256(code), expected, "{version}");
    }
}

const OLD_PROXY: &str = "build/artifacts/contracts/proxies/GnosisSafeProxy.sol/GnosisSafeProxy";
const PROXY: &str = "build/artifacts/contracts/proxies/SafeProxy.sol/SafeProxy";
