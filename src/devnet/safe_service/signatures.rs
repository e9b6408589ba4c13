//! Who gave the signatures of a proposal or a confirmation.

use alloy::primitives::{Address, Bytes};

use super::chain::{Chain, Trouble};
use crate::{
    request::ids::SafeTxHash,
    safe::{OwnerSignature, signature::LENGTH},
};

/// One signature of several.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    /// The zero address when nobody can be told.
    pub owner: Address,
    pub kind: &'static str,
    pub is_valid: bool,
    pub bytes: Bytes,
}

/// Reads 65-byte signatures, one after the other. Those of contracts are not valid here.
pub(super) async fn read(
    chain: &Chain,
    safe: Address,
    hash: SafeTxHash,
    bytes: &Bytes,
) -> Result<Vec<Signed>, Trouble> {
    let mut all = vec![];
    for part in bytes.chunks_exact(LENGTH) {
        let in_r = Address::from_slice(&part[12..32]);
        let (owner, kind, is_valid) = match part[64] {
            0 => (in_r, "CONTRACT_SIGNATURE", false),
            1 => (in_r, "APPROVED_HASH", chain.is_approved(safe, in_r, hash).await?),
            v => {
                let kind = if v > 30 { "ETH_SIGN" } else { "EOA" };
                let owner = recover(part, hash);
                (owner.unwrap_or_default(), kind, owner.is_some())
            }
        };
        all.push(Signed { owner, kind, is_valid, bytes: Bytes::copy_from_slice(part) });
    }
    Ok(all)
}

fn recover(part: &[u8], hash: SafeTxHash) -> Option<Address> {
    let bytes: &[u8; LENGTH] = part.try_into().ok()?;
    OwnerSignature::from_bytes(bytes).ok()?.recover(hash).ok()
}

/// A list as the real service prints it.
pub(super) fn list(addresses: &[Address]) -> String {
    let quoted: Vec<_> = addresses.iter().map(|address| format!("'{address}'")).collect();
    format!("[{}]", quoted.join(", "))
}
