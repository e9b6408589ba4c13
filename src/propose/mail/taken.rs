//! Signatures that owners left in Safe's mailbox: each is taken as if it had been given by hand, or it
//! is said why not.

use std::time::Duration;

use alloy::primitives::Address;

use super::{MailError, Talk};
use crate::{
    propose::confirm::{ConfirmError, confirm},
    safe::packed::Part,
    safe_service::MailTransaction,
    store::{StoreError, confirmations::Confirmation},
};

/// Contracts that are asked in one exchange whether they signed what the mailbox has, and for how long
/// each. One that burns gas must not keep the others.
const CONTRACTS_MAX: usize = 8;
const CONTRACT_PATIENCE: Duration = Duration::from_secs(8);

/// What became of a signature in the mailbox.
enum Taken {
    Counts {
        is_new: bool,
    },
    /// It is not counted.
    Doubted(ConfirmError),
    /// The request waits for no signature over this any more.
    NothingWanted,
}

impl Talk<'_> {
    /// Takes the mailbox's signatures by keys over, by the same check as those given by hand. `doubts`
    /// gets why one is not taken.
    pub(super) async fn take_over(
        &self,
        ours: &MailTransaction,
        given: &[Confirmation],
        doubts: &mut Vec<String>,
    ) -> Result<bool, MailError> {
        for refused in &ours.confirmations.refused {
            tracing::warn!(request.id = %self.request.id, refused, "a signature in Safe's mailbox is not believed");
        }
        doubts.extend(ours.confirmations.refused.iter().cloned());
        let mut has_moved = false;
        for (owner, signature) in &ours.confirmations.signed {
            if !self.is_new(*owner, given, doubts) {
                continue;
            }
            match self.take(Part::Key(*signature)).await? {
                Taken::Counts { is_new } => has_moved |= is_new,
                Taken::Doubted(ConfirmError::Chain(error)) => return Err(error.into()),
                Taken::Doubted(problem) => doubts.push(problem.to_string()),
                Taken::NothingWanted => break,
            }
        }
        Ok(has_moved)
    }

    /// The same for those of contracts. Each is asked through the endpoints, in the name of the Safe.
    /// One that cannot be asked keeps nothing back.
    pub(super) async fn take_over_contracts(
        &self,
        ours: &MailTransaction,
        given: &[Confirmation],
        doubts: &mut Vec<String>,
    ) -> Result<bool, MailError> {
        let all = &ours.confirmations.of_contracts;
        let new: Vec<_> =
            all.iter().filter(|(owner, _)| self.is_new(*owner, given, doubts)).collect();
        if new.len() > CONTRACTS_MAX {
            doubts
                .push(format!("of {} contracts no more than {CONTRACTS_MAX} are asked", new.len()));
        }
        let mut has_moved = false;
        for (owner, data) in new.into_iter().take(CONTRACTS_MAX) {
            let part = Part::Contract { owner: *owner, data: data.clone() };
            match tokio::time::timeout(CONTRACT_PATIENCE, self.take(part)).await {
                Ok(taken) => match taken? {
                    Taken::Counts { is_new } => has_moved |= is_new,
                    Taken::Doubted(problem) => doubts.push(problem.to_string()),
                    Taken::NothingWanted => break,
                },
                Err(_) => doubts.push(format!("the contract {owner} does not answer in time")),
            }
        }
        Ok(has_moved)
    }

    /// Whether a signature in the mailbox is of an owner who has not signed here. Who is no owner is
    /// not looked at further, however many they are.
    fn is_new(&self, owner: Address, given: &[Confirmation], doubts: &mut Vec<String>) -> bool {
        let is_owner = self.content.owners.contains(&owner);
        if !is_owner {
            doubts.push(ConfirmError::NotOwner { signer: owner }.to_string());
        }
        is_owner && given.iter().all(|known| known.owner != owner)
    }

    /// Takes one signature, as if it were given by hand.
    async fn take(&self, part: Part) -> Result<Taken, MailError> {
        match confirm(self.store, self.chain, self.request.id, self.proposal, &[part], self.now)
            .await
        {
            Ok(confirmation) => Ok(Taken::Counts { is_new: confirmation.added }),
            Err(
                ConfirmError::Store(StoreError::Illegal(_))
                | ConfirmError::Replaced
                | ConfirmError::NothingToSign(_)
                | ConfirmError::NoSafe
                | ConfirmError::HashDiffers,
            ) => Ok(Taken::NothingWanted),
            Err(ConfirmError::Store(error)) => Err(error.into()),
            Err(problem) => Ok(Taken::Doubted(problem)),
        }
    }
}
