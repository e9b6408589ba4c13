//! One look at an approved transaction: everything that decides is read at one block.

use alloy::primitives::Bytes;

use super::{
    ExecuteError, Relayer,
    decide::{self, Content, Why},
};
use crate::{
    chain::{
        Estimate, Fees, OwnerKind,
        simulate::{Signed, Subject},
    },
    owner::safe::gas_limit as least_gas,
    request::{Request, facts::BlockRef},
    safe::packed::{Part, pack},
    store::proposals::Proposal,
};

/// What may be sent.
#[derive(Debug)]
pub struct Ready {
    pub calldata: Bytes,
    pub gas_limit: u64,
    pub fees: Fees,
    /// The next nonce of the account.
    pub nonce: u64,
}

/// Whether a proposal may be executed, and how; or why not.
pub async fn look(
    relayer: Relayer<'_>,
    request: &Request,
    proposal: &Proposal,
    at: BlockRef,
) -> Result<Result<Ready, Why>, ExecuteError> {
    let Relayer { store, chain, now, .. } = relayer;
    let (caps, payer) = (relayer.caps(), relayer.address());
    let Some(safe) = &proposal.safe else { return Ok(Err(Why::OtherSafe)) };
    let requests = store.requests_of(proposal.id).await?;
    let content = Content { requests: &requests, proposal, safe };
    let tries = store.tries(request.id).await?;
    let of_this: Vec<_> = tries.into_iter().filter(|it| it.proposal == proposal.id).collect();
    let first = content.is_ours().and_then(|()| content.may_be_tried(&of_this, now));
    if let Err(why) = first {
        return Ok(Err(why));
    }
    let owner = chain.owner(request.app, at).await?;
    let state = match chain.owner_kind(owner, at).await? {
        OwnerKind::Safe(state) if owner == proposal.owner => Some(state),
        _ => None,
    };
    let confirmations = store.confirmations(proposal.id).await?;
    let given: Vec<_> = confirmations.into_iter().map(|one| (one.owner, one.signature)).collect();
    let good: Vec<(_, Part)> = match &state {
        Some(state) => chain.standing_signatures(state, &safe.hashes, &given, at).await?,
        None => vec![],
    };
    if let Err(why) = content.is_due(owner, state.as_deref(), good.len()) {
        return Ok(Err(why));
    }
    let Some(state) = state else { return Ok(Err(Why::OtherSafe)) };
    // Before the simulation, which costs many reads.
    let fees = match decide::price(chain.base_fee(at).await?, chain.tip().await?, caps) {
        Ok(fees) => fees,
        Err(why) => return Ok(Err(why)),
    };
    let signatures = pack(&good)?;
    let modules = chain.extensions(&state, at).await?.modules;
    let others: Vec<_> = proposal.additions.iter().map(|addition| addition.app).collect();
    let subject = Subject {
        safe: &state,
        tx: &safe.tx,
        modules: &modules,
        wanted: Some((request.app, request.compose, request.device)),
        also: &others,
        signed: Some(Signed { executor: payer, signatures: &signatures }),
    };
    let simulation = chain.simulate(subject, at).await?;
    if let Err(why) = decide::is_good(&simulation) {
        return Ok(Err(why));
    }
    let calldata = safe.tx.exec_calldata(&signatures);
    let estimated = match chain.estimate(payer, proposal.owner, &calldata).await? {
        Estimate::Gas(gas) => gas,
        Estimate::Reverts => return Ok(Err(Why::NodeRefuses(at.number))),
    };
    let parts: Vec<Part> = good.into_iter().map(|(_, part)| part).collect();
    let least = least_gas(safe.version, proposal.additions.len(), &parts);
    let balance = chain.balance(payer, at).await?;
    let nonce = chain.account_nonce(payer, at).await?;
    Ok(decide::gas_limit(estimated, simulation.gas_used, least, caps).and_then(|gas_limit| {
        decide::can_pay(payer, balance, gas_limit, fees)?;
        Ok(Ready { calldata, gas_limit, fees, nonce })
    }))
}
