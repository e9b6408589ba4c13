//! API tokens: 256 random bits behind a recognisable prefix, with a checksum so that a mistyped one
//! is refused without a look into the database. Ids of sessions are as random, and never typed. Only
//! hashes are stored.

use std::{fmt, str::FromStr};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &str = "countersign_";
const SECRET_HEX: usize = 64;
const CHECKSUM_HEX: usize = 8;

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at everything.
    Read,
    /// Submit requests, and withdraw, reject, retry and settle them.
    Write,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            _ => Err("expected read or write"),
        }
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("no random numbers from the operating system")]
    Random(#[source] getrandom::Error),
    #[error("this is not a Countersign API token")]
    Malformed,
}

/// An API token in the open: shown once, when it is made.
pub struct OpenToken(SecretString);

impl OpenToken {
    pub fn generate() -> Result<Self, TokenError> {
        let secret = random_hex::<{ SECRET_HEX / 2 }>()?;
        let checksum = checksum(&secret);
        Ok(Self(format!("{PREFIX}{secret}{checksum}").into()))
    }

    /// Reads a token that somebody presents.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Malformed)?;
        let (secret, given) = body.split_at_checked(SECRET_HEX).ok_or(TokenError::Malformed)?;
        let hexadecimal = secret.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hexadecimal && given == checksum(secret) {
            Ok(Self(text.trim().to_owned().into()))
        } else {
            Err(TokenError::Malformed)
        }
    }

    /// The text, to be shown to the person it was made for.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What the database keeps. With 256 random bits a plain hash cannot be guessed back, and
    /// looking it up leaks nothing about the token.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose_secret().as_bytes()).into()
    }
}

/// The id of a session in the open: it stands in a cookie, and nowhere else.
pub struct SessionId(SecretString);

impl SessionId {
    pub fn generate() -> Result<Self, TokenError> {
        Ok(Self(random_hex::<{ SECRET_HEX / 2 }>()?.into()))
    }

    /// Reads an id that a browser sends along.
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == SECRET_HEX && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| Self(text.to_owned().into()))
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What the database keeps.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose_secret().as_bytes()).into()
    }
}

impl SessionId {
    /// What stands in the forms that a session is shown, so that no page that has not read one can send
    /// it. It tells nothing about the id, and is another thing than what the database keeps.
    pub fn form_token(&self) -> String {
        let digest = Sha256::digest(format!("countersign form {}", self.expose()).as_bytes());
        alloy::hex::encode(digest)
    }

    /// Whether a form was shown to this session.
    pub fn has_form_token(&self, given: &str) -> bool {
        self.form_token().as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// What a message that is to be signed carries, so that it signs in once: 128 random bits.
pub fn nonce() -> Result<String, TokenError> {
    random_hex::<16>()
}

fn random_hex<const BYTES: usize>() -> Result<String, TokenError> {
    let mut bytes = [0_u8; BYTES];
    getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
    Ok(alloy::hex::encode(bytes))
}

fn checksum(secret: &str) -> String {
    let digest = Sha256::digest(format!("countersign checksum {secret}").as_bytes());
    alloy::hex::encode(digest)[..CHECKSUM_HEX].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_session_reads_back_and_nothing_else_is_one() {
        let id = SessionId::generate().unwrap();
        assert_eq!(SessionId::parse(id.expose()).unwrap().hash(), id.hash());
        let other = SessionId::generate().unwrap();
        assert_ne!(other.hash(), id.hash());
        assert!(id.has_form_token(&id.form_token()) && !id.has_form_token(&other.form_token()));
        assert!(!id.has_form_token("") && !id.has_form_token(&id.form_token()[1..]));
        assert_ne!(id.form_token(), alloy::hex::encode(id.hash()), "a database gives no form away");
        for text in ["", "0", &id.expose()[1..], &id.expose().replace(char::is_numeric, "g")] {
            assert!(SessionId::parse(text).is_none(), "{text:?}");
        }
        assert!(nonce().unwrap().len() == 32 && nonce().unwrap() != nonce().unwrap());
    }

    #[test]
    fn a_token_reads_back_and_a_mistyped_one_does_not() {
        let token = OpenToken::generate().unwrap();
        let text = token.expose().to_owned();
        assert_eq!(OpenToken::parse(&format!(" {text}\n")).unwrap().hash(), token.hash());
        for position in PREFIX.len()..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[position] = if wrong[position] == b'0' { b'1' } else { b'0' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert!(OpenToken::parse(&wrong).is_err(), "position {position}");
        }
        for text in ["", PREFIX, "Bearer x", "countersign_é"] {
            assert!(OpenToken::parse(text).is_err(), "{text:?}");
        }
    }
}
