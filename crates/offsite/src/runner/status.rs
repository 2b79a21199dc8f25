//! The status of a scheduled job.

use std::collections::BTreeMap;
use std::time::Duration;

use offsite_core::schedule::Span;
use offsite_core::{MachineName, Sequence, Timestamp, phase};

use super::board::ActivityStatus;
use super::report::{Overdue, RunStatus};
use crate::JobName;

/// Identifies a scheduled job in events and in its status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Subject {
    /// The caller's name for the repository that the job works on.
    pub repository: String,
    /// The name of the job's schedule.
    pub job: JobName,
}

/// The kind of work of a scheduled job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum WorkKind {
    /// A copy job.
    Copy,
    /// A backup job.
    Backup,
    /// A verification.
    Verify,
}

impl WorkKind {
    /// The word for it: `copy`, `backup` or `verify`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Backup => "backup",
            Self::Verify => "verify",
        }
    }
}

/// What a job is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Phase {
    /// Its runner has just started, and looks what there is.
    #[default]
    Starting,
    /// The job waits for the next interval, or for the next restore point.
    Idle,
    /// The job waits for machines, and copies them.
    Sync,
    /// The job commits the restore point of a copy.
    Closing,
    /// The job transforms its chain.
    Transform,
    /// The job makes a backup.
    Backup,
    /// The job verifies a chain.
    Verify,
    /// The post-job activities run.
    PostJob,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 8] = [
        Self::Starting,
        Self::Idle,
        Self::Sync,
        Self::Closing,
        Self::Transform,
        Self::Backup,
        Self::Verify,
        Self::PostJob,
    ];

    /// The word for it: `starting`, `idle`, `sync`, `closing`, `transform`, `backup`, `verify` or `post-job`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Sync => "sync",
            Self::Closing => "closing",
            Self::Transform => "transform",
            Self::Backup => "backup",
            Self::Verify => "verify",
            Self::PostJob => "post-job",
        }
    }
}

impl From<phase::Phase> for Phase {
    fn from(phase: phase::Phase) -> Self {
        match phase {
            phase::Phase::Idle => Self::Idle,
            phase::Phase::Sync => Self::Sync,
            phase::Phase::Closing => Self::Closing,
            phase::Phase::Transform => Self::Transform,
            phase::Phase::PostJob => Self::PostJob,
        }
    }
}

/// What a job waits for while no activity runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Wait {
    /// The next interval.
    Interval,
    /// New restore points in its sources.
    Points,
    /// The opening of its window.
    Window,
    /// A slot. Other jobs have them all.
    Slot,
    /// The retry of something that failed.
    Retry,
    /// Somebody has paused the job. It waits to be resumed.
    Resume,
}

impl Wait {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Interval, Self::Points, Self::Window, Self::Slot, Self::Retry, Self::Resume];

    /// The word for it: `interval`, `points`, `window`, `slot`, `retry` or `resume`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Points => "points",
            Self::Window => "window",
            Self::Slot => "slot",
            Self::Retry => "retry",
            Self::Resume => "resume",
        }
    }
}

/// The last failure of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LastFailure {
    /// The time of the failure.
    pub at: Timestamp,
    /// The failure in words.
    pub why: String,
    /// `true` if the job was going to retry it.
    pub is_retryable: bool,
}

/// How the last interval ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LastEnd {
    /// The time at which it ended.
    pub at: Timestamp,
    /// The status in one word.
    pub status: RunStatus,
    /// The newest restore point that was made. `None` if none was made.
    pub point: Option<Sequence>,
    /// The failure in words. `None` if the interval did not fail.
    pub failure: Option<String>,
}

/// The status of a scheduled job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct JobStatus {
    /// The job.
    pub subject: Subject,
    /// The kind of work that it does.
    pub kind: WorkKind,
    /// The phase that it is in.
    pub phase: Phase,
    /// What it waits for. `None` while an activity runs.
    pub waits_for: Option<Wait>,
    /// `true` if a transfer waits for its window, or was paused by somebody.
    pub is_paused: bool,
    /// The open interval, or else the last one. `None` if there is none yet.
    pub interval: Option<Span>,
    /// `true` if its window is open.
    pub is_window_open: bool,
    /// The time at which the job does something next, unless an activity ends before. `None` if it waits for an activity only.
    pub next: Option<Timestamp>,
    /// The bytes read from the sources in the open interval, or else in the last one.
    pub transferred_bytes: u64,
    /// The newest state of each machine: the time at which the machine was in it, or `None` if it has no copy. Empty until it is
    /// known.
    pub newest: BTreeMap<MachineName, Option<Timestamp>>,
    /// The age from which a copy is overdue. `None` means that no machine is overdue.
    pub max_age: Option<Duration>,
    /// How far the present activity is. `None` if none runs, or if the schedule has no board.
    pub activity: Option<ActivityStatus>,
    /// How the last interval ended. `None` if none has ended yet.
    pub last: Option<LastEnd>,
    /// The last failure, until an interval succeeds.
    pub failure: Option<LastFailure>,
}

impl JobStatus {
    pub(super) fn new(subject: Subject, kind: WorkKind) -> Self {
        Self {
            subject,
            kind,
            phase: Phase::Starting,
            waits_for: None,
            is_paused: false,
            interval: None,
            is_window_open: true,
            next: None,
            transferred_bytes: 0,
            newest: BTreeMap::new(),
            max_age: None,
            activity: None,
            last: None,
            failure: None,
        }
    }

    /// The age of a machine's newest state at `now`, in seconds.
    ///
    /// `None` if it has none.
    #[must_use]
    pub fn age_secs(&self, machine: &MachineName, now: Timestamp) -> Option<i64> {
        let captured = self.newest.get(machine).copied().flatten()?;
        Some(now.unix_secs().saturating_sub(captured.unix_secs()))
    }

    /// The machines whose newest copies are too old at `now`.
    #[must_use]
    pub fn overdue(&self, now: Timestamp) -> Vec<Overdue> {
        let newest = self.newest.iter().map(|(machine, captured)| (machine, *captured));
        self.max_age.map_or_else(Vec::new, |max_age| Overdue::of(newest, max_age, now))
    }
}
