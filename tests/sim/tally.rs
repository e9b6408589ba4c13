//! What happened, counted by kind, so that a run shows what it has tried.

use std::{collections::BTreeMap, fmt::Write};

#[derive(Debug, Clone, Default)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    pub fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// Everything whose name starts with `prefix`, one a line.
    pub fn table(&self, prefix: &str) -> String {
        let mut table = String::new();
        for (what, count) in &self.0 {
            if let Some(what) = what.strip_prefix(prefix) {
                writeln!(table, "  {count:>9}  {what}").expect("a text takes everything");
            }
        }
        table
    }
}
