//! A store in a folder of this host.
//!
//! One daemon at a time has the folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use offsite_core::Timestamp;
use tokio::time::sleep;

use super::files::StateFolder;
use super::lock::{Holder, Lock, is_held};
use super::record::MemoryRecord;
use super::status_record::{JobRecord, StatusRecord, VERSION};
use super::{Store, StoreError};
use crate::JobName;
use crate::runner::clock::Clock;
use crate::runner::memory::Memory;
use crate::runner::status::JobStatus;
use crate::seams::blocking;

const STATUS: &str = "status.json";
/// How often a daemon that stands by checks whether the other has ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Keeps what runners remember in a folder.
///
/// No other daemon can have the folder until this is dropped or its process ends. Clones share it.
///
/// The file `status.json` has the status of the daemon and its jobs. [`FolderStore::look`] reads it from any process. The folder
/// `memory` has a file for each job.
#[derive(Debug, Clone)]
pub struct FolderStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: StateFolder,
    status: Mutex<StatusRecord>,
    /// The statuses that the daemon before has shown.
    before: BTreeMap<String, JobRecord>,
    _lock: Lock,
}

/// The status of a daemon, as it was shown last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DaemonStatus {
    /// The daemon.
    pub holder: Holder,
    /// `true` if the daemon is running. The kernel's lock tells.
    pub is_running: bool,
    /// The time at which it started.
    pub started: Timestamp,
    /// The time at which it ended by itself. A daemon that is not running and has no such time was killed.
    pub stopped: Option<Timestamp>,
    /// The status of each job.
    pub jobs: BTreeMap<JobName, JobStatus>,
}

fn memory_file(job: &JobName) -> PathBuf {
    Path::new("memory").join(format!("{job}.json"))
}

impl FolderStore {
    /// Takes the folder at `path` for this daemon, and creates it if need be.
    ///
    /// `about` is what the daemon says of itself to others, for example the path of its config.
    ///
    /// # Errors
    /// [`StoreError::InUse`] with its holder if another daemon has the folder. Other errors if the folder cannot be used.
    pub fn open(path: &Path, about: &str, clock: &dyn Clock) -> Result<Self, StoreError> {
        let folder = StateFolder::new(path);
        let unusable = |what| move |source| StoreError::Unusable { folder: path.to_owned(), what, source };
        folder.make().map_err(unusable("it cannot be made"))?;
        let holder = Holder::this(about);
        let lock = Lock::take(path, &holder)?;
        // If it cannot be read, runners learn from their chains.
        let before = read(&folder).ok().flatten().map(|record| record.jobs).unwrap_or_default();
        let started = clock.now().to_string();
        let record = StatusRecord { version: VERSION, holder, started, stopped: None, jobs: BTreeMap::new() };
        let shared = Shared { folder, status: Mutex::new(record), before, _lock: lock };
        shared.write(&shared.status(), true).map_err(unusable("its files cannot be written"))?;
        Ok(Self(Arc::new(shared)))
    }

    /// Takes the folder like [`FolderStore::open`], but waits as long as another daemon has it.
    ///
    /// Dropping the future ends the waiting.
    ///
    /// # Errors
    /// [`StoreError`] if the folder cannot be used.
    pub fn stand_by<'a>(
        path: &'a Path,
        about: &'a str,
        clock: &'a dyn Clock,
    ) -> BoxFuture<'a, Result<Self, StoreError>> {
        Box::pin(async move {
            loop {
                match Self::open(path, about, clock) {
                    Err(StoreError::InUse { .. }) => sleep(LOOK_EVERY).await,
                    opened => return opened,
                }
            }
        })
    }

    /// The status of the daemon that has the folder at `path`, or had it last.
    ///
    /// `None` if there was none.
    ///
    /// It reads files only. It asks no process, and takes no lock.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if the file is not what a daemon wrote.
    pub fn look(path: &Path) -> Result<Option<DaemonStatus>, StoreError> {
        // First the lock: a daemon that ends between the two looks has written its last word by the second.
        let is_running = is_held(path);
        let folder = StateFolder::new(path);
        let Some(record) = read(&folder)? else { return Ok(None) };
        let wrong = || unreadable(&folder, STATUS.as_ref(), "it is not what was written");
        let time = |text: &str| Timestamp::parse(text).map_err(|_| wrong());
        let jobs = record.jobs.iter().map(|(name, job)| {
            let status = job.status(name).ok_or_else(wrong)?;
            Ok((status.subject.job.clone(), status))
        });
        Ok(Some(DaemonStatus {
            is_running,
            started: time(&record.started)?,
            stopped: record.stopped.as_deref().map(time).transpose()?,
            jobs: jobs.collect::<Result<_, StoreError>>()?,
            holder: record.holder,
        }))
    }

    /// Notes that the daemon has ended by itself at `now`.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be stored.
    pub fn stopped(&self, now: Timestamp) -> Result<(), StoreError> {
        self.0.change(true, |record| record.stopped = Some(now.to_string()))
    }

    /// The folder, for other files that the caller keeps there.
    #[must_use]
    pub fn folder(&self) -> &StateFolder {
        &self.0.folder
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.0.clone();
        // Whoever is dropped while this is at work leaves it at work: files are whole all the same.
        let done = blocking(move || work(&shared)).await;
        done.unwrap_or_else(|error| Err(StoreError::Other(Box::new(error))))
    }
}

impl Shared {
    fn status(&self) -> MutexGuard<'_, StatusRecord> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, record: &StatusRecord, is_durable: bool) -> std::io::Result<()> {
        self.folder.replace(STATUS, &serde_json::to_vec_pretty(record)?, is_durable)
    }

    /// Changes the status and writes it, while nobody else does so.
    fn change(&self, is_durable: bool, change: impl FnOnce(&mut StatusRecord)) -> Result<(), StoreError> {
        let mut record = self.status();
        change(&mut record);
        self.write(&record, is_durable).map_err(|source| self.unwritable(STATUS.as_ref(), source))
    }

    fn unwritable(&self, file: &Path, source: std::io::Error) -> StoreError {
        StoreError::Unwritable { path: self.folder.path().join(file), source }
    }
}

fn unreadable(folder: &StateFolder, file: &Path, why: impl ToString) -> StoreError {
    StoreError::Unreadable { path: folder.path().join(file), why: why.to_string() }
}

fn read(folder: &StateFolder) -> Result<Option<StatusRecord>, StoreError> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let wrong = |why: String| unreadable(folder, STATUS.as_ref(), why);
    let Some(bytes) = folder.read(STATUS).map_err(|error| wrong(error.to_string()))? else { return Ok(None) };
    let Version { version } = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if version != VERSION {
        return Err(wrong(format!("it has version {version}, and this is one for version {VERSION}")));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|error| wrong(error.to_string()))
}

#[async_trait]
impl Store for FolderStore {
    async fn load(&self, job: &JobName) -> Result<Memory, StoreError> {
        let file = memory_file(job);
        self.with(move |shared| {
            let wrong = |why: String| unreadable(&shared.folder, &file, why);
            let Some(bytes) = shared.folder.read(&file).map_err(|error| wrong(error.to_string()))? else {
                return Ok(Memory::default());
            };
            let record: MemoryRecord = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
            record.memory().ok_or_else(|| wrong("it is not what was written".to_owned()))
        })
        .await
    }

    async fn store(&self, job: &JobName, memory: &Memory) -> Result<(), StoreError> {
        let (file, record) = (memory_file(job), MemoryRecord::from(memory));
        self.with(move |shared| {
            // One at a time, also where a runner was dropped in the middle of this.
            let _status = shared.status();
            let bytes = serde_json::to_vec_pretty(&record).map_err(std::io::Error::from);
            let written = bytes.and_then(|bytes| shared.folder.replace(&file, &bytes, true));
            written.map_err(|source| shared.unwritable(&file, source))
        })
        .await
    }

    async fn show(&self, status: &JobStatus) -> Result<(), StoreError> {
        let (name, record) = (status.subject.job.to_string(), JobRecord::from(status));
        self.with(move |shared| shared.change(false, |status| drop(status.jobs.insert(name, record)))).await
    }

    async fn shown(&self, job: &JobName) -> Option<JobStatus> {
        let now = self.0.status().jobs.get(job.as_str()).cloned();
        now.or_else(|| self.0.before.get(job.as_str()).cloned())?.status(job.as_str())
    }

    async fn rename(&self, old: &JobName, new: &JobName) -> Result<(), StoreError> {
        let (old, new) = (memory_file(old), memory_file(new));
        self.with(move |shared| shared.folder.rename(&old, &new).map_err(|source| shared.unwritable(&new, source)))
            .await
    }

    async fn forget(&self, job: &JobName) -> Result<(), StoreError> {
        let (name, file) = (job.to_string(), memory_file(job));
        self.with(move |shared| {
            shared.folder.remove(&file).map_err(|source| shared.unwritable(&file, source))?;
            shared.change(true, |status| drop(status.jobs.remove(&name)))
        })
        .await
    }
}
