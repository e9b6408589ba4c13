//! Begins a try: the intent is written with the signed transaction, and only then is it sent.

use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    ExecuteError, Relayer,
    look::{Ready, look},
};
use crate::{
    chain::{Payment, SignedPayment},
    request::{
        Request,
        facts::BlockRef,
        ids::{RequestId, TxHash},
        status::Status,
    },
    store::{
        proposals::Proposal,
        relays::{Sent, Try},
    },
};

/// When to look again at what is being sent, or could not be written down.
const LOOK_AGAIN: TimeDelta = TimeDelta::seconds(5);
/// The first pause after a failed look, and the longest; as long as it has failed in between.
const RETRY: (TimeDelta, TimeDelta) = (TimeDelta::seconds(2), TimeDelta::minutes(1));

/// How it begins what is said of a transaction that no endpoint took.
const REFUSED: &str = "no endpoint takes it";

/// Looks at an approved transaction, and sends it if nothing speaks against it. Why not is noted.
pub async fn begin(
    relayer: Relayer<'_>,
    request: RequestId,
    at: BlockRef,
) -> Result<(), ExecuteError> {
    let Relayer { store, now, .. } = relayer;
    let request = store.request(request).await?;
    let Some(proposal) = store.proposal(request.id).await? else { return Ok(()) };
    if request.status() != Status::Approved || request.facts.proposal != Some(proposal.id) {
        return Ok(());
    }
    match look(relayer, &request, &proposal, at).await {
        Ok(Ok(ready)) => {
            store.relayer_says(proposal.id, None, now + LOOK_AGAIN, now).await?;
            send_first(relayer, &request, &proposal, &ready, at).await
        }
        Ok(Err(why)) => {
            say(relayer, &request, &proposal, &why.to_string(), |said| why.pause(said)).await
        }
        Err(error) => {
            // Others have their turn before it is tried again.
            let words = format!("it cannot be decided now: {}", in_words(&error));
            say(relayer, &request, &proposal, &words, |said| said.clamp(RETRY.0, RETRY.1)).await?;
            Err(error)
        }
    }
}

/// An error and what caused it.
fn in_words(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

async fn say(
    relayer: Relayer<'_>,
    request: &Request,
    proposal: &Proposal,
    words: &str,
    pause: impl FnOnce(TimeDelta) -> TimeDelta,
) -> Result<(), ExecuteError> {
    let Relayer { store, now, .. } = relayer;
    let said = store.relayer_said(proposal.id).await?;
    let before = said.filter(|said| said.says.as_deref() == Some(words));
    if before.is_none() {
        tracing::info!(request.id = %request.id, why = words, "is not executed yet");
    }
    let said_for = before.map_or(TimeDelta::zero(), |said| now - said.since);
    store.relayer_says(proposal.id, Some(words), now + pause(said_for), now).await?;
    Ok(())
}

async fn send_first(
    relayer: Relayer<'_>,
    request: &Request,
    proposal: &Proposal,
    ready: &Ready,
    at: BlockRef,
) -> Result<(), ExecuteError> {
    let Relayer { store, key, leadership, now, .. } = relayer;
    let Some(safe) = &proposal.safe else { return Ok(()) };
    let payment = Payment {
        chain: proposal.chain,
        nonce: ready.nonce,
        to: proposal.owner,
        data: ready.calldata.clone(),
        gas_limit: ready.gas_limit,
        fees: ready.fees,
    };
    let first = sent(key.sign(&payment)?, false, relayer);
    let one = Try {
        id: Uuid::now_v7(),
        proposal: proposal.id,
        request: request.id,
        chain: proposal.chain,
        safe: proposal.owner,
        safe_nonce: safe.nonce,
        safe_tx_hash: safe.hashes.safe_tx_hash,
        relayer: key.address(),
        relayer_nonce: ready.nonce,
        gas_limit: ready.gas_limit,
        simulated_block: at.number,
        created_at: now,
        settled_at: None,
        fate: None,
        tx: None,
        block: None,
        transactions: vec![],
    };
    if !store.begin_try(leadership, &one, &first).await? {
        tracing::info!(request.id = %request.id, "another try has its place; nothing is sent");
        return Ok(());
    }
    tracing::info!(request.id = %request.id, tx = %first.hash, nonce = ready.nonce, "executes");
    send(relayer, &one, &first).await
}

/// What is signed, as it is kept.
pub(super) fn sent(payment: SignedPayment, cancels: bool, relayer: Relayer<'_>) -> Sent {
    Sent {
        hash: payment.hash,
        cancels,
        raw: payment.raw,
        max_fee: payment.fees.max,
        tip: payment.fees.tip,
        signed_at: relayer.now,
        sent_at: None,
    }
}

/// Gives a transaction that is written down to the endpoints. Whether they took it, the chain tells:
/// it is sent again until its nonce is used. That all of them refused it is said of the proposal,
/// until one takes it.
pub(super) async fn send(relayer: Relayer<'_>, of: &Try, one: &Sent) -> Result<(), ExecuteError> {
    let Relayer { store, chain, now, .. } = relayer;
    let label = chain.id().to_string();
    metrics::counter!("countersign_relayer_sent_total", "chain" => label).increment(1);
    match chain.broadcast(&one.raw).await {
        Ok(()) => {
            let said = store.relayer_said(of.proposal).await?.and_then(|said| said.says);
            if said.is_some_and(|said| said.starts_with(REFUSED)) {
                store.relayer_says(of.proposal, None, now, now).await?;
            }
        }
        Err(refusal) => {
            let TxHash(tx) = one.hash;
            tracing::debug!(request.id = %of.request, %tx, %refusal, "no endpoint took it this time");
            let words = format!("{REFUSED} ({refusal}); it is given to them again");
            store.relayer_says(of.proposal, Some(&words), now, now).await?;
        }
    }
    store.transaction_sent(one.hash, now).await?;
    Ok(())
}
