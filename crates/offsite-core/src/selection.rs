//! Which restore points of which machines a copy job takes.
//!
//! A caller lists the source repositories, and makes a [`Candidate`] for each machine of each restore point. [`decide`] says what
//! becomes of each selected machine, and why:
//!
//! ```
//! # use std::collections::BTreeMap;
//! # use offsite_core::selection::*;
//! # use offsite_core::schedule::PointRange;
//! # use offsite_core::{FolderId, Labels, MachineName, Origin, RepositoryId, Sequence, Timestamp};
//! # let (primary, second) = (RepositoryId::new([1; 16]), RepositoryId::new([2; 16]));
//! # let (web01, now) = (MachineName::new("web01")?, Timestamp::parse("2026-11-22T22:00:00Z")?);
//! # let (origin, captured) = (Origin::new(FolderId::new([3; 16]), Sequence(7)), Timestamp::parse("2026-11-21T22:20:00Z")?);
//! # let labels = Labels::new(["gold".to_owned()], [])?;
//! let nightly = Candidate::new(primary, origin, "nightly", web01, captured).with_labels(labels);
//! let selection = SelectionRules::new(vec![Scope::infrastructure(primary)])
//!     .with_include(MachineFilter::default().with_tags([Pattern::new("gold")]))
//!     .with_exclude(MachineFilter::default().with_machines([Pattern::new("test*")]));
//! let range = PointRange { not_before: Timestamp::MIN, not_after: now };
//! let choices = decide(&selection, &[nightly], &Request::new(second, &BTreeMap::new(), range));
//! assert_eq!(choices[0].decision, Decision::Take { candidate: 0 });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Rules
//!
//! - *Scope.* A [`Scope`] is a repository with all its jobs ("from infrastructure"), or one job of it ("from job"), or chosen
//!   machines of that job ("from backup"). Several sources add up. A copy job's folder is a source like any other.
//! - *Filters.* A job selects a machine if its name, a tag or a container matches `include` and none matches `exclude`. An empty
//!   `include` takes all. Machines that appear later join by themselves.
//! - *The newest.* In a folder, numbers say which point is newer, whatever the clock said. Between folders, the latest time wins
//!   ([`Take::Newest`]). At the same time, the repository and folder that come first win.
//! - *Locked.* If the backup of the newest point still runs, the machine waits for it, though older points are there.
//! - *Never copied*: points of the target repository, points that have the machine incomplete, points with a date after the
//!   present, and what is not newer than what the job has copied ([`CopiedState::is_before`]).

mod decide;
mod pattern;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use decide::decide;
pub use pattern::Pattern;

use crate::schedule::PointRange;
use crate::{FolderId, Labels, MachineName, Origin, RepositoryId, Sequence, Status, Timestamp};

/// A machine in a restore point of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The repository of the point.
    pub repository: RepositoryId,
    /// The job folder of the point.
    pub folder: FolderId,
    /// The job that made the point.
    pub job: Arc<str>,
    /// The number of the point in the folder.
    pub sequence: Sequence,
    /// Which machine.
    pub machine: MachineName,
    /// When the machine was in this state. If its backup still runs, when that began.
    pub captured: Timestamp,
    /// How much of the machine the point has. If it is carried, the point that made the state is gone.
    pub status: Status,
    /// The machine's tags, and the containers that it is in.
    pub labels: Labels,
    /// Whether its backup still runs.
    pub is_locked: bool,
}

impl Candidate {
    /// The whole state of `machine` at `captured`, in the point that `origin` names, which the job `job` made.
    #[must_use]
    pub fn new(
        repository: RepositoryId,
        origin: Origin,
        job: impl Into<Arc<str>>,
        machine: MachineName,
        captured: Timestamp,
    ) -> Self {
        Self {
            repository,
            folder: origin.folder,
            job: job.into(),
            sequence: origin.sequence,
            machine,
            captured,
            status: Status::Complete,
            labels: Labels::default(),
            is_locked: false,
        }
    }

    /// The same where the point has this much of the machine.
    #[must_use]
    pub fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    /// The same where the machine has these tags and containers.
    #[must_use]
    pub fn with_labels(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }

    /// The same where the backup still runs, or does not.
    #[must_use]
    pub fn with_lock(self, is_locked: bool) -> Self {
        Self { is_locked, ..self }
    }
}

/// Where a job takes restore points from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scope {
    /// The repository.
    pub repository: RepositoryId,
    /// The job whose points count. `None` means every job.
    pub job: Option<Arc<str>>,
    /// The machines that count. An empty list means all.
    pub machines: Vec<Pattern>,
}

/// Machines by name, container and tag. One match is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineFilter {
    /// Names of machines.
    pub machines: Vec<Pattern>,
    /// Names of containers. What is inside a container of a matching one is in it, too.
    pub containers: Vec<Pattern>,
    /// Tags.
    pub tags: Vec<Pattern>,
}

impl MachineFilter {
    /// The same with machines of these names.
    #[must_use]
    pub fn with_machines(self, names: impl IntoIterator<Item = Pattern>) -> Self {
        Self { machines: names.into_iter().collect(), ..self }
    }

    /// The same with machines in these containers.
    #[must_use]
    pub fn with_containers(self, names: impl IntoIterator<Item = Pattern>) -> Self {
        Self { containers: names.into_iter().collect(), ..self }
    }

    /// The same with machines that have one of these tags.
    #[must_use]
    pub fn with_tags(self, tags: impl IntoIterator<Item = Pattern>) -> Self {
        Self { tags: tags.into_iter().collect(), ..self }
    }
}

/// What a copy job takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelectionRules {
    /// Where from.
    pub sources: Vec<Scope>,
    /// Which machines. An empty filter includes all.
    pub include: MachineFilter,
    /// Which of them not. An empty filter excludes none.
    pub exclude: MachineFilter,
}

impl SelectionRules {
    /// All machines of these sources.
    #[must_use]
    pub fn new(sources: Vec<Scope>) -> Self {
        Self { sources, ..Self::default() }
    }

    /// The same with these machines only. An empty filter includes all.
    #[must_use]
    pub fn with_include(self, include: MachineFilter) -> Self {
        Self { include, ..self }
    }

    /// The same without these machines.
    #[must_use]
    pub fn with_exclude(self, exclude: MachineFilter) -> Self {
        Self { exclude, ..self }
    }
}

/// Which of several points of a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Take {
    /// The newest. A job with intervals copies one point per machine and interval.
    #[default]
    Newest,
    /// The oldest that the job has not copied. So a job without intervals copies every point in turn. The first time it is the newest.
    Next,
}

/// What a job has copied of a machine: the newest whole state in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopiedState {
    /// When the machine was in that state, by the clock of the backup.
    pub captured: Timestamp,
    /// The restore point that it is a copy of. `None` if that is unknown.
    pub origin: Option<Origin>,
}

impl CopiedState {
    /// The state at `captured`, which is a copy of `origin`.
    #[must_use]
    pub const fn new(captured: Timestamp, origin: Option<Origin>) -> Self {
        Self { captured, origin }
    }

    /// Whether `candidate`, one of `candidates`, is newer than this state.
    ///
    /// In the folder of the copied point numbers alone tell, so a clock that was ahead once ends no copying. If the copied number
    /// belongs to another point now, or the folder has not come to it, somebody has put the folder back to an earlier day. Then times
    /// tell. They do so between folders, and for a carried state, whose number is not its own.
    #[must_use]
    pub fn is_before(&self, candidate: &Candidate, candidates: &[Candidate]) -> bool {
        let of_folder = self.origin.filter(|origin| origin.folder == candidate.folder);
        let Some(origin) = of_folder.filter(|_| candidate.status != Status::Carried) else {
            return candidate.captured > self.captured;
        };
        let is_renumbered = candidates.iter().any(|other| {
            (other.folder, &other.machine, other.sequence) == (origin.folder, &candidate.machine, origin.sequence)
                && other.status == Status::Complete
                && other.captured != self.captured
        });
        let has_come_so_far =
            candidates.iter().any(|other| other.folder == origin.folder && other.sequence >= origin.sequence);
        if is_renumbered || !has_come_so_far {
            candidate.captured > self.captured
        } else {
            candidate.sequence > origin.sequence
        }
    }
}

/// What there is to know beside the selection.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The repository that the job copies to.
    pub target: RepositoryId,
    /// The newest state of each machine that the job has copied.
    pub copied: &'a BTreeMap<MachineName, CopiedState>,
    /// The times of the points that count.
    pub range: PointRange,
    /// Which of several.
    pub take: Take,
}

impl<'a> Request<'a> {
    /// A copy to `target` of the newest points in `range`, where the job has copied `copied`.
    #[must_use]
    pub const fn new(target: RepositoryId, copied: &'a BTreeMap<MachineName, CopiedState>, range: PointRange) -> Self {
        Self { target, copied, range, take: Take::Newest }
    }

    /// The same with this choice among several points.
    #[must_use]
    pub const fn with_take(self, take: Take) -> Self {
        Self { take, ..self }
    }
}

/// What becomes of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// The machine. The selection may name one that no source has.
    pub machine: MachineName,
    /// What becomes of it.
    pub decision: Decision,
    /// The earliest date after the present among its newer points, which have to wait for it. `None` if there are none.
    pub future_dated: Option<Timestamp>,
}

/// What becomes of a machine, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Decision {
    /// The job copies the candidate at that place in the list.
    Take {
        /// Its place, from 0.
        candidate: usize,
    },
    /// The backup that makes its newest point still runs.
    Locked {
        /// When that backup began.
        captured: Timestamp,
    },
    /// The job has copied its newest point.
    AlreadyCopied {
        /// When the machine was in the copied state.
        captured: Timestamp,
    },
    /// Its newest point is too old to count. The job waits for a newer one.
    TooOld {
        /// The time of the newest point.
        captured: Timestamp,
    },
    /// All its points have a date after the present.
    FutureDated {
        /// The time of the earliest of them.
        captured: Timestamp,
    },
    /// No point has it whole.
    Incomplete,
    /// Its points are in the target repository only.
    InTarget,
    /// The selection names it, and no source has it.
    Missing,
}

impl Scope {
    /// All jobs of a repository.
    #[must_use]
    pub fn infrastructure(repository: RepositoryId) -> Self {
        Self { repository, job: None, machines: Vec::new() }
    }

    /// One job.
    #[must_use]
    pub fn job(repository: RepositoryId, job: &str) -> Self {
        Self { repository, job: Some(job.into()), machines: Vec::new() }
    }

    /// Chosen machines of a job.
    #[must_use]
    pub fn backup(repository: RepositoryId, job: &str, machines: Vec<Pattern>) -> Self {
        Self { machines, ..Self::job(repository, job) }
    }

    fn has(&self, candidate: &Candidate) -> bool {
        self.repository == candidate.repository
            && self.job.as_ref().is_none_or(|job| *job == candidate.job)
            && (self.machines.is_empty() || any(&self.machines, candidate.machine.as_str()))
    }
}

impl MachineFilter {
    /// Whether it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty() && self.containers.is_empty() && self.tags.is_empty()
    }

    /// Whether a machine of this name and with these labels matches.
    #[must_use]
    pub fn has(&self, machine: &MachineName, labels: &Labels) -> bool {
        // A machine in `berlin/esx-03` is in `berlin`.
        let holders = |path: &str| {
            let ends: Vec<usize> = path.match_indices('/').map(|(end, _)| end).chain([path.len()]).collect();
            ends.into_iter().any(|end| any(&self.containers, &path[..end]))
        };
        any(&self.machines, machine.as_str())
            || labels.tags().any(|tag| any(&self.tags, tag))
            || labels.containers().any(holders)
    }
}

impl SelectionRules {
    /// Whether a candidate is of a source, included and not excluded.
    #[must_use]
    pub fn has(&self, candidate: &Candidate) -> bool {
        let is_of = |filter: &MachineFilter| filter.has(&candidate.machine, &candidate.labels);
        self.sources.iter().any(|source| source.has(candidate))
            && (self.include.is_empty() || is_of(&self.include))
            && !is_of(&self.exclude)
    }

    /// The machines that are named in full, so that they are missed where they are not.
    fn named(&self) -> impl Iterator<Item = MachineName> {
        let of_sources = self.sources.iter().flat_map(|source| &source.machines);
        let patterns = self.include.machines.iter().chain(of_sources);
        let names = patterns.filter_map(|pattern| MachineName::new(pattern.as_name()?).ok());
        names.filter(|name| !any(&self.exclude.machines, name.as_str()))
    }
}

fn any(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}
