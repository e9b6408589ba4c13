//! What other programs call a chain: Safe's web application and safe-tx-hashes-util.
//!
//! Short names are those of EIP-3770 as Safe's own list has them (`@safe-global/protocol-kit`
//! 8.0.7), against which the peers' tests hold this table. Safe's Transaction Service uses the same
//! ones in its addresses, except for Polygon, which is `pol` there.

use crate::request::ids::ChainId;

/// A chain that Safe{Wallet} serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub chain: u64,
    /// What stands before the colon in `base:0x…`.
    pub short_name: &'static str,
    /// What `safe_hashes.sh --network` takes, as its README lists it.
    pub hashes_name: &'static str,
}

const fn network(chain: u64, short_name: &'static str, hashes_name: &'static str) -> Network {
    Network { chain, short_name, hashes_name }
}

/// Every chain that both programs know and that somebody may want here.
pub const NETWORKS: [Network; 17] = [
    network(1, "eth", "ethereum"),
    network(10, "oeth", "optimism"),
    network(56, "bnb", "bsc"),
    network(100, "gno", "gnosis"),
    network(137, "matic", "polygon"),
    network(324, "zksync", "zksync"),
    network(480, "wc", "worldchain"),
    network(5000, "mantle", "mantle"),
    network(8453, "base", "base"),
    network(10200, "chi", "gnosis-chiado"),
    network(42161, "arb1", "arbitrum"),
    network(42220, "celo", "celo"),
    network(43114, "avax", "avalanche"),
    network(59144, "linea", "linea"),
    network(84532, "basesep", "base-sepolia"),
    network(534_352, "scr", "scroll"),
    network(11_155_111, "sep", "sepolia"),
];

/// The network of this chain. A local chain has none.
#[must_use]
pub fn find(chain: ChainId) -> Option<&'static Network> {
    NETWORKS.iter().find(|network| network.chain == chain.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_known_by_its_names_and_a_local_one_has_none() {
        for (chain, names) in [
            (1, Some(("eth", "ethereum"))),
            (8453, Some(("base", "base"))),
            (84532, Some(("basesep", "base-sepolia"))),
            (11_155_111, Some(("sep", "sepolia"))),
            (137, Some(("matic", "polygon"))),
            (31337, None),
            (8454, None),
        ] {
            let found = find(ChainId::new(chain).unwrap());
            assert_eq!(found.map(|one| (one.short_name, one.hashes_name)), names, "{chain}");
        }
    }

    #[test]
    fn no_name_stands_for_two_chains() {
        for (index, one) in NETWORKS.iter().enumerate() {
            for other in &NETWORKS[index + 1..] {
                assert!(one.chain < other.chain, "in order, so none is there twice");
                assert_ne!(one.short_name, other.short_name);
                assert_ne!(one.hashes_name, other.hashes_name);
            }
        }
    }
}
