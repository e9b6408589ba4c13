//! What others have waiting at a Safe, from its mailbox, so that a new proposal does not take the
//! nonce of theirs.
//!
//! Believed is what an owner of the Safe signed, recovered here over a hash computed here: the
//! service can keep such a transaction back, and cannot make one up. It is asked when a proposal is
//! about to be made, and while one waits behind others; never for long, and never is anything
//! waited for or refused because of it.

use std::time::Duration;

use alloy::primitives::Address;

use super::{MailError, mail::Mailbox};
use crate::{
    chain::{Chain, OwnerKind, SafeState},
    clock::Time,
    owner::nonce::{AHEAD_MAX, ForeignQueued},
    request::{Request, facts::BlockRef, ids::SafeTxHash},
    safe::{Operation, SafeTx},
    safe_service::Account,
    store::Store,
};

/// How long a proposal waits for the mailbox.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Reads what waits at the Safe that owns the request's app. What goes wrong is logged: the proposal
/// is then made by what is known.
pub async fn look_into_queue(
    store: &Store,
    chain: &Chain,
    mailbox: &Mailbox,
    request: &Request,
    at: BlockRef,
    now: Time,
) {
    let look = async {
        let owner = chain.owner(request.app, at).await?;
        match chain.owner_kind(owner, at).await? {
            OwnerKind::Safe(state) => read_queue(store, mailbox, &state, now).await,
            _ => Ok(()),
        }
    };
    let problem = match tokio::time::timeout(ANSWER_MAX, look).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it did not answer in time".into(),
    };
    tracing::info!(request.id = %request.id, problem, "a nonce is chosen without Safe's mailbox");
}

/// Notes what waits at a Safe from its nonce on.
pub(super) async fn read_queue(
    store: &Store,
    mailbox: &Mailbox,
    state: &SafeState,
    now: Time,
) -> Result<(), MailError> {
    let chain = mailbox.service.chain();
    let account = Account { chain, safe: state.address, version: state.version };
    let queue = mailbox.service.queue(&account, state.nonce).await?;
    let listed: Vec<ForeignQueued> = queue
        .transactions
        .iter()
        .filter_map(|queued| {
            foreign(queued.hash, &queued.tx, &queued.signers, state.address, &state.owners)
        })
        .collect();
    let nonces = state.nonce..=state.nonce.saturating_add(AHEAD_MAX);
    store.note_foreign_queue(chain, state.address, nonces, &listed, now).await?;
    Ok(())
}

/// A transaction that counts as waiting: one that an owner signed.
pub(super) fn foreign(
    hash: SafeTxHash,
    tx: &SafeTx,
    signers: &[Address],
    safe: Address,
    owners: &[Address],
) -> Option<ForeignQueued> {
    let nonce = tx.nonce.try_into().ok()?;
    let is_signed = signers.iter().any(|signer| owners.contains(signer));
    is_signed.then(|| ForeignQueued { nonce, hash, what: what_it_is(tx, safe) })
}

/// A transaction in a few words, none of them taken from the mailbox.
pub(super) fn what_it_is(tx: &SafeTx, safe: Address) -> String {
    // An empty call of the Safe to itself is how its web application rejects.
    if tx.to == safe && tx.value.is_zero() && tx.data.is_empty() {
        return "a rejection (an empty call of the Safe to itself)".into();
    }
    match tx.operation {
        Operation::Call => format!("a call of {}", tx.to),
        Operation::DelegateCall => format!("a delegatecall to {}", tx.to),
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, Bytes, U256};

    use super::*;
    use crate::owner::Call;

    const SAFE: Address = Address::repeat_byte(5);

    #[test]
    fn only_what_an_owner_signed_counts_as_waiting() {
        let (owner, stranger) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let hash = SafeTxHash(B256::repeat_byte(9));
        let tx = |to, nonce| {
            let call = Call { to, value: U256::ZERO, data: Bytes::new() };
            SafeTx::new(call, Operation::Call, nonce)
        };
        let app = Address::repeat_byte(6);
        for (tx, signers, what) in [
            (tx(SAFE, U256::from(7)), vec![stranger, owner], Some("a rejection")),
            (tx(app, U256::from(7)), vec![owner], Some("a call of 0x0606")),
            (tx(app, U256::from(7)), vec![stranger], None),
            (tx(app, U256::from(7)), vec![], None),
            (tx(app, U256::MAX), vec![owner], None),
        ] {
            let seen = foreign(hash, &tx, &signers, SAFE, &[owner]);
            let said = seen.as_ref().map(|seen| (seen.nonce, seen.what.as_str()));
            let fits = said
                .zip(what)
                .is_none_or(|((nonce, said), what)| nonce == 7 && said.starts_with(what));
            assert!(fits && said.is_some() == what.is_some(), "{signers:?}: {said:?}");
        }
    }
}
