//! What the relayer's account can pay for.

use std::fmt;

use alloy::primitives::{Address, U256};

use super::decide::coins;
use crate::{
    chain::{Chain, ChainError},
    config::RelayerCaps,
};

/// What an execution mostly needs, in gas.
const USUAL_GAS: u64 = 200_000;

/// The account on one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purse {
    pub relayer: Address,
    /// In wei.
    pub balance: U256,
    pub caps: RelayerCaps,
}

/// Reads what the account holds at the newest block.
pub async fn purse(chain: &Chain, relayer: Address) -> Result<Purse, ChainError> {
    let at = chain.head().await?.block;
    let balance = chain.balance(relayer, at).await?;
    let label = chain.id().to_string();
    let whole: f64 = coins(balance).parse().unwrap_or_default();
    metrics::gauge!("countersign_relayer_balance", "chain" => label).set(whole);
    Ok(Purse { relayer, balance, caps: chain.settings().relayer })
}

impl Purse {
    /// What a usual execution costs, at the highest price that is paid.
    fn usual(&self) -> U256 {
        self.costs(USUAL_GAS.min(self.caps.max_gas))
    }

    fn costs(&self, gas: u64) -> U256 {
        U256::from(gas) * U256::from(self.caps.max_fee)
    }

    /// Whether a usual execution can be paid for at any price that is paid.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.balance >= self.usual()
    }
}

impl fmt::Display for Purse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (relayer, holds) = (self.relayer, coins(self.balance));
        let (usual, most) = (coins(self.usual()), coins(self.costs(self.caps.max_gas)));
        write!(
            f,
            "{relayer} holds {holds} of the chain's coin; at the highest price that it pays a usual \
             execution costs {usual}, and one with all the gas that it may have {most}"
        )?;
        if self.is_enough() { Ok(()) } else { f.write_str(": send it some") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::ids::ChainId;

    #[test]
    fn a_purse_is_enough_for_one_execution_at_the_highest_price() {
        let caps = RelayerCaps::default_for(ChainId::BASE);
        let purse = |wei: u64| Purse { relayer: Address::ZERO, balance: U256::from(wei), caps };
        let needs = USUAL_GAS * caps.max_fee;
        assert!(purse(needs).is_enough() && !purse(needs - 1).is_enough());
        let told = purse(needs - 1).to_string();
        assert!(told.contains("0.000399999999999999") && told.ends_with("send it some"), "{told}");
        assert!(told.contains("execution costs 0.0004,") && told.contains("have 0.003:"), "{told}");
        let little = RelayerCaps { max_gas: 100_000, ..caps };
        let told = Purse { relayer: Address::ZERO, balance: U256::MAX, caps: little }.to_string();
        assert!(told.contains("costs 0.0002,") && told.ends_with("have 0.0002"), "{told}");
    }
}
