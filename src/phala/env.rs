//! Environment variables of an app, encrypted so that nobody but its instances can read them: not
//! Phala Cloud, and not we once they are encrypted.
//!
//! ```text
//! X25519(a key of this one message, the app's key) = AES-256-GCM key
//! message: our public key, 32 bytes │ nonce, 12 bytes │ {"env":[{"key","value"},…]} encrypted
//! ```
//!
//! Compared with `@phala/dstack-sdk` in `tests/peers/env.rs`.

use std::fmt;

use alloy::primitives::{Address, B256, Signature, U256, keccak256};
use reqwest::{Method, header::HeaderValue};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral},
    rand::{SecureRandom, SystemRandom},
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use serde::Serialize;
use serde_json::Value;

use super::{
    PhalaCloud, PhalaError, expect_success,
    fields::{FieldError, Fields},
};
use crate::request::ids::{AppId, SourceCvm};

/// What a KMS signs before app and key.
const SIGNED_AS: &[u8] = b"dstack-env-encrypt-pubkey:";
/// Of the two shapes of a CVM, the one that names its KMS.
const VERSION_WITH_KMS: &str = "2025-10-28";
const NONCE_BYTES: usize = 12;

/// One variable. Its value is a secret.
#[derive(Debug, Clone)]
pub struct EnvVar {
    pub name: String,
    pub value: SecretString,
}

/// The public key that variables of one app are encrypted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvKey {
    pub key: [u8; 32],
    pub signer: Signer,
}

/// Who says that a key is the app's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// A KMS with this key, whose address is shown as that of an account would be.
    Kms(Address),
    /// Nobody: Phala Cloud itself keeps the keys of the app, and signs nothing.
    Nobody,
    /// There is a signature that is none over this key and app.
    Invalid,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kms(address) => address.fmt(f),
            Self::Nobody => f.write_str("nobody"),
            Self::Invalid => f.write_str("an invalid signature"),
        }
    }
}

/// The variables could not be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot encrypt to the key of the app: it is no X25519 public key")]
pub struct CannotEncrypt;

impl EnvKey {
    /// Reads `{public_key, signature}` of a KMS.
    ///
    /// # Errors
    /// There is no key.
    pub fn read(value: &Value, app: AppId) -> Result<Self, FieldError> {
        let fields = Fields(value);
        let text = fields.value(&["/public_key"]).and_then(Value::as_str);
        let key = key_bytes(text.ok_or_else(|| FieldError::missing("public_key"))?)?;
        let signature = fields.value(&["/signature"]).and_then(Value::as_str);
        let signer = signature.and_then(|text| signer(app, &key, text));
        Ok(Self { key, signer: signer.map_or(Signer::Invalid, Signer::Kms) })
    }

    /// A key from its text, signed by nobody.
    pub(super) fn unsigned(text: &str) -> Result<Self, FieldError> {
        Ok(Self { key: key_bytes(text)?, signer: Signer::Nobody })
    }

    /// Encrypts variables, in their order; the result is what Phala Cloud takes as `encrypted_env`.
    ///
    /// # Errors
    /// [`CannotEncrypt`]
    pub fn encrypt(&self, vars: &[EnvVar]) -> Result<String, CannotEncrypt> {
        let random = SystemRandom::new();
        let ours = EphemeralPrivateKey::generate(&X25519, &random).map_err(|_| CannotEncrypt)?;
        let our_key = ours.compute_public_key().map_err(|_| CannotEncrypt)?;
        let theirs = UnparsedPublicKey::new(&X25519, self.key);
        let cipher = agree_ephemeral(ours, &theirs, |shared| UnboundKey::new(&AES_256_GCM, shared))
            .and_then(|key| key.map(LessSafeKey::new));
        let cipher = cipher.map_err(|_| CannotEncrypt)?;
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce).map_err(|_| CannotEncrypt)?;
        // In place, so that the open text is gone when this is done, and wiped when it is not.
        let mut text = Zeroizing::new(plain(vars));
        let sealed = Nonce::assume_unique_for_key(nonce);
        let tag = cipher.seal_in_place_separate_tag(sealed, Aad::empty(), &mut text);
        let tag = tag.map_err(|_| CannotEncrypt)?;
        let whole = [our_key.as_ref(), &nonce, &text, tag.as_ref()].concat();
        Ok(alloy::hex::encode(whole))
    }
}

/// What is encrypted. It is written into memory that does not grow, so that no copy stays behind.
fn plain(vars: &[EnvVar]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Env<'a> {
        env: Vec<Pair<'a>>,
    }
    #[derive(Serialize)]
    struct Pair<'a> {
        key: &'a str,
        value: &'a str,
    }
    // A character of JSON takes six bytes at most.
    let most = |var: &EnvVar| 6 * (var.name.len() + var.value.expose_secret().len()) + 32;
    let mut text = Vec::with_capacity(64 + vars.iter().map(most).sum::<usize>());
    let pair = |var| {
        let EnvVar { name, value }: &EnvVar = var;
        Pair { key: name, value: value.expose_secret() }
    };
    let env = Env { env: vars.iter().map(pair).collect() };
    serde_json::to_writer(&mut text, &env).expect("texts are written into memory");
    text
}

fn key_bytes(text: &str) -> Result<[u8; 32], FieldError> {
    let bytes = alloy::hex::decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| FieldError::new("public_key", "not 32 bytes in hexadecimal"))
}

/// Whose signature over app and key this is.
fn signer(app: AppId, key: &[u8; 32], signature: &str) -> Option<Address> {
    let bytes: [u8; 65] = alloy::hex::decode(signature.trim()).ok()?.try_into().ok()?;
    let odd = match bytes[64] {
        0 => false,
        1 => true,
        _ => return None,
    };
    let (r, s) = (U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]));
    let message: B256 = keccak256([SIGNED_AS, app.0.as_slice(), key].concat());
    Signature::new(r, s, odd).recover_address_from_prehash(&message).ok()
}

impl PhalaCloud {
    /// The key that variables for instances of a CVM's app are encrypted to.
    ///
    /// # Errors
    /// It could not be read, or Phala Cloud does not say where the keys of the app are kept.
    pub async fn env_key(&self, cvm: &SourceCvm, app: AppId) -> Result<EnvKey, PhalaError> {
        const CALL: &str = "read the app's key for variables";
        let malformed = |error: FieldError| PhalaError::malformed(CALL, &error);
        let mut request = self.request(Method::GET, &["cvms", cvm.canonical().as_str()]);
        let version = HeaderValue::from_static(VERSION_WITH_KMS);
        request.headers_mut().insert("X-Phala-Version", version);
        let value = expect_success(&self.exchange(CALL, request).await?)?;
        let fields = Fields(&value);
        if fields.chain(&["/kms_info/chain_id"]).map_err(malformed)?.is_none() {
            let key = fields.value(&["/encrypted_env_pubkey", "/kms_info/encrypted_env_pubkey"]);
            let key = key.and_then(Value::as_str);
            let key = key.ok_or_else(|| malformed(FieldError::missing("encrypted_env_pubkey")))?;
            return EnvKey::unsigned(key).map_err(malformed);
        }
        // By the name of the very KMS: its type, which the `phala` CLI names, is not known there.
        let kms = fields.value(&["/kms_info/slug", "/kms_info/id"]).and_then(Value::as_str);
        let kms = kms.ok_or_else(|| malformed(FieldError::missing("kms_info")))?;
        let value = self.get(CALL, &["kms", kms, "pubkey", &alloy::hex::encode(app.0)]).await?;
        EnvKey::read(&value, app).map_err(malformed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The published example of `verifyEnvEncryptPublicKey`.
    const KEY: &str = "e33a1832c6562067ff8f844a61e51ad051f1180b66ec2551fb0251735f3ee90a";
    const SIGNATURE: &str = "8542c49081fbf4e03f62034f13fbf70630bdf256a53032e38465a27c36fd6bed7a5e7111652004aef37f7fd92fbfc1285212c4ae6a6154203a48f5e16cad2cef00";

    fn read(key: &str, signature: &str) -> EnvKey {
        let value = json!({ "public_key": key, "signature": signature });
        EnvKey::read(&value, AppId(Address::ZERO)).unwrap()
    }

    #[test]
    fn a_key_names_who_signed_it() {
        // Of the key 0x0217610d74cbd39b6143842c6d8bc310d79da1d82cc9d17f8876376221eda0c38f.
        let compressed =
            alloy::hex!("0217610d74cbd39b6143842c6d8bc310d79da1d82cc9d17f8876376221eda0c38f");
        let signer = alloy::signers::k256::ecdsa::VerifyingKey::from_sec1_bytes(&compressed);
        let signer = Address::from_public_key(&signer.unwrap());
        assert_eq!(read(KEY, SIGNATURE).signer, Signer::Kms(signer));
        assert_eq!(read(&format!("0x{KEY}"), &format!("0x{SIGNATURE}")), read(KEY, SIGNATURE));
        for bad in ["00", "zz", &SIGNATURE.replace("ef00", "ef1b"), &"00".repeat(65)] {
            assert_eq!(read(KEY, bad).signer, Signer::Invalid, "{bad}");
        }
        // Over another key, or for another app, it is somebody else's.
        let other = KEY.replace("e33a", "e33b");
        assert_ne!(read(&other, SIGNATURE).signer, Signer::Kms(signer));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for bad in [json!({}), json!({ "public_key": "secret" }), json!({ "public_key": 7 })] {
            let error = EnvKey::read(&bad, AppId(Address::ZERO)).unwrap_err().to_string();
            assert!(error.starts_with("public_key") && !error.contains("secret"), "{error}");
        }
        // Points of low order would make everybody's key the same.
        let zero = EnvKey { key: [0; 32], signer: Signer::Nobody };
        assert_eq!(zero.encrypt(&[]), Err(CannotEncrypt));
    }

    #[test]
    fn no_message_is_like_another_and_none_shows_what_is_in_it() {
        let vars = [EnvVar { name: "TOKEN".into(), value: "hunter2".into() }];
        assert_eq!(plain(&vars), br#"{"env":[{"key":"TOKEN","value":"hunter2"}]}"#);
        let key = read(KEY, SIGNATURE);
        let (one, other) = (key.encrypt(&vars).unwrap(), key.encrypt(&vars).unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 2 * (32 + NONCE_BYTES + plain(&vars).len() + 16));
        assert!(!one.contains(&alloy::hex::encode("hunter2")));
        assert!(!format!("{vars:?}").contains("hunter2"));
    }

    #[test]
    fn nothing_is_copied_while_it_is_written() {
        for text in ["", "a", "\u{1}\u{2}\"\\", "ä€𝄞", &"\u{7}".repeat(5_000)] {
            let vars = vec![EnvVar { name: text.into(), value: text.into() }; 3];
            let most = 64 + 3 * (12 * text.len() + 32);
            let written = plain(&vars);
            assert!(written.len() <= most && written.capacity() == most, "{text:?}");
        }
    }
}
