//! What a list of requests shows: one page of the queue, and what stands beside its rows. One query
//! for the whole list, never one a row.

use std::{collections::HashMap, fmt, str::FromStr};

use alloy::primitives::Address;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    During, Store, StoreError, apps::columns, request_rows::load, requests::Filter, unsigned,
};
use crate::request::{
    Request,
    ids::{NodeId, RequestId},
    status::Status,
};

/// Where a request stands in the queue: first what needs a person, of that what dies first; at the end
/// what is over, the newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    rank: i16,
    at: i64,
    id: Uuid,
}

/// A text that is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the place that a link to the next page names")]
pub struct NoPlace;

/// One page of the queue.
#[derive(Debug, Default)]
pub struct Queue {
    pub requests: Vec<Request>,
    /// Behind which place the next page begins; none on the last one.
    pub next: Option<Place>,
}

/// What the owner of an app is asked for a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// None unless the owner is a Safe.
    pub signatures: Option<Signatures>,
    /// What its owners should know before they sign.
    pub warnings: u64,
}

/// How many signatures a request has, of how many it needs, and which owners have not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    pub given: usize,
    pub threshold: u64,
    pub missing: Vec<Address>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.rank, self.at, self.id)
    }
}

impl FromStr for Place {
    type Err = NoPlace;
    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let mut parts = text.splitn(3, '_');
        let mut part = || parts.next().ok_or(NoPlace);
        Ok(Self {
            rank: part()?.parse().map_err(|_| NoPlace)?,
            at: part()?.parse().map_err(|_| NoPlace)?,
            id: part()?.parse().map_err(|_| NoPlace)?,
        })
    }
}

/// A stretch of the queue, as its index has it.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    ranks: [i16; 2],
    is_over: bool,
}

/// The rank of what is over.
const OVER: i16 = 3;
const OPEN: Stretch = Stretch { ranks: [0, OVER - 1], is_over: false };
/// What is over. The index has what ended as an alarm before everything that is open, since a person had to
/// look; but whoever reads the queue has something to do first.
const ENDED: [Stretch; 2] =
    [Stretch { ranks: [OVER, OVER], is_over: true }, Stretch { ranks: [0, 0], is_over: true }];

impl Store {
    /// One page of the requests that fit, in the order of the queue. `waits_for`: only those that a
    /// signature of this owner is missing for.
    pub async fn queue(
        &self,
        filter: &Filter,
        waits_for: Option<Address>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Queue, StoreError> {
        let mut tx = self.begin().await?;
        // Which index serves depends on what is asked for: one plan for all would walk everything.
        sqlx::query!("set local plan_cache_mode = force_custom_plan")
            .execute(&mut *tx)
            .await
            .during("choose a plan")?;
        // One more tells whether there is a next page.
        let wanted = limit.saturating_add(1);
        let mut places = vec![];
        if after.is_none_or(|place| place.rank < OVER) {
            places = stretch(&mut tx, OPEN, filter, waits_for, after, wanted).await?;
        }
        if places.len() < wanted as usize {
            let after = after.filter(|place| place.rank == OVER);
            let mut ended = vec![];
            for one in ENDED {
                ended.extend(stretch(&mut tx, one, filter, waits_for, after, wanted).await?);
            }
            ended.sort_unstable();
            places.extend(ended);
        }
        let shown = &places[..places.len().min(limit as usize)];
        let ids: Vec<Uuid> = shown.iter().map(|place| place.id).collect();
        super::commit(tx).await?;
        let mut connection = self.pool.acquire().await.during("connect")?;
        let mut requests = load(&mut connection, &ids).await?;
        requests.sort_by_key(|request| ids.iter().position(|id| *id == request.id.0));
        let next = shown.last().copied().filter(|_| places.len() > shown.len());
        Ok(Queue { requests, next })
    }

    /// What their owners are asked for some requests. Only signatures of owners count.
    pub async fn asked(
        &self,
        requests: &[RequestId],
    ) -> Result<HashMap<RequestId, Asked>, StoreError> {
        let ids: Vec<Uuid> = requests.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"select r.id, p.threshold, coalesce(p.owners, '{}') as "owners!",
                jsonb_array_length(p.warnings) as "warnings!",
                array(select c.owner from confirmations c where c.proposal_id = p.id) as "signed!"
             from requests r join proposals p on p.id = r.proposal_id
             where r.id = any($1)"#,
            &ids
        )
        .fetch_all(&self.pool)
        .await
        .during("read what owners are asked for")?;
        rows.into_iter()
            .map(|row| {
                let number = |column, value| unsigned("proposals", column, row.id, value);
                let threshold =
                    row.threshold.map(|value| number("threshold", value.into())).transpose()?;
                let warnings = number("warnings", row.warnings.into())?;
                let (signed, unsigned): (Vec<_>, Vec<_>) =
                    row.owners.into_iter().partition(|owner| row.signed.contains(owner));
                let missing =
                    unsigned.iter().filter_map(|owner| Address::try_from(&owner[..]).ok());
                let missing: Vec<Address> = missing.collect();
                let signatures = threshold.map(|threshold| Signatures {
                    given: signed.len(),
                    threshold,
                    missing,
                });
                Ok((RequestId(row.id), Asked { signatures, warnings }))
            })
            .collect()
    }

    /// What Phala Cloud calls some nodes.
    pub async fn node_names(
        &self,
        nodes: &[NodeId],
    ) -> Result<HashMap<String, String>, StoreError> {
        if nodes.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        let rows = sqlx::query!("select node_id, name from nodes where node_id = any($1)", &ids)
            .fetch_all(&self.pool)
            .await
            .during("read the names of nodes")?;
        Ok(rows.into_iter().map(|row| (row.node_id, row.name)).collect())
    }
}

/// The first places of a stretch that fit.
async fn stretch(
    tx: &mut PgConnection,
    stretch: Stretch,
    filter: &Filter,
    waits_for: Option<Address>,
    after: Option<Place>,
    wanted: u32,
) -> Result<Vec<Place>, StoreError> {
    let Stretch { ranks: [first, last], is_over } = stretch;
    let (chains, apps) = columns(filter.apps.as_deref());
    let rows = sqlx::query!(
        r#"select id, queue_rank as "rank!", queue_at as "at!" from requests
         where ($1::text is null or status = $1)
           and ($2::bytea is null or app = $2)
           and ($3::text is null or position(replace($3, '-', '') in replace(concat_ws(' ',
                source_cvm, node_id, note, replica_id, case when $3 ~ '^[-0-9a-f]*$' then
                    concat_ws(' ', id::text, encode(compose_hash, 'hex'), encode(device_id, 'hex'))
                end), '-', '')) > 0
                or node_id in (select n.node_id from nodes n
                    where position($3 in concat(n.name, ' (', n.node_id, ')')) > 0))
           and ($4::smallint is null or (queue_rank, queue_at, id) > ($4, $5::bigint, $6::uuid))
           and ($8::bigint[] is null
                or (chain_id, app) in (select * from unnest($8::bigint[], $9::bytea[])))
           and queue_rank between $10 and $11
           and (ended_as is not null or running_at is not null) = $12
           and ($13::bytea is null or status = 'proposed' and exists (
                select from proposals p
                where p.id = proposal_id and $13 = any(p.owners) and not exists (
                    select from confirmations c where c.proposal_id = p.id and c.owner = $13)))
         order by queue_rank, queue_at, id limit $7"#,
        filter.status.map(Status::as_str),
        filter.app.map(|app| app.0.to_vec()),
        filter.text,
        after.map(|place| if is_over { first } else { place.rank }),
        after.map(|place| place.at),
        after.map(|place| place.id),
        i64::from(wanted),
        chains.as_deref(),
        apps.as_deref(),
        first,
        last,
        is_over,
        waits_for.map(|owner| owner.to_vec()),
    )
    .fetch_all(tx)
    .await
    .during("list the queue")?;
    let rank = |rank| if is_over { OVER } else { rank };
    let places = rows.into_iter().map(|row| Place { rank: rank(row.rank), at: row.at, id: row.id });
    Ok(places.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_was_written() {
        for (rank, at) in [(0, 1_780_000_000_123), (3, -1_780_000_000_123), (2, 0)] {
            let place = Place { rank, at, id: Uuid::from_u128(7) };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for text in
            ["", "1", "1_2", "1_2_x", "70000_1_00000000-0000-0000-0000-000000000007", "a_b_c"]
        {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }
}
