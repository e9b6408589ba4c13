//! Seals commit tokens, and what was sent to prepare, before they reach the database, and opens them
//! for the calls that need them.
//!
//! XChaCha20-Poly1305 with a random 24-byte nonce. A sealed value is
//! `version (1) ‖ key id (4) ‖ nonce (24) ‖ ciphertext and tag`; the request's id and the purpose
//! are associated data, so a sealed token moved to another row does not open.

use std::fmt;

use chacha20poly1305::{
    Key, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha2::{Digest, Sha256};
use uuid::Uuid;

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;

/// Why something cannot be sealed or opened. Says nothing about the content.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("a seal key is 32 bytes: 64 hexadecimal digits (make one with `openssl rand -hex 32`)")]
    KeyFormat,
    #[error("no random numbers from the operating system")]
    Random(#[source] getrandom::Error),
    #[error("the token was sealed with key {0}, which is not configured")]
    UnknownKey(String),
    #[error("the sealed token does not open: it was damaged or belongs to another request")]
    Damaged,
}

/// A token as the database keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

struct SealKey {
    id: [u8; KEY_ID_BYTES],
    key: SecretBox<[u8; 32]>,
}

/// Holds the seal keys: the first seals, all open, so a key can be rotated.
pub struct Vault {
    keys: Vec<SealKey>,
}

impl Vault {
    /// Keys as hexadecimal text, separated by commas or white space; the first one seals.
    pub fn from_hex(keys: &SecretString) -> Result<Self, VaultError> {
        let keys: Vec<SealKey> = keys
            .expose_secret()
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|text| !text.is_empty())
            .map(SealKey::from_hex)
            .collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(VaultError::KeyFormat) } else { Ok(Self { keys }) }
    }

    /// A fresh key as hexadecimal text.
    pub fn generate_key() -> Result<SecretString, VaultError> {
        let mut key = [0_u8; 32];
        getrandom::fill(&mut key).map_err(VaultError::Random)?;
        Ok(alloy::hex::encode(key).into())
    }

    fn sealing_key(&self) -> &SealKey {
        self.keys.first().expect("the constructor refuses an empty list")
    }

    /// Seals `secret`, a commit token, for one request.
    pub fn seal(&self, request: Uuid, secret: &SecretString) -> Result<Sealed, VaultError> {
        self.seal_as(Purpose::Token, request, secret)
    }

    /// Seals what was sent to prepare a request, which may hold what its owners keep secret.
    pub fn seal_body(&self, request: Uuid, body: &SecretString) -> Result<Sealed, VaultError> {
        self.seal_as(Purpose::PrepareBody, request, body)
    }

    fn seal_as(
        &self,
        purpose: Purpose,
        request: Uuid,
        secret: &SecretString,
    ) -> Result<Sealed, VaultError> {
        let key = self.sealing_key();
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(VaultError::Random)?;
        let payload = Payload {
            msg: secret.expose_secret().as_bytes(),
            aad: &purpose.associated_data(request),
        };
        let ciphertext =
            key.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| VaultError::Damaged)?;
        let mut sealed = Vec::with_capacity(HEADER_BYTES + ciphertext.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        Ok(Sealed(sealed))
    }

    /// Opens a token that was sealed for this request.
    pub fn open(&self, request: Uuid, sealed: &Sealed) -> Result<SecretString, VaultError> {
        self.open_as(Purpose::Token, request, sealed)
    }

    /// Opens what was sent to prepare this request.
    pub fn open_body(&self, request: Uuid, sealed: &Sealed) -> Result<SecretString, VaultError> {
        self.open_as(Purpose::PrepareBody, request, sealed)
    }

    fn open_as(
        &self,
        purpose: Purpose,
        request: Uuid,
        sealed: &Sealed,
    ) -> Result<SecretString, VaultError> {
        let (header, ciphertext) =
            sealed.0.split_at_checked(HEADER_BYTES).ok_or(VaultError::Damaged)?;
        if header[0] != VERSION {
            return Err(VaultError::Damaged);
        }
        let (id, nonce) = header[1..].split_at(KEY_ID_BYTES);
        let key = self
            .keys
            .iter()
            .find(|key| key.id == id)
            .ok_or_else(|| VaultError::UnknownKey(alloy::hex::encode(id)))?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| VaultError::Damaged)?;
        let payload = Payload { msg: ciphertext, aad: &purpose.associated_data(request) };
        let plain =
            key.cipher().decrypt(&XNonce::from(nonce), payload).map_err(|_| VaultError::Damaged)?;
        String::from_utf8(plain).map(SecretString::from).map_err(|_| VaultError::Damaged)
    }

    /// A keyed fingerprint, by which the same token is known again without being opened.
    pub fn fingerprint(&self, secret: &SecretString) -> [u8; 32] {
        self.sealing_key().fingerprint(secret)
    }

    /// The fingerprints under every key, so a token is known again after a rotation.
    pub fn fingerprints(&self, secret: &SecretString) -> Vec<[u8; 32]> {
        self.keys.iter().map(|key| key.fingerprint(secret)).collect()
    }
}

impl SealKey {
    fn from_hex(text: &str) -> Result<Self, VaultError> {
        let bytes = alloy::hex::decode(text).map_err(|_| VaultError::KeyFormat)?;
        let key: [u8; 32] = bytes.try_into().map_err(|_| VaultError::KeyFormat)?;
        let digest: [u8; 32] =
            Sha256::digest([b"countersign key id".as_slice(), &key].concat()).into();
        let mut id = [0_u8; KEY_ID_BYTES];
        id.copy_from_slice(&digest[..KEY_ID_BYTES]);
        Ok(Self { id, key: SecretBox::new(Box::new(key)) })
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(*self.key.expose_secret()))
    }

    fn fingerprint(&self, secret: &SecretString) -> [u8; 32] {
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(self.key.expose_secret())
            .expect("HMAC takes keys of any length");
        mac.update(b"countersign token fingerprint");
        mac.update(secret.expose_secret().as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// What a sealed value is. It opens as that and as nothing else.
#[derive(Clone, Copy)]
enum Purpose {
    Token,
    PrepareBody,
}

impl Purpose {
    fn associated_data(self, request: Uuid) -> Vec<u8> {
        let words: &[u8] = match self {
            Self::Token => b"commit token of request ",
            Self::PrepareBody => b"body of the prepare of request ",
        };
        [words, request.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(keys: &str) -> Vault {
        Vault::from_hex(&keys.to_owned().into()).unwrap()
    }

    fn key(byte: &str) -> String {
        byte.repeat(32)
    }

    #[test]
    fn what_is_sealed_opens_for_its_request_only() {
        let vault = vault(&key("01"));
        let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sealed = vault.seal(mine, &"token-1".to_owned().into()).unwrap();
        assert!(!sealed.as_bytes().windows(7).any(|window| window == b"token-1"));
        assert_eq!(vault.open(mine, &sealed).unwrap().expose_secret(), "token-1");
        assert!(matches!(vault.open(other, &sealed), Err(VaultError::Damaged)));
    }

    #[test]
    fn a_token_and_a_body_do_not_open_as_each_other() {
        let vault = vault(&key("01"));
        let id = Uuid::from_u128(1);
        let text = "one text".to_owned().into();
        let (token, body) = (vault.seal(id, &text).unwrap(), vault.seal_body(id, &text).unwrap());
        assert_eq!(vault.open_body(id, &body).unwrap().expose_secret(), "one text");
        assert!(vault.open(id, &body).is_err() && vault.open_body(id, &token).is_err());
        assert!(vault.open_body(Uuid::from_u128(2), &body).is_err());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let vault = vault(&key("01"));
        let id = Uuid::from_u128(1);
        let sealed = vault.seal(id, &"token".to_owned().into()).unwrap();
        for byte in 0..sealed.as_bytes().len() {
            let mut bytes = sealed.as_bytes().to_vec();
            bytes[byte] ^= 1;
            assert!(vault.open(id, &Sealed::from_bytes(bytes)).is_err(), "byte {byte}");
        }
        assert!(vault.open(id, &Sealed::from_bytes(vec![1; 5])).is_err());
    }

    #[test]
    fn a_rotated_key_still_opens_and_a_missing_one_says_so() {
        let id = Uuid::from_u128(1);
        let secret = "token".to_owned().into();
        let sealed = vault(&key("01")).seal(id, &secret).unwrap();
        let rotated = vault(&format!("{},{}", key("02"), key("01")));
        assert_eq!(rotated.open(id, &sealed).unwrap().expose_secret(), "token");
        assert!(rotated.fingerprints(&secret).contains(&vault(&key("01")).fingerprint(&secret)));
        assert!(matches!(vault(&key("02")).open(id, &sealed), Err(VaultError::UnknownKey(_))));
    }

    #[test]
    fn short_keys_are_refused() {
        for text in ["", "  ", "abcd", &"zz".repeat(32)] {
            assert!(Vault::from_hex(&text.to_owned().into()).is_err(), "{text:?}");
        }
    }
}
