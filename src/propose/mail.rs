//! One exchange with Safe's mailbox: our proposal goes there, signatures go both ways, so that it
//! does not matter where an owner signs.
//!
//! ```text
//! read what the mailbox has at our nonce ─► post ours if it never had it
//!                                        ─► take over its signatures, each checked as by hand
//!                                        ─► give it ours
//!                                        ─► what else stands at the nonce: a hint
//!                                        ─► take over those of contracts, which may be slow to ask
//! ```
//!
//! The mailbox decides nothing. A request goes on without it, and nothing waits for this. It is read
//! before anything is posted, so that what a crash or a lost answer left is seen.

mod taken;

use alloy::primitives::Address;
use url::Url;

use super::{
    hint::{Said, all_hints, left_at_home, not_counted},
    queue,
};
use crate::{
    chain::{Chain, ChainError, OwnerKind},
    clock::Time,
    owner::nonce::ForeignQueued,
    request::{Request, ids::SafeTxHash},
    safe::{self, packed::Part, signature::SignatureKind},
    safe_service::{
        Account, CannotSign, Confirmations, MailTransaction, Origin, Post, ProposerKey,
        SafeService, SafeServiceError, WhatToDo,
    },
    store::{
        Store, StoreError,
        confirmations::Confirmation,
        mailings::Mailing,
        proposals::{Proposal, SafeProposal},
    },
};

/// The mailbox of a chain, and who posts there.
#[derive(Debug, Clone)]
pub struct Mailbox {
    pub service: SafeService,
    pub proposer: Option<ProposerKey>,
    /// Where people reach Countersign.
    pub public_url: Option<Url>,
}

/// Why an exchange failed; tried again.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Service(#[from] SafeServiceError),
    #[error(transparent)]
    Sign(#[from] CannotSign),
    #[error("the stored transaction does not hash to what was shown; nothing is posted")]
    HashDiffers,
}

impl MailError {
    /// What is to be done about it.
    #[must_use]
    pub fn what_to_do(&self) -> WhatToDo {
        match self {
            Self::Service(error) => error.what_to_do(),
            Self::Store(_) | Self::Chain(_) => WhatToDo::TryLater(None),
            Self::Sign(_) | Self::HashDiffers => WhatToDo::AskAPerson,
        }
    }
}

/// What came of an exchange.
#[derive(Debug, Default)]
pub struct Exchanged {
    /// The mailbox has our proposal, or had it.
    pub is_posted: bool,
    /// Something went over, one way or the other.
    pub has_moved: bool,
    /// What the mailbox says of the nonce, or what it was not given.
    pub hint: Option<String>,
    /// What could not be given to it, although the rest could.
    pub problem: Option<SafeServiceError>,
}

/// Exchanges one proposal with the mailbox.
pub async fn exchange(
    store: &Store,
    chain: &Chain,
    mailbox: &Mailbox,
    mailing: &Mailing,
    now: Time,
) -> Result<Exchanged, MailError> {
    let request = store.request(mailing.request).await?;
    let proposal = store.proposal(request.id).await?;
    let Some(proposal) = proposal.filter(|proposal| proposal.id == mailing.proposal) else {
        return Ok(Exchanged::default());
    };
    let Some(content) = &proposal.safe else { return Ok(Exchanged::default()) };
    let account = Account { chain: proposal.chain, safe: proposal.owner, version: content.version };
    let hash = safe::hashes(&content.tx, account.chain, account.safe, account.version);
    if hash != content.hashes {
        return Err(MailError::HashDiffers);
    }
    let talk = Talk {
        store,
        chain,
        mailbox,
        account,
        request: &request,
        proposal: &proposal,
        content,
        now,
    };
    talk.exchange(mailing.posted_at.is_some()).await
}

/// Everything an exchange is about.
struct Talk<'a> {
    store: &'a Store,
    chain: &'a Chain,
    mailbox: &'a Mailbox,
    account: Account,
    request: &'a Request,
    proposal: &'a Proposal,
    content: &'a SafeProposal,
    now: Time,
}

impl Talk<'_> {
    fn hash(&self) -> SafeTxHash {
        self.content.hashes.safe_tx_hash
    }

    async fn exchange(&self, was_posted: bool) -> Result<Exchanged, MailError> {
        let service = &self.mailbox.service;
        let mut there = service.at_nonce(&self.account, self.content.nonce, self.hash()).await?;
        let place = there.iter().position(|mail| mail.hash == self.hash());
        let ours = match place {
            Some(place) => Some(there.swap_remove(place)),
            // The list hides what nobody vouches for, and may be an old one.
            None if was_posted => service.transaction(&self.account, self.hash()).await?,
            None => None,
        };
        let mut done = Exchanged { is_posted: was_posted, ..Exchanged::default() };
        let mut doubts = vec![];
        let given = self.store.confirmations(self.proposal.id).await?;
        let known: Vec<Address> = match &ours {
            Some(ours) => {
                done.is_posted = true;
                done.has_moved |= !was_posted;
                done.has_moved |= self.take_over(ours, &given, &mut doubts).await?;
                let Confirmations { signed, of_contracts, .. } = &ours.confirmations;
                let by_key = signed.iter().map(|(owner, _)| *owner);
                by_key.chain(of_contracts.iter().map(|(owner, _)| *owner)).collect()
            }
            // Whoever took it out meant it.
            None if was_posted => vec![],
            None => match self.post(&given).await? {
                Some(sender) => {
                    (done.is_posted, done.has_moved) = (true, true);
                    vec![sender]
                }
                None => vec![],
            },
        };
        if ours.is_some() || done.is_posted && !was_posted {
            self.give(&given, &known, &mut done).await?;
        }
        match self.note_foreign(&there).await {
            // The rest of the exchange went well.
            Err(MailError::Service(problem)) => done.problem = Some(problem),
            result => result?,
        }
        if let Some(ours) = &ours {
            done.has_moved |= self.take_over_contracts(ours, &given, &mut doubts).await?;
        }
        let is_deleted = was_posted && ours.is_none();
        let said = Said { nonce: self.content.nonce, safe: self.account.safe, is_deleted };
        let of_nonce = said.hint(ours.as_ref(), &there);
        done.hint = all_hints([of_nonce, not_counted(&doubts), left_at_home(&given)]);
        Ok(done)
    }

    /// Notes what others have at our nonce, and before it while something is.
    async fn note_foreign(&self, there: &[MailTransaction]) -> Result<(), MailError> {
        let (safe, nonce) = (self.account.safe, self.content.nonce);
        let listed: Vec<ForeignQueued> = there
            .iter()
            .filter(|mail| mail.execution.is_none())
            .filter_map(|mail| {
                let signers: Vec<Address> =
                    mail.confirmations.signed.iter().map(|(owner, _)| *owner).collect();
                queue::foreign(mail.hash, &mail.tx, &signers, safe, &self.content.owners)
            })
            .collect();
        let (store, now) = (self.store, self.now);
        store.note_foreign_queue(self.account.chain, safe, nonce..=nonce, &listed, now).await?;
        let at = self.chain.head().await?.block;
        let OwnerKind::Safe(state) = self.chain.owner_kind(safe, at).await? else {
            return Ok(());
        };
        // What comes first needs no second call.
        if nonce > state.nonce {
            queue::read_queue(store, self.mailbox, &state, now).await?;
        }
        Ok(())
    }

    fn origin(&self) -> Origin {
        let id = self.request.id;
        let page = |root: &Url| format!("{}/requests/{id}", root.as_str().trim_end_matches('/'));
        Origin {
            url: self.mailbox.public_url.as_ref().map(page),
            name: "Countersign".into(),
            note: format!("request {id}"),
        }
    }

    /// Posts our proposal: by the proposer key, else in the name of the first owner who signed here.
    /// Gives who sent it, none when nobody can.
    async fn post(&self, given: &[Confirmation]) -> Result<Option<Address>, MailError> {
        let mut senders = vec![];
        if let Some(key) = &self.mailbox.proposer {
            senders.push((key.address(), Part::Key(key.sign(self.hash())?)));
        }
        // One by a key says who it is of by itself, so it comes first.
        let mut ours: Vec<_> = to_give(given).collect();
        ours.sort_by_key(|(_, part)| !matches!(part, Part::Key(_)));
        senders.extend(ours.into_iter().next());
        let mut refused = None;
        for (sender, signature) in senders {
            let post = Post {
                tx: self.content.tx.clone(),
                hash: self.hash(),
                sender,
                signature,
                origin: self.origin(),
            };
            match self.mailbox.service.propose(self.account.safe, &post).await {
                Ok(()) => {
                    tracing::info!(request.id = %self.request.id, "is in Safe's mailbox");
                    return Ok(Some(sender));
                }
                // A key that is no delegate yet does not keep an owner from it.
                Err(error) if error.what_to_do() == WhatToDo::AskAPerson => refused = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        refused.map_or(Ok(None), |error| Err(error.into()))
    }

    /// Gives the mailbox the signatures that it does not have.
    async fn give(
        &self,
        given: &[Confirmation],
        known: &[Address],
        done: &mut Exchanged,
    ) -> Result<(), MailError> {
        for (_, signature) in to_give(given).filter(|(owner, _)| !known.contains(owner)) {
            match self.mailbox.service.confirm(self.hash(), &signature).await {
                Ok(()) => done.has_moved = true,
                // One that it refuses must not keep the others.
                Err(error @ SafeServiceError::Refused(_))
                    if error.what_to_do() == WhatToDo::AskAPerson =>
                {
                    done.problem = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Signatures by a key over the document, and those of contracts. The mailbox reads approvals from the
/// chain by itself.
fn to_give(given: &[Confirmation]) -> impl Iterator<Item = (Address, Part)> {
    let is_wanted = |kind| matches!(kind, SignatureKind::Eip712 | SignatureKind::ContractSignature);
    let wanted = given.iter().filter(move |one| is_wanted(one.signature.kind()));
    wanted.map(|one| (one.owner, one.signature.clone()))
}
