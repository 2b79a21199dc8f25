//! Raw images: files and block devices.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::{OFlags, SeekFrom as Extent, seek};
use rustix::io::Errno;

use super::watch::Watch;
use super::{DiskImage, DiskSink};
use crate::{Error, Result};

/// A raw image to read.
#[derive(Debug)]
pub(super) struct RawImage {
    watch: Watch,
}

impl RawImage {
    pub(super) fn new(path: &Path, file: File) -> Result<Self> {
        let watch = Watch::new(path, file)?;
        if watch.length() == 0 {
            return Err(Error::image(path, "it is empty; a disk has at least one byte", None));
        }
        Ok(Self { watch })
    }
}

impl DiskImage for RawImage {
    fn path(&self) -> &Path {
        self.watch.path()
    }

    fn size_bytes(&self) -> u64 {
        self.watch.length()
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>> {
        let size_bytes = self.size_bytes();
        if from >= size_bytes {
            return Ok(None);
        }
        let failed = |error: Errno| Error::image(self.path(), "its holes cannot be told", Some(error.into()));
        let start = match seek(self.watch.file(), Extent::Data(from)) {
            Ok(start) => start,
            // No data up to the end.
            Err(Errno::NXIO) => return Ok(None),
            // A place that knows no holes: everything is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(from..size_bytes)),
            Err(error) => return Err(failed(error)),
        };
        let end = seek(self.watch.file(), Extent::Hole(start)).map_err(failed)?;
        Ok((start < size_bytes).then(|| start..end.min(size_bytes)))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.watch.file().read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                Error::image(self.path(), "it became shorter while it was read; back up a snapshot of it", Some(error))
            }
            _ => Error::image(self.path(), format!("it cannot be read at byte {offset}"), Some(error)),
        })
    }

    fn settle(&self) -> Result<Option<String>> {
        self.watch.settle()
    }
}

/// Start writing back every so many bytes, so that the last flush finds little to do.
const FLUSH_BYTES: u64 = 64 << 20;

/// A raw image being restored, sparse where nothing is written.
#[derive(Debug)]
pub(super) struct RawSink {
    partial: Partial,
    unflushed_bytes: AtomicU64,
    flusher: Mutex<Option<JoinHandle<std::io::Result<()>>>>,
}

impl RawSink {
    pub(super) fn create(path: &Path, size_bytes: u64) -> Result<Self> {
        let partial = Partial::create(path)?;
        partial.file.set_len(size_bytes).map_err(|error| partial.failed(error))?;
        Ok(Self { partial, unflushed_bytes: AtomicU64::new(0), flusher: Mutex::new(None) })
    }

    /// Flushes beside the writers, unless that is under way already.
    fn start_flush(&self) -> std::io::Result<()> {
        let mut flusher = self.flusher.lock().unwrap_or_else(PoisonError::into_inner);
        if flusher.as_ref().is_some_and(|running| !running.is_finished()) {
            return Ok(());
        }
        join(flusher.take())?;
        let file = self.partial.file.try_clone()?;
        *flusher = Some(std::thread::Builder::new().name("flush".to_owned()).spawn(move || file.sync_data())?);
        self.unflushed_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }
}

fn join(flusher: Option<JoinHandle<std::io::Result<()>>>) -> std::io::Result<()> {
    match flusher.map(JoinHandle::join) {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(error),
        Some(Err(_)) => Err(std::io::Error::other("a flush ended by itself")),
    }
}

impl DiskSink for RawSink {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.partial.file.write_all_at(bytes, offset).map_err(|error| self.partial.failed(error))?;
        let unflushed = self.unflushed_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
        if unflushed >= FLUSH_BYTES {
            self.start_flush().map_err(|error| self.partial.failed(error))?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let flusher = self.flusher.lock().unwrap_or_else(PoisonError::into_inner).take();
        join(flusher).map_err(|error| self.partial.failed(error))?;
        self.partial.file.sync_all().map_err(|error| self.partial.failed(error))
    }

    fn keep(&self) -> Result<()> {
        self.partial.keep()
    }

    fn discard(&self) {
        let _ = join(self.flusher.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.partial.discard();
    }
}

/// A file that has its final name only once it is whole.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    partial: PathBuf,
    /// Where the file is.
    place: Mutex<Place>,
    // Locked as long as it is open, so that no other restore takes it for one that was left behind.
    file: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Partial,
    Kept,
    Gone,
}

impl Partial {
    /// Makes `PATH.partial`, in place of one that an earlier run left, and refuses if `PATH` is there.
    pub(super) fn create(path: &Path) -> Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(Error::image(path, "it exists already; remove it or restore to another path", None));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = Self::open_locked(path, &partial)?;
        file.set_len(0).map_err(|error| Error::image(path, "it cannot be created", Some(error)))?;
        Ok(Self { path: path.to_owned(), partial, place: Mutex::new(Place::Partial), file })
    }

    fn open_locked(path: &Path, partial: &Path) -> Result<File> {
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            // A link in its place would have the image written elsewhere.
            options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
            let file = options.open(partial).map_err(|error| {
                let detail = match error.kind() {
                    ErrorKind::NotFound => "its folder does not exist",
                    ErrorKind::PermissionDenied => "no permission to write in its folder",
                    _ => "it cannot be created",
                };
                Error::image(path, detail, Some(error))
            })?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::image(path, "another restore is writing it", None));
                }
                // Where files cannot be locked, restores to one path at once are the user's to avoid.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            // Whoever had the lock may have renamed or removed the file between its opening and its locking.
            let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
            match (file.metadata().map(identity), partial.symlink_metadata().map(identity)) {
                (Ok(locked), Ok(named)) if locked == named => return Ok(file),
                (Err(error), _) => return Err(Error::image(path, "it cannot be created", Some(error))),
                _ => {}
            }
        }
    }

    pub(super) fn partial_path(&self) -> &Path {
        &self.partial
    }

    pub(super) fn failed(&self, error: std::io::Error) -> Error {
        let detail = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "no space left to restore to",
            _ => "it cannot be written",
        };
        Error::image(&self.path, detail, Some(error))
    }

    /// Gives the file its name, durably. A file that took the name meanwhile is not replaced.
    pub(super) fn keep(&self) -> Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        match renameat_with(CWD, &self.partial, CWD, &self.path, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) if self.path.symlink_metadata().is_err() => {
                std::fs::rename(&self.partial, &self.path).map_err(|error| self.failed(error))?;
            }
            answer => answer.map_err(|error| self.failed(error.into()))?,
        }
        *place = Place::Kept;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| self.failed(error))
    }

    pub(super) fn discard(&self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = match *place {
            Place::Partial => std::fs::remove_file(&self.partial),
            Place::Kept => std::fs::remove_file(&self.path),
            Place::Gone => Ok(()),
        };
        *place = Place::Gone;
    }
}

/// A restore that is cut off leaves nothing behind, unless its process dies: then the next one writes over it.
impl Drop for Partial {
    fn drop(&mut self) {
        if *self.place.get_mut().unwrap_or_else(PoisonError::into_inner) == Place::Partial {
            self.discard();
        }
    }
}
