//! The block caches that this process has open.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use offsite::{BlockCache, BlockCacheError};
use offsite_backends::{Local, LocalOptions};
use tokio::sync::Mutex;

use crate::error_text::chain_of;
use crate::status::Failure;

/// The file whose lock says that a process uses the cache.
const LOCK: &str = "lock";

/// The block cache of the repository `repository`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheSettings {
    pub(crate) repository: String,
    pub(crate) path: PathBuf,
    pub(crate) size_bytes: u64,
}

/// The block caches of a process. Its jobs share them, and no other process uses them meanwhile.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caches(Arc<Mutex<BTreeMap<PathBuf, Open>>>);

#[derive(Debug)]
struct Open {
    cache: BlockCache,
    _lock: File,
}

/// Why a cache is not open.
pub(crate) enum NotOpen {
    /// Another process uses it. A copy goes on without.
    InUse(String),
    Failed(Failure),
}

impl From<NotOpen> for Failure {
    fn from(why: NotOpen) -> Self {
        match why {
            NotOpen::InUse(text) => Self::Failed(text),
            NotOpen::Failed(failure) => failure,
        }
    }
}

impl Caches {
    /// Opens a cache, or returns the open one.
    pub(crate) async fn open(&self, settings: &CacheSettings) -> Result<BlockCache, NotOpen> {
        let mut all = self.0.lock().await;
        if let Some(open) = all.get(&settings.path).filter(|open| open.cache.size_bytes() == settings.size_bytes) {
            // Somebody may have deleted it. It begins anew then.
            if settings.path.join(LOCK).exists() {
                return Ok(open.cache.clone());
            }
        }
        // Its size has changed, or it is gone. Jobs that still run keep the one that they have.
        all.remove(&settings.path);
        let open = open(settings).await?;
        let cache = open.cache.clone();
        all.insert(settings.path.clone(), open);
        Ok(cache)
    }
}

async fn open(settings: &CacheSettings) -> Result<Open, NotOpen> {
    let CacheSettings { repository, path, size_bytes } = settings;
    let told = |why: String| NotOpen::Failed(Failure::WrongUse(format!("repository {repository}: cache.{why}")));
    let failed = |why: String| NotOpen::Failed(Failure::Failed(format!("repository {repository}: cache.path: {why}")));
    if path.is_file() {
        return Err(told(format!("path: {} is a file; a cache is a folder", path.display())));
    }
    std::fs::create_dir_all(path).map_err(|error| failed(format!("cannot make {}: {error}", path.display())))?;
    if let Some(name) = foreign(path) {
        return Err(told(format!(
            "path: {} has {name:?}, which is not of a block cache; choose an empty folder",
            path.display()
        )));
    }
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK));
    let lock = lock.map_err(|error| failed(format!("cannot lock {}: {error}", path.display())))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(NotOpen::InUse(format!(
                "repository {repository}: cache.path: another process uses {}; stop it, or give each config a cache of its own",
                path.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(failed(format!("cannot lock {}: {error}", path.display()))),
    }
    let place = Local::open_with(path, LocalOptions::default()).await.map_err(|error| failed(chain_of(&error)))?;
    match BlockCache::open(Arc::new(place), *size_bytes).await {
        Ok(cache) => Ok(Open { cache, _lock: lock }),
        Err(error @ BlockCacheError::TooSmall { .. }) => Err(told(format!("size: {error}"))),
        Err(error @ BlockCacheError::Foreign { .. }) => Err(told(format!("path: {error}"))),
        Err(error) => Err(failed(chain_of(&error))),
    }
}

/// Returns a name in the folder that no cache has.
fn foreign(path: &Path) -> Option<String> {
    let names = std::fs::read_dir(path).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.into_iter().find(|name| !["cache", LOCK, "lost+found"].contains(&name.as_str()) && !Local::is_left_over(name))
}
