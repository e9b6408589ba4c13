//! The JSON spelling of what a transaction is made of: addresses in EIP-55 mixed case, numbers as
//! decimal strings. A Safe's tools refuse anything else, and a `uint256` does not fit a JSON number.

/// `#[serde(with = "text::address")]`
pub mod address {
    use alloy::primitives::Address;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(address: &Address, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(address)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        Address::deserialize(deserializer)
    }
}

/// `#[serde(with = "text::decimal")]`. Reads JSON numbers too, since other tools write them.
pub mod decimal {
    use alloy::primitives::U256;
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrText {
        Number(u64),
        Text(String),
    }

    pub fn serialize<S: Serializer>(number: &U256, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<U256, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => Ok(U256::from(number)),
            NumberOrText::Text(text) => parse(&text).ok_or_else(|| {
                de::Error::custom("expected a whole number below 2^256 in decimal digits")
            }),
        }
    }

    /// Digits only: no sign, no prefix, no separators, at most the 78 digits of 2^256.
    #[must_use]
    pub fn parse(text: &str) -> Option<U256> {
        let digits = (1..=78).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
        if digits { U256::from_str_radix(text, 10).ok() } else { None }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_digits_are_numbers() {
            assert_eq!(parse("0"), Some(U256::ZERO));
            assert_eq!(parse(&U256::MAX.to_string()), Some(U256::MAX));
            let too_big = format!("{}0", U256::MAX);
            for text in ["", "-1", "+1", "0x1", "1_000", " 1", "1.0", "1e3", &too_big] {
                assert_eq!(parse(text), None, "{text:?}");
            }
        }
    }
}
