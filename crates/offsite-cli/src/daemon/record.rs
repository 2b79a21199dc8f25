//! What the status file says. The names of its fields are stable; times are RFC 3339 in UTC.

use std::collections::BTreeMap;

use offsite::model::MachineName;
use offsite::model::Sequence;
use offsite::model::Timestamp;
use offsite::runner::Absence;
use offsite::runner::LastRun;
use offsite::runner::Outcome;
use offsite::runner::{Memory, OpenInterval};
use offsite::schedule::Span;
use serde::{Deserialize, Serialize};

/// The version that is written. A file of another one is not understood.
pub(crate) const VERSION: u32 = 1;

/// A daemon, and its jobs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct StatusRecord {
    pub(crate) version: u32,
    pub(crate) pid: u32,
    pub(crate) host: String,
    pub(crate) config: String,
    pub(crate) started: String,
    /// When it ended by itself; one that was killed had no time to say so.
    pub(crate) stopped: Option<String>,
    pub(crate) jobs: BTreeMap<String, JobRecord>,
}

/// A job.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct JobRecord {
    /// `idle`, `sync`, `closing`, `transform`, `post-job`; `starting` before the first.
    pub(crate) phase: String,
    /// Whether a transfer waits for the window.
    pub(crate) is_paused: bool,
    pub(crate) interval: Option<IntervalRecord>,
    /// When the job does something next, unless something that is under way ends before.
    pub(crate) next_wake: Option<String>,
    /// Bytes read from the sources in the interval that is open, or was the last.
    pub(crate) transferred_bytes: u64,
    /// What failed last, until an interval ends without a failure.
    pub(crate) last_failure: Option<FailureRecord>,
    /// What the daemon goes on from when it starts again.
    pub(crate) memory: MemoryRecord,
}

/// An interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IntervalRecord {
    pub(crate) start: String,
    pub(crate) end: String,
    pub(crate) count: u32,
}

/// Something that failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FailureRecord {
    pub(crate) at: String,
    pub(crate) why: String,
    pub(crate) is_retried: bool,
}

/// [`Memory`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct MemoryRecord {
    last: Option<LastRecord>,
    open: Option<OpenRecord>,
    added: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct LastRecord {
    interval: IntervalRecord,
    is_finished: bool,
    machines: BTreeMap<String, OutcomeRecord>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum OutcomeRecord {
    Complete { captured: String },
    Incomplete { done_bytes: u64, left_bytes: u64 },
    Absent { why: AbsenceRecord },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AbsenceRecord {
    NoNewPoint,
    Locked,
    NotStarted,
    FutureDated,
    NoWholePoint,
    AtWorkElsewhere,
    InTarget,
    Missing,
    NotSelected,
    NotCommitted,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OpenRecord {
    start: String,
    end: String,
    target: String,
    after: u64,
}

impl From<Span> for IntervalRecord {
    fn from(span: Span) -> Self {
        Self { start: span.start.to_string(), end: span.end.to_string(), count: span.intervals }
    }
}

impl From<&Memory> for MemoryRecord {
    fn from(memory: &Memory) -> Self {
        let last = memory.last.as_ref().map(|last| LastRecord {
            interval: last.span.into(),
            is_finished: last.is_finished,
            machines: last.machines.iter().map(|(name, outcome)| (name.to_string(), outcome.into())).collect(),
        });
        let open = memory.open.as_ref().map(|open| OpenRecord {
            start: open.start.to_string(),
            end: open.end.to_string(),
            target: open.target.to_string(),
            after: open.after.0,
        });
        Self { last, open, added: memory.added }
    }
}

impl MemoryRecord {
    /// What it says; none if it is not what was written.
    pub(super) fn memory(&self) -> Option<Memory> {
        let time = |text: &str| Timestamp::parse(text).ok();
        let last = match &self.last {
            None => None,
            Some(last) => {
                let machines = last
                    .machines
                    .iter()
                    .map(|(name, outcome)| Some((MachineName::new(name).ok()?, outcome.outcome()?)));
                let machines = machines.collect::<Option<_>>()?;
                let IntervalRecord { start, end, count } = &last.interval;
                let span = Span::new(time(start)?, time(end)?).with_intervals(*count);
                Some(LastRun::new(span, machines).with_finished(last.is_finished))
            }
        };
        let open = match &self.open {
            None => None,
            Some(open) => {
                let target = open.target.parse().ok()?;
                let after = Sequence(open.after);
                Some(OpenInterval { start: time(&open.start)?, end: time(&open.end)?, target, after })
            }
        };
        Some(Memory { last, open, added: self.added })
    }
}

impl From<&Outcome> for OutcomeRecord {
    fn from(outcome: &Outcome) -> Self {
        match *outcome {
            Outcome::Complete { captured } | Outcome::Unchanged { captured } => {
                Self::Complete { captured: captured.to_string() }
            }
            Outcome::Incomplete { done_bytes, left_bytes } => Self::Incomplete { done_bytes, left_bytes },
            Outcome::Absent(absence) => Self::Absent {
                why: match absence {
                    Absence::NoNewPoint => AbsenceRecord::NoNewPoint,
                    Absence::Locked => AbsenceRecord::Locked,
                    Absence::FutureDated => AbsenceRecord::FutureDated,
                    Absence::NoWholePoint => AbsenceRecord::NoWholePoint,
                    Absence::AtWorkElsewhere => AbsenceRecord::AtWorkElsewhere,
                    Absence::InTarget => AbsenceRecord::InTarget,
                    Absence::Missing => AbsenceRecord::Missing,
                    Absence::NotSelected => AbsenceRecord::NotSelected,
                    Absence::NotCommitted => AbsenceRecord::NotCommitted,
                    _ => AbsenceRecord::NotStarted,
                },
            },
            _ => Self::Absent { why: AbsenceRecord::NotStarted },
        }
    }
}

impl OutcomeRecord {
    fn outcome(&self) -> Option<Outcome> {
        Some(match self {
            Self::Complete { captured } => Outcome::Complete { captured: Timestamp::parse(captured).ok()? },
            Self::Incomplete { done_bytes, left_bytes } => {
                Outcome::Incomplete { done_bytes: *done_bytes, left_bytes: *left_bytes }
            }
            Self::Absent { why } => Outcome::Absent(match why {
                AbsenceRecord::NoNewPoint => Absence::NoNewPoint,
                AbsenceRecord::Locked => Absence::Locked,
                AbsenceRecord::NotStarted => Absence::NotStarted,
                AbsenceRecord::FutureDated => Absence::FutureDated,
                AbsenceRecord::NoWholePoint => Absence::NoWholePoint,
                AbsenceRecord::AtWorkElsewhere => Absence::AtWorkElsewhere,
                AbsenceRecord::InTarget => Absence::InTarget,
                AbsenceRecord::Missing => Absence::Missing,
                AbsenceRecord::NotSelected => Absence::NotSelected,
                AbsenceRecord::NotCommitted => Absence::NotCommitted,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use offsite::model::RepositoryId;

    use super::*;

    #[test]
    fn a_memory_is_read_as_it_was_written() {
        let time = Timestamp::parse("2026-11-22T22:00:00Z").unwrap();
        let absences = [
            Absence::NoNewPoint,
            Absence::Locked,
            Absence::NotStarted,
            Absence::FutureDated,
            Absence::Missing,
            Absence::NotSelected,
            Absence::NotCommitted,
        ];
        let mut outcomes: Vec<Outcome> = absences.into_iter().map(Outcome::Absent).collect();
        outcomes.push(Outcome::Complete { captured: time });
        outcomes.push(Outcome::Incomplete { done_bytes: 3, left_bytes: u64::MAX });
        let machines = (0..).map(|number| MachineName::new(&format!("m{number}")).unwrap()).zip(outcomes).collect();
        let span = Span::new(time, Timestamp::MAX).with_intervals(3);
        let last = LastRun::new(span, machines).with_finished(true);
        let open =
            OpenInterval { start: time, end: Timestamp::MAX, target: RepositoryId::new([7; 16]), after: Sequence(9) };
        for memory in [Memory::default(), Memory { last: Some(last), open: Some(open), added: 2 }] {
            let text = serde_json::to_string(&MemoryRecord::from(&memory)).unwrap();
            let record: MemoryRecord = serde_json::from_str(&text).unwrap();
            assert_eq!(record.memory(), Some(memory), "{text}");
        }
    }
}
