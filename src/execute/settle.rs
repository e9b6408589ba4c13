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
    chain::{ChainError, Estimate, Fees, Mined, Payment},
    request::{facts::BlockRef, ids::TxHash, status::Status},
    safe::SafeEvent,
    store::relays::{Fate, Sent, Try},
};

/// How long a transaction may be in no block before another one is to take its place.
pub const REPLACE_AFTER: TimeDelta = TimeDelta::seconds(90);

/// For how long no endpoint shows a receipt before the nonce counts as taken by another transaction.
pub const GONE_AFTER: TimeDelta = TimeDelta::minutes(10);
/// How it begins what is said while the receipt of a used nonce is missing.
const MISSED: &str = "its receipt is waited for";

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
        send(relayer, one, last).await?;
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
    send(relayer, one, &next).await?;
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

/// The nonce is used, deep enough: by one of ours, or by another. An endpoint may show the nonce
/// before it has the receipt, so that no receipt comes is waited for before it means anything.
async fn settle(relayer: Relayer<'_>, one: &Try, deep: BlockRef) -> Result<bool, ExecuteError> {
    let Relayer { store, now, .. } = relayer;
    let said = store.relayer_said(one.proposal).await?;
    let missed = said.filter(|said| said.says.as_deref().is_some_and(|it| it.starts_with(MISSED)));
    if missed.as_ref().is_some_and(|said| now - said.looked_at < RESEND_AFTER) {
        return Ok(false);
    }
    let found = match find(relayer, one).await {
        Ok(Found::Nothing) => {
            let words = format!(
                "{MISSED}: its nonce {} is used, and no endpoint shows by what; when none has shown \
                 it for {} minutes, another transaction of the account took it",
                one.relayer_nonce,
                GONE_AFTER.num_minutes()
            );
            let same = missed.filter(|said| said.says.as_deref() == Some(words.as_str()));
            let is_gone = same.is_some_and(|said| now - said.since >= GONE_AFTER);
            store.relayer_says(one.proposal, Some(&words), now, now).await?;
            if !is_gone {
                return Ok(false);
            }
            None
        }
        Ok(Found::Mined(sent, mined)) => Some((sent, mined)),
        Err(error) => {
            let words = format!("{MISSED}: its nonce {} is used; {error}", one.relayer_nonce);
            store.relayer_says(one.proposal, Some(&words), now, now).await?;
            return Err(error.into());
        }
    };
    let (fate, place) = match &found {
        // The block that the endpoints agree on now is not the one that the nonce was read in.
        Some((_, mined)) if mined.block.number > deep.number => return Ok(false),
        Some((sent, mined)) => {
            (fate(one, sent.cancels, mined), Some((sent.hash, mined.block.number)))
        }
        None => (Fate::NonceTaken, None),
    };
    if store.settle_try(relayer.leadership, one.id, fate, place, now).await? {
        store.relayer_says(one.proposal, None, now, now).await?;
        told(relayer, one, fate, place.map(|(tx, _)| tx));
    }
    Ok(true)
}

/// What the endpoints have of a try whose nonce is used.
enum Found<'a> {
    Mined(&'a Sent, Mined),
    /// As many as must agree have no receipt of anything that was signed for it, and none has one.
    Nothing,
}

async fn find<'a>(relayer: Relayer<'_>, one: &'a Try) -> Result<Found<'a>, ChainError> {
    let chain = relayer.chain;
    for sent in &one.transactions {
        if let Some(mined) = chain.mined(sent.hash).await? {
            return Ok(Found::Mined(sent, mined));
        }
    }
    for sent in &one.transactions {
        if !chain.is_in_no_block(sent.hash).await? {
            return Err(ChainError::Moved(
                "one endpoint has a receipt that others do not have yet",
            ));
        }
    }
    Ok(Found::Nothing)
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
