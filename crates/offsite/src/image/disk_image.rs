//! The trait of disks to back up.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::report::ImageWarning;

/// A disk that a backup job reads.
///
/// Offsite has its own images for files and block devices ([`ImageSource::new`](crate::ImageSource::new)). Implement this trait to
/// back up any other disk, and give it to [`ImageSource::of`](crate::ImageSource::of).
///
/// # Contract
///
/// - **All methods may block.** Offsite calls them on threads that may block, never on threads of the asynchronous runtime.
/// - **Several threads call at once.** A read on one thread does not affect reads on others.
/// - **The disk does not change while it is read.** Its size stays the same. If bytes change, the restore point mixes two moments.
///   [`settle`](Self::settle) can report that.
/// - **A disk may be read again.** Each run of a job reads the image from the start, and calls `settle` once at the end.
/// - **An error fails the machine of the disk in this run, and no other machine.** The report of the run has the text of the error.
///
/// [`testing::check_image`](crate::testing) checks an implementation against this contract.
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
    /// Returns the image in words, for messages: a path, or an address without secrets.
    fn location(&self) -> String;

    /// Returns the size of the disk in bytes. A disk has at least one byte.
    fn size_bytes(&self) -> u64;

    /// Returns the first range at or after `from` that may hold anything but zeros. `None` if only zeros follow.
    ///
    /// The range is not empty. It starts at `from` or later, and ends at the end of the disk or before. Everything outside of these
    /// ranges reads as zeros, and Offsite does not read it. By default, the whole disk is such a range.
    ///
    /// # Errors
    /// Any error that prevents the image from knowing its ranges.
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let size_bytes = self.size_bytes();
        Ok((from < size_bytes).then_some(from..size_bytes))
    }

    /// Fills `buffer` with the bytes from `offset` on. The range lies within the disk.
    ///
    /// # Errors
    /// Any error that prevents the image from reading all of these bytes. Offsite ignores the contents of `buffer` then.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Checks after the last read whether the bytes that were read are one state of the disk.
    ///
    /// The report of the run has the returned warning. `None` if there is nothing to warn of.
    ///
    /// # Errors
    /// An error if the bytes are no state of the disk, for example because the image has another length or was replaced.
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
