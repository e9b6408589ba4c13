//! Keys that every local chain knows and funds, and what their holders do: sign.

use std::{fmt, str::FromStr};

use alloy::{
    primitives::{Address, B256, b256},
    signers::SignerSync,
};
use alloy_signer_local::{LocalSignerError, PrivateKeySigner};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::{request::ids::SafeTxHash, safe::OwnerSignature};

/// The accounts of the `test … junk` mnemonic (BIP-44, `m/44'/60'/0'/0/n`) that anvil funds. They
/// are public knowledge: worth nothing anywhere else, and dangerous to use there.
const KEYS: [B256; 10] = [
    b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    b256!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    b256!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    b256!("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    b256!("47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"),
    b256!("8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"),
    b256!("92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    b256!("4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
    b256!("dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"),
    b256!("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
];

/// A key and its address. Serialises as `{"address", "private_key"}`.
#[derive(Clone)]
pub struct Wallet(PrivateKeySigner);

impl Wallet {
    /// How many accounts a local chain funds.
    pub const FUNDED: usize = KEYS.len();

    /// A funded account of the local chain, or none from [`Self::FUNDED`] on.
    pub fn funded(index: usize) -> Option<Self> {
        let signer = PrivateKeySigner::from_bytes(KEYS.get(index)?);
        Some(Self(signer.expect("a well-known key is a key")))
    }

    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// In hexadecimal with `0x`, as wallets import it.
    pub fn private_key(&self) -> String {
        self.0.to_bytes().to_string()
    }

    /// Signs a Safe transaction as an owner: over the EIP-712 hash itself, with `v` 27 or 28.
    pub fn sign(&self, hash: SafeTxHash) -> OwnerSignature {
        let signature = self.0.sign_hash_sync(&hash.0).expect("a local key signs any hash");
        OwnerSignature::from_bytes(&signature.as_bytes()).expect("a signature just made is one")
    }

    /// For everything else that can be signed.
    pub fn signer(&self) -> &PrivateKeySigner {
        &self.0
    }
}

/// A private key in hexadecimal.
impl FromStr for Wallet {
    type Err = LocalSignerError;
    fn from_str(key: &str) -> Result<Self, LocalSignerError> {
        key.trim().parse().map(Self)
    }
}

/// Without the key.
impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wallet").field(&self.address()).finish()
    }
}

impl Serialize for Wallet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Wallet", 2)?;
        object.serialize_field("address", &self.address().to_string())?;
        object.serialize_field("private_key", &self.private_key())?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safe::signature::SignatureKind;

    #[test]
    fn the_accounts_are_the_published_ones() {
        let published = [
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
            "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
            "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
            "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
            "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
            "0x976EA74026E726554dB657fA54763abd0C3a0aa9",
            "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
            "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f",
            "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
        ];
        let funded = (0..).map_while(Wallet::funded);
        assert!(funded.map(|wallet| wallet.address().to_string()).eq(published));
    }

    #[test]
    fn a_signature_names_its_owner() {
        let wallet = Wallet::funded(3).unwrap();
        let hash = SafeTxHash(B256::repeat_byte(0xcc));
        let signature = wallet.sign(hash);
        assert_eq!(signature.recover(hash), Ok(wallet.address()));
        assert_eq!(signature.kind(), SignatureKind::Eip712);
    }

    #[test]
    fn the_key_is_shown_on_purpose_only() {
        let wallet = Wallet::funded(0).unwrap();
        assert!(!format!("{wallet:?}").contains(&wallet.private_key()[2..]));
        let json = serde_json::to_value(&wallet).unwrap();
        assert_eq!(json["private_key"], KEYS[0].to_string());
        let again: Wallet = json["private_key"].as_str().unwrap().parse().unwrap();
        assert_eq!(json["address"], again.address().to_string());
    }
}
