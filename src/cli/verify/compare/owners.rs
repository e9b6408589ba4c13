//! Who stands around the Safe, and what those of its owners are asked for that are contracts.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::version;
use crate::{
    cli::verify::{
        said::{Claimed, Said},
        seen::Seen,
    },
    safe::{Around, NestedOwner, SafeTxHashes},
};

/// What owners that are contracts are asked for; the chain says which they are.
pub(super) fn nested_owners(
    said: &Said,
    seen: Option<&Seen>,
    hashes: Option<SafeTxHashes>,
) -> Vec<NestedOwner> {
    let Claimed { chain, owner: safe, .. } = said.claimed;
    let (Some(around), Some(hashes)) = (seen.and_then(|seen| seen.around.as_ref()), hashes) else {
        return vec![];
    };
    let version = version(said, seen);
    let owners = around.contract_owners.iter();
    owners.map(|owner| NestedOwner::of(owner, chain, safe, version, &hashes)).collect()
}

/// Who stands around the Safe; without a chain what is shown. Nobody can check which block the service
/// looked at last.
pub(super) fn around(seen: Option<&Seen>, shown: &Value) -> Result<Option<Around>> {
    let shown: Option<Around> =
        Option::deserialize(&shown["around"]).context("what stands around the Safe")?;
    let read = seen.and_then(|seen| seen.around.clone());
    Ok(match (read, shown) {
        (Some(read), Some(shown)) => Some(Around { block: shown.block, ..read }),
        (read, shown) => read.or(shown),
    })
}
