//! Who acts for a Safe, may stop it, or answers for a signature of it, beside owners with a key: its
//! modules, its guards, its fallback handler, and those of its owners that are contracts. What the
//! chain says of them at one block; read in `chain`, shown to signers.

use alloy::primitives::Address;
use serde::{Deserialize, Serialize};

use super::{
    SafeVersion,
    decode::{Warning, WarningCode},
};

/// Who else acts for a Safe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Extensions {
    /// Each may execute without a signature.
    #[schema(value_type = Vec<String>)]
    pub modules: Vec<Address>,
    /// There are more modules than were read.
    pub has_more_modules: bool,
    /// Is asked before and after every transaction, and may refuse it.
    #[schema(value_type = Option<String>)]
    pub guard: Option<Address>,
    /// The same for what modules do.
    #[schema(value_type = Option<String>)]
    pub module_guard: Option<Address>,
    /// Answers what the Safe has no function for, such as questions for a signature.
    #[schema(value_type = Option<String>)]
    pub fallback_handler: Option<Address>,
}

/// An owner of a Safe that has code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContractOwner {
    #[schema(value_type = String)]
    pub owner: Address,
    #[serde(flatten)]
    pub kind: ContractOwnerKind,
}

/// What such an owner is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ContractOwnerKind {
    /// A Safe itself.
    Safe(NestedSafe),
    /// It says it is a Safe, of a version whose rules nobody has checked.
    UnknownSafe { version: String },
    /// A contract that is no Safe.
    Other,
    /// It does not answer, or not as what it says it is.
    Unreadable,
    /// There are more owners with code than are looked at.
    NotLookedAt,
}

/// A Safe that owns a Safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NestedSafe {
    #[schema(value_type = String)]
    pub version: SafeVersion,
    #[schema(value_type = Vec<String>)]
    pub owners: Vec<Address>,
    pub threshold: u32,
    /// Since 1.3.0 it is what answers for a signature; without one the Safe cannot sign.
    #[schema(value_type = Option<String>)]
    pub fallback_handler: Option<Address>,
    /// Those of its owners that are contracts themselves: one more level, which is not followed. Absent
    /// when it has too many owners to look at each.
    #[schema(value_type = Option<Vec<String>>)]
    pub contract_owners: Option<Vec<Address>>,
}

/// What stands around a Safe at one block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Around {
    /// Number of the block it was read at.
    pub block: u64,
    /// Absent when the Safe does not answer as one of its version does.
    pub extensions: Option<Extensions>,
    pub contract_owners: Vec<ContractOwner>,
}

impl Around {
    /// Whether two looks, perhaps at different blocks, saw the same.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        (&self.extensions, &self.contract_owners) == (&other.extensions, &other.contract_owners)
    }

    /// What signers must know of it: who needs no signature of theirs.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let Some(extensions) = &self.extensions else {
            let text = "the modules and guards of the Safe do not read: somebody may act for it \
                        without signatures";
            return vec![Warning { code: WarningCode::ExtensionsUnreadable, text: text.into() }];
        };
        if extensions.modules.is_empty() {
            return vec![];
        }
        let named: Vec<String> = extensions.modules.iter().map(ToString::to_string).collect();
        let more = if extensions.has_more_modules { " and more" } else { "" };
        let text = format!(
            "modules act for the Safe without any of its owners' signatures: {}{more}",
            named.join(", ")
        );
        vec![Warning { code: WarningCode::Modules, text }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_warned_of_and_so_is_what_does_not_read() {
        let around = |extensions| Around { block: 1, extensions, contract_owners: vec![] };
        assert_eq!(around(Some(Extensions::default())).warnings(), []);
        let modules = vec![Address::repeat_byte(7)];
        let with = Extensions { modules, has_more_modules: true, ..Extensions::default() };
        let warnings = around(Some(with)).warnings();
        assert_eq!(warnings[0].code, WarningCode::Modules);
        assert!(warnings[0].text.ends_with("07 and more"), "{}", warnings[0].text.to_lowercase());
        assert_eq!(around(None).warnings()[0].code, WarningCode::ExtensionsUnreadable);
    }

    #[test]
    fn a_block_alone_is_no_news() {
        let one = Around { block: 1, extensions: None, contract_owners: vec![] };
        let other = Around { block: 2, ..one.clone() };
        assert!(one.says_the_same(&other));
        let owner = ContractOwner { owner: Address::ZERO, kind: ContractOwnerKind::Other };
        assert!(!one.says_the_same(&Around { contract_owners: vec![owner], ..other }));
    }

    #[test]
    fn what_is_stored_reads_back() {
        let safe = NestedSafe {
            version: SafeVersion::V1_3_0,
            owners: vec![Address::repeat_byte(1)],
            threshold: 1,
            fallback_handler: None,
            contract_owners: Some(vec![]),
        };
        for kind in [
            ContractOwnerKind::Safe(safe),
            ContractOwnerKind::UnknownSafe { version: "9".into() },
            ContractOwnerKind::Other,
            ContractOwnerKind::Unreadable,
            ContractOwnerKind::NotLookedAt,
        ] {
            let owner = ContractOwner { owner: Address::repeat_byte(2), kind };
            let json = serde_json::to_value(&owner).unwrap();
            assert_eq!(serde_json::from_value::<ContractOwner>(json).unwrap(), owner);
        }
    }
}
