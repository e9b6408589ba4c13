//! What the emulator holds in memory.

use std::{collections::VecDeque, sync::Arc};

use alloy::primitives::{Address, B256, Bytes};
use serde::Serialize;
use serde_json::Value;

use super::{
    SafeServiceConfig,
    chain::{Execution, Told},
    control::Switches,
};
use crate::{
    clock::{Clock, Time},
    request::ids::SafeTxHash,
    safe::{SafeTx, packed::Part},
};

/// A call that came in, as it stood on the wire.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WireRequest {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Null when there was none.
    pub body: Value,
    pub status: u16,
}

/// An owner's confirmation.
#[derive(Debug, Clone)]
pub(super) struct Confirmation {
    pub owner: Address,
    pub at: Time,
    pub signature: Bytes,
    pub kind: &'static str,
    /// Where the chain shows it, when it was not posted.
    pub tx: Option<B256>,
}

/// A transaction in the mailbox.
#[derive(Debug, Clone)]
pub(super) struct Mail {
    pub safe: Address,
    pub tx: SafeTx,
    pub hash: SafeTxHash,
    pub origin: Option<String>,
    /// None: executed on chain and never proposed.
    pub proposer: Option<Address>,
    pub proposed_by_delegate: Option<Address>,
    pub trusted: bool,
    pub submitted: Time,
    pub modified: Time,
    pub confirmations: Vec<Confirmation>,
    pub execution: Option<Execution>,
}

impl Mail {
    /// The first confirmation of an owner is kept.
    pub fn confirm(&mut self, confirmation: Confirmation) {
        if self.confirmations.iter().all(|known| known.owner != confirmation.owner) {
            self.modified = confirmation.at;
            self.confirmations.push(confirmation);
        }
    }
}

/// An owner's permission for a key to propose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Permission {
    pub safe: Option<Address>,
    pub delegate: Address,
    pub delegator: Address,
    pub label: String,
    pub expires: Option<Value>,
}

pub(super) struct World {
    pub clock: Arc<dyn Clock>,
    pub config: SafeServiceConfig,
    pub mail: Vec<Mail>,
    pub permissions: Vec<Permission>,
    pub switches: Switches,
    pub requests: VecDeque<WireRequest>,
}

impl World {
    pub fn new(config: SafeServiceConfig) -> Self {
        Self {
            clock: config.clock.clone(),
            config,
            mail: vec![],
            permissions: vec![],
            switches: Switches::default(),
            requests: VecDeque::new(),
        }
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }

    pub fn mail(&mut self, hash: SafeTxHash) -> Option<&mut Mail> {
        self.mail.iter_mut().find(|mail| mail.hash == hash)
    }

    /// The permission by which a key may propose for a Safe: its delegator must be an owner still.
    pub fn permission(
        &self,
        safe: Address,
        delegate: Address,
        owners: &[Address],
    ) -> Option<&Permission> {
        self.permissions.iter().find(|permission| {
            permission.delegate == delegate
                && permission.safe.is_none_or(|of| of == safe)
                && owners.contains(&permission.delegator)
        })
    }

    /// Keys that may propose for a Safe.
    pub fn delegates(&self, safe: Address, owners: &[Address]) -> Vec<Address> {
        let all = self.permissions.iter().map(|permission| permission.delegate);
        all.filter(|delegate| self.permission(safe, *delegate, owners).is_some()).collect()
    }

    /// Takes in what a Safe executed. What was reorganised away is not executed any more; what was
    /// never proposed appears without a proposer. An approval on chain is a confirmation.
    pub fn index(&mut self, safe: Address, Told { executions, approvals }: &Told) {
        let now = self.now();
        for approval in approvals {
            let mail =
                self.mail.iter_mut().find(|mail| (mail.safe, mail.hash) == (safe, approval.hash));
            if let Some(mail) = mail {
                mail.confirm(Confirmation {
                    owner: approval.owner,
                    at: now,
                    signature: Part::ApprovedHash(approval.owner).to_bytes(),
                    kind: "APPROVED_HASH",
                    tx: Some(approval.tx_hash),
                });
            }
        }
        for mail in self.mail.iter_mut().filter(|mail| mail.safe == safe) {
            mail.execution = executions.iter().find(|seen| seen.hash == mail.hash).cloned();
        }
        self.mail.retain(|mail| mail.proposer.is_some() || mail.execution.is_some());
        for seen in executions {
            let is_known = self.mail.iter().any(|mail| mail.hash == seen.hash);
            if let (false, Some((tx, _))) = (is_known, &seen.content) {
                self.mail.push(Mail {
                    safe,
                    tx: tx.clone(),
                    hash: seen.hash,
                    origin: None,
                    proposer: None,
                    proposed_by_delegate: None,
                    trusted: true,
                    submitted: seen.at,
                    modified: now,
                    confirmations: vec![],
                    execution: Some(seen.clone()),
                });
            }
        }
    }
}
