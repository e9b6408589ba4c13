//! The journal: append-only, each entry chained to the one before it by hash.
//!
//! `hash = sha256(prev_hash ‖ seq ‖ at ‖ len request ‖ request ‖ len actor ‖ actor ‖ len kind ‖
//! kind ‖ body)`, numbers as 8 bytes big endian, `at` in microseconds since 1970. An advisory lock
//! held to the end of the transaction keeps the chain single-file.

mod verify;

pub use verify::Verdict;

use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    During, Store, StoreError, inconsistent,
    requests::{get_locked, record_of},
    signed,
};
use crate::{
    clock::Time,
    request::{Request, event::Event, ids::RequestId},
};

/// Any number will do, as long as nothing else takes the same advisory lock.
const LOCK: i64 = 0x006a_6f75_726e_616c;

const GENESIS: [u8; 32] = [0; 32];

/// Who changed something: a worker of the service, an API token, a wallet that signed in, an owner's
/// signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    name: String,
    /// Of an API token: its name may have been another one's before, and may be again.
    token: Option<Uuid>,
}

impl Actor {
    /// The service itself, in the room named.
    pub fn service(room: &str) -> Self {
        Self { name: format!("service:{room}"), token: None }
    }

    pub fn token(name: &str, id: Uuid) -> Self {
        Self { name: format!("token:{name}"), token: Some(id) }
    }

    pub fn owner(address: impl std::fmt::Display) -> Self {
        Self { name: format!("owner:{address}"), token: None }
    }

    /// Somebody who signed in.
    pub fn wallet(address: impl std::fmt::Display) -> Self {
        Self { name: format!("wallet:{address}"), token: None }
    }

    /// As the journal writes it.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    pub fn token_id(&self) -> Option<Uuid> {
        self.token
    }
}

/// One entry, as it was written.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = JournalEntry)]
pub struct Entry {
    pub seq: u64,
    /// Null when somebody wrote a time there that is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Time>,
    pub request: Option<Uuid>,
    pub actor: String,
    pub kind: String,
    /// What happened, as JSON.
    #[schema(value_type = Object)]
    pub body: serde_json::Value,
    /// Hash of this entry, in hexadecimal; covers the hash of the entry before it.
    pub hash: String,
}

/// One entry with everything that its hash is made of, in the form it has there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ChainedEntry)]
pub struct Chained {
    pub seq: i64,
    /// Microseconds since 1970; null when somebody wrote a time there that is none, which has no hash.
    pub at_micros: Option<i64>,
    pub request: Option<Uuid>,
    pub actor: String,
    pub kind: String,
    /// The very text that was hashed.
    pub body: String,
    /// Hash of the entry before, in hexadecimal; zeros for the first.
    pub prev_hash: String,
    /// Hash of this entry, in hexadecimal.
    pub hash: String,
}

/// The newest entry: whoever notes it can tell later whether the journal was changed up to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct JournalHead {
    pub seq: u64,
    /// In hexadecimal.
    pub hash: String,
}

/// What somebody wrote past the checks of the table is read as nothing, and so does not fit its hash.
struct Row {
    seq: i64,
    at: Option<Time>,
    request_id: Option<Uuid>,
    actor: String,
    kind: String,
    body: String,
    prev_hash: Vec<u8>,
    hash: Vec<u8>,
}

impl Row {
    /// None for a time that is none.
    fn computed_hash(&self) -> Option<[u8; 32]> {
        let mut hasher = Sha256::new();
        hasher.update(&self.prev_hash);
        hasher.update(self.seq.to_be_bytes());
        hasher.update(self.at?.timestamp_micros().to_be_bytes());
        let request = self.request_id.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
        for part in [request.as_slice(), self.actor.as_bytes(), self.kind.as_bytes()] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.update(self.body.as_bytes());
        Some(hasher.finalize().into())
    }
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        Self {
            seq: row.seq.unsigned_abs(),
            at: row.at,
            request: row.request_id,
            actor: row.actor,
            kind: row.kind,
            body: serde_json::from_str(&row.body).unwrap_or(serde_json::Value::String(row.body)),
            hash: alloy::hex::encode(&row.hash),
        }
    }
}

impl From<Row> for Chained {
    fn from(row: Row) -> Self {
        Self {
            seq: row.seq,
            at_micros: row.at.map(|at| at.timestamp_micros()),
            request: row.request_id,
            actor: row.actor,
            kind: row.kind,
            body: row.body,
            prev_hash: alloy::hex::encode(&row.prev_hash),
            hash: alloy::hex::encode(&row.hash),
        }
    }
}

/// Appends one entry, inside the transaction that makes the change it tells about.
pub async fn append(
    tx: &mut PgConnection,
    request: RequestId,
    actor: &Actor,
    event: &Event,
    at: Time,
) -> Result<(), StoreError> {
    sqlx::query!("select pg_advisory_xact_lock($1)", LOCK)
        .fetch_one(&mut *tx)
        .await
        .during("take the journal's lock")?;
    let last = sqlx::query!("select seq, hash from journal order by seq desc limit 1")
        .fetch_optional(&mut *tx)
        .await
        .during("read the journal's end")?;
    let (last, prev_hash) = last.map_or((0, GENESIS.to_vec()), |last| (last.seq, last.hash));
    let seq = last.checked_add(1).ok_or_else(|| inconsistent("journal", "seq", last))?;
    let mut row = Row {
        seq,
        at: Some(at),
        request_id: Some(request.0),
        actor: actor.as_str().to_owned(),
        kind: event.kind().to_owned(),
        body: serde_json::to_string(event).expect("an event is plain data"),
        prev_hash,
        hash: vec![],
    };
    row.hash = row.computed_hash().expect("it has a time").to_vec();
    sqlx::query!(
        "insert into journal (seq, at, request_id, actor, kind, body, prev_hash, hash)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        row.seq,
        row.at,
        row.request_id,
        row.actor,
        row.kind,
        row.body,
        row.prev_hash,
        row.hash,
    )
    .execute(&mut *tx)
    .await
    .during("append to the journal")?;
    Ok(())
}

impl Store {
    /// Adds a comment to a request that has fewer than `most`; none when it has as many.
    pub async fn comment(
        &self,
        request: RequestId,
        text: String,
        most: u32,
        actor: &Actor,
        now: Time,
    ) -> Result<Option<Request>, StoreError> {
        let mut tx = self.begin().await?;
        // Nobody adds one at the same time.
        let before = get_locked(&mut tx, request).await?;
        let count = sqlx::query_scalar!(
            r#"select count(*) as "count!" from (
                select 1 from journal where request_id = $1 and kind = 'commented' limit $2
             ) c"#,
            request.0,
            i64::from(most),
        )
        .fetch_one(&mut *tx)
        .await
        .during("count the comments on a request")?;
        if count >= i64::from(most) {
            return Ok(None);
        }
        let event = Event::Commented { text };
        let request = record_of(&mut tx, before, None, actor, &event, now).await?;
        super::commit(tx).await?;
        Ok(Some(request))
    }

    /// One page of the journal, newest first, below `before`.
    pub async fn journal_page(
        &self,
        request: Option<RequestId>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"select coalesce(seq, 0) as "seq!",
                case when at >= '0001-01-01T00:00:00Z' and at < '10000-01-01T00:00:00Z' then at end as at,
                request_id, coalesce(actor, '') as "actor!", coalesce(kind, '') as "kind!",
                coalesce(body, '') as "body!", coalesce(prev_hash, '') as "prev_hash!",
                coalesce(hash, '') as "hash!"
             from journal
             where ($1::uuid is null or request_id = $1) and ($2::bigint is null or seq < $2)
             order by seq desc limit $3"#,
            request.map(|id| id.0),
            before.map(signed),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await
        .during("read the journal")?;
        Ok(rows.into_iter().map(Entry::from).collect())
    }

    /// The newest entry, if there is any.
    pub async fn journal_head(&self) -> Result<Option<JournalHead>, StoreError> {
        let newest = self.journal_page(None, None, 1).await?.pop();
        Ok(newest.map(|entry| JournalHead { seq: entry.seq, hash: entry.hash }))
    }

    /// A stretch of the chain, oldest first, above `after`, with all that its hashes are made of.
    pub async fn journal_chain(&self, after: u64, limit: u32) -> Result<Vec<Chained>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"select coalesce(seq, 0) as "seq!",
                case when at >= '0001-01-01T00:00:00Z' and at < '10000-01-01T00:00:00Z' then at end as at,
                request_id, coalesce(actor, '') as "actor!", coalesce(kind, '') as "kind!",
                coalesce(body, '') as "body!", coalesce(prev_hash, '') as "prev_hash!",
                coalesce(hash, '') as "hash!"
             from journal
             where seq > $1 order by seq limit $2"#,
            signed(after),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await
        .during("read the chain of the journal")?;
        Ok(rows.into_iter().map(Chained::from).collect())
    }
}
