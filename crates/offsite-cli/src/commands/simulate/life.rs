//! The life of each restore point of a simulation, for drawings.

use std::collections::BTreeMap;

use offsite::model::PointKind;
use offsite::model::Timestamp;
use offsite::retention::Flags;
use offsite::retention::Simulation;

/// The largest number of points that are drawn. If there are more, it leaves out first those that are gone and never carried a
/// flag, and then the oldest.
const ROWS_MAX: usize = 120;

/// The kind of a point at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Increment,
    Full,
    Archive,
}

/// The life of a restore point.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) time: Timestamp,
    pub(super) flags: Flags,
    /// The kinds of the point, each from the run at that time on.
    pub(super) states: Vec<(Timestamp, State)>,
    /// The run in which the point went. `None` if it is still there.
    pub(super) gone: Option<Timestamp>,
}

impl Row {
    /// Returns the kind of the point after the run at `time`. `None` if it is not there.
    pub(super) fn at(&self, time: Timestamp) -> Option<State> {
        if self.gone.is_some_and(|gone| gone <= time) {
            return None;
        }
        self.states.iter().rev().find(|(from, _)| *from <= time).map(|(_, state)| *state)
    }
}

/// The lives of a simulation's points.
#[derive(Debug, Default)]
pub(super) struct Life {
    rows: BTreeMap<Timestamp, Row>,
    gone: Vec<Row>,
    /// The times of the runs, while they are few enough to be drawn one by one.
    pub(super) runs: Vec<Timestamp>,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    left_out: u64,
}

impl Life {
    /// Adds the points that are there after the run at `time`.
    pub(super) fn add(&mut self, time: Timestamp, simulation: &Simulation) {
        self.first.get_or_insert(time);
        self.last = Some(time);
        if self.runs.len() <= ROWS_MAX {
            self.runs.push(time);
        }
        let mut before = std::mem::take(&mut self.rows);
        let archive = simulation.archives().map(|archived| (archived.time, archived.flags, State::Archive));
        let chain = simulation.points().map(|member| {
            let state = if member.kind == PointKind::Full { State::Full } else { State::Increment };
            (member.time, member.flags, state)
        });
        for (point, flags, state) in archive.chain(chain) {
            let new = Row { time: point, flags, states: Vec::new(), gone: None };
            let mut row = before.remove(&point).unwrap_or(new);
            row.flags = flags;
            if row.states.last().is_none_or(|(_, last)| *last != state) {
                row.states.push((time, state));
            }
            self.rows.insert(point, row);
        }
        self.gone.extend(before.into_values().map(|row| Row { gone: Some(time), ..row }));
        if self.gone.len() > 4 * ROWS_MAX {
            self.thin_out(2 * ROWS_MAX);
        }
    }

    /// Leaves out points that are gone, until at most `rows_max` are left.
    fn thin_out(&mut self, rows_max: usize) {
        let count = self.gone.len();
        if self.gone.len() > rows_max {
            self.gone.retain(|row| !row.flags.is_empty());
        }
        self.gone.sort_by_key(|row| row.time);
        self.gone.drain(..self.gone.len().saturating_sub(rows_max));
        self.left_out += (count - self.gone.len()) as u64;
    }

    /// Returns the points to draw, the oldest first, and how many are left out.
    pub(super) fn finish(mut self) -> Drawable {
        self.thin_out(ROWS_MAX.saturating_sub(self.rows.len()));
        let mut rows: Vec<Row> = self.gone.into_iter().chain(self.rows.into_values()).collect();
        rows.sort_by_key(|row| row.time);
        let hidden = rows.len().saturating_sub(ROWS_MAX);
        rows.drain(..hidden);
        let runs = if self.runs.len() > ROWS_MAX { Vec::new() } else { self.runs };
        Drawable { rows, runs, ends: self.first.zip(self.last), left_out: self.left_out + hidden as u64 }
    }
}

/// The lives to draw.
#[derive(Debug)]
pub(super) struct Drawable {
    pub(super) rows: Vec<Row>,
    /// The times of the runs. It is empty if they are too many to be drawn one by one.
    pub(super) runs: Vec<Timestamp>,
    /// The first and the last run. `None` if there was no run.
    pub(super) ends: Option<(Timestamp, Timestamp)>,
    pub(super) left_out: u64,
}

/// Returns the dates of points, with the time if a neighbour has the same date.
pub(super) fn names(rows: &[Row]) -> Vec<String> {
    let text = |row: &Row| row.time.to_string();
    let is_same = |pair: &[Row]| text(&pair[0]).get(..10) == text(&pair[1]).get(..10);
    let digits = if rows.windows(2).any(is_same) { 16 } else { 10 };
    rows.iter().map(|row| text(row).chars().take(digits).collect::<String>().replace('T', " ")).collect()
}
