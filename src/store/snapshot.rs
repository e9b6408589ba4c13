//! Which transactions a read sees: two that see the same ones read the same rows.

use super::{During, Store, StoreError};

/// A snapshot of PostgreSQL as it writes it: the first transaction that had not ended, the first that had
/// not begun, and those between that had not ended. Transaction ids do not come again
/// (`pg_current_snapshot`, "Transaction ID and Snapshot Information Functions").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(String);

#[cfg(test)]
impl Snapshot {
    pub fn read_as(text: &str) -> Self {
        Self(text.into())
    }
}

impl Store {
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        sqlx::query_scalar!(r#"select pg_current_snapshot()::text as "snapshot!""#)
            .fetch_one(&self.pool)
            .await
            .during("ask which transactions are seen")
            .map(Snapshot)
    }
}
