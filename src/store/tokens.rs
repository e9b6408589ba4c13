//! API tokens, stored as hashes.

use chrono::TimeDelta;
use serde::Serialize;
use uuid::Uuid;

use super::{During, Store, StoreError, journal::Actor};
use crate::{clock::Time, request::ids::RequestId};

/// The use of a token is noted no more often than this.
const USE_NOTED_EVERY: TimeDelta = TimeDelta::minutes(1);

/// An API token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiToken {
    pub id: Uuid,
    pub name: String,
    pub scopes: Vec<String>,
    pub created_at: Time,
    pub last_used_at: Option<Time>,
    pub revoked_at: Option<Time>,
}

impl Store {
    pub async fn insert_token(
        &self,
        name: &str,
        secret_hash: &[u8; 32],
        scopes: &[String],
        now: Time,
    ) -> Result<ApiToken, StoreError> {
        let id = Uuid::now_v7();
        sqlx::query!(
            "insert into api_tokens (id, name, secret_hash, scopes, created_at)
             values ($1, $2, $3, $4, $5)",
            id,
            name,
            secret_hash.as_slice(),
            scopes,
            now,
        )
        .execute(&self.pool)
        .await
        .during("store an API token")?;
        Ok(ApiToken {
            id,
            name: name.to_owned(),
            scopes: scopes.to_vec(),
            created_at: now,
            last_used_at: None,
            revoked_at: None,
        })
    }

    /// The live token with this hash. Notes its use, at most once a minute.
    pub async fn token_by_hash(
        &self,
        secret_hash: &[u8; 32],
        now: Time,
    ) -> Result<Option<ApiToken>, StoreError> {
        let row = sqlx::query!(
            "select id, name, scopes, created_at, last_used_at, revoked_at
             from api_tokens where secret_hash = $1 and revoked_at is null",
            secret_hash.as_slice(),
        )
        .fetch_optional(&self.pool)
        .await
        .during("look up an API token")?;
        let Some(row) = row else { return Ok(None) };
        if row.last_used_at.is_none_or(|last| last < now - USE_NOTED_EVERY) {
            sqlx::query!(
                "update api_tokens set last_used_at = greatest(last_used_at, $2) where id = $1",
                row.id,
                now
            )
            .execute(&self.pool)
            .await
            .during("note the use of an API token")?;
        }
        Ok(Some(ApiToken {
            id: row.id,
            name: row.name,
            scopes: row.scopes,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
        }))
    }

    pub async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        sqlx::query_as!(
            ApiToken,
            "select id, name, scopes, created_at, last_used_at, revoked_at from api_tokens
             order by created_at, id"
        )
        .fetch_all(&self.pool)
        .await
        .during("list API tokens")
    }

    /// Revokes a live token, by id or name; every live one of that name.
    pub async fn revoke_tokens(&self, id_or_name: &str, now: Time) -> Result<u64, StoreError> {
        let result = sqlx::query!(
            "update api_tokens set revoked_at = $2
             where revoked_at is null and (name = $1 or id::text = $1)",
            id_or_name,
            now
        )
        .execute(&self.pool)
        .await
        .during("revoke an API token")?;
        Ok(result.rows_affected())
    }

    /// Whether somebody made a request. A token is told by its id. Where none was noted, by its name, if
    /// it was there by then: one that was made later is somebody else's.
    pub async fn is_made_by(&self, id: RequestId, actor: &Actor) -> Result<bool, StoreError> {
        let is_own = sqlx::query_scalar!(
            r#"select case
                when $3::uuid is null then created_by = $2
                when created_by_token is not null then created_by_token = $3
                else created_by = $2 and exists (
                    select from api_tokens t where t.id = $3 and t.created_at <= requests.created_at)
             end as "is_own!" from requests where id = $1"#,
            id.0,
            actor.as_str(),
            actor.token_id(),
        )
        .fetch_optional(&self.pool)
        .await
        .during("look who made a request")?;
        is_own.ok_or(StoreError::NotFound("request"))
    }
}
