//! What the relayer may spend on one transaction of a chain.

use alloy::primitives::utils::{ParseUnits, parse_units};

use super::{ConfigError, wrong};
use crate::request::ids::ChainId;

const GWEI: u64 = 1_000_000_000;
/// Beyond this it is a slip: a thousandth of an ether for each unit of gas.
const FEE_MAX: u64 = 1_000_000 * GWEI;
/// Several times what an execution needs.
const DEFAULT_GAS: u64 = 1_500_000;
/// A bare transfer, and what a transaction may have on Ethereum (EIP-7825).
const GAS: std::ops::RangeInclusive<u64> = 21_000..=16_777_216;

/// Upper bounds. When the chain asks for more, the relayer waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayerCaps {
    /// In wei per gas, the tip included. Zero: nothing is sent on this chain.
    pub max_fee: u64,
    /// Gas of one transaction.
    pub max_gas: u64,
}

impl RelayerCaps {
    /// Several times what gas usually costs there.
    #[must_use]
    pub fn default_for(chain: ChainId) -> Self {
        let gwei = match chain.get() {
            // Rollups.
            10 | 8453 | 42161 | 84532 => 2,
            _ => 50,
        };
        Self { max_fee: gwei * GWEI, max_gas: DEFAULT_GAS }
    }

    pub(super) fn read(
        chain: ChainId,
        max_fee_gwei: Option<&str>,
        max_gas: Option<u64>,
    ) -> Result<Self, ConfigError> {
        let name = |key: &str| format!("chains.{chain}.{key}");
        let default = Self::default_for(chain);
        let max_fee = match max_fee_gwei {
            Some(text) => parse_gwei(text).ok_or_else(|| {
                let problem = "expected a number of gwei up to a million, such as \"2.5\"";
                wrong(name("relayer_max_fee_gwei"), problem)
            })?,
            None => default.max_fee,
        };
        let max_gas = max_gas.unwrap_or(default.max_gas);
        if GAS.contains(&max_gas) {
            return Ok(Self { max_fee, max_gas });
        }
        let problem = format!("expected {} to {}", GAS.start(), GAS.end());
        Err(wrong(name("relayer_max_gas"), problem))
    }
}

/// A decimal number of gwei, in wei.
fn parse_gwei(text: &str) -> Option<u64> {
    let is_plain = text.chars().all(|c| c.is_ascii_digit() || c == '.') && !text.is_empty();
    let ParseUnits::U256(wei) = parse_units(text, "gwei").ok().filter(|_| is_plain)? else {
        return None;
    };
    u64::try_from(wei).ok().filter(|wei| *wei <= FEE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gwei_are_read_exactly() {
        for (text, wei) in [
            ("2.5", Some(2_500_000_000)),
            ("0", Some(0)),
            ("0.000000001", Some(1)),
            ("1000000", Some(FEE_MAX)),
            ("1000000.1", None),
            ("-1", None),
            ("1e3", None),
            ("", None),
            ("two", None),
        ] {
            assert_eq!(parse_gwei(text), wei, "{text:?}");
        }
    }

    #[test]
    fn a_rollup_is_cheaper_than_ethereum() {
        let cap = |chain| RelayerCaps::default_for(ChainId::new(chain).unwrap()).max_fee;
        assert_eq!((cap(8453), cap(1)), (2 * GWEI, 50 * GWEI));
    }
}
