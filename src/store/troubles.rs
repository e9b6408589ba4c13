//! Why a chain cannot be followed at the moment, for everybody who waits for it.

use uuid::Uuid;

use super::{
    During, Store, StoreError,
    chain::Leadership,
    journal::Actor,
    requests::{self, record},
    signed,
    watched::watch_changed,
};
use crate::{
    clock::Time,
    request::{
        event::Event,
        ids::{ChainId, RequestId},
    },
};

/// What keeps a chain from being followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub since: Time,
    pub problem: String,
    /// Whether a person must look before the chain is followed on.
    pub halted: bool,
}

impl Store {
    pub async fn trouble(&self, chain: ChainId) -> Result<Option<Trouble>, StoreError> {
        sqlx::query_as!(
            Trouble,
            "select since, problem, halted from chain_troubles where chain_id = $1",
            signed(chain.get())
        )
        .fetch_optional(&self.pool)
        .await
        .during("read what is wrong with a chain")
    }

    /// Notes what is wrong with a chain. One that is halted stays so.
    pub async fn note_trouble(
        &self,
        _proof: &Leadership,
        chain: ChainId,
        problem: &str,
        halted: bool,
        now: Time,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into chain_troubles (chain_id, since, problem, halted)
             values ($1, $2, $3, $4)
             on conflict (chain_id) do update set problem = $3, halted = $4
             where not chain_troubles.halted",
            signed(chain.get()),
            now,
            problem,
            halted,
        )
        .execute(&self.pool)
        .await
        .during("note what is wrong with a chain")
        .map(|_| ())
    }

    /// Notes that a chain is followed again.
    pub async fn trouble_is_over(
        &self,
        _proof: &Leadership,
        chain: ChainId,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "delete from chain_troubles where chain_id = $1 and not halted",
            signed(chain.get())
        )
        .execute(&self.pool)
        .await
        .during("note that a chain is followed again")
        .map(|_| ())
    }

    /// Forgets everything that was read of a chain, so that it is read again from the start, and
    /// takes requests back that rested on it; how many. None when the chain was never followed.
    pub async fn restart_chain(
        &self,
        chain: ChainId,
        now: Time,
    ) -> Result<Option<usize>, StoreError> {
        let chain_id = signed(chain.get());
        let mut tx = self.begin().await?;
        let head =
            sqlx::query!("select number from chain_heads where chain_id = $1 for update", chain_id)
                .fetch_optional(&mut *tx)
                .await
                .during("take the head of a chain")?;
        if head.is_none() {
            return Ok(None);
        }
        sqlx::query!(
            "with blocks as (delete from chain_blocks where chain_id = $1),
                troubles as (delete from chain_troubles where chain_id = $1),
                entries as (delete from ledger where chain_id = $1),
                executions as (delete from safe_executions where chain_id = $1),
                kms as (update kms_contracts
                    set ledger_from = null, history_start = null, history_is_whole = false
                    where chain_id = $1)
             update apps set ledger_from = null, history_start = null, history_is_whole = false
             where chain_id = $1",
            chain_id
        )
        .execute(&mut *tx)
        .await
        .during("forget a chain")?;
        sqlx::query!("delete from chain_heads where chain_id = $1", chain_id)
            .execute(&mut *tx)
            .await
            .during("forget a chain's head")?;
        let affected: Vec<Uuid> = sqlx::query_scalar!(
            "select id from requests
             where chain_id = $1 and status in ('executed', 'registered') order by id for update",
            chain_id
        )
        .fetch_all(&mut *tx)
        .await
        .during("look for requests that rest on a chain")?;
        requests::lock(&mut tx, &affected).await?;
        for id in &affected {
            let reason = "the chain is read again from the start".to_owned();
            let event = Event::Retracted { reason };
            record(&mut tx, RequestId(*id), None, &Actor::service("operator"), &event, now).await?;
        }
        watch_changed(&mut tx, chain).await?;
        super::commit(tx).await?;
        Ok(Some(affected.len()))
    }
}
