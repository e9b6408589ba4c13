//! Signatures of several owners as one: what `execTransaction` takes.
//!
//! 65 bytes for each owner, ascending by owner, then what does not fit into them. `v` tells the
//! kind: 27, 28, 31 and 32 are signatures by a key ([`OwnerSignature`]); 1 says that the owner in
//! `r` approved the hash on chain; 0 says that the contract in `r` answers for the bytes at offset
//! `s`, which begin with their length (EIP-1271). Safe reads what lies anywhere; here it must lie
//! as Safe's own tools write it: one after the other, nothing between, nothing after.

use alloy::{
    hex,
    primitives::{Address, B256, Bytes, U256},
};

use super::signature::{LENGTH, OwnerSignature, SignatureError, SignatureKind};

/// Longest packed signatures that are read, in bytes.
pub const MAX_BYTES: usize = 16_384;
/// Before the bytes that a contract answers for: their length.
const LENGTH_WORD: usize = 32;

/// What one owner gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// A signature by a key, from which its owner is recovered.
    Key(OwnerSignature),
    /// The owner approved the hash on chain; only the chain tells whether that is so.
    ApprovedHash(Address),
    /// Bytes that a contract says are its signature; only the contract tells whether they are.
    Contract { owner: Address, data: Bytes },
}

/// Why bytes are not packed signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    #[error("the signature is not hexadecimal")]
    NotHex,
    #[error("a 64-byte (EIP-2098) signature: Safe takes the 65-byte form only")]
    Compact,
    #[error("expected 65 bytes for each owner, found {0} bytes")]
    Length(usize),
    #[error("more than {MAX_BYTES} bytes of signatures")]
    TooLong,
    #[error("signature {number}: {source}")]
    Part { number: usize, source: SignatureError },
    #[error("signature {0}: an approved hash (v = 1) has s = 0")]
    ApprovedHash(usize),
    #[error(
        "signature {number}: its bytes are said to be at {found}, and should be at {expected}, right \
         after what comes before"
    )]
    Offset { number: usize, found: U256, expected: usize },
    #[error("signature {0}: its bytes end before the length they are said to have")]
    CutOff(usize),
    #[error("{0} bytes after the last signature")]
    Trailing(usize),
}

impl Part {
    #[must_use]
    pub fn kind(&self) -> SignatureKind {
        match self {
            Self::Key(signature) => signature.kind(),
            Self::ApprovedHash(_) => SignatureKind::ApprovedHash,
            Self::Contract { .. } => SignatureKind::ContractSignature,
        }
    }

    /// Alone, as a transaction with one owner takes it.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        join(&[self])
    }

    /// Reads one alone.
    ///
    /// # Errors
    /// [`UnpackError`] also when there are several.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnpackError> {
        let mut parts = unpack(bytes)?;
        match parts.pop() {
            Some(part) if parts.is_empty() => Ok(part),
            _ => Err(UnpackError::Length(bytes.len())),
        }
    }
}

impl From<OwnerSignature> for Part {
    fn from(signature: OwnerSignature) -> Self {
        Self::Key(signature)
    }
}

/// One owner twice: the contract refuses it, and it must not count as two.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("owner {0} is there twice")]
pub struct DuplicateOwner(pub Address);

/// Signatures as `execTransaction` takes them.
///
/// # Errors
/// [`DuplicateOwner`]
pub fn pack<S: Clone + Into<Part>>(given: &[(Address, S)]) -> Result<Bytes, DuplicateOwner> {
    let mut sorted: Vec<(Address, Part)> =
        given.iter().map(|(owner, signature)| (*owner, signature.clone().into())).collect();
    sorted.sort_by_key(|(owner, _)| *owner);
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(DuplicateOwner(pair[0].0));
    }
    Ok(join(&sorted.iter().map(|(_, part)| part).collect::<Vec<_>>()))
}

fn join(parts: &[&Part]) -> Bytes {
    let (mut heads, mut tails) = (vec![], vec![]);
    for part in parts {
        match part {
            Part::Key(signature) => heads.extend(signature.to_bytes()),
            Part::ApprovedHash(owner) => heads.extend(head(*owner, 0, 1)),
            Part::Contract { owner, data } => {
                heads.extend(head(*owner, parts.len() * LENGTH + tails.len(), 0));
                tails.extend(U256::from(data.len()).to_be_bytes::<LENGTH_WORD>());
                tails.extend(data);
            }
        }
    }
    heads.extend(tails);
    heads.into()
}

fn head(owner: Address, s: usize, v: u8) -> [u8; LENGTH] {
    let mut head = [0; LENGTH];
    head[12..32].copy_from_slice(owner.as_slice());
    head[32..64].copy_from_slice(&U256::from(s).to_be_bytes::<32>());
    head[64] = v;
    head
}

/// Reads packed signatures in hexadecimal.
///
/// # Errors
/// [`UnpackError`]
pub fn parse(text: &str) -> Result<Vec<Part>, UnpackError> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    if digits.len() > 2 * MAX_BYTES {
        return Err(UnpackError::TooLong);
    }
    unpack(&hex::decode(digits).map_err(|_| UnpackError::NotHex)?)
}

/// Reads packed signatures. Who gave them, and whether they hold, is yet to be asked.
///
/// # Errors
/// [`UnpackError`] for bytes that Safe's own tools would not write.
pub fn unpack(bytes: &[u8]) -> Result<Vec<Part>, UnpackError> {
    match bytes.len() {
        64 => return Err(UnpackError::Compact),
        length if length < LENGTH => return Err(UnpackError::Length(length)),
        length if length > MAX_BYTES => return Err(UnpackError::TooLong),
        _ => {}
    }
    let count = heads(bytes)?;
    // Where the bytes of the next contract must be.
    let mut next = count * LENGTH;
    let mut parts = vec![];
    for (index, head) in bytes[..next].as_chunks::<LENGTH>().0.iter().enumerate() {
        let number = index + 1;
        let part = match Form::of(head) {
            Form::ApprovedHash(owner, s) if s.is_zero() => Part::ApprovedHash(owner),
            Form::ApprovedHash(..) => return Err(UnpackError::ApprovedHash(number)),
            Form::Contract(owner, s) => {
                if s != U256::from(next) {
                    return Err(UnpackError::Offset { number, found: s, expected: next });
                }
                let data = tail(bytes, next).ok_or(UnpackError::CutOff(number))?;
                next += LENGTH_WORD + data.len();
                Part::Contract { owner, data: Bytes::copy_from_slice(data) }
            }
            Form::Key => OwnerSignature::from_bytes(head)
                .map(Part::Key)
                .map_err(|source| UnpackError::Part { number, source })?,
        };
        parts.push(part);
    }
    match bytes.len() - next {
        0 => Ok(parts),
        trailing => Err(UnpackError::Trailing(trailing)),
    }
}

/// How many owners there are: the bytes of the first contract begin where their parts end.
fn heads(bytes: &[u8]) -> Result<usize, UnpackError> {
    for (index, head) in bytes.as_chunks::<LENGTH>().0.iter().enumerate() {
        let Form::Contract(_, s) = Form::of(head) else { continue };
        let count = usize::try_from(s).unwrap_or(usize::MAX) / LENGTH;
        let is_good = s == U256::from(count.saturating_mul(LENGTH))
            && count > index
            && count <= bytes.len() / LENGTH;
        return if is_good {
            Ok(count)
        } else {
            let expected = (index + 1) * LENGTH;
            Err(UnpackError::Offset { number: index + 1, found: s, expected })
        };
    }
    if bytes.len().is_multiple_of(LENGTH) {
        Ok(bytes.len() / LENGTH)
    } else {
        Err(UnpackError::Length(bytes.len()))
    }
}

fn tail(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let (length, rest) = rest.split_at_checked(LENGTH_WORD)?;
    let length = usize::try_from(U256::from_be_slice(length)).ok()?;
    rest.get(..length)
}

/// What the 65 bytes of an owner say they are.
enum Form {
    Key,
    ApprovedHash(Address, U256),
    Contract(Address, U256),
}

impl Form {
    fn of(head: &[u8; LENGTH]) -> Self {
        let (r, s) = (B256::from_slice(&head[..32]), U256::from_be_slice(&head[32..64]));
        // A point of the curve looks like an address once in 2^96; some wallets count v from 0.
        if r[..12].iter().any(|byte| *byte != 0) {
            return Self::Key;
        }
        match head[64] {
            0 => Self::Contract(Address::from_word(r), s),
            1 => Self::ApprovedHash(Address::from_word(r), s),
            _ => Self::Key,
        }
    }
}

#[cfg(test)]
mod tests;
