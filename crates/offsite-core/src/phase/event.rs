//! What a job is told, and what it asks for.

use std::collections::{BTreeMap, BTreeSet};

use super::outcome::{Outcome, RunResult};
use crate::schedule::{PointRange, Span};
use crate::selection::{Choice, Decision};
use crate::{MachineName, Timestamp};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A source may have new restore points.
    SourceChanged,
    /// The answer to [`Action::LookAtSources`]: every machine of the selection.
    SourcesSeen(Vec<Sighting>),
    /// The look at the sources failed. The job asks for another one later.
    LookFailed {
        /// In words, for the report.
        why: String,
    },
    /// How far the running sync has come with a machine.
    Progress {
        /// Which machine.
        machine: MachineName,
        /// Bytes that it has copied.
        done_bytes: u64,
        /// Bytes that it has not.
        left_bytes: u64,
    },
    /// A machine is all there.
    MachineCopied {
        /// Which.
        machine: MachineName,
        /// When the machine was in the copied state.
        captured: Timestamp,
    },
    /// The running sync does not copy a machine, as a backup of it has begun since the look. The job waits for that.
    MachineLocked {
        /// Which.
        machine: MachineName,
    },
    /// The running sync has ended. The job looks again for its machines without a [`Event::MachineCopied`].
    SyncEnded,
    /// The running sync has failed. What it has copied stays, and crosses the wire no second time.
    SyncFailed {
        /// Whether it may work later.
        is_retryable: bool,
        /// In words, for the report.
        why: String,
    },
    /// The running sync could not begin, as another run of the job is at work, perhaps on another host. What that run copies counts as
    /// soon as a look finds it.
    AtWorkElsewhere {
        /// In words.
        why: String,
    },
    /// The answer to [`Action::ClosePoint`]: no sync runs, and the restore point is durable.
    PointClosed,
    /// The commit of the restore point failed.
    CloseFailed {
        /// Whether it may work later.
        is_retryable: bool,
        /// In words, for the report.
        why: String,
    },
    /// The transforms are done.
    TransformDone,
    /// A transform failed.
    TransformFailed {
        /// Whether it may work later.
        is_retryable: bool,
        /// In words, for the report.
        why: String,
    },
    /// The post-job activities have ended, well or not.
    PostJobDone,
}

/// A machine, as a look at the sources found it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sighting {
    /// Which.
    pub machine: MachineName,
    /// What there is of it.
    pub seen: Seen,
}

/// What there is of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// A restore point that counts, and that the job has not copied.
    Ready,
    /// A restore point whose backup still runs.
    Locked,
    /// No new restore point that counts.
    NoNewPoint,
    /// An earlier interval or another run has copied its newest restore point.
    AlreadyCopied {
        /// When the machine was in the copied state.
        captured: Timestamp,
    },
    /// No restore point has it whole.
    NoWholePoint,
    /// Restore points in the target repository only.
    InTarget,
    /// Only restore points with a date after the present.
    FutureDated,
    /// Nothing: the selection names it, and no source has it.
    Missing,
}

impl Sighting {
    /// What a look found of `machine`.
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

/// What the runner is to do.
// Exhaustive: a runner that does not know one must not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look which restore points there are, and answer with [`Event::SourcesSeen`] or [`Event::LookFailed`].
    LookAtSources {
        /// Which count.
        range: PointRange,
    },
    /// Begin to copy these machines into the interval's restore point. Ends with [`Event::SyncEnded`] or [`Event::SyncFailed`].
    StartSync {
        /// Which restore points count.
        range: PointRange,
        /// Which machines. The interval has copied none of them yet.
        machines: BTreeSet<MachineName>,
    },
    /// Stop the transfer, in the middle of a file if need be, and keep what there is.
    Pause,
    /// Go on.
    Resume,
    /// Stop a running sync, and commit the restore point of the interval if it has anything. Answer with [`Event::PointClosed`] or
    /// [`Event::CloseFailed`].
    ClosePoint {
        /// The interval.
        span: Span,
        /// What there is of each machine, as far as the job knows. An event before the answer still counts.
        machines: BTreeMap<MachineName, Outcome>,
    },
    /// Bring the chain to what the policy asks for. Answer with [`Event::TransformDone`] or [`Event::TransformFailed`].
    StartTransform,
    /// Do what the user wants done after a run, and answer with [`Event::PostJobDone`].
    RunPostJob {
        /// What came of the interval.
        result: RunResult,
    },
    /// Send [`Event::Tick`] at that time, or soon after it. A later action of this kind replaces an earlier one.
    WakeAt(Timestamp),
}
