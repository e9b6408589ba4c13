//! Who stands around a Safe: its extensions, and its owners that are contracts.

use alloy::primitives::Address;
use futures::{StreamExt, stream::FuturesOrdered};

use super::{
    Chain, ChainError, OwnerKind, SafeState, extensions::FALLBACK_HANDLER, reads::is_account,
};
use crate::{
    request::facts::BlockRef,
    safe::{
        SafeVersion,
        around::{Around, ContractOwner, ContractOwnerKind, NestedSafe},
    },
};

/// Most owners with code of one Safe that are looked at, and most owners of such an owner. A Safe may
/// have hundreds, and each may be made to cost reads.
const CONTRACT_OWNERS_MAX: usize = 16;
const NESTED_OWNERS_MAX: usize = 32;
/// Reads of code that are on their way at the same time.
const READS_AT_ONCE: usize = 8;

/// What does not read for its own reasons is none; a chain that cannot be read stays an error.
fn readable<T>(read: Result<T, ChainError>) -> Result<Option<T>, ChainError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(ChainError::Unreadable { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Chain {
    /// Reads who else acts for a Safe, and what its owners with code are. One level is followed.
    ///
    /// # Errors
    /// [`ChainError`] when the chain cannot be read. A contract that answers strangely is no error:
    /// it must not keep the other owners from a proposal, and is shown as what it is.
    pub async fn around(&self, safe: &SafeState, at: BlockRef) -> Result<Around, ChainError> {
        let extensions = readable(self.extensions(safe, at).await)?;
        let contracts = self.with_code(&safe.owners, at).await?;
        let mut contract_owners = vec![];
        for (place, owner) in contracts.into_iter().enumerate() {
            let kind = if place < CONTRACT_OWNERS_MAX {
                self.contract_owner(owner, at).await?
            } else {
                ContractOwnerKind::NotLookedAt
            };
            contract_owners.push(ContractOwner { owner, kind });
        }
        Ok(Around { block: at.number, extensions, contract_owners })
    }

    /// Those of the accounts that are contracts, in their order.
    async fn with_code(
        &self,
        accounts: &[Address],
        at: BlockRef,
    ) -> Result<Vec<Address>, ChainError> {
        let mut contracts = vec![];
        for some in accounts.chunks(READS_AT_ONCE) {
            let mut reads = FuturesOrdered::new();
            for account in some {
                reads.push_back(self.code(*account, at));
            }
            for account in some {
                let Some(code) = reads.next().await else { break };
                if !is_account(&code?) {
                    contracts.push(*account);
                }
            }
        }
        Ok(contracts)
    }

    async fn contract_owner(
        &self,
        owner: Address,
        at: BlockRef,
    ) -> Result<ContractOwnerKind, ChainError> {
        // A contract can make every read of it fail, as by burning all gas, and that looks like endpoints
        // that fail. It is looked at again with the proposal.
        let kind = match self.owner_kind(owner, at).await {
            Ok(kind) => kind,
            Err(error) => {
                tracing::debug!(%owner, %error, "an owner with code does not read");
                return Ok(ContractOwnerKind::Unreadable);
            }
        };
        let state = match kind {
            OwnerKind::Safe(state) => state,
            OwnerKind::UnknownSafe { version } => {
                return Ok(ContractOwnerKind::UnknownSafe { version });
            }
            OwnerKind::Contract { .. } | OwnerKind::Account | OwnerKind::Nobody => {
                return Ok(ContractOwnerKind::Other);
            }
        };
        let fallback_handler = if state.version < SafeVersion::V1_1_1 {
            None
        } else {
            let word = self.storage(owner, FALLBACK_HANDLER, at).await?;
            Some(Address::from_word(word)).filter(|address| !address.is_zero())
        };
        let contract_owners = if state.owners.len() > NESTED_OWNERS_MAX {
            None
        } else {
            Some(self.with_code(&state.owners, at).await?)
        };
        Ok(ContractOwnerKind::Safe(NestedSafe {
            version: state.version,
            owners: state.owners,
            threshold: state.threshold,
            fallback_handler,
            contract_owners,
        }))
    }
}
