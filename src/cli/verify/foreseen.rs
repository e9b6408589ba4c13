//! What a transaction would do, in a few lines: what is not expected comes first, and loud.

use super::seen::Foreseen;
use crate::{
    chain::simulate::{Answers, Outcome, Simulation},
    cli::page::{Cell, Page, Tone},
    owner::Account,
};

/// Most events and changes that are shown one by one.
const SHOWN_MAX: usize = 20;

pub fn with_foreseen(page: Page, foreseen: &Foreseen) -> Page {
    match foreseen {
        Foreseen::Simulated(simulation) => page
            .title(format!("If it is executed (simulated at block {})", simulation.block.number))
            .lines(lines(simulation)),
        Foreseen::NotSimulated { problem } => page
            .title("If it is executed")
            .line(Cell::toned(format!("?   not simulated: {problem}"), Tone::Waiting)),
    }
}

fn lines(simulation: &Simulation) -> Vec<Cell> {
    let mut lines = vec![outcome(simulation)];
    if simulation.outcome != Outcome::Reverts && !simulation.spends_nonce {
        let words = "!   THE NONCE IS NOT SPENT: the same signatures are good again";
        lines.push(Cell::toned(words, Tone::Bad));
    }
    let unexpected = simulation.events.iter().filter(|event| !event.expected);
    let name = |account: Account| {
        if account == simulation.safe {
            "the Safe".to_owned()
        } else if Some(account) == simulation.app {
            "the app".to_owned()
        } else {
            account.to_string()
        }
    };
    let mut things: Vec<(bool, String)> = unexpected
        .map(|event| (false, format!("{} tells: {}", name(event.by), event.words)))
        .collect();
    things.extend(
        simulation
            .changes
            .iter()
            .map(|change| (change.expected, format!("{}: {}", name(change.of), change.words))),
    );
    things.sort_by_key(|(expected, _)| *expected);
    let more = things.len().saturating_sub(SHOWN_MAX);
    let cell = |(expected, words): (bool, String)| {
        if expected {
            Cell::from(format!("+   {words}"))
        } else {
            Cell::toned(format!("!   {words}"), Tone::Bad)
        }
    };
    lines.extend(things.into_iter().take(SHOWN_MAX).map(cell));
    if more > 0 {
        lines.push(Cell::toned(format!("!   and {more} more: --json has them"), Tone::Bad));
    }
    lines.extend(simulation.extensions.iter().map(|words| format!("-   {words}").into()));
    if let (Some(before), Some(after)) = (&simulation.before, &simulation.after) {
        lines.push(format!("    the app before: {}", answers(before)).into());
        let tone = if after.may_boot == Some(true) { Tone::Good } else { Tone::Waiting };
        lines.push(Cell::toned(format!("    the app after:  {}", answers(after)), tone));
    }
    lines.push(format!("    assumed: {}", simulation.assumed.join("; ")).into());
    lines
}

fn outcome(simulation: &Simulation) -> Cell {
    let why = simulation.failure.as_deref().unwrap_or("no reason is given");
    match simulation.outcome {
        Outcome::Succeeds => {
            Cell::toned(format!("ok  it succeeds, with {} gas", simulation.gas_used), Tone::Good)
        }
        Outcome::SpendsNonce => {
            Cell::toned(format!("!   IT FAILS AND SPENDS THE NONCE: {why}"), Tone::Bad)
        }
        Outcome::Reverts => Cell::toned(format!("!   IT FAILS: {why}"), Tone::Bad),
    }
}

fn answers(answers: &Answers) -> String {
    let flag = |flag: Option<bool>| match flag {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    };
    let boot = match answers.may_boot {
        Some(true) => "the instance may boot".to_owned(),
        Some(false) => format!("the instance may not boot ({})", answers.reason),
        None => format!("whether the instance may boot does not read ({})", answers.reason),
    };
    format!(
        "compose hash {}, device {}, any device {}; {boot}",
        flag(answers.compose_hash_allowed),
        flag(answers.device_listed),
        flag(answers.any_device),
    )
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};

    use super::*;
    use crate::{
        chain::simulate::Change,
        cli::page::Look,
        request::{facts::BlockRef, ids::BlockHash},
    };

    fn simulation(changes: Vec<Change>) -> Simulation {
        let answers = |allowed: bool| Answers {
            compose_hash_allowed: Some(allowed),
            device_listed: None,
            any_device: Some(false),
            may_boot: Some(allowed),
            reason: if allowed { String::new() } else { "Device not allowed".into() },
        };
        Simulation {
            block: BlockRef { number: 12, hash: BlockHash(B256::ZERO) },
            safe: Account(Address::ZERO),
            app: None,
            outcome: Outcome::Succeeds,
            failure: None,
            gas_used: 99,
            spends_nonce: true,
            events: vec![],
            changes,
            extensions: vec![],
            before: Some(answers(false)),
            after: Some(answers(true)),
            assumed: vec!["enough owners sign".into()],
        }
    }

    fn change(words: &str, expected: bool) -> Change {
        let (place, before, after) = ("balance".into(), B256::ZERO, B256::ZERO);
        Change { of: Account(Address::ZERO), place, before, after, words: words.into(), expected }
    }

    fn shown(foreseen: &Foreseen) -> String {
        with_foreseen(Page::default(), foreseen).render(Look::of_pipe())
    }

    #[test]
    fn what_is_not_expected_comes_first_and_all_of_it_fits_a_screen() {
        let mut changes = vec![change("nonce 1 becomes 2", true)];
        changes.extend((0..100).map(|_| change("THE OWNERS", false)));
        let text = shown(&Foreseen::Simulated(Box::new(simulation(changes))));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() < 40, "{text}");
        assert!(lines[2].contains('!') && lines[2].contains("THE OWNERS"), "{text}");
        assert!(text.contains("and 81 more"), "{text}");
    }

    #[test]
    fn a_simulation_reads_as_a_few_lines() {
        let changes = vec![change("nonce 1 becomes 2", true)];
        let text = shown(&Foreseen::Simulated(Box::new(simulation(changes))));
        assert_eq!(
            text,
            "If it is executed (simulated at block 12)\n  \
               ok  it succeeds, with 99 gas\n  \
               +   the Safe: nonce 1 becomes 2\n      \
               the app before: compose hash no, device ?, any device no; \
               the instance may not boot (Device not allowed)\n      \
               the app after:  compose hash yes, device ?, any device no; \
               the instance may boot\n      \
               assumed: enough owners sign\n"
        );
        let mut failing = simulation(vec![]);
        failing.outcome = Outcome::SpendsNonce;
        failing.failure = Some("the app refuses".into());
        let text = shown(&Foreseen::Simulated(Box::new(failing)));
        assert!(text.contains("IT FAILS AND SPENDS THE NONCE: the app refuses"), "{text}");
        let mut again = simulation(vec![]);
        again.spends_nonce = false;
        let text = shown(&Foreseen::Simulated(Box::new(again)));
        assert!(text.contains("THE NONCE IS NOT SPENT"), "{text}");
        let text = shown(&Foreseen::NotSimulated { problem: "no answer".into() });
        assert!(text.contains("not simulated: no answer"), "{text}");
    }
}
