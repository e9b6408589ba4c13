//! What was measured, as a table and as JSON.

use std::fs;

use comfy_table::{Table, presets};
use countersign::clock::Time;
use serde::Serialize;

/// One line of the table. It holds when the ratio keeps its limit.
#[derive(Debug, Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub value: f64,
    pub unit: &'static str,
    pub floor: f64,
    /// Value by floor.
    pub ratio: f64,
    pub limit: f64,
    pub holds: bool,
}

impl Figure {
    /// A time or a cost: at most so many times the floor.
    pub fn at_most(
        name: &'static str,
        unit: &'static str,
        value: f64,
        floor: f64,
        limit: f64,
    ) -> Self {
        let ratio = value / floor;
        Self { name, value, unit, floor, ratio, limit, holds: ratio <= limit }
    }

    /// A rate: at least this share of the floor's.
    pub fn at_least(
        name: &'static str,
        unit: &'static str,
        value: f64,
        floor: f64,
        limit: f64,
    ) -> Self {
        let ratio = value / floor;
        Self { name, value, unit, floor, ratio, limit, holds: ratio >= limit }
    }
}

/// The value below which this share of the times lies.
pub fn percentile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a short list"
    )]
    let place = ((times.len() - 1) as f64 * share).round() as usize;
    times[place]
}

pub fn millis(from: Time, to: Time) -> f64 {
    (to - from).to_std().unwrap_or_default().as_secs_f64() * 1e3
}

pub fn report(figures: &[Figure]) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["what", "ours", "floor", "unit", "ratio", "limit", "holds"]);
    for figure in figures {
        table.add_row([
            figure.name.to_owned(),
            format!("{:.1}", figure.value),
            format!("{:.1}", figure.floor),
            figure.unit.to_owned(),
            format!("{:.2}", figure.ratio),
            format!("{:.1}", figure.limit),
            if figure.holds { "yes" } else { "no" }.to_owned(),
        ]);
    }
    println!("{table}");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench");
    fs::create_dir_all(folder).expect("target can be written to");
    let json = serde_json::to_string_pretty(figures).expect("figures are plain data");
    fs::write(format!("{folder}/results.json"), json).expect("target can be written to");
}
