//! Which nonce a Safe's transaction gets. Pure.
//!
//! A Safe executes its transactions in the order of their nonces, and each nonce once. What waits
//! is known from two sides: our own open proposals, and what others put into Safe's mailbox. The
//! mailbox is believed as far as a nonce can go wrong: it moves ours forward, within
//! [`AHEAD_MAX`], and nothing else.

use std::{fmt, str::FromStr};

use crate::request::ids::SafeTxHash;

/// How far beyond the nonce of the chain a foreign transaction is still respected: the farthest that
/// all that stands in a mailbox can move us. A Safe with more waiting than this is in trouble of its
/// own, and a mailbox that says so without it must not put us where nothing is ever executed.
pub const AHEAD_MAX: u64 = 32;

/// How a nonce was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceChoice {
    /// The first one that nothing known here has.
    NextFree,
    /// The same, moved by what waits in Safe's mailbox.
    AfterQueue,
}

impl NonceChoice {
    pub fn name(self) -> &'static str {
        match self {
            Self::NextFree => "next_free",
            Self::AfterQueue => "after_queue",
        }
    }
}

impl fmt::Display for NonceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no way of choosing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no way to choose a nonce")]
pub struct UnknownChoice;

impl FromStr for NonceChoice {
    type Err = UnknownChoice;

    fn from_str(name: &str) -> Result<Self, UnknownChoice> {
        [Self::NextFree, Self::AfterQueue]
            .into_iter()
            .find(|choice| choice.name() == name)
            .ok_or(UnknownChoice)
    }
}

/// A transaction that somebody else has waiting at the Safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignQueued {
    pub nonce: u64,
    pub hash: SafeTxHash,
    /// What it does, in a few words of ours.
    pub what: String,
}

/// Whether a foreign transaction is near enough to be respected. `next` is the nonce of the chain.
pub fn is_respected(next: u64, foreign: u64) -> bool {
    (next..next.saturating_add(AHEAD_MAX)).contains(&foreign)
}

/// The first nonce from `next` on that neither ours nor a respected foreign one has. A gap between
/// others is used: whatever comes first can be executed first.
pub fn next_free(next: u64, ours: &[u64], foreign: &[ForeignQueued]) -> (u64, NonceChoice) {
    let foreign =
        foreign.iter().map(|queued| queued.nonce).filter(|nonce| is_respected(next, *nonce));
    let all: Vec<u64> = ours.iter().copied().chain(foreign).collect();
    let (without, with) = (first_free(next, ours), first_free(next, &all));
    let choice = if with == without { NonceChoice::NextFree } else { NonceChoice::AfterQueue };
    (with, choice)
}

fn first_free(next: u64, taken: &[u64]) -> u64 {
    (next..u64::MAX).find(|nonce| !taken.contains(nonce)).unwrap_or(u64::MAX)
}

/// What stands before a nonce, in words; none when it is the Safe's next. `ours` are the nonces of
/// what is open here.
pub fn comes_first(
    next: u64,
    nonce: u64,
    ours: &[u64],
    foreign: &[ForeignQueued],
) -> Option<String> {
    let last = nonce.checked_sub(1).filter(|last| *last >= next)?;
    let mut known = vec![];
    let mut missing = vec![];
    // Beyond the bound nothing foreign is respected, and a list would not be read.
    for before in next..=last.min(next.saturating_add(AHEAD_MAX)) {
        let theirs = foreign.iter().find(|queued| queued.nonce == before);
        if ours.contains(&before) {
            known.push(format!("{before} is another proposal here"));
        } else if let Some(theirs) = theirs {
            known.push(format!("{before} is {} in Safe's mailbox, {}", theirs.what, theirs.hash));
        } else {
            missing.push(before.to_string());
        }
    }
    let range = if last == next {
        format!("nonce {next} comes first")
    } else {
        format!("nonces {next} to {last} come first")
    };
    let mut words = vec![format!("{range}, and nothing executes before that")];
    words.extend(known);
    if !missing.is_empty() {
        words.push(format!("nothing is known that uses {}", missing.join(", ")));
    }
    Some(words.join("; "))
}

/// That another transaction has this nonce too, in words.
pub fn collides(nonce: u64, foreign: &[ForeignQueued]) -> Option<String> {
    let other = foreign.iter().find(|queued| queued.nonce == nonce)?;
    Some(format!(
        "{} in Safe's mailbox has nonce {nonce} too, {}: only one of the two can be executed",
        other.what, other.hash
    ))
}

#[cfg(test)]
pub(crate) fn foreign(nonces: &[u64]) -> Vec<ForeignQueued> {
    let queued = |nonce: &u64| ForeignQueued {
        nonce: *nonce,
        hash: SafeTxHash(alloy::primitives::B256::left_padding_from(&nonce.to_be_bytes())),
        what: "a call of 0x0000000000000000000000000000000000000001".into(),
    };
    nonces.iter().map(queued).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_free_nonce_respects_what_others_have_waiting() {
        use NonceChoice::{AfterQueue, NextFree};
        for (next, ours, theirs, chosen) in [
            (5, vec![], vec![], (5, NextFree)),
            (5, vec![5, 6], vec![], (7, NextFree)),
            (5, vec![], vec![5], (6, AfterQueue)),
            (5, vec![6], vec![5], (7, AfterQueue)),
            (5, vec![5], vec![6, 8], (7, AfterQueue)),
            // A gap that others left is the place that comes first.
            (5, vec![], vec![6, 7], (5, NextFree)),
            // Two rivals at one nonce take one nonce; what is past takes none.
            (5, vec![], vec![5, 5, 4], (6, AfterQueue)),
            (5, vec![5], vec![5], (6, NextFree)),
            (5, vec![], vec![u64::MAX], (5, NextFree)),
        ] {
            assert_eq!(next_free(next, &ours, &foreign(&theirs)), chosen, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn a_mailbox_moves_a_nonce_within_a_bound_whatever_it_says() {
        let endless: Vec<u64> = (5..500).collect();
        assert_eq!(next_free(5, &[], &foreign(&endless)).0, 5 + AHEAD_MAX);
        assert_eq!(next_free(5, &[5 + AHEAD_MAX], &foreign(&endless)).0, 6 + AHEAD_MAX);
        assert_eq!(next_free(u64::MAX, &[], &foreign(&[u64::MAX])).0, u64::MAX);
    }

    #[test]
    fn what_comes_first_is_said_and_what_is_missing() {
        for (next, nonce, ours, theirs, words) in [
            (5, 5, vec![5], vec![5], None),
            (6, 5, vec![], vec![], None),
            (5, 6, vec![5], vec![], Some("nonce 5 comes first|5 is another proposal here")),
            (5, 6, vec![6], vec![5], Some("nonce 5 comes first|5 is a call of 0x00")),
            (5, 6, vec![6], vec![], Some("nonce 5 comes first|nothing is known that uses 5")),
            (5, 9, vec![5, 9], vec![7], Some("nonces 5 to 8 come first|7 is a call|uses 6, 8")),
            (0, u64::MAX, vec![], vec![], Some("nonces 0 to 18446744073709551614 come first")),
        ] {
            let said = comes_first(next, nonce, &ours, &foreign(&theirs));
            assert_eq!(said.is_some(), words.is_some(), "{next} {nonce}: {said:?}");
            for part in words.unwrap_or_default().split('|') {
                assert!(said.as_deref().unwrap_or_default().contains(part), "{part}: {said:?}");
            }
            assert!(said.is_none_or(|said| said.len() < 1_000), "it stays readable");
        }
    }

    #[test]
    fn a_rival_at_the_same_nonce_is_told() {
        let said = collides(5, &foreign(&[4, 5])).unwrap();
        assert!(said.contains("nonce 5 too") && said.contains("only one of the two"), "{said}");
        assert_eq!(collides(5, &foreign(&[4, 6])), None);
    }

    #[test]
    fn a_choice_is_stored_by_name() {
        for choice in [NonceChoice::NextFree, NonceChoice::AfterQueue] {
            assert_eq!(choice.name().parse(), Ok(choice));
        }
        assert_eq!("guessed".parse::<NonceChoice>(), Err(UnknownChoice));
    }
}
