//! Functions known by name, so that calldata can be put into words: those of a DstackApp and those
//! that change a Safe.
//!
//! Arguments are shown only when they encode back to exactly the calldata they came from. Calldata
//! that merely starts like a known function may mean something else to the contract.

use std::sync::LazyLock;

use alloy::{
    dyn_abi::{DynSolValue, JsonAbiExt},
    hex,
    json_abi::Function,
};
use serde::{Deserialize, Serialize};

use crate::dstack::{self, KnownFunction};

/// Functions of a Safe that change who controls it, 1.0.0 to 1.5.0.
pub const SAFE_FUNCTIONS: &[KnownFunction] = &[
    safe("addOwnerWithThreshold(address owner, uint256 threshold)", "adds an owner to the Safe"),
    safe(
        "removeOwner(address prevOwner, address owner, uint256 threshold)",
        "removes an owner of the Safe",
    ),
    safe(
        "swapOwner(address prevOwner, address oldOwner, address newOwner)",
        "replaces an owner of the Safe",
    ),
    safe("changeThreshold(uint256 threshold)", "changes how many owners must sign"),
    safe("enableModule(address module)", "lets a contract act as the Safe without any signature"),
    safe("disableModule(address prevModule, address module)", "takes a module away from the Safe"),
    safe("setGuard(address guard)", "changes what may stop transactions of the Safe"),
    safe("setModuleGuard(address moduleGuard)", "changes what may stop modules of the Safe"),
    safe("setFallbackHandler(address handler)", "changes the code that answers for the Safe"),
    safe("changeMasterCopy(address masterCopy)", "replaces the code of the Safe"),
    safe("approveHash(bytes32 hashToApprove)", "signs another transaction in the Safe's name"),
];

const fn safe(signature: &'static str, danger: &'static str) -> KnownFunction {
    KnownFunction { signature, danger: Some(danger) }
}

/// One argument of a call, as text: hashes and bytes in hexadecimal, numbers in decimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Argument {
    pub name: String,
    pub value: String,
}

/// A known function, ready to read calldata.
pub struct Known {
    function: Function,
    danger: Option<&'static str>,
}

/// The tables, parsed once. A text that does not parse is our own mistake, and a test's to find.
static APP: LazyLock<Vec<Known>> = LazyLock::new(|| parsed(dstack::FUNCTIONS));
static SAFE: LazyLock<Vec<Known>> = LazyLock::new(|| parsed(SAFE_FUNCTIONS));

fn parsed(table: &[KnownFunction]) -> Vec<Known> {
    table
        .iter()
        .map(|known| Known {
            function: Function::parse(known.signature).expect("a table entry is a signature"),
            danger: known.danger,
        })
        .collect()
}

fn find(table: &'static [Known], calldata: &[u8]) -> Option<&'static Known> {
    let selector = calldata.first_chunk::<4>()?;
    table.iter().find(|known| known.function.selector() == *selector)
}

/// The function of a DstackApp that calldata begins with.
#[must_use]
pub fn find_app_function(calldata: &[u8]) -> Option<&'static Known> {
    find(&APP, calldata)
}

/// The function of a Safe that calldata begins with.
#[must_use]
pub fn find_safe_function(calldata: &[u8]) -> Option<&'static Known> {
    find(&SAFE, calldata)
}

impl Known {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.function.name
    }

    /// Why it is alarming to find this in a proposal.
    #[must_use]
    pub fn danger(&self) -> Option<&'static str> {
        self.danger
    }

    /// The arguments in calldata of this function, selector included. `None` when they are not
    /// what the function takes, or are written in a way nobody writes them.
    #[must_use]
    pub fn arguments(&self, calldata: &[u8]) -> Option<Vec<Argument>> {
        let values = self.function.abi_decode_input(calldata.get(4..)?).ok()?;
        if self.function.abi_encode_input(&values).ok()? != calldata {
            return None;
        }
        let names = self.function.inputs.iter().map(|input| input.name.clone());
        Some(
            names.zip(&values).map(|(name, value)| Argument { name, value: text(value) }).collect(),
        )
    }
}

fn text(value: &DynSolValue) -> String {
    match value {
        DynSolValue::Address(address) => address.to_string(),
        DynSolValue::Bool(flag) => flag.to_string(),
        DynSolValue::Uint(number, _) => number.to_string(),
        DynSolValue::FixedBytes(word, length) => hex::encode_prefixed(&word[..*length]),
        DynSolValue::Bytes(bytes) => hex::encode_prefixed(bytes),
        // No function in the tables takes anything else.
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use alloy::{
        primitives::{Address, bytes},
        sol_types::SolCall,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::dstack::abi::DstackApp;

    #[test]
    fn the_safes_functions_have_their_published_selectors() {
        let published = [
            "0d582f13", "f8dc5dd9", "e318b52b", "694e80c3", "610b5925", "e009cfde", "e19a9dd9",
            "e068df37", "f08a0323", "7de7edef", "d4d9bdcd",
        ];
        let found: Vec<String> =
            SAFE.iter().map(|known| hex::encode(known.function.selector())).collect();
        assert_eq!(found, published);
    }

    #[test]
    fn arguments_are_named() {
        let calldata = DstackApp::upgradeToAndCallCall {
            newImplementation: Address::repeat_byte(0x22),
            data: bytes!("0102"),
        }
        .abi_encode();
        let known = find_app_function(&calldata).unwrap();
        assert_eq!(known.name(), "upgradeToAndCall");
        let arguments = known.arguments(&calldata).unwrap();
        let pairs: Vec<(&str, &str)> =
            arguments.iter().map(|a| (a.name.as_str(), a.value.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("newImplementation", "0x2222222222222222222222222222222222222222"),
                ("data", "0x0102")
            ]
        );
    }

    #[test]
    fn unusual_calldata_has_no_arguments() {
        let calldata = DstackApp::setAllowAnyDeviceCall { allow: true }.abi_encode();
        let known = find_app_function(&calldata).unwrap();
        assert_eq!(known.arguments(&calldata).unwrap()[0].value, "true");
        let mut neither_yes_nor_no = calldata.clone();
        neither_yes_nor_no[35] = 2;
        let longer = [calldata.as_slice(), &[0]].concat();
        for calldata in [&calldata[..4], &calldata[..35], &longer, &neither_yes_nor_no] {
            assert_eq!(known.arguments(calldata), None);
        }
        assert!(find_app_function(&[1, 2, 3]).is_none());
    }

    proptest! {
        #[test]
        fn no_calldata_makes_the_reader_panic(
            index in 0..13_usize,
            arguments in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            for table in [&*APP, &*SAFE] {
                let known = &table[index % table.len()];
                let calldata = [known.function.selector().as_slice(), &arguments].concat();
                let _ = known.arguments(&calldata);
            }
        }
    }
}
