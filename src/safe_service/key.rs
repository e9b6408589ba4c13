//! The key that proposes: a delegate of an owner, or an owner. It signs Safe transactions and what
//! the mailbox asks for, by EIP-712 alone, and nothing else here signs.

use std::fmt;

use alloy::{
    primitives::{Address, B256, Bytes},
    signers::SignerSync,
};
use alloy_signer_local::PrivateKeySigner;
use secrecy::{ExposeSecret, SecretString};

use crate::{request::ids::SafeTxHash, safe::OwnerSignature};

/// A secret: it is never printed, and tells nothing but its address.
#[derive(Clone)]
pub struct ProposerKey(PrivateKeySigner);

/// The text is no private key. It is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a private key: 64 hexadecimal digits, with or without 0x")]
pub struct NoKey;

/// It could not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proposer key cannot sign")]
pub struct CannotSign;

impl ProposerKey {
    /// # Errors
    /// [`NoKey`]
    pub fn from_hex(text: &SecretString) -> Result<Self, NoKey> {
        text.expose_secret().trim().parse().map(Self).map_err(|_| NoKey)
    }

    #[must_use]
    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// Signs a Safe transaction: `v` is 27 or 28.
    ///
    /// # Errors
    /// [`CannotSign`]
    pub fn sign(&self, hash: SafeTxHash) -> Result<OwnerSignature, CannotSign> {
        let signature = self.0.sign_hash_sync(&hash.0).map_err(|_| CannotSign)?;
        OwnerSignature::from_bytes(&signature.as_bytes()).map_err(|_| CannotSign)
    }

    /// Signs what the mailbox asks for.
    ///
    /// # Errors
    /// [`CannotSign`]
    pub fn sign_for_mailbox(&self, hash: B256) -> Result<Bytes, CannotSign> {
        let signature = self.0.sign_hash_sync(&hash).map_err(|_| CannotSign)?;
        Ok(Bytes::copy_from_slice(&signature.as_bytes()))
    }
}

/// Without the key.
impl fmt::Debug for ProposerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProposerKey").field(&self.address()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safe::signature::SignatureKind;

    const HEX: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn a_key_signs_by_eip_712_and_is_not_printed() {
        for text in [HEX.to_owned(), format!(" 0x{HEX}\n")] {
            let key = ProposerKey::from_hex(&text.into()).unwrap();
            let hash = SafeTxHash(B256::repeat_byte(5));
            let signature = key.sign(hash).unwrap();
            assert_eq!(signature.kind(), SignatureKind::Eip712);
            assert_eq!(signature.recover(hash), Ok(key.address()));
            let shown = format!("{key:?}");
            assert!(!shown.to_lowercase().contains(&HEX[..16]), "{shown}");
        }
        let zero = "0".repeat(64);
        for text in ["", "0x12", "not a key", zero.as_str()] {
            let error = ProposerKey::from_hex(&text.to_owned().into()).unwrap_err();
            assert!(text.is_empty() || !error.to_string().contains(text));
        }
    }
}
