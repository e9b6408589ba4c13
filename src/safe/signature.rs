//! The signature of one owner by a key: reading what wallets produce, finding out who signed.
//!
//! 65 bytes, `r ‖ s ‖ v`, where `v` tells the kind (Safe, "Signatures"): 27 or 28 over the
//! safeTxHash itself, 31 or 32 over its `eth_sign` form. They prove who signed from the signature
//! alone; the kinds that do not, and several at once, are in [`packed`](super::packed). Some wallets (MetaMask with a Ledger) write 0 or 1 where 27 or 28 belongs;
//! such a signature is told from the other kinds by its `r`, which is no address.

use std::{fmt, str::FromStr};

use alloy::primitives::{Address, B256, Signature, U256, eip191_hash_message};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::request::ids::SafeTxHash;

/// Bytes of one signature.
pub const LENGTH: usize = 65;

/// How an owner signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureKind {
    /// Over the EIP-712 document.
    Eip712,
    /// Over the safeTxHash as a message, with `eth_sign` or `personal_sign`.
    EthSign,
    /// On chain, by `approveHash`.
    ApprovedHash,
    /// By a contract that answers for it (EIP-1271).
    ContractSignature,
}

impl SignatureKind {
    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Eip712 => "EIP-712",
            Self::EthSign => "eth_sign",
            Self::ApprovedHash => "approved on chain",
            Self::ContractSignature => "signature of a contract, EIP-1271",
        }
    }
}

/// Why a text is not a signature we can check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("expected 65 bytes in hexadecimal with 0x, found {0} characters")]
    Length(usize),
    #[error("the signature is not hexadecimal")]
    NotHex,
    #[error("a 64-byte (EIP-2098) signature: Safe takes the 65-byte form only")]
    Compact,
    #[error("an approved-hash marker (v = 1), which is no signature by a key")]
    ApprovedHash,
    #[error("a contract signature (v = 0), which is no signature by a key")]
    Contract,
    #[error("v is {0}; expected 27 or 28 (EIP-712), 31 or 32 (eth_sign)")]
    UnknownKind(u8),
    #[error("r or s is zero or beyond the curve order: this cannot be a signature")]
    OutOfRange,
    #[error("nobody can have made this signature over this transaction")]
    Unrecoverable,
}

/// A well-formed ECDSA signature, `v` normalised. Who made it, and over what, is yet to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OwnerSignature {
    r: B256,
    s: B256,
    /// 27, 28, 31 or 32.
    v: u8,
}

/// Order of secp256k1. The contract does not ask for the lower half of it, so neither do we.
const CURVE_ORDER: U256 =
    alloy::uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);

impl OwnerSignature {
    /// # Errors
    /// [`SignatureError`] for the kinds that prove nothing from the bytes alone, and for bytes
    /// that are no signature.
    pub fn from_bytes(bytes: &[u8; LENGTH]) -> Result<Self, SignatureError> {
        let (r, s) = (B256::from_slice(&bytes[..32]), B256::from_slice(&bytes[32..64]));
        let in_range = |word: B256| {
            let number = U256::from_be_bytes(word.0);
            !number.is_zero() && number < CURVE_ORDER
        };
        // An owner's address in r. A curve point looks like that once in 2^96.
        let r_is_address = r[..12].iter().all(|byte| *byte == 0);
        let v = match bytes[64] {
            0 if r_is_address => return Err(SignatureError::Contract),
            1 if r_is_address => return Err(SignatureError::ApprovedHash),
            v @ (0 | 1) => v + 27,
            v @ (27 | 28 | 31 | 32) => v,
            v => return Err(SignatureError::UnknownKind(v)),
        };
        if in_range(r) && in_range(s) {
            Ok(Self { r, s, v })
        } else {
            Err(SignatureError::OutOfRange)
        }
    }

    /// As the contract takes it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..32].copy_from_slice(self.r.as_slice());
        bytes[32..64].copy_from_slice(self.s.as_slice());
        bytes[64] = self.v;
        bytes
    }

    #[must_use]
    pub fn kind(&self) -> SignatureKind {
        if self.v > 30 { SignatureKind::EthSign } else { SignatureKind::Eip712 }
    }

    /// The same numbers, read as made with `eth_sign`: with 31 or 32 where 27 or 28 stands.
    #[must_use]
    pub fn as_eth_sign(&self) -> Self {
        if self.kind() == SignatureKind::EthSign { *self } else { Self { v: self.v + 4, ..*self } }
    }

    /// The last byte, which tells the kind.
    #[must_use]
    pub fn v(&self) -> u8 {
        self.v
    }

    /// Who made this signature, if it is one over this transaction. Any 65 bytes recover to *some*
    /// address: the answer is worth something only when that address is an owner.
    ///
    /// # Errors
    /// [`SignatureError::Unrecoverable`]
    pub fn recover(&self, hash: SafeTxHash) -> Result<Address, SignatureError> {
        let (prehash, v) = if self.kind() == SignatureKind::EthSign {
            (eip191_hash_message(hash.0), self.v - 4)
        } else {
            (hash.0, self.v)
        };
        let (r, s) = (U256::from_be_bytes(self.r.0), U256::from_be_bytes(self.s.0));
        Signature::new(r, s, v == 28)
            .recover_address_from_prehash(&prehash)
            .ok()
            .filter(|signer| !signer.is_zero())
            .ok_or(SignatureError::Unrecoverable)
    }
}

impl FromStr for OwnerSignature {
    type Err = SignatureError;
    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let text = text.trim();
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        match digits.len() {
            130 => {}
            128 => return Err(SignatureError::Compact),
            _ => return Err(SignatureError::Length(text.chars().count())),
        }
        let mut bytes = [0; LENGTH];
        alloy::hex::decode_to_slice(digits, &mut bytes).map_err(|_| SignatureError::NotHex)?;
        Self::from_bytes(&bytes)
    }
}

impl fmt::Display for OwnerSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&alloy::hex::encode_prefixed(self.to_bytes()))
    }
}

impl fmt::Debug for OwnerSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for OwnerSignature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OwnerSignature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
