//! Holds what is shown against what the chain says and what follows from the fields alone. Pure.

use alloy::primitives::{Address, Bytes};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    said::{Claimed, Other, Said, Wanted},
    seen::Seen,
};
use crate::{
    chain::simulate::Foreseen,
    clock::Time,
    compose::Compose,
    dstack::{Addition, Write},
    owner::{Call, nonce::NonceChoice},
    propose::{route, singleton_warning},
    request::ids::{AppId, ComposeHash, DeviceId, RequestId},
    safe::{
        self, Expected, NestedOwner, SafeTx, SafeTxHashes, SafeVersion,
        decode::{DecodedCall, Warning},
        packed::Part,
    },
    store::{
        confirmations::Confirmation,
        proposals::{Proposal, SafeProposal},
    },
    web::api::proposals::{ForRequest, ProposalView},
};

mod checks;
mod differences;
mod expected;
mod owners;

pub use differences::Difference;
use expected::decoded;
use owners::{around, nested_owners};

/// What the signer knows from elsewhere.
#[derive(Debug, Default)]
pub struct Given {
    pub app: Option<AppId>,
    pub compose_hash: Option<ComposeHash>,
    pub device: Option<DeviceId>,
    pub compose: Option<Compose>,
    /// Requests that are to be approved together.
    pub with: Vec<RequestId>,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Good,
    /// Nothing is wrong, and a signer should know.
    Note,
    Bad,
    /// It could not be checked.
    Open,
    /// It is as shown, and nobody can act on it any more.
    Past,
}

/// One check, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub verdict: Verdict,
    pub words: String,
}

impl Check {
    pub(super) fn new(verdict: Verdict, words: impl Into<String>) -> Self {
        Self { verdict, words: words.into() }
    }

    fn of(holds: bool, good: impl Into<String>, bad: impl Into<String>) -> Self {
        if holds { Self::new(Verdict::Good, good) } else { Self::new(Verdict::Bad, bad) }
    }
}

/// What came of it all.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether nothing differs and every check that could be made is good.
    pub matches: bool,
    #[serde(flatten)]
    pub hashes: Option<SafeTxHashes>,
    pub calls: Vec<DecodedCall>,
    pub warnings: Vec<Warning>,
    /// What signers should know of Safes of this version.
    pub notes: Vec<&'static str>,
    pub differences: Vec<Difference>,
    /// Fields that are shown and unknown to this version.
    pub unknown_fields: Vec<String>,
    pub checks: Vec<Check>,
    /// What owners that are contracts are asked for, as the chain says they are.
    pub nested_owners: Vec<NestedOwner>,
    /// What the transaction would do.
    #[serde(rename = "simulation")]
    pub foreseen: Option<Foreseen>,
}

impl Report {
    /// Whether something could not be checked.
    pub fn is_open(&self) -> bool {
        matches!(self.foreseen, Some(Foreseen::NotSimulated { .. }))
            || self.checks.iter().any(|check| check.verdict == Verdict::Open)
    }

    /// Whether nothing is to be signed any more.
    pub fn is_past(&self) -> bool {
        self.checks.iter().any(|check| check.verdict == Verdict::Past)
    }

    /// Whether the transaction is not, or would not do, what additions to an allowlist do.
    pub fn is_unexpected(&self) -> bool {
        let simulated = |foreseen: &Foreseen| match foreseen {
            Foreseen::Simulated(simulation) => !simulation.is_as_expected(),
            Foreseen::NotSimulated { .. } => false,
        };
        !self.warnings.is_empty() || self.foreseen.as_ref().is_some_and(simulated)
    }

    /// Whether a person must look before anybody signs.
    pub fn needs_attention(&self) -> bool {
        !self.matches || self.is_unexpected() || self.is_open() || self.is_past()
    }
}

/// Compares. Everything that is computed here rests on the fields that are signed and on the
/// chain; what is shown beside them is only looked at to find it different.
///
/// # Errors
/// When what is shown is so far from a proposal that there is nothing to compare.
pub fn compare(said: &Said, seen: Option<&Seen>, given: &Given) -> Result<Report> {
    let Claimed { chain, owner, safe_tx, .. } = &said.claimed;
    let (app, calls) = app_and_calls(said, given)?;
    let additions: Vec<Addition> = calls.iter().filter_map(addition).collect();
    let version = version(said, seen);
    let hashes = safe_tx.as_ref().map(|tx| safe::hashes(tx, *chain, *owner, version));
    let expected = said.wanted.map(|wanted| wanted.app).or(given.app).or(app);
    let decoded = decoded(said, seen, given, safe_tx.as_ref(), expected, &calls);
    let mut report = Report {
        matches: true,
        hashes,
        calls: decoded.calls,
        warnings: decoded.warnings,
        // A batch file names no version: only the chain knows the Safe's.
        notes: if safe_tx.is_some() || seen.is_some_and(|seen| seen.safe().is_some()) {
            version.notes()
        } else {
            vec![]
        },
        differences: vec![],
        unknown_fields: vec![],
        checks: vec![],
        nested_owners: nested_owners(said, seen, hashes),
        foreseen: seen.and_then(|seen| seen.foreseen.clone()),
    };
    let signers = hashes.map(|hashes| signers(said, hashes)).transpose()?.unwrap_or_default();
    if let (Some(shown), Some(_)) = (&said.shown, app) {
        let here = here(said, seen, additions.clone(), hashes, &signers)?;
        (report.differences, report.unknown_fields) = differences::find(shown, &here);
    }
    report.checks = checks::all(said, seen, given, &report, &signers, &additions, app);
    let is_bad = report.checks.iter().any(|check| check.verdict == Verdict::Bad);
    report.matches = report.differences.is_empty() && !is_bad;
    Ok(report)
}

/// The app that is changed: what the request says, or else the first that something is added to;
/// and the calls that would be made.
pub fn app_and_calls(said: &Said, given: &Given) -> Result<(Option<AppId>, Vec<Call>)> {
    let Claimed { owner, safe_tx, .. } = &said.claimed;
    let app = said.wanted.map(|wanted| wanted.app);
    let calls = calls(said, safe_tx.as_ref(), *owner, app)?;
    let first = calls.iter().find_map(|call| addition(call).map(|one| one.app));
    Ok((app.or(first).or(given.app), calls))
}

fn addition(call: &Call) -> Option<Addition> {
    Write::from_calldata(&call.data).map(|write| Addition { app: AppId(call.to), write })
}

/// The calls that would be made: those of the transaction, or the bare ones of another owner.
fn calls(said: &Said, tx: Option<&SafeTx>, safe: Address, app: Option<AppId>) -> Result<Vec<Call>> {
    if let Some(tx) = tx {
        let decoded = safe::decode(tx, &Expected { safe, app, additions: None });
        let call = |one: DecodedCall| Call { to: one.to, value: one.value, data: one.data };
        return Ok(decoded.calls.into_iter().map(call).collect());
    }
    if let Some(batch) = &said.batch {
        return Ok(batch.clone());
    }
    let bare = said.shown.as_ref().map(|shown| &shown["bare_calls"]);
    Vec::deserialize(bare.unwrap_or(&Value::Null)).context("the calls do not read")
}

/// What the Safe says of itself; without a chain what is claimed. A document names none, and is
/// of one that has the chain in its domain.
fn version(said: &Said, seen: Option<&Seen>) -> SafeVersion {
    let read = seen.and_then(Seen::safe).map(|safe| safe.version);
    read.or(said.claimed.version).unwrap_or(SafeVersion::V1_3_0)
}

/// A signature that is shown, and who made it.
pub(super) struct Signer {
    pub(super) owner: Address,
    pub(super) signature: Part,
    received_at: Time,
}

#[derive(Deserialize)]
struct ShownConfirmation {
    signature: Bytes,
    received_at: Time,
}

/// Who made the signatures that are shown. Whoever it is said to be is found different elsewhere. An
/// approval on chain and a contract's signature name their owner, and prove nothing by themselves.
fn signers(said: &Said, hashes: SafeTxHashes) -> Result<Vec<Signer>> {
    let signer = |(signature, received_at): (Part, Time)| {
        let owner = match &signature {
            Part::Key(signature) => signature.recover(hashes.safe_tx_hash)?,
            Part::ApprovedHash(owner) | Part::Contract { owner, .. } => *owner,
        };
        Ok(Signer { owner, signature, received_at })
    };
    parts(said)?.into_iter().map(signer).collect()
}

fn parts(said: &Said) -> Result<Vec<(Part, Time)>> {
    let Some(shown) = &said.shown else {
        let beside = said.signatures.iter().map(|part| (part.clone(), Time::default()));
        return Ok(beside.collect());
    };
    let shown: Vec<ShownConfirmation> =
        Vec::deserialize(&shown["confirmations"]).context("the signatures do not read")?;
    let part = |one: ShownConfirmation| {
        let part = Part::from_bytes(&one.signature).context("the signatures do not read")?;
        Ok((part, one.received_at))
    };
    shown.into_iter().map(part).collect()
}

/// The signatures that are shown, of whatever kind.
pub fn shown_parts(said: &Said) -> Result<Vec<Part>> {
    Ok(parts(said)?.into_iter().map(|(part, _)| part).collect())
}

/// What the service would show if it saw what this machine sees.
fn here(
    said: &Said,
    seen: Option<&Seen>,
    additions: Vec<Addition>,
    hashes: Option<SafeTxHashes>,
    signers: &[Signer],
) -> Result<Value> {
    let Claimed { chain, owner, safe_tx, .. } = &said.claimed;
    let shown = said.shown.as_ref().unwrap_or(&Value::Null);
    let safe = match (safe_tx, hashes) {
        (Some(tx), Some(hashes)) => {
            let state = seen.and_then(Seen::safe);
            Some(SafeProposal {
                version: version(said, seen),
                tx: tx.clone(),
                nonce: tx.nonce.saturating_to(),
                nonce_choice: NonceChoice::NextFree,
                threshold: match state {
                    Some(state) => state.threshold,
                    None => u32::deserialize(&shown["threshold"]).context("the threshold")?,
                },
                owners: match state {
                    Some(state) => state.owners.clone(),
                    None => Vec::deserialize(&shown["owners"]).context("the owners")?,
                },
                hashes,
                around: around(seen, shown)?,
                queue: None,
            })
        }
        _ => None,
    };
    let proposal = Proposal {
        id: uuid::Uuid::nil(),
        route: seen.map_or(said.claimed.route, |seen| route(&seen.kind)),
        chain: *chain,
        owner: seen.and_then(|seen| seen.app_owner).unwrap_or(*owner),
        additions,
        warnings: seen.and_then(Seen::safe).and_then(singleton_warning).into_iter().collect(),
        safe,
        // Nobody can check when the service says that something happened.
        created_at: Time::deserialize(&shown["created_at"]).context("the time does not read")?,
    };
    let confirmations: Vec<Confirmation> = signers
        .iter()
        .map(|one| Confirmation {
            owner: one.owner,
            signature: one.signature.clone(),
            received_at: one.received_at,
        })
        .collect();
    let requests = match said.request.zip(said.wanted) {
        Some((id, wanted)) => {
            let mut all: Vec<Other> = said.with.clone();
            all.push(Other { id, wanted });
            all.sort_by_key(|one| one.id);
            all.into_iter().map(ForRequest::from).collect()
        }
        None => Vec::deserialize(&shown["requests"]).context("the requests do not read")?,
    };
    Ok(serde_json::to_value(ProposalView::of(&proposal, &confirmations, requests))?)
}

impl From<Other> for ForRequest {
    fn from(Other { id, wanted }: Other) -> Self {
        let Wanted { app, compose_hash, device_id } = wanted;
        Self { id, app, compose_hash, device_id }
    }
}

#[cfg(all(test, feature = "devnet"))]
mod tests;
