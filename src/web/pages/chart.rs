//! The lanes of an app as a drawing: made here, so that it needs no script, and placed by shares of the
//! width, so that its texts keep their size on every screen. The table below it says the same.

use askama::{Template, filters::HtmlSafe};
use url::Url;

use super::parts::{Transaction, When, short};
use crate::{
    audit::{Bar, Edge, Lane, Lanes, Subject},
    clock::Time,
};

/// What each lane takes: a line of text, and the bars below it.
const LANE: usize = 44;
const AXIS: usize = 26;
/// The least share of the width, in thousandths, that a bar has, so that none is invisible.
const LEAST: i64 = 15;

/// A drawing and its table.
#[derive(Template)]
#[template(path = "chart.html")]
pub struct Chart {
    lanes: Vec<Drawn>,
    left_out: usize,
    bars_left_out: usize,
    begin: String,
    end: String,
    height: usize,
}

impl HtmlSafe for Chart {}

/// A lane in its place.
struct Drawn {
    /// What it is about, in short.
    label: String,
    text_y: usize,
    bar_y: usize,
    line_y: usize,
    bars: Vec<DrawnBar>,
}

struct DrawnBar {
    /// Shares of the width, in percent.
    x: String,
    width: String,
    is_over: bool,
    /// What it is about, in full.
    what: String,
    /// All of it in a sentence.
    title: String,
    from: Option<DrawnEdge>,
    to: Option<DrawnEdge>,
}

/// An end of a bar, for the table.
struct DrawnEdge {
    block: u64,
    time: When,
    tx: Transaction,
    by: String,
}

impl Chart {
    /// Draws lanes up to a moment.
    pub fn new(lanes: &Lanes, until: Option<Time>, explorer: Option<&Url>) -> Self {
        let edges = lanes.lanes.iter().flat_map(|lane| &lane.bars);
        let edges = edges.flat_map(|bar| [&bar.from, &bar.to]).flatten().map(|edge| edge.time);
        let begin = edges.clone().min().or(until).unwrap_or_default();
        let end = edges.max().into_iter().chain(until).max().unwrap_or_default();
        let axis = Axis { begin, end };
        let count = lanes.lanes.len();
        let drawn =
            (0..).zip(&lanes.lanes).map(|(row, lane)| Drawn::new(row, lane, &axis, explorer));
        Self {
            lanes: drawn.collect(),
            left_out: lanes.left_out,
            bars_left_out: lanes.bars_left_out,
            begin: minute(begin),
            end: minute(end),
            height: AXIS + count * LANE,
        }
    }

    fn bars(&self) -> impl Iterator<Item = &DrawnBar> {
        self.lanes.iter().flat_map(|lane| &lane.bars)
    }
}

struct Axis {
    begin: Time,
    end: Time,
}

impl Axis {
    /// Where a moment is, in thousandths of the width.
    fn place(&self, time: Time) -> i64 {
        let all = (self.end - self.begin).num_seconds().max(1);
        ((time - self.begin).num_seconds() * 1_000 / all).clamp(0, 1_000)
    }

    fn span(&self, bar: &Bar) -> (i64, i64) {
        let from = bar.from.as_ref().map_or(0, |edge| self.place(edge.time)).min(1_000 - LEAST);
        let to = bar.to.as_ref().map_or(1_000, |edge| self.place(edge.time));
        (from, (to - from).max(LEAST))
    }
}

impl Drawn {
    fn new(row: usize, lane: &Lane, axis: &Axis, explorer: Option<&Url>) -> Self {
        let top = AXIS + row * LANE;
        let bars = lane.bars.iter().map(|bar| DrawnBar::new(lane.subject, bar, axis, explorer));
        Self {
            label: label(lane),
            text_y: top + 14,
            bar_y: top + 20,
            line_y: top + 27,
            bars: bars.collect(),
        }
    }
}

impl DrawnBar {
    fn new(subject: Subject, bar: &Bar, axis: &Axis, explorer: Option<&Url>) -> Self {
        let (x, width) = axis.span(bar);
        let what = match (subject, bar.owner) {
            (Subject::Owner, Some(owner)) => format!("Owner {owner}"),
            (Subject::Owner, None) => "Owner".into(),
            (Subject::AnyDevice, _) => "Any device".into(),
            (Subject::ComposeHash(hash), _) => format!("Compose hash {hash}"),
            (Subject::Device(device), _) => format!("Device {device}"),
        };
        let from = bar.from.as_ref().map_or("since before the history begins".into(), |edge| {
            format!("from {}", words(edge))
        });
        let to = bar.to.as_ref().map_or("still so".into(), |edge| format!("until {}", words(edge)));
        let drawn = |edge: &Edge| DrawnEdge {
            block: edge.block,
            time: When(edge.time),
            tx: Transaction::new(edge.tx, explorer),
            by: by(edge),
        };
        Self {
            x: percent(x),
            width: percent(width),
            is_over: bar.to.is_some(),
            title: format!("{what}\n{from}\n{to}"),
            what,
            from: bar.from.as_ref().map(drawn),
            to: bar.to.as_ref().map(drawn),
        }
    }
}

fn by(edge: &Edge) -> String {
    edge.by.as_ref().map_or_else(|| "not known yet".into(), ToString::to_string)
}

/// When, where and by whom.
fn words(edge: &Edge) -> String {
    let time = edge.time.format("%Y-%m-%d %H:%M:%S");
    format!(
        "block {}, {time} UTC, by transaction {}, approved by: {}",
        edge.block,
        edge.tx,
        by(edge)
    )
}

/// A lane in a few words, which fit a telephone, with how it stands at the end.
fn label(lane: &Lane) -> String {
    let last = lane.bars.last();
    let is_so = last.is_some_and(|bar| bar.to.is_none());
    match lane.subject {
        Subject::Owner => match last.and_then(|bar| bar.owner).filter(|_| is_so) {
            Some(owner) => format!("owner {}", short(&owner)),
            None => "owner: given up".into(),
        },
        Subject::AnyDevice if is_so => "any device: allowed".into(),
        Subject::AnyDevice => "any device: no longer".into(),
        Subject::ComposeHash(hash) => format!("compose hash {}{}", short(&hash), state(is_so)),
        Subject::Device(device) => format!("device {}{}", short(&device), state(is_so)),
    }
}

fn state(is_so: bool) -> &'static str {
    if is_so { ": allowed" } else { ": removed" }
}

fn percent(thousandths: i64) -> String {
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

fn minute(time: Time) -> String {
    time.format("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};

    use super::*;
    use crate::{owner::ActedBy, request::ids::TxHash};

    fn time(seconds: i64) -> Time {
        Time::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn edge(second: i64) -> Edge {
        Edge {
            block: second.unsigned_abs(),
            time: time(second),
            tx: TxHash(B256::repeat_byte(0x77)),
            by: Some(ActedBy::Deployment),
        }
    }

    fn lane(subject: Subject, bars: Vec<(Option<i64>, Option<i64>)>) -> Lane {
        let bar = |(from, to): (Option<i64>, Option<i64>)| Bar {
            owner: (subject == Subject::Owner)
                .then_some(crate::owner::Account(Address::repeat_byte(1))),
            from: from.map(edge),
            to: to.map(edge),
        };
        Lane { subject, bars: bars.into_iter().map(bar).collect() }
    }

    fn chart(lanes: Vec<Lane>, until: Option<i64>) -> Chart {
        Chart::new(&Lanes { lanes, left_out: 3, bars_left_out: 2 }, until.map(time), None)
    }

    #[test]
    fn bars_lie_where_their_times_are() {
        let device = Subject::Device(B256::repeat_byte(0xd1));
        for (bars, until, expected) in [
            (vec![(Some(0), Some(50))], Some(100), vec![("0.0%", "50.0%")]),
            (vec![(Some(0), None)], Some(100), vec![("0.0%", "100.0%")]),
            (
                vec![(None, Some(25)), (Some(50), None)],
                Some(125),
                vec![("0.0%", "1.5%"), ("25.0%", "75.0%")],
            ),
            // All at once, and nothing after it.
            (vec![(Some(0), Some(0))], Some(0), vec![("0.0%", "1.5%")]),
            (
                vec![(Some(0), Some(90)), (Some(100), None)],
                None,
                vec![("0.0%", "90.0%"), ("98.5%", "1.5%")],
            ),
        ] {
            let chart = chart(vec![lane(device, bars.clone())], until);
            let found: Vec<_> =
                chart.bars().map(|bar| (bar.x.as_str(), bar.width.as_str())).collect();
            assert_eq!(found, expected, "{bars:?}");
        }
    }

    #[test]
    fn a_bar_tells_who_began_and_ended_it_and_where() {
        let lanes = vec![
            lane(Subject::Owner, vec![(Some(0), None)]),
            lane(Subject::AnyDevice, vec![(Some(5), Some(7))]),
            lane(Subject::ComposeHash(B256::repeat_byte(0xc1)), vec![(None, Some(9))]),
        ];
        let page = chart(lanes, Some(10)).to_string();
        let tx = TxHash(B256::repeat_byte(0x77));
        for part in [
            "<title>Compose hash 0xc1c1",
            "since before the history begins",
            &format!(
                "until block 7, 2027-01-15 08:00:07 UTC, by transaction {tx}, approved by: deployment"
            ),
            "still so",
            "any device: no longer",
            "compose hash 0xc1c1…c1c1: removed",
            "3 more are in",
            "2 older bars",
            "role=\"img\"",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("style="), "{page}");
        assert_eq!(chart(vec![], None).lanes.len(), 0);
    }
}
