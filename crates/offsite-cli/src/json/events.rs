//! The lines that tell how a command gets on, and the report at the end of them.

use offsite::Wait;
use offsite::model::Timestamp;
use offsite::runner::ActivityStatus;
use serde_json::{Value, json};

use crate::json;
use crate::status::Failure;

/// Returns how far an activity is. `offsite status --json` shows it.
pub(crate) fn activity(activity: &ActivityStatus) -> Value {
    json!({
        "operation": activity.task.word(),
        "step": activity.step.word(),
        "job": activity.job.as_str(),
        "machine": activity.machine.as_ref().map(offsite::model::MachineName::as_str),
        "disk": activity.disk.map(|disk| disk.0),
        "done_bytes": activity.done_bytes,
        "total_bytes": activity.total_bytes,
        "since": activity.since.to_string(),
        "bytes_per_sec": activity.bytes_per_sec,
        "secs_left": activity.left().map(|left| left.as_secs()),
        "waits_for": activity.waits_for,
    })
}

/// Returns the line `event`: `begin`, `advance` or `end`.
pub(crate) fn event(event: &str, present: &ActivityStatus, now: Timestamp) -> Value {
    let mut value = activity(present);
    value["event"] = event.into();
    value["time"] = now.to_string().into();
    value
}

/// Returns the line about something that the command waits for.
pub(crate) fn wait(wait: &Wait<'_>, now: Timestamp) -> Value {
    let (job, kind, at_most) = match wait {
        Wait::Lease { job, at_most, .. } => (Some(job), "lease", Some(at_most)),
        Wait::Readers { job, at_most, .. } => (Some(job), "readers", Some(at_most)),
        Wait::Backup { job, .. } => (Some(job), "backup", None),
        Wait::Place { job, at_most, .. } => (Some(job), "place", Some(at_most)),
        _ => (None, "other", None),
    };
    json!({
        "event": "wait",
        "time": now.to_string(),
        "for": kind,
        "job": job.map(|job| job.as_str()),
        "at_most_secs": at_most.map(std::time::Duration::as_secs),
        "text": wait.to_string(),
    })
}

/// Returns the last line: the report.
pub(crate) fn report(mut report: Value) -> Value {
    report["event"] = "report".into();
    report
}

/// Prints the last line: the report.
pub(crate) fn print_report(value: Value) -> Result<(), Failure> {
    json::print(&report(value))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use offsite::JobName;

    use super::*;

    #[test]
    fn each_kind_of_wait_has_its_word() {
        let (job, at_most) = (&JobName::new("copy").unwrap(), Duration::from_secs(9));
        let waits = [
            (Wait::Lease { job, holder: "host", at_most }, "lease", json!(9)),
            (Wait::Readers { job, readers: 1, at_most }, "readers", json!(9)),
            (Wait::Backup { job, holder: "host" }, "backup", json!(null)),
            (Wait::Place { job, why: "it does not answer", at_most }, "place", json!(9)),
        ];
        for (kind, word, secs) in waits {
            let line = wait(&kind, Timestamp::MIN);
            assert_eq!([&line["for"], &line["job"], &line["at_most_secs"]], [&json!(word), &json!("copy"), &secs]);
        }
    }
}
