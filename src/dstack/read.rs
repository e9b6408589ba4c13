//! State reads of a DstackApp: the calldata to ask with, and strict decoding of what comes back.
//!
//! An address without code answers `eth_call` with nothing, a wrong contract with anything, and a
//! failing endpoint with garbage. None of that may be read as "not registered": whatever is not
//! exactly one well-formed word is [`UnreadableAnswer`].

use alloy::{
    primitives::{Address, B256, Bytes, U256, b256},
    sol_types::SolCall,
};

use super::{Generation, abi::DstackApp};
use crate::request::ids::{ComposeHash, DeviceId};

/// An answer that says neither yes nor no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableAnswer {
    #[error("empty answer: there is no contract, or it has no such function")]
    Empty,
    #[error("answer of {0} bytes where one 32-byte word belongs")]
    Length(usize),
    #[error("a word that is neither 0 nor 1 where yes or no belongs")]
    NotBool,
    #[error("a word that is no address")]
    NotAddress,
    #[error("a number beyond 64 bits")]
    NotU64,
    #[error("the storage is not laid out as in any known generation")]
    Layout,
}

/// Where a proxy keeps the address of its code (ERC-1967).
pub const IMPLEMENTATION_SLOT: B256 =
    b256!("360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc");

/// The word that holds the flags, one of which no function tells. G0 has its app id in front.
#[must_use]
pub fn flags_slot(generation: Generation) -> B256 {
    B256::with_last_byte(if generation == Generation::G0 { 2 } else { 1 })
}

/// Whether upgrades are disabled, out of the word at [`flags_slot`]. The next byte is the switch for
/// any device, which the contract tells as well: it shows whether this is the word it should be.
pub fn decode_flags(word: B256, any_device: bool) -> Result<bool, UnreadableAnswer> {
    let fits = word[..30].iter().all(|byte| *byte == 0) && word[30] == u8::from(any_device);
    match word[31] {
        flag @ (0 | 1) if fits => Ok(flag == 1),
        _ => Err(UnreadableAnswer::Layout),
    }
}

/// A question to a DstackApp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Read {
    /// Answered by [`decode_bool`], like the next three.
    AllowedComposeHash(ComposeHash),
    AllowedDevice(DeviceId),
    AllowAnyDevice,
    /// G2 and later.
    RequireTcbUpToDate,
    /// Answered by [`decode_address`].
    Owner,
    /// G3. Answered by [`decode_address`].
    PendingOwner,
    /// G2 and later. Answered by [`decode_u64`].
    Version,
    /// G0. Answered by [`decode_address`].
    AppId,
}

impl Read {
    /// What to send to the app.
    #[must_use]
    pub fn calldata(&self) -> Bytes {
        match self {
            Self::AllowedComposeHash(hash) => {
                DstackApp::allowedComposeHashesCall { composeHash: hash.0 }.abi_encode()
            }
            Self::AllowedDevice(device) => {
                DstackApp::allowedDeviceIdsCall { deviceId: device.0 }.abi_encode()
            }
            Self::AllowAnyDevice => DstackApp::allowAnyDeviceCall {}.abi_encode(),
            Self::RequireTcbUpToDate => DstackApp::requireTcbUpToDateCall {}.abi_encode(),
            Self::Owner => DstackApp::ownerCall {}.abi_encode(),
            Self::PendingOwner => DstackApp::pendingOwnerCall {}.abi_encode(),
            Self::Version => DstackApp::versionCall {}.abi_encode(),
            Self::AppId => DstackApp::appIdCall {}.abi_encode(),
        }
        .into()
    }
}

fn word(answer: &[u8]) -> Result<B256, UnreadableAnswer> {
    match answer.len() {
        32 => Ok(B256::from_slice(answer)),
        0 => Err(UnreadableAnswer::Empty),
        length => Err(UnreadableAnswer::Length(length)),
    }
}

/// Yes or no: a word of exactly 0 or 1.
pub fn decode_bool(answer: &[u8]) -> Result<bool, UnreadableAnswer> {
    let number = U256::from_be_bytes(word(answer)?.0);
    if number > U256::ONE { Err(UnreadableAnswer::NotBool) } else { Ok(number == U256::ONE) }
}

/// An address: a word with twelve zero bytes in front.
pub fn decode_address(answer: &[u8]) -> Result<Address, UnreadableAnswer> {
    let word = word(answer)?;
    if word[..12].iter().any(|byte| *byte != 0) {
        return Err(UnreadableAnswer::NotAddress);
    }
    Ok(Address::from_word(word))
}

/// A number of at most 64 bits.
pub fn decode_u64(answer: &[u8]) -> Result<u64, UnreadableAnswer> {
    U256::from_be_bytes(word(answer)?.0).try_into().map_err(|_| UnreadableAnswer::NotU64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: u64) -> [u8; 32] {
        U256::from(value).to_be_bytes()
    }

    #[test]
    fn questions_have_the_recorded_selectors() {
        let compose = Read::AllowedComposeHash(ComposeHash(B256::repeat_byte(0xaa)));
        let device = Read::AllowedDevice(DeviceId(B256::repeat_byte(0xbb)));
        for (read, selector, length) in [
            (compose, "2f6622e5", 36),
            (device, "bf8b211b", 36),
            (Read::AllowAnyDevice, "3440a16a", 4),
            (Read::RequireTcbUpToDate, "0aa58c83", 4),
            (Read::Owner, "8da5cb5b", 4),
            (Read::PendingOwner, "e30c3978", 4),
            (Read::Version, "54fd4d50", 4),
        ] {
            let calldata = read.calldata();
            assert_eq!(alloy::hex::encode(&calldata[..4]), selector, "{read:?}");
            assert_eq!(calldata.len(), length, "{read:?}");
        }
    }

    #[test]
    fn unreadable_is_never_false() {
        assert_eq!(decode_bool(&number(0)), Ok(false));
        assert_eq!(decode_bool(&number(1)), Ok(true));
        assert_eq!(decode_bool(&number(2)), Err(UnreadableAnswer::NotBool));
        assert_eq!(decode_bool(&[0xff; 32]), Err(UnreadableAnswer::NotBool));
        assert_eq!(decode_bool(&[]), Err(UnreadableAnswer::Empty));
        assert_eq!(decode_bool(&[0; 31]), Err(UnreadableAnswer::Length(31)));
        assert_eq!(decode_bool(&[0; 64]), Err(UnreadableAnswer::Length(64)));
    }

    #[test]
    fn the_flags_are_read_where_the_contract_shows_that_they_are() {
        let word = |any_device: u8, disabled: u8| {
            let mut word = B256::ZERO;
            (word[30], word[31]) = (any_device, disabled);
            word
        };
        assert_eq!(decode_flags(word(0, 1), false), Ok(true));
        assert_eq!(decode_flags(word(1, 0), true), Ok(false));
        for (word, any_device) in
            [(word(1, 0), false), (word(0, 2), false), (B256::repeat_byte(1), true)]
        {
            assert_eq!(decode_flags(word, any_device), Err(UnreadableAnswer::Layout));
        }
        assert_eq!(flags_slot(Generation::G0), B256::with_last_byte(2));
        assert_eq!(flags_slot(Generation::G3), B256::with_last_byte(1));
    }

    #[test]
    fn addresses_and_numbers_must_fit() {
        let owner = Address::repeat_byte(0x11);
        assert_eq!(decode_address(owner.into_word().as_slice()), Ok(owner));
        assert_eq!(decode_address(&[0x11; 32]), Err(UnreadableAnswer::NotAddress));
        assert_eq!(decode_u64(&number(2)), Ok(2));
        assert_eq!(decode_u64(&[0xff; 32]), Err(UnreadableAnswer::NotU64));
    }
}
