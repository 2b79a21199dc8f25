//! What came of a run, in words.

use offsite::report::{MachineOutcome, MachineReport, SyncReport};
use offsite::runner::Absence;
use offsite::runner::Note;
use offsite::runner::Outcome;
use offsite::runner::RunReport;
use offsite::{Room, RunPlan};

use crate::commands::{planned_line, requests, transform_lines};
use crate::render;

/// What was done.
pub(super) fn summary(report: &RunReport) -> String {
    let mut text: String = report.syncs.iter().map(|sync| copied(report.job.as_str(), sync)).collect();
    let what = match report.failure() {
        None => "nothing new in the source",
        Some(_) => "nothing was copied",
    };
    if text.is_empty() {
        text = format!("{}: {what}\n", report.job);
    }
    for line in report.transform.iter().flat_map(transform_lines) {
        text.push_str(&format!("  {line}\n"));
    }
    for (name, outcome) in &report.result.machines {
        let line = match outcome {
            Outcome::Complete { .. } | Outcome::Unchanged { .. } => continue,
            Outcome::Incomplete { done_bytes, left_bytes } => {
                let why = report.reasons.get(name).map_or("the transfer was ended", String::as_str);
                incomplete(name.as_str(), *done_bytes, *left_bytes, why)
            }
            Outcome::Absent(Absence::Locked) => waiting(name.as_str(), ""),
            Outcome::Absent(absence) => format!("warning   {name} was not copied: {absence}"),
            other => format!("warning   {name}: {other}"),
        };
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(&warnings(&report.notes));
    text.extend(render::overdue_of(report).iter().map(|line| format!("  {line}\n")));
    text
}

/// What failed, in order and each once.
pub(super) fn failures(report: &RunReport) -> Vec<&str> {
    let noted = report.result.notes.iter().filter_map(|note| match note {
        Note::Failed { why, .. } => Some(why.as_str()),
        _ => None,
    });
    let mut failures: Vec<&str> = Vec::new();
    for why in noted.chain(report.result.transform.failure()) {
        if !failures.contains(&why) {
            failures.push(why);
        }
    }
    failures
}

/// A restore point that was made.
fn copied(job: &str, sync: &SyncReport) -> String {
    let kind = if sync.full { "full" } else { "increment" };
    let machines: Vec<String> = sync.machines.iter().map(|machine| machine.name.to_string()).collect();
    format!(
        "{job}: restore point #{} of {} ({kind}): {}\n  copied    {}: {} read, {} written, in {}{}, {}\n",
        sync.sequence,
        sync.time,
        machines.join(", "),
        render::count(usize::try_from(sync.tally.planned.blocks).unwrap_or(usize::MAX), "block", "blocks"),
        render::bytes(sync.tally.source.bytes_read),
        render::bytes(sync.tally.target.bytes_written),
        render::duration(sync.tally.duration),
        render::rate(sync.tally.target.bytes_written, sync.tally.duration),
        render::kept(&sync.tally),
    )
}

/// What would be done.
pub(super) fn plan_summary(name: &str, plan: &RunPlan) -> String {
    let mut text = match &plan.sync {
        None => format!("{name}: nothing new in the source\n"),
        Some(sync) => {
            let kind = if sync.full { "full" } else { "increment" };
            let machines: Vec<String> =
                sync.machines.iter().map(|machine| format!("{} of {}", machine.name, machine.captured)).collect();
            let copy = format!(
                "{name}: would make a restore point ({kind}): {}\n  copy      {}: {} to read in {}, {} to write\n",
                machines.join(", "),
                render::count(usize::try_from(sync.cost.blocks).unwrap_or(usize::MAX), "block", "blocks"),
                render::bytes(sync.cost.bytes_read),
                requests(sync.cost.read_requests),
                render::bytes(sync.cost.bytes_written),
            );
            copy + &room(&sync.room)
        }
    };
    for planned in &plan.operations {
        text.push_str(&format!("  {}\n", planned_line(planned)));
    }
    text.push_str(&machine_lines(&plan.machines, &plan.notes));
    text
}

/// The room that a copy takes, and that there is.
fn room(room: &Room) -> String {
    let Some(free) = room.free_bytes else { return String::new() };
    let staying = match room.min_free_bytes {
        0 => String::new(),
        bytes => format!(", {} of them to stay so (min_free)", render::bytes(bytes)),
    };
    let (needed, free) = (render::bytes(room.needed_bytes), render::bytes(free));
    let line = format!("  room      {needed} at the peak, {free} free in the target{staying}\n");
    if room.is_enough() { line } else { line + "  warning   that is not enough: the copy would not be begun\n" }
}

/// What is to be known of machines that would not be as they should be, a line each.
fn machine_lines(machines: &[MachineReport], notes: &[String]) -> String {
    let mut text = String::new();
    for MachineReport { name, outcome } in machines {
        let line = match outcome {
            MachineOutcome::Complete { .. } | MachineOutcome::Unchanged { .. } => continue,
            MachineOutcome::Incomplete { transferred, why, .. } => {
                incomplete(name.as_str(), transferred.done_bytes, transferred.left_bytes, why)
            }
            MachineOutcome::Waiting { job } => {
                waiting(name.as_str(), &job.as_ref().map_or_else(String::new, |job| format!(" of job {job}")))
            }
            MachineOutcome::Absent { why } => format!("warning   {name} was not copied: {why}"),
        };
        text.push_str(&format!("  {line}\n"));
    }
    text + &warnings(notes)
}

fn incomplete(name: &str, done_bytes: u64, left_bytes: u64, why: &str) -> String {
    let (done, left) = (render::bytes(done_bytes), render::bytes(left_bytes));
    format!("warning   {name} is incomplete, with {done} done and {left} left: {why}")
}

fn waiting(name: &str, job: &str) -> String {
    format!("waiting   {name}: a backup{job} is at work; run the copy again when it has ended")
}

fn warnings(notes: &[String]) -> String {
    notes.iter().map(|note| format!("  warning   {note}\n")).collect()
}
