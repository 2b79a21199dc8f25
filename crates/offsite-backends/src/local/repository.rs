//! The folder as a repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use offsite_repository::{
    CloneRange, Endpoint, Key, Limits, Links, ListPage, ObjectWriter, Patch, Prefix, ReadRequest, Reclaim, Repository,
    Result, RootFolder,
};

use super::blocking::blocking;
use super::errors::fault;
use super::mount::{endpoint_of, mount_of};
use super::options::{CreateMethod, LocalOptions};
use super::probe::Abilities;
use super::root::Root;
use super::shared::Shared;
use super::spelling::Spelling;
use super::staged::Staged;
use super::writer::LocalWriter;
use super::{claim, list, read, staged, sweep};

/// A repository in a folder: each key is the path of a file below it.
///
/// - *Creating.* It writes a file without a name or with a hidden one, and flushes it. Then it gives the file its name, with a
///   call that fails if the name is taken ([`CreateMethod`]). It flushes the folder last.
/// - *Paths.* It follows no symbolic link below the folder, and enters no mount. So a drive that is not mounted does not fill the
///   disk below its mount point. A user who may write into the repository cannot use it to write elsewhere.
/// - *Permissions.* The owner may read and write files, the group may read them (0640, folders 0750, less the umask). So one user
///   writes, and a group may restore. The writer of a file owns it.
/// - *Case.* Some file systems ignore the case of names. There, an object is found only by its exact key, and a second key that
///   differs only in case is `Unsupported`.
/// - *Other files.* It neither lists nor touches names that are not keys (hidden files, `lost+found`).
/// - *Capabilities.* It punches holes, shares ranges and writes into objects if a probe on opening has shown that this works. A
///   place that this user cannot write to still opens for reading.
/// - *Threads.* Whatever may block runs on the blocking threads of the runtime. Clones share one open folder.
#[derive(Debug, Clone)]
pub struct Local {
    pub(super) shared: Arc<Shared>,
}

impl Local {
    /// Opens an existing folder.
    ///
    /// # Errors
    /// `NotFound` if there is no such folder, and any error that prevents reading it.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(path, LocalOptions::default()).await
    }

    /// Opens a folder, and creates it if it is missing.
    ///
    /// Its parent must exist.
    ///
    /// # Errors
    /// The same as [`Local::open`].
    pub async fn create(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(path, LocalOptions::default().with_make_folder(true)).await
    }

    /// Opens a folder with these options.
    ///
    /// # Errors
    /// The same as [`Local::open`].
    pub async fn open_with(path: impl Into<PathBuf>, options: LocalOptions) -> Result<Self> {
        let path = path.into();
        let location = path.display().to_string();
        let work = move || {
            let mut root = Root::open(path, &options)?;
            let abilities = Abilities::probe(&root, &options);
            root.spelling = abilities.folds_case.then(Spelling::default);
            let mount = mount_of(&root.path);
            Ok((root, abilities, mount))
        };
        let opened = blocking("open", work).await.map_err(|error| error.with_location(location));
        let (root, abilities, mount) = opened?;
        let endpoint = endpoint_of(mount).await;
        Ok(Self { shared: Arc::new(Shared { root, abilities, endpoint }) })
    }

    /// Returns `true` if a file of this name is what trying the place, or a writer that was cut off, has left. The next
    /// [`sweep`](Repository::sweep) removes it.
    #[must_use]
    pub fn is_left_over(name: &str) -> bool {
        staged::is_staged(name) || claim::claimed(name).is_some_and(staged::is_staged)
    }

    /// The path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.root.path
    }

    /// How this place creates objects.
    ///
    /// `None` if it has no safe method.
    #[must_use]
    pub fn create_method(&self) -> Option<CreateMethod> {
        self.shared.abilities.create_method
    }

    /// Takes no object longer than `bytes`. Before there are clones.
    pub(crate) fn bound_objects(&mut self, bytes: u64) {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.abilities.object_bytes_max = shared.abilities.object_bytes_max.min(bytes);
        }
    }

    /// Runs `work` for an object where it may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &Key,
        work: impl FnOnce(&Shared, &Key) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (shared, owned) = (Arc::clone(&self.shared), key.clone());
        let answer = blocking(action, move || work(&shared, &owned)).await;
        answer.map_err(|error| error.with_key(key).with_location(self.location()))
    }

    /// Runs `work` for the place as a whole where it may block.
    async fn run_on_all<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        let answer = blocking(action, move || work(&shared)).await;
        answer.map_err(|error| error.with_location(self.location()))
    }
}

#[async_trait]
impl Repository for Local {
    fn location(&self) -> String {
        self.shared.location()
    }

    fn limits(&self) -> Limits {
        Limits::new(self.shared.abilities.object_bytes_max)
    }

    fn endpoint(&self) -> Endpoint {
        self.shared.endpoint
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let staged = self
            .run("create", key, |shared, key| Staged::begin(&shared.root, shared.abilities.create_method, key))
            .await?;
        Ok(Box::new(LocalWriter::new(Arc::clone(&self.shared), staged, key.clone())))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        match what {
            ReadRequest::Whole { limit_bytes } => {
                self.run("read", key, move |shared, key| read::whole(&shared.root, key, limit_bytes)).await
            }
            ReadRequest::Ranges(ranges) => {
                let ranges = ranges.to_vec();
                self.run("read", key, move |shared, key| read::ranges(&shared.root, key, &ranges)).await
            }
        }
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        let (prefix, after) = (prefix.clone(), after.cloned());
        self.run_on_all("list", move |shared| list::page(&shared.root, &prefix, after.as_ref(), limit)).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.run("delete", key, |shared, key| shared.root.remove(key)).await
    }

    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        self.run_on_all("list", |shared| list::root_folders(&shared.root, &shared.location()).map(Some)).await
    }

    async fn sweep(&self) -> Result<()> {
        self.run_on_all("sweep", |shared| sweep::sweep(&shared.root)).await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        self.run_on_all("measure", |shared| {
            let stat = shared.root.space().map_err(|errno| fault("measure", shared.root.path.display(), errno))?;
            // What this user can have; some file systems keep a part for root. Some drivers tell nothing at all.
            Ok((stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize)))
        })
        .await
    }

    fn links(&self) -> Option<&dyn Links> {
        Some(self)
    }

    fn reclaim(&self) -> Option<&dyn Reclaim> {
        self.shared.abilities.punch_granule.map(|_| self as &dyn Reclaim)
    }

    fn clone_range(&self) -> Option<&dyn CloneRange> {
        self.shared.abilities.clone_granule.map(|_| self as &dyn CloneRange)
    }

    fn patch(&self) -> Option<&dyn Patch> {
        self.shared.abilities.writable.then_some(self)
    }
}
