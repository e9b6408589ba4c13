//! How long a commit token lives, and what that leaves for the approval.

use chrono::TimeDelta;

use crate::clock::Time;

/// Phala Cloud's documented lifetime of a commit token, counted from its preparation.
pub const TOKEN_LIFETIME: TimeDelta = TimeDelta::days(14);

/// A token with less than this left is not started with: a commit must not die half way.
pub const COMMIT_MARGIN: TimeDelta = TimeDelta::minutes(10);

/// A preparation may be dated a little ahead of our clock, not more.
pub const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// No token that is told to live longer than this is believed.
pub const LIFETIME_MAX: TimeDelta = TimeDelta::days(90);

/// Why a preparation's dates are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatesError {
    #[error("lies in the future")]
    Future,
    #[error("has passed: the commit token is dead, prepare the replica again")]
    Expired,
    #[error("is not between the preparation and 90 days after it")]
    Unlikely,
}

/// When a token prepared at `prepared_at` stops working: when the server said so, else 14 days
/// after its preparation. Or why it is not worth keeping.
pub fn expiry(prepared_at: Time, said: Option<Time>, now: Time) -> Result<Time, DatesError> {
    if prepared_at > now + CLOCK_TOLERANCE {
        return Err(DatesError::Future);
    }
    let expires_at = said.unwrap_or(prepared_at + TOKEN_LIFETIME);
    if expires_at <= prepared_at || expires_at > prepared_at + LIFETIME_MAX {
        return Err(DatesError::Unlikely);
    }
    if expires_at <= now { Err(DatesError::Expired) } else { Ok(expires_at) }
}

/// Whether a commit may still be started with a token that expires at `expires_at`.
pub fn commit_fits(expires_at: Time, now: Time) -> bool {
    now + COMMIT_MARGIN < expires_at
}

/// A span in words people read at a glance: `13 d 4 h`, `2 h 5 min`, `40 s`, `expired`.
pub fn time_left(expires_at: Time, now: Time) -> String {
    let left = expires_at - now;
    match (left.num_days(), left.num_hours(), left.num_minutes(), left.num_seconds()) {
        (_, _, _, seconds) if seconds <= 0 => "expired".into(),
        (days, hours, ..) if days > 0 => format!("{days} d {} h", hours % 24),
        (_, hours, minutes, _) if hours > 0 => format!("{hours} h {} min", minutes % 60),
        (_, _, minutes, _) if minutes > 0 => format!("{minutes} min"),
        (.., seconds) => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_lives_fourteen_days_from_its_preparation() {
        let prepared = at("2026-11-01T12:00:00Z");
        assert_eq!(expiry(prepared, None, prepared), Ok(at("2026-11-15T12:00:00Z")));
        assert_eq!(
            expiry(prepared, None, at("2026-11-15T12:00:00Z")),
            Err(DatesError::Expired),
            "the last moment is already too late"
        );
        assert_eq!(
            expiry(at("2026-11-01T12:06:00Z"), None, prepared),
            Err(DatesError::Future),
            "six minutes ahead is no clock skew"
        );
    }

    #[test]
    fn what_the_server_says_about_its_token_counts() {
        let prepared = at("2026-11-01T12:00:00Z");
        for (said, expected) in [
            ("2026-11-08T12:00:00Z", Ok(at("2026-11-08T12:00:00Z"))),
            ("2026-11-21T12:00:00Z", Ok(at("2026-11-21T12:00:00Z"))),
            ("2026-11-01T12:00:00Z", Err(DatesError::Unlikely)),
            ("2027-11-01T12:00:00Z", Err(DatesError::Unlikely)),
        ] {
            assert_eq!(expiry(prepared, Some(at(said)), prepared), expected, "{said}");
        }
        let late = at("2026-11-08T12:00:01Z");
        let said = Some(at("2026-11-08T12:00:00Z"));
        assert_eq!(expiry(prepared, said, late), Err(DatesError::Expired));
    }

    #[test]
    fn no_commit_starts_in_the_last_ten_minutes() {
        let expires = at("2026-11-15T12:00:00Z");
        assert!(commit_fits(expires, at("2026-11-15T11:49:59Z")));
        assert!(!commit_fits(expires, at("2026-11-15T11:50:00Z")));
    }

    #[test]
    fn time_left_is_short() {
        let now = at("2026-11-01T00:00:00Z");
        for (expires, words) in [
            ("2026-11-14T04:30:00Z", "13 d 4 h"),
            ("2026-11-01T02:05:09Z", "2 h 5 min"),
            ("2026-11-01T00:01:59Z", "1 min"),
            ("2026-11-01T00:00:40Z", "40 s"),
            ("2026-11-01T00:00:00Z", "expired"),
            ("2026-10-31T00:00:00Z", "expired"),
        ] {
            assert_eq!(time_left(at(expires), now), words);
        }
    }
}
