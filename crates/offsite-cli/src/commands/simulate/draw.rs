//! Draws a simulated life in the terminal: a line for each restore point, a column for each run.

use offsite::model::Timestamp;

use super::life::{Drawable, State, names};
use crate::render;

/// The largest number of columns.
const COLUMNS_MAX: usize = 72;

/// Returns the drawing.
pub(super) fn draw(life: &Drawable) -> String {
    let times = columns(life);
    let names = names(&life.rows);
    let width = names.first().map_or(10, String::len);
    let mut text = String::new();
    let (first, last) = (names.first().map_or("", String::as_str), life.ends.map(|(_, last)| last.to_string()));
    let last: String = last.unwrap_or_default().chars().take(10).collect();
    let first: String = first.chars().take(10).collect();
    let gap = times.len().saturating_sub(first.len() + last.len()).max(1);
    text.push_str(&format!("{:width$}  {first}{}{last}\n", "", " ".repeat(gap)));
    for (row, name) in life.rows.iter().zip(&names) {
        let cell = |time: &Timestamp| match row.at(*time) {
            // The point does not exist yet, or no longer.
            None => ' ',
            Some(State::Increment) => '\u{2500}',
            Some(State::Full) => '\u{2588}',
            Some(State::Archive) => '\u{2592}',
        };
        let cells: String = times.iter().map(cell).collect();
        let flags: Vec<&str> = row.flags.names().collect();
        let line = format!("{name}  {cells}  {}", flags.join(" "));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str("\n\u{2588} full   \u{2500} increment   \u{2592} archive\n");
    if life.left_out > 0 {
        let count = usize::try_from(life.left_out).unwrap_or(usize::MAX);
        text.push_str(&format!("{} not drawn\n", render::count(count, "older restore point", "older restore points")));
    }
    text
}

/// Returns the times that are drawn: each run, or as many evenly spaced times as there is room for.
fn columns(life: &Drawable) -> Vec<Timestamp> {
    if (1..=COLUMNS_MAX).contains(&life.runs.len()) {
        return life.runs.clone();
    }
    let Some((first, last)) = life.ends else { return Vec::new() };
    let secs = i128::from(last.unix_secs() - first.unix_secs());
    let steps = COLUMNS_MAX as i128 - 1;
    let moment = |step: i128| first.saturating_add_secs(i64::try_from(secs * step / steps).unwrap_or(i64::MAX));
    (0..=steps).map(moment).collect()
}
