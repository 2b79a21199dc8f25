//! Snapshots: restore points that are open for reading.

mod cache;
pub(super) mod shared;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use futures::future::BoxFuture;
use offsite_core::{MachineName, MachineState, RestorePoint};
use tokio::sync::Mutex;

use crate::mover::FrameSource;
use crate::reader::disk_reader::DiskReader;
use crate::reader::disk_selector::DiskSelector;
use crate::reader::indexes::Indexes;
use crate::reader::job_folder::{JobFolder, PointSelector};
use crate::{Error, ErrorPlace, JobName, OpenRepository, Result};
use cache::Cache;
use shared::Shared;

pub use shared::MachineSnapshot;

/// The default size of the cache of decoded blocks, in bytes.
const CACHE_BYTES: u64 = 64 << 20;

/// The states of machines that a job has, open for reading.
///
/// A snapshot pins what it reads. As long as it or one of its [`DiskReader`]s lives, runs of the job free nothing that it needs.
/// It may be held for hours, as the pin renews itself. [`close`](Self::close) gives the pin back. If the snapshot is dropped
/// instead, the next run of the job finds that nobody holds the pin any more, and removes it. A run on another host waits a
/// minute for that.
///
/// In two cases there is no pin: the repository takes no new objects (it is read-only or full), or the host slept and a run took
/// the reader for dead. The returned bytes are right even then, as each block is compared with its digest. A block that was freed
/// meanwhile is [`Error::SnapshotExpired`].
///
/// ```
/// use offsite::{JobName, OpenRepository, PointSelector, Snapshot};
///
/// async fn first_sectors(repository: &OpenRepository) -> Result<(), Box<dyn std::error::Error>> {
///     let snapshot = Snapshot::open(repository, &JobName::new("Offsite Copy")?, PointSelector::Latest).await?;
///     for machine in snapshot.machines() {
///         for disk in &machine.disks {
///             let reader = snapshot.disk(&machine.name, disk.number).await?;
///             let mut sector = [0; 512];
///             let length = reader.read_at(0, &mut sector).await?;
///             println!("{} {}: {:?}", machine.name, disk.identity.name, &sector[..length]);
///         }
///     }
///     snapshot.close().await?;
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Snapshot {
    shared: Arc<Shared>,
}

impl Snapshot {
    /// Opens one restore point of `job`, with the machines that it has complete.
    ///
    /// Other machines may be complete in an older point. [`Snapshot::newest`] finds them there.
    ///
    /// # Errors
    /// [`Error::UnknownJob`], [`Error::UnknownPoint`]. [`Error::Damaged`] with a head or an index that cannot be used.
    pub fn open<'a>(
        repository: &'a OpenRepository,
        job: &'a JobName,
        point: PointSelector,
    ) -> BoxFuture<'a, Result<Self>> {
        Box::pin(Self::of(repository, job, move |folder| {
            let point = folder.point(point)?;
            let whole = point.machines.iter().filter(|machine| machine.is_whole());
            Ok(whole.map(|machine| (machine, point)).collect())
        }))
    }

    /// Opens the newest complete state of each machine that `job` has.
    ///
    /// The states may come from different restore points.
    ///
    /// # Errors
    /// [`Error::UnknownJob`]. [`Error::Damaged`] with a head or an index that cannot be used.
    pub fn newest<'a>(repository: &'a OpenRepository, job: &'a JobName) -> BoxFuture<'a, Result<Self>> {
        Box::pin(Self::of(repository, job, |folder| {
            let names = folder.whole_machines(PointSelector::Latest).into_iter();
            let states = names.map(|name| {
                let point = folder.point_of(name, PointSelector::Latest)?;
                Ok(point.machine(name).map(|machine| (machine, point)))
            });
            Ok(states.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        }))
    }

    /// Opens the states that `choose` picks from the folder, each with its point.
    async fn of(
        repository: &OpenRepository,
        job: &JobName,
        choose: impl for<'f> FnOnce(&'f JobFolder) -> Result<Vec<(&'f MachineState, &'f RestorePoint)>>,
    ) -> Result<Self> {
        let (folder, pin) = JobFolder::pinned(repository, job).await?;
        let mut indexes = folder.indexes();
        let machines = match choose(&folder) {
            Ok(states) => machines_of(&folder, &mut indexes, states).await,
            Err(error) => Err(error),
        };
        let machines = match machines {
            Ok(machines) => machines,
            Err(error) => return folder.unpin(pin, Err(error)).await,
        };
        let frames = FrameSource::new(repository, folder.layout(), folder.head());
        let cache = Arc::new(Cache::new(CACHE_BYTES));
        let (indexes, pin) = (Mutex::new(indexes), Mutex::new(pin));
        Ok(Self { shared: Arc::new(Shared { folder, frames, machines, indexes, cache, pin }) })
    }

    /// The name of the job.
    #[must_use]
    pub fn job(&self) -> &JobName {
        self.shared.folder.job()
    }

    /// The machines in the snapshot, sorted by name.
    pub fn machines(&self) -> impl Iterator<Item = &MachineSnapshot> {
        self.shared.machines.values()
    }

    /// The machine with this name.
    ///
    /// # Errors
    /// [`Error::UnknownMachine`] with the machines that exist.
    pub fn machine(&self, name: &MachineName) -> Result<&MachineSnapshot> {
        let known = &self.shared.machines;
        known.get(name).ok_or_else(|| Error::UnknownMachine {
            machine: name.to_string(),
            place: format!("this snapshot of job {}", self.job()),
            known: known.keys().map(ToString::to_string).collect(),
            at: ErrorPlace::default(),
        })
    }

    /// Opens a disk of a machine, by number, by name, or by a text that is either.
    ///
    /// It reads where the blocks of the disk lie. It reads no block.
    ///
    /// # Errors
    /// [`Error::UnknownMachine`], [`Error::UnknownDisk`]. [`Error::Damaged`] with an index that cannot be used.
    /// [`Error::SnapshotExpired`] if the pin was lost and the restore point is gone.
    pub fn disk<'a>(
        &'a self,
        machine: &'a MachineName,
        disk: impl Into<DiskSelector>,
    ) -> BoxFuture<'a, Result<DiskReader>> {
        let disk = disk.into();
        Box::pin(async move {
            let found = self.machine(machine)?;
            let disks = found.disks.iter().map(|disk| (disk.number, &disk.identity.name));
            let number = disk.find(machine, disks)?;
            let shared = &self.shared;
            let point = shared.folder.point(PointSelector::Sequence(found.sequence))?;
            let state = shared.folder.machine_at(&mut *shared.indexes.lock().await, machine, point).await;
            let mut state = match state {
                Err(error) => return Err(shared.judged(error).await),
                Ok(state) => state,
            };
            let map = state.disks.remove(&number).ok_or_else(|| {
                Error::defect(format!("the indexes of restore point {} contradict each other", point.sequence))
            })?;
            Ok(DiskReader::new(Arc::clone(shared), machine.clone(), number, map))
        })
    }

    /// Sets the size of the cache that all readers of the snapshot share, in bytes of decoded blocks (default: 64 MiB).
    ///
    /// A block that is being read may exceed it.
    pub fn set_cache_bytes(&self, bytes: u64) {
        self.shared.cache.resize(bytes);
    }

    /// Gives the pin back.
    ///
    /// Readers that are left continue without a pin. What they return is right. A block that was freed meanwhile is
    /// [`Error::SnapshotExpired`].
    ///
    /// # Errors
    /// The errors of the repository. The pin then ends as if the snapshot had been dropped.
    pub fn close(self) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            match self.shared.pin.lock().await.take() {
                Some(pin) => pin.release().await,
                None => Ok(()),
            }
        })
    }
}

#[cfg(test)]
impl Snapshot {
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

/// The summaries of machines in these states.
async fn machines_of(
    folder: &JobFolder,
    indexes: &mut Indexes,
    states: Vec<(&MachineState, &RestorePoint)>,
) -> Result<BTreeMap<MachineName, MachineSnapshot>> {
    let mut known = BTreeMap::new();
    let mut machines = BTreeMap::new();
    for (machine, point) in states {
        if let Entry::Vacant(unknown) = known.entry(point.sequence) {
            let steps = folder.chain().steps_to(point.sequence).unwrap_or_default();
            unknown.insert(indexes.disks_after(&steps).await?);
        }
        let disks = known.get(&point.sequence).and_then(|disks| disks.get(&machine.name)).cloned();
        let (name, captured) = (machine.name.clone(), machine.captured);
        let disks = disks.unwrap_or_default();
        machines.insert(name.clone(), MachineSnapshot { name, sequence: point.sequence, captured, disks });
    }
    Ok(machines)
}
