//! Where a copy job takes restore points from.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::selection::{self, Age, Candidate, Pattern};
use offsite_core::{
    BlockSize, Head, Labels, MachineName, MachineState, Origin, RestorePoint, Sequence, Status, Timestamp,
};

use super::CopyJob;
use super::moment::Moment;
use crate::claims::pin::Pin;
use crate::error::Within;
use crate::mover::FrameSource;
use crate::reader::job_folder::JobFolder;
use crate::report::{Note, Unseen};
use crate::{ClosedFolder, Error, ErrorPlace, JobFolders, JobName, OpenRepository, Progress, Result};

/// A source of a copy job: a job, chosen machines of a job, or a whole repository.
///
/// The folder of a copy job can be a source like that of a backup job.
#[derive(Debug, Clone)]
pub struct Source {
    repository: OpenRepository,
    scope: Scope,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Job { job: JobName, machines: Vec<Pattern> },
    Infrastructure,
}

impl Source {
    /// All machines of one job.
    #[must_use]
    pub fn job(repository: &OpenRepository, job: JobName) -> Self {
        Self::backup(repository, job, Vec::new())
    }

    /// Chosen machines of one job.
    #[must_use]
    pub fn backup(repository: &OpenRepository, job: JobName, machines: Vec<Pattern>) -> Self {
        Self { repository: repository.clone(), scope: Scope::Job { job, machines } }
    }

    /// All jobs of a repository.
    ///
    /// Of each machine, the newest point in any job counts.
    #[must_use]
    pub fn infrastructure(repository: &OpenRepository) -> Self {
        Self { repository: repository.clone(), scope: Scope::Infrastructure }
    }

    /// The repository of the source.
    #[must_use]
    pub fn repository(&self) -> &OpenRepository {
        &self.repository
    }

    /// The chosen machines, if the source is restricted to some.
    pub(super) fn patterns(&self) -> &[Pattern] {
        match &self.scope {
            Scope::Job { machines, .. } => machines,
            Scope::Infrastructure => &[],
        }
    }

    /// In the terms of the decisions.
    pub(super) fn scope(&self) -> selection::Scope {
        let id = self.repository.id();
        match &self.scope {
            Scope::Infrastructure => selection::Scope::infrastructure(id),
            Scope::Job { job, machines } => selection::Scope::backup(id, job.as_str(), machines.clone()),
        }
    }

    /// The jobs, and what of the repository cannot be looked into and may be of a job.
    async fn jobs(&self) -> Result<(Vec<JobName>, Vec<Unseen>)> {
        let JobFolders { jobs, headless, closed } = match &self.scope {
            Scope::Infrastructure => self.repository.job_folders().await?,
            Scope::Job { job, .. } => return Ok((vec![job.clone()], Vec::new())),
        };
        let location = self.repository.location();
        let closed = closed.into_iter().map(|ClosedFolder { name, why }| Unseen::Folder {
            name,
            location: location.clone(),
            why,
        });
        // Opening them tells what is wrong.
        Ok((jobs.into_iter().chain(headless).collect(), closed.collect()))
    }
}

/// A job folder that is read from.
pub(super) struct SourceFolder {
    pub(super) folder: JobFolder,
    pin: Option<Pin>,
    /// When the backup began that is writing to it now.
    locked: Option<Timestamp>,
}

/// The folders of a job's sources, as they are at one moment.
pub(super) struct Sources {
    folders: Vec<SourceFolder>,
    /// What could not be looked at.
    unseen: Vec<Unseen>,
}

/// The newest point that holds a machine in one state, and the folder.
pub(super) struct Place {
    pub(super) folder: usize,
    pub(super) sequence: Sequence,
}

impl Sources {
    /// Opens the folders so that nothing in them is released until the pins are given back.
    pub(super) async fn pinned(job: &CopyJob) -> Result<Self> {
        Self::open_all(job, true).await
    }

    /// Opens the folders to look at them.
    pub(super) async fn opened(job: &CopyJob) -> Result<Self> {
        Self::open_all(job, false).await
    }

    async fn open_all(job: &CopyJob, with_pins: bool) -> Result<Self> {
        if job.sources.is_empty() {
            let why = if job.unseen.is_empty() { "there is none".to_owned() } else { words(&job.unseen) };
            return Err(Error::NoSource { why, at: ErrorPlace::default() });
        }
        let mut open = Self { folders: Vec::new(), unseen: job.unseen.clone() };
        match open.add(&job.sources, with_pins, job.progress.as_ref()).await {
            Ok(()) => Ok(open),
            Err(error) => open.unpin(Err(error)).await,
        }
    }

    async fn add(&mut self, sources: &[Source], with_pins: bool, progress: &dyn Progress) -> Result<()> {
        let mut first_error = None;
        for source in sources {
            let repository = &source.repository;
            let jobs = match source.jobs().await.at(|| repository.located()) {
                Ok((jobs, closed)) => {
                    self.unseen.extend(closed);
                    jobs
                }
                Err(error) => {
                    self.note(error, &mut first_error);
                    continue;
                }
            };
            for job in jobs {
                let is_here =
                    |open: &SourceFolder| open.folder.repository().id() == repository.id() && *open.folder.job() == job;
                if self.folders.iter().any(is_here) {
                    continue;
                }
                let opened = SourceFolder::open(repository, &job, with_pins, progress).await;
                match opened.at(|| repository.located()).in_job(&job) {
                    Ok(folder) => {
                        // Newer restore points may be there, and are not seen.
                        self.unseen.extend(lost_heads(&folder.folder));
                        self.folders.push(folder);
                    }
                    // It went after the listing.
                    Err(Error::UnknownJob { .. }) if source.scope == Scope::Infrastructure => {}
                    Err(error) => self.note(error, &mut first_error),
                }
            }
        }
        match first_error {
            Some(error) if self.folders.is_empty() => Err(error),
            _ if self.folders.is_empty() => {
                let places: Vec<String> = sources.iter().map(|source| source.repository.location()).collect();
                Err(Error::nothing_yet("job with restore points", places.join(", ")))
            }
            _ => Ok(()),
        }
    }

    fn note(&mut self, error: Error, first_error: &mut Option<Error>) {
        self.unseen.push(Unseen::Source { why: (&error).into() });
        first_error.get_or_insert(error);
    }

    /// What could not be looked at.
    pub(super) fn notes(&self) -> impl Iterator<Item = Note> {
        self.unseen.iter().cloned().map(Note::NotSeen)
    }

    /// Whether all of the sources could be looked at. What is not seen where they could not be is not gone.
    pub(super) fn are_whole(&self) -> bool {
        self.unseen.is_empty()
    }

    /// Ends a reading that came to `result`: gives the pins back, and tells what was let go from what is damaged.
    pub(super) async fn unpin<T>(self, mut result: Result<T>) -> Result<T> {
        for SourceFolder { folder, pin, .. } in self.folders {
            result = folder.unpin(pin, result).await;
        }
        result
    }

    pub(super) fn get(&self, folder: usize) -> Option<&JobFolder> {
        self.folders.get(folder).map(|open| &open.folder)
    }

    pub(super) fn folders(&self) -> impl Iterator<Item = &JobFolder> {
        self.folders.iter().map(|open| &open.folder)
    }

    /// What the blocks are read from, in the order of the folders.
    pub(super) fn frames(&self) -> Vec<FrameSource> {
        let frames = |folder: &JobFolder| FrameSource::new(folder.repository(), folder.layout(), folder.head());
        self.folders().map(frames).collect()
    }

    /// The size of the blocks of a copy that begins with these.
    pub(super) fn block_size(&self) -> BlockSize {
        let has_points = |folder: &&JobFolder| folder.chain().latest().is_some();
        let folder = self.folders().find(has_points).or_else(|| self.folders().next());
        folder.map_or_else(BlockSize::default, |folder| folder.chain().block_size())
    }

    /// Which jobs are being written to now.
    pub(super) fn locked(&self) -> impl Iterator<Item = &JobName> {
        self.folders.iter().filter(|open| open.locked.is_some()).map(|open| open.folder.job())
    }

    /// What is known of each machine, from all the folders that have it.
    pub(super) fn labels(&self) -> BTreeMap<MachineName, Labels> {
        let mut all: BTreeMap<MachineName, Labels> = BTreeMap::new();
        for (name, labels) in self.folders().flat_map(|folder| &folder.head().labels) {
            let joined = all.get(name).map_or_else(|| labels.clone(), |known| known.union(labels));
            all.insert(name.clone(), joined);
        }
        all
    }

    /// Each state of each machine that the folders have, and where it is; those that are being made are there, too.
    ///
    /// A state that is merely carried along is there once, with the newest of the points that carry it, if the point that made it is gone.
    ///
    /// With a `moment`, they are as the folders were then.
    pub(super) fn candidates(&self, moment: Option<&Moment>) -> (Vec<Candidate>, Vec<Place>) {
        let labels = self.labels();
        let (mut candidates, mut places) = (Vec::new(), Vec::new());
        for (number, open) in self.folders.iter().enumerate() {
            let folder = &open.folder;
            let candidate = |machine: &MachineName, (sequence, age), captured, status, is_locked| {
                let origin = Origin::new(folder.id(), sequence);
                Candidate::new(folder.repository().id(), origin, folder.job().as_str(), machine.clone(), captured)
                    .with_status(status)
                    .with_age(age)
                    .with_labels(labels.get(machine).cloned().unwrap_or_default())
                    .with_lock(is_locked)
            };
            let mut made: BTreeSet<(&MachineName, Timestamp)> = BTreeSet::new();
            let mut carried: BTreeMap<(&MachineName, Timestamp), (Sequence, Age)> = BTreeMap::new();
            let was_there = |(_, age): &(&RestorePoint, Age)| moment.is_none_or(|moment| moment.has(number, *age));
            for (point, age) in Age::of_all(folder.chain().all()).filter(was_there) {
                for MachineState { name, captured, status, .. } in &point.machines {
                    if *status == Status::Carried {
                        carried.insert((name, *captured), (point.sequence, age));
                        continue;
                    }
                    made.extend((*status == Status::Complete).then_some((name, *captured)));
                    candidates.push(candidate(name, (point.sequence, age), *captured, *status, false));
                    places.push(Place { folder: number, sequence: point.sequence });
                }
            }
            for ((machine, captured), (sequence, age)) in carried.into_iter().filter(|(state, _)| !made.contains(state))
            {
                candidates.push(candidate(machine, (sequence, age), captured, Status::Carried, false));
                places.push(Place { folder: number, sequence });
            }
            for machine in open.locked.iter().filter(|_| moment.is_none()).flat_map(|_| present(folder.head())) {
                let began = open.locked.unwrap_or(folder.head().clock);
                let sequence = folder.head().next_sequence;
                candidates.push(candidate(machine, (sequence, Age::of(sequence)), began, Status::Complete, true));
                places.push(Place { folder: number, sequence });
            }
        }
        (candidates, places)
    }
}

/// The newest heads of a folder that cannot be read.
fn lost_heads(folder: &JobFolder) -> impl Iterator<Item = Unseen> {
    folder.damaged_heads().iter().map(|head| Unseen::Heads { job: folder.job().clone(), head: head.clone() })
}

fn words(unseen: &[Unseen]) -> String {
    unseen.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The machines of the newest point: those that a run which is at work may be about to bring.
fn present(head: &Head) -> impl Iterator<Item = &MachineName> {
    let machines = head.chain.latest().into_iter().flat_map(|point| &point.machines);
    machines.filter(|machine| machine.status != Status::Carried).map(|machine| &machine.name)
}

impl SourceFolder {
    async fn open(repository: &OpenRepository, job: &JobName, with_pin: bool, progress: &dyn Progress) -> Result<Self> {
        let (folder, pin) = match with_pin {
            true => JobFolder::pinned(repository, job).await?,
            false => (JobFolder::open(repository, job).await?, None),
        };
        match folder.is_being_written(progress).await {
            Ok(is_locked) => {
                let locked = is_locked.then_some(folder.head().clock);
                Ok(Self { folder, pin, locked })
            }
            Err(error) => folder.unpin(pin, Err(error)).await,
        }
    }
}
