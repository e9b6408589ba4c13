//! As of when a question is asked: now, a block, or a moment of the calendar. Pure.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use super::AuditError;
use crate::{
    clock::Time,
    store::{chain::Head, paths::Recorded},
};

/// As of when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AsOf {
    #[default]
    Now,
    Block(u64),
    Moment(Time),
}

impl AsOf {
    /// The block that answers; none is now. A moment is answered by the last block up to it that
    /// changed something, since nothing did between the two; before all of them, by the block before
    /// `from`, with which the ledger begins.
    pub fn block(
        self,
        ledger: &[Recorded],
        from: Option<u64>,
        head: Option<&Head>,
    ) -> Result<Option<u64>, AuditError> {
        match self {
            Self::Now => Ok(None),
            Self::Block(at) => {
                let known = head.map(|head| head.block.number);
                if known.is_none_or(|head| at > head) {
                    return Err(AuditError::BeyondHead { at, head: known });
                }
                Ok(Some(at))
            }
            Self::Moment(time) => {
                let known = head.map(|head| head.block_time);
                if known.is_none_or(|head| time > head) {
                    return Err(AuditError::AfterHead { time, head: known });
                }
                let before = ledger.iter().rfind(|one| one.entry.block_time <= time);
                let nothing_yet = || from.unwrap_or_default().saturating_sub(1);
                Ok(Some(before.map_or_else(nothing_yet, |one| one.entry.block.number)))
            }
        }
    }
}

/// A moment as people write it, in UTC: RFC 3339, a day and a time of day, or a day alone, which means
/// its end.
pub fn moment(text: &str) -> Option<Time> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Time>() {
        return Some(time);
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        let end = day.and_time(NaiveTime::MIN).checked_add_signed(TimeDelta::days(1))?;
        return Some(end.and_utc() - TimeDelta::microseconds(1));
    }
    let forms = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"];
    let mut read = forms.iter().filter_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    read.next().map(|time| time.and_utc())
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;
    use crate::{
        audit::samples,
        dstack::PolicyEvent,
        request::{facts::BlockRef, ids::BlockHash},
    };

    fn head() -> Head {
        let block = BlockRef { number: 30, hash: BlockHash(B256::ZERO) };
        let at = samples::time(300);
        Head { block, block_time: at, seen_at: at, deep: None, finalized: None, block_millis: None }
    }

    #[test]
    fn a_moment_is_answered_by_the_last_change_before_it() {
        // A block every ten seconds, from block 1 at second 10 on.
        let events = [1, 2, 3].map(|_| PolicyEvent::UpgradesDisabled);
        let ledger = samples::ledger(&events);
        let asked = |second| {
            let as_of = AsOf::Moment(samples::time(second));
            as_of.block(&ledger, Some(1), Some(&head())).ok().flatten()
        };
        for (second, block) in
            [(0, Some(0)), (9, Some(0)), (10, Some(1)), (29, Some(2)), (300, Some(3)), (301, None)]
        {
            assert_eq!(asked(second), block, "second {second}");
        }
        let as_of = |as_of: AsOf| as_of.block(&ledger, Some(1), Some(&head())).ok();
        assert_eq!(as_of(AsOf::Now), Some(None));
        assert_eq!(as_of(AsOf::Block(30)), Some(Some(30)));
        assert_eq!(as_of(AsOf::Block(31)), None);
        assert!(AsOf::Moment(samples::time(0)).block(&ledger, None, None).is_err());
    }

    #[test]
    fn people_write_moments_in_several_ways() {
        for (text, expected) in [
            ("2026-11-03", Some("2026-11-03T23:59:59.999999Z")),
            (" 2026-11-03 14:05 ", Some("2026-11-03T14:05:00Z")),
            ("2026-11-03 14:05:09", Some("2026-11-03T14:05:09Z")),
            ("2026-11-03T14:05", Some("2026-11-03T14:05:00Z")),
            ("2026-11-03T15:05:09+01:00", Some("2026-11-03T14:05:09Z")),
            ("2026-13-03", None),
            ("262142-12-31", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(moment(text), expected.map(|time| time.parse().unwrap()), "{text:?}");
        }
    }
}
