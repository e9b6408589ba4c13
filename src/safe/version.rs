//! Versions of the Safe contract, and what differs between them for us.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A released version of the Safe contract, oldest first. Its L2 variant has the same rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SafeVersion {
    V1_0_0,
    V1_1_1,
    V1_2_0,
    V1_3_0,
    V1_4_1,
    V1_5_0,
}

/// A `VERSION()` whose rules nobody has checked. Guessing them would produce a wrong hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a Safe version Countersign knows (1.0.0, 1.1.1, 1.2.0, 1.3.0, 1.4.1, 1.5.0, each with or without +L2)"
)]
pub struct UnknownVersion;

impl SafeVersion {
    pub const ALL: [Self; 6] =
        [Self::V1_0_0, Self::V1_1_1, Self::V1_2_0, Self::V1_3_0, Self::V1_4_1, Self::V1_5_0];

    /// The number without `+L2`.
    #[must_use]
    pub fn number(self) -> &'static str {
        match self {
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_1 => "1.1.1",
            Self::V1_2_0 => "1.2.0",
            Self::V1_3_0 => "1.3.0",
            Self::V1_4_1 => "1.4.1",
            Self::V1_5_0 => "1.5.0",
        }
    }

    /// Whether the EIP-712 domain holds the chain id. Before 1.3.0 it does not, and a signature
    /// is good for the Safe of the same address on every chain.
    #[must_use]
    pub fn domain_has_chain_id(self) -> bool {
        self >= Self::V1_3_0
    }

    /// Whether the contract takes signatures that were made with `eth_sign`. 1.0.0 does not: it reads
    /// `v` 31 and 32 as no signature at all.
    #[must_use]
    pub fn takes_eth_sign(self) -> bool {
        self > Self::V1_0_0
    }

    /// Whether a failing call spends the nonce although `safeTxGas` is zero. Before 1.3.0 it does:
    /// the Safe's own transaction succeeds, and nothing is done.
    #[must_use]
    pub fn failure_spends_nonce(self) -> bool {
        self < Self::V1_3_0
    }

    /// Whether the Safe tells of its transactions when they succeed. 1.0.0 tells of failures alone.
    #[must_use]
    pub fn tells_success(self) -> bool {
        self > Self::V1_0_0
    }

    /// Whether the Safe asks an owner that is a contract about the hash of a transaction, instead of
    /// the bytes that the hash is made of.
    #[must_use]
    pub fn asks_contracts_about_hash(self) -> bool {
        self >= Self::V1_5_0
    }

    /// What signers of such a Safe should know, whatever they sign.
    #[must_use]
    pub fn notes(self) -> Vec<&'static str> {
        let mut notes = vec![];
        if !self.domain_has_chain_id() {
            notes.push(
                "A signature for a Safe before 1.3.0 names no chain: it is good on every chain where \
                 this address is a Safe of yours at the same nonce.",
            );
        }
        if self.failure_spends_nonce() {
            notes.push(
                "In a Safe before 1.3.0 a call that fails, as for want of gas, spends the nonce and \
                 the signatures with it: execute with the gas limit that is given, not with an \
                 estimate.",
            );
        }
        notes
    }

    /// Whether a batch entry to the zero address is a call to the Safe itself (MultiSend of 1.5.0).
    #[must_use]
    pub fn zero_target_is_the_safe(self) -> bool {
        self >= Self::V1_5_0
    }
}

impl fmt::Display for SafeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number())
    }
}

/// Reads what `VERSION()` returns.
impl FromStr for SafeVersion {
    type Err = UnknownVersion;
    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        let number = text.strip_suffix("+L2").unwrap_or(text);
        Self::ALL.into_iter().find(|version| version.number() == number).ok_or(UnknownVersion)
    }
}

impl Serialize for SafeVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.number())
    }
}

impl<'de> Deserialize<'de> for SafeVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_contract_says_them() {
        for version in SafeVersion::ALL {
            assert_eq!(version.number().parse(), Ok(version));
            assert_eq!(format!("{version}+L2").parse(), Ok(version));
        }
        for text in ["", "1.4.0", "1.4", "1.4.1+L1", "1.4.1+L2+L2", "v1.4.1", "0.1.0", "2.0.0"] {
            assert_eq!(text.parse::<SafeVersion>(), Err(UnknownVersion), "{text:?}");
        }
    }

    #[test]
    fn the_chain_id_came_with_1_3_0() {
        let with = SafeVersion::ALL.map(SafeVersion::domain_has_chain_id);
        assert_eq!(with, [false, false, false, true, true, true]);
        let notes = SafeVersion::ALL.map(|version| version.notes().len());
        assert_eq!(notes, [2, 2, 2, 0, 0, 0]);
    }
}
