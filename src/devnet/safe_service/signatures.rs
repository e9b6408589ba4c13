//! Who gave the signatures of a proposal or a confirmation.

use alloy::primitives::{Address, Bytes, U256};

use super::chain::{Chain, Trouble};
use crate::{
    request::ids::SafeTxHash,
    safe::{OwnerSignature, SafeTxHashes, packed::Part, signature::LENGTH},
};

/// Before the bytes that a contract answers for: their length.
const LENGTH_WORD: usize = 32;

/// One signature of several.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    /// The zero address when nobody can be told.
    pub owner: Address,
    pub kind: &'static str,
    pub is_valid: bool,
    /// Its 65 bytes as they came.
    pub head: Bytes,
    /// Alone, as it is kept and given back.
    pub bytes: Bytes,
}

/// Reads signatures one after the other, up to the bytes of the first contract, as the real service
/// does: leniently. What is cut off is short, and what trails is ignored.
pub(super) async fn read(
    chain: &Chain,
    safe: Address,
    hashes: &SafeTxHashes,
    bytes: &Bytes,
) -> Result<Vec<Signed>, Trouble> {
    let hash = hashes.safe_tx_hash;
    let (mut all, mut end, mut at) = (vec![], bytes.len(), 0);
    while at < end && at + LENGTH <= bytes.len() {
        let head = bytes.slice(at..at + LENGTH);
        at += LENGTH;
        let in_r = Address::from_slice(&head[12..32]);
        let mut alone = head.clone();
        let (owner, kind, is_valid) = match head[64] {
            0 => {
                let place = place(&head);
                end = end.min(place);
                let data = tail(bytes, place);
                alone = Part::Contract { owner: in_r, data: data.clone() }.to_bytes();
                (in_r, "CONTRACT_SIGNATURE", chain.is_signed(in_r, hashes, &data).await?)
            }
            1 => (in_r, "APPROVED_HASH", chain.is_approved(safe, in_r, hash).await?),
            v => {
                let kind = if v > 30 { "ETH_SIGN" } else { "EOA" };
                let owner = recover(&head, hash);
                (owner.unwrap_or_default(), kind, owner.is_some())
            }
        };
        all.push(Signed { owner, kind, is_valid, head, bytes: alone });
    }
    Ok(all)
}

/// Where the bytes of a contract are said to begin.
fn place(head: &Bytes) -> usize {
    U256::from_be_slice(&head[32..64]).saturating_to()
}

/// The bytes of a contract, as far as there are any.
fn tail(bytes: &Bytes, place: usize) -> Bytes {
    let rest = bytes.get(place..).unwrap_or_default();
    let (length, rest) = rest.split_at(rest.len().min(LENGTH_WORD));
    let length: usize = U256::try_from_be_slice(length).unwrap_or_default().saturating_to();
    Bytes::copy_from_slice(&rest[..rest.len().min(length)])
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
