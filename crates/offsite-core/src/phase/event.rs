//! The events that a job receives, and the actions that it asks for.

use std::collections::{BTreeMap, BTreeSet};

use super::outcome::{Outcome, RunResult};
use crate::schedule::{PointRange, Span};
use crate::selection::{Choice, Decision};
use crate::{MachineName, Timestamp};

/// What a runner tells a job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Time has passed. It is the answer to [`Action::WakeAt`].
    Tick,
    /// A source may have new restore points.
    SourceChanged,
    /// The answer to [`Action::LookAtSources`]: what there is of every selected machine.
    SourcesSeen(Vec<Sighting>),
    /// The answer to [`Action::LookAtSources`] if it failed. The job asks again later.
    LookFailed {
        /// The failure in words, for the report.
        why: String,
    },
    /// The running sync has made progress with a machine.
    Progress {
        /// The machine.
        machine: MachineName,
        /// Bytes that the sync has copied.
        done_bytes: u64,
        /// Bytes that remain to be copied.
        left_bytes: u64,
    },
    /// The running sync has copied a machine completely.
    MachineCopied {
        /// The machine.
        machine: MachineName,
        /// The time at which the machine was in the copied state.
        captured: Timestamp,
    },
    /// The running sync leaves out a machine, as a backup of it has begun since the look. The job waits for that backup.
    MachineLocked {
        /// The machine.
        machine: MachineName,
    },
    /// The running sync has ended. The job tries again to copy its machines without an [`Event::MachineCopied`].
    SyncEnded,
    /// The running sync has failed. The next sync does not transfer again what this one has copied.
    SyncFailed {
        /// `true` if a retry may succeed.
        is_retryable: bool,
        /// The failure in words, for the report.
        why: String,
    },
    /// The running sync could not begin, as another run of the job is at work, perhaps on another host. The job counts what that
    /// run copies as soon as a look finds it.
    AtWorkElsewhere {
        /// The reason in words, for the report.
        why: String,
    },
    /// The answer to [`Action::ClosePoint`]. No sync runs any more, and the restore point is durable.
    PointClosed,
    /// The answer to [`Action::ClosePoint`] if the commit failed.
    CloseFailed {
        /// `true` if a retry may succeed.
        is_retryable: bool,
        /// The failure in words, for the report.
        why: String,
    },
    /// The answer to [`Action::StartTransform`] when the transforms are done.
    TransformDone,
    /// The answer to [`Action::StartTransform`] if a transform failed.
    TransformFailed {
        /// `true` if a retry may succeed.
        is_retryable: bool,
        /// The failure in words, for the report.
        why: String,
    },
    /// The answer to [`Action::RunPostJob`]. The activities have ended, whether they succeeded or not.
    PostJobDone,
}

/// What a look at the sources found of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sighting {
    /// The machine.
    pub machine: MachineName,
    /// What the look found.
    pub seen: Seen,
}

/// The state of a machine at the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// A restore point that counts and that the job has not copied.
    Ready,
    /// A restore point whose backup still runs.
    Locked,
    /// No new restore point that counts.
    NoNewPoint,
    /// Only restore points up to one that an earlier interval or another run has copied.
    AlreadyCopied {
        /// The time at which the machine was in the copied state.
        captured: Timestamp,
    },
    /// No restore point that has the machine complete.
    NoWholePoint,
    /// Only restore points in the target repository.
    InTarget,
    /// Only restore points with a date after the present.
    FutureDated,
    /// Nothing. The selection names the machine, and no source has it.
    Missing,
}

impl Sighting {
    /// A look found `seen` of `machine`.
    #[must_use]
    pub const fn new(machine: MachineName, seen: Seen) -> Self {
        Self { machine, seen }
    }
}

impl From<&Choice> for Sighting {
    fn from(choice: &Choice) -> Self {
        let seen = match choice.decision {
            Decision::Take { .. } => Seen::Ready,
            Decision::Locked { .. } => Seen::Locked,
            Decision::FutureDated { .. } => Seen::FutureDated,
            Decision::Missing => Seen::Missing,
            Decision::AlreadyCopied { captured } => Seen::AlreadyCopied { captured },
            Decision::TooOld { .. } => Seen::NoNewPoint,
            Decision::Incomplete => Seen::NoWholePoint,
            Decision::InTarget => Seen::InTarget,
        };
        Self { machine: choice.machine.clone(), seen }
    }
}

/// What a job asks its runner to do.
// Exhaustive: a runner that does not know one must not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look which restore points there are. Answer with [`Event::SourcesSeen`] or [`Event::LookFailed`].
    LookAtSources {
        /// The times of the restore points that count.
        range: PointRange,
    },
    /// Begin to copy these machines into the interval's restore point. The sync ends with [`Event::SyncEnded`],
    /// [`Event::SyncFailed`] or [`Event::AtWorkElsewhere`].
    StartSync {
        /// The times of the restore points that count.
        range: PointRange,
        /// The machines to copy. The job has copied none of them in this interval.
        machines: BTreeSet<MachineName>,
    },
    /// Stop the running transfer, in the middle of a file if need be, and keep what has arrived.
    Pause,
    /// Continue the transfer after [`Action::Pause`].
    Resume,
    /// Stop a running sync. Then commit the restore point of the interval, if it has anything. Answer with [`Event::PointClosed`]
    /// or [`Event::CloseFailed`].
    ClosePoint {
        /// The interval of the restore point.
        span: Span,
        /// The outcome of each machine, as far as the job knows. Events that come before the answer still count.
        machines: BTreeMap<MachineName, Outcome>,
    },
    /// Bring the chain to what the policy asks for. Answer with [`Event::TransformDone`] or [`Event::TransformFailed`].
    StartTransform,
    /// Do what the user wants done after a run. Answer with [`Event::PostJobDone`].
    RunPostJob {
        /// The result of the interval.
        result: RunResult,
    },
    /// Send [`Event::Tick`] at this time or soon after it. A later `WakeAt` replaces an earlier one.
    WakeAt(Timestamp),
}
