//! Which restore points of which machines a copy job takes.
//!
//! A caller lists the source repositories and hands over one [`Candidate`] for each machine of each restore point that is
//! there, and [`decide`] says what becomes of each selected machine, and why:
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
//! - *Scope.* A [`Scope`] is a repository, and in it all jobs ("from infrastructure"), or one ("from job"; with machines chosen of
//!   it: "from backup"). Several sources add up. A copy job's folder is a source like any other.
//! - *MachineFilter.* A machine is selected if its name, a tag or a container of it matches `include` (which, if empty, takes
//!   all), and nothing of it matches `exclude`. Machines that appear later join by themselves.
//! - *The newest.* In a folder, numbers say which point is newer, whatever the clock said when it was made. Of the newest points of a
//!   machine in several folders, that of the latest time is taken ([`Take::Newest`]); at the same time, that in the repository and folder
//!   that come first.
//! - *Locked.* If the newest point is one whose backup still runs, the machine waits for it, though older ones are there.
//! - *Never copied*: points of the target repository; what the job has copied already, and what is not newer than that
//!   ([`CopiedState::is_before`]); points that have the machine incomplete; points dated after the present.

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
    /// The identity of the repository that the point is in.
    pub repository: RepositoryId,
    /// The identity of the job folder that it is in.
    pub folder: FolderId,
    /// The job that made it.
    pub job: Arc<str>,
    /// Its number in the folder.
    pub sequence: Sequence,
    /// Which machine.
    pub machine: MachineName,
    /// When the machine was in this state; of a point that is being made, when its backup began.
    pub captured: Timestamp,
    /// How much of the machine the point has; carried: the state of an earlier point that is no more.
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

/// Where restore points are taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scope {
    /// The identity of a repository.
    pub repository: RepositoryId,
    /// The one job whose points are taken; any, if there is none.
    pub job: Option<Arc<str>>,
    /// The machines that are chosen of it; all, if there are none.
    pub machines: Vec<Pattern>,
}

/// Machines, by what they are called, how they are tagged, where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineFilter {
    /// Names of machines.
    pub machines: Vec<Pattern>,
    /// Names of containers; what is in a container of one that matches is in it too.
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
    /// Which machines; all, if this is empty.
    pub include: MachineFilter,
    /// Which of them not.
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
    /// The newest: a job with intervals copies one point per machine and interval.
    #[default]
    Newest,
    /// The oldest that is newer than what was copied, so that every point is copied in turn: a job without intervals. The first time
    /// it is the newest.
    Next,
}

/// What a job has copied of a machine: the newest whole state in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopiedState {
    /// When the machine was in that state, by the clock of whoever made the backup.
    pub captured: Timestamp,
    /// The restore point that it is a copy of, where that is known.
    pub origin: Option<Origin>,
}

impl CopiedState {
    /// The state at `captured`, which is a copy of `origin`.
    #[must_use]
    pub const fn new(captured: Timestamp, origin: Option<Origin>) -> Self {
        Self { captured, origin }
    }

    /// Whether `candidate`, one of `candidates`, is newer than what was copied.
    ///
    /// In the folder that was copied from, numbers alone say so: a clock that was ahead once ends no copying. Where the copied number is
    /// another point's now, or the folder has come to no such number yet, it was put back to an earlier day and gives its numbers again;
    /// then times say so. They do in other
    /// folders, and where a state is merely carried along, as the number is then not the state's own.
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
    /// The identity of the repository that is copied to.
    pub target: RepositoryId,
    /// What the job has copied.
    pub copied: &'a BTreeMap<MachineName, CopiedState>,
    /// The time in which a point counts.
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

    /// The same where of several points this one is taken.
    #[must_use]
    pub const fn with_take(self, take: Take) -> Self {
        Self { take, ..self }
    }
}

/// What becomes of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// The machine; of one that is only named in the selection, that name.
    pub machine: MachineName,
    /// What becomes of it.
    pub decision: Decision,
    /// The time of the earliest of its points that are newer and dated after the present, if there are any: they are left out until then.
    pub future_dated: Option<Timestamp>,
}

/// What becomes of a machine, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Decision {
    /// It is copied from the candidate at that place in the list.
    Take {
        /// Its place, from 0.
        candidate: usize,
    },
    /// The backup that makes its newest point still runs.
    Locked {
        /// When that backup began.
        captured: Timestamp,
    },
    /// Its newest point is copied already.
    AlreadyCopied {
        /// The time of what was copied.
        captured: Timestamp,
    },
    /// Its newest point is too old to count; a newer one is waited for.
    TooOld {
        /// The time of the newest point.
        captured: Timestamp,
    },
    /// All its points are dated after the present.
    FutureDated {
        /// The time of the earliest of them.
        captured: Timestamp,
    },
    /// No point has it whole.
    Incomplete,
    /// Its points are in the target repository only.
    InTarget,
    /// It is named in the selection, and no source has it.
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
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty() && self.containers.is_empty() && self.tags.is_empty()
    }

    /// Whether a machine is one of them.
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
    /// Whether a candidate is of a source and of the selected machines.
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
