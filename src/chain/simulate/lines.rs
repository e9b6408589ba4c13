//! A simulation in a few lines, for whoever shows one: what is not expected comes first, and loud.

use super::{Answers, Foreseen, Outcome, Simulation};
use crate::owner::Account;

/// Most events and changes that are told one by one, and most guards and modules.
const SHOWN_MAX: usize = 20;
const EXTENSIONS_MAX: usize = 8;

/// How a line is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Waiting,
    Bad,
}

/// One thing that a simulation tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `ok`, `!` what speaks against it, `+` what is expected to change, `-` who had to do with it, `?`
    /// what is not known; or nothing.
    pub mark: &'static str,
    pub words: String,
    pub tone: Tone,
}

impl Line {
    fn new(mark: &'static str, words: impl Into<String>, tone: Tone) -> Self {
        Self { mark, words: words.into(), tone }
    }
}

impl Foreseen {
    /// All of it in some thirty lines at most. `rest` says where everything is, if it is more.
    #[must_use]
    pub fn lines(&self, rest: &str) -> Vec<Line> {
        match self {
            Self::Simulated(simulation) => simulation.lines(rest),
            Self::NotSimulated { problem } => {
                vec![Line::new("?", format!("not simulated: {problem}"), Tone::Waiting)]
            }
        }
    }
}

impl Simulation {
    fn lines(&self, rest: &str) -> Vec<Line> {
        let mut lines = vec![self.ending()];
        if self.outcome != Outcome::Reverts && !self.spends_nonce {
            let words = "THE NONCE IS NOT SPENT: the same signatures are good again";
            lines.push(Line::new("!", words, Tone::Bad));
        }
        let unexpected = self.events.iter().filter(|event| !event.expected);
        let mut things: Vec<(bool, String)> = unexpected
            .map(|event| (false, format!("{} tells: {}", self.name(event.by), event.words)))
            .collect();
        things.extend(self.changes.iter().map(|change| {
            (change.expected, format!("{}: {}", self.name(change.of), change.words))
        }));
        things.sort_by_key(|(expected, _)| *expected);
        let more = things.len().saturating_sub(SHOWN_MAX);
        lines.extend(things.into_iter().take(SHOWN_MAX).map(|(expected, words)| {
            if expected {
                Line::new("+", words, Tone::Plain)
            } else {
                Line::new("!", words, Tone::Bad)
            }
        }));
        if more > 0 {
            lines.push(Line::new("!", format!("and {more} more: {rest}"), Tone::Bad));
        }
        let extensions = self.extensions.iter().take(EXTENSIONS_MAX);
        lines.extend(extensions.map(|words| Line::new("-", words, Tone::Plain)));
        let more = self.extensions.len().saturating_sub(EXTENSIONS_MAX);
        if more > 0 {
            lines.push(Line::new("-", format!("and {more} more: {rest}"), Tone::Plain));
        }
        if let (Some(before), Some(after)) = (&self.before, &self.after) {
            lines.push(Line::new("", format!("the app before: {}", before.words()), Tone::Plain));
            let tone = if after.may_boot == Some(true) { Tone::Good } else { Tone::Waiting };
            lines.push(Line::new("", format!("the app after:  {}", after.words()), tone));
        }
        lines.push(Line::new("", format!("assumed: {}", self.assumed.join("; ")), Tone::Plain));
        lines
    }

    fn name(&self, account: Account) -> String {
        if account == self.safe {
            "the Safe".to_owned()
        } else if Some(account) == self.app {
            "the app".to_owned()
        } else {
            account.to_string()
        }
    }

    fn ending(&self) -> Line {
        let why = self.failure.as_deref().unwrap_or("no reason is given");
        match self.outcome {
            Outcome::Succeeds => {
                Line::new("ok", format!("it succeeds, with {} gas", self.gas_used), Tone::Good)
            }
            Outcome::SpendsNonce => {
                Line::new("!", format!("IT FAILS AND SPENDS THE NONCE: {why}"), Tone::Bad)
            }
            Outcome::Reverts => Line::new("!", format!("IT FAILS: {why}"), Tone::Bad),
        }
    }
}

impl Answers {
    fn words(&self) -> String {
        let flag = |flag: Option<bool>| match flag {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        };
        let boot = match self.may_boot {
            Some(true) => "the instance may boot".to_owned(),
            Some(false) => format!("the instance may not boot ({})", self.reason),
            None => format!("whether the instance may boot does not read ({})", self.reason),
        };
        format!(
            "compose hash {}, device {}, any device {}; {boot}",
            flag(self.compose_hash_allowed),
            flag(self.device_listed),
            flag(self.any_device),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::simulate::samples::{change, simulation};

    fn shown(foreseen: &Foreseen) -> Vec<String> {
        let lines = foreseen.lines("elsewhere");
        lines.iter().map(|line| format!("{} {}", line.mark, line.words)).collect()
    }

    #[test]
    fn what_is_not_expected_comes_first_and_all_of_it_fits_a_screen() {
        let mut changes = vec![change("nonce 1 becomes 2", true)];
        changes.extend((0..100).map(|_| change("THE OWNERS", false)));
        let mut many = simulation(changes);
        many.extensions = vec!["the module 0x runs in it".into(); 50];
        let lines = shown(&Foreseen::Simulated(Box::new(many)));
        assert!(lines.len() < 40, "{lines:#?}");
        assert!(lines[1].starts_with("! ") && lines[1].contains("THE OWNERS"), "{lines:#?}");
        assert!(lines.contains(&"! and 81 more: elsewhere".to_owned()), "{lines:#?}");
        assert!(lines.contains(&"- and 42 more: elsewhere".to_owned()), "{lines:#?}");
    }

    #[test]
    fn a_simulation_reads_as_a_few_lines() {
        let changes = vec![change("nonce 1 becomes 2", true)];
        assert_eq!(
            shown(&Foreseen::Simulated(Box::new(simulation(changes)))),
            [
                "ok it succeeds, with 99 gas",
                "+ the Safe: nonce 1 becomes 2",
                " the app before: compose hash no, device ?, any device no; the instance may not boot \
                 (Device not allowed)",
                " the app after:  compose hash yes, device ?, any device no; the instance may boot",
                " assumed: enough owners sign",
            ]
        );
        let mut failing = simulation(vec![]);
        failing.outcome = Outcome::SpendsNonce;
        failing.failure = Some("the app refuses".into());
        let lines = shown(&Foreseen::Simulated(Box::new(failing)));
        assert_eq!(lines[0], "! IT FAILS AND SPENDS THE NONCE: the app refuses");
        let mut again = simulation(vec![]);
        again.spends_nonce = false;
        let lines = shown(&Foreseen::Simulated(Box::new(again)));
        assert!(lines[1].contains("THE NONCE IS NOT SPENT"), "{lines:#?}");
        let lines = shown(&Foreseen::NotSimulated { problem: "no answer".into() });
        assert_eq!(lines, ["? not simulated: no answer"]);
    }
}
