//! Whether the journal is whole: each hash is computed again, and what the entries tell is held against
//! what the requests have come to.
//!
//! The second finds what the chain alone cannot: entries that were taken off the end, all of them even.
//! It finds them by what they changed. An entry that changed nothing, such as a comment, leaves no trace
//! elsewhere.

use std::collections::HashMap;

use futures::TryStreamExt;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{GENESIS, Row};
use crate::{
    request::{Request, event::Event, facts::Facts},
    store::{During, Store, StoreError, request_rows::load},
};

/// Requests that are looked at together: memory does not grow with their number.
const TOGETHER: i64 = 500;

/// What a check of the whole journal found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Verdict {
    Intact {
        entries: u64,
        head: String,
    },
    /// The first entry that does not fit.
    Broken {
        seq: i64,
        because: &'static str,
    },
    /// The entries fit each other, but do not tell how a request came to where it is: others are missing
    /// at the end, or something was changed past the journal.
    Incomplete {
        entries: u64,
        head: String,
        /// The first such request.
        request: Uuid,
        because: &'static str,
    },
}

impl Store {
    /// Recomputes every hash from the first entry on, and compares what the entries tell with the facts
    /// of every request, all at one moment.
    pub async fn verify_journal(&self, progress: impl FnMut(u64)) -> Result<Verdict, StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query!("set transaction isolation level repeatable read, read only")
            .execute(&mut *tx)
            .await
            .during("read the journal as of one moment")?;
        let verdict = chain(&mut tx, progress).await?;
        let Verdict::Intact { entries, head } = verdict else { return Ok(verdict) };
        Ok(match untold(&mut tx).await? {
            Some((request, because)) => Verdict::Incomplete { entries, head, request, because },
            None => Verdict::Intact { entries, head },
        })
    }
}

async fn chain(
    tx: &mut PgConnection,
    mut progress: impl FnMut(u64),
) -> Result<Verdict, StoreError> {
    let mut rows = sqlx::query_as!(
        Row,
        r#"select coalesce(seq, 0) as "seq!",
                case when at >= '0001-01-01T00:00:00Z' and at < '10000-01-01T00:00:00Z' then at end as at,
                request_id, coalesce(actor, '') as "actor!", coalesce(kind, '') as "kind!",
                coalesce(body, '') as "body!", coalesce(prev_hash, '') as "prev_hash!",
                coalesce(hash, '') as "hash!"
             from journal
             order by seq"#
    )
    .fetch(tx);
    let (mut entries, mut head) = (0, GENESIS.to_vec());
    while let Some(row) = rows.try_next().await.during("read the journal")? {
        let because = if row.seq <= entries {
            "its number is none that follows"
        } else if row.seq != entries + 1 {
            "an entry before it is missing"
        } else if row.prev_hash != head {
            "it does not follow from the entry before it"
        } else if row.at.is_none() {
            "its time is none"
        } else if row.computed_hash().is_none_or(|hash| row.hash != hash) {
            "its content was changed"
        } else {
            entries = row.seq;
            head = row.hash;
            progress(entries.unsigned_abs());
            continue;
        };
        return Ok(Verdict::Broken { seq: row.seq, because });
    }
    Ok(Verdict::Intact { entries: entries.unsigned_abs(), head: alloy::hex::encode(head) })
}

/// The first request that the entries do not lead to, and what is missing.
async fn untold(tx: &mut PgConnection) -> Result<Option<(Uuid, &'static str)>, StoreError> {
    let mut after = Uuid::nil();
    loop {
        let ids: Vec<Uuid> = sqlx::query_scalar!(
            "select id from requests where id > $1 order by id limit $2",
            after,
            TOGETHER
        )
        .fetch_all(&mut *tx)
        .await
        .during("list the requests that the journal should tell of")?;
        let Some(last) = ids.last() else { return Ok(None) };
        after = *last;
        let requests = load(tx, &ids).await?;
        let requests: HashMap<Uuid, Request> =
            requests.into_iter().map(|request| (request.id.0, request)).collect();
        let mut told = told(tx, &ids).await?;
        for id in ids {
            let because = match (told.remove(&id), requests.get(&id)) {
                (None, _) => "no entry tells that it was opened",
                (Some(Err(because)), _) => because,
                (Some(Ok(facts)), Some(request)) if facts != request.facts => {
                    "its entries do not lead to where it is"
                }
                (Some(Ok(_)), _) => continue,
            };
            return Ok(Some((id, because)));
        }
    }
}

/// What the entries of some requests come to, or what is wrong with them.
async fn told(
    tx: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Result<Facts, &'static str>>, StoreError> {
    let mut rows = sqlx::query_as!(
        Row,
        r#"select coalesce(seq, 0) as "seq!",
                case when at >= '0001-01-01T00:00:00Z' and at < '10000-01-01T00:00:00Z' then at end as at,
                request_id, coalesce(actor, '') as "actor!", coalesce(kind, '') as "kind!",
                coalesce(body, '') as "body!", coalesce(prev_hash, '') as "prev_hash!",
                coalesce(hash, '') as "hash!"
             from journal
             where request_id = any($1) order by seq"#,
        ids
    )
    .fetch(tx);
    let mut told: HashMap<Uuid, Result<Facts, &'static str>> = HashMap::new();
    while let Some(row) = rows.try_next().await.during("read the entries of requests")? {
        let (Some(id), Some(at)) = (row.request_id, row.at) else { continue };
        let known = told.entry(id).or_insert_with(|| Ok(Facts::default()));
        if let Ok(facts) = known {
            *known = match serde_json::from_str::<Event>(&row.body) {
                Ok(event) => facts
                    .apply(&event, at)
                    .map_err(|_| "an entry of it tells what cannot have happened"),
                Err(_) => Err("an entry of it does not read: has a newer version written it?"),
            };
        }
    }
    Ok(told)
}
