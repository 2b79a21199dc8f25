//! The life of each restore point of a simulation, for drawings.

use std::collections::BTreeMap;

use offsite::model::PointKind;
use offsite::model::Timestamp;
use offsite::retention::Flags;
use offsite::retention::Simulation;

/// So many points are drawn; of more, first those go that never carried a flag and are gone, then the oldest.
const ROWS_MAX: usize = 120;

/// What a point is.
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
    /// What it is, from the run at that time on.
    pub(super) states: Vec<(Timestamp, State)>,
    /// The run in which it went.
    pub(super) gone: Option<Timestamp>,
}

impl Row {
    /// What it is after the run at `time`, if it is there.
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
    /// The times of the runs, as long as they are few enough to be drawn one by one.
    pub(super) runs: Vec<Timestamp>,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    left_out: u64,
}

impl Life {
    /// Takes in what is there after the run at `time`.
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

    /// Leaves out points that are gone, until there are no more than that.
    fn thin_out(&mut self, rows_max: usize) {
        let count = self.gone.len();
        if self.gone.len() > rows_max {
            self.gone.retain(|row| !row.flags.is_empty());
        }
        self.gone.sort_by_key(|row| row.time);
        self.gone.drain(..self.gone.len().saturating_sub(rows_max));
        self.left_out += (count - self.gone.len()) as u64;
    }

    /// The points to draw, oldest first, and how many are left out.
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

/// What is drawn.
#[derive(Debug)]
pub(super) struct Drawable {
    pub(super) rows: Vec<Row>,
    /// The times of the runs; none, if they are too many to be drawn one by one.
    pub(super) runs: Vec<Timestamp>,
    /// The first and the last run.
    pub(super) ends: Option<(Timestamp, Timestamp)>,
    pub(super) left_out: u64,
}

/// A point's date and, where the dates of its neighbours are the same, its time.
pub(super) fn names(rows: &[Row]) -> Vec<String> {
    let text = |row: &Row| row.time.to_string();
    let is_same = |pair: &[Row]| text(&pair[0]).get(..10) == text(&pair[1]).get(..10);
    let digits = if rows.windows(2).any(is_same) { 16 } else { 10 };
    rows.iter().map(|row| text(row).chars().take(digits).collect::<String>().replace('T', " ")).collect()
}
