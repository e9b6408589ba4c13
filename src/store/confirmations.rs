//! The signatures given to proposals.

use alloy::primitives::Address;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    During, Store, StoreError,
    batches::lock_waiting,
    journal::Actor,
    proposals::Proposal,
    request_rows::load,
    requests::{record_of, wake_one},
};
use crate::{
    clock::Time,
    request::{
        Request,
        event::Event,
        ids::{RequestId, SafeTxHash},
    },
    safe::packed::Part,
};

/// An owner's signature over a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    pub owner: Address,
    pub signature: Part,
    pub received_at: Time,
}

/// What became of a confirmation.
#[derive(Debug)]
pub enum Confirmed {
    Added(Box<Request>),
    /// These owners' signatures were here before.
    Known(Box<Request>),
    /// The proposal has been replaced meanwhile.
    Replaced,
}

/// A transaction that was put to the owners of a request before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    pub hash: SafeTxHash,
    pub nonce: i64,
    /// Why another one took its place.
    pub reason: String,
}

/// Transactions that a late signature is compared with.
const EARLIER_MAX: i64 = 20;

impl Store {
    /// The Safe transactions of a request that were replaced, the latest first.
    pub async fn replaced_transactions(
        &self,
        request: RequestId,
    ) -> Result<Vec<Earlier>, StoreError> {
        let rows = sqlx::query!(
            r#"select p.safe_tx_hash as "hash!", p.nonce as "nonce!", p.replaced_reason as "reason!"
            from proposals p join proposal_requests l on l.proposal_id = p.id
            where l.request_id = $1 and p.replaced_at is not null and p.safe_tx is not null
            order by p.replaced_at desc limit $2"#,
            request.0,
            EARLIER_MAX,
        )
        .fetch_all(&self.pool)
        .await
        .during("read what was proposed before")?;
        let read = |row: &[u8]| row.try_into().map(SafeTxHash);
        let broken = |_| StoreError::Inconsistent {
            table: "proposals",
            column: "safe_tx_hash",
            row: request.to_string(),
        };
        rows.into_iter()
            .map(|row| {
                let hash = read(&row.hash).map_err(broken)?;
                Ok(Earlier { hash, nonce: row.nonce, reason: row.reason })
            })
            .collect()
    }

    pub async fn confirmations(&self, proposal: Uuid) -> Result<Vec<Confirmation>, StoreError> {
        let mut connection = self.pool.acquire().await.during("connect")?;
        confirmations(&mut connection, proposal).await
    }

    /// Adds checked signatures, given to one of the requests that a proposal is for, while it is still
    /// live; with the last one needed, all of them become `approved`. Only signatures of `owners`, the
    /// present ones, count.
    pub async fn confirm(
        &self,
        request: RequestId,
        proposal: &Proposal,
        threshold: u32,
        owners: &[Address],
        signatures: &[(Address, Part)],
        now: Time,
    ) -> Result<Confirmed, StoreError> {
        let mut tx = self.begin().await?;
        let waiting = lock_waiting(&mut tx, proposal.id).await?;
        let mut requests = load(&mut tx, &waiting).await?;
        if requests.iter().all(|one| one.id != request) {
            return Ok(Confirmed::Replaced);
        }
        let mut added = false;
        for (owner, signature) in signatures {
            let given = (*owner, signature);
            let Some(count) = add_confirmation(&mut tx, proposal.id, given, owners, now).await?
            else {
                continue;
            };
            let event =
                Event::Confirmed { owner: owner.to_string(), confirmations: count, threshold };
            let mut signed = vec![];
            for before in requests {
                let actor = Actor::owner(*owner);
                signed.push(record_of(&mut tx, before, None, &actor, &event, now).await?);
            }
            requests = signed;
            added = true;
        }
        if signatures.iter().any(|(_, part)| matches!(part, Part::Contract { .. })) {
            // Who looks at it now says when the contract is asked again.
            wake_one(&mut tx, request, now).await?;
        }
        super::commit(tx).await?;
        let request = requests.into_iter().find(|one| one.id == request);
        let request = Box::new(request.ok_or(StoreError::NotFound("request"))?);
        Ok(if added { Confirmed::Added(request) } else { Confirmed::Known(request) })
    }
}

/// Adds a signature, and tells how many of `owners` have signed with it; none when it was here before.
async fn add_confirmation(
    tx: &mut PgConnection,
    proposal: Uuid,
    (owner, signature): (Address, &Part),
    owners: &[Address],
    now: Time,
) -> Result<Option<u32>, StoreError> {
    let all: Vec<Vec<u8>> = owners.iter().map(|owner| owner.to_vec()).collect();
    // The count does not see what the same statement adds.
    let others = sqlx::query_scalar!(
        r#"with added as (
            insert into confirmations (proposal_id, owner, signature, received_at)
            values ($1, $2, $3, $4) on conflict do nothing returning owner
         )
         select (select count(*) from confirmations
            where proposal_id = $1 and owner = any($5)) as "others!" from added"#,
        proposal,
        owner.as_slice(),
        &signature.to_bytes()[..],
        now,
        &all,
    )
    .fetch_optional(tx)
    .await
    .during("store a confirmation")?;
    let counted = |others: i64| others + i64::from(owners.contains(&owner));
    Ok(others.map(|others| u32::try_from(counted(others)).unwrap_or(u32::MAX)))
}

async fn confirmations(
    connection: &mut PgConnection,
    proposal: Uuid,
) -> Result<Vec<Confirmation>, StoreError> {
    let rows = sqlx::query!(
        "select owner, signature, received_at from confirmations
         where proposal_id = $1 order by received_at, owner",
        proposal
    )
    .fetch_all(connection)
    .await
    .during("read confirmations")?;
    rows.into_iter()
        .map(|row| {
            let inconsistent = |column| StoreError::Inconsistent {
                table: "confirmations",
                column,
                row: proposal.to_string(),
            };
            Ok(Confirmation {
                owner: row.owner.as_slice().try_into().map_err(|_| inconsistent("owner"))?,
                signature: Part::from_bytes(&row.signature)
                    .map_err(|_| inconsistent("signature"))?,
                received_at: row.received_at,
            })
        })
        .collect()
}
