//! API tokens: 256 random bits behind a recognisable prefix, with a checksum so that a mistyped one
//! is refused without a look into the database. Only the hash is stored.

use std::{fmt, str::FromStr};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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
        let mut secret = [0_u8; SECRET_HEX / 2];
        getrandom::fill(&mut secret).map_err(TokenError::Random)?;
        let secret = alloy::hex::encode(secret);
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

fn checksum(secret: &str) -> String {
    let digest = Sha256::digest(format!("countersign checksum {secret}").as_bytes());
    alloy::hex::encode(digest)[..CHECKSUM_HEX].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
