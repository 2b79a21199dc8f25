//! Where a disk is restored to.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Result;

/// Zeros are written in pieces of this.
const ZEROS_BYTES: usize = 1 << 20;
static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];

/// A disk to write, for a restore.
///
/// Offsite has sinks of its own, for files and block devices. Implement this trait to restore a disk to something else, and hand it
/// to [`Restore::disk_to`](crate::Restore::disk_to).
///
/// # Contract
///
/// - **All methods may block.** Offsite calls them on threads that may, never on those of the asynchronous runtime.
/// - **[`begin`](Self::begin) comes first, once.** Writes follow, from several threads at once and in any order. Bytes that are
///   written twice are the same both times. [`finish`](Self::finish) comes last, when all calls before it have returned without an error.
/// - **Without `finish` the sink holds no whole disk.** After an error, or if the restore is dropped, nothing more is called.
/// - **What is written reads back.** After `finish` the disk holds what the calls said, and zeros where no call said anything. It is
///   durable then, if the sink keeps it for longer than the process.
/// - **An error ends the restore.**
///
/// [`testing::check_sink`](crate::testing) holds an implementation to this.
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
    /// The sink in words, for messages: a path, an address without secrets.
    fn location(&self) -> String;

    /// Gets ready for a disk of `size_bytes`, or refuses it.
    ///
    /// # Errors
    /// That the sink cannot hold such a disk. Nothing was written then.
    fn begin(&self, size_bytes: u64) -> io::Result<()>;

    /// Whether what was not written reads as zeros, once [`begin`](Self::begin) has returned. If so, a restore skips the zeros of the
    /// disk; if not, it calls [`write_zeros`](Self::write_zeros) for them.
    fn is_zeroed(&self) -> bool {
        false
    }

    /// Writes `bytes` at `offset`: at most 4 MiB, within the disk.
    ///
    /// # Errors
    /// Whatever keeps the sink from writing all of them.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes `range`, which lies within the disk, read as zeros. Without an implementation, zeros are written.
    ///
    /// # Errors
    /// As for [`write_at`](Self::write_at).
    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        let mut start = range.start;
        while start < range.end {
            let piece = usize::try_from(range.end - start).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
            self.write_at(start, &ZEROS[..piece])?;
            start += piece as u64;
        }
        Ok(())
    }

    /// Makes the disk whole and durable.
    ///
    /// # Errors
    /// That it is not.
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

/// A sink of Offsite's own: a new file that has its name only once it is whole, or a block device.
pub(crate) trait ImageSink: DiskSink {
    /// The block device that is written over, if it is one.
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
    /// Whether something of it may have been written over.
    pub(crate) is_begun: bool,
}
