//! What a list shows beside its rows: one query for the whole list, never one a row.

use std::collections::HashMap;

use uuid::Uuid;

use super::{During, Store, StoreError, unsigned};
use crate::request::ids::RequestId;

/// How many signatures a request has, of how many it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signatures {
    pub given: u64,
    pub threshold: u64,
}

impl Store {
    /// The signatures of the requests that were put to a Safe. Only those of owners count.
    pub async fn signature_counts(
        &self,
        requests: &[RequestId],
    ) -> Result<HashMap<RequestId, Signatures>, StoreError> {
        let ids: Vec<Uuid> = requests.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"select r.id, p.threshold as "threshold!",
                (select count(*) from confirmations c
                 where c.proposal_id = p.id and c.owner = any(p.owners)) as "given!"
             from requests r join proposals p on p.id = r.proposal_id
             where r.id = any($1) and p.threshold is not null"#,
            &ids
        )
        .fetch_all(&self.pool)
        .await
        .during("count signatures")?;
        rows.into_iter()
            .map(|row| {
                let number = |column, value| unsigned("proposals", column, row.id, value);
                let signatures = Signatures {
                    given: number("given", row.given)?,
                    threshold: number("threshold", row.threshold.into())?,
                };
                Ok((RequestId(row.id), signatures))
            })
            .collect()
    }
}
