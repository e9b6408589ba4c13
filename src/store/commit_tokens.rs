//! Which commit token of a request is to be used.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{During, Store, StoreError};
use crate::{request::ids::RequestId, vault::Sealed};

impl Store {
    /// The sealed token that came last, and whose it is; none when no token is kept.
    pub async fn newest_sealed_token(&self) -> Result<Option<(RequestId, Sealed)>, StoreError> {
        let row = sqlx::query!(
            r#"select request_id, token_sealed as "token_sealed!" from preparations
               where token_sealed is not null order by received_at desc, id desc limit 1"#
        )
        .fetch_optional(&self.pool)
        .await
        .during("look for a sealed token")?;
        Ok(row.map(|row| (RequestId(row.request_id), Sealed::from_bytes(row.token_sealed))))
    }

    /// The sealed token to commit with, and its preparation: one whose commit may still be on its
    /// way before the live one.
    ///
    /// Each token makes one replica at most. As long as a request uses one token after the other,
    /// each until Phala Cloud itself calls it dead, a commit that arrives late can do no harm.
    pub async fn sealed_token(
        &self,
        request: RequestId,
    ) -> Result<Option<(Uuid, Sealed)>, StoreError> {
        let mut connection = self.pool.acquire().await.during("connect")?;
        token_to_use(&mut connection, request).await
    }
}

pub(super) async fn token_to_use(
    connection: &mut PgConnection,
    request: RequestId,
) -> Result<Option<(Uuid, Sealed)>, StoreError> {
    let row = sqlx::query!(
        r#"select id, token_sealed as "token_sealed!" from preparations
           where request_id = $1 and token_sealed is not null
           order by ended_at is null, received_at, id limit 1"#,
        request.0
    )
    .fetch_optional(connection)
    .await
    .during("read the sealed token")?;
    Ok(row.map(|row| (row.id, Sealed::from_bytes(row.token_sealed))))
}
