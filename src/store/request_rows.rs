//! How a request is read from its row. A row that does not read is an error, never a guess.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{During, StoreError, unsigned};
use crate::{
    clock::Time,
    request::{
        LivePreparation, Request,
        facts::{BlockRef, End, EndKind, Execution, Facts, Registration, Replica},
        ids::{AppId, BlockHash, ChainId, ComposeHash, DeviceId, RequestId, TxHash},
    },
};

struct Row {
    id: Uuid,
    kind: String,
    chain_id: i64,
    app: Vec<u8>,
    source_cvm: String,
    node_id: Option<String>,
    compose_hash: Vec<u8>,
    device_id: Vec<u8>,
    note: Option<String>,
    created_at: Time,
    created_by: String,
    proposal_id: Option<Uuid>,
    approved_at: Option<Time>,
    executed_at: Option<Time>,
    executed_block: Option<i64>,
    executed_block_hash: Option<Vec<u8>>,
    executed_tx: Option<Vec<u8>>,
    registered_at: Option<Time>,
    registered_block: Option<i64>,
    registered_block_hash: Option<Vec<u8>>,
    attempt_id: Option<Uuid>,
    replica_id: Option<String>,
    committed_at: Option<Time>,
    operation: Option<String>,
    running_at: Option<Time>,
    attention: Option<String>,
    ended_at: Option<Time>,
    ended_as: Option<String>,
    ended_code: Option<String>,
    ended_reason: Option<String>,
    reason: Option<String>,
    next_try_at: Time,
    lease_until: Option<Time>,
    attempts: i32,
    preparation_id: Uuid,
    preparation_live: bool,
    prepared_at: Time,
    expires_at: Time,
    is_repeatable: bool,
}

/// Reads requests by id, in no particular order.
pub(super) async fn load(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<Request>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"select r.id, r.kind, r.chain_id, r.app, r.source_cvm, r.node_id, r.compose_hash, r.device_id,
            r.note, r.created_at, r.created_by, r.proposal_id, r.approved_at, r.executed_at,
            r.executed_block, r.executed_block_hash, r.executed_tx, r.registered_at,
            r.registered_block, r.registered_block_hash, r.attempt_id, r.replica_id,
            r.committed_at, r.operation, r.running_at, r.attention, r.ended_at, r.ended_as, r.ended_code,
            r.ended_reason, r.reason, r.next_try_at, r.lease_until, r.attempts,
            p.id as preparation_id, p.ended_at is null as "preparation_live!",
            p.prepared_at, p.expires_at,
            r.kind = 'replica' or r.prepare_body_sealed is not null as "is_repeatable!"
        from requests r
        join lateral (
            select * from preparations where request_id = r.id
            order by (ended_at is null) desc, received_at desc, id desc limit 1
        ) p on true
        where r.id = any($1)"#,
        ids
    )
    .fetch_all(connection)
    .await
    .during("read requests")?;
    rows.into_iter().map(Row::into_request).collect()
}

fn inconsistent(column: &'static str, row: Uuid) -> StoreError {
    StoreError::Inconsistent { table: "requests", column, row: row.to_string() }
}

fn hash(
    bytes: &[u8],
    column: &'static str,
    row: Uuid,
) -> Result<alloy::primitives::B256, StoreError> {
    bytes.try_into().map_err(|_| inconsistent(column, row))
}

impl Row {
    fn block(
        &self,
        number: Option<i64>,
        block_hash: Option<&Vec<u8>>,
    ) -> Result<Option<BlockRef>, StoreError> {
        let (Some(number), Some(block_hash)) = (number, block_hash) else { return Ok(None) };
        Ok(Some(BlockRef {
            number: unsigned("requests", "block", self.id, number)?,
            hash: BlockHash(hash(block_hash, "block_hash", self.id)?),
        }))
    }

    fn facts(&self) -> Result<Facts, StoreError> {
        let executed = self.block(self.executed_block, self.executed_block_hash.as_ref())?;
        let registered = self.block(self.registered_block, self.registered_block_hash.as_ref())?;
        let tx =
            self.executed_tx.as_ref().map(|tx| hash(tx, "executed_tx", self.id)).transpose()?;
        let end = match (self.ended_at, &self.ended_as) {
            (Some(at), Some(kind)) => Some(End {
                kind: EndKind::parse(kind).ok_or_else(|| inconsistent("ended_as", self.id))?,
                at,
                code: self.ended_code.clone(),
                reason: self.ended_reason.clone().unwrap_or_default(),
            }),
            _ => None,
        };
        let replica = match (&self.replica_id, self.committed_at) {
            (Some(id), Some(committed_at)) => Some(Replica {
                id: id.parse().map_err(|_| inconsistent("replica_id", self.id))?,
                committed_at,
                operation: self.operation.clone(),
            }),
            _ => None,
        };
        Ok(Facts {
            proposal: self.proposal_id,
            approved_at: self.approved_at,
            execution: self.executed_at.zip(executed).map(|(at, block)| Execution {
                at,
                block,
                tx: tx.map(TxHash),
            }),
            registration: self
                .registered_at
                .zip(registered)
                .map(|(at, block)| Registration { at, block }),
            attempt: self.attempt_id,
            replica,
            running_at: self.running_at,
            attention: self.attention.clone(),
            end,
        })
    }

    fn into_request(self) -> Result<Request, StoreError> {
        let facts = self.facts()?;
        let id = self.id;
        let app = self.app.as_slice().try_into().map_err(|_| inconsistent("app", id))?;
        let chain = ChainId::new(unsigned("requests", "chain_id", id, self.chain_id)?)
            .map_err(|_| inconsistent("chain_id", id))?;
        Ok(Request {
            id: RequestId(id),
            kind: self.kind.parse().map_err(|_| inconsistent("kind", id))?,
            chain,
            app: AppId(app),
            source: self.source_cvm.parse().map_err(|_| inconsistent("source_cvm", id))?,
            node: self
                .node_id
                .map(|node| node.parse().map_err(|_| inconsistent("node_id", id)))
                .transpose()?,
            compose: ComposeHash(hash(&self.compose_hash, "compose_hash", id)?),
            device: DeviceId(hash(&self.device_id, "device_id", id)?),
            note: self.note,
            created_at: self.created_at,
            created_by: self.created_by,
            facts,
            preparation: self.preparation_live.then_some(LivePreparation {
                id: self.preparation_id,
                prepared_at: self.prepared_at,
                expires_at: self.expires_at,
            }),
            expires_at: self.expires_at,
            prepared_at: self.prepared_at,
            is_repeatable: self.is_repeatable,
            reason: self.reason,
            next_try_at: self.next_try_at,
            held_until: self.lease_until,
            attempts: self.attempts.unsigned_abs(),
        })
    }
}
