//! What the relayer says of proposals, the tries it made, and the transactions signed for them.
//!
//! A try is written, with its first transaction, before anything is sent. Unique indexes hold that one
//! is under way at most for an account and for a Safe, and that a nonce is given once.

mod tries;

use std::collections::HashMap;

use alloy::primitives::{Address, Bytes};
use sqlx::PgConnection;
use uuid::Uuid;

pub use tries::{Fate, Sent, Try};

use super::{During, Store, StoreError, chain::Leadership, one_row, requests::get_locked, signed};
use crate::{
    clock::Time,
    request::{
        ids::{ChainId, RequestId, TxHash},
        status::Status,
    },
};

/// What the relayer says of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Why it waits; absent when it has nothing against it.
    pub says: Option<String>,
    /// Since when it says this.
    pub since: Time,
    pub looked_at: Time,
}

impl Store {
    /// The request whose approved transaction has waited longest for the relayer to look at it. Safes
    /// with a try under way are left out; of one Safe the lowest nonce comes first.
    pub async fn relayable(
        &self,
        chain: ChainId,
        now: Time,
    ) -> Result<Option<RequestId>, StoreError> {
        let found = sqlx::query_scalar!(
            "select r.id from requests r join proposals p on p.id = r.proposal_id
             left join relays l on l.proposal_id = p.id
             where r.chain_id = $1 and r.status = 'approved' and p.replaced_at is null
               and p.safe_tx is not null and (l.next_look_at is null or l.next_look_at <= $2)
               and not exists (select 1 from relay_tries t
                  where t.chain_id = p.chain_id and t.safe = p.owner and t.settled_at is null)
             order by l.next_look_at nulls first, p.nonce, r.deadline, r.id limit 1",
            signed(chain.get()),
            now,
        )
        .fetch_optional(&self.pool)
        .await
        .during("look for something to execute")?;
        Ok(found.map(RequestId))
    }

    /// Notes what the relayer says of a proposal, and when it looks again.
    pub async fn relayer_says(
        &self,
        proposal: Uuid,
        says: Option<&str>,
        next_look_at: Time,
        now: Time,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into relays as l (proposal_id, says, said_since, looked_at, next_look_at)
             values ($1, left($2, 2000), $4, $4, $3)
             on conflict (proposal_id) do update set says = excluded.says, looked_at = $4,
                next_look_at = $3, said_since = case
                    when l.says is not distinct from excluded.says then l.said_since else $4 end",
            proposal,
            says,
            next_look_at,
            now,
        )
        .execute(&self.pool)
        .await
        .during("note what the relayer says")
        .map(|_| ())
    }

    /// What the relayer says of each of some proposals that it says anything of.
    pub async fn relayer_words(
        &self,
        proposals: &[Uuid],
    ) -> Result<HashMap<Uuid, String>, StoreError> {
        let rows = sqlx::query!(
            r#"select proposal_id, says as "says!" from relays
               where proposal_id = any($1) and says is not null"#,
            proposals
        )
        .fetch_all(&self.pool)
        .await
        .during("read what the relayer says of proposals")?;
        Ok(rows.into_iter().map(|row| (row.proposal_id, row.says)).collect())
    }

    pub async fn relayer_said(&self, proposal: Uuid) -> Result<Option<Said>, StoreError> {
        sqlx::query_as!(
            Said,
            "select says, said_since as since, looked_at from relays where proposal_id = $1",
            proposal
        )
        .fetch_optional(&self.pool)
        .await
        .during("read what the relayer says")
    }

    /// Writes the intent: a try with its first transaction. False when another one is under way, the
    /// nonce was given before, or the request is not to be executed any more; then nothing may be sent.
    pub async fn begin_try(
        &self,
        _proof: &Leadership,
        one: &Try,
        first: &Sent,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let request = get_locked(&mut tx, one.request).await?;
        let is_wanted =
            request.status() == Status::Approved && request.facts.proposal == Some(one.proposal);
        if !is_wanted {
            return Ok(false);
        }
        let inserted = sqlx::query!(
            "insert into relay_tries (id, proposal_id, chain_id, safe, relayer, relayer_nonce,
                gas_limit, simulated_block, created_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing",
            one.id,
            one.proposal,
            signed(one.chain.get()),
            one.safe.as_slice(),
            one.relayer.as_slice(),
            signed(one.relayer_nonce),
            signed(one.gas_limit),
            signed(one.simulated_block),
            one.created_at,
        )
        .execute(&mut *tx)
        .await
        .during("write a try to execute")?;
        if inserted.rows_affected() == 0 {
            return Ok(false);
        }
        insert_transaction(&mut tx, one.id, 0, first).await?;
        super::commit(tx).await?;
        Ok(true)
    }

    /// Adds a transaction that takes the place of the others of an open try. False when another
    /// instance did, or it is settled; then nothing may be sent.
    pub async fn replace_transaction(
        &self,
        _proof: &Leadership,
        one: &Try,
        next: &Sent,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let is_open = sqlx::query_scalar!(
            r#"select settled_at is null as "is_open!" from relay_tries where id = $1 for update"#,
            one.id
        )
        .fetch_one(&mut *tx)
        .await
        .during("take a try to execute")?;
        let number = one.transactions.len();
        let is_added = is_open && insert_transaction(&mut tx, one.id, number, next).await?;
        super::commit(tx).await?;
        Ok(is_added)
    }

    /// Notes that a transaction was given to the endpoints.
    pub async fn transaction_sent(&self, hash: TxHash, now: Time) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "update relay_transactions set sent_at = $2 where hash = $1",
            hash.0.as_slice(),
            now
        )
        .execute(&self.pool)
        .await
        .during("note that a transaction was sent")?;
        one_row("noting that a transaction was sent", &result)
    }

    /// What was signed with a nonce of the account: what used it, or else the last.
    pub async fn signed_with(
        &self,
        chain: ChainId,
        relayer: Address,
        nonce: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        let raw = sqlx::query_scalar!(
            "select s.raw from relay_transactions s join relay_tries t on t.id = s.try_id
             where t.chain_id = $1 and t.relayer = $2 and t.relayer_nonce = $3
             order by coalesce(s.hash = t.tx_hash, false) desc, s.number desc limit 1",
            signed(chain.get()),
            relayer.as_slice(),
            signed(nonce),
        )
        .fetch_optional(&self.pool)
        .await
        .during("look for what was signed with a nonce")?;
        Ok(raw.map(Bytes::from))
    }

    /// Ends a try. False when another instance has ended it.
    pub async fn settle_try(
        &self,
        _proof: &Leadership,
        one: Uuid,
        fate: Fate,
        place: Option<(TxHash, u64)>,
        now: Time,
    ) -> Result<bool, StoreError> {
        let result = sqlx::query!(
            "update relay_tries set settled_at = $2, outcome = $3, tx_hash = $4, block_number = $5
             where id = $1 and settled_at is null",
            one,
            now,
            fate.as_str(),
            place.map(|(tx, _)| tx.0.to_vec()),
            place.map(|(_, block)| signed(block)),
        )
        .execute(&self.pool)
        .await
        .during("settle a try to execute")?;
        Ok(result.rows_affected() == 1)
    }

    /// Opens a settled try again whose nonce the chain shows as unused: a reorganisation deeper than
    /// the policy took its transaction. Whether there is one.
    pub async fn reopen_try(
        &self,
        _proof: &Leadership,
        chain: ChainId,
        relayer: Address,
        nonce: u64,
    ) -> Result<bool, StoreError> {
        let result = sqlx::query!(
            "update relay_tries t set settled_at = null, outcome = null, tx_hash = null,
                block_number = null
             where t.chain_id = $1 and t.relayer = $2 and t.relayer_nonce = $3
               and t.settled_at is not null and not exists (select 1 from relay_tries o
                  where o.chain_id = $1 and o.settled_at is null
                    and (o.relayer = $2 or o.safe = t.safe))",
            signed(chain.get()),
            relayer.as_slice(),
            signed(nonce),
        )
        .execute(&self.pool)
        .await
        .during("open a try to execute again")?;
        Ok(result.rows_affected() > 0)
    }
}

/// Whether it was not here before.
async fn insert_transaction(
    tx: &mut PgConnection,
    of: Uuid,
    number: usize,
    sent: &Sent,
) -> Result<bool, StoreError> {
    let added = sqlx::query!(
        "insert into relay_transactions (hash, try_id, number, cancels, raw, max_fee, tip, signed_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
        sent.hash.0.as_slice(),
        of,
        i32::try_from(number).unwrap_or(i32::MAX),
        sent.cancels,
        &sent.raw[..],
        signed(sent.max_fee),
        signed(sent.tip),
        sent.signed_at,
    )
    .execute(tx)
    .await
    .during("write a transaction of a try")?;
    Ok(added.rows_affected() > 0)
}
