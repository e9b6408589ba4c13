//! What others have waiting at a Safe, as its mailbox told. Hints: the chain decides.

use std::ops::RangeInclusive;

use alloy::primitives::Address;
use chrono::TimeDelta;

use super::{During, Store, StoreError, hash_of, signed, unsigned};
use crate::{
    clock::Time,
    owner::nonce::ForeignQueued,
    request::ids::{ChainId, SafeTxHash},
};

/// How long one counts that the mailbox does not list any more: a mailbox that shows and hides a
/// transaction must not have proposals replaced in the same rhythm.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::hours(1);
/// How long one counts when the mailbox is not read. It is, every six hours, while a proposal waits.
const STALE_AFTER: TimeDelta = TimeDelta::days(1);

impl Store {
    /// Notes what the mailbox lists of these nonces.
    pub async fn note_foreign_queue(
        &self,
        chain: ChainId,
        safe: Address,
        nonces: RangeInclusive<u64>,
        listed: &[ForeignQueued],
        now: Time,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let chain = signed(chain.get());
        for queued in listed.iter().filter(|queued| nonces.contains(&queued.nonce)) {
            sqlx::query!(
                "insert into foreign_queued (chain_id, safe, safe_tx_hash, nonce, what, seen_at)
                 values ($1, $2, $3, $4, left($5, 200), $6)
                 on conflict (chain_id, safe, safe_tx_hash) do update
                    set seen_at = greatest(foreign_queued.seen_at, excluded.seen_at)",
                chain,
                safe.as_slice(),
                queued.hash.0.as_slice(),
                signed(queued.nonce),
                queued.what,
                now,
            )
            .execute(&mut *tx)
            .await
            .during("note what others have waiting at a Safe")?;
        }
        let forgotten = sqlx::query!(
            "delete from foreign_queued where chain_id = $1 and safe = $2
               and nonce between $3 and $4 and seen_at < $5",
            chain,
            safe.as_slice(),
            signed(*nonces.start()),
            signed(*nonces.end()),
            now - FORGOTTEN_AFTER,
        )
        .execute(&mut *tx)
        .await
        .during("forget what a mailbox does not list any more")?;
        if forgotten.rows_affected() > 0 {
            // What waited behind it may move up.
            sqlx::query!(
                "update requests set next_try_at = least(next_try_at, $3)
                 where id in (
                    select r.id from requests r join proposals p on p.id = r.proposal_id
                    where r.status in ('proposed', 'approved') and p.chain_id = $1
                      and p.owner = $2 and p.replaced_at is null
                    order by r.id for update of r)",
                chain,
                safe.as_slice(),
                now,
            )
            .execute(&mut *tx)
            .await
            .during("wake what waits behind")?;
        }
        super::commit(tx).await
    }

    /// What others have waiting at a Safe from nonce `next` on, lowest first. What was ever proposed
    /// here is ours, not theirs.
    pub async fn foreign_queue(
        &self,
        chain: ChainId,
        safe: Address,
        next: u64,
        now: Time,
    ) -> Result<Vec<ForeignQueued>, StoreError> {
        let rows = sqlx::query!(
            "select nonce, safe_tx_hash, what from foreign_queued q
             where chain_id = $1 and safe = $2 and nonce >= $3 and seen_at > $4
               and not exists (
                  select 1 from proposals p where p.chain_id = q.chain_id and p.owner = q.safe
                    and p.safe_tx_hash = q.safe_tx_hash)
             order by nonce, safe_tx_hash",
            signed(chain.get()),
            safe.as_slice(),
            signed(next),
            now - STALE_AFTER,
        )
        .fetch_all(&self.pool)
        .await
        .during("look for what others have waiting at a Safe")?;
        rows.into_iter()
            .map(|row| {
                Ok(ForeignQueued {
                    nonce: unsigned("foreign_queued", "nonce", safe, row.nonce)?,
                    hash: SafeTxHash(hash_of(&row.safe_tx_hash, "foreign_queued", safe)?),
                    what: row.what,
                })
            })
            .collect()
    }
}
