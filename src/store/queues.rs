//! What there is to do, for whoever runs the service: queues by kind, and who is at the database.

use serde::Serialize;

use super::{During, Store, StoreError, unsigned};
use crate::clock::Time;

/// Requests in a status that something is to be done about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RequestQueue {
    pub status: String,
    pub count: u64,
    /// To be looked at now, and held by no worker.
    pub due: u64,
    /// Since when the one that waits longest is due.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due_since: Option<Time>,
    /// Held by workers, of any instance.
    pub held: u64,
    /// Of which a person is asked something.
    pub asking: u64,
    /// Looks in a row that led to nothing, of the one with the most.
    pub attempts_max: u32,
}

/// Work of another kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct WorkQueue {
    pub kind: String,
    pub count: u64,
    /// Which failed the last time.
    pub failing: u64,
    /// How long the oldest has been there.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest: Option<Time>,
}

/// Connections of Countersign to the database. Instances that share it show here, and commands while they run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Connections {
    /// The address they come from; absent on the machine of the database.
    pub from: Option<String>,
    pub count: u64,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest: Option<Time>,
}

impl Store {
    /// The requests that are under way, by status.
    pub async fn request_queues(&self, now: Time) -> Result<Vec<RequestQueue>, StoreError> {
        let rows = sqlx::query!(
            r#"select status as "status!", count(*) as "count!",
                count(*) filter (where is_due) as "due!",
                min(next_try_at) filter (where is_due) as due_since,
                count(*) filter (where lease_until > $1) as "held!",
                count(*) filter (where attention is not null) as "asking!",
                max(attempts) as "attempts!"
             from (
                select *, next_try_at <= $1 and (lease_until is null or lease_until <= $1) as is_due
                from requests where ended_as is null and running_at is null
             ) r group by status order by status"#,
            now,
        )
        .fetch_all(&self.pool)
        .await
        .during("count what is to be done")?;
        let number = |column, value| unsigned("requests", column, "all", value);
        rows.into_iter()
            .map(|row| {
                Ok(RequestQueue {
                    status: row.status,
                    count: number("count", row.count)?,
                    due: number("due", row.due)?,
                    due_since: row.due_since,
                    held: number("held", row.held)?,
                    asking: number("asking", row.asking)?,
                    attempts_max: row.attempts.unsigned_abs(),
                })
            })
            .collect()
    }

    /// What is to be done beside them.
    pub async fn other_queues(&self) -> Result<Vec<WorkQueue>, StoreError> {
        let rows = sqlx::query!(
            r#"select 'alerts to deliver' as "kind!", count(*) as "count!",
                count(*) filter (where attempts > 0) as "failing!", min(created_at) as oldest
             from outbox where delivered_at is null
             union all
             select 'proposals in Safe''s mailbox', count(*), count(*) filter (where m.attempts > 0),
                min(m.created_at)
             from mailings m join proposals p on p.id = m.proposal_id where p.replaced_at is null
                and exists (select 1 from requests r where r.proposal_id = p.id
                    and r.status in ('proposed', 'approved'))
             union all
             select 'documents to look for', count(*), count(*) filter (where attempts > 1), null
             from compose_proofs where next_try_at is not null
             union all
             select 'executions under way', count(*), 0, min(created_at)
             from relay_tries where settled_at is null
             union all
             select 'commits under way', count(*), count(*) filter (where parked), min(started_at)
             from commit_attempts where settled_at is null"#
        )
        .fetch_all(&self.pool)
        .await
        .during("count what else is to be done")?;
        let number = |column, value| unsigned("queues", column, "all", value);
        rows.into_iter()
            .map(|row| {
                Ok(WorkQueue {
                    kind: row.kind,
                    count: number("count", row.count)?,
                    failing: number("failing", row.failing)?,
                    oldest: row.oldest,
                })
            })
            .collect()
    }

    /// Who is connected.
    pub async fn connections(&self) -> Result<Vec<Connections>, StoreError> {
        let rows = sqlx::query!(
            r#"select host(client_addr) as "from", count(*) as "count!", min(backend_start) as oldest
             from pg_stat_activity
             where application_name = 'countersign' and datname = current_database()
             group by client_addr order by client_addr"#
        )
        .fetch_all(&self.pool)
        .await
        .during("look who is connected")?;
        rows.into_iter()
            .map(|row| {
                let count = unsigned("pg_stat_activity", "count", "all", row.count)?;
                Ok(Connections { from: row.from, count, oldest: row.oldest })
            })
            .collect()
    }

    /// How many people are signed in.
    pub async fn session_count(&self, idle_since: Time, now: Time) -> Result<u64, StoreError> {
        let count = sqlx::query_scalar!(
            r#"select count(*) as "count!" from sessions
             where expires_at > $1 and last_seen_at > $2"#,
            now,
            idle_since,
        )
        .fetch_one(&self.pool)
        .await
        .during("count sessions")?;
        unsigned("sessions", "count", "all", count)
    }
}
