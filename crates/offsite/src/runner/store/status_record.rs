//! The status of a daemon as it is stored in a file.
//!
//! Times are RFC 3339 in UTC.

use std::collections::BTreeMap;
use std::time::Duration;

use offsite_core::{MachineName, Sequence, Timestamp};
use serde::{Deserialize, Serialize};

use super::lock::Holder;
use super::record::IntervalRecord;
use crate::JobName;
use crate::runner::report::RunStatus;
use crate::runner::status::{JobStatus, LastEnd, LastFailure, Phase, Subject, Wait, WorkKind};

/// The version that is written. Files of other versions are refused.
pub(super) const VERSION: u32 = 2;

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
    last: Option<EndRecord>,
    failure: Option<FailureRecord>,
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
