//! Compares plans with counts.

use offsite::report::{CopyReport, Tally};

use crate::render::{bytes, duration, table};

/// What the copy job's operations should cost, and what they did cost.
#[derive(Default)]
pub(super) struct Account {
    copies: Vec<Tally>,
    merges: Vec<Tally>,
}

impl Account {
    /// Adds a run.
    pub(super) fn add(&mut self, report: &CopyReport) {
        self.copies.extend(report.sync.as_ref().map(|sync| sync.tally));
        self.merges.extend(report.transform.operations.iter().map(|report| report.tally));
    }

    /// Whether every operation read and wrote exactly what its plan said.
    pub(super) fn kept_to_plan(&self) -> bool {
        self.copies.iter().chain(&self.merges).all(Tally::kept_to_plan)
    }

    /// Returns the account as a table.
    pub(super) fn render(&self) -> String {
        let mut rows = vec![
            ["", "planned: read", "written", "counted: read", "written", "median time", ""].map(str::to_owned).to_vec(),
        ];
        rows.extend(self.copies.first().map(|full| row("first copy (full)", std::slice::from_ref(full))));
        rows.push(row(
            &format!("{} increments", self.copies.len().saturating_sub(1)),
            self.copies.get(1..).unwrap_or_default(),
        ));
        rows.push(row(&format!("{} merges, without moving data", self.merges.len()), &self.merges));
        super::indent(&table(&rows, &[1, 2, 3, 4, 5]))
    }
}

fn row(name: &str, tallies: &[Tally]) -> Vec<String> {
    let sum = |of: fn(&Tally) -> u64| bytes(tallies.iter().map(of).sum());
    let mut durations: Vec<_> = tallies.iter().map(|tally| tally.duration).collect();
    durations.sort_unstable();
    vec![
        name.to_owned(),
        sum(|tally| tally.planned.bytes_read),
        sum(|tally| tally.planned.bytes_written),
        sum(|tally| tally.source.bytes_read + tally.target.bytes_read),
        sum(|tally| tally.target.bytes_written),
        durations.get(durations.len() / 2).map_or_else(String::new, |middle| duration(*middle)),
        if tallies.iter().all(Tally::kept_to_plan) { "as planned" } else { "NOT as planned" }.to_owned(),
    ]
}
