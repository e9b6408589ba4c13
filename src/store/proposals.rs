//! Proposals: what is put to owners, exactly as it was first shown, and for which requests.

use alloy::primitives::{Address, B256};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{
    During, Store, StoreError,
    batches::insist_on_batch,
    journal::Actor,
    lease::{Lease, hold_lease},
    one_row,
    requests::record,
    signed, unsigned,
    watched::watch_changed,
};
use crate::{
    clock::Time,
    dstack::Addition,
    owner::{
        Route,
        nonce::{NonceChoice, Queue},
    },
    request::{
        event::Event,
        ids::{ChainId, RequestId, SafeTxHash},
    },
    safe::{
        Around, SafeTx, SafeTxHashes, SafeVersion,
        decode::{Warning, addition_in_words},
    },
};

/// The Safe transaction of a proposal, with what its owners sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafeProposal {
    pub version: SafeVersion,
    pub tx: SafeTx,
    pub nonce: u64,
    pub nonce_choice: NonceChoice,
    pub threshold: u32,
    /// The owners when the proposal was made.
    pub owners: Vec<Address>,
    pub hashes: SafeTxHashes,
    /// Who else acts for the Safe, and which of its owners are contracts, when it was last looked at.
    pub around: Option<Around>,
    /// What comes before its nonce and what else has it, when it was last looked at.
    pub queue: Option<Queue>,
}

/// What is put to the owner of an app, exactly as it was first shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    pub id: Uuid,
    pub route: Route,
    pub chain: ChainId,
    pub owner: Address,
    pub additions: Vec<Addition>,
    pub warnings: Vec<Warning>,
    pub safe: Option<SafeProposal>,
    pub created_at: Time,
}

impl Proposal {
    /// Whether its additions are to more than one app.
    pub fn is_for_several_apps(&self) -> bool {
        let mut apps = self.additions.iter().map(|addition| addition.app);
        let first = apps.next();
        apps.any(|app| Some(app) != first)
    }
}

struct Row {
    id: Uuid,
    route: String,
    chain_id: i64,
    owner: Vec<u8>,
    calls: Json<Vec<Addition>>,
    warnings: Json<Vec<Warning>>,
    safe_version: Option<String>,
    safe_tx: Option<Json<SafeTx>>,
    nonce: Option<i64>,
    nonce_choice: String,
    threshold: Option<i32>,
    owners: Option<Vec<Vec<u8>>>,
    domain_hash: Option<Vec<u8>>,
    message_hash: Option<Vec<u8>>,
    safe_tx_hash: Option<Vec<u8>>,
    around: Option<Json<Around>>,
    queue: Option<Json<Queue>>,
    created_at: Time,
}

fn inconsistent(column: &'static str, row: Uuid) -> StoreError {
    StoreError::Inconsistent { table: "proposals", column, row: row.to_string() }
}

impl Row {
    fn hash(&self, hash: Option<&Vec<u8>>, column: &'static str) -> Result<B256, StoreError> {
        hash.and_then(|hash| hash.as_slice().try_into().ok())
            .ok_or_else(|| inconsistent(column, self.id))
    }

    fn safe(&self) -> Result<Option<SafeProposal>, StoreError> {
        let Some(Json(tx)) = self.safe_tx.clone() else { return Ok(None) };
        let missing = |column| inconsistent(column, self.id);
        let version = self.safe_version.as_deref().ok_or_else(|| missing("safe_version"))?;
        let owners = self
            .owners
            .iter()
            .flatten()
            .map(|owner| owner.as_slice().try_into().map_err(|_| missing("owners")));
        Ok(Some(SafeProposal {
            version: version.parse().map_err(|_| missing("safe_version"))?,
            tx,
            nonce: unsigned("proposals", "nonce", self.id, self.nonce.unwrap_or(-1))?,
            nonce_choice: self.nonce_choice.parse().map_err(|_| missing("nonce_choice"))?,
            threshold: self.threshold.ok_or_else(|| missing("threshold"))?.unsigned_abs(),
            owners: owners.collect::<Result<_, _>>()?,
            hashes: SafeTxHashes {
                domain_hash: self.hash(self.domain_hash.as_ref(), "domain_hash")?,
                message_hash: self.hash(self.message_hash.as_ref(), "message_hash")?,
                safe_tx_hash: SafeTxHash(self.hash(self.safe_tx_hash.as_ref(), "safe_tx_hash")?),
            },
            around: self.around.clone().map(|Json(around)| around),
            queue: self.queue.clone().map(|Json(queue)| queue),
        }))
    }

    fn into_proposal(self) -> Result<Proposal, StoreError> {
        let chain = unsigned("proposals", "chain_id", self.id, self.chain_id)?;
        Ok(Proposal {
            safe: self.safe()?,
            id: self.id,
            route: self.route.parse().map_err(|_| inconsistent("route", self.id))?,
            chain: ChainId::new(chain).map_err(|_| inconsistent("chain_id", self.id))?,
            owner: self.owner.as_slice().try_into().map_err(|_| inconsistent("owner", self.id))?,
            additions: self.calls.0,
            warnings: self.warnings.0,
            created_at: self.created_at,
        })
    }
}

impl Store {
    /// Stores a proposal and moves the requests it is for to `proposed`, in one transaction. The
    /// lease is on one of them; all must still wait to be proposed in this way.
    pub async fn propose(
        &self,
        lease: &Lease,
        proposal: &Proposal,
        requests: &[RequestId],
        batch: Option<Uuid>,
        actor: &Actor,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let ids: Vec<Uuid> = requests.iter().map(|id| id.0).collect();
        insist_on_batch(&mut tx, batch, &ids).await?;
        if let Some(safe) = &proposal.safe {
            reserve_nonce(&mut tx, proposal, safe.nonce).await?;
        }
        insert(&mut tx, proposal).await?;
        link(&mut tx, proposal.id, &ids).await?;
        let safe = proposal.safe.as_ref();
        let is_several = proposal.is_for_several_apps();
        let calls = proposal.additions.iter().map(|one| addition_in_words(one, is_several));
        let event = Event::Proposed {
            proposal: proposal.id,
            route: proposal.route.to_string(),
            nonce: safe.map(|safe| safe.nonce),
            safe_tx_hash: safe.map(|safe| safe.hashes.safe_tx_hash),
            calls: calls.collect(),
        };
        for id in requests {
            let lease = Some(lease).filter(|lease| lease.request == *id);
            record(&mut tx, *id, lease, actor, &event, proposal.created_at).await?;
        }
        super::commit(tx).await?;
        if let Some(safe) = &proposal.safe {
            self.wake_above(proposal.chain, proposal.owner, safe.nonce, proposal.created_at).await;
        }
        Ok(())
    }

    /// The live proposal of a request.
    pub async fn proposal(&self, request: RequestId) -> Result<Option<Proposal>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            r#"select id, route, chain_id, owner,
                calls as "calls: Json<Vec<Addition>>", warnings as "warnings: Json<Vec<Warning>>",
                safe_version, safe_tx as "safe_tx: Json<SafeTx>", nonce, nonce_choice, threshold,
                owners as "owners: Vec<Vec<u8>>",
                domain_hash, message_hash, safe_tx_hash, around as "around: Json<Around>",
                queue as "queue: Json<Queue>", created_at
            from proposals where id = (select proposal_id from requests where id = $1)
               and replaced_at is null"#,
            request.0
        )
        .fetch_optional(&self.pool)
        .await
        .during("read a proposal")?;
        row.map(Row::into_proposal).transpose()
    }

    /// Notes who stands around the Safe of a proposal now, and what comes before its nonce. It is shown
    /// to signers, and decides nothing.
    pub async fn note_standing(
        &self,
        lease: &Lease,
        proposal: Uuid,
        around: &Around,
        queue: &Queue,
        now: Time,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        hold_lease(&mut tx, lease, now).await?;
        let noted = sqlx::query!(
            "update proposals set around = $2, queue = $3 where id = $1 and safe_tx is not null",
            proposal,
            Json(around) as _,
            Json(queue) as _,
        )
        .execute(&mut *tx)
        .await
        .during("note how a proposal stands")?;
        one_row("note how a proposal stands", &noted)?;
        super::commit(tx).await
    }

    /// The nonces from `next` on that live proposals of this Safe use, lowest first.
    pub async fn queued_nonces(
        &self,
        chain: ChainId,
        safe: Address,
        next: u64,
    ) -> Result<Vec<u64>, StoreError> {
        let nonces = sqlx::query_scalar!(
            r#"select nonce as "nonce!" from proposals
               where chain_id = $1 and owner = $2 and nonce >= $3
                 and replaced_at is null and safe_tx is not null
               order by nonce"#,
            signed(chain.get()),
            safe.as_slice(),
            signed(next),
        )
        .fetch_all(&self.pool)
        .await
        .during("look for queued nonces")?;
        let read = |nonce| unsigned("proposals", "nonce", safe, nonce);
        nonces.into_iter().map(read).collect()
    }
}

/// Makes sure that a nonce is put to the owners of a Safe once at a time. Requests that no longer
/// wait for their owners do not hold theirs: they may have been satisfied by another route, which
/// leaves the nonce unused.
async fn reserve_nonce(
    tx: &mut PgConnection,
    proposal: &Proposal,
    nonce: u64,
) -> Result<(), StoreError> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended($1, 0))",
        format!("nonces of Safe {} on chain {}", proposal.owner, proposal.chain)
    )
    .fetch_one(&mut *tx)
    .await
    .during("take the lock of a Safe")?;
    let taken = sqlx::query!(
        "select p.id from proposals p join requests r on r.proposal_id = p.id
         where p.chain_id = $1 and p.owner = $2 and p.nonce = $3 and p.replaced_at is null
           and r.status in ('proposed', 'approved') limit 1",
        signed(proposal.chain.get()),
        proposal.owner.as_slice(),
        signed(nonce),
    )
    .fetch_optional(tx)
    .await
    .during("look for a proposal with the same nonce")?;
    taken.map_or(Ok(()), |_| Err(StoreError::NonceTaken(nonce)))
}

async fn insert(tx: &mut PgConnection, proposal: &Proposal) -> Result<(), StoreError> {
    let safe = proposal.safe.as_ref();
    let owners: Option<Vec<Vec<u8>>> =
        safe.map(|safe| safe.owners.iter().map(|owner| owner.to_vec()).collect());
    sqlx::query!(
        "insert into proposals (id, route, chain_id, owner, calls, warnings,
            safe_version, safe_tx, nonce, threshold, owners, domain_hash, message_hash,
            safe_tx_hash, around, created_at, nonce_choice, queue)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
            $18)",
        proposal.id,
        proposal.route.name(),
        signed(proposal.chain.get()),
        proposal.owner.as_slice(),
        Json(&proposal.additions) as _,
        Json(&proposal.warnings) as _,
        safe.map(|safe| safe.version.number()),
        safe.map(|safe| Json(&safe.tx)) as _,
        safe.map(|safe| signed(safe.nonce)),
        safe.map(|safe| i32::try_from(safe.threshold).unwrap_or(i32::MAX)),
        owners.as_deref(),
        safe.map(|safe| safe.hashes.domain_hash.to_vec()),
        safe.map(|safe| safe.hashes.message_hash.to_vec()),
        safe.map(|safe| safe.hashes.safe_tx_hash.0.to_vec()),
        safe.and_then(|safe| safe.around.as_ref()).map(Json) as _,
        proposal.created_at,
        safe.map_or(NonceChoice::NextFree, |safe| safe.nonce_choice).name(),
        safe.and_then(|safe| safe.queue.as_ref()).map(Json) as _,
    )
    .execute(&mut *tx)
    .await
    .during("store a proposal")?;
    watch_changed(tx, proposal.chain).await
}

async fn link(tx: &mut PgConnection, proposal: Uuid, requests: &[Uuid]) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into proposal_requests (proposal_id, request_id) select $1, unnest($2::uuid[])",
        proposal,
        requests,
    )
    .execute(tx)
    .await
    .during("note what a proposal is for")
    .map(|_| ())
}
