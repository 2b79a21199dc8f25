//! Numbers and tables for people.

use std::time::Duration;

use offsite::Bytes;
use offsite::model::{MachineName, Timestamp};
use offsite::report::{MachineOutcome, Reason, Tally};
use offsite::runner::{CopyRun, Overdue};

use crate::words;

/// Returns a number of bytes in binary units, with at least three digits.
pub(crate) fn bytes(count: u64) -> String {
    Bytes(count).to_string()
}

/// Returns a duration, about as exact as people need it.
pub(crate) fn duration(duration: Duration) -> String {
    let secs = duration.as_secs_f64();
    match secs {
        _ if secs < 0.001 => format!("{} us", duration.as_micros()),
        _ if secs < 1.0 => format!("{:.0} ms", secs * 1e3),
        _ if secs < 120.0 => format!("{secs:.1} s"),
        _ => format!("{:.0} min", secs / 60.0),
    }
}

/// Describes a machine that is not as it should be, as the rest of a line. `None` if it is as it should be.
pub(crate) fn outcome(machine: &MachineName, outcome: &MachineOutcome) -> Option<String> {
    match outcome {
        MachineOutcome::Complete { .. } | MachineOutcome::Unchanged { .. } => None,
        MachineOutcome::Incomplete { transferred, why, .. } => {
            let (done, left) = (bytes(transferred.done_bytes), bytes(transferred.left_bytes));
            let why = words::reason(why);
            Some(format!("{machine} is incomplete, with {done} done and {left} left: {why}"))
        }
        MachineOutcome::Waiting { job } => {
            let job = job.as_ref().map_or_else(String::new, |job| format!(" of job {job}"));
            Some(format!("{machine} waits: a backup{job} is at work"))
        }
        MachineOutcome::Absent { why } => Some(format!("{machine} was not copied: {}", words::reason(why))),
    }
}

/// Returns `true` if the failure of a run says why a machine was not copied, so that it need not be told again.
pub(crate) fn is_told(report: &CopyRun, outcome: &MachineOutcome) -> bool {
    let MachineOutcome::Absent { why } = outcome else { return false };
    match why {
        Reason::RunAtWork => report.is_refused,
        Reason::Failed(why) => report.failure() == Some(why),
        // The failure tells of the first machine that cannot be copied.
        why => report.failure().is_some() && report.result.machines.values().find_map(other_machine) == Some(why),
    }
}

fn other_machine(outcome: &MachineOutcome) -> Option<&Reason> {
    match outcome {
        MachineOutcome::Absent { why: why @ (Reason::OtherBlockSize { .. } | Reason::OtherOrigin { .. }) } => Some(why),
        _ => None,
    }
}

/// Returns an age in words.
pub(crate) fn age(secs: i64) -> String {
    let minutes = secs.max(0) / 60;
    match minutes {
        0..120 => format!("{minutes} min"),
        120..4_320 if minutes % 60 == 0 => format!("{} h", minutes / 60),
        120..4_320 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} days", minutes / 1_440),
    }
}

/// Returns what is overdue at `now`, one machine per line.
pub(crate) fn overdue(overdue: &[Overdue], max_age: Duration, now: Timestamp) -> Vec<String> {
    let line = |overdue: &Overdue| {
        let at_most = age(i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX));
        let machine = &overdue.machine;
        match (overdue.captured, overdue.age_secs(now)) {
            (Some(captured), Some(secs)) => {
                format!(
                    "OVERDUE   {machine}: its newest copy is {} old, of {captured}; at most {at_most} (max_age)",
                    age(secs)
                )
            }
            _ => format!("OVERDUE   {machine}: there is no copy of it; one is to be at most {at_most} old (max_age)"),
        }
    };
    overdue.iter().map(line).collect()
}

/// Returns what was overdue at the end of an interval, one machine per line.
pub(crate) fn overdue_of(report: &CopyRun) -> Vec<String> {
    report.max_age.map_or_else(Vec::new, |max_age| overdue(&report.overdue(), max_age, report.ended))
}

/// Returns the bytes per second. `None` if the time was too short to tell.
pub(crate) fn rate(count: u64, duration: Duration) -> String {
    let secs = duration.as_secs_f64();
    if secs < 0.001 || count == 0 {
        return String::new();
    }
    format!(" ({:.1} MiB/s)", count as f64 / secs / f64::from(1 << 20))
}

/// Returns `count` things in words.
pub(crate) fn count(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Says whether an operation kept to its plan.
pub(crate) fn kept(tally: &Tally) -> &'static str {
    if tally.kept_to_plan() { "as planned" } else { "NOT as planned: please report this defect" }
}

/// Returns rows as a table. Columns are as wide as they must be, the last one is free, and those in `right` are flush right.
pub(crate) fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_unit_that_fits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 40), "3.0 TiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn ages_have_the_unit_that_fits() {
        assert_eq!([0, 59, 60, 119 * 60].map(age), ["0 min", "0 min", "1 min", "119 min"]);
        assert_eq!([7_200, 26 * 3600, 26 * 3600 + 1_859].map(age), ["2 h", "26 h", "26 h 30 min"]);
        assert_eq!([3 * 86_400, 400 * 86_400, -5].map(age), ["3 days", "400 days", "0 min"]);
    }

    #[test]
    fn a_table_lines_up() {
        let rows = [["a", "1", "x"], ["bbb", "22", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows, &[1]), "a     1  x\nbbb  22\n");
    }
}
