//! Looks after a try that is under way: settles it once its nonce is used deep enough, and until then
//! sends the same bytes again, or after a while the same nonce with a higher fee.

use alloy::primitives::{Address, Bytes};
use chrono::TimeDelta;

use super::{
    ExecuteError, RESEND_AFTER, Relayer,
    begin::{send, sent},
    decide::{self, Why},
    look::look,
};
use crate::{
    chain::{Estimate, Fees, Mined, Payment},
    request::{facts::BlockRef, ids::TxHash, status::Status},
    safe::SafeEvent,
    store::relays::{Fate, Sent, Try},
};

/// How long a transaction may be in no block before another one is to take its place.
pub const REPLACE_AFTER: TimeDelta = TimeDelta::seconds(90);

/// Looks after a try; whether it is settled.
pub async fn tend(
    relayer: Relayer<'_>,
    one: &Try,
    at: BlockRef,
    deep: Option<BlockRef>,
) -> Result<bool, ExecuteError> {
    let chain = relayer.chain;
    if let Some(deep) = deep
        && chain.account_nonce(one.relayer, deep).await? > one.relayer_nonce
    {
        return settle(relayer, one, deep).await;
    }
    let next = chain.account_nonce(one.relayer, at).await?;
    if next > one.relayer_nonce {
        // It is in a block, and only depth is missing.
        return Ok(false);
    }
    let said = relayer.store.relayer_said(one.proposal).await?;
    // Whether there is room takes a simulation to say, and stays the same for a while.
    let is_rested = said.is_none_or(|said| relayer.now - said.looked_at >= RESEND_AFTER);
    if next < one.relayer_nonce {
        if is_rested {
            close_gap(relayer, one, next).await?;
        }
        return Ok(false);
    }
    let Some(last) = one.transactions.last() else { return Ok(false) };
    let is_wanted = is_wanted(relayer, one, at).await?;
    if relayer.now - last.signed_at >= REPLACE_AFTER
        && is_rested
        && one.relayer == relayer.address()
        && replace(relayer, one, last, is_wanted, at).await?
    {
        return Ok(false);
    }
    let is_quiet = last.sent_at.is_none_or(|sent| relayer.now - sent >= RESEND_AFTER);
    if is_quiet && (is_wanted || last.cancels) {
        send(relayer, one.request, last).await?;
    }
    Ok(false)
}

/// A reorganisation deeper than the policy took what used an earlier nonce of the account, and
/// nothing after it can happen before that does again: the same bytes are sent.
async fn close_gap(relayer: Relayer<'_>, one: &Try, nonce: u64) -> Result<(), ExecuteError> {
    let (store, now) = (relayer.store, relayer.now);
    let stored = store.signed_with(one.chain, one.relayer, nonce).await?;
    let words = if stored.is_some() {
        format!(
            "nonce {nonce} of the relayer's account is unused again: what used it is sent again"
        )
    } else {
        format!(
            "nonce {nonce} of the relayer's account is unused, and nothing here was signed with it: \
             send any transaction from that account with this nonce"
        )
    };
    store.relayer_says(one.proposal, Some(&words), now, now).await?;
    if let Some(raw) = stored
        && let Err(refusal) = relayer.chain.broadcast(&raw).await
    {
        tracing::debug!(nonce, %refusal, "no endpoint took it this time");
    }
    Ok(())
}

/// Whether it is still to be executed: a person may have withdrawn the request, or the chain may have
/// come to allow the entries by another way.
async fn is_wanted(relayer: Relayer<'_>, one: &Try, at: BlockRef) -> Result<bool, ExecuteError> {
    let request = relayer.store.request(one.request).await?;
    if request.status() != Status::Approved || request.facts.proposal != Some(one.proposal) {
        return Ok(false);
    }
    Ok(relayer.chain.safe_nonce(one.safe, at).await? == one.safe_nonce)
}

/// Puts another transaction in the place of one that is in no block: the same execution for more, or,
/// when it is not wanted any more, an empty transfer. Whether there is one now.
async fn replace(
    relayer: Relayer<'_>,
    one: &Try,
    last: &Sent,
    is_wanted: bool,
    at: BlockRef,
) -> Result<bool, ExecuteError> {
    let before = Fees { max: last.max_fee, tip: last.tip };
    let next = if is_wanted {
        again(relayer, one, before, at).await?
    } else {
        cancel(relayer, one, before, at).await?
    };
    let store = relayer.store;
    let says = next.as_ref().err().map(ToString::to_string);
    store.relayer_says(one.proposal, says.as_deref(), relayer.now, relayer.now).await?;
    let Ok(payment) = next else { return Ok(false) };
    let next = sent(relayer.key.sign(&payment)?, !is_wanted, relayer);
    if !store.replace_transaction(relayer.leadership, one, &next).await? {
        return Ok(false);
    }
    tracing::info!(request.id = %one.request, tx = %next.hash, cancels = next.cancels,
        "takes the place of a transaction that is in no block");
    send(relayer, one.request, &next).await?;
    Ok(true)
}

/// The same execution, if it still may be sent and the caps leave room for a higher fee.
async fn again(
    relayer: Relayer<'_>,
    one: &Try,
    before: Fees,
    at: BlockRef,
) -> Result<Result<Payment, Why>, ExecuteError> {
    let request = relayer.store.request(one.request).await?;
    let proposal = relayer.store.proposal(one.request).await?;
    let Some(proposal) = proposal.filter(|proposal| proposal.id == one.proposal) else {
        return Ok(Err(Why::OtherSafe));
    };
    let looked = look(relayer, &request, &proposal, at).await?;
    Ok(looked.and_then(|ready| {
        let fees = decide::raised(before, ready.fees, relayer.caps())?;
        Ok(payment(one, one.safe, ready.calldata, ready.gas_limit, fees))
    }))
}

/// An empty transfer of the account to itself, for as much more as the caps leave room for.
async fn cancel(
    relayer: Relayer<'_>,
    one: &Try,
    before: Fees,
    at: BlockRef,
) -> Result<Result<Payment, Why>, ExecuteError> {
    let (chain, caps) = (relayer.chain, relayer.caps());
    let (base_fee, tip) = (chain.base_fee(at).await?, chain.tip().await?);
    let Estimate::Gas(gas) = chain.estimate(one.relayer, one.relayer, &Bytes::new()).await? else {
        return Ok(Err(Why::NodeRefuses(at.number)));
    };
    let present = decide::price(base_fee, tip, caps);
    Ok(present.and_then(|present| {
        let fees = decide::freed(before, present, caps);
        let gas_limit = decide::gas_limit(gas, 0, None, caps)?;
        Ok(payment(one, one.relayer, Bytes::new(), gas_limit, fees))
    }))
}

fn payment(one: &Try, to: Address, data: Bytes, gas_limit: u64, fees: Fees) -> Payment {
    Payment { chain: one.chain, nonce: one.relayer_nonce, to, data, gas_limit, fees }
}

/// The nonce is used, deep enough: by one of ours, or by another.
async fn settle(relayer: Relayer<'_>, one: &Try, deep: BlockRef) -> Result<bool, ExecuteError> {
    let mut found = None;
    for sent in &one.transactions {
        if let Some(mined) = relayer.chain.mined(sent.hash).await? {
            found = Some((sent, mined));
        }
    }
    let (fate, place) = match &found {
        // The block that the endpoints agree on now is not the one that the nonce was read in.
        Some((_, mined)) if mined.block.number > deep.number => return Ok(false),
        Some((sent, mined)) => {
            (fate(one, sent.cancels, mined), Some((sent.hash, mined.block.number)))
        }
        None => (Fate::NonceTaken, None),
    };
    let Relayer { store, leadership, now, .. } = relayer;
    if store.settle_try(leadership, one.id, fate, place, now).await? {
        told(relayer, one, fate, place.map(|(tx, _)| tx));
    }
    Ok(true)
}

/// What a transaction did. A Safe always tells when its transaction failed inside.
fn fate(one: &Try, cancels: bool, mined: &Mined) -> Fate {
    if cancels {
        return Fate::Cancelled;
    }
    if !mined.success {
        return Fate::Reverted;
    }
    let failed = mined.logs.iter().filter(|log| log.address == one.safe).any(|log| {
        let event = SafeEvent::decode(log.topics(), &log.data.data).ok().flatten();
        event == Some(SafeEvent::ExecutionFailure(one.safe_tx_hash))
    });
    if failed { Fate::FailedInside } else { Fate::Executed }
}

fn told(relayer: Relayer<'_>, one: &Try, fate: Fate, tx: Option<TxHash>) {
    let labels = [("chain", relayer.chain.id().to_string()), ("outcome", fate.as_str().into())];
    metrics::counter!("countersign_relayer_tries_total", &labels).increment(1);
    let (tx, outcome) = (tx.map(|tx| tx.to_string()), fate.as_str());
    if matches!(fate, Fate::Executed | Fate::Cancelled) {
        tracing::info!(request.id = %one.request, tx, outcome, "a try to execute is settled");
    } else {
        tracing::warn!(request.id = %one.request, tx, outcome, "a try to execute came to nothing");
    }
}

#[cfg(test)]
mod tests;
