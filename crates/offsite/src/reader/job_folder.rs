//! Reading a job folder: its newest head, its indexes, and the states that they give.

use offsite_core::FolderId;
use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use offsite_core::Head;
use offsite_core::{
    BlockMap, Chain, DiskMap, MachineMap, MachineName, MachineState, RestorePoint, Sequence, Timestamp,
};
use offsite_repository::ErrorKind;

use crate::claims::lease::{Hold, is_held};
use crate::claims::pin::Pin;
use crate::error::within;
use crate::folder::disks::DiskSummary;
use crate::folder::heads::{Heads, Newest};
use crate::folder::job_folders;
use crate::folder::layout::Layout;
use crate::reader::indexes::Indexes;
use crate::report::DamagedHead;
use crate::{DamagedPart, Error, ErrorPlace, JobName, OpenRepository, Progress, Result};

/// The restore points of a job, as they are at one moment.
///
/// It is for reading. To read blocks, open a [`Snapshot`](crate::Snapshot) or run a [`Restore`](crate::Restore).
///
/// ```
/// use offsite::{JobFolder, JobName, OpenRepository};
///
/// async fn list(repository: &OpenRepository) -> Result<(), Box<dyn std::error::Error>> {
///     let folder = JobFolder::open(repository, &JobName::new("Offsite Copy")?).await?;
///     for point in folder.chain().all() {
///         println!("#{} {} with {} machines", point.sequence, point.time, point.machines.len());
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct JobFolder {
    repository: OpenRepository,
    layout: Layout,
    head: Head,
    damaged_heads: Vec<DamagedHead>,
}

/// Selects a restore point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PointSelector {
    /// The newest point.
    #[default]
    Latest,
    /// The newest point whose time is not after this.
    At(Timestamp),
    /// The point with this number.
    Sequence(Sequence),
}

impl JobFolder {
    /// Opens the folder of `job`.
    ///
    /// # Errors
    /// [`Error::UnknownJob`] if there is no such job. [`Error::Damaged`] if no head can be read, or none is left.
    pub fn open<'a>(repository: &'a OpenRepository, job: &'a JobName) -> BoxFuture<'a, Result<Self>> {
        let tell = |error: Error| error.at(|| repository.located()).in_job(job);
        within(tell, async move {
            let layout = Layout::new(job.clone());
            let newest = Heads::new(repository.clone(), layout.clone()).newest().await?;
            let is_empty = newest.as_ref().is_some_and(|newest| newest.head.chain.all().next().is_none());
            let is_removed = is_empty && job_folders::is_removed_job(repository, &layout).await?;
            let Some(newest) = newest.filter(|_| !is_removed) else {
                if !is_removed && job_folders::is_headless(repository, &layout).await? {
                    return Err(headless(job, &repository.location()));
                }
                let known = repository.jobs().await?.iter().map(ToString::to_string).collect();
                return Err(Error::unknown_job(job, repository.location(), known));
            };
            let Newest { head, damaged: damaged_heads } = newest;
            Ok(Self { repository: repository.clone(), layout, head, damaged_heads })
        })
    }

    /// Opens the folder of `job` with a pin. Nothing in it is released until the pin is given back.
    pub(crate) async fn pinned(repository: &OpenRepository, job: &JobName) -> Result<(Self, Option<Pin>)> {
        let mut folder = Self::open(repository, job).await?;
        loop {
            let pin = match Pin::create(repository, &folder.layout, &folder.head).await {
                Ok(pin) => pin,
                // A reader that cannot write reads without a pin: digests still tell right from wrong.
                Err(error) if cannot_write(&error) => return Ok((folder, None)),
                Err(error) => return Err(error),
            };
            // What the pinned head referred to may have been listed for release before the pin was there to be seen.
            let again = Self::open(repository, job).await?;
            if again.head.number == folder.head.number {
                return Ok((folder, Some(pin)));
            }
            pin.release().await?;
            folder = again;
        }
    }

    /// Ends a reading with this `result`. It gives the pin back, and tells released objects from damaged ones.
    pub(crate) async fn unpin<T>(&self, pin: Option<Pin>, result: Result<T>) -> Result<T> {
        let result = match result {
            Err(error) if error.is_loss() => match self.is_expired().await {
                Ok(true) => Err(Error::expired(self.job())),
                Ok(false) => Err(error),
                // It is unknown whether it is damage. It is certain that the repository cannot be read.
                Err(outage) => Err(outage),
            },
            result => result,
        };
        if let Some(pin) = pin {
            // What was read is right in any case. A pin that stays ends with its holder, and the next writer removes it.
            let _ = pin.release().await;
        }
        result
    }

    /// Returns `true` if a writer is at work in the folder. For a writer on another host, it waits for a sign of its life.
    pub(crate) async fn is_being_written(&self, progress: &dyn Progress) -> Result<bool> {
        let heads = Heads::new(self.repository.clone(), self.layout.clone());
        let held = is_held(&self.repository, &self.layout, &heads, &self.head, progress).await?;
        Ok(held == Hold::Held)
    }

    /// Returns `true` if a restore point that was opened no longer exists, so that its objects may have been released.
    ///
    /// # Errors
    /// The errors of the repository, if that cannot be found out.
    pub(crate) async fn is_expired(&self) -> Result<bool> {
        let newest = match Self::open(&self.repository, self.job()).await {
            Err(error) if error.is_loss() || matches!(error, Error::UnknownJob { .. }) => return Ok(false),
            answer => answer?,
        };
        let is_kept = |id| newest.chain().all().any(|point| point.index.id == id);
        Ok(!self.chain().all().all(|point| is_kept(point.index.id)))
    }

    /// Checks that what was opened still exists, before anything in it is called lost. A reading without a pin needs this.
    ///
    /// # Errors
    /// [`Error::SnapshotExpired`] if a restore point that was opened no longer exists. The errors of the repository.
    pub(crate) async fn refuse_expired(&self) -> Result<()> {
        if self.is_expired().await? { Err(Error::expired(self.job())) } else { Ok(()) }
    }

    /// The name of the job.
    #[must_use]
    pub fn job(&self) -> &JobName {
        self.layout.job()
    }

    /// The restore points of the job.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.head.chain
    }

    /// The identity of the folder.
    ///
    /// It stays the same wherever the repository is moved.
    #[must_use]
    pub fn id(&self) -> FolderId {
        self.head.folder
    }

    /// The bytes of backup files that the restore points refer to.
    ///
    /// Bytes that several points share count once.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.head.files.values().map(|file| file.live_bytes).sum()
    }

    /// The number of backup files that the chain refers to.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.head.files.len()
    }

    /// Newer heads that cannot be read, each with the reason.
    ///
    /// What they committed is not visible.
    #[must_use]
    pub fn damaged_heads(&self) -> &[DamagedHead] {
        &self.damaged_heads
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// The head that the next run continues from. It is the second copy of a head that an interrupted run was about to create, if
    /// that counts, and otherwise the newest head.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a newer head cannot be read. No run begins then.
    pub(crate) async fn head_for_next_run(&self) -> Result<Head> {
        let heads = Heads::new(self.repository.clone(), self.layout.clone());
        let newest = match self.damaged_heads.first() {
            // A writer reads it again too, and refuses if it stays damaged.
            Some(damaged) => heads.load(damaged.number).await?,
            None => self.head.clone(),
        };
        let unfinished = heads.unfinished(&newest).await?;
        Ok(unfinished.unwrap_or(newest))
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn repository(&self) -> &OpenRepository {
        &self.repository
    }

    /// The restore point that `selector` selects.
    ///
    /// # Errors
    /// [`Error::UnknownPoint`] with the points that exist.
    pub fn point(&self, selector: PointSelector) -> Result<&RestorePoint> {
        let points = self.head.chain.all();
        let (found, wanted) = match selector {
            PointSelector::Latest => (points.clone().next_back(), "yet".to_owned()),
            PointSelector::At(time) => {
                (points.clone().rfind(|point| point.time <= time), format!("at or before {time}"))
            }
            PointSelector::Sequence(sequence) => (self.head.chain.get(sequence), sequence.to_string()),
        };
        found.ok_or_else(|| Error::UnknownPoint {
            job: self.job().clone(),
            wanted,
            known: points.map(|point| format!("{} ({})", point.sequence, point.time)).collect(),
            at: ErrorPlace::of(self.repository.located()),
        })
    }

    /// The disks of each machine of a restore point.
    ///
    /// Machines of which the point has nothing new are not included. It reads the directories of the point's indexes.
    ///
    /// # Errors
    /// [`Error::Damaged`] with an index that cannot be used.
    pub fn disks<'a>(
        &'a self,
        point: &'a RestorePoint,
    ) -> BoxFuture<'a, Result<BTreeMap<MachineName, Vec<DiskSummary>>>> {
        Box::pin(async move { self.indexes().disks(point).await })
    }

    /// Where the blocks of a restore point's machines lie.
    ///
    /// # Errors
    /// [`Error::Damaged`] with an index that cannot be used.
    pub(crate) async fn state_at(&self, sequence: Sequence) -> Result<BlockMap> {
        self.indexes().state(&self.head.chain.steps_to(sequence).unwrap_or_default()).await
    }

    /// The indexes of this folder. None of them has been read yet.
    pub(crate) fn indexes(&self) -> Indexes {
        Indexes::new(&self.repository, &self.layout, self.head.folder)
    }

    /// The restore point that a machine is taken from: the one that `selector` selects by number, or else the newest that has the
    /// machine complete. That may be older than the newest point.
    ///
    /// # Errors
    /// [`Error::UnknownPoint`], [`Error::UnknownMachine`]. [`Error::Incomplete`] if no point has the machine complete.
    pub(crate) fn point_of(&self, machine: &MachineName, selector: PointSelector) -> Result<&RestorePoint> {
        let point = self.point(selector)?;
        let found = match selector {
            PointSelector::Latest => self.newest_whole(machine, Timestamp::MAX),
            PointSelector::At(time) => self.newest_whole(machine, time),
            PointSelector::Sequence(_) => Some(point).filter(|point| has_whole(point, machine)),
        };
        let mut meant = self.head.chain.all().rev().filter(|point| is_meant(point, selector));
        found.ok_or_else(|| match meant.find(|point| point.machine(machine).is_some()) {
            Some(point) => self.incomplete(machine, point),
            None => self.unknown_machine(machine, selector),
        })
    }

    /// The state of a machine at a point. Of long indexes, only the pages of the machine are read.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the state is not there, or not all of it.
    pub(crate) async fn machine_at(
        &self,
        indexes: &mut Indexes,
        machine: &MachineName,
        point: &RestorePoint,
    ) -> Result<MachineMap> {
        let steps = self.head.chain.steps_to(point.sequence).unwrap_or_default();
        let state = indexes.machine_state(&steps, machine).await?;
        self.machine_in(&state, machine, point)
    }

    /// The state of a machine within the state of a point.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the state is not there, or not all of it.
    pub(crate) fn machine_in(
        &self,
        state: &BlockMap,
        machine: &MachineName,
        point: &RestorePoint,
    ) -> Result<MachineMap> {
        let found = state.machine(machine).filter(|map| map.disks.values().all(DiskMap::is_full));
        found.cloned().ok_or_else(|| {
            let object = format!("restore point {} of job {}", point.sequence, self.job());
            let why = format!("its indexes do not say all of machine {machine}");
            Error::damaged(DamagedPart::Point, object, self.repository.located()).because(why).of_machine(machine)
        })
    }

    /// The machines that a reading of all machines takes: those of the point that `selector` selects by number, or else all that
    /// some point has complete.
    pub(crate) fn whole_machines(&self, selector: PointSelector) -> BTreeSet<&MachineName> {
        let meant = self.head.chain.all().filter(|point| is_meant(point, selector));
        let machines = meant.flat_map(|point| &point.machines);
        machines.filter(|state| state.is_whole()).map(|state| &state.name).collect()
    }

    /// The newest point that has a machine complete and whose time is not after `now`.
    fn newest_whole(&self, machine: &MachineName, now: Timestamp) -> Option<&RestorePoint> {
        self.head.chain.all().rev().find(|point| point.time <= now && has_whole(point, machine))
    }

    fn incomplete(&self, machine: &MachineName, point: &RestorePoint) -> Error {
        let all = self.head.chain.all().rev();
        let mut older = all.skip_while(|other| other.sequence != point.sequence).skip(1);
        let whole = older.find(|other| has_whole(other, machine)).map(|older| (older.sequence, older.time));
        let at = ErrorPlace::of(self.repository.located());
        Error::Incomplete { machine: machine.to_string(), sequence: point.sequence, whole, at }
    }

    fn unknown_machine(&self, machine: &MachineName, selector: PointSelector) -> Error {
        let job = self.job();
        Error::UnknownMachine {
            machine: machine.to_string(),
            place: match selector {
                PointSelector::Latest => format!("job {job}"),
                PointSelector::At(time) => format!("job {job} at or before {time}"),
                PointSelector::Sequence(sequence) => format!("restore point {sequence} of job {job}"),
            },
            known: self.whole_machines(selector).into_iter().map(ToString::to_string).collect(),
            at: ErrorPlace::of(self.repository.located()),
        }
    }
}

fn is_meant(point: &RestorePoint, selector: PointSelector) -> bool {
    match selector {
        PointSelector::Latest => true,
        PointSelector::At(time) => point.time <= time,
        PointSelector::Sequence(sequence) => point.sequence == sequence,
    }
}

fn has_whole(point: &RestorePoint, machine: &MachineName) -> bool {
    point.machine(machine).is_some_and(MachineState::is_whole)
}

/// The error for a folder whose heads are gone. Nothing is written there, as a new chain would overwrite the old one.
pub(crate) fn headless(job: &JobName, location: &str) -> Error {
    Error::damaged(DamagedPart::Heads, format!("{job}/head"), location.to_owned()).in_job(job)
}

/// Returns `true` if a repository cannot store a new object now: it is read-only or full.
///
/// Restores must work then, too.
fn cannot_write(error: &Error) -> bool {
    matches!(error.repository_kind(), Some(ErrorKind::PermissionDenied | ErrorKind::Unsupported | ErrorKind::NoSpace))
}
