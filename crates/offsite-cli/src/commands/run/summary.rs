//! Describes the result of a run.

use offsite::plan::Cost;
use offsite::report::{HistoryReport, MachineOutcome, Reason, SyncReport};
use offsite::runner::{CopyRun, Incident};
use offsite::{MachineName, PlannedPast, RunPlan};

use super::savings;
use crate::commands::{planned, planned_line, transform_lines};
use crate::{render, words};

/// Says what was done.
pub(super) fn summary(report: &CopyRun) -> String {
    let mut text: String = report.syncs.iter().map(|sync| copied(report.job.as_str(), sync)).collect();
    let what = match report.failure() {
        None => "nothing new in the source",
        Some(_) => "nothing was copied",
    };
    if text.is_empty() {
        text = format!("{}: {what}\n", report.job);
    }
    text.extend(report.history.as_ref().map(|history| format!("  {}\n", brought(history))));
    for line in report.transform.iter().flat_map(transform_lines) {
        text.push_str(&format!("  {line}\n"));
    }
    let (told, others): (Vec<_>, Vec<_>) =
        report.result.machines.iter().partition(|(_, outcome)| render::is_told(report, outcome));
    if !told.is_empty() {
        let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
        text.push_str(&format!("  warning   not copied, for the reason below: {}\n", names.join(", ")));
    }
    text.push_str(&machine_lines(others.into_iter()));
    text.push_str(&warnings(&words::notes(&report.notes, &report.doubts)));
    text.extend(render::overdue_of(report).iter().map(|line| format!("  {line}\n")));
    text
}

/// Returns the failures in order, each once.
pub(super) fn failures(report: &CopyRun) -> Vec<&str> {
    let noted = report.result.incidents.iter().filter_map(|incident| match incident {
        Incident::Failed { why, .. } => Some(why.text.as_str()),
        _ => None,
    });
    let transform = report.result.transform_failure.as_ref().map(|why| why.text.as_str());
    let mut failures: Vec<&str> = Vec::new();
    for why in noted.chain(transform) {
        if !failures.contains(&why) {
            failures.push(why);
        }
    }
    failures
}

/// Says what was brought of the past.
fn brought(history: &HistoryReport) -> String {
    let points = render::count(history.points.len(), "restore point", "restore points");
    let left = match history.left {
        0 => "all that was to be brought is there".to_owned(),
        1 => "1 more waits for the next run".to_owned(),
        left => format!("{left} more wait for the next run"),
    };
    format!("history   {points} of the source's past, beside the one of the interval; {left}")
}

/// Describes a restore point that was made.
fn copied(job: &str, sync: &SyncReport) -> String {
    let kind = if sync.full { "full" } else { "increment" };
    let machines: Vec<String> = sync.machines.iter().map(|machine| machine.name.to_string()).collect();
    let gave_way = match sync.gave_way.as_secs() {
        0 => String::new(),
        _ => format!(
            "  gave way  to backups in the source for {}: one request at a time\n",
            render::duration(sync.gave_way)
        ),
    };
    format!(
        "{job}: restore point #{} of {} ({kind}): {}\n  copied    {}: {} read, {} written, in {}{}, {}\n{gave_way}{}",
        sync.sequence,
        sync.time,
        machines.join(", "),
        render::count(usize::try_from(sync.tally.planned.blocks).unwrap_or(usize::MAX), "block", "blocks"),
        render::bytes(sync.tally.source.bytes_read),
        render::bytes(sync.tally.target.bytes_written),
        render::duration(sync.tally.duration),
        render::rate(sync.tally.target.bytes_written, sync.tally.duration),
        render::kept(&sync.tally),
        savings::line(&sync.savings, sync.look_up, Some(sync.cached)),
    )
}

/// Says what would be done.
pub(super) fn plan_summary(name: &str, plan: &RunPlan) -> String {
    let past = past_summary(name, &plan.history);
    let mut text = match &plan.sync {
        None if !plan.history.is_empty() => String::new(),
        None => format!("{name}: nothing new in the source\n"),
        Some(sync) => {
            let kind = if sync.full { "full" } else { "increment" };
            let machines: Vec<String> =
                sync.machines.iter().map(|machine| format!("{} of {}", machine.name, machine.captured)).collect();
            let copy = format!(
                "{name}: would make a restore point ({kind}): {}\n  copy      {}\n",
                machines.join(", "),
                planned::cost(&sync.cost),
            );
            copy + &savings::line(&sync.savings, sync.look_up, None) + &planned::room(&sync.room, "copy")
        }
    };
    text.insert_str(0, &past);
    for planned in &plan.operations {
        text.push_str(&format!("  {}\n", planned_line(planned)));
    }
    text.push_str(&machine_lines(plan.machines.iter().map(|machine| (&machine.name, &machine.outcome))));
    text + &warnings(&words::notes(&plan.notes, &plan.doubts))
}

/// Says what would be brought of the past, and what all of it costs.
fn past_summary(name: &str, history: &[PlannedPast]) -> String {
    if history.is_empty() {
        return String::new();
    }
    let points = render::count(history.len(), "restore point", "restore points");
    let mut text = format!("{name}: would first bring {points} of the source's past, oldest first\n");
    for past in history {
        let kind = if past.sync.full { "full" } else { "increment" };
        let machines: Vec<&str> = past.sync.machines.iter().map(|machine| machine.name.as_str()).collect();
        let (machines, cost) = (machines.join(", "), planned::cost(&past.sync.cost));
        text.push_str(&format!("  past      {} ({kind}): {machines}: {cost}\n", past.time));
        for planned in &past.operations {
            text.push_str(&format!("    {}\n", planned_line(planned)));
        }
    }
    text.push_str(&format!("  all       {}\n", planned::cost(&cost_of_all(history))));
    text.push_str(
        "  (if the source gets new restore points or loses old ones before the run, the run brings others)\n",
    );
    text
}

/// The cost of all that is to be brought, with the most space that it takes on the way.
fn cost_of_all(history: &[PlannedPast]) -> Cost {
    let (mut all, mut kept) = (Cost::default(), 0_u64);
    for past in history {
        let Cost { blocks, bytes_read, bytes_written, read_requests, .. } = past.sync.cost;
        all.blocks += blocks;
        all.bytes_read += bytes_read;
        all.bytes_written += bytes_written;
        all.read_requests += read_requests;
        for cost in std::iter::once(&past.sync.cost).chain(past.operations.iter().map(|planned| &planned.cost)) {
            all.peak_extra_bytes = all.peak_extra_bytes.max(kept + cost.peak_extra_bytes);
            kept = (kept + cost.bytes_written).saturating_sub(cost.bytes_released);
        }
    }
    all
}

/// Describes the machines that are not as they should be, or would not be, one per line.
fn machine_lines<'a>(machines: impl Iterator<Item = (&'a MachineName, &'a MachineOutcome)>) -> String {
    let line = |(name, outcome): (&MachineName, &MachineOutcome)| {
        let waiting = match outcome {
            MachineOutcome::Waiting { job } => Some(job),
            MachineOutcome::Absent { why: Reason::BackupAtWork { job } } => Some(job),
            _ => None,
        };
        let line = match waiting {
            Some(job) => {
                let job = job.as_ref().map_or_else(String::new, |job| format!(" of job {job}"));
                format!("waiting   {name}: a backup{job} is at work; run the copy again when it has ended")
            }
            None => format!("warning   {}", render::outcome(name, outcome)?),
        };
        Some(format!("  {line}\n"))
    };
    machines.filter_map(line).collect()
}

fn warnings(notes: &[String]) -> String {
    notes.iter().map(|note| format!("  warning   {note}\n")).collect()
}
