//! What a transaction would do, as `verify` prints it.

use crate::{
    chain::simulate::{self, Foreseen},
    cli::page::{Cell, Page, Tone},
};

pub fn with_foreseen(page: Page, foreseen: &Foreseen) -> Page {
    let title = match foreseen {
        Foreseen::Simulated(simulation) => {
            format!("If it is executed (simulated at block {})", simulation.block.number)
        }
        Foreseen::NotSimulated { .. } => "If it is executed".to_owned(),
    };
    let lines = foreseen.lines("--json has them").into_iter();
    let cell = |line: simulate::Line| {
        Cell::toned(format!("{:<4}{}", line.mark, line.words), tone(line.tone))
    };
    page.title(title).lines(lines.map(cell).collect())
}

fn tone(tone: simulate::Tone) -> Tone {
    match tone {
        simulate::Tone::Plain => Tone::Plain,
        simulate::Tone::Good => Tone::Good,
        simulate::Tone::Waiting => Tone::Waiting,
        simulate::Tone::Bad => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chain::simulate::samples::{change, simulation},
        cli::page::Look,
    };

    #[test]
    fn each_line_has_its_mark_in_front() {
        let simulation = simulation(vec![change("nonce 1 becomes 2", true)]);
        let foreseen = Foreseen::Simulated(Box::new(simulation));
        let text = with_foreseen(Page::default(), &foreseen).render(Look::of_pipe());
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
    }
}
