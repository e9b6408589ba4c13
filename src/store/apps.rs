//! The watched apps: how far back each ledger reaches, and who uses what they allow.

use alloy::primitives::B256;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    During, Store, StoreError, hash_of, inconsistent, signed, unsigned, watched::watch_changed,
};
use crate::{
    clock::Time,
    request::ids::{AppId, ChainId, ComposeHash, DeviceId, ReplicaId, RequestId, TxHash},
};

/// Apps as two columns for a query; null when it is about all of them.
pub(super) fn columns(
    apps: Option<&[(ChainId, AppId)]>,
) -> (Option<Vec<i64>>, Option<Vec<Vec<u8>>>) {
    let both = apps
        .map(|apps| apps.iter().map(|(chain, app)| (signed(chain.get()), app.0.to_vec())).unzip());
    both.unzip()
}

/// How far back the ledger of an app reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppHistory {
    pub chain: ChainId,
    pub app: AppId,
    /// What made it known here.
    pub discovered: String,
    /// Every event from this block on is in the ledger.
    pub ledger_from: Option<u64>,
    /// First block worth reading, once that is found out.
    pub history_start: Option<u64>,
    /// Whether that is the deployment.
    pub starts_at_deployment: bool,
}

impl AppHistory {
    /// Whether everything that can be read was read.
    pub fn is_read(&self) -> bool {
        self.ledger_from.zip(self.history_start).is_some_and(|(from, start)| from <= start)
    }

    /// Whether the ledger has everything since the deployment.
    pub fn is_whole(&self) -> bool {
        self.starts_at_deployment && self.is_read()
    }

    /// The share of the history that was read, seen from the chain's `head`.
    pub fn progress(&self, head: u64) -> Option<f64> {
        let (from, start) = self.ledger_from.zip(self.history_start)?;
        let all = (head + 1).saturating_sub(start);
        if all == 0 || from <= start {
            return Some(1.0);
        }
        #[expect(clippy::cast_precision_loss, reason = "a share of block numbers below 2^52")]
        Some((head + 1).saturating_sub(from) as f64 / all as f64)
    }
}

/// A request that has to do with what an app allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub request: RequestId,
    pub compose: ComposeHash,
    pub device: DeviceId,
    /// The transactions that registered what it asked for: the one that was seen to, and those by
    /// which a Safe executed what was put to its owners.
    pub transactions: Vec<TxHash>,
    /// Its replica, when that was committed or runs.
    pub replica: Option<ReplicaId>,
}

struct Row {
    app: Vec<u8>,
    discovered: String,
    ledger_from: Option<i64>,
    history_start: Option<i64>,
    history_is_whole: bool,
}

impl Row {
    fn read(self, chain: ChainId) -> Result<AppHistory, StoreError> {
        let app = self.app.as_slice().try_into();
        let app = AppId(app.map_err(|_| inconsistent("apps", "app", chain))?);
        let number = |column, value: Option<i64>| {
            value.map(|value| unsigned("apps", column, app, value)).transpose()
        };
        Ok(AppHistory {
            chain,
            app,
            discovered: self.discovered,
            ledger_from: number("ledger_from", self.ledger_from)?,
            history_start: number("history_start", self.history_start)?,
            starts_at_deployment: self.history_is_whole,
        })
    }
}

/// Has an app watched from now on, if it is not yet.
pub(super) async fn note_app(
    tx: &mut PgConnection,
    chain: ChainId,
    app: AppId,
    now: Time,
) -> Result<(), StoreError> {
    let added = sqlx::query!(
        "insert into apps (chain_id, app, first_seen_at) values ($1, $2, $3)
         on conflict do nothing",
        signed(chain.get()),
        app.0.as_slice(),
        now,
    )
    .execute(&mut *tx)
    .await
    .during("note an app")?;
    if added.rows_affected() > 0 { watch_changed(tx, chain).await } else { Ok(()) }
}

impl Store {
    /// The apps watched on a chain, and how far back their ledgers reach.
    pub async fn app_histories(&self, chain: ChainId) -> Result<Vec<AppHistory>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select app, discovered, ledger_from, history_start, history_is_whole
             from apps where chain_id = $1 order by app",
            signed(chain.get())
        )
        .fetch_all(&self.pool)
        .await
        .during("list the apps of a chain and their histories")?;
        rows.into_iter().map(|row| row.read(chain)).collect()
    }

    /// The apps of a chain that people made requests for, or that the settings name. Anybody can have a
    /// KMS announce one; such an app is governed by nobody here yet.
    pub async fn governed_apps(
        &self,
        chain: ChainId,
        limit: i64,
    ) -> Result<Vec<AppId>, StoreError> {
        let rows = sqlx::query_scalar!(
            "select app from apps a
             where chain_id = $1 and (discovered <> 'kms' or exists (
                select 1 from requests r where r.chain_id = a.chain_id and r.app = a.app
             ))
             order by app limit $2",
            signed(chain.get()),
            limit,
        )
        .fetch_all(&self.pool)
        .await
        .during("list the governed apps of a chain")?;
        let read = |row: Vec<u8>| {
            let app = row.as_slice().try_into();
            app.map(AppId).map_err(|_| inconsistent("apps", "app", chain))
        };
        rows.into_iter().map(read).collect()
    }

    /// Whether a request of one of these apps is about this compose hash or device id. What stands on
    /// an allowlist does not count: its owner can write there whatever is somebody else's.
    pub async fn is_asked_for(
        &self,
        value: B256,
        apps: &[(ChainId, AppId)],
    ) -> Result<bool, StoreError> {
        let (chains, apps) = columns(Some(apps));
        sqlx::query_scalar!(
            r#"select exists (
                select 1 from requests where (compose_hash = $1 or device_id = $1)
                 and (chain_id, app) in (select * from unnest($2::bigint[], $3::bytea[]))
             ) as "is!""#,
            value.as_slice(),
            chains.as_deref(),
            apps.as_deref(),
        )
        .fetch_one(&self.pool)
        .await
        .during("look whose compose hash or device it is")
    }

    /// One watched app.
    pub async fn app_history(
        &self,
        chain: ChainId,
        app: AppId,
    ) -> Result<Option<AppHistory>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "select app, discovered, ledger_from, history_start, history_is_whole
             from apps where chain_id = $1 and app = $2",
            signed(chain.get()),
            app.0.as_slice(),
        )
        .fetch_optional(&self.pool)
        .await
        .during("look how far the history of an app reaches")?;
        row.map(|row| row.read(chain)).transpose()
    }

    /// The requests of an app that had one of these compose hashes or devices registered, even after they
    /// ended, or whose replicas use one; oldest first.
    pub async fn uses(
        &self,
        chain: ChainId,
        app: AppId,
        values: &[B256],
    ) -> Result<Vec<Use>, StoreError> {
        let values: Vec<Vec<u8>> = values.iter().map(|value| value.to_vec()).collect();
        let rows = sqlx::query!(
            r#"select id, compose_hash, device_id,
                array(
                    select executed_tx where executed_tx is not null
                    union
                    select e.tx_hash from proposal_requests m
                    join proposals p on p.id = m.proposal_id
                    join safe_executions e
                        on e.chain_id = p.chain_id and e.safe_tx_hash = p.safe_tx_hash
                    where m.request_id = r.id and e.safe = p.owner and e.success
                ) as "transactions!",
                case when status in ('committed', 'running') then replica_id end as replica
             from requests r
             where chain_id = $1 and app = $2 and (compose_hash = any($3) or device_id = any($3))
               and (executed_at is not null or registered_at is not null or replica_id is not null
                or (ended_as is not null
                    and exists (select from proposal_requests m where m.request_id = r.id)))
             order by created_at, id"#,
            signed(chain.get()),
            app.0.as_slice(),
            &values,
        )
        .fetch_all(&self.pool)
        .await
        .during("look who uses what an app allows")?;
        let wrong = |column, id: Uuid| inconsistent("requests", column, id);
        rows.into_iter()
            .map(|row| {
                let hash = |bytes: &[u8]| hash_of(bytes, "requests", row.id);
                Ok(Use {
                    request: RequestId(row.id),
                    compose: ComposeHash(hash(&row.compose_hash)?),
                    device: DeviceId(hash(&row.device_id)?),
                    transactions: row
                        .transactions
                        .iter()
                        .map(|tx| hash(tx).map(TxHash))
                        .collect::<Result<_, _>>()?,
                    replica: row
                        .replica
                        .map(|id| id.parse().map_err(|_| wrong("replica_id", row.id)))
                        .transpose()?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::*;

    fn history(from: Option<u64>, start: Option<u64>) -> AppHistory {
        AppHistory {
            chain: ChainId::BASE,
            app: AppId(Address::ZERO),
            discovered: "request".into(),
            ledger_from: from,
            history_start: start,
            starts_at_deployment: true,
        }
    }

    #[test]
    fn progress_is_the_share_of_the_blocks_up_to_the_head() {
        for (from, start, expected) in [
            (None, None, None),
            (Some(101), None, None),
            (Some(101), Some(1), Some(0.0)),
            (Some(51), Some(1), Some(0.5)),
            (Some(1), Some(1), Some(1.0)),
            (Some(0), Some(1), Some(1.0)),
            (Some(101), Some(101), Some(1.0)),
        ] {
            assert_eq!(history(from, start).progress(100), expected, "{from:?} {start:?}");
        }
    }

    #[test]
    fn a_ledger_is_whole_when_it_reaches_the_deployment() {
        assert!(history(Some(7), Some(7)).is_whole());
        assert!(!history(Some(8), Some(7)).is_whole() && !history(Some(8), None).is_read());
        let cut = AppHistory { starts_at_deployment: false, ..history(Some(7), Some(7)) };
        assert!(cut.is_read() && !cut.is_whole());
    }
}
