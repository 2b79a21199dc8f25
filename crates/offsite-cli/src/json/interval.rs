//! The report of one interval of a job, on schedule or by hand. A script gets it on its standard input, the status keeps it, and
//! `offsite run --json` prints it.

use offsite::model::{MachineName, Timestamp};
use offsite::report::{MachineOutcome, Reason, SyncReport};
use offsite::runner::{CopyRun, Overdue};
use offsite::schedule::Span;
use serde_json::{Value, json};

use super::{amount, savings, tally, transform};
use crate::words;

pub(crate) fn interval(report: &CopyRun) -> Value {
    let machines = report.result.machines.iter().map(|(name, outcome)| {
        let mut value = json!({ "name": name.as_str() });
        match outcome {
            MachineOutcome::Complete { captured } => {
                value["outcome"] = "complete".into();
                value["captured"] = captured.to_string().into();
            }
            MachineOutcome::Unchanged { captured } => {
                value["outcome"] = "unchanged".into();
                value["captured"] = captured.to_string().into();
            }
            MachineOutcome::Incomplete { transferred, why, .. } => {
                value["outcome"] = "incomplete".into();
                value["done_bytes"] = transferred.done_bytes.into();
                value["left_bytes"] = transferred.left_bytes.into();
                value["why"] = words::reason(why).into();
            }
            MachineOutcome::Waiting { job } => {
                value["outcome"] = "absent".into();
                value["why"] = words::reason(&Reason::BackupAtWork { job: job.clone() }).into();
            }
            MachineOutcome::Absent { why } => {
                value["outcome"] = "absent".into();
                value["why"] = words::reason(why).into();
            }
        }
        value["by_another_run"] = report.elsewhere.contains(name).into();
        value
    });
    let failure = report.result.transform_failure.as_ref().map(|why| &why.text);
    let incidents = report.result.incidents.iter().map(ToString::to_string);
    let notes = incidents.chain(words::notes(&report.notes, &report.doubts));
    json!({
        "job": report.job.as_str(),
        "result": report.status().word(),
        "interval": span(&report.result.span),
        "ended": report.ended.to_string(),
        "point": report.point.map(|point| point.0),
        "machines": machines.collect::<Vec<_>>(),
        "syncs": report.syncs.iter().map(sync).collect::<Vec<_>>(),
        "history": report.history.as_ref().map(|history| json!({ "points": history.points.len(), "left": history.left })),
        "transform": report.transform.as_ref().map(transform),
        "transform_failure": failure,
        "failure": report.failure().map(|why| &why.text),
        "newest": report.newest.iter().map(|(name, captured)| newest(name, *captured)).collect::<Vec<_>>(),
        "max_age_secs": report.max_age.map(|max_age| max_age.as_secs()),
        "overdue": report.overdue().iter().map(|overdue| self::overdue(overdue, report.ended)).collect::<Vec<_>>(),
        "notes": notes.collect::<Vec<_>>(),
    })
}

/// Returns the time of the machine's state that was copied last.
fn newest(name: &MachineName, captured: Option<Timestamp>) -> Value {
    json!({ "name": name.as_str(), "captured": captured.map(|captured| captured.to_string()) })
}

/// Returns a machine whose newest copy is too old at `now`.
pub(crate) fn overdue(overdue: &Overdue, now: Timestamp) -> Value {
    let mut value = newest(&overdue.machine, overdue.captured);
    value["age_secs"] = overdue.age_secs(now).into();
    value
}

/// Returns a restore point that was made.
pub(crate) fn sync(sync: &SyncReport) -> Value {
    let machines: Vec<Value> = sync
        .machines
        .iter()
        .map(|machine| {
            json!({
                "name": machine.name.as_str(),
                "captured": machine.captured.to_string(),
                "source_sequence": machine.source.0,
                "source_job": machine.job.as_str(),
                "source_location": machine.location,
            })
        })
        .collect();
    json!({
        "sequence": sync.sequence.0,
        "time": sync.time.to_string(),
        "kind": if sync.full { "full" } else { "increment" },
        "machines": machines,
        "io": tally(&sync.tally),
        "gave_way_secs": sync.gave_way.as_secs(),
        "savings": savings(&sync.savings, sync.look_up),
        "cached": amount(sync.cached),
    })
}

/// Returns an interval or a span.
pub(crate) fn span(span: &Span) -> Value {
    json!({ "start": span.start.to_string(), "end": span.end.to_string(), "count": span.intervals })
}
