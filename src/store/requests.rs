//! Requests: reading them, and the one way to change them.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    CHANGES, During, QUIET_CHANGES, Store, StoreError,
    apps::columns,
    attempts::may_have_acted,
    batches::lock_with_siblings,
    dependents::{follow_event, wake_batch},
    inconsistent,
    journal::{self, Actor},
    lease::{Lease, hold_lease},
    one_row, outbox,
    request_rows::load,
    signed, unsigned,
};
use crate::{
    clock::Time,
    planted::{Bug, planted},
    request::{
        Request,
        event::{Event, recounted, waits_for_signatures},
        facts::Facts,
        ids::{AppId, ChainId, RequestId},
        status::{Status, status},
    },
};

/// Which requests a list shows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub app: Option<AppId>,
    /// Of these apps only: all that whoever asks may see.
    pub apps: Option<Vec<(ChainId, AppId)>>,
    /// A part of the id, the source CVM, the note or a hash.
    pub text: Option<String>,
    /// Only requests older than this one: the end of the page before.
    pub after: Option<(Time, RequestId)>,
}

/// Takes the row locks of several requests in one order, so that transactions that change many
/// cannot wait for each other in a circle.
pub async fn lock(tx: &mut PgConnection, ids: &[Uuid]) -> Result<(), StoreError> {
    sqlx::query!("select id from requests where id = any($1) order by id for update", ids)
        .fetch_all(tx)
        .await
        .during("lock requests")
        .map(|_| ())
}

/// Reads one request and keeps its row locked to the end of the transaction.
pub async fn get_locked(tx: &mut PgConnection, id: RequestId) -> Result<Request, StoreError> {
    lock(tx, &[id.0]).await?;
    get(tx, id).await
}

async fn get(tx: &mut PgConnection, id: RequestId) -> Result<Request, StoreError> {
    load(tx, &[id.0]).await?.pop().ok_or(StoreError::NotFound("request"))
}

/// Lets `event` happen to a request: facts, the rows that hang on them, the journal entry and the
/// announcement, all in the caller's transaction. With a lease, only if it is still held.
pub async fn record(
    tx: &mut PgConnection,
    id: RequestId,
    lease: Option<&Lease>,
    actor: &Actor,
    event: &Event,
    at: Time,
) -> Result<Request, StoreError> {
    if event.ends() || matches!(event, Event::ProposalReplaced { .. }) {
        // It happens to those as well that are proposed together with it.
        lock_with_siblings(tx, &[id.0]).await?;
    }
    match lease {
        Some(lease) if lease.request == id => hold_lease(tx, lease, at).await?,
        Some(_) => return Err(StoreError::LeaseLost),
        None => lock(tx, &[id.0]).await?,
    }
    let before = get(tx, id).await?;
    record_of(tx, before, lease, actor, event, at).await
}

/// The same for a request that this transaction has read under its lock.
pub(super) async fn record_of(
    tx: &mut PgConnection,
    before: Request,
    lease: Option<&Lease>,
    actor: &Actor,
    event: &Event,
    at: Time,
) -> Result<Request, StoreError> {
    let id = before.id;
    let takes_back = matches!(event, Event::Withdrawn { .. } | Event::Rejected { .. });
    if takes_back && before.facts.replica.is_none() && may_have_acted(tx, id).await? {
        return Err(StoreError::CommitOnItsWay);
    }
    let facts = before.facts.apply(event, at)?;
    let work = Work::after(lease, event, &before);
    write_facts(tx, id, &facts, &work, at).await?;
    follow_event(tx, id, actor, event, at).await?;
    let was_prepared = before.status() == Status::Prepared;
    if was_prepared && !matches!(status(&facts), Status::Prepared | Status::Proposed) {
        wake_batch(tx, id, at).await?;
    }
    if !(planted(Bug::JournalLeftOut) && matches!(event, Event::Retracted { .. })) {
        journal::append(tx, id, actor, event, at).await?;
    }
    outbox::tell(tx, id, event, at).await?;
    announce(tx, id, !work.is_quiet).await?;
    say(id, actor, event);
    get(tx, id).await
}

/// One line in the log; what a person must see to is a warning.
fn say(id: RequestId, actor: &Actor, event: &Event) {
    let (kind, actor) = (event.kind(), actor.as_str());
    match event {
        Event::AttentionNeeded { reason, .. }
        | Event::CommitRefused { reason, asks: true, .. }
        | Event::Failed { reason, .. }
        | Event::Expired { reason } => {
            tracing::warn!(request.id = %id, event = kind, actor, reason, "a person must look");
        }
        _ => tracing::info!(request.id = %id, event = kind, actor, "a request changed"),
    }
}

/// What an event does to the work on a request.
#[derive(Debug, PartialEq, Eq)]
struct Work {
    /// Nobody works on it: it is due at once. A worker says at its release when to look again.
    wake: bool,
    /// A person said something, or a signature was added to those it waits for, and that is all: nobody
    /// has to look then. A worker who holds it may have looked before the signature, and looks again.
    is_quiet: bool,
    /// What it waits for, where the event tells that.
    reason: Option<String>,
    /// It is the same try again, so that pauses keep growing.
    same_try: bool,
}

impl Work {
    fn after(lease: Option<&Lease>, event: &Event, before: &Request) -> Self {
        if let Event::Commented { .. } = event {
            let reason = before.reason.clone();
            return Self { wake: false, is_quiet: true, reason, same_try: true };
        }
        let count = match event {
            Event::Confirmed { confirmations, threshold, .. } if confirmations < threshold => {
                Some((*confirmations as usize, *threshold))
            }
            _ => None,
        };
        let told = before.reason.as_deref();
        let recounted = count.zip(told).and_then(|((given, of), told)| recounted(told, given, of));
        let is_quiet = recounted.is_some() && before.held_until.is_none();
        Self {
            wake: lease.is_none() && !is_quiet,
            is_quiet,
            reason: recounted.or(count.map(|(given, of)| waits_for_signatures(given, of))),
            same_try: matches!(
                event,
                Event::CommitStarted { .. }
                    | Event::CommitRefused { .. }
                    | Event::AttentionNeeded { .. }
            ),
        }
    }
}

async fn write_facts(
    tx: &mut PgConnection,
    id: RequestId,
    facts: &Facts,
    work: &Work,
    at: Time,
) -> Result<(), StoreError> {
    let execution = facts.execution.as_ref();
    let registration = facts.registration.as_ref();
    let result = sqlx::query!(
        "update requests set
            proposal_id = $2, approved_at = $3,
            executed_at = $4, executed_block = $5, executed_block_hash = $6, executed_tx = $7,
            registered_at = $8, registered_block = $9, registered_block_hash = $10,
            attempt_id = $11, replica_id = $12, committed_at = $13, running_at = $14,
            attention = $15, ended_at = $16, ended_as = $17, ended_code = $18, ended_reason = $19,
            reason = $23, operation = $24,
            prepare_body_sealed = case when $13::timestamptz is null and $16::timestamptz is null
                then prepare_body_sealed end,
            attempts = case when $21 then attempts else 0 end,
            next_try_at = case when $22 then least(next_try_at, $20) else next_try_at end
         where id = $1",
        id.0,
        facts.proposal,
        facts.approved_at,
        execution.map(|execution| execution.at),
        execution.map(|execution| signed(execution.block.number)),
        execution.map(|execution| execution.block.hash.0.to_vec()),
        execution.and_then(|execution| execution.tx).map(|tx| tx.0.to_vec()),
        registration.map(|registration| registration.at),
        registration.map(|registration| signed(registration.block.number)),
        registration.map(|registration| registration.block.hash.0.to_vec()),
        facts.attempt,
        facts.replica.as_ref().map(|replica| replica.id.as_str()),
        facts.replica.as_ref().map(|replica| replica.committed_at),
        facts.running_at,
        facts.attention,
        facts.end.as_ref().map(|end| end.at),
        facts.end.as_ref().map(|end| end.kind.as_str()),
        facts.end.as_ref().and_then(|end| end.code.as_deref()),
        facts.end.as_ref().map(|end| end.reason.as_str()),
        at,
        work.same_try,
        work.wake,
        work.reason,
        facts.replica.as_ref().and_then(|replica| replica.operation.as_deref()),
    )
    .execute(tx)
    .await
    .during("write the facts of a request")?;
    one_row("writing the facts of a request", &result)
}

/// Gives a request a note that came later than the request. The first one stays.
pub(super) async fn keep_note(
    tx: &mut PgConnection,
    request: &mut Request,
    note: Option<&String>,
) -> Result<(), StoreError> {
    let Some(note) = note.filter(|_| request.note.is_none()) else { return Ok(()) };
    let result = sqlx::query!("update requests set note = $2 where id = $1", request.id.0, note)
        .execute(&mut *tx)
        .await
        .during("keep the note of a request")?;
    one_row("keeping the note of a request", &result)?;
    request.note = Some(note.clone());
    announce(tx, request.id, false).await
}

/// Makes a request due.
pub(super) async fn wake_one(
    tx: &mut PgConnection,
    id: RequestId,
    now: Time,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update requests set next_try_at = least(next_try_at, $2) where id = $1",
        id.0,
        now
    )
    .execute(&mut *tx)
    .await
    .during("wake a request")?;
    announce(tx, id, true).await
}

/// Tells every instance, once the transaction commits, that a request changed, and whether there may
/// be work for it.
async fn announce(tx: &mut PgConnection, id: RequestId, is_work: bool) -> Result<(), StoreError> {
    let channel = if is_work { CHANGES } else { QUIET_CHANGES };
    sqlx::query!("select pg_notify($1, $2)", channel, id.to_string())
        .fetch_one(tx)
        .await
        .during("announce a change")
        .map(|_| ())
}

impl Store {
    pub async fn request(&self, id: RequestId) -> Result<Request, StoreError> {
        let mut connection = self.pool.acquire().await.during("connect")?;
        load(&mut connection, &[id.0]).await?.pop().ok_or(StoreError::NotFound("request"))
    }

    /// Newest first.
    pub async fn requests(&self, filter: &Filter, limit: u32) -> Result<Vec<Request>, StoreError> {
        let mut connection = self.pool.acquire().await.during("connect")?;
        let (chains, apps) = columns(filter.apps.as_deref());
        let ids: Vec<Uuid> = sqlx::query_scalar!(
            "select id from requests
             where ($1::text is null or status = $1)
               and ($2::bytea is null or app = $2)
               and ($3::text is null or position(replace($3, '-', '') in replace(concat_ws(' ',
                    id::text, source_cvm, note, encode(compose_hash, 'hex'),
                    encode(device_id, 'hex'), replica_id), '-', '')) > 0)
               and ($4::timestamptz is null or (created_at, id) < ($4, $5::uuid))
               and ($7::bigint[] is null
                    or (chain_id, app) in (select * from unnest($7::bigint[], $8::bytea[])))
             order by created_at desc, id desc limit $6",
            filter.status.map(Status::as_str),
            filter.app.map(|app| app.0.to_vec()),
            filter.text,
            filter.after.map(|(at, _)| at),
            filter.after.map(|(_, id)| id.0),
            i64::from(limit),
            chains.as_deref(),
            apps.as_deref(),
        )
        .fetch_all(&mut *connection)
        .await
        .during("list requests")?;
        let mut requests = load(&mut connection, &ids).await?;
        requests.sort_by_key(|request| std::cmp::Reverse((request.created_at, request.id)));
        Ok(requests)
    }

    /// The app that a request is about, which never changes.
    pub async fn app_of(&self, id: RequestId) -> Result<Option<(ChainId, AppId)>, StoreError> {
        let row = sqlx::query!("select chain_id, app from requests where id = $1", id.0)
            .fetch_optional(&self.pool)
            .await
            .during("read the app of a request")?;
        let Some(row) = row else { return Ok(None) };
        let chain = unsigned("requests", "chain_id", id, row.chain_id)?;
        let chain = ChainId::new(chain).map_err(|_| inconsistent("requests", "chain_id", id))?;
        let app = row.app.as_slice().try_into();
        let app = app.map_err(|_| inconsistent("requests", "app", id))?;
        Ok(Some((chain, AppId(app))))
    }

    /// How many requests stand in each status.
    pub async fn request_counts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let rows =
            sqlx::query!(r#"select status, count(*) as "count!" from requests group by status"#)
                .fetch_all(&self.pool)
                .await
                .during("count requests")?;
        rows.into_iter()
            .map(|row| Ok((row.status, unsigned("requests", "count", "all", row.count)?)))
            .collect()
    }

    /// Lets one event happen in a transaction of its own.
    pub async fn record(
        &self,
        id: RequestId,
        lease: Option<&Lease>,
        actor: &Actor,
        event: &Event,
        at: Time,
    ) -> Result<Request, StoreError> {
        let mut tx = self.begin().await?;
        let request = record(&mut tx, id, lease, actor, event, at).await?;
        super::commit(tx).await?;
        self.wake_queue_behind(id, event, at).await;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::samples::{now, request};

    #[test]
    fn nobody_looks_at_what_is_only_said() {
        let mut before = request(Status::Proposed, None);
        before.reason = Some("no endpoint answers".into());
        let work = Work::after(None, &Event::Commented { text: "why?".into() }, &before);
        let reason = before.reason.clone();
        assert_eq!(work, Work { wake: false, is_quiet: true, reason, same_try: true });
    }

    #[test]
    fn nobody_looks_at_a_signature_that_changes_nothing_but_the_count() {
        let (count, queued) = ("0 of 3 signatures", "0 of 3 signatures; nonce 5 comes first");
        for (confirmations, told, held, is_quiet, reason) in [
            (1, Some(count), false, true, Some("1 of 3 signatures")),
            (1, Some(queued), false, true, Some("1 of 3 signatures; nonce 5 comes first")),
            (1, Some(count), true, false, Some("1 of 3 signatures")),
            (1, Some("no endpoint answers"), false, false, Some("1 of 3 signatures")),
            (1, None, false, false, Some("1 of 3 signatures")),
            (3, Some(count), false, false, None),
        ] {
            let mut before = request(Status::Proposed, None);
            before.reason = told.map(str::to_owned);
            before.held_until = held.then(now);
            let event = Event::Confirmed { owner: "0x1".into(), confirmations, threshold: 3 };
            let work = Work::after(None, &event, &before);
            let said = (work.is_quiet, work.wake, work.reason.as_deref());
            assert_eq!(said, (is_quiet, !is_quiet, reason), "{confirmations} {told:?} {held}");
        }
    }
}
