//! Who acted on an app, and how: the account that called it, and what let that account do so.

use std::fmt;

use alloy::primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

use super::text;
use crate::request::ids::SafeTxHash;

/// The address of an account or a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, example = "0x1111111111111111111111111111111111111111")]
pub struct Account(#[serde(with = "text::address")] pub Address);

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who called an app, and how. `address` is the caller itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ActedBy {
    /// An account, by its own key.
    Account { address: Account },
    /// A Safe, with its owners' signatures.
    Safe { address: Account, safe_tx_hash: SafeTxHash },
    /// A Safe, through a module and so without signatures.
    Module { address: Account, module: Account },
    /// A timelock that executed one of its operations.
    Timelock {
        address: Account,
        #[schema(value_type = String)]
        operation: B256,
        /// Said by another contract in the same transaction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        governor: Option<GovernorProposal>,
    },
    /// A governor that executed a proposal itself.
    Governor {
        address: Account,
        #[serde(with = "text::decimal")]
        #[schema(value_type = String)]
        proposal: U256,
    },
    /// Nobody yet: it happened while the app was set up.
    Deployment,
    /// A contract, in a way that the logs do not tell; `address` is null when it is not known
    /// which, and `to` is where the transaction went.
    Contract { address: Option<Account>, to: Option<Account> },
}

/// A governor's proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GovernorProposal {
    pub address: Account,
    #[serde(with = "text::decimal")]
    #[schema(value_type = String)]
    pub proposal: U256,
}

impl fmt::Display for ActedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account { address } => write!(f, "account {address}"),
            Self::Safe { address, safe_tx_hash } => {
                write!(f, "Safe {address}, transaction {safe_tx_hash}")
            }
            Self::Module { address, module } => write!(f, "module {module} of Safe {address}"),
            Self::Timelock { address, operation, governor } => {
                write!(f, "timelock {address}, operation {operation}")?;
                match governor {
                    Some(GovernorProposal { address, proposal }) => {
                        write!(f, ", for proposal {proposal} of governor {address}")
                    }
                    None => Ok(()),
                }
            }
            Self::Governor { address, proposal } => {
                write!(f, "governor {address}, proposal {proposal}")
            }
            Self::Deployment => f.write_str("deployment"),
            Self::Contract { address: Some(address), .. } => write!(f, "contract {address}"),
            Self::Contract { to: Some(to), .. } => write!(f, "a contract, called through {to}"),
            Self::Contract { .. } => f.write_str("a contract"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_survives_its_json_and_names_its_kind() {
        let address = Account(Address::repeat_byte(0xab));
        let proposal = GovernorProposal { address, proposal: U256::MAX };
        let operation = B256::repeat_byte(7);
        for (way, kind) in [
            (ActedBy::Account { address }, "account"),
            (ActedBy::Safe { address, safe_tx_hash: SafeTxHash(operation) }, "safe"),
            (ActedBy::Module { address, module: address }, "module"),
            (ActedBy::Timelock { address, operation, governor: None }, "timelock"),
            (ActedBy::Timelock { address, operation, governor: Some(proposal) }, "timelock"),
            (ActedBy::Governor { address, proposal: U256::MAX }, "governor"),
            (ActedBy::Deployment, "deployment"),
            (ActedBy::Contract { address: None, to: Some(address) }, "contract"),
        ] {
            let text = serde_json::to_value(&way).unwrap();
            assert_eq!(text["kind"], kind);
            assert_eq!(serde_json::from_value::<ActedBy>(text).unwrap(), way);
            assert!(way.to_string().contains(kind) || kind == "safe", "{way}");
        }
    }

    #[test]
    fn addresses_are_spelled_in_mixed_case() {
        let address = Account(Address::repeat_byte(0xab));
        assert_eq!(
            serde_json::to_value(ActedBy::Account { address }).unwrap(),
            json!({ "kind": "account", "address": address.0.to_string() })
        );
    }
}
