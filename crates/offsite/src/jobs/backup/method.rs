//! Methods of backup jobs: which kind of restore point a run makes.

use offsite_core::retention::Ageing;
use offsite_core::{Chain, PointKind};

use crate::{Error, JobName, Result};

/// How the chain of a backup job grows, and how it loses its oldest points.
///
/// A job may change its method from run to run. One change needs a full: a reverse-incremental run goes back from a full. So
/// after increments it is refused, until a run with a [`FullKind`] has made a full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum BackupMethod {
    /// One full, then increments. Retention merges the oldest increments into the full.
    #[default]
    ForeverForward,
    /// Increments, and a new full when a run is told to make one. Nothing merges. An older full goes together with its
    /// increments, when retention no longer keeps any of them.
    Forward,
    /// The newest point is always the full. The blocks that a run replaces in it become a rollback: the step back to the point
    /// before. No block moves for that. Retention removes the oldest rollbacks.
    Reverse,
}

/// How a run makes a full although its method would not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FullKind {
    /// The run reads and stores every block. Machines that are not in the run are carried along, and their blocks stay where they
    /// are.
    Active,
    /// The run stores the changed blocks as usual. The index of the point stands on the indexes of the points before it. So the
    /// point is a full without reading or writing another block.
    Synthetic,
}

/// What a run makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Making {
    /// A full of what is read.
    ActiveFull,
    /// A full of what changed, on the indexes of the newest state.
    SyntheticFull,
    /// A synthetic full; the full before it becomes a rollback.
    ReverseFull,
    /// A step from the newest state.
    Increment,
}

impl BackupMethod {
    /// How the job loses its oldest points.
    pub(super) fn ageing(self) -> Ageing {
        match self {
            Self::Forward => Ageing::WholeChains,
            Self::ForeverForward | Self::Reverse => Ageing::Merge,
        }
    }
}

impl Making {
    /// Decides what the next run makes of a chain.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a reverse-incremental run after an increment.
    pub(super) fn choose(job: &JobName, chain: &Chain, method: BackupMethod, full: Option<FullKind>) -> Result<Self> {
        let Some(latest) = chain.latest() else { return Ok(Self::ActiveFull) };
        match (method, full) {
            (_, Some(FullKind::Active)) => Ok(Self::ActiveFull),
            (_, Some(FullKind::Synthetic)) => Ok(Self::SyntheticFull),
            (BackupMethod::ForeverForward | BackupMethod::Forward, None) => Ok(Self::Increment),
            (BackupMethod::Reverse, None) if latest.kind == PointKind::Full => Ok(Self::ReverseFull),
            (BackupMethod::Reverse, None) => Err(Error::setting(
                "method",
                format!(
                    "the newest restore point of job {job}, {}, is an increment, and a reverse-incremental run goes back from a \
                 full; make this run's point a full once, active or synthetic, and go on in reverse from there",
                    latest.sequence
                ),
            )),
        }
    }

    pub(super) fn kind(self) -> PointKind {
        if self == Self::Increment { PointKind::Increment } else { PointKind::Full }
    }
}
