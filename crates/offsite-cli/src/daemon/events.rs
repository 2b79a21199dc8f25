//! What runners tell, as lines of the log and in the status file.

use std::sync::Arc;

use offsite::report::{MachineOutcome, MachineReport};
use offsite::runner::{Clock, RunReport, RunStatus, RunnerEvent, RunnerEvents};
use offsite::schedule::Span;
use offsite::{Activity, JobName, Progress, Wait};
use offsite_backends::EjectedMedium;
use tracing::{debug, error, info, warn};

use super::record::FailureRecord;
use super::store::{Store, Weight};
use crate::commands::transform_lines;
use crate::local_time::LocalTime;
use crate::{host, progress, render, words};

/// Writes down what it hears.
pub(super) struct Listener {
    pub(super) store: Arc<Store>,
    pub(super) clock: Arc<dyn Clock>,
    /// Where the job's times are told.
    pub(super) local: LocalTime,
}

impl RunnerEvents for Listener {
    fn tell(&self, job: &JobName, event: RunnerEvent<'_>) {
        let name = job.as_str();
        match event {
            RunnerEvent::Phase { phase, span } => {
                let interval = self.interval(&span);
                debug!(job = name, "{}, in the interval {interval}", phase.name());
                self.store.job(name, Weight::Shown, |record| {
                    let interval = Some(span.into());
                    if record.interval != interval {
                        record.transferred_bytes = 0;
                    }
                    record.interval = interval;
                    record.phase = phase.name().to_owned();
                    record.is_paused = false;
                });
            }
            RunnerEvent::Waiting { until } => {
                self.store.job(name, Weight::Shown, |record| record.next_wake = until.map(|until| until.to_string()));
            }
            RunnerEvent::SyncStarted { machines } => {
                let names: Vec<&str> = machines.iter().map(offsite::model::MachineName::as_str).collect();
                info!(job = name, "copying {}", names.join(", "));
            }
            RunnerEvent::Transferring { bytes } => {
                self.store.job(name, Weight::Progress, |record| record.transferred_bytes += bytes);
            }
            RunnerEvent::Paused => {
                info!(job = name, "the window is closed: the transfer waits");
                self.store.job(name, Weight::Shown, |record| record.is_paused = true);
            }
            RunnerEvent::Resumed => {
                info!(job = name, "the window is open: the transfer goes on");
                self.store.job(name, Weight::Shown, |record| record.is_paused = false);
            }
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
                let at = self.clock.now().to_string();
                self.store.job(name, Weight::Shown, |record| {
                    let why = why.text.clone();
                    record.last_failure = Some(FailureRecord { at, why, is_retried: is_retryable });
                });
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
            RunnerEvent::Ended(report) => self.ended(name, report),
            RunnerEvent::Remember(memory) => {
                self.store.job(name, Weight::Durable, |record| record.memory = memory.into());
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

    fn ended(&self, name: &str, report: &RunReport) {
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
        if let Err(why) = self.store.folder().keep(report) {
            error!(job = name, "{why}");
        }
        self.store.job(name, Weight::Durable, |record| {
            if report.status() == RunStatus::Success {
                record.last_failure = None;
            }
        });
    }
}

/// Logs what explains why nothing moves; how far an activity is, the status file tells.
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
