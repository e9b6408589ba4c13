//! What a Safe's transaction would do, as the page of its request shows it.

use serde::Deserialize;

use super::{parts::When, refusal::PageProblem};
use crate::{
    chain::simulate::{Foreseen, Line, Tone},
    request::Request,
    store::proposals::Proposal,
    web::{
        WebState,
        simulations::{self, Lately, NoneNow, can_be_simulated},
    },
};

/// Whether the page was asked to simulate. It takes many reads, so opening a page does not.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wish {
    simulate: Option<String>,
}

/// What was found, or why nothing was; both absent when nobody has asked.
#[derive(Default)]
pub struct SimulationPart {
    pub found: Option<Found>,
    pub problem: Option<String>,
}

/// A simulation in lines.
pub struct Found {
    pub block: u64,
    pub at: When,
    pub lines: Vec<(&'static str, Line)>,
}

/// None for a request that has nothing to simulate.
pub async fn part(
    state: &WebState,
    request: &Request,
    proposal: Option<&Proposal>,
    wish: &Wish,
) -> Result<Option<SimulationPart>, PageProblem> {
    let Some(proposal) = proposal.filter(|it| can_be_simulated(request, it)) else {
        return Ok(None);
    };
    if wish.simulate.is_none() {
        let lately = simulations::lately(state, request, proposal);
        return Ok(Some(lately.map(|lately| SimulationPart::of(&lately)).unwrap_or_default()));
    }
    match simulations::simulate(state, request, proposal).await {
        Ok(lately) => Ok(Some(SimulationPart::of(&lately))),
        Err(NoneNow::Store(error)) => Err(error.into()),
        Err(busy) => {
            let problem = Some(busy.to_string());
            Ok(Some(SimulationPart { problem, ..SimulationPart::default() }))
        }
    }
}

impl SimulationPart {
    pub fn of(lately: &Lately) -> Self {
        match &*lately.foreseen {
            Foreseen::Simulated(simulation) => {
                let lines = lately.foreseen.lines("the API has them").into_iter();
                let lines = lines.map(|line| (class(line.tone), line)).collect();
                let (block, at) = (simulation.block.number, When(lately.at));
                Self { found: Some(Found { block, at, lines }), problem: None }
            }
            Foreseen::NotSimulated { problem } => {
                Self { found: None, problem: Some(problem.clone()) }
            }
        }
    }
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Bad => "urgent",
        Tone::Plain | Tone::Waiting => "plain",
    }
}
