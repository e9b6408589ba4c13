//! Which commit token of a request is to be used.

use chrono::TimeDelta;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{During, Store, StoreError, dependents::NO_EFFECT, inconsistent};
use crate::{
    clock::Time,
    request::ids::{ReplicaId, RequestId},
    vault::Sealed,
};

/// When a token was issued is told by one clock, and when an instance was made by another.
const CLOCKS: TimeDelta = TimeDelta::minutes(15);

/// The commit tokens that a request has or had. Whoever holds one can commit with it, so each may have
/// made a replica that nobody here was told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitTokens {
    /// When the first one was prepared.
    pub since: Time,
    /// There is more than one. Of a single one Phala Cloud itself tells whether it was used.
    pub are_several: bool,
    /// Instances of which a person has said that they are not this request's.
    pub ruled_out: Vec<ReplicaId>,
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
        let is_older = created_at
            .zip(ahead)
            .is_some_and(|(created_at, ahead)| created_at - ahead + CLOCKS < self.since);
        !is_older && !self.ruled_out.contains(instance)
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

    /// The tokens that a request has or had.
    pub async fn commit_tokens(&self, request: RequestId) -> Result<CommitTokens, StoreError> {
        let prepared = sqlx::query!(
            r#"select min(prepared_at) as "since!", count(*) > 1 as "are_several!"
               from preparations where request_id = $1"#,
            request.0
        )
        .fetch_one(&self.pool)
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
        Ok(CommitTokens { since: prepared.since, are_several: prepared.are_several, ruled_out })
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
        let tokens = CommitTokens { since, are_several: true, ruled_out: vec![other.clone()] };
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
    }
}
