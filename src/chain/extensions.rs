//! What may act for a Safe without its owners, or stop it, beside its singleton: modules, guards,
//! the fallback handler.
//!
//! Functions and slots as in the Safe contracts: modules since 1.0.0 (in pages since 1.1.1), a
//! fallback handler since 1.1.1, a guard since 1.3.0, a guard of modules since 1.5.0.

use alloy::{
    primitives::{Address, B256, address, b256},
    sol_types::SolCall,
};

use super::{CallAnswer, Chain, ChainError, SafeState};
use crate::{
    request::facts::BlockRef,
    safe::{Extensions, SafeVersion, tx::Safe},
};

pub(super) const FALLBACK_HANDLER: B256 =
    b256!("6c9a6c4a39284e37ed1cf53d337577d14212a4870fb976a4366c693b939918d5");
pub(super) const GUARD: B256 =
    b256!("4a204f620c8c5ccdca3fd54d003badd85ba500436a431f0cbda4f558c93c34c8");
pub(super) const MODULE_GUARD: B256 =
    b256!("b104e0b93118902c651344349b610029d694cfdec91c589c91ebafbcd0289947");
/// Begins and ends the list of modules.
pub(super) const SENTINEL: Address = address!("0000000000000000000000000000000000000001");
const PAGE: u64 = 50;

impl Chain {
    /// Reads who else acts for a Safe.
    ///
    /// # Errors
    /// [`ChainError`]; a list of modules that does not read is an error, and never "none".
    pub async fn extensions(
        &self,
        safe: &SafeState,
        at: BlockRef,
    ) -> Result<Extensions, ChainError> {
        let (modules, has_more_modules) = self.modules(safe, at).await?;
        let slot = async |since: SafeVersion, slot: B256| -> Result<Option<Address>, ChainError> {
            if safe.version < since {
                return Ok(None);
            }
            let word = self.storage(safe.address, slot, at).await?;
            Ok(Some(Address::from_word(word)).filter(|address| !address.is_zero()))
        };
        Ok(Extensions {
            modules,
            has_more_modules,
            guard: slot(SafeVersion::V1_3_0, GUARD).await?,
            module_guard: slot(SafeVersion::V1_5_0, MODULE_GUARD).await?,
            fallback_handler: slot(SafeVersion::V1_1_1, FALLBACK_HANDLER).await?,
        })
    }

    async fn modules(
        &self,
        safe: &SafeState,
        at: BlockRef,
    ) -> Result<(Vec<Address>, bool), ChainError> {
        let what = format!("the modules of Safe {}", safe.address);
        let problem = |problem: &str| ChainError::Unreadable {
            what: what.clone(),
            problem: problem.to_owned(),
        };
        let in_pages = safe.version >= SafeVersion::V1_1_1;
        let calldata = if in_pages {
            let page = alloy::primitives::U256::from(PAGE);
            Safe::getModulesPaginatedCall { start: SENTINEL, pageSize: page }.abi_encode()
        } else {
            Safe::getModulesCall {}.abi_encode()
        };
        let answer = match self.call(&what, safe.address, &calldata.into(), at).await? {
            CallAnswer::Returned(bytes) => bytes,
            CallAnswer::Reverted => return Err(problem("the Safe refused the call")),
        };
        if in_pages {
            let read = Safe::getModulesPaginatedCall::abi_decode_returns(&answer);
            let page = read.map_err(|error| problem(&error.to_string()))?;
            let has_more = page.next != SENTINEL && !page.next.is_zero();
            Ok((page.modules, has_more))
        } else {
            let read = Safe::getModulesCall::abi_decode_returns(&answer);
            Ok((read.map_err(|error| problem(&error.to_string()))?, false))
        }
    }
}
