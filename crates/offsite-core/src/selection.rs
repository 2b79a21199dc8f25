//! Selection: which restore points of which machines a copy job takes.
//!
//! A caller lists the source repositories, and makes a [`Candidate`] for each machine of each restore point. [`decide`] then
//! decides about each selected machine, and says why:
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
//! - *Scope.* A [`Scope`] is a repository with all its jobs ("from infrastructure"), one job of it ("from job"), or chosen
//!   machines of a job ("from backup"). Several scopes add up. The folder of a copy job can be a source like any other.
//! - *Filters.* The job selects a machine if its name, a tag or a container matches `include`, and none matches `exclude`. An
//!   empty `include` takes all machines. New machines join by themselves.
//! - *The newest point.* In one folder, the greatest number is the newest, whatever the clock said. Between folders, the latest
//!   time is the newest ([`Take::Newest`]). If times are equal, the repository and folder with the lower identity win.
//! - *Locked machines.* If the backup of the newest point still runs, the job waits for it, even if there are older points.
//! - *Never copied* are points in the target repository, points that have the machine incomplete, points with a date after the
//!   present, and points that are not newer than what the job has copied ([`CopiedState::is_before`]). If what was copied came
//!   from a folder that is no source any more, all points are new.

mod decide;
mod pattern;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use decide::decide;
pub use pattern::Pattern;

use crate::schedule::PointRange;
use crate::{FolderId, Labels, MachineName, Origin, RepositoryId, RestorePoint, Sequence, Status, Timestamp};

/// Where a restore point stands among those of its folder, from the oldest.
///
/// Numbers tell it, except for back-filled archives: these stand behind a point that is older by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    behind: Sequence,
    nth: u64,
}

impl Age {
    /// The age of a point that its number tells.
    #[must_use]
    pub const fn of(sequence: Sequence) -> Self {
        Self { behind: sequence, nth: 0 }
    }

    /// The ages of `points`, which come oldest first, as [`Chain::all`](crate::Chain::all) tells them.
    pub fn of_all<'a>(
        points: impl IntoIterator<Item = &'a RestorePoint>,
    ) -> impl Iterator<Item = (&'a RestorePoint, Self)> {
        let mut last = Self { behind: Sequence(0), nth: 0 };
        points.into_iter().map(move |point| {
            last = if point.is_back_filled { Self { nth: last.nth + 1, ..last } } else { Self::of(point.sequence) };
            (point, last)
        })
    }
}

/// One machine in one restore point of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The repository that has the point.
    pub repository: RepositoryId,
    /// The job folder that has the point.
    pub folder: FolderId,
    /// The name of the job that made the point.
    pub job: Arc<str>,
    /// The number of the point in its folder.
    pub sequence: Sequence,
    /// Where the point stands among those of its folder, from the oldest: by its number, and for a back-filled archive behind the
    /// point that its time places it behind.
    pub age: Age,
    /// The name of the machine.
    pub machine: MachineName,
    /// The time at which the machine was in this state. While the backup still runs, the time at which it began.
    pub captured: Timestamp,
    /// How much of the machine the point has. [`Status::Carried`] means that the point in which the state was made is gone.
    pub status: Status,
    /// The tags of the machine, and the containers that it is in.
    pub labels: Labels,
    /// `true` while the backup of this point runs.
    pub is_locked: bool,
}

impl Candidate {
    /// A candidate with the complete state of `machine` at `captured`.
    ///
    /// `origin` names its folder and point, and `job` is the job that made it. It has no labels, and is not locked.
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
            age: Age::of(origin.sequence),
            machine,
            captured,
            status: Status::Complete,
            labels: Labels::default(),
            is_locked: false,
        }
    }

    /// Sets how much of the machine the point has.
    #[must_use]
    pub fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    /// Sets where the point stands among those of its folder.
    #[must_use]
    pub fn with_age(self, age: Age) -> Self {
        Self { age, ..self }
    }

    /// Sets the tags and containers of the machine.
    #[must_use]
    pub fn with_labels(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }

    /// Sets whether the backup of this point still runs.
    #[must_use]
    pub fn with_lock(self, is_locked: bool) -> Self {
        Self { is_locked, ..self }
    }
}

/// A source of restore points.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scope {
    /// The repository to copy from.
    pub repository: RepositoryId,
    /// The job whose points count. `None` means all jobs of the repository.
    pub job: Option<Arc<str>>,
    /// The machines that count. An empty list means all machines.
    pub machines: Vec<Pattern>,
}

/// A filter of machines by name, container and tag.
///
/// A machine matches if one pattern of any list matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineFilter {
    /// Patterns for names of machines.
    pub machines: Vec<Pattern>,
    /// Patterns for containers. A machine inside a matching container matches, however deep it lies.
    pub containers: Vec<Pattern>,
    /// Patterns for tags.
    pub tags: Vec<Pattern>,
}

impl MachineFilter {
    /// Sets the patterns for names of machines.
    #[must_use]
    pub fn with_machines(self, names: impl IntoIterator<Item = Pattern>) -> Self {
        Self { machines: names.into_iter().collect(), ..self }
    }

    /// Sets the patterns for containers.
    #[must_use]
    pub fn with_containers(self, names: impl IntoIterator<Item = Pattern>) -> Self {
        Self { containers: names.into_iter().collect(), ..self }
    }

    /// Sets the patterns for tags.
    #[must_use]
    pub fn with_tags(self, tags: impl IntoIterator<Item = Pattern>) -> Self {
        Self { tags: tags.into_iter().collect(), ..self }
    }
}

/// The sources and filters of a copy job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelectionRules {
    /// The sources of restore points.
    pub sources: Vec<Scope>,
    /// The machines to include. An empty filter includes all.
    pub include: MachineFilter,
    /// The machines to exclude. An empty filter excludes none.
    pub exclude: MachineFilter,
}

impl SelectionRules {
    /// Selects all machines of these sources.
    #[must_use]
    pub fn new(sources: Vec<Scope>) -> Self {
        Self { sources, ..Self::default() }
    }

    /// Sets which machines to include.
    ///
    /// An empty filter includes all.
    #[must_use]
    pub fn with_include(self, include: MachineFilter) -> Self {
        Self { include, ..self }
    }

    /// Sets which machines to exclude.
    #[must_use]
    pub fn with_exclude(self, exclude: MachineFilter) -> Self {
        Self { exclude, ..self }
    }
}

/// Which point a job takes if several points of a machine are new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Take {
    /// The newest point. A job with intervals copies one point per machine and interval.
    #[default]
    Newest,
    /// The oldest point that the job has not copied. So a job without intervals copies every point in turn. If it has copied
    /// nothing of the machine yet, it takes the newest.
    Next,
}

/// The newest whole state of a machine that a job has copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopiedState {
    /// The time at which the machine was in that state, by the clock of the backup.
    pub captured: Timestamp,
    /// The restore point of which it is a copy. `None` if that is unknown.
    pub origin: Option<Origin>,
    /// `true` if the folder of `origin` is none of the sources. What the sources have may be another machine of that name.
    pub is_origin_gone: bool,
}

impl CopiedState {
    /// The state at `captured`, copied from `origin`, whose folder is one of the sources.
    #[must_use]
    pub const fn new(captured: Timestamp, origin: Option<Origin>) -> Self {
        Self { captured, origin, is_origin_gone: false }
    }

    /// Sets whether the folder of `origin` is none of the sources.
    #[must_use]
    pub const fn with_origin_gone(self, is_origin_gone: bool) -> Self {
        Self { is_origin_gone, ..self }
    }

    /// Returns `true` if `candidate` is newer than this state.
    ///
    /// `candidates` are all candidates.
    ///
    /// - In the folder of the copied point, numbers decide. So a clock that was once ahead does not end the copying.
    /// - Between folders that are sources, times decide.
    /// - If the folder of the copied point is no source, all that the sources have counts as newer. A clock that was once ahead
    ///   does not hide a source that took the place of a lost one.
    /// - For a carried state, times decide, as the number of its point is not its own.
    /// - If somebody has reset the folder to an earlier day, times decide. The sign of it: the copied number belongs to another
    ///   point now, or the folder has not reached it.
    #[must_use]
    pub fn is_before(&self, candidate: &Candidate, candidates: &[Candidate]) -> bool {
        if self.is_origin_gone && self.origin.is_some_and(|origin| origin.folder != candidate.folder) {
            return true;
        }
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
        let is_origin = |other: &&Candidate| (other.folder, other.sequence) == (origin.folder, origin.sequence);
        let age = candidates.iter().find(is_origin).map_or(Age::of(origin.sequence), |other| other.age);
        if is_renumbered || !has_come_so_far { candidate.captured > self.captured } else { candidate.age > age }
    }
}

/// What [`decide`] needs to know besides the selection and the candidates.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The repository to copy to.
    pub target: RepositoryId,
    /// The newest state of each machine that the job has copied. A machine without an entry has not been copied yet.
    pub copied: &'a BTreeMap<MachineName, CopiedState>,
    /// The range of times in which points count.
    pub range: PointRange,
    /// Which point to take if several are new.
    pub take: Take,
}

impl<'a> Request<'a> {
    /// A request to copy the newest points in `range` to `target`.
    ///
    /// `copied` is what the job has copied so far.
    #[must_use]
    pub const fn new(target: RepositoryId, copied: &'a BTreeMap<MachineName, CopiedState>, range: PointRange) -> Self {
        Self { target, copied, range, take: Take::Newest }
    }

    /// Sets which point to take if several are new.
    #[must_use]
    pub const fn with_take(self, take: Take) -> Self {
        Self { take, ..self }
    }
}

/// The decision about one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// The machine. The selection may name a machine that no source has.
    pub machine: MachineName,
    /// The decision, with its reason.
    pub decision: Decision,
    /// The earliest date after the present among the new points of the machine. Such points wait until that date. `None` if there
    /// are none.
    pub future_dated: Option<Timestamp>,
}

/// What a job does about a machine, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Decision {
    /// The job copies this candidate.
    Take {
        /// The position in the list of candidates, from 0.
        candidate: usize,
    },
    /// The job waits, as the backup that makes the newest point still runs.
    Locked {
        /// The time at which that backup began.
        captured: Timestamp,
    },
    /// The job has already copied the newest point.
    AlreadyCopied {
        /// The time at which the machine was in the copied state.
        captured: Timestamp,
    },
    /// The newest point is too old to count. The job waits for a newer one.
    TooOld {
        /// The time of the newest point.
        captured: Timestamp,
    },
    /// All points of the machine have a date after the present.
    FutureDated {
        /// The time of the earliest of these points.
        captured: Timestamp,
    },
    /// No point has the machine complete.
    Incomplete,
    /// Only the target repository has points of the machine.
    InTarget,
    /// The selection names the machine, and no source has it.
    Missing,
}

impl Scope {
    /// All jobs of a repository ("from infrastructure").
    #[must_use]
    pub fn infrastructure(repository: RepositoryId) -> Self {
        Self { repository, job: None, machines: Vec::new() }
    }

    /// One job of a repository ("from job").
    #[must_use]
    pub fn job(repository: RepositoryId, job: &str) -> Self {
        Self { repository, job: Some(job.into()), machines: Vec::new() }
    }

    /// Chosen machines of a job ("from backup").
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
    /// Returns `true` if the filter has no pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty() && self.containers.is_empty() && self.tags.is_empty()
    }

    /// Returns `true` if a machine with this name and these labels matches.
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
    /// Returns `true` if the rules select the candidate: a source has it, it is included, and it is not excluded.
    #[must_use]
    pub fn has(&self, candidate: &Candidate) -> bool {
        let is_of = |filter: &MachineFilter| filter.has(&candidate.machine, &candidate.labels);
        self.sources.iter().any(|source| source.has(candidate))
            && (self.include.is_empty() || is_of(&self.include))
            && !is_of(&self.exclude)
    }

    /// The machines that the rules name without wildcards.
    ///
    /// They are reported as missing if no source has them.
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
