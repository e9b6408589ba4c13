//! Who is signed in, and what was given out to be signed for it. Ids are stored as hashes.

use alloy::primitives::Address;
use chrono::TimeDelta;
use uuid::Uuid;

use super::{During, Store, StoreError, inconsistent, signed, unsigned};
use crate::{clock::Time, request::ids::ChainId};

/// Nonces that one peer may hold at a time.
const NONCES_MAX: i64 = 50;
/// Rows that have ended and go with one that is added.
const PRUNED_MAX: i64 = 100;
const USE_NOTED_EVERY: TimeDelta = TimeDelta::minutes(1);

/// What was given out to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce {
    pub nonce: String,
    pub address: Address,
    pub chain: ChainId,
    pub request: Uuid,
    pub expires_at: Time,
}

/// Somebody who is signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub address: Address,
    pub created_at: Time,
    pub last_seen_at: Time,
    pub expires_at: Time,
}

fn address(table: &'static str, bytes: &[u8]) -> Result<Address, StoreError> {
    bytes.try_into().map_err(|_| inconsistent(table, "address", alloy::hex::encode(bytes)))
}

impl Store {
    /// Keeps a nonce until it is taken or has expired; false when this peer holds too many.
    pub async fn keep_nonce(
        &self,
        given: &Nonce,
        peer: &str,
        now: Time,
    ) -> Result<bool, StoreError> {
        let result = sqlx::query!(
            "with old as (
                select nonce from sign_in_nonces where expires_at <= $7
                order by expires_at limit $9 for update skip locked
             ), pruned as (delete from sign_in_nonces n using old where n.nonce = old.nonce)
             insert into sign_in_nonces (nonce, peer, address, chain_id, request_id, expires_at)
             select $1, $2, $3, $4, $5, $6
             where (select count(*) from sign_in_nonces where peer = $2 and expires_at > $7) < $8",
            given.nonce,
            peer,
            given.address.as_slice(),
            signed(given.chain.get()),
            given.request,
            given.expires_at,
            now,
            NONCES_MAX,
            PRUNED_MAX,
        )
        .execute(&self.pool)
        .await
        .during("keep a nonce")?;
        Ok(result.rows_affected() == 1)
    }

    /// Takes a nonce, whatever comes of it: whoever comes second finds none.
    pub async fn take_nonce(&self, nonce: &str, now: Time) -> Result<Option<Nonce>, StoreError> {
        let row = sqlx::query!(
            "delete from sign_in_nonces where nonce = $1
             returning nonce, address, chain_id, request_id, expires_at",
            nonce
        )
        .fetch_optional(&self.pool)
        .await
        .during("take a nonce")?;
        let Some(row) = row.filter(|row| row.expires_at > now) else { return Ok(None) };
        let chain = unsigned("sign_in_nonces", "chain_id", &row.nonce, row.chain_id)?;
        let chain = ChainId::new(chain);
        Ok(Some(Nonce {
            address: address("sign_in_nonces", &row.address)?,
            chain: chain.map_err(|_| inconsistent("sign_in_nonces", "chain_id", &row.nonce))?,
            request: row.request_id,
            expires_at: row.expires_at,
            nonce: row.nonce,
        }))
    }

    /// Signs somebody in, in place of whoever was signed in there before.
    pub async fn open_session(
        &self,
        id_hash: &[u8; 32],
        session: &Session,
        before: Option<&[u8; 32]>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "with old as (
                select id_hash from sessions where expires_at <= $3
                order by expires_at limit $6 for update skip locked
             ), pruned as (
                delete from sessions s using old where s.id_hash = old.id_hash
             ), ended as (delete from sessions where id_hash = $5)
             insert into sessions (id_hash, address, created_at, last_seen_at, expires_at)
             values ($1, $2, $3, $3, $4)",
            id_hash.as_slice(),
            session.address.as_slice(),
            session.created_at,
            session.expires_at,
            before.map(<[u8; 32]>::as_slice),
            PRUNED_MAX,
        )
        .execute(&self.pool)
        .await
        .during("sign somebody in")
        .map(|_| ())
    }

    /// The session with this id, if it has not ended and was used since `idle_since`. Notes its use, now
    /// and then.
    pub async fn session(
        &self,
        id_hash: &[u8; 32],
        idle_since: Time,
        now: Time,
    ) -> Result<Option<Session>, StoreError> {
        let row = sqlx::query!(
            "select address, created_at, last_seen_at, expires_at from sessions
             where id_hash = $1 and expires_at > $2 and last_seen_at > $3",
            id_hash.as_slice(),
            now,
            idle_since,
        )
        .fetch_optional(&self.pool)
        .await
        .during("look up a session")?;
        let Some(row) = row else { return Ok(None) };
        if now - row.last_seen_at > USE_NOTED_EVERY {
            sqlx::query!(
                "update sessions set last_seen_at = greatest(last_seen_at, $2) where id_hash = $1",
                id_hash.as_slice(),
                now,
            )
            .execute(&self.pool)
            .await
            .during("note the use of a session")?;
        }
        Ok(Some(Session {
            address: address("sessions", &row.address)?,
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
            expires_at: row.expires_at,
        }))
    }

    /// Ends a session, if there is one with this id.
    pub async fn end_session(&self, id_hash: &[u8; 32]) -> Result<(), StoreError> {
        sqlx::query!("delete from sessions where id_hash = $1", id_hash.as_slice())
            .execute(&self.pool)
            .await
            .during("end a session")
            .map(|_| ())
    }
}
