//! The key of the account that pays for executions. It signs transactions of that account, and
//! nothing else here does.

use std::fmt;

use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    eips::eip2718::Encodable2718,
    primitives::{Address, Bytes, TxKind, U256},
    signers::SignerSync,
};
use alloy_signer_local::PrivateKeySigner;

use crate::request::ids::{ChainId, TxHash};

/// A secret: it is never printed, tells nothing but its address, and is wiped when it is dropped.
#[derive(Clone)]
pub struct RelayerKey(PrivateKeySigner);

/// The text is no private key. It is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a private key: 64 hexadecimal digits, with or without 0x")]
pub struct NoRelayerKey;

/// It could not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the relayer key cannot sign")]
pub struct CannotRelay;

/// What the account is to pay for: a call that sends no ether.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub chain: ChainId,
    /// Of the account.
    pub nonce: u64,
    pub to: Address,
    pub data: Bytes,
    pub gas_limit: u64,
    pub fees: Fees,
}

/// In wei per gas (EIP-1559).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fees {
    /// Most that is paid, the tip included.
    pub max: u64,
    pub tip: u64,
}

/// A signed transaction as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPayment {
    pub hash: TxHash,
    pub raw: Bytes,
    pub fees: Fees,
}

impl RelayerKey {
    /// # Errors
    /// [`NoRelayerKey`]
    pub fn from_hex(text: &str) -> Result<Self, NoRelayerKey> {
        text.trim().parse().map(Self).map_err(|_| NoRelayerKey)
    }

    #[must_use]
    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// # Errors
    /// [`CannotRelay`]
    pub fn sign(&self, payment: &Payment) -> Result<SignedPayment, CannotRelay> {
        let transaction = TxEip1559 {
            chain_id: payment.chain.get(),
            nonce: payment.nonce,
            gas_limit: payment.gas_limit,
            max_fee_per_gas: payment.fees.max.into(),
            max_priority_fee_per_gas: payment.fees.tip.into(),
            to: TxKind::Call(payment.to),
            value: U256::ZERO,
            input: payment.data.clone(),
            ..TxEip1559::default()
        };
        let signature = self.0.sign_hash_sync(&transaction.signature_hash());
        let signed = transaction.into_signed(signature.map_err(|_| CannotRelay)?);
        let raw = signed.encoded_2718().into();
        Ok(SignedPayment { hash: TxHash(*signed.hash()), raw, fees: payment.fees })
    }
}

/// Without the key.
impl fmt::Debug for RelayerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RelayerKey").field(&self.address()).finish()
    }
}

#[cfg(test)]
mod tests {
    use alloy::{
        consensus::{Transaction, TxEnvelope, transaction::SignerRecoverable},
        eips::eip2718::Decodable2718,
        primitives::keccak256,
    };

    use super::*;

    const HEX: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn what_is_signed_is_what_was_asked_for() {
        let key = RelayerKey::from_hex(&format!("0x{HEX}\n")).unwrap();
        let payment = Payment {
            chain: ChainId::BASE,
            nonce: 7,
            to: Address::repeat_byte(0x11),
            data: Bytes::from_static(&[0xde, 0xad]),
            gas_limit: 300_000,
            fees: Fees { max: 2_000, tip: 10 },
        };
        let signed = key.sign(&payment).unwrap();
        assert_eq!(keccak256(&signed.raw), signed.hash.0);
        assert_eq!(key.sign(&payment).unwrap(), signed, "the same again is the same bytes");
        let read = TxEnvelope::decode_2718(&mut signed.raw.as_ref()).unwrap();
        assert_eq!(read.recover_signer().unwrap(), key.address());
        assert_eq!((read.chain_id(), read.nonce(), read.to()), (Some(8453), 7, Some(payment.to)));
        assert_eq!(
            (read.value(), read.input(), read.gas_limit()),
            (U256::ZERO, &payment.data, 300_000)
        );
        assert_eq!((read.max_fee_per_gas(), read.max_priority_fee_per_gas()), (2_000, Some(10)));
    }

    #[test]
    fn a_key_is_not_printed_and_what_is_none_is_not_repeated() {
        let key = RelayerKey::from_hex(HEX).unwrap();
        assert!(!format!("{key:?}").to_lowercase().contains(&HEX[..16]));
        for text in ["", "0x12", "not a key", &"0".repeat(64)] {
            let error = RelayerKey::from_hex(text).unwrap_err().to_string();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}
