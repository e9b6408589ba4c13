//! How a Safe asks an owner that is a contract whether it signed (EIP-1271), and what the owners of
//! such an owner sign when it is a Safe itself.
//!
//! Until 1.4.1 a Safe passes on the 66 bytes that its hash is made of, since 1.5.0 the hash itself;
//! function and answer differ as well. A Safe that is asked answers for its own owners' signatures
//! over `SafeMessage(bytes message)`, where the message is what it was asked about.

use alloy::{
    primitives::{Address, B256, Bytes, b256, keccak256},
    sol_types::{SolCall, SolValue},
};

use super::{SafeTxHashes, SafeVersion, hash::domain_hash};
use crate::request::ids::ChainId;

mod abi {
    alloy::sol! {
        interface OfBytes {
            function isValidSignature(bytes data, bytes signature) external view returns (bytes4);
        }
        interface OfHash {
            function isValidSignature(bytes32 hash, bytes signature) external view returns (bytes4);
        }
    }
}

/// What a contract answers that signed, when it is asked about bytes.
const YES_OF_BYTES: [u8; 4] = [0x20, 0xc1, 0x3b, 0x0b];
/// The same when it is asked about a hash: the selector of its function.
const YES_OF_HASH: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];
/// `SafeMessage(bytes message)`
const SAFE_MESSAGE_TYPEHASH: B256 =
    b256!("60b3cbf8b4a223d68d641b3b6ddf9a298e7f33710cf3d3a9d1146b5a6150fbca");

/// What a Safe of this version asks its owners that are contracts about.
#[must_use]
pub fn message(version: SafeVersion, hashes: &SafeTxHashes) -> Bytes {
    if version.asks_contracts_about_hash() {
        return hashes.safe_tx_hash.0.into();
    }
    let parts = [&[0x19, 0x01], hashes.domain_hash.as_slice(), hashes.message_hash.as_slice()];
    parts.concat().into()
}

/// What is sent to such an owner.
#[must_use]
pub fn question(version: SafeVersion, hashes: &SafeTxHashes, data: &Bytes) -> Bytes {
    let signature = data.clone();
    if version.asks_contracts_about_hash() {
        return question_of_hash(hashes.safe_tx_hash.0, signature);
    }
    let data = message(version, hashes);
    abi::OfBytes::isValidSignatureCall { data, signature }.abi_encode().into()
}

/// What anybody else asks a contract that may have signed a hash.
#[must_use]
pub fn question_of_hash(hash: B256, signature: Bytes) -> Bytes {
    abi::OfHash::isValidSignatureCall { hash, signature }.abi_encode().into()
}

/// Whether the answer to that is yes and nothing else.
#[must_use]
pub fn is_yes_of_hash(answer: &[u8]) -> bool {
    is(YES_OF_HASH, answer)
}

/// Whether the answer is yes and nothing else.
#[must_use]
pub fn is_yes(version: SafeVersion, answer: &[u8]) -> bool {
    is(if version.asks_contracts_about_hash() { YES_OF_HASH } else { YES_OF_BYTES }, answer)
}

fn is(yes: [u8; 4], answer: &[u8]) -> bool {
    let Some(word) = answer.first_chunk::<32>() else { return false };
    word[..4] == yes && word[4..].iter().all(|byte| *byte == 0)
}

/// What the owners of a Safe sign so that it signs a message.
#[must_use]
pub fn safe_message_hash(
    message: &[u8],
    chain: ChainId,
    safe: Address,
    version: SafeVersion,
) -> B256 {
    safe_message_hashes(message, chain, safe, version).2
}

/// The domain hash, the message hash, and what is signed, for a message of a Safe.
#[must_use]
pub(super) fn safe_message_hashes(
    message: &[u8],
    chain: ChainId,
    safe: Address,
    version: SafeVersion,
) -> (B256, B256, B256) {
    let struct_hash = keccak256((SAFE_MESSAGE_TYPEHASH, keccak256(message)).abi_encode());
    let domain = domain_hash(chain, safe, version);
    let hash = keccak256([&[0x19, 0x01], domain.as_slice(), struct_hash.as_slice()].concat());
    (domain, struct_hash, hash)
}

/// Whether a Safe of version `child` can answer a Safe of version `parent` by a signature. If not,
/// it must approve the hash on chain.
#[must_use]
pub fn can_sign_for(child: SafeVersion, parent: SafeVersion) -> bool {
    // 1.5.0 asks about a hash, which the handlers before 1.3.0 do not know; it has itself lost the
    // function that is asked about bytes.
    if parent.asks_contracts_about_hash() {
        child >= SafeVersion::V1_3_0
    } else {
        child < SafeVersion::V1_5_0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_must_be_exactly_yes() {
        for version in SafeVersion::ALL {
            let yes = if version.asks_contracts_about_hash() { YES_OF_HASH } else { YES_OF_BYTES };
            let mut word = [0; 32];
            assert!(!is_yes(version, &word) && !is_yes(version, &[]));
            word[..4].copy_from_slice(&yes);
            assert!(is_yes(version, &word), "{version}");
            assert!(!is_yes(version, &word[..31]));
            word[31] = 1;
            assert!(!is_yes(version, &word), "other bytes beside it");
        }
        let mut other = [0; 32];
        other[..4].copy_from_slice(&YES_OF_HASH);
        assert!(!is_yes(SafeVersion::V1_4_1, &other), "the other function's answer");
    }

    #[test]
    fn selectors_are_the_published_ones() {
        assert_eq!(abi::OfBytes::isValidSignatureCall::SELECTOR, YES_OF_BYTES);
        assert_eq!(abi::OfHash::isValidSignatureCall::SELECTOR, YES_OF_HASH);
        let type_text = "SafeMessage(bytes message)";
        assert_eq!(keccak256(type_text), SAFE_MESSAGE_TYPEHASH);
    }
}
