//! The memory of a job as it is stored in a file.
//!
//! Times are RFC 3339 in UTC.

use std::collections::BTreeMap;

use offsite_core::schedule::Span;
use offsite_core::{MachineName, Sequence, Timestamp, Transferred};
use serde::{Deserialize, Serialize};

use crate::report::{MachineOutcome, Reason};
use crate::runner::memory::{Memory, OpenInterval};
use crate::runner::outcome::LastRun;

/// The version that is written. Files of other versions are refused.
const VERSION: u32 = 1;

/// An interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IntervalRecord {
    pub(super) start: String,
    pub(super) end: String,
    pub(super) count: u32,
}

/// [`Memory`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct MemoryRecord {
    version: u32,
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

impl IntervalRecord {
    /// The interval. `None` if the record is not what was written.
    pub(super) fn span(&self) -> Option<Span> {
        let time = |text: &str| Timestamp::parse(text).ok();
        Some(Span::new(time(&self.start)?, time(&self.end)?).with_intervals(self.count))
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
        Self { version: VERSION, last, open, added: memory.added }
    }
}

impl MemoryRecord {
    /// The memory. `None` if the record is not what was written.
    pub(super) fn memory(&self) -> Option<Memory> {
        if self.version != VERSION {
            return None;
        }
        let time = |text: &str| Timestamp::parse(text).ok();
        let last = match &self.last {
            None => None,
            Some(last) => {
                let machines = last
                    .machines
                    .iter()
                    .map(|(name, outcome)| Some((MachineName::new(name).ok()?, outcome.outcome()?)));
                let machines = machines.collect::<Option<_>>()?;
                Some(LastRun::new(last.interval.span()?, machines).with_finished(last.is_finished))
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

impl From<&MachineOutcome> for OutcomeRecord {
    fn from(outcome: &MachineOutcome) -> Self {
        match outcome {
            MachineOutcome::Complete { captured } | MachineOutcome::Unchanged { captured } => {
                Self::Complete { captured: captured.to_string() }
            }
            MachineOutcome::Incomplete { transferred, .. } => {
                Self::Incomplete { done_bytes: transferred.done_bytes, left_bytes: transferred.left_bytes }
            }
            MachineOutcome::Waiting { .. } => Self::Absent { why: AbsenceRecord::Locked },
            MachineOutcome::Absent { why } => Self::Absent {
                why: match why {
                    Reason::NoNewPoint => AbsenceRecord::NoNewPoint,
                    Reason::BackupAtWork { .. } => AbsenceRecord::Locked,
                    Reason::FutureDated { .. } => AbsenceRecord::FutureDated,
                    Reason::NoWholePoint => AbsenceRecord::NoWholePoint,
                    Reason::RunAtWork => AbsenceRecord::AtWorkElsewhere,
                    Reason::InTarget => AbsenceRecord::InTarget,
                    Reason::Missing => AbsenceRecord::Missing,
                    Reason::NotSelected => AbsenceRecord::NotSelected,
                    Reason::NotCommitted => AbsenceRecord::NotCommitted,
                    _ => AbsenceRecord::NotStarted,
                },
            },
        }
    }
}

impl OutcomeRecord {
    fn outcome(&self) -> Option<MachineOutcome> {
        Some(match self {
            Self::Complete { captured } => MachineOutcome::Complete { captured: Timestamp::parse(captured).ok()? },
            Self::Incomplete { done_bytes, left_bytes } => {
                let transferred = Transferred::new(*done_bytes, *left_bytes);
                MachineOutcome::Incomplete { captured: None, transferred, why: Reason::TransferEnded }
            }
            Self::Absent { why } => MachineOutcome::Absent {
                why: match why {
                    AbsenceRecord::NoNewPoint => Reason::NoNewPoint,
                    AbsenceRecord::Locked => Reason::BackupAtWork { job: None },
                    AbsenceRecord::NotStarted => Reason::NotStarted,
                    AbsenceRecord::FutureDated => Reason::FutureDated { earliest: None },
                    AbsenceRecord::NoWholePoint => Reason::NoWholePoint,
                    AbsenceRecord::AtWorkElsewhere => Reason::RunAtWork,
                    AbsenceRecord::InTarget => Reason::InTarget,
                    AbsenceRecord::Missing => Reason::Missing,
                    AbsenceRecord::NotSelected => Reason::NotSelected,
                    AbsenceRecord::NotCommitted => Reason::NotCommitted,
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use offsite_core::RepositoryId;

    use super::*;

    #[test]
    fn a_memory_is_read_as_it_was_written() {
        let time = Timestamp::parse("2026-11-22T22:00:00Z").unwrap();
        let reasons = [
            Reason::NoNewPoint,
            Reason::BackupAtWork { job: None },
            Reason::NotStarted,
            Reason::FutureDated { earliest: None },
            Reason::NoWholePoint,
            Reason::RunAtWork,
            Reason::InTarget,
            Reason::Missing,
            Reason::NotSelected,
            Reason::NotCommitted,
        ];
        let mut outcomes: Vec<MachineOutcome> = reasons.into_iter().map(|why| MachineOutcome::Absent { why }).collect();
        outcomes.push(MachineOutcome::Complete { captured: time });
        let transferred = Transferred::new(3, u64::MAX);
        let why = Reason::TransferEnded;
        outcomes.push(MachineOutcome::Incomplete { captured: None, transferred, why });
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
