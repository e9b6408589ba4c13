//! Sign-In with Ethereum (EIP-4361): the message that a wallet shows and signs, read back strictly.
//!
//! This service writes every message itself, so one form is enough: with a statement, an expiry and a
//! request id, without scheme, `Not Before` and resources. Whatever prints otherwise than it was given
//! is not taken, so no two texts mean the same.

use std::{fmt, str::FromStr};

use alloy::primitives::{Address, Signature, U256, eip191_hash_message};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use uuid::Uuid;

use crate::{clock::Time, request::ids::ChainId};

/// What a wallet shows under the address.
const STATEMENT: &str = "Sign in to Countersign. This approves no transaction and costs nothing.";
/// Bytes of the longest message that is read.
const BYTES_MAX: usize = 4_096;
/// How far ahead the clock of another instance may be.
const AHEAD_MAX: TimeDelta = TimeDelta::minutes(1);
/// Bytes of a key's signature: `r ‖ s ‖ v`.
const SIGNATURE: usize = 65;

/// What somebody signs to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Host, and port if it is not the usual one.
    pub domain: String,
    pub address: Address,
    pub uri: String,
    pub chain: ChainId,
    pub nonce: String,
    /// To the second.
    pub issued_at: Time,
    pub expires_at: Time,
    pub request: Uuid,
}

/// Why a message signs nobody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the message is not one that this service writes: have it signed as it is")]
    Form,
    #[error("the message is for another site")]
    Domain,
    #[error("the message is for another address of this site")]
    Uri,
    #[error("the message was issued in the future")]
    Future,
    #[error("the message has expired: ask for a new one")]
    Expired,
}

/// Why a signature is not the one of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    #[error("a key's signature has 65 bytes")]
    Length,
    #[error("the last byte of a key's signature is 0, 1, 27 or 28")]
    Parity,
    #[error("s is in the upper half of the curve order, as no wallet writes it")]
    HighS,
    #[error("no key can have made this signature")]
    Unrecoverable,
    #[error("another account signed this message")]
    Another,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, address, uri, chain, nonce, request, .. } = self;
        let time = |time: &Time| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        let (issued_at, expires_at) = (time(&self.issued_at), time(&self.expires_at));
        write!(
            f,
            "{domain} wants you to sign in with your Ethereum account:\n{address}\n\n{STATEMENT}\n\n\
             URI: {uri}\nVersion: 1\nChain ID: {chain}\nNonce: {nonce}\nIssued At: {issued_at}\n\
             Expiration Time: {expires_at}\nRequest ID: {request}"
        )
    }
}

impl FromStr for Message {
    type Err = Refused;
    fn from_str(text: &str) -> Result<Self, Refused> {
        read(text).filter(|message| message.to_string() == text).ok_or(Refused::Form)
    }
}

fn read(text: &str) -> Option<Message> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let mut lines = text.split('\n');
    let mut after = |start: &str| lines.next()?.strip_prefix(start);
    let domain = after("")?.strip_suffix(" wants you to sign in with your Ethereum account:")?;
    let address = after("")?.parse().ok()?;
    let between = [after("")?, after(STATEMENT)?, after("")?];
    let uri = after("URI: ")?;
    let version = after("Version: ")?;
    let chain = after("Chain ID: ")?.parse().ok()?;
    let nonce = after("Nonce: ")?;
    let issued_at = moment(after("Issued At: ")?)?;
    let expires_at = moment(after("Expiration Time: ")?)?;
    let request = after("Request ID: ")?.parse().ok()?;
    let is_whole = lines.next().is_none() && between == ["", "", ""] && version == "1";
    let is_plain =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_nonce = nonce.len() >= 8 && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_whole && is_plain(domain) && is_plain(uri) && is_nonce).then(|| Message {
        domain: domain.into(),
        address,
        uri: uri.into(),
        chain,
        nonce: nonce.into(),
        issued_at,
        expires_at,
        request,
    })
}

fn moment(text: &str) -> Option<Time> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
}

impl Message {
    /// Whether it is for this site, and now.
    ///
    /// # Errors
    /// [`Refused`], with the first thing that is wrong.
    pub fn check(&self, domain: &str, uri: &str, now: Time) -> Result<(), Refused> {
        if self.domain != domain {
            return Err(Refused::Domain);
        }
        if self.uri != uri {
            return Err(Refused::Uri);
        }
        if self.issued_at > now + AHEAD_MAX {
            return Err(Refused::Future);
        }
        if self.expires_at <= now {
            return Err(Refused::Expired);
        }
        Ok(())
    }
}

/// Whether the key of an account signed a text, as wallets sign text (EIP-191).
///
/// # Errors
/// [`NotSigned`]. A contract may have signed all the same: it has no key, and is asked (EIP-1271).
pub fn signed_by_key(text: &str, signature: &[u8], account: Address) -> Result<(), NotSigned> {
    let signature: &[u8; SIGNATURE] = signature.try_into().map_err(|_| NotSigned::Length)?;
    let is_odd = match signature[64] {
        0 | 27 => false,
        1 | 28 => true,
        _ => return Err(NotSigned::Parity),
    };
    let number = |bytes: &[u8]| U256::from_be_slice(bytes);
    let signature = Signature::new(number(&signature[..32]), number(&signature[32..64]), is_odd);
    if signature.normalize_s().is_some() {
        return Err(NotSigned::HighS);
    }
    let signer = signature.recover_address_from_prehash(&eip191_hash_message(text));
    match signer.map_err(|_| NotSigned::Unrecoverable)? {
        signer if signer == account && !signer.is_zero() => Ok(()),
        _ => Err(NotSigned::Another),
    }
}

#[cfg(test)]
mod tests;
