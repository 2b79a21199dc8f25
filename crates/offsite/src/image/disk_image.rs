//! What is backed up: a disk to read.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::report::ImageWarning;

/// A disk to read, for a backup job.
///
/// Offsite has images of its own, for files and block devices ([`ImageSource::new`](crate::ImageSource::new)). Implement this trait
/// to back up a disk that is no file, and hand it to [`ImageSource::of`](crate::ImageSource::of).
///
/// # Contract
///
/// - **All methods may block.** Offsite calls them on threads that may, never on those of the asynchronous runtime.
/// - **Several threads call at once.** What one reads does not change what another reads.
/// - **The disk does not change while it is read.** Its size stays what it was when it was first asked for. Bytes that change give a
///   restore point that mixes two moments; [`settle`](Self::settle) can tell of that.
/// - **A run may read it again.** Each run of a job reads the image from the start, and calls `settle` once at the end.
/// - **An error fails the machine of the disk in this run, and no other machine.** Its report has the error's text.
///
/// [`testing::check_image`](crate::testing) holds an implementation to this.
///
/// ```
/// use std::io;
///
/// use offsite::DiskImage;
///
/// #[derive(Debug)]
/// struct InMemory(Vec<u8>);
///
/// impl DiskImage for InMemory {
///     fn location(&self) -> String {
///         "a disk in memory".to_owned()
///     }
///
///     fn size_bytes(&self) -> u64 {
///         self.0.len() as u64
///     }
///
///     fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
///         let start = usize::try_from(offset).map_err(io::Error::other)?;
///         let bytes = self.0.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
///         buffer.copy_from_slice(bytes);
///         Ok(())
///     }
/// }
/// ```
pub trait DiskImage: fmt::Debug + Send + Sync {
    /// The image in words, for messages: a path, an address without secrets.
    fn location(&self) -> String;

    /// The disk's size. A disk has at least one byte.
    fn size_bytes(&self) -> u64;

    /// The first range at or after `from` that may hold something else than zeros; `None` if only zeros follow.
    ///
    /// The range is not empty, starts at `from` or later, and ends at the disk's end or before. What lies outside of all ranges reads
    /// as zeros; Offsite does not read it. Without an implementation, all of the disk may hold something.
    ///
    /// # Errors
    /// Whatever keeps the image from telling.
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let size_bytes = self.size_bytes();
        Ok((from < size_bytes).then_some(from..size_bytes))
    }

    /// Fills `buffer` with the bytes from `offset` on. The range lies within the disk.
    ///
    /// # Errors
    /// Whatever keeps the image from reading all of them. What `buffer` holds then does not matter.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Looks, when all has been read, whether what was read is one state of the disk. A warning is in the report of
    /// the run.
    ///
    /// # Errors
    /// That what was read is no state of the disk, as the image has another length, or is another one by now.
    fn settle(&self) -> io::Result<Option<ImageWarning>> {
        Ok(None)
    }
}

impl<T: DiskImage + ?Sized> DiskImage for Arc<T> {
    fn location(&self) -> String {
        (**self).location()
    }

    fn size_bytes(&self) -> u64 {
        (**self).size_bytes()
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        (**self).next_data(from)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buffer)
    }

    fn settle(&self) -> io::Result<Option<ImageWarning>> {
        (**self).settle()
    }
}
