//! Which commit token of a request is to be used.

use std::time::Duration;

use chrono::TimeDelta;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    During, Store, StoreError,
    dependents::NO_EFFECT,
    inconsistent,
    lease::{Lease, hold_lease},
};
use crate::{
    clock::Time,
    request::{
        deadline::TOKEN_LIFETIME,
        ids::{ReplicaId, RequestId},
    },
    vault::Sealed,
};

/// When a token was issued, or died, is told by one clock, and when an instance was made or looked for
/// by another.
const CLOCKS: TimeDelta = TimeDelta::minutes(15);

/// How it is known when a token was issued, and who has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issued {
    /// By whoever handed it over.
    Told,
    /// It came as it was issued.
    JustNow,
    /// Not at all: at any time since which a token lives.
    Unknown,
    /// The service itself had it issued, and shows it to nobody.
    ForUs,
}

impl Issued {
    /// Before that the token was not there, as far as is known.
    #[must_use]
    pub fn not_before(self, prepared_at: Time) -> Option<Time> {
        match self {
            Self::Unknown => None,
            Self::Told | Self::JustNow | Self::ForUs => Some(prepared_at),
        }
    }
}

/// The commit tokens that a request has or had and that somebody outside has seen. Whoever holds one can
/// commit with it, so each may have made a replica that nobody here was told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitTokens {
    /// When the first one was issued, at the earliest. None when nobody outside has seen any.
    pub since: Option<Time>,
    /// Those beside the one that is to be used. Of that one Phala Cloud itself tells whether it was used.
    pub others: Vec<OtherToken>,
    /// Instances of which a person has said that they are not this request's.
    pub ruled_out: Vec<ReplicaId>,
}

/// A token that is not to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherToken {
    /// From then on it can make nothing, as far as is known.
    pub dead_since: Time,
    /// How often what it made was looked for in vain.
    pub looks: u32,
    /// A commit with it was refused, and it was looked for long enough then.
    pub was_refused: bool,
}

impl CommitTokens {
    /// Whether one of them may have made this instance. `ahead` is how much further Phala Cloud's
    /// clock is than ours; when it or the instance's date is not known, no date speaks against it.
    #[must_use]
    pub fn may_have_made(
        &self,
        instance: &ReplicaId,
        created_at: Option<Time>,
        ahead: Option<TimeDelta>,
    ) -> bool {
        let Some(since) = self.since else { return false };
        let is_older = created_at
            .zip(ahead)
            .is_some_and(|(created_at, ahead)| created_at - ahead + CLOCKS < since);
        !is_older && !self.ruled_out.contains(instance)
    }

    /// Whether a replica that one of the others made may still be missing in the list: there it is within
    /// `patience`. Looks, one `pause` after the other, count more than clocks, which may differ.
    #[must_use]
    pub fn may_be_unlisted(&self, patience: Duration, pause: Duration, now: Time) -> bool {
        self.others.iter().any(|token| {
            let died_lately = token.dead_since <= now && now < token.dead_since + patience + CLOCKS;
            let was_looked_for = pause.saturating_mul(token.looks.saturating_sub(1)) >= patience;
            died_lately && !was_looked_for && !token.was_refused
        })
    }
}

impl Store {
    /// The sealed token that came last, and whose it is; none when no token is kept.
    pub async fn newest_sealed_token(&self) -> Result<Option<(RequestId, Sealed)>, StoreError> {
        let row = sqlx::query!(
            r#"select request_id, token_sealed as "token_sealed!" from preparations
               where token_sealed is not null order by received_at desc, id desc limit 1"#
        )
        .fetch_optional(&self.pool)
        .await
        .during("look for a sealed token")?;
        Ok(row.map(|row| (RequestId(row.request_id), Sealed::from_bytes(row.token_sealed))))
    }

    /// The sealed token to commit with, and its preparation: one whose commit may still be on its
    /// way before the live one.
    ///
    /// Each token makes one replica at most. As long as a request uses one token after the other,
    /// each until Phala Cloud itself calls it dead, a commit that arrives late can do no harm.
    pub async fn sealed_token(
        &self,
        request: RequestId,
    ) -> Result<Option<(Uuid, Sealed)>, StoreError> {
        let mut connection = self.pool.acquire().await.during("connect")?;
        token_to_use(&mut connection, request).await
    }

    /// The tokens of a request that somebody outside has seen; `used` is the preparation of the one
    /// that is to be used.
    pub async fn commit_tokens(
        &self,
        request: RequestId,
        used: Option<Uuid>,
    ) -> Result<CommitTokens, StoreError> {
        let seen = sqlx::query!(
            r#"select p.issued_after, p.prepared_at, p.looks, p.id is distinct from $2 as "is_other!",
                coalesce(p.ended_as = 'refused', false) as "was_refused!",
                coalesce(p.ended_as = 'refused', false) and p.ended_at < p.expires_at and not exists (
                    select 1 from preparations newer where newer.source_cvm = p.source_cvm
                      and newer.prepared_at > p.prepared_at and newer.received_at < p.ended_at
                ) as "was_used!",
                least(p.ended_at, p.expires_at, (
                    select min(newer.received_at) from preparations newer
                    where newer.source_cvm = p.source_cvm and newer.prepared_at > p.prepared_at
                )) as "dead_since!"
               from preparations p where p.request_id = $1 and not p.is_ours"#,
            request.0,
            used
        )
        .fetch_all(&self.pool)
        .await
        .during("look at the commit tokens of a request")?;
        let ruled_out = sqlx::query_scalar!(
            r#"select unnest(asked_about) as "instance!" from commit_attempts
               where request_id = $1 and outcome = $2"#,
            request.0,
            NO_EFFECT,
        )
        .fetch_all(&self.pool)
        .await
        .during("look for what a person ruled out")?;
        let ruled_out = ruled_out.iter().map(|id| id.parse()).collect::<Result<_, _>>();
        let ruled_out =
            ruled_out.map_err(|_| inconsistent("commit_attempts", "asked_about", request.0))?;
        let others = seen.iter().filter(|token| token.is_other).map(|token| OtherToken {
            dead_since: token.dead_since,
            looks: token.looks.unsigned_abs(),
            was_refused: token.was_refused,
        });
        // Somebody has used what was refused and is dead by nothing that is known, whenever it is said to be
        // issued.
        let since = seen.iter().map(|token| {
            let issued_after = token.issued_after.filter(|_| !token.was_used);
            issued_after.unwrap_or_else(|| token.prepared_at - TOKEN_LIFETIME)
        });
        Ok(CommitTokens { since: since.min(), others: others.collect(), ruled_out })
    }

    /// Notes that what those tokens of a request made that people have seen was looked for in vain.
    pub async fn looked_for_earlier(&self, lease: &Lease, now: Time) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        hold_lease(&mut tx, lease, now).await?;
        sqlx::query!(
            "update preparations set looks = looks + 1 where request_id = $1 and not is_ours",
            lease.request.0
        )
        .execute(&mut *tx)
        .await
        .during("count looks for what an earlier token made")?;
        super::commit(tx).await
    }
}

pub(super) async fn token_to_use(
    connection: &mut PgConnection,
    request: RequestId,
) -> Result<Option<(Uuid, Sealed)>, StoreError> {
    let row = sqlx::query!(
        r#"select id, token_sealed as "token_sealed!" from preparations
           where request_id = $1 and token_sealed is not null
           order by ended_at is null, received_at, id limit 1"#,
        request.0
    )
    .fetch_optional(connection)
    .await
    .during("read the sealed token")?;
    Ok(row.map(|row| (row.id, Sealed::from_bytes(row.token_sealed))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_first_token_by_their_clock_is_not_of_it() {
        let since: Time = "2026-11-21T12:00:00Z".parse().unwrap();
        let [one, other]: [ReplicaId; 2] = ["one".parse().unwrap(), "other".parse().unwrap()];
        let tokens =
            CommitTokens { since: Some(since), others: vec![], ruled_out: vec![other.clone()] };
        let (hour, minute) = (TimeDelta::hours(1), TimeDelta::minutes(1));
        for (created_at, ahead, may) in [
            (Some(since + minute), Some(TimeDelta::zero()), true),
            (Some(since - minute), Some(TimeDelta::zero()), true),
            (Some(since - hour), Some(TimeDelta::zero()), false),
            (Some(since - hour), Some(-hour), true),
            (Some(since + minute), Some(hour), false),
            (Some(since - hour), None, true),
            (None, Some(TimeDelta::zero()), true),
        ] {
            let what = format!("{created_at:?}, {ahead:?}");
            assert_eq!(tokens.may_have_made(&one, created_at, ahead), may, "{what}");
            assert!(!tokens.may_have_made(&other, created_at, ahead), "ruled out: {what}");
        }
        let unseen = CommitTokens { since: None, ..tokens };
        assert!(!unseen.may_have_made(&one, Some(since + minute), None), "nobody has seen any");
    }

    #[test]
    fn what_a_dead_token_made_is_listed_after_a_while() {
        let since: Time = "2026-11-21T12:00:00Z".parse().unwrap();
        let (patience, pause) = (Duration::from_mins(1), Duration::from_secs(2));
        for (minutes, looks, may) in [
            (-1, 0, false),
            (0, 0, true),
            (15, 1, true),
            (15, 30, true),
            (15, 31, false),
            (17, 0, false),
        ] {
            let other = |looks, was_refused| OtherToken { dead_since: since, looks, was_refused };
            let others = vec![other(40, false), other(looks, false), other(0, true)];
            let tokens = CommitTokens { since: None, others, ruled_out: vec![] };
            let now = since + TimeDelta::minutes(minutes);
            let told = tokens.may_be_unlisted(patience, pause, now);
            assert_eq!(told, may, "{looks} looks after {minutes} minutes");
        }
    }
}
