//! Documents behind compose hashes, and what was tried to find them.

mod keep;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use super::{During, QUIET_CHANGES, Store, StoreError, hash_of, inconsistent, one_row};
use crate::{
    clock::Time,
    compose::Form,
    request::ids::{AppId, ComposeHash, RequestId, SourceCvm},
};

/// Where a document came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Cvm,
    Revision,
    Attestation,
    /// A person handed it in.
    Attached,
    /// Put together from what the CVM runs and what was sent to prepare.
    Derived,
}

impl Origin {
    fn as_str(self) -> &'static str {
        match self {
            Self::Cvm => "cvm",
            Self::Revision => "revision",
            Self::Attestation => "attestation",
            Self::Attached => "attached",
            Self::Derived => "derived",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Cvm, Self::Revision, Self::Attestation, Self::Attached, Self::Derived];
        all.into_iter().find(|origin| origin.as_str() == text)
    }
}

/// How a document was come by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    pub form: Form,
    pub origin: Origin,
    pub place: String,
    pub received_at: Time,
}

/// A document in the bytes that its hash is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub bytes: Vec<u8>,
    pub provenance: Provenance,
}

/// A place where a document was looked for, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Tried {
    pub place: String,
    pub outcome: String,
}

/// A request whose document is to be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofJob {
    pub request: RequestId,
    pub app: AppId,
    pub source: SourceCvm,
    pub compose: ComposeHash,
    /// Looks so far that led to nothing.
    pub attempts: i32,
    /// Whether the request is still on its way.
    pub is_open: bool,
}

/// What came of a look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looked {
    pub tried: Vec<Tried>,
    pub contradicted: Option<String>,
    pub source_runs: Option<ComposeHash>,
    pub attempts: i32,
    pub next_try_at: Option<Time>,
}

impl Looked {
    /// Nothing came of it.
    pub fn failed(why: &str) -> Self {
        let tried = vec![Tried { place: "Phala Cloud".into(), outcome: why.into() }];
        Self { tried, ..Self::default() }
    }
}

#[cfg(test)]
impl ProofJob {
    pub fn sample() -> Self {
        Self {
            request: RequestId(Uuid::nil()),
            app: AppId([1; 20].into()),
            source: "cvm_1".parse().unwrap(),
            compose: ComposeHash([2; 32].into()),
            attempts: 0,
            is_open: true,
        }
    }
}

/// How the proof of a request stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proof {
    /// There when it is proved.
    pub found: Option<Provenance>,
    pub contradicted: Option<String>,
    pub tried: Vec<Tried>,
    pub source_runs: Option<ComposeHash>,
    pub looked_at: Option<Time>,
    pub next_try_at: Option<Time>,
}

fn provenance(
    form: &str,
    source: &str,
    place: String,
    received_at: Time,
) -> Result<Provenance, StoreError> {
    let wrong = |column| inconsistent("compose_documents", column, &place);
    Ok(Provenance {
        form: Form::parse(form).ok_or_else(|| wrong("form"))?,
        origin: Origin::parse(source).ok_or_else(|| wrong("source"))?,
        received_at,
        place,
    })
}

impl Store {
    /// The document behind a hash.
    pub async fn document(&self, hash: ComposeHash) -> Result<Option<Document>, StoreError> {
        let row = sqlx::query!(
            "select document, form, source, place, received_at from compose_documents
             where compose_hash = $1",
            hash.0.as_slice()
        )
        .fetch_optional(&self.pool)
        .await
        .during("read a compose document")?;
        row.map(|row| {
            let provenance = provenance(&row.form, &row.source, row.place, row.received_at)?;
            Ok(Document { bytes: row.document, provenance })
        })
        .transpose()
    }

    /// Which of some hashes have a document here.
    pub async fn documented(&self, hashes: &[ComposeHash]) -> Result<Vec<ComposeHash>, StoreError> {
        if hashes.is_empty() {
            return Ok(vec![]);
        }
        let wanted: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.0.to_vec()).collect();
        let rows = sqlx::query_scalar!(
            "select compose_hash from compose_documents where compose_hash = any($1)",
            &wanted
        )
        .fetch_all(&self.pool)
        .await
        .during("look for compose documents")?;
        rows.iter().map(|row| Ok(ComposeHash(hash_of(row, "compose_documents", "?")?))).collect()
    }

    /// Takes the request whose look has been due longest, and puts the next one off to `again_at`, so
    /// that no other instance takes it too and a crash means that it is taken again.
    pub async fn take_proof(
        &self,
        now: Time,
        again_at: Time,
    ) -> Result<Option<ProofJob>, StoreError> {
        let row = sqlx::query!(
            r#"with due as (
                select request_id from compose_proofs where next_try_at <= $1
                order by next_try_at limit 1 for update skip locked
             )
             update compose_proofs p set next_try_at = $2 from due, requests r
             where p.request_id = due.request_id and r.id = due.request_id
             returning p.request_id, p.attempts, r.app, r.source_cvm, r.compose_hash,
                (r.ended_as is null and r.running_at is null) as "is_open!""#,
            now,
            again_at,
        )
        .fetch_optional(&self.pool)
        .await
        .during("take a document to look for")?;
        row.map(|row| {
            let id = row.request_id;
            let wrong = |column| inconsistent("requests", column, id);
            Ok(ProofJob {
                request: RequestId(id),
                app: AppId(row.app.as_slice().try_into().map_err(|_| wrong("app"))?),
                source: row.source_cvm.parse().map_err(|_| wrong("source_cvm"))?,
                compose: ComposeHash(hash_of(&row.compose_hash, "requests", id)?),
                attempts: row.attempts,
                is_open: row.is_open,
            })
        })
        .transpose()
    }

    /// Nothing more is to be looked for.
    pub async fn rest_proof(&self, request: RequestId) -> Result<(), StoreError> {
        sqlx::query!(
            "update compose_proofs set next_try_at = null where request_id = $1",
            request.0
        )
        .execute(&self.pool)
        .await
        .during("let a proof rest")
        .map(|_| ())
    }

    /// Notes what came of a look, and tells those who look on.
    pub async fn settle_proof(
        &self,
        request: RequestId,
        looked: &Looked,
        now: Time,
    ) -> Result<(), StoreError> {
        let result = sqlx::query!(
            "with settled as (
                update compose_proofs set tried = $2, contradicted = left($3, 500),
                    source_compose_hash = coalesce($4, source_compose_hash), looked_at = $5,
                    attempts = $6, next_try_at = $7
                where request_id = $1 returning request_id
             )
             select pg_notify($8, request_id::text) from settled",
            request.0,
            Json(&looked.tried) as _,
            looked.contradicted,
            looked.source_runs.map(|hash| hash.0.to_vec()),
            now,
            looked.attempts,
            looked.next_try_at,
            QUIET_CHANGES,
        )
        .execute(&self.pool)
        .await
        .during("note what came of looking for a document")?;
        one_row("noting what came of looking for a document", &result)
    }

    /// How the proofs of some requests stand.
    pub async fn proofs(
        &self,
        requests: &[RequestId],
    ) -> Result<HashMap<RequestId, Proof>, StoreError> {
        if requests.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<Uuid> = requests.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"select request_id, compose_hash, tried as "tried: Json<Vec<Tried>>", contradicted,
                source_compose_hash, looked_at, next_try_at
             from compose_proofs where request_id = any($1)"#,
            &ids
        )
        .fetch_all(&self.pool)
        .await
        .during("read proofs of compose hashes")?;
        let hashes: Vec<Vec<u8>> = rows.iter().map(|row| row.compose_hash.clone()).collect();
        let found = self.provenances(&hashes).await?;
        rows.into_iter()
            .map(|row| {
                let id = row.request_id;
                let runs = row.source_compose_hash.map(|hash| hash_of(&hash, "compose_proofs", id));
                let proof = Proof {
                    found: found.get(&row.compose_hash).cloned(),
                    contradicted: row.contradicted,
                    tried: row.tried.0,
                    source_runs: runs.transpose()?.map(ComposeHash),
                    looked_at: row.looked_at,
                    next_try_at: row.next_try_at,
                };
                Ok((RequestId(id), proof))
            })
            .collect()
    }

    /// How the documents behind some hashes were come by.
    async fn provenances(
        &self,
        hashes: &[Vec<u8>],
    ) -> Result<HashMap<Vec<u8>, Provenance>, StoreError> {
        let rows = sqlx::query!(
            "select compose_hash, form, source, place, received_at from compose_documents
             where compose_hash = any($1)",
            hashes
        )
        .fetch_all(&self.pool)
        .await
        .during("read where compose documents came from")?;
        rows.into_iter()
            .map(|row| {
                let found = provenance(&row.form, &row.source, row.place, row.received_at)?;
                Ok((row.compose_hash, found))
            })
            .collect()
    }

    /// Which requests have no proof, of one and those that are to be proposed together with it.
    pub async fn unproved_of(&self, request: RequestId) -> Result<Vec<RequestId>, StoreError> {
        let ids = sqlx::query_scalar!(
            "select r.id from requests r
             where (r.id = $1 or (r.status = 'prepared'
                    and r.batch_id = (select batch_id from requests where id = $1)))
               and not exists (select 1 from compose_documents d
                               where d.compose_hash = r.compose_hash)
             order by r.id = $1 desc, r.id",
            request.0
        )
        .fetch_all(&self.pool)
        .await
        .during("look for proofs of compose hashes")?;
        Ok(ids.into_iter().map(RequestId).collect())
    }
}
