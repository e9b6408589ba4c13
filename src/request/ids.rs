//! The identifiers a request is made of, each its own type, so that a device can never stand where
//! a compose hash belongs.
//!
//! Parsing happens once, at the door, and forgives what people paste: a `0x` prefix or none, any
//! letter case, surrounding blanks. Printing is always the same: hashes in lower case with `0x`,
//! addresses in EIP-55 mixed case.

use std::{fmt, str::FromStr};

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// Why a text is not an identifier. The text itself is never part of the message: what people
/// paste into the wrong field may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    #[error("expected {expected} hexadecimal digits, with or without 0x, found {found} characters")]
    Length { expected: usize, found: usize },
    #[error(
        "expected {expected} hexadecimal digits, with or without 0x; character {position} is none"
    )]
    NotHex { expected: usize, position: usize },
    #[error("the capital letters are the checksum of another address (EIP-55): is it mistyped?")]
    Checksum,
    #[error("expected a chain id, a whole number from 1 to 2^53 - 1")]
    Chain,
    #[error("expected a UUID")]
    Uuid,
    #[error("expected 1 to {max} letters, digits or any of - _ . :")]
    Name { max: usize },
}

/// Strips what people paste around hexadecimal digits and checks length and alphabet.
fn hex_digits(text: &str, expected: usize) -> Result<&str, ParseIdError> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    if let Some(position) = digits.chars().position(|c| !c.is_ascii_hexdigit()) {
        return Err(ParseIdError::NotHex { expected, position });
    }
    if digits.len() == expected {
        Ok(digits)
    } else {
        Err(ParseIdError::Length { expected, found: digits.len() })
    }
}

/// Text form, JSON form and OpenAPI schema of an identifier that prints and parses as a string.
macro_rules! text_id {
    ($name:ident, $example:literal, $pattern:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::schema::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some($pattern))
                    .examples([serde_json::json!($example)])
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}

/// A 32-byte identifier.
macro_rules! hash_id {
    ($(#[$meta:meta])* $name:ident, $example:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub B256);

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                hex_digits(text, 64)?.parse().map(Self).map_err(|_| ParseIdError::NotHex { expected: 64, position: 0 })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        text_id!($name, $example, "^0x[0-9a-f]{64}$");
    };
}

hash_id!(
    /// SHA-256 of the `app-compose.json` an instance boots with.
    ComposeHash,
    "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
);
hash_id!(
    /// SHA-256 of the PPID of the machine an instance runs on.
    DeviceId,
    "0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
);
hash_id!(
    /// The EIP-712 hash that the owners of a Safe sign.
    SafeTxHash,
    "0x3c0550ea6f44c260e534bcd1e860ee901997b71c1efa334f751ec51975f900cb"
);
hash_id!(
    /// Hash of a transaction on a chain.
    TxHash,
    "0x443d7a7a443d7a7a443d7a7a443d7a7a443d7a7a443d7a7a443d7a7a443d7a7a"
);
hash_id!(
    /// Hash of a block.
    BlockHash,
    "0x0f1ca98071173ee5d2cb527dc81f36c8153c0548e10fedd420b6add55ed82ccd"
);

/// An app: the address of its DstackApp contract, which is also its app id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(pub Address);

impl FromStr for AppId {
    type Err = ParseIdError;
    /// Letters in both cases are a checksum (EIP-55), and it must hold: a mistyped app is another one.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let digits = hex_digits(text, 40)?;
        let address: Address =
            digits.parse().map_err(|_| ParseIdError::NotHex { expected: 40, position: 0 })?;
        let has = |is: fn(&u8) -> bool| digits.as_bytes().iter().any(is);
        let is_mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
        if is_mixed && address.to_checksum(None)[2..] != *digits {
            return Err(ParseIdError::Checksum);
        }
        Ok(Self(address))
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_id!(AppId, "0x1111111111111111111111111111111111111111", "^0x[0-9a-fA-F]{40}$");

/// An EVM chain, as in EIP-155. Below 2^53, so that JavaScript readers see the same number
/// and know that they do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, utoipa::ToSchema)]
#[schema(value_type = u64, example = 8453)]
pub struct ChainId(u64);

impl ChainId {
    pub const ETHEREUM: Self = Self(1);
    pub const BASE: Self = Self(8453);
    pub const ANVIL: Self = Self(31337);

    /// # Errors
    /// [`ParseIdError::Chain`] for zero and for numbers from 2^53 on.
    pub fn new(id: u64) -> Result<Self, ParseIdError> {
        if id == 0 || id >= 1 << 53 { Err(ParseIdError::Chain) } else { Ok(Self(id)) }
    }

    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// What people call the chain; the number when it has no common name.
    #[must_use]
    pub fn label(self) -> String {
        match self.0 {
            1 => "Ethereum".into(),
            8453 => "Base".into(),
            84532 => "Base Sepolia".into(),
            11_155_111 => "Sepolia".into(),
            31337 => "Anvil".into(),
            other => format!("chain {other}"),
        }
    }
}

impl FromStr for ChainId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        Self::new(text.trim().parse().map_err(|_| ParseIdError::Chain)?)
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for ChainId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(id) => Self::new(id),
            NumberOrText::Text(text) => text.parse(),
        }
        .map_err(de::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

/// A name Phala Cloud gave to something: opaque, but short and made of harmless characters, since
/// it becomes part of a path and of a page.
macro_rules! cloud_name {
    ($(#[$meta:meta])* $name:ident, $example:literal) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(String);

        impl $name {
            const MAX: usize = 128;

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let text = text.trim();
                let fits = (1..=Self::MAX).contains(&text.len())
                    && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
                    // A name of dots alone would change the path it is put into.
                    && text.chars().any(|c| c.is_ascii_alphanumeric());
                if fits { Ok(Self(text.into())) } else { Err(ParseIdError::Name { max: Self::MAX }) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match NumberOrText::deserialize(deserializer)? {
                    NumberOrText::Number(id) => id.to_string(),
                    NumberOrText::Text(text) => text,
                }
                .parse()
                .map_err(de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::schema::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .max_length(Some(Self::MAX))
                    .examples([serde_json::json!($example)])
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}

cloud_name!(
    /// The CVM a replica is made from.
    SourceCvm,
    "0b7c4a52-6d7e-4f0a-9c1d-2f3a4b5c6d7e"
);
cloud_name!(
    /// A machine of Phala Cloud that instances run on. Older API versions call it a teepod.
    NodeId,
    "5"
);
cloud_name!(
    /// A revision of what an app runs.
    RevisionId,
    "rev_9f8e7d6c"
);
cloud_name!(
    /// The CVM that a commit created.
    ReplicaId,
    "9f8e7d6c-5b4a-4938-8271-605f4e3d2c1b"
);

impl SourceCvm {
    /// The one spelling of a CVM id: a UUID without dashes in lower case, an app as `app_` and its
    /// digits in lower case, anything else untouched.
    /// Phala Cloud answers to both spellings, so both must be the same source here.
    #[must_use]
    pub fn canonical(&self) -> Self {
        match Uuid::try_parse(&self.0) {
            Ok(uuid) => Self(uuid.simple().to_string()),
            Err(_) => self.app().map_or_else(|| self.clone(), Self::of_app),
        }
    }

    /// What stands for an app in the place of a source: its instances are made from no CVM.
    #[must_use]
    pub fn of_app(app: AppId) -> Self {
        Self(format!("app_{}", alloy::hex::encode(app.0)))
    }

    /// The app that stands in the place of a source, if one does.
    #[must_use]
    pub fn app(&self) -> Option<AppId> {
        let (word, id) = self.0.split_at_checked(4)?;
        // Capital letters are no checksum here: Phala Cloud writes none.
        let is_app = word.eq_ignore_ascii_case("app_");
        is_app.then(|| id.to_ascii_lowercase().parse().ok()).flatten()
    }

    /// The same CVM as an instance, in the one spelling of those.
    #[must_use]
    pub fn as_instance(&self) -> ReplicaId {
        match Uuid::try_parse(&self.0) {
            Ok(uuid) => ReplicaId(uuid.hyphenated().to_string()),
            Err(_) => ReplicaId(self.0.clone()),
        }
    }
}

/// A request: one replica on its way.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Debug,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[schema(value_type = Uuid)]
pub struct RequestId(pub Uuid);

impl FromStr for RequestId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.trim().parse().map(Self).map_err(|_| ParseIdError::Uuid)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_case_and_blanks_do_not_matter() {
        let plain = "AB".repeat(32);
        let expected = format!("0x{}", "ab".repeat(32));
        for text in [plain.clone(), format!("0x{plain}"), format!(" 0X{plain}\n")] {
            assert_eq!(text.parse::<ComposeHash>().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn wrong_length_and_alphabet_are_told_apart() {
        assert_eq!(
            "0xabc".parse::<DeviceId>(),
            Err(ParseIdError::Length { expected: 64, found: 3 })
        );
        assert_eq!(
            "0xzz".parse::<AppId>(),
            Err(ParseIdError::NotHex { expected: 40, position: 0 })
        );
        assert_eq!("".parse::<AppId>(), Err(ParseIdError::Length { expected: 40, found: 0 }));
    }

    #[test]
    fn a_checksum_in_an_address_must_hold() {
        let right = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045";
        let (lower, upper) = (right.to_lowercase(), right[2..].to_uppercase());
        for text in [right, &lower, &upper] {
            assert_eq!(text.parse::<AppId>().unwrap().to_string(), right);
        }
        for wrong in [right.replace("d8dA", "d8DA"), right.replace("6045", "6046")] {
            assert_eq!(wrong.parse::<AppId>(), Err(ParseIdError::Checksum), "{wrong}");
        }
    }

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        for text in ["", ".", "..", "a/b", "a?b", "a b", "ä", &"x".repeat(129)] {
            assert!(text.parse::<SourceCvm>().is_err(), "{text:?} must be refused");
        }
        assert_eq!("app_0a".parse::<SourceCvm>().unwrap().as_str(), "app_0a");
    }

    #[test]
    fn both_spellings_of_a_uuid_are_one_source() {
        let dashed: SourceCvm = "0B7C4A52-6d7e-4f0a-9c1d-2f3a4b5c6d7e".parse().unwrap();
        let plain: SourceCvm = "0b7c4a526d7e4f0a9c1d2f3a4b5c6d7e".parse().unwrap();
        assert_eq!(dashed.canonical(), plain.canonical());
    }

    #[test]
    fn chain_ids_come_as_number_or_text() {
        assert_eq!(serde_json::from_str::<ChainId>("8453").unwrap(), ChainId::BASE);
        assert_eq!(serde_json::from_str::<ChainId>("\"8453\"").unwrap(), ChainId::BASE);
        assert!(serde_json::from_str::<ChainId>("0").is_err());
        assert!(serde_json::from_str::<ChainId>("9007199254740991").is_ok());
        assert!(serde_json::from_str::<ChainId>("9007199254740992").is_err());
    }
}
