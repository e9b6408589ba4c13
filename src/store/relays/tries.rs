//! The tries of the relayer, and how they are read.

use std::collections::HashMap;

use alloy::primitives::{Address, B256, Bytes};
use uuid::Uuid;

use crate::{
    clock::Time,
    request::ids::{ChainId, RequestId, SafeTxHash, TxHash},
    store::{During, Store, StoreError, inconsistent, signed, unsigned},
};

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    Executed,
    /// The Safe's nonce is spent, and nothing was done.
    FailedInside,
    Reverted,
    /// The account's nonce went to an empty transfer, since the execution was not wanted any more.
    Cancelled,
    /// The account's nonce went to a transaction that is none of ours.
    NonceTaken,
}

impl Fate {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::FailedInside => "failed_inside",
            Self::Reverted => "reverted",
            Self::Cancelled => "cancelled",
            Self::NonceTaken => "nonce_taken",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Executed, Self::FailedInside, Self::Reverted, Self::Cancelled, Self::NonceTaken]
            .into_iter()
            .find(|fate| fate.as_str() == text)
    }
}

/// A transaction that is signed for a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub hash: TxHash,
    /// It executes nothing, and only frees the nonce.
    pub cancels: bool,
    pub raw: Bytes,
    /// In wei per gas, the tip included.
    pub max_fee: u64,
    pub tip: u64,
    pub signed_at: Time,
    /// When it was last given to the endpoints, as far as that was noted.
    pub sent_at: Option<Time>,
}

/// A try to execute a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    pub id: Uuid,
    pub proposal: Uuid,
    pub request: RequestId,
    pub chain: ChainId,
    pub safe: Address,
    pub safe_nonce: u64,
    pub safe_tx_hash: SafeTxHash,
    pub relayer: Address,
    pub relayer_nonce: u64,
    pub gas_limit: u64,
    /// The block on whose state it was simulated.
    pub simulated_block: u64,
    pub created_at: Time,
    pub settled_at: Option<Time>,
    pub fate: Option<Fate>,
    /// The transaction of ours that used the nonce, and its block.
    pub tx: Option<TxHash>,
    pub block: Option<u64>,
    /// Oldest first; the last one is sent.
    pub transactions: Vec<Sent>,
}

struct TryRow {
    id: Uuid,
    proposal_id: Uuid,
    request_id: Uuid,
    chain_id: i64,
    safe: Vec<u8>,
    safe_nonce: Option<i64>,
    safe_tx_hash: Option<Vec<u8>>,
    relayer: Vec<u8>,
    relayer_nonce: i64,
    gas_limit: i64,
    simulated_block: i64,
    created_at: Time,
    settled_at: Option<Time>,
    outcome: Option<String>,
    tx_hash: Option<Vec<u8>>,
    block_number: Option<i64>,
}

fn unread(column: &'static str, row: Uuid) -> StoreError {
    inconsistent("relay_tries", column, row)
}

fn hash(bytes: &[u8], row: Uuid) -> Result<B256, StoreError> {
    bytes.try_into().map_err(|_| unread("hash", row))
}

impl TryRow {
    fn read(self, transactions: Vec<Sent>) -> Result<Try, StoreError> {
        let id = self.id;
        let number = |column, value| unsigned("relay_tries", column, id, value);
        let address = |column, bytes: &[u8]| bytes.try_into().map_err(|_| unread(column, id));
        let fate = match &self.outcome {
            Some(text) => Some(Fate::parse(text).ok_or_else(|| unread("outcome", id))?),
            None => None,
        };
        Ok(Try {
            id,
            proposal: self.proposal_id,
            request: RequestId(self.request_id),
            chain: ChainId::new(number("chain_id", self.chain_id)?)
                .map_err(|_| unread("chain_id", id))?,
            safe: address("safe", &self.safe)?,
            safe_nonce: number("safe_nonce", self.safe_nonce.unwrap_or(-1))?,
            safe_tx_hash: SafeTxHash(hash(&self.safe_tx_hash.unwrap_or_default(), id)?),
            relayer: address("relayer", &self.relayer)?,
            relayer_nonce: number("relayer_nonce", self.relayer_nonce)?,
            gas_limit: number("gas_limit", self.gas_limit)?,
            simulated_block: number("simulated_block", self.simulated_block)?,
            created_at: self.created_at,
            settled_at: self.settled_at,
            fate,
            tx: self.tx_hash.map(|tx| hash(&tx, id).map(TxHash)).transpose()?,
            block: self.block_number.map(|block| number("block_number", block)).transpose()?,
            transactions,
        })
    }
}

impl Store {
    /// Tries of a chain that are not settled, by whatever account.
    pub async fn open_tries(&self, chain: ChainId) -> Result<Vec<Try>, StoreError> {
        let rows = sqlx::query_as!(
            TryRow,
            // Of several requests, one that still waits for it.
            r#"select t.id, t.proposal_id, f.id as request_id, t.chain_id, t.safe,
                p.nonce as safe_nonce, p.safe_tx_hash, t.relayer,
                t.relayer_nonce, t.gas_limit, t.simulated_block, t.created_at, t.settled_at,
                t.outcome, t.tx_hash, t.block_number
             from relay_tries t join proposals p on p.id = t.proposal_id
             join lateral (
                select r.id from proposal_requests m join requests r on r.id = m.request_id
                where m.proposal_id = p.id
                order by (r.proposal_id is not distinct from p.id and r.status = 'approved') desc,
                    r.id
                limit 1
             ) f on true
             where t.chain_id = $1 and t.settled_at is null order by t.created_at"#,
            signed(chain.get()),
        )
        .fetch_all(&self.pool)
        .await
        .during("look for tries to execute")?;
        self.with_transactions(rows).await
    }

    /// Every try to execute what was proposed for a request, oldest first.
    pub async fn tries(&self, request: RequestId) -> Result<Vec<Try>, StoreError> {
        let rows = sqlx::query_as!(
            TryRow,
            "select t.id, t.proposal_id, m.request_id, t.chain_id, t.safe,
                p.nonce as safe_nonce, p.safe_tx_hash, t.relayer,
                t.relayer_nonce, t.gas_limit, t.simulated_block, t.created_at, t.settled_at,
                t.outcome, t.tx_hash, t.block_number
             from relay_tries t join proposals p on p.id = t.proposal_id
             join proposal_requests m on m.proposal_id = p.id
             where m.request_id = $1 order by t.created_at",
            request.0,
        )
        .fetch_all(&self.pool)
        .await
        .during("read tries to execute")?;
        self.with_transactions(rows).await
    }

    async fn with_transactions(&self, rows: Vec<TryRow>) -> Result<Vec<Try>, StoreError> {
        if rows.is_empty() {
            return Ok(vec![]);
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let sent = sqlx::query!(
            "select try_id, hash, cancels, raw, max_fee, tip, signed_at, sent_at
             from relay_transactions where try_id = any($1) order by number",
            &ids
        )
        .fetch_all(&self.pool)
        .await
        .during("read transactions of tries")?;
        let mut of_tries = HashMap::<Uuid, Vec<Sent>>::new();
        for row in sent {
            let number = |column, value| unsigned("relay_transactions", column, row.try_id, value);
            of_tries.entry(row.try_id).or_default().push(Sent {
                hash: TxHash(hash(&row.hash, row.try_id)?),
                cancels: row.cancels,
                raw: row.raw.into(),
                max_fee: number("max_fee", row.max_fee)?,
                tip: number("tip", row.tip)?,
                signed_at: row.signed_at,
                sent_at: row.sent_at,
            });
        }
        rows.into_iter()
            .map(|row| {
                let sent = of_tries.remove(&row.id).unwrap_or_default();
                row.read(sent)
            })
            .collect()
    }
}
