//! Which nonce a Safe's transaction gets. Pure.
//!
//! A Safe executes its transactions in the order of their nonces, and each nonce once. What waits
//! is known from two sides: our own open proposals, and what others put into Safe's mailbox. The
//! mailbox is believed as far as a nonce can go wrong: it moves ours forward, within
//! [`AHEAD_MAX`], and nothing else.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::request::ids::SafeTxHash;

/// How far beyond the nonce of the chain a foreign transaction is still respected: the farthest that
/// all that stands in a mailbox can move us. A Safe with more waiting than this is in trouble of its
/// own, and a mailbox that says so without it must not put us where nothing is ever executed.
pub const AHEAD_MAX: u64 = 32;

/// How a nonce was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NonceChoice {
    /// The first one that nothing known here has.
    NextFree,
    /// The same, moved by what waits in Safe's mailbox.
    AfterQueue,
    /// By a person.
    Pinned,
}

impl NonceChoice {
    pub fn name(self) -> &'static str {
        match self {
            Self::NextFree => "next_free",
            Self::AfterQueue => "after_queue",
            Self::Pinned => "pinned",
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
        [Self::NextFree, Self::AfterQueue, Self::Pinned]
            .into_iter()
            .find(|choice| choice.name() == name)
            .ok_or(UnknownChoice)
    }
}

/// A transaction that somebody else has waiting at the Safe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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

/// The nonce for a new proposal: the one that a person chose, as long as it is not used up, or else the
/// next free one.
pub fn choose(
    next: u64,
    pinned: Option<u64>,
    ours: &[u64],
    foreign: &[ForeignQueued],
) -> (u64, NonceChoice) {
    match pinned.filter(|pinned| *pinned >= next) {
        Some(pinned) => (pinned, NonceChoice::Pinned),
        None => next_free(next, ours, foreign),
    }
}

/// What is known to stand around the nonce of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Queue {
    pub nonce: u64,
    pub choice: NonceChoice,
    /// The Safe's next nonce.
    pub next: u64,
    /// What comes first, lowest nonce first. Of a long way the beginning.
    pub earlier: Vec<Earlier>,
    /// Others that have the same nonce.
    pub rivals: Vec<ForeignQueued>,
}

/// A nonce that comes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Earlier {
    pub nonce: u64,
    pub used_by: UsedBy,
}

/// What is known to use a nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsedBy {
    /// Another proposal here.
    Proposal,
    /// A transaction in Safe's mailbox that an owner signed.
    Mailbox(ForeignQueued),
    /// Nothing that is known.
    Nothing,
}

/// Something about a nonce that signers should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct NonceWarning {
    pub code: NonceWarningCode,
    pub text: String,
}

/// Stable names of what is warned of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NonceWarningCode {
    /// Known transactions come first.
    Queued,
    /// A nonce comes first that nothing known uses.
    Gap,
    /// Another transaction has the same nonce.
    Collision,
}

/// What stands around a nonce. `ours` are the nonces of what is open here.
pub fn look(
    next: u64,
    (nonce, choice): (u64, NonceChoice),
    ours: &[u64],
    foreign: &[ForeignQueued],
) -> Queue {
    let used_by = |nonce| {
        let theirs = || foreign.iter().find(|queued| queued.nonce == nonce);
        match (ours.contains(&nonce), theirs()) {
            (true, _) => UsedBy::Proposal,
            (false, Some(theirs)) => UsedBy::Mailbox(theirs.clone()),
            (false, None) => UsedBy::Nothing,
        }
    };
    // Beyond the bound nothing foreign is respected, and a list would not be read.
    let near = next..nonce.min(next.saturating_add(AHEAD_MAX + 1));
    let earlier = near.map(|nonce| Earlier { nonce, used_by: used_by(nonce) }).collect();
    let rivals = foreign.iter().filter(|queued| queued.nonce == nonce).cloned().collect();
    Queue { nonce, choice, next, earlier, rivals }
}

impl Queue {
    /// Whether the Safe takes it next.
    pub fn is_next(&self) -> bool {
        self.nonce <= self.next
    }

    /// What comes first, in words; none when it is the Safe's next.
    pub fn comes_first(&self) -> Option<String> {
        let last = self.nonce.checked_sub(1).filter(|last| *last >= self.next)?;
        let range = match self.next {
            next if next == last => format!("nonce {next} comes first"),
            next => format!("nonces {next} to {last} come first"),
        };
        let mut words = vec![format!("{range}, and nothing executes before that")];
        words.extend(self.known());
        words.extend(self.gap());
        Some(words.join("; "))
    }

    fn known(&self) -> Vec<String> {
        let known = self.earlier.iter().filter_map(|Earlier { nonce, used_by }| match used_by {
            UsedBy::Proposal => Some(format!("{nonce} is another proposal here")),
            UsedBy::Mailbox(theirs) => {
                Some(format!("{nonce} is {} in Safe's mailbox, {}", theirs.what, theirs.hash))
            }
            UsedBy::Nothing => None,
        });
        known.collect()
    }

    fn gap(&self) -> Option<String> {
        let unused = self.earlier.iter().filter(|one| one.used_by == UsedBy::Nothing);
        let unused: Vec<String> = unused.map(|one| one.nonce.to_string()).collect();
        (!unused.is_empty()).then(|| format!("nothing is known that uses {}", unused.join(", ")))
    }

    /// That another transaction has this nonce too, in words.
    pub fn rival(&self) -> Option<String> {
        let other = self.rivals.first()?;
        Some(format!(
            "{} in Safe's mailbox has nonce {} too, {}: only one of the two can be executed",
            other.what, self.nonce, other.hash
        ))
    }

    /// Everything about it that signers should know.
    pub fn warnings(&self) -> Vec<NonceWarning> {
        use NonceWarningCode::{Collision, Gap, Queued};
        let known = self.known();
        let queued = (!known.is_empty()).then(|| {
            let known = known.join("; ");
            format!("it can be executed once what comes first has been: {known}")
        });
        let gap = self.gap().map(|gap| {
            format!("{gap}: until something does, nothing from there on can be executed")
        });
        let told = [(Queued, queued), (Gap, gap), (Collision, self.rival())];
        told.into_iter()
            .filter_map(|(code, text)| Some(NonceWarning { code, text: text? }))
            .collect()
    }
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
            let at = (nonce, NonceChoice::NextFree);
            let said = look(next, at, &ours, &foreign(&theirs)).comes_first();
            assert_eq!(said.is_some(), words.is_some(), "{next} {nonce}: {said:?}");
            for part in words.unwrap_or_default().split('|') {
                assert!(said.as_deref().unwrap_or_default().contains(part), "{part}: {said:?}");
            }
            assert!(said.is_none_or(|said| said.len() < 1_000), "it stays readable");
        }
    }

    #[test]
    fn a_rival_at_the_same_nonce_is_told() {
        let rival = |theirs| look(5, (5, NonceChoice::NextFree), &[5], &foreign(theirs)).rival();
        let said = rival(&[4, 5]).unwrap();
        assert!(said.contains("nonce 5 too") && said.contains("only one of the two"), "{said}");
        assert_eq!(rival(&[4, 6]), None);
    }

    #[test]
    fn what_a_person_chose_is_taken_until_it_is_used_up() {
        for (next, pinned, chosen) in [
            (5, Some(5), (5, NonceChoice::Pinned)),
            // Also where something stands already, and behind a gap: that is what is chosen.
            (5, Some(6), (6, NonceChoice::Pinned)),
            (5, Some(900), (900, NonceChoice::Pinned)),
            (5, Some(4), (7, NonceChoice::AfterQueue)),
            (5, None, (7, NonceChoice::AfterQueue)),
        ] {
            assert_eq!(choose(next, pinned, &[5], &foreign(&[6])), chosen, "{pinned:?}");
        }
    }

    #[test]
    fn gaps_collisions_and_queues_are_warned_of_each_by_its_name() {
        use NonceWarningCode::{Collision, Gap, Queued};
        for (next, nonce, ours, theirs, codes) in [
            (5, 5, vec![5], vec![], vec![]),
            (5, 5, vec![5], vec![5], vec![Collision]),
            (5, 6, vec![5, 6], vec![], vec![Queued]),
            (5, 6, vec![6], vec![5], vec![Queued]),
            (5, 6, vec![6], vec![], vec![Gap]),
            (5, 8, vec![8], vec![6, 8], vec![Queued, Gap, Collision]),
            (0, u64::MAX, vec![], vec![], vec![Gap]),
            // Its nonce is past: nothing comes first.
            (9, 5, vec![5], vec![], vec![]),
        ] {
            let queue = look(next, (nonce, NonceChoice::Pinned), &ours, &foreign(&theirs));
            let told: Vec<_> = queue.warnings().iter().map(|warning| warning.code).collect();
            assert_eq!(told, codes, "{next} {nonce} {ours:?} {theirs:?}");
            assert_eq!(queue.is_next(), nonce <= next);
            let stored = serde_json::to_value(&queue).unwrap();
            assert_eq!(serde_json::from_value::<Queue>(stored).unwrap(), queue);
        }
    }

    #[test]
    fn a_choice_is_stored_by_name() {
        for choice in [NonceChoice::NextFree, NonceChoice::AfterQueue, NonceChoice::Pinned] {
            assert_eq!(choice.name().parse(), Ok(choice));
        }
        assert_eq!("guessed".parse::<NonceChoice>(), Err(UnknownChoice));
    }
}
