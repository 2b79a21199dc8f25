//! How it is with a job now.

use std::collections::BTreeMap;
use std::time::Duration;

use offsite_core::schedule::Span;
use offsite_core::{MachineName, Sequence, Timestamp, phase};

use super::report::{Overdue, RunStatus};
use crate::JobName;

/// Which job something is told of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Subject {
    /// The repository that it works on, as whoever scheduled it calls it.
    pub repository: String,
    /// The job, by the name of its schedule.
    pub job: JobName,
}

/// What a scheduled job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum WorkKind {
    /// It copies.
    Copy,
    /// It backs up.
    Backup,
    /// It verifies.
    Verify,
}

impl WorkKind {
    /// `copy`, `backup` or `verify`.
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
    /// Its runner has just begun, and looks what there is.
    #[default]
    Starting,
    /// The next interval, or the next restore point, is waited for.
    Idle,
    /// Machines are waited for and copied.
    Sync,
    /// The restore point of a copy is being committed.
    Closing,
    /// Transforms.
    Transform,
    /// A backup.
    Backup,
    /// A verification.
    Verify,
    /// Post-job activities.
    PostJob,
}

impl Phase {
    /// All of them.
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

    /// `starting`, `idle`, `sync`, `closing`, `transform`, `backup`, `verify` or `post-job`.
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

/// What a job waits for, while nothing of it is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Wait {
    /// The next interval.
    Interval,
    /// New restore points in its sources.
    Points,
    /// The window.
    Window,
    /// A slot, which other jobs have.
    Slot,
    /// The next try of what failed.
    Retry,
    /// Somebody has paused it, and is to let it go on.
    Resume,
}

impl Wait {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Interval, Self::Points, Self::Window, Self::Slot, Self::Retry, Self::Resume];

    /// `interval`, `points`, `window`, `slot`, `retry` or `resume`.
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

/// Something that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LastFailure {
    /// When.
    pub at: Timestamp,
    /// In words.
    pub why: String,
    /// Whether it was to be tried again.
    pub is_retryable: bool,
}

/// What came of the interval that ended last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LastEnd {
    /// When it ended.
    pub at: Timestamp,
    /// How, in one word.
    pub status: RunStatus,
    /// The newest restore point that was made; none if none was.
    pub point: Option<Sequence>,
    /// Why it failed; none, if it has not.
    pub failure: Option<String>,
}

/// How it is with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct JobStatus {
    /// Which job.
    pub subject: Subject,
    /// What it does.
    pub kind: WorkKind,
    /// What it is doing.
    pub phase: Phase,
    /// What it waits for; nothing, while it is at work.
    pub waits_for: Option<Wait>,
    /// Whether a transfer waits, for its window or for somebody.
    pub is_paused: bool,
    /// The interval that is open, or was closed last.
    pub interval: Option<Span>,
    /// Whether its window is open.
    pub is_window_open: bool,
    /// When the job does something next, unless something that is under way ends before.
    pub next: Option<Timestamp>,
    /// Bytes read from the sources in the interval that is open, or was the last.
    pub transferred_bytes: u64,
    /// When each machine was in the newest state that there is of it. A machine without a time has none. Empty, until it is known.
    pub newest: BTreeMap<MachineName, Option<Timestamp>>,
    /// How old that may be. Without it, no machine is overdue.
    pub max_age: Option<Duration>,
    /// What came of the interval that ended last.
    pub last: Option<LastEnd>,
    /// What failed last, until an interval ends well.
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
            last: None,
            failure: None,
        }
    }

    /// How old the newest state of a machine is at `now`, in seconds; none if there is none.
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
