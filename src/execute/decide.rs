//! Whether a transaction is executed, and with how much gas at what price. Pure: facts in, a verdict
//! and its words out.

use alloy::primitives::{Address, U256, utils::format_units};
use chrono::TimeDelta;

use crate::{
    chain::{
        Fees, SafeState,
        simulate::{Outcome, Simulation},
    },
    clock::Time,
    config::RelayerCaps,
    dstack::Addition,
    request::{Request, ids::TxHash},
    safe::{
        self,
        decode::{Expected, decode},
    },
    store::{
        proposals::{Proposal, SafeProposal},
        relays::{Fate, Try},
    },
};

/// Tries that reverted before a person is asked to execute.
const REVERTS_MAX: usize = 3;
/// The pause after the first revert; doubled with each.
const REVERT_PAUSE: TimeDelta = TimeDelta::minutes(1);
/// Gas beside what was measured: state may differ a little by then.
const SPARE_GAS: u64 = 30_000;

/// Why nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error(
        "the stored transaction does not hash to what was shown to the owners; nothing is sent"
    )]
    HashDiffers,
    #[error("a gas or refund field is set, and the relayer takes nothing back; nothing is sent")]
    Refund,
    #[error(
        "it is not only what this request asks for ({0}); a person looks at it, and executes it"
    )]
    Warned(String),
    #[error("the app belongs to {0} now")]
    OwnerMoved(Address),
    #[error("the owner is no Safe of the version that was signed for any more")]
    OtherSafe,
    #[error("nonce {0} of the Safe comes first")]
    NotNext(u64),
    #[error("nonce {0} of the Safe is used")]
    NonceUsed(u64),
    #[error("{good} of {threshold} signatures hold for the Safe's present owners")]
    Signatures { good: usize, threshold: u32 },
    #[error("it was executed already, in {0}")]
    Executed(TxHash),
    #[error("it spent its nonce and failed inside, in {0}; the owners sign a new one")]
    FailedInside(TxHash),
    #[error(
        "it reverted in {tx}, although its simulation succeeded; it is tried again after {until}"
    )]
    Reverted { tx: TxHash, until: String },
    #[error(
        "it reverted {REVERTS_MAX} times, last in {0}, although its simulation succeeded; it is not \
         tried again: a person executes it"
    )]
    GivenUp(TxHash),
    #[error(
        "gas costs {asked} gwei, and the relayer pays {cap} at most: it waits until gas is cheaper"
    )]
    Fee { asked: String, cap: String },
    #[error(
        "its transaction is in no block, and one in its place would cost more than the {0} gwei that \
         the relayer pays at most"
    )]
    NoRoom(String),
    #[error("it needs {asked} gas, and the relayer gives {cap} at most")]
    Gas { asked: u64, cap: u64 },
    #[error("relayer {relayer} holds {holds} of the chain's coin and needs {needs}: send it some")]
    Funds { relayer: Address, holds: String, needs: String },
    #[error("its simulation at block {block} fails: {reason}")]
    Fails { block: u64, reason: String },
    #[error("by its simulation at block {block} it does more than allow entries: {what}")]
    Unexpected { block: u64, what: String },
    #[error(
        "by its simulation at block {block} the app would still not let the replica boot: {reason}"
    )]
    NotAllowed { block: u64, reason: String },
    #[error("its simulation at block {0} succeeds, and a node says that it would revert now")]
    NodeRefuses(u64),
}

impl Why {
    /// When to look again, after having said the same for so long.
    #[must_use]
    pub fn pause(&self, said_for: TimeDelta) -> TimeDelta {
        let (first, most) = match self {
            // The next block may change it, and asking costs little.
            Self::NotNext(_)
            | Self::Fee { .. }
            | Self::NoRoom(_)
            | Self::Funds { .. }
            | Self::NodeRefuses(_) => (TimeDelta::seconds(2), TimeDelta::minutes(1)),
            Self::OwnerMoved(_)
            | Self::OtherSafe
            | Self::NonceUsed(_)
            | Self::Signatures { .. }
            | Self::Reverted { .. } => (TimeDelta::seconds(5), TimeDelta::minutes(1)),
            Self::Fails { .. } | Self::Unexpected { .. } | Self::NotAllowed { .. } => {
                (TimeDelta::seconds(5), TimeDelta::minutes(10))
            }
            Self::HashDiffers
            | Self::Refund
            | Self::Warned(_)
            | Self::Executed(_)
            | Self::FailedInside(_)
            | Self::GivenUp(_)
            | Self::Gas { .. } => (TimeDelta::minutes(1), TimeDelta::minutes(10)),
        };
        said_for.clamp(first, most)
    }
}

/// What is asked of a proposal before it is worth a simulation.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// Those it was made for.
    pub requests: &'a [Request],
    pub proposal: &'a Proposal,
    pub safe: &'a SafeProposal,
}

impl Content<'_> {
    /// Whether it is exactly what was proposed for these requests, and nothing that a reviewer would
    /// have to look at.
    pub fn is_ours(self) -> Result<(), Why> {
        let Self { requests, proposal, safe: content } = self;
        let hashes = safe::hashes(&content.tx, proposal.chain, proposal.owner, content.version);
        if hashes != content.hashes || content.tx.nonce != U256::from(content.nonce) {
            return Err(Why::HashDiffers);
        }
        if !content.tx.gas_fields_are_zero() {
            return Err(Why::Refund);
        }
        let asked: Vec<Addition> = requests
            .iter()
            .flat_map(|one| Addition::of_replica(one.app, one.compose, one.device))
            .collect();
        if proposal.additions.is_empty()
            || !proposal.additions.iter().all(|one| asked.contains(one))
        {
            return Err(Why::Warned("other writes".into()));
        }
        let additions = Some(proposal.additions.as_slice());
        let expected = Expected { safe: proposal.owner, app: None, additions };
        let decoded = decode(&content.tx, &expected);
        match proposal.warnings.iter().chain(&decoded.warnings).next() {
            Some(warning) => Err(Why::Warned(warning.text.clone())),
            None => Ok(()),
        }
    }

    /// What became of earlier tries.
    pub fn may_be_tried(self, tries: &[Try], now: Time) -> Result<(), Why> {
        let fates = tries.iter().filter_map(|one| Some((one.fate?, one.tx?, one.settled_at?)));
        let mut reverted = vec![];
        for (fate, tx, at) in fates {
            match fate {
                Fate::Executed => return Err(Why::Executed(tx)),
                Fate::FailedInside => return Err(Why::FailedInside(tx)),
                Fate::Reverted => reverted.push((at, tx)),
                Fate::Cancelled | Fate::NonceTaken => {}
            }
        }
        let Some((at, tx)) = reverted.iter().max().copied() else { return Ok(()) };
        if reverted.len() >= REVERTS_MAX {
            return Err(Why::GivenUp(tx));
        }
        let until = at + REVERT_PAUSE * (1 << (reverted.len() - 1));
        if now < until {
            let until = until.format("%Y-%m-%d %H:%M:%S UTC").to_string();
            return Err(Why::Reverted { tx, until });
        }
        Ok(())
    }

    /// Whether the Safe, as it is now, would take it next. `good` is how many signatures hold.
    pub fn is_due(
        self,
        app_owner: Address,
        state: Option<&SafeState>,
        good: usize,
    ) -> Result<(), Why> {
        let (proposal, content) = (self.proposal, self.safe);
        if app_owner != proposal.owner {
            return Err(Why::OwnerMoved(app_owner));
        }
        let same = |state: &&SafeState| {
            state.address == proposal.owner && state.version == content.version
        };
        let state = state.filter(same).ok_or(Why::OtherSafe)?;
        if state.nonce > content.nonce {
            return Err(Why::NonceUsed(content.nonce));
        }
        if state.nonce < content.nonce {
            return Err(Why::NotNext(content.nonce - 1));
        }
        if state.threshold == 0 || good < state.threshold as usize {
            return Err(Why::Signatures { good, threshold: state.threshold });
        }
        Ok(())
    }
}

/// Whether what was simulated is exactly what is wanted.
pub fn is_good(simulation: &Simulation) -> Result<(), Why> {
    let block = simulation.block.number;
    if simulation.outcome != Outcome::Succeeds {
        let reason = simulation.failure.clone().unwrap_or_else(|| "no reason is given".into());
        return Err(Why::Fails { block, reason });
    }
    if !simulation.is_as_expected() {
        let events = simulation.events.iter().filter(|one| !one.expected).map(|one| &one.words);
        let changes = simulation.changes.iter().filter(|one| !one.expected).map(|one| &one.words);
        let what = events.chain(changes).next().cloned();
        let what = what.unwrap_or_else(|| "the Safe's nonce does not go on by one".into());
        return Err(Why::Unexpected { block, what });
    }
    let Some(after) = &simulation.after else {
        return Err(Why::NotAllowed { block, reason: "it does not answer".into() });
    };
    let device = after.device_listed == Some(true) || after.any_device == Some(true);
    let reason = match (after.compose_hash_allowed, device, after.may_boot) {
        (Some(true), true, Some(true)) => return Ok(()),
        (Some(true), true, _) => after.reason.clone(),
        (Some(true), false, _) => "the device is not allowed".into(),
        _ => "the compose hash is not allowed".into(),
    };
    Err(Why::NotAllowed { block, reason })
}

/// What to offer for gas: twice the base fee, so that it lasts while that grows, within the cap.
pub fn price(base_fee: u64, tip: u64, caps: RelayerCaps) -> Result<Fees, Why> {
    let least = base_fee.saturating_add(tip);
    if least > caps.max_fee {
        return Err(Why::Fee { asked: gwei(least), cap: gwei(caps.max_fee) });
    }
    let max = base_fee.saturating_mul(2).saturating_add(tip).min(caps.max_fee);
    Ok(Fees { max, tip })
}

/// What to offer in place of a transaction that is in no block: what nodes take for a replacement is
/// a tenth more, of both.
pub fn raised(before: Fees, present: Fees, caps: RelayerCaps) -> Result<Fees, Why> {
    let more = |fee: u64| fee.saturating_add(fee / 8).saturating_add(1);
    let fees =
        Fees { max: more(before.max).max(present.max), tip: more(before.tip).max(present.tip) };
    if fees.max <= caps.max_fee && fees.tip <= fees.max {
        return Ok(fees);
    }
    Err(Why::NoRoom(gwei(caps.max_fee)))
}

/// What to offer for a transaction that frees the nonce of one that is in no block. Where the caps
/// leave no room it is offered all they allow: nodes that still know the other refuse it, and those
/// that have forgotten it, which is when the nonce would be stuck for good, take it.
pub fn freed(before: Fees, present: Fees, caps: RelayerCaps) -> Fees {
    raised(before, present, caps)
        .unwrap_or(Fees { max: caps.max_fee, tip: present.tip.min(caps.max_fee) })
}

/// How much gas to give: a quarter more than nodes and simulation found, and never less than a Safe
/// needs that spends its nonce when its calls run out of gas.
pub fn gas_limit(
    estimated: u64,
    simulated: u64,
    at_least: Option<u64>,
    caps: RelayerCaps,
) -> Result<u64, Why> {
    let found = estimated.max(simulated);
    let asked = found.saturating_add(found / 4).saturating_add(SPARE_GAS);
    let asked = asked.max(at_least.unwrap_or(0));
    if asked > caps.max_gas {
        return Err(Why::Gas { asked, cap: caps.max_gas });
    }
    Ok(asked)
}

/// Whether the account can pay for the most that it may cost.
pub fn can_pay(relayer: Address, balance: U256, gas_limit: u64, fees: Fees) -> Result<(), Why> {
    let needs = U256::from(gas_limit) * U256::from(fees.max);
    if balance >= needs {
        return Ok(());
    }
    Err(Why::Funds { relayer, holds: coins(balance), needs: coins(needs) })
}

fn gwei(wei: u64) -> String {
    shortened(format_units(wei, "gwei"))
}

/// Wei in whole coins.
#[must_use]
pub fn coins(wei: U256) -> String {
    shortened(format_units(wei, "ether"))
}

fn shortened(units: Result<String, alloy::primitives::utils::UnitsError>) -> String {
    let text = units.unwrap_or_default();
    let text = if text.contains('.') { text.trim_end_matches('0') } else { &text };
    text.trim_end_matches('.').to_owned()
}

/// Whether a chain has a relayer when there is a key.
#[must_use]
pub fn is_on(caps: RelayerCaps) -> bool {
    caps.max_fee > 0
}

#[cfg(test)]
mod tests;
