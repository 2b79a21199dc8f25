//! The trait of what a disk is restored to.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Result;

/// The length of the pieces in which zeros are written, in bytes.
const ZEROS_BYTES: usize = 1 << 20;
static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];

/// A disk that a restore writes.
///
/// Offsite has its own sinks for files and block devices. Implement this trait to restore a disk to anything else, and give it to
/// [`Restore::disk_to`](crate::Restore::disk_to).
///
/// # Contract
///
/// - **All methods may block.** Offsite calls them on threads that may block, never on threads of the asynchronous runtime.
/// - **[`begin`](Self::begin) comes first, once.** Writes follow, from several threads at once and in any order. If bytes are
///   written twice, they are the same both times. [`finish`](Self::finish) comes last, after all other calls have returned without
///   an error.
/// - **Without `finish` the sink holds no complete disk.** After an error, or if the restore is dropped, Offsite calls nothing
///   more.
/// - **Written bytes read back.** After `finish`, the disk holds the written bytes, and zeros where nothing was written. If the
///   sink keeps the disk for longer than the process, the disk is durable then.
/// - **An error ends the restore.**
///
/// [`testing::check_sink`](crate::testing) checks an implementation against this contract.
///
/// ```
/// use std::io;
/// use std::sync::{Mutex, PoisonError};
///
/// use offsite::DiskSink;
///
/// #[derive(Debug, Default)]
/// struct InMemory(Mutex<Vec<u8>>);
///
/// impl DiskSink for InMemory {
///     fn location(&self) -> String {
///         "a disk in memory".to_owned()
///     }
///
///     fn begin(&self, size_bytes: u64) -> io::Result<()> {
///         let size_bytes = usize::try_from(size_bytes).map_err(io::Error::other)?;
///         *self.0.lock().unwrap_or_else(PoisonError::into_inner) = vec![0; size_bytes];
///         Ok(())
///     }
///
///     fn is_zeroed(&self) -> bool {
///         true // `begin` has seen to it.
///     }
///
///     fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
///         let start = usize::try_from(offset).map_err(io::Error::other)?;
///         let mut disk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
///         let range = disk.get_mut(start..start + bytes.len()).ok_or(io::ErrorKind::InvalidInput)?;
///         range.copy_from_slice(bytes);
///         Ok(())
///     }
///
///     fn finish(&self) -> io::Result<()> {
///         Ok(())
///     }
/// }
/// ```
pub trait DiskSink: fmt::Debug + Send + Sync {
    /// Returns the sink in words, for messages: a path, or an address without secrets.
    fn location(&self) -> String;

    /// Prepares for a disk of `size_bytes`.
    ///
    /// # Errors
    /// An error if the sink cannot hold such a disk. Nothing was written then.
    fn begin(&self, size_bytes: u64) -> io::Result<()>;

    /// Returns `true` if unwritten ranges read as zeros once [`begin`](Self::begin) has returned.
    ///
    /// If so, a restore skips the zeros of the disk. Otherwise it calls [`write_zeros`](Self::write_zeros) for them.
    fn is_zeroed(&self) -> bool {
        false
    }

    /// Writes `bytes` at `offset`: at most 4 MiB, within the disk.
    ///
    /// # Errors
    /// Any error that prevents the sink from writing all of these bytes.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes `range` read as zeros. The range lies within the disk. By default, this writes zeros.
    ///
    /// # Errors
    /// The same as [`write_at`](Self::write_at).
    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        let mut start = range.start;
        while start < range.end {
            let piece = usize::try_from(range.end - start).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
            self.write_at(start, &ZEROS[..piece])?;
            start += piece as u64;
        }
        Ok(())
    }

    /// Makes the disk complete and durable.
    ///
    /// # Errors
    /// An error if the disk is not complete and durable.
    fn finish(&self) -> io::Result<()>;
}

impl<T: DiskSink + ?Sized> DiskSink for Arc<T> {
    fn location(&self) -> String {
        (**self).location()
    }

    fn begin(&self, size_bytes: u64) -> io::Result<()> {
        (**self).begin(size_bytes)
    }

    fn is_zeroed(&self) -> bool {
        (**self).is_zeroed()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).write_at(offset, bytes)
    }

    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        (**self).write_zeros(range)
    }

    fn finish(&self) -> io::Result<()> {
        (**self).finish()
    }
}

/// A sink of Offsite's own: a new file that gets its name only when it is complete, or a block device.
pub(crate) trait ImageSink: DiskSink {
    /// Returns the block device that is overwritten. `None` if the sink is a file.
    fn write_over(&self) -> Option<WriteOver> {
        None
    }

    /// Gives the finished image its name.
    fn keep(&self) -> Result<()>;

    /// Removes the image, whether it has its name already or not.
    fn discard(&self);
}

/// A block device that an image is written to, over what was there.
#[derive(Debug, Clone)]
pub(crate) struct WriteOver {
    pub(crate) path: PathBuf,
    pub(crate) device_bytes: u64,
    /// Whether a part of it may have been overwritten.
    pub(crate) is_begun: bool,
}
