//! A folder as a repository.

mod claim;
mod clone;
mod errors;
mod extents;
mod flush;
mod hidden;
mod links;
mod list;
mod patch;
mod probe;
mod read;
mod reclaim;
mod root;
mod spelling;
mod staged;
mod sweep;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use offsite_repository::{
    CloneRange, Error, ErrorKind, Key, Limits, Links, ListPage, ObjectWriter, Patch, Prefix, Read, Reclaim, Repository,
    Result, RootFolder,
};

pub(crate) use self::errors::fault;
pub(crate) use self::hidden::FolderIdentity;
use self::probe::Abilities;
use self::root::Root;
use self::spelling::Spelling;
pub use self::staged::CreateBy;
use self::staged::Staged;
use self::writer::LocalWriter;

/// How to open a folder. The defaults are right but for tests and odd places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalOptions {
    /// Whether to make the folder itself (not its parents) if it is missing.
    pub make_folder: bool,
    /// How objects come into being; none for the best way that the place turns out to have.
    pub create_by: Option<CreateBy>,
    /// Whether to go through folders one by one even where the kernel can resolve a path safely at once.
    pub walk_folders: bool,
}

/// A repository in a folder: each key is the path of a file below it.
///
/// - A file comes into being unnamed or under a hidden name, is made durable, and gets its name only then, by a call
///   that fails if the name is taken ([`CreateBy`]); its folder is made durable last.
/// - No symbolic link below the folder is followed and no mount below it is entered: a drive that is not mounted must not
///   fill the disk beneath, and who may write into the repository must not thereby write elsewhere.
/// - Files are readable by owner and group and writable by the owner (0640, folders 0750, less the umask): a group may restore,
///   one user writes. Their owner is who wrote them.
/// - Where the file system takes names that differ in case for one, an object is there only as its key is spelt, and a second
///   key that differs only in case is `Unsupported`.
/// - Names that are no keys (hidden files, `lost+found`) are not touched and not listed.
/// - Holes can be punched, ranges shared and objects patched where a probe on opening found that it works. A place that
///   cannot be written to still opens for reading.
/// - Everything that may block runs on the runtime's blocking threads. Clones share one open folder.
#[derive(Debug, Clone)]
pub struct Local {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: Root,
    abilities: Abilities,
}

impl Local {
    /// Opens an existing folder.
    ///
    /// # Errors
    /// `NotFound` if there is no such folder, and whatever hinders reading it.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(path, LocalOptions::default()).await
    }

    /// Opens a folder, and makes it first if its parent is there and it is not.
    ///
    /// # Errors
    /// As for [`Local::open`].
    pub async fn create(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(path, LocalOptions { make_folder: true, ..LocalOptions::default() }).await
    }

    /// Opens a folder in a chosen way.
    ///
    /// # Errors
    /// As for [`Local::open`].
    pub async fn open_with(path: impl Into<PathBuf>, options: LocalOptions) -> Result<Self> {
        let path = path.into();
        let place = path.display().to_string();
        let work = move || {
            let mut root = Root::open(path, &options)?;
            let abilities = Abilities::probe(&root, &options);
            root.spelling = abilities.folds_case.then(Spelling::default);
            Ok(Self { shared: Arc::new(Shared { root, abilities }) })
        };
        blocking("open", place, work).await
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.root.path
    }

    /// How objects come into being here.
    #[must_use]
    pub fn create_by(&self) -> Option<CreateBy> {
        self.shared.abilities.create_by
    }

    /// Takes no object longer than `bytes`. Before there are clones.
    pub(crate) fn bound_objects(&mut self, bytes: u64) {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.abilities.object_bytes_max = shared.abilities.object_bytes_max.min(bytes);
        }
    }

    /// Runs `work` where it may block.
    async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &Key,
        work: impl FnOnce(&Shared, &Key) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (shared, owned) = (Arc::clone(&self.shared), key.clone());
        blocking(action, key.to_string(), move || work(&shared, &owned)).await
    }
}

/// Runs `work` on a thread that may block. It is carried out as a whole, even if this future is dropped meanwhile.
pub(crate) async fn blocking<T: Send + 'static>(
    action: &'static str,
    place: String,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => Err(Error::new(ErrorKind::Unavailable, action).with_place(place).with_source(error)),
    }
}

#[async_trait]
impl Repository for Local {
    fn location(&self) -> String {
        self.shared.root.path.display().to_string()
    }

    fn limits(&self) -> Limits {
        Limits { object_bytes_max: self.shared.abilities.object_bytes_max, part_bytes: None }
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let staged = self.run("create", key, Staged::begin).await?;
        Ok(Box::new(LocalWriter::new(Arc::clone(&self.shared), staged, key.clone())))
    }

    async fn read(&self, key: &Key, what: Read<'_>) -> Result<Vec<Bytes>> {
        match what {
            Read::Whole { limit_bytes } => {
                self.run("read", key, move |shared, key| read::whole(&shared.root, key, limit_bytes)).await
            }
            Read::Ranges(ranges) => {
                let ranges = ranges.to_vec();
                self.run("read", key, move |shared, key| read::ranges(&shared.root, key, &ranges)).await
            }
        }
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        let (shared, prefix, after) = (Arc::clone(&self.shared), prefix.clone(), after.cloned());
        blocking("list", prefix.to_string(), move || list::page(&shared.root, &prefix, after.as_ref(), limit)).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.run("delete", key, |shared, key| shared.root.remove(key)).await
    }

    async fn root_folders(&self) -> Result<Option<Vec<RootFolder>>> {
        let shared = Arc::clone(&self.shared);
        blocking("list", self.location(), move || list::root_folders(&shared.root).map(Some)).await
    }

    async fn sweep(&self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        blocking("sweep", self.location(), move || sweep::sweep(&shared.root)).await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        let shared = Arc::clone(&self.shared);
        let place = self.location();
        blocking("measure", self.location(), move || {
            let stat = shared.root.space().map_err(|errno| fault("measure", place, errno))?;
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
