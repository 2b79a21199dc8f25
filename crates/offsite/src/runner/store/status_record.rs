//! The status of a daemon as it is stored in a file.
//!
//! Times are RFC 3339 in UTC.

use std::collections::BTreeMap;
use std::time::Duration;

use offsite_core::{DiskNumber, MachineName, Sequence, Timestamp};
use serde::{Deserialize, Serialize};

use super::lock::Holder;
use super::record::IntervalRecord;
use crate::runner::board::ActivityStatus;
use crate::runner::report::RunStatus;
use crate::runner::status::{JobStatus, LastEnd, LastFailure, Phase, Subject, Wait, WorkKind};
use crate::{JobName, Step, Task};

/// The version that is written. Files of other versions are refused.
pub(super) const VERSION: u32 = 3;

/// A daemon and its jobs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StatusRecord {
    pub(super) version: u32,
    pub(super) holder: Holder,
    pub(super) started: String,
    /// The time at which it ended by itself. A daemon that was killed could not write it.
    pub(super) stopped: Option<String>,
    pub(super) jobs: BTreeMap<String, JobRecord>,
}

/// A job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct JobRecord {
    repository: String,
    kind: String,
    phase: String,
    waits_for: Option<String>,
    is_paused: bool,
    is_window_open: bool,
    interval: Option<IntervalRecord>,
    next: Option<String>,
    transferred_bytes: u64,
    newest: BTreeMap<String, Option<String>>,
    max_age_secs: Option<u64>,
    activity: Option<ActivityRecord>,
    last: Option<EndRecord>,
    failure: Option<FailureRecord>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct ActivityRecord {
    operation: String,
    step: String,
    job: String,
    machine: Option<String>,
    disk: Option<u16>,
    done_bytes: u64,
    total_bytes: u64,
    since: String,
    bytes_per_sec: Option<u64>,
    waits_for: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct EndRecord {
    at: String,
    result: String,
    point: Option<u64>,
    failure: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct FailureRecord {
    at: String,
    why: String,
    is_retried: bool,
}

impl From<&JobStatus> for JobRecord {
    fn from(status: &JobStatus) -> Self {
        let newest = status.newest.iter().map(|(name, time)| (name.to_string(), time.map(|time| time.to_string())));
        Self {
            repository: status.subject.repository.clone(),
            kind: status.kind.word().to_owned(),
            phase: status.phase.word().to_owned(),
            waits_for: status.waits_for.map(|wait| wait.word().to_owned()),
            is_paused: status.is_paused,
            is_window_open: status.is_window_open,
            interval: status.interval.map(Into::into),
            next: status.next.map(|next| next.to_string()),
            transferred_bytes: status.transferred_bytes,
            newest: newest.collect(),
            max_age_secs: status.max_age.map(|max_age| max_age.as_secs()),
            activity: status.activity.as_ref().map(Into::into),
            last: status.last.as_ref().map(|last| EndRecord {
                at: last.at.to_string(),
                result: last.status.word().to_owned(),
                point: last.point.map(|point| point.0),
                failure: last.failure.clone(),
            }),
            failure: status.failure.as_ref().map(|failure| FailureRecord {
                at: failure.at.to_string(),
                why: failure.why.clone(),
                is_retried: failure.is_retryable,
            }),
        }
    }
}

impl From<&ActivityStatus> for ActivityRecord {
    fn from(activity: &ActivityStatus) -> Self {
        Self {
            operation: activity.task.word().to_owned(),
            step: activity.step.word().to_owned(),
            job: activity.job.to_string(),
            machine: activity.machine.as_ref().map(ToString::to_string),
            disk: activity.disk.map(|disk| disk.0),
            done_bytes: activity.done_bytes,
            total_bytes: activity.total_bytes,
            since: activity.since.to_string(),
            bytes_per_sec: activity.bytes_per_sec,
            waits_for: activity.waits_for.clone(),
        }
    }
}

impl ActivityRecord {
    /// The activity. `None` if the record is not what was written.
    fn activity(&self) -> Option<ActivityStatus> {
        let task = Task::ALL.into_iter().find(|task| task.word() == self.operation)?;
        let step = Step::ALL.into_iter().find(|step| step.word() == self.step)?;
        let since = Timestamp::parse(&self.since).ok()?;
        let activity = ActivityStatus::new(task, step, JobName::new(&self.job).ok()?, self.total_bytes, since);
        let machine = match &self.machine {
            Some(machine) => Some(MachineName::new(machine).ok()?),
            None => None,
        };
        Some(ActivityStatus {
            machine,
            disk: self.disk.map(DiskNumber),
            done_bytes: self.done_bytes,
            bytes_per_sec: self.bytes_per_sec,
            waits_for: self.waits_for.clone(),
            ..activity
        })
    }
}

impl JobRecord {
    /// The status of the job `name`. `None` if the record is not what was written.
    pub(super) fn status(&self, name: &str) -> Option<JobStatus> {
        let time = |text: &String| Timestamp::parse(text).ok();
        let kinds = [WorkKind::Copy, WorkKind::Backup, WorkKind::Verify];
        let newest = self.newest.iter().map(|(name, captured)| {
            let captured = match captured {
                Some(captured) => Some(time(captured)?),
                None => None,
            };
            Some((MachineName::new(name).ok()?, captured))
        });
        let last = match &self.last {
            None => None,
            Some(last) => Some(LastEnd {
                at: time(&last.at)?,
                status: RunStatus::of_word(&last.result)?,
                point: last.point.map(Sequence),
                failure: last.failure.clone(),
            }),
        };
        let failure = match &self.failure {
            None => None,
            Some(FailureRecord { at, why, is_retried }) => {
                Some(LastFailure { at: time(at)?, why: why.clone(), is_retryable: *is_retried })
            }
        };
        let activity = match &self.activity {
            None => None,
            Some(activity) => Some(activity.activity()?),
        };
        let interval = match &self.interval {
            None => None,
            Some(interval) => Some(interval.span()?),
        };
        Some(JobStatus {
            subject: Subject { repository: self.repository.clone(), job: JobName::new(name).ok()? },
            kind: kinds.into_iter().find(|kind| kind.word() == self.kind)?,
            phase: Phase::ALL.into_iter().find(|phase| phase.word() == self.phase)?,
            waits_for: self.waits_for.as_ref().and_then(|word| Wait::ALL.into_iter().find(|wait| wait.word() == word)),
            is_paused: self.is_paused,
            is_window_open: self.is_window_open,
            interval,
            next: self.next.as_ref().and_then(time),
            transferred_bytes: self.transferred_bytes,
            newest: newest.collect::<Option<_>>()?,
            max_age: self.max_age_secs.map(Duration::from_secs),
            activity,
            last,
            failure,
        })
    }
}

#[cfg(test)]
mod tests {
    use offsite_core::schedule::Span;

    use super::*;

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let time = Timestamp::parse("2026-11-22T22:00:00Z").unwrap();
        let subject = Subject { repository: "dr".to_owned(), job: JobName::new("Offsite Copy").unwrap() };
        let plain = JobStatus::new(subject, WorkKind::Verify);
        let mut statuses = vec![plain.clone()];
        for (phase, wait) in Phase::ALL.into_iter().zip(Wait::ALL.into_iter().cycle()) {
            statuses.push(JobStatus {
                kind: WorkKind::Copy,
                phase,
                waits_for: Some(wait),
                is_paused: true,
                is_window_open: false,
                interval: Some(Span::new(time, Timestamp::MAX).with_intervals(3)),
                next: Some(time),
                transferred_bytes: u64::MAX,
                newest: BTreeMap::from([
                    (MachineName::new("db01").unwrap(), Some(time)),
                    (MachineName::new("web01").unwrap(), None),
                ]),
                max_age: Some(Duration::from_secs(93_600)),
                activity: Some(ActivityStatus {
                    machine: Some(MachineName::new("db01").unwrap()),
                    disk: Some(DiskNumber(3)),
                    done_bytes: 7,
                    bytes_per_sec: Some(2),
                    waits_for: Some("a backup".to_owned()),
                    ..ActivityStatus::new(Task::MakeFull, Step::Zero, JobName::new("nightly").unwrap(), u64::MAX, time)
                }),
                last: Some(LastEnd {
                    at: time,
                    status: RunStatus::Failed,
                    point: Some(Sequence(7)),
                    failure: Some("it is away".to_owned()),
                }),
                failure: Some(LastFailure { at: time, why: "it is away".to_owned(), is_retryable: true }),
                ..plain.clone()
            });
        }
        for status in statuses {
            let text = serde_json::to_string(&JobRecord::from(&status)).unwrap();
            let record: JobRecord = serde_json::from_str(&text).unwrap();
            assert_eq!(record.status("Offsite Copy"), Some(status), "{text}");
        }
    }
}
