//! Writes the events of runners to the log.

use std::sync::Arc;

use offsite::report::{MachineOutcome, MachineReport};
use offsite::runner::{Clock, CopyRun, RunReport, RunStatus, RunnerEvent, RunnerEvents, Subject};
use offsite::schedule::Span;
use offsite::{Activity, JobName, Progress, Wait};
use offsite_backends::EjectedMedium;
use tracing::{debug, error, info, warn};

use crate::commands::transform_lines;
use crate::local_time::LocalTime;
use crate::{host, progress, render, words};

/// Writes what it hears to the log.
pub(super) struct Listener {
    pub(super) clock: Arc<dyn Clock>,
    /// The zone in which the job's times are shown.
    pub(super) local: LocalTime,
}

impl RunnerEvents for Listener {
    fn tell(&self, subject: &Subject, event: RunnerEvent<'_>) {
        let name = subject.job.as_str();
        match event {
            RunnerEvent::Started => info!(job = name, "started"),
            RunnerEvent::Phase { phase, span } => {
                debug!(job = name, "{}, in the interval {}", phase.word(), self.interval(&span));
            }
            RunnerEvent::SyncStarted { machines } => {
                let names: Vec<&str> = machines.iter().map(offsite::model::MachineName::as_str).collect();
                info!(job = name, "copying {}", names.join(", "));
            }
            RunnerEvent::Paused => info!(job = name, "the window is closed: the transfer waits"),
            RunnerEvent::Resumed => info!(job = name, "the window is open: the transfer goes on"),
            RunnerEvent::SyncEnded(outcome) => {
                if let Some(sync) = &outcome.sync {
                    let kind = if sync.full { "full" } else { "increment" };
                    info!(
                        job = name,
                        "restore point #{} of {} ({kind}): {} written in {}, {}",
                        sync.sequence,
                        self.local.time(sync.time),
                        render::bytes(sync.tally.target.bytes_written),
                        render::duration(sync.tally.duration),
                        render::kept(&sync.tally),
                    );
                }
                for machine in &outcome.machines {
                    if matches!(machine.outcome, MachineOutcome::Incomplete { .. })
                        && let Some(line) = render::outcome(&machine.name, &machine.outcome)
                    {
                        warn!(job = name, "{}", self.local.text(&line));
                    }
                }
                self.warn(name, &words::notes(&outcome.notes, &[]));
            }
            RunnerEvent::Failed { why, is_retryable } => {
                let follow = if is_retryable { "it is tried again" } else { "trying again would not help" };
                error!(job = name, "{}; {follow}", self.local.text(&why.text));
            }
            RunnerEvent::AtWorkElsewhere { why } => info!(job = name, "{why}; what that run does counts here, too"),
            RunnerEvent::Overdue { machines, max_age } => {
                self.warn(name, &render::overdue(machines, max_age, self.clock.now()));
            }
            RunnerEvent::Closed { machines } => {
                let line = |report: &MachineReport| render::outcome(&report.name, &report.outcome);
                self.warn(name, &machines.iter().filter_map(line).collect::<Vec<_>>());
            }
            RunnerEvent::Transformed(report) => {
                transform_lines(report).iter().for_each(|line| info!(job = name, "{}", self.local.text(line)));
            }
            RunnerEvent::Ended(RunReport::Copy(run)) => self.ended(name, run),
            RunnerEvent::StoreFailed { why } => {
                error!(
                    job = name,
                    "{why}; until the state folder can be used, a restart goes on from what the chain says"
                );
            }
            RunnerEvent::Stopped { .. } => info!(job = name, "ended"),
            RunnerEvent::Defect { why } => {
                error!(job = name, "the job ended by a defect in Offsite: {why}; please report it");
            }
            _ => {}
        }
    }
}

impl Listener {
    fn warn(&self, job: &str, lines: &[String]) {
        lines.iter().for_each(|line| warn!(job, "{}", self.local.text(line)));
    }

    fn interval(&self, span: &Span) -> String {
        format!("from {} to {}", self.local.time(span.start), self.local.time(span.end))
    }

    fn ended(&self, name: &str, report: &CopyRun) {
        let intervals = match report.result.span.intervals {
            0 | 1 => String::new(),
            count => format!(", {count} intervals in one"),
        };
        let interval = self.interval(&report.result.span);
        let by = if report.is_done_elsewhere() { " by another run, whose script it is" } else { "" };
        let text = format!("the interval {interval}{intervals} is done{by}");
        match report.status() {
            RunStatus::Success => info!(job = name, "{text}: success"),
            RunStatus::Warning => warn!(job = name, "{text}: warning"),
            RunStatus::Failed => {
                let why = report.failure().map(|why| format!(": {}", self.local.text(&why.text))).unwrap_or_default();
                error!(job = name, "{text}: failed{why}");
            }
        }
        self.warn(name, &words::notes(&report.notes, &report.doubts));
        self.warn(name, &render::overdue_of(report));
    }
}

/// Logs why nothing moves. The status file says how far an activity is.
pub(super) struct Notes {
    pub(super) job: JobName,
}

impl Progress for Notes {
    fn begin(&self, activity: &Activity<'_>) {
        debug!(job = self.job.as_str(), "{}: {}", progress::words(activity), render::bytes(activity.total_bytes));
    }

    fn wait(&self, wait: &Wait<'_>) {
        info!(job = self.job.as_str(), "{wait}");
    }
}

impl host::Listener for Notes {
    fn script(&self, line: &str) {
        info!(job = self.job.as_str(), "script: {line}");
    }

    fn ejected(&self, ejected: &EjectedMedium) {
        info!(job = self.job.as_str(), "{ejected}");
    }
}
