//! The signatures given to proposals.

use alloy::primitives::Address;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    During, Store, StoreError,
    batches::lock_waiting,
    journal::Actor,
    proposals::Proposal,
    requests::{get_locked, record, wake_one},
};
use crate::{
    clock::Time,
    request::{Request, event::Event, ids::RequestId},
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

impl Store {
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
        let signed_for = lock_waiting(&mut tx, proposal.id).await?;
        if !signed_for.contains(&request.0) {
            return Ok(Confirmed::Replaced);
        }
        let mut added = false;
        for (owner, signature) in signatures {
            if !insert_confirmation(&mut tx, proposal.id, *owner, signature, now).await? {
                continue;
            }
            let given = confirmations(&mut tx, proposal.id).await?;
            let count = given.iter().filter(|one| owners.contains(&one.owner)).count();
            let event = Event::Confirmed {
                owner: owner.to_string(),
                confirmations: u32::try_from(count).unwrap_or(u32::MAX),
                threshold,
            };
            let actor = Actor::owner(*owner);
            for id in &signed_for {
                record(&mut tx, RequestId(*id), None, &actor, &event, now).await?;
            }
            added = true;
        }
        if signatures.iter().any(|(_, part)| matches!(part, Part::Contract { .. })) {
            // Who looks at it now says when the contract is asked again.
            wake_one(&mut tx, request, now).await?;
        }
        let request = Box::new(get_locked(&mut tx, request).await?);
        super::commit(tx).await?;
        Ok(if added { Confirmed::Added(request) } else { Confirmed::Known(request) })
    }
}

/// Whether it was not here before.
async fn insert_confirmation(
    tx: &mut PgConnection,
    proposal: Uuid,
    owner: Address,
    signature: &Part,
    now: Time,
) -> Result<bool, StoreError> {
    let added = sqlx::query!(
        "insert into confirmations (proposal_id, owner, signature, received_at)
             values ($1, $2, $3, $4) on conflict do nothing",
        proposal,
        owner.as_slice(),
        &signature.to_bytes()[..],
        now,
    )
    .execute(tx)
    .await
    .during("store a confirmation")?;
    Ok(added.rows_affected() > 0)
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
